/* SPDX-License-Identifier: Apache-2.0 */
/* The hot channels of a loop: whose turn it is, and who cools. For next.c. */
#ifndef IPCI_CHANNEL_HOT_H
#define IPCI_CHANNEL_HOT_H

#include "objects.h"

/* @channel is the first from now on; those before it go to the end. */
void ipci_hot_put_first(struct ipc_loop *loop, struct ipc_channel *channel);
/* The first goes to the end. */
void ipci_hot_pass(struct ipc_loop *loop);
/* The kernel woke it: hot, and first if it was not hot. */
void ipci_hot_wake(struct ipc_channel *channel);
/* The kernel was just asked. */
void ipci_hot_asked(struct ipc_loop *loop);
/* Was there as much, since the kernel was asked, as each may have in its turn? Asked now and then. */
bool ipci_hot_round_is_over(struct ipc_loop *loop);
/* How long to spin for the next frame of any of them: as long as one of them has learned. */
uint64_t ipci_hot_spin_ns(const struct ipc_loop *loop);

/* What a channel is to be woken for: @frames, @space, both or neither, as things stand. */
uint32_t ipci_channel_wants(const struct ipc_channel *channel, uint32_t frames, uint32_t space);
/*
 * May the channel's thread sleep? Called after arming: the last look at everything that could have
 * come.
 */
bool ipci_channel_is_quiet(struct ipc_channel *channel);
/* All of them drowsy, with one membarrier at most. */
void ipci_hot_get_drowsy(struct ipc_loop *loop);
/*
 * All hot channels to cold ones. False if one of them has something to look at. @spun: in vain, and
 * each learns that.
 */
bool ipci_hot_cool_all(struct ipc_loop *loop, bool spun);
/* Once a millisecond: some of those that have had nothing cool. */
void ipci_hot_tend(struct ipc_loop *loop);

#endif
