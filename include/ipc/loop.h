/* SPDX-License-Identifier: Apache-2.0 */
/* The loop: the broker connection and everything that one thread waits for. */
#ifndef IPC_LOOP_H
#define IPC_LOOP_H

#include <ipc/event.h>
#include <ipc/types.h>

IPC_BEGIN_DECLS

/* How a loop sleeps. Also read from the environment: IPC_WAIT=auto|spin|futex|epoll|uring. */
enum ipc_wait {
	IPC_WAIT_AUTO =
		0, /* spin a little, then a futex inside a call, io_uring or epoll in the loop */
	IPC_WAIT_SPIN = 1,  /* never sleep while a channel has been busy lately */
	IPC_WAIT_FUTEX = 2, /* do not spin; sleep on the peers' futex words first */
	IPC_WAIT_EPOLL = 3, /* do not use io_uring */
	IPC_WAIT_URING = 4, /* -ENOSYS and the like where io_uring is refused */
};

enum ipc_loop_flag {
	/*
	 * Wakes of sleeping peers wait for the next ipc_loop_next(), or for the next call on the
	 * loop that blocks, and then go out together: on io_uring in one system call, however many
	 * peers they are for. For a loop that serves many channels and soon calls ipc_loop_next()
	 * again. Else a peer is woken by the call that gave it something, unless that has IPC_MORE.
	 */
	IPC_LOOP_BATCH_WAKES = 1u << 0,
	/*
	 * Do without membarrier(2): every message then pays for a fence, and no process on this
	 * host is interrupted by one. For measurements, and for hosts with real-time neighbours.
	 */
	IPC_LOOP_NO_MEMBARRIER = 1u << 1,
};

struct ipc_loop_opts {
	size_t size;	    /* sizeof(struct ipc_loop_opts) */
	uint32_t flags;	    /* IPC_LOOP_… */
	uint32_t wait;	    /* enum ipc_wait; the environment's IPC_WAIT applies where this is 0 */
	const char *broker; /* the broker's socket; NULL: $IPC_BROKER, else /run/ipc/broker.sock */
	const char *token;  /* NULL; reserved for capability tokens */
	/*
	 * longest spin before a sleep; 0: adaptive, up to 50 us. None with a single CPU, by
	 * affinity, cpuset or CPU quota, when the loop is made; IPC_WAIT_SPIN overrides all but a
	 * quota below one CPU
	 */
	uint64_t spin_ns;
};

/**
 * ipc_loop_new() - connect to the broker
 * @ret:  set on success; free it with ipc_loop_free()
 * @opts: NULL for the defaults
 *
 * Threads: any. Blocks while it connects and says hello, for at most 5 s.
 *
 * Return: 0; -EINVAL a bad option; -E2BIG @opts has a nonzero part that this library does not know;
 *         -ENOENT, -ECONNREFUSED no broker there; -EACCES the socket is not this user's;
 *         -EPROTO the broker does not speak this protocol; -ETIMEDOUT; -ENOMEM, -EMFILE, -ENFILE;
 *         with IPC_WAIT_URING what io_uring_setup(2) answered. In words: ipc_loop_error(NULL).
 */
IPC_PUBLIC int ipc_loop_new(ipc_loop **ret, const struct ipc_loop_opts *opts);

/**
 * ipc_loop_free() - disconnect, and free the loop and all that is on it
 * @loop: NULL does nothing
 *
 * Frees its servers, channels and calls; peers learn of it at once. Kept messages stay
 * readable until they are released.
 * Threads: the loop's. Does not block. Legal after fork(), where peers are told nothing.
 */
IPC_PUBLIC void ipc_loop_free(ipc_loop *loop);

/**
 * ipc_loop_fd() - the one fd to wait on from another event loop
 * @loop: a loop
 *
 * Level-triggered: readable whenever ipc_loop_next() has something to do, deadlines included,
 * provided that ipc_loop_next(loop, event, 0) has returned 0 since the last other call on the loop.
 *
 * Ownership: the loop's; do not close it. Threads: the loop's. Does not block.
 *
 * Return: the fd; -ECHILD after fork().
 */
IPC_PUBLIC int ipc_loop_fd(ipc_loop *loop);

/**
 * ipc_loop_next() - the next event
 * @loop:       a loop
 * @event:      filled when 1 is returned, untouched otherwise
 * @timeout_ns: how long to wait, CLOCK_MONOTONIC nanoseconds; 0 not at all, negative for ever
 *
 * Ends the borrow of the message that the loop delivered before.
 * Threads: the loop's. Blocks as @timeout_ns says; a busy channel is served without a system call.
 *
 * Return: 1 an event; 0 none, and the loop is armed: ipc_loop_fd() becomes readable when there is
 *         one;
 *         -EINTR a signal came first, or, hardly ever, the end of an io_uring that the kernel
 *         refused and that was given up for epoll; -ECHILD after fork(); -ENOMEM.
 */
IPC_PUBLIC int ipc_loop_next(ipc_loop *loop, struct ipc_event *event, int64_t timeout_ns);

/**
 * ipc_loop_post() - wake a loop from another thread
 * @loop: a loop that stays alive during the call
 * @user: comes back in an IPC_EVENT_POST, posts in order, each once
 *
 * Threads: any: the one call that is. Does not block. Not for signal handlers (it allocates).
 *
 * Return: 0; -ENOMEM; -ECHILD after fork().
 */
IPC_PUBLIC int ipc_loop_post(ipc_loop *loop, void *user);

/**
 * ipc_loop_watch() - wait for a descriptor of the program's own beside the channels
 * @loop:   a loop
 * @fd:     a pollable descriptor; the program's, and open until it is unwatched
 * @events: EPOLLIN and the like, level-triggered; 0 unwatches
 * @user:   comes back in IPC_EVENT_FD
 *
 * Threads: the loop's. Does not block. Watching a watched fd again changes what it is watched for.
 *
 * Return: 0; -EBADF; -EPERM the fd is of a kind that cannot be polled; -ENOENT nothing to unwatch;
 *         -ENOMEM, -ENOSPC; -ECHILD after fork().
 */
IPC_PUBLIC int ipc_loop_watch(ipc_loop *loop, int fd, uint32_t events, void *user);

/**
 * ipc_loop_error() - the last failure in words
 * @loop: a loop; NULL for this thread's last failed ipc_loop_new()
 *
 * Names the missing policy rule where the broker refused.
 * Ownership: the loop's (the thread's), until its next failure. Threads: the loop's. Does not
 *            block.
 *
 * Return: one line without a newline; "" if nothing failed yet.
 */
IPC_PUBLIC const char *ipc_loop_error(ipc_loop *loop);

IPC_END_DECLS

#endif
