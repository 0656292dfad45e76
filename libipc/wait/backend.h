/* SPDX-License-Identifier: Apache-2.0 */
/* What is behind a loop, for loop.c and its backends alone. */
#ifndef IPCI_WAIT_BACKEND_H
#define IPCI_WAIT_BACKEND_H

#include <stdbool.h>

#include "list.h"
#include "loop.h"

/* A backend knows sources and waiting; the deadline is a source to it, and fork() is none of its
 * business. */
struct ipci_backend {
	enum ipci_loop_backend kind;
	/* Fills in loop->fd and loop->state; leaves them on failure. */
	int (*open)(struct ipci_loop *loop);
	/* Closes loop->fd; in a forked child, where loop->forked, that has been done. */
	void (*close)(struct ipci_loop *loop);
	int (*add)(struct ipci_loop *loop, struct ipci_source *source);
	/* Also changes source->events, if it succeeds. */
	int (*modify)(struct ipci_loop *loop, struct ipci_source *source, uint32_t events);
	void (*remove)(struct ipci_loop *loop, struct ipci_source *source);
	/* Until @until_ns, an absolute time; 0 does not wait, IPCI_NEVER waits as long as it takes.
	 */
	int (*wait)(struct ipci_loop *loop, struct ipci_ready *ready, unsigned n_ready,
		    uint64_t until_ns);
	/* Of words; NULL where the backend has none of it, and then it never sees them. */
	bool (*has_words)(const struct ipci_loop *loop);
	int (*await)(struct ipci_loop *loop, struct ipci_source *source);
	/*
	 * Sends loop->wakes, all in one system call, and empties them. -errno where it cannot: then
	 * some of them may have been sent. A backend that has this also sends them in its wait.
	 */
	int (*wake)(struct ipci_loop *loop);
};

struct ipci_wake {
	_Atomic uint32_t *word; /* or NULL */
	int fd;			/* or negative */
};

struct ipci_loop {
	const struct ipci_backend *backend;
	void *state;	   /* the backend's own */
	int fd;		   /* the backend's, pollable */
	int host_fd;	   /* what a host was given in its place, or -EBADF: an epoll around it */
	bool any;	   /* the backend may still change for the better */
	uint64_t ended_ns; /* when a ring was given up; 0: never */
	bool stranded;	   /* words were awaited when it changed: they are reported, see loop.c */
	unsigned n_sleeps; /* until that is decided */
	bool forked;	   /* this is a child's copy */
	struct ipci_list link;
	struct ipci_list sources;
	struct ipci_source timer;
	uint64_t deadline_ns;
	uint64_t armed_ns; /* what the timer is set to: never later than the deadline */
	struct ipci_wake wakes[IPCI_LOOP_WAKES_MAX];
	unsigned n_wakes;
};

/* loop.c: sends loop->wakes one by one, and empties them. */
void ipci_wakes_send(struct ipci_loop *loop);

extern const struct ipci_backend ipci_backend_epoll, ipci_backend_uring;

#endif
