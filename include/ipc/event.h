/* SPDX-License-Identifier: Apache-2.0 */
/* What ipc_loop_next() reports. */
#ifndef IPC_EVENT_H
#define IPC_EVENT_H

#include <ipc/message.h>
#include <ipc/types.h>

enum ipc_event_kind {
	IPC_EVENT_NONE = 0,
	IPC_EVENT_REQUEST = 1, /* server: a new call; msg, method, call */
	/*
	 * client: a call's reply or item; msg, call; the call ended if last.
	 * server: an item of the client's; its side ended if last.
	 */
	IPC_EVENT_MESSAGE = 2,
	/*
	 * client: the call ended without a message; status (0: well), call info until next.
	 * server: the client's side ended without a message; status 0, or RESOURCE_EXHAUSTED where
	 * what it sent had to be dropped. The call is still to be ended.
	 */
	IPC_EVENT_END = 3,
	IPC_EVENT_CANCELLED =
		4, /* server: nobody waits for the call any more; end it all the same */
	/* after -EAGAIN: the channel has room again; or, with a call, that has credit again */
	IPC_EVENT_WRITABLE = 5,
	IPC_EVENT_CHANNEL = 6, /* a channel came (status 0), each time, or went (status < 0: why) */
	IPC_EVENT_DRAINED = 7, /* server: ipc_server_drain() is through; server */
	IPC_EVENT_POST = 8,    /* ipc_loop_post() from another thread; user */
	IPC_EVENT_FD = 9,      /* a watched fd is ready; fd, revents */
};

/* Frozen: bindings copy this layout. */
struct ipc_event {
	uint32_t kind;	/* enum ipc_event_kind */
	uint32_t flags; /* 0 */
	ipc_server *server;
	ipc_channel *channel;
	ipc_call *call;
	void *user; /* what was given when the object in question was made, watched or posted */
	struct ipc_msg msg; /* borrowed until the next receive on the loop */
	uint32_t method;    /* REQUEST: the server's own method id */
	/* REQUEST, MESSAGE, END, CANCELLED: 1: the other side sends nothing more on the call */
	uint32_t last;
	int32_t status; /* END: enum ipc_status; CHANNEL: 0 or -errno */
	int32_t fd;
	uint32_t revents; /* EPOLLIN, … */
	uint32_t reserved0;
	uint64_t reserved[3];
};

#ifdef __cplusplus
static_assert(sizeof(struct ipc_event) == 128, "struct ipc_event is frozen");
#else
_Static_assert(sizeof(struct ipc_event) == 128, "struct ipc_event is frozen");
#endif

#endif
