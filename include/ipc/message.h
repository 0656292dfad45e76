/* SPDX-License-Identifier: Apache-2.0 */
/* A message that was received, and room for one to be sent. */
#ifndef IPC_MESSAGE_H
#define IPC_MESSAGE_H

#include <ipc/types.h>

IPC_BEGIN_DECLS

/* Payloads up to this many bytes are copied out of the ring before they are delivered. */
#define IPC_SNAPSHOT_MAX_BYTES 4096

enum {
	/*
	 * The payload lies in the peer's ring and may change while it is read: checked readers
	 * only.
	 */
	IPC_MSG_IN_PLACE = 1 << 0,
	/* ipc_keep() succeeded: the message lives until ipc_release(). */
	IPC_MSG_KEPT = 1 << 1,
	/* It is its sender's last of the call, as every message is where there are no streams. */
	IPC_MSG_LAST = 1 << 2,
};

struct ipc_msg {
	const void *data;  /* the payload, 16-byte aligned; never NULL in a received message */
	size_t size_bytes; /* 0..payload_max_bytes of the channel */
	uint32_t bad;	   /* sticky: a checked reader met malformed bytes; 0 = none so far */
	uint32_t flags;	   /* IPC_MSG_… */
	void *owner;	   /* the library's */
	uint64_t token;	   /* the library's */
};

struct ipc_room {
	void *data;	   /* writable room in this side's ring, 16-byte aligned; holds old bytes */
	size_t size_bytes; /* at least as much as was asked for */
};

/**
 * ipc_keep() - keep a received message beyond the next receive
 * @msg: a message that ipc_loop_next(), ipc_transact() or ipc_receive() filled in, not yet kept
 *
 * A snapshot (payload up to IPC_SNAPSHOT_MAX_BYTES) is kept in private memory. A larger one stays
 * in the peer's ring, and holds back the room of everything that the peer sends after it, so kept
 * messages may lie at most half a ring behind the newest: beyond that keeping fails and the caller
 * copies. While one is kept, the peer comes to a stop about half a ring later: release it before
 * waiting for an answer that may lie behind that.
 *
 * Ownership: the caller's until ipc_release(), in any order among kept messages. The message
 *            outlives its call, not its channel: losing the channel is reported only as
 *            IPC_EVENT_CHANNEL, and what was kept stays readable until it is released.
 * Threads:   the loop's. Does not block, makes no system call but memory allocation's own.
 *
 * Return: 0; -EALREADY it is kept; -EINVAL it is no received message, or its turn is over;
 *         -ENOSPC half the ring is kept; -ENOMEM; -ECHILD after fork().
 */
IPC_PUBLIC int ipc_keep(struct ipc_msg *msg);

/**
 * ipc_release() - give back a kept message
 * @msg: a message that ipc_keep() succeeded on; emptied
 *
 * Threads: the loop's. Does not block. May wake a peer that waits for room (one system call).
 */
IPC_PUBLIC void ipc_release(struct ipc_msg *msg);

IPC_END_DECLS

#endif
