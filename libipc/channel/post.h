/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ipc_loop_post(): the one way in for other threads. A locked list, and an eventfd that the loop's
 * poller watches.
 */
#ifndef IPCI_CHANNEL_POST_H
#define IPCI_CHANNEL_POST_H

#include "objects.h"

/*
 * loop->posted, also a futex word of this process. A loop that was never posted to need not listen
 * for it.
 */
enum {
	IPCI_POSTED_NEVER = 0,
	IPCI_POSTED_BEFORE = 1, /* nothing now */
	IPCI_POSTED_NOW = 2,
};

int ipci_post_init(struct ipc_loop *loop); /* 0 or -errno */
void ipci_post_deinit(struct ipc_loop *loop);
void ipci_post_drain(struct ipc_loop *loop); /* the eventfd */
void ipci_post_nudge(struct ipc_loop *loop); /* makes ipc_loop_fd() readable */
bool ipci_post_take(struct ipc_loop *loop, struct ipc_event *event);

#endif
