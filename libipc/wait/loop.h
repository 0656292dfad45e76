/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Waiting for many descriptors and one deadline at once: io_uring where the kernel and the container allow
 * it, epoll where they do not. Used by ipc_loop (channels' bells, the control socket, the program's own fds)
 * and by the broker. No callbacks: a source is a caller-owned struct that comes back when it is ready.
 *
 * Level-triggered for every source: what is still ready is reported again by the next wait. ipci_loop_fd() is one
 * pollable, level-triggered fd for all of it, the deadline included, for hosting in another event loop.
 * Any thread, one at a time; a loop may move between threads (no SINGLE_ISSUER).
 */
#ifndef IPCI_WAIT_LOOP_H
#define IPCI_WAIT_LOOP_H

#include <stdint.h>

struct ipci_loop; /* heap-allocated: sources point to it from the kernel's side */

enum ipci_loop_backend {
	IPCI_LOOP_ANY = 0, /* io_uring, else epoll */
	IPCI_LOOP_EPOLL,
	IPCI_LOOP_URING,
};

struct ipci_source {
	int fd;          /* the caller's; open until removed */
	uint32_t events; /* EPOLLIN, EPOLLOUT, EPOLLRDHUP …; EPOLLERR and EPOLLHUP always */
	void *user;
	/* private to the loop */
	struct ipci_loop *loop;
	uint64_t slot; /* identifies this registration; late completions of an older one are dropped */
};

struct ipci_ready {
	struct ipci_source *source;
	uint32_t revents;
};

/* 0; -errno of the backend asked for; IPCI_LOOP_ANY falls back on any refusal of io_uring. */
int ipci_loop_new(struct ipci_loop **ret, enum ipci_loop_backend backend);
void ipci_loop_free(struct ipci_loop *loop);
enum ipci_loop_backend ipci_loop_backend(const struct ipci_loop *loop); /* which one it became */
int ipci_loop_fd(const struct ipci_loop *loop);

/* @source must stay where it is until removed. 0; -EPERM a file that cannot be polled; -EBADF; -ENOMEM; -ENOSPC. */
int ipci_loop_add(struct ipci_loop *loop, struct ipci_source *source);
int ipci_loop_modify(struct ipci_loop *loop, struct ipci_source *source, uint32_t events);
/* After it returns the source is never reported again, also not by a batch being worked off by the caller's next
 * wait; entries of the batch already returned are the caller's to skip. */
void ipci_loop_remove(struct ipci_loop *loop, struct ipci_source *source);

/* The one deadline: absolute CLOCK_MONOTONIC, IPCI_NEVER for none. Makes ipci_loop_fd() readable once it passed.
 * Cheap when unchanged: no system call. */
int ipci_loop_set_deadline(struct ipci_loop *loop, uint64_t deadline_ns);

/*
 * Waits for at most @timeout_ns (0: not at all; IPCI_NEVER: as long as it takes) or until the deadline set above.
 * Everything added or changed before is armed in the kernel when this returns, so that the host may sleep on
 * ipci_loop_fd(). Returns the number of ready sources, up to @n_ready; 0 on time-out; -EINTR; -ENOMEM.
 */
int ipci_loop_wait(struct ipci_loop *loop, struct ipci_ready *ready, unsigned n_ready, uint64_t timeout_ns);

#endif
