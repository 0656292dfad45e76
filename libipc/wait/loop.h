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
 * becomes io_uring after a few waits, unless that is refused. A loop on io_uring, asked for or not,
 * becomes epoll for good when the kernel refuses it later, or has no memory for it.
 */
#ifndef IPCI_WAIT_LOOP_H
#define IPCI_WAIT_LOOP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "list.h"

struct ipci_loop; /* heap-allocated: sources point to it from the kernel's side */

enum ipci_loop_backend {
	IPCI_LOOP_ANY = 0, /* the better one, see above */
	IPCI_LOOP_EPOLL,
	IPCI_LOOP_URING,
};

/* Waits for a descriptor; or, where @word is set, for that: see ipci_loop_await(). */
struct ipci_source {
	int fd;		 /* the caller's; open until removed; in one source of a loop */
	uint32_t events; /* EPOLLIN, EPOLLOUT, EPOLLRDHUP …; EPOLLERR and EPOLLHUP always */
	const _Atomic uint32_t *word; /* NULL; or a futex word, mapped until removed */
	void *user;
	/* private to the loop */
	struct ipci_loop *loop; /* NULL: not added */
	struct ipci_list link;
	uint32_t expected; /* of the word */
	bool awaited;	   /* the word, and not reported since */
	void *watch;	   /* the backend's own part of it */
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
 * Can words be awaited? On io_uring with Linux 6.7 and later, which is tried by a wait and a wake;
 * not on epoll. What it says may change with each wait.
 */
bool ipci_loop_has_words(const struct ipci_loop *loop);

/*
 * From the next wait on, until reported once, with EPOLLIN: @source, added before, is ready when
 * its word is another than @expected, or was woken by a futex wake after this call. It may also be
 * reported for no reason, as when the loop becomes another. Awaiting it again before it was
 * reported costs nothing, and changes @expected. 0; -EOPNOTSUPP where ipci_loop_has_words() is
 * false; -ENOMEM; -ECHILD.
 */
int ipci_loop_await(struct ipci_loop *loop, struct ipci_source *source, uint32_t expected);

/*
 * A wake for later: of those who sleep on the futex @word, where that is not NULL, and of the other
 * end of the bell @fd, where that is not negative. All that were collected go out together in
 * ipci_loop_wait(), before it sleeps, in ipci_loop_flush_wakes(), or when there are
 * IPCI_LOOP_WAKES_MAX: one system call on io_uring, one a wake on epoll. Until then the caller
 * keeps the word mapped and the bell open.
 */
#define IPCI_LOOP_WAKES_MAX 32u
void ipci_loop_wake_later(struct ipci_loop *loop, _Atomic uint32_t *word, int fd);
void ipci_loop_flush_wakes(struct ipci_loop *loop);

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
