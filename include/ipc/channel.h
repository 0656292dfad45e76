/* SPDX-License-Identifier: Apache-2.0 */
/* A channel: two halves and a bell between exactly two processes. */
#ifndef IPC_CHANNEL_H
#define IPC_CHANNEL_H

#include <ipc/service.h>
#include <ipc/types.h>

IPC_BEGIN_DECLS

enum {
	/* ipc_open() returns at once; IPC_EVENT_CHANNEL says how it went. */
	IPC_OPEN_ASYNC = 1 << 0,
	/* A channel that is lost stays so: it is not opened again. */
	IPC_OPEN_ONCE = 1 << 1,
};

struct ipc_open_opts {
	size_t size;	/* sizeof(struct ipc_open_opts) */
	uint32_t flags; /* IPC_OPEN_…, IPC_HUGE_PAGES and the like */
	/* calls in flight; 0: 256; the server's limit applies where it is lower */
	uint32_t max_calls;
	const char *name;    /* of this client, in the broker's log; NULL: none */
	const char *token;   /* NULL; reserved for capability tokens */
	uint64_t timeout_ns; /* 0: 5 s; also how long to wait for a service that is not up yet */
	/* this side's ring, a power of two from 4 KiB to 1 GiB; 0: 64 KiB */
	uint64_t ring_bytes;
	void *user; /* comes back in this channel's events */
};

enum ipc_channel_state {
	IPC_CHANNEL_OPENING = 0,
	IPC_CHANNEL_OPEN = 1,
	IPC_CHANNEL_CLOSED = 2,
};

struct ipc_channel_info {
	size_t size;	/* in: sizeof(struct ipc_channel_info) */
	uint32_t state; /* enum ipc_channel_state */
	/* CLOSED: 0 or the -errno that ended it; OPENING: that ended it last, 0 if it never was open */
	int32_t error;
	uint64_t id;		    /* the broker's number for the channel */
	uint64_t payload_max_bytes; /* largest payload this side can send */
	uint64_t receive_max_bytes; /* largest payload this side can receive */
	uint64_t shared_bytes;	    /* both halves, control pages included */
	uint32_t max_calls;	    /* calls in flight */
	/* of them now open, cancelled ones that the server still holds included */
	uint32_t n_calls;
	const char *peer;	     /* the workload at the other end, as the broker verified it */
	const char *service;	     /* "shop.Orders" */
	const char *reason;	     /* CLOSED, OPENING: `error` in words; else "" */
	uint64_t n_received, n_sent; /* frames */
	uint64_t n_sleeps;	     /* times this side slept for the channel in a call */
	uint64_t n_wakes;	     /* wake system calls this side made for the peer */
	uint32_t page_bytes;	     /* of this side's ring: 0, or the size of its huge pages */
	uint32_t peer_page_bytes;    /* of the peer's */
	/* wakes put off because the peer asked for too many in a millisecond */
	uint64_t n_wakes_deferred;
	/* times this side stopped being awake, each with a membarrier(2) of its own or shared */
	uint64_t n_membarriers;
	uint32_t awake;	     /* 1: this side is awake now, and the peer publishes without a fence */
	uint32_t peer_awake; /* 1: the peer says so, and this side pays none */
};

/**
 * ipc_open() - reach a service
 * @loop:    a loop
 * @service: from the generated header; must outlive the channel
 * @opts:    NULL for the defaults
 * @ret:     set on success; ipc_channel_free()
 *
 * The channel survives its peer. When that dies, closes or drains, every call in flight ends
 * (UNAVAILABLE, with its fate: not executed where a peer that closed said so, else unknown), and
 * IPC_EVENT_CHANNEL comes with a negative status. The library then opens the channel again by
 * itself, as long as the loop is used, with pauses that grow to 2 s; IPC_EVENT_CHANNEL with status 0
 * says that the handle is good for calls again. ipc_channel_info() tells the difference between that
 * (OPENING) and a loss that is final (CLOSED): the capability was revoked, the peer or the server
 * found next broke the protocol, the broker is gone, or IPC_OPEN_ONCE was given. A failed ipc_open()
 * is final. A room that the program has open delays reopening until it is committed or aborted, and
 * a commit of it answers -EPIPE. Counters of ipc_channel_info() begin anew with each opening.
 *
 * A service that this very loop offers is not found: calls to oneself need no channel.
 *
 * Threads: the loop's. Blocks under opts->timeout_ns, unless IPC_OPEN_ASYNC is given; what happens
 *          on the loop meanwhile is kept for ipc_loop_next(). In either case the ring's memory is
 *          allocated at once, a gigabyte in about a quarter of a second.
 *
 * Return: 0; -EACCES no policy rule allows any of the service's methods (ipc_loop_error() names
 *         it);
 *         -ETIMEDOUT nobody serves it, or the server did not answer; -EDQUOT a limit of the policy;
 *         -EPIPE the server died meanwhile; -EPROTO the server's half failed its checks; -EINVAL;
 *         -E2BIG; -ENOTCONN the broker is gone; -EOPNOTSUPP one side's ring is of huge pages, which
 *         the other does not allow; -ENOMEM also too few huge pages (ipc_loop_error() says what to
 *         do);
 *         -EHOSTUNREACH the kernel cannot pass the descriptors (gVisor); -ENOMEM, -EMFILE; -ECHILD.
 */
IPC_PUBLIC int ipc_open(ipc_loop *loop, const struct ipc_service *service,
			const struct ipc_open_opts *opts, ipc_channel **ret);

/**
 * ipc_channel_info() - what is known of a channel
 * @channel: a channel
 * @ret:     size set by the caller; the rest is filled as far as that reaches
 *
 * Ownership: strings live as long as the channel. Threads: the loop's. Does not block.
 *
 * Return: 0; -EINVAL; -ECHILD after fork().
 */
IPC_PUBLIC int ipc_channel_info(ipc_channel *channel, struct ipc_channel_info *ret);

/**
 * ipc_channel_free() - close a channel
 * @channel: NULL does nothing. A client's: ends it and its calls; their handles are gone.
 *           A server's: ends it; its calls stay until the server ended each.
 *
 * The peer reads what was committed before it sees the end. Threads: the loop's. Does not block.
 */
IPC_PUBLIC void ipc_channel_free(ipc_channel *channel);

IPC_END_DECLS

#endif
