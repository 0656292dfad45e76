/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Waiting for many descriptors and one deadline at once: io_uring where the kernel and the
 * container allow it, epoll where they do not. Used by ipc_loop (channels' bells, the control
 * socket, the program's own fds) and by the broker. No callbacks: a source is a caller-owned struct
 * that comes back when it is ready.
 *
 * Level-triggered for every source: what is still ready is reported again by the next wait, and
 * what is no longer ready when that wait begins is not. ipci_loop_fd() is one pollable fd for all
 * of it, the deadline included, for hosting in another event loop: readable while a wait might have
 * something to report, and sometimes, briefly, when it has nothing; never silent while something is
 * ready, provided that the last wait returned without error.
 *
 * Any thread, one at a time; a loop may move between threads (no SINGLE_ISSUER), and the thread
 * that waited last may end. After fork() the child's copy of a loop is closed: every call answers
 * -ECHILD, and only ipci_loop_free() is of use.
 *
 * IPCI_LOOP_ANY is epoll where a host polls ipci_loop_fd(): io_uring would make the host's own
 * epoll_wait(2) return EINTR with every event. Where the program sleeps in ipci_loop_wait() it
 * becomes io_uring after a few waits, unless that is refused.
 */
#ifndef IPCI_WAIT_LOOP_H
#define IPCI_WAIT_LOOP_H

#include <stdint.h>

#include "list.h"

struct ipci_loop; /* heap-allocated: sources point to it from the kernel's side */

enum ipci_loop_backend {
	IPCI_LOOP_ANY = 0, /* the better one, see above */
	IPCI_LOOP_EPOLL,
	IPCI_LOOP_URING,
};

struct ipci_source {
	int fd;		 /* the caller's; open until removed; in one source of a loop */
	uint32_t events; /* EPOLLIN, EPOLLOUT, EPOLLRDHUP …; EPOLLERR and EPOLLHUP always */
	void *user;
	/* private to the loop */
	struct ipci_loop *loop; /* NULL: not added */
	struct ipci_list link;
	void *watch; /* the backend's own part of it */
};

struct ipci_ready {
	struct ipci_source *source;
	uint32_t revents;
};

/* 0; -errno of the backend asked for. IPCI_LOOP_ANY needs nothing that containers refuse. */
int ipci_loop_new(struct ipci_loop **ret, enum ipci_loop_backend backend);
void ipci_loop_free(struct ipci_loop *loop); /* NULL is fine; sources still added are forgotten */
enum ipci_loop_backend ipci_loop_backend(const struct ipci_loop *loop); /* which one it is now */
/*
 * The fd for a host to poll; the same from the first call on. Call it before a wait, which then
 * arms everything there. -EBADF in a forked child.
 */
int ipci_loop_fd(struct ipci_loop *loop);

/*
 * @source must stay where it is until removed. 0; -EPERM a file that cannot be polled; -EBADF;
 * -ENOMEM; -ENOSPC; -EMFILE.
 */
int ipci_loop_add(struct ipci_loop *loop, struct ipci_source *source);
int ipci_loop_modify(struct ipci_loop *loop, struct ipci_source *source, uint32_t events);
/*
 * After it returns the source is never reported again, also not by a batch being worked off by the
 * caller's next wait; entries of the batch already returned are the caller's to skip. A source that
 * is not added is fine.
 */
void ipci_loop_remove(struct ipci_loop *loop, struct ipci_source *source);

/*
 * The one deadline: absolute CLOCK_MONOTONIC, IPCI_NEVER for none. Makes ipci_loop_fd() readable
 * once it passed, until it is set anew. Cheap when unchanged or moved later: no system call.
 */
int ipci_loop_set_deadline(struct ipci_loop *loop, uint64_t deadline_ns);

/*
 * Waits for at most @timeout_ns (0: not at all; IPCI_NEVER: as long as it takes) or until the
 * deadline set above. Everything added or changed before is armed in the kernel when this returns,
 * so that the host may sleep on ipci_loop_fd(). Returns the number of ready sources, up to
 * @n_ready; 0 on time-out; -EINTR; -ENOMEM.
 */
int ipci_loop_wait(struct ipci_loop *loop, struct ipci_ready *ready, unsigned n_ready,
		   uint64_t timeout_ns);

#endif
