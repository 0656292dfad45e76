/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A call, from either side.
 *
 *   client, waiting:   ipc_begin, write into the room, ipc_transact
 *   client, pipelined: ipc_begin, write, ipc_commit(IPC_LAST);
 *                      later IPC_EVENT_MESSAGE or _END, or ipc_receive
 *   server:            IPC_EVENT_REQUEST, ipc_reserve, write, ipc_commit(IPC_LAST); or ipc_fail
 *
 * Either side may send several messages on a call: each but the last is committed without IPC_LAST.
 *
 *   server stream:     ipc_reserve, write, ipc_commit(0), … and as above, or, with no message left,
 *                      ipc_commit(call, 0, IPC_LAST); the client: ipc_receive, … until a message
 *                      with IPC_MSG_LAST, IPC_END or a status; or IPC_EVENT_MESSAGE, … until `last`
 *   client stream:     ipc_begin, write, ipc_commit(0), ipc_reserve, write, ipc_commit(0), …
 *                      ipc_commit(IPC_LAST) or ipc_transact; the server: IPC_EVENT_REQUEST and
 *                      IPC_EVENT_MESSAGE, … until `last`, or IPC_EVENT_END
 *
 * All but a client's first and a server's last message are items, for which there is credit: at most
 * a quarter of the sender's ring on a call and way can be on its way, or wait for the program that
 * receives. So a stream that nobody reads stalls its sender, and no call beside it. A server's last
 * message ends the call also where the client has not ended its side.
 */
#ifndef IPC_CALL_H
#define IPC_CALL_H

#include <ipc/message.h>
#include <ipc/status.h>
#include <ipc/types.h>

IPC_BEGIN_DECLS

struct ipc_writer;

struct ipc_call_opts {
	size_t size; /* sizeof(struct ipc_call_opts) */
	/*
	 * IPC_BLOCK: wait for room and a free call under the deadline; IPC_NO_WAIT: end with
	 * RESOURCE_EXHAUSTED where the server has no place for one more call now
	 */
	uint32_t flags;
	uint32_t reserved;   /* 0 */
	uint64_t timeout_ns; /* 0: the parent's, else none */
	ipc_call *parent;    /* a call being served: its remaining time and trace are inherited */
	void *user;	     /* ipc_call_user() */
	const char *traceparent; /* W3C traceparent, 55 characters; NULL: the parent's, else none */
};

struct ipc_call_info {
	size_t size; /* in: sizeof(struct ipc_call_info) */
	/* until the deadline; IPC_FOREVER if it has none; 0 when it passed */
	uint64_t remaining_ns;
	uint64_t id; /* unique on its channel */
	ipc_channel *channel;
	/* server: the calling workload, as the broker verified it; client: "" */
	const char *caller;
	const char *error;    /* client, ended with a status: the server's text; else "" */
	uint32_t method;      /* this side's method id */
	uint32_t fate;	      /* enum ipc_fate */
	int32_t status;	      /* client, ended: 0..16; else -1 */
	uint32_t cancelled;   /* server: 1 if nobody waits any more */
	char traceparent[56]; /* "" if none */
};

/**
 * ipc_begin() - a new call, and room for its request
 * @channel:   a client's channel
 * @method:    the client's id of the method, as in its struct ipc_service
 * @max_bytes: payload room wanted, 0..payload_max_bytes
 * @opts:      NULL for the defaults
 * @call:      set on success
 * @room:      filled on success
 *
 * Ownership: the channel pools calls; the handle dies with the call's end (contract point 7).
 * Threads:   the loop's. Without IPC_BLOCK it does not block, and makes no system call on an open
 *            channel. While it blocks, replies to other calls are received and kept for
 *            ipc_loop_next() and ipc_receive(). A channel that is being opened, or opened again,
 *            is waited for likewise, in which time the loop's other channels wait.
 *
 * Return: 0; -EAGAIN no room or too many calls in flight, nothing was made, WRITABLE follows (with
 *         IPC_BLOCK only where replies must be received before a call is free);
 *         -EBUSY a room is open on the channel; -EMSGSIZE can never fit: half the ring, less 256
 *         bytes, is the most (ipc_loop_error() says how much that is); -EINVAL; -ENOTCONN not open
 *         now, it comes by itself (or the broker is gone: it does not);
 *         -ETIMEDOUT the deadline passed; -EINTR; -EPROTO the peer broke the channel; -EPIPE the
 *         peer is gone;
 *         -EACCES the capability was revoked; -ECHILD after fork().
 */
IPC_PUBLIC int ipc_begin(ipc_channel *channel, uint32_t method, size_t max_bytes,
			 const struct ipc_call_opts *opts, ipc_call **call, struct ipc_room *room);

/**
 * ipc_reserve() - borrow room in this side's ring for the call's next message
 * @call:      a server's call that it has not ended; a client's that was committed without IPC_LAST
 * @max_bytes: payload room wanted, 0..payload_max_bytes; for an item, header and all, at most a
 *             quarter of this side's ring
 * @flags:     0, or IPC_BLOCK to wait for room and credit under the call's deadline; a server's last
 *             message needs neither credit nor to be that small, if IPC_LAST says so, or if it is
 *             the first
 * @room:      filled on success, untouched on failure
 *
 * Who only sends need not receive for the credit's sake: it is taken where it is the next to come.
 * With IPC_BLOCK all that comes is received, and kept for ipc_loop_next() and ipc_receive(),
 * requests included.
 *
 * Ownership: the ring keeps the room; hand it back exactly once, with ipc_commit() or ipc_abort().
 * Threads:   the loop's. Without IPC_BLOCK it neither blocks nor makes a system call. With it, a
 *            call without a deadline waits for as long as its peer likes: a server of callers
 *            that it does not trust takes WRITABLE.
 *
 * Return: 0; -EAGAIN no room or no credit now (WRITABLE follows, with the call if it was for
 *         credit); with IPC_BLOCK only where the call's own items must be received first, because
 *         the peer may wait for that; -EBUSY another room is open; -EMSGSIZE can never fit;
 *         -ECANCELED nothing more can be sent: the client does not wait any more, or the server has
 *         ended the call, which is still to be received;
 *         -EINVAL; -ETIMEDOUT; -ENOMEM; -EPROTO the peer broke the channel; -EPIPE the peer is gone;
 *         -EACCES the capability was revoked; -ECHILD. After any but -EAGAIN and -EBUSY the server
 *         still ends the call, with ipc_fail(), which then only frees it.
 */
IPC_PUBLIC int ipc_reserve(ipc_call *call, size_t max_bytes, uint32_t flags, struct ipc_room *room);

/**
 * ipc_commit() - publish the open room
 * @call:       the call that the room was reserved for
 * @size_bytes: payload bytes written, up to what was reserved
 * @flags:      IPC_LAST: this is this side's last message of the call; IPC_MORE: another commit
 *              follows at once, here or on another channel: a peer that sleeps is woken by the next
 *              commit on its channel without IPC_MORE, or when ipc_loop_next() or a call that
 *              blocks comes, and then together with all others that are owed a wake
 *
 * On the server's side IPC_LAST ends the call and its handle. With no room open for the call, 0 bytes
 * and IPC_LAST end this side without a message: it never has to wait for room.
 * Threads: the loop's. Does not block. One system call if the peer sleeps, none if not.
 *
 * Return: 0; -EINVAL no room is open for the call, or it is larger than the room, or the room is one
 *         for a last message and this is none; -EMSGSIZE an item larger than a quarter of the
 *         ring, the room stays open; -ENOMEM likewise; -EPROTO, -EPIPE, -EACCES as in
 *         ipc_reserve(); -ECHILD.
 */
IPC_PUBLIC int ipc_commit(ipc_call *call, size_t size_bytes, uint32_t flags);

/**
 * ipc_reserve_batch() - borrow room for several items of a call at once
 * @call:      as for ipc_reserve()
 * @max_bytes: payload room wanted for each, as for an item
 * @n:         how many are wanted, 1..IPC_BATCH_MAX
 * @flags:     0, or IPC_BLOCK to wait for room and credit for one, under the call's deadline
 * @rooms:     @n of them; as many as are returned are filled, in the order in which they will arrive
 *
 * Ownership: the ring keeps the rooms; they are handed back together, exactly once, with
 *            ipc_commit_batch() or ipc_abort().
 * Threads:   the loop's. Blocks as ipc_reserve() does.
 *
 * Return: how many rooms were opened, at least 1: as many as there is room and credit for now;
 *         -EAGAIN, -EBUSY, -EMSGSIZE, -ECANCELED, -EINVAL, -ETIMEDOUT, -ENOMEM, -EPROTO, -EPIPE,
 *         -EACCES, -ECHILD as in ipc_reserve().
 */
IPC_PUBLIC int ipc_reserve_batch(ipc_call *call, size_t max_bytes, uint32_t n, uint32_t flags,
				 struct ipc_room *rooms);

/**
 * ipc_commit_batch() - publish open rooms as items, all at once
 * @call:        the call that the rooms were reserved for
 * @sizes_bytes: payload bytes written into each
 * @n:           how many rooms are published, the first ones; the others are given back
 * @flags:       as for ipc_commit(); with IPC_LAST the last of them is this side's last message
 *
 * Costs one release, one fence and one look at whether the peer sleeps, however many there are.
 * What an item leaves free of its room is padding: sizes that differ much waste the ring.
 * Threads: the loop's. Does not block. One system call if the peer sleeps, none if not.
 *
 * Return: 0; -EINVAL, the rooms stay open: more than were opened, or larger; -EPROTO, -EPIPE,
 *         -EACCES as in ipc_reserve(); -ECHILD.
 */
IPC_PUBLIC int ipc_commit_batch(ipc_call *call, const size_t *sizes_bytes, uint32_t n,
				uint32_t flags);

/**
 * ipc_abort() - give the open room back unpublished
 * @call: the call that the room was reserved for; one that was begun and never committed ends with
 *        it
 *
 * What was written into the room may have been seen by the peer: aborting hides nothing.
 * Threads: the loop's. Does not block.
 */
IPC_PUBLIC void ipc_abort(ipc_call *call);

/**
 * ipc_transact() - commit the request, or a client's last item, and wait for the reply
 * @call:       a call whose room is open
 * @size_bytes: payload bytes written
 * @msg:        the reply, filled when 0 is returned; borrowed (contract point 3)
 *
 * The synchronous hot path: ipc_commit() with IPC_LAST, and ipc_receive(). The call has ended when
 * this returns, unless it returns -EINVAL, -EINTR or -EBUSY, or a message without IPC_MSG_LAST.
 * Threads: the loop's. Blocks under the call's deadline; a spinning call makes no system call, a
 *          sleeping one makes one futex(2) on each side. Other channels' events wait for
 *          ipc_loop_next().
 *
 * Return: 0; 1..16 the status that it ended with (ipc_call_info() tells more until the next
 *         receive); IPC_END it ended well, without a message;
 *         -EINVAL; -EPROTO, -EPIPE, -EACCES nothing was sent; -ECHILD.
 */
IPC_PUBLIC int ipc_transact(ipc_call *call, size_t size_bytes, struct ipc_msg *msg);

/**
 * ipc_receive() - wait for a pipelined call's reply, or for a stream's next message
 * @call: a client's committed call
 * @msg:  the message, filled when 0 is returned; borrowed (contract point 3)
 *
 * The call has ended when this returns a message whose flags have IPC_MSG_LAST (as a reply to a call
 * without streams always has), IPC_END, or a status.
 *
 * What comes for other calls meanwhile is kept for them in private memory: of each stream a quarter
 * of the peer's ring, of each call a reply. A channel keeps 16 MiB so, or as much as the peer's ring
 * if that is larger; what comes beyond is dropped, and its call ends with RESOURCE_EXHAUSTED.
 *
 * Threads: the loop's. Blocks under the call's deadline.
 *
 * Return: 0; 1..16 the status that it ended with; IPC_END it ended well, without a last message;
 *         -EINVAL not a client's committed call; -EBUSY the channel's open room is in the way of
 *         what the peer waits for: commit or abort it first; -ENOMEM; -EINTR; -ECHILD.
 */
IPC_PUBLIC int ipc_receive(ipc_call *call, struct ipc_msg *msg);

/**
 * ipc_cancel() - stop caring about a call
 * @call: a client's call, in any state; NULL does nothing; the handle is gone
 *
 * The server sees IPC_EVENT_CANCELLED. What it answers is dropped. Both ways of a stream end; an open
 * room of the call is aborted.
 * Threads: the loop's. Does not block.
 */
IPC_PUBLIC void ipc_cancel(ipc_call *call);

/**
 * ipc_fail() - end a call with a status
 * @call:   a server's call; the handle is gone when 0 is returned
 * @status: 1..16
 * @text:   for the caller to read, cut at 255 bytes; what is no printable character arrives as '?';
 *          NULL: none
 *
 * Sent when there is room; the call is over at once, both ways of a stream included. An open room
 * of the call is aborted.
 * Threads: the loop's. Does not block.
 *
 * Return: 0; -EINVAL; -ECHILD.
 */
IPC_PUBLIC int ipc_fail(ipc_call *call, int status, const char *text);

/**
 * ipc_call_info() - what is known of a call
 * @call: a call; one that ended, until the next receive on its loop
 * @ret:  size set by the caller; the rest is filled as far as that reaches
 *
 * Ownership: strings live until the next receive on the loop. Threads: the loop's. Does not block.
 *
 * Return: 0; -EINVAL; -ECHILD.
 */
IPC_PUBLIC int ipc_call_info(ipc_call *call, struct ipc_call_info *ret);

/**
 * ipc_call_user() - the program's own pointer on a call
 * @call: a call
 *
 * Threads: the loop's. Does not block.
 *
 * Return: what ipc_call_set_user() or the options set; NULL at first.
 */
IPC_PUBLIC void *ipc_call_user(ipc_call *call);

/**
 * ipc_call_set_user() - set the program's own pointer on a call
 * @call: a call
 * @user: anything; the program's
 *
 * Threads: the loop's. Does not block.
 */
IPC_PUBLIC void ipc_call_set_user(ipc_call *call, void *user);

/**
 * ipc_call_writer() - the FlatBuffers writer of the call's channel
 * @call: a call
 *
 * For generated code: one writer a channel, as there is one open room a channel; set on the room by
 * ipc_writer_init().
 * Ownership: the channel's. Threads: the loop's. Does not block.
 *
 * Return: never NULL for a call.
 */
IPC_PUBLIC struct ipc_writer *ipc_call_writer(ipc_call *call);

/**
 * ipc_call_on_end() - be told in memory when this side ends a call
 * @call:  a server's call that this side has not ended
 * @ended: set to 1 when the call ends: ipc_commit() with IPC_LAST, or ipc_fail(); untouched before.
 *         It stays the caller's, and valid until then or until it is replaced; NULL: nothing is
 *         told any more
 *
 * For generated dispatch code, which must know whether a handler answered although the handle is
 * gone then.
 * Threads: the loop's. Does not block.
 */
IPC_PUBLIC void ipc_call_on_end(ipc_call *call, int *ended);

IPC_END_DECLS

#endif
