/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The daemon as a whole, and what its nouns share. One thread; nothing blocks; nothing is freed
 * while a batch of events is being worked off, but by the reaping at its end.
 */
#ifndef IPCI_BROKER_BROKER_H
#define IPCI_BROKER_BROKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"
#include "list.h"
#include "loop.h"
#include "message.h"
#include "policy.h"
#include "timer.h"

#define IPCI_CHANNEL_BUCKETS 4096u

/* A pollable thing, and what happens when it is ready. First member of what it belongs to. */
struct ipci_handler {
	struct ipci_source source;
	void (*ready)(struct ipci_handler *handler, uint32_t revents);
};

struct ipci_workload;

struct ipci_broker {
	const struct ipci_policy *policy;
	struct ipci_loop *loop;
	struct ipci_list timers;
	struct ipci_list doomed; /* peers that the end of the batch frees */
	struct ipci_list services;
	struct ipci_list channels[IPCI_CHANNEL_BUCKETS]; /* by id */
	struct ipci_workload **workloads;
	size_t n_workloads;
	uint64_t last_channel, last_peer;
	int reserve; /* a descriptor to give up when there is no other; -EBADF: not held now */
	bool stop;
	struct ipci_packet in, out; /* one message is worked off at a time */
};

/*
 * Makes all sockets of @policy (below @sockets where that is not NULL) and listens. @policy must
 * outlive the broker. Errors: -errno, described.
 */
int ipci_broker_new(struct ipci_broker **ret, const struct ipci_policy *policy, const char *sockets,
		    enum ipci_loop_backend backend, struct ipci_error *error);

/* Drops every connection and removes the sockets. Channels live on between those who have them. */
void ipci_broker_free(struct ipci_broker *broker);

/* Adds @handler to the loop for @events on @fd. 0 or -errno. */
int ipci_broker_watch(struct ipci_broker *broker, struct ipci_handler *handler, int fd,
		      uint32_t events);

/*
 * Gives the descriptor in reserve up, for something that must not fail; and gets it back. Both may
 * be called in either state; false: there is none, the table is full.
 */
void ipci_broker_lend_reserve(struct ipci_broker *broker);
bool ipci_broker_hold_reserve(struct ipci_broker *broker);

/* Serves until broker->stop is set by a handler. */
void ipci_broker_run(struct ipci_broker *broker);

#endif
