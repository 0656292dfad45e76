/* SPDX-License-Identifier: Apache-2.0 */
/* What the files that take frames apart have in common. */
#ifndef IPCI_CHANNEL_DELIVER_H
#define IPCI_CHANNEL_DELIVER_H

#include "objects.h"

/* The peer did what cannot be: IPCI_LOOK_AGAIN. */
int ipci_poison(struct ipc_channel *channel, const char *text);

/*
 * The frame's payload becomes @msg: a snapshot, or in place. Takes the frame. 0 or -ENOMEM, nothing
 * taken. @flags: IPC_MSG_LAST or 0.
 */
int ipci_deliver(struct ipc_channel *channel, const struct ipci_view *view, struct ipc_msg *msg,
		 uint32_t flags);

/* Takes a frame whose payload nobody wants. IPCI_LOOK_AGAIN. */
int ipci_skip(struct ipc_channel *channel, const struct ipci_view *view);

#endif
