// SPDX-License-Identifier: Apache-2.0
/* The loop on epoll: the kernel's own semantics are the wanted ones, so there is little to do. */
#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/syscall.h>

#include "backend.h"
#include "cleanup.h"
#include "clock.h"

#ifndef SYS_epoll_pwait2
#define SYS_epoll_pwait2 441
#endif

#define BATCH_MAX 64u

static int epoll_open(struct ipci_loop *loop)
{
	int fd = epoll_create1(EPOLL_CLOEXEC);

	if (fd < 0)
		return -errno;
	loop->fd = fd;
	loop->state = NULL;
	return 0;
}

static void epoll_close(struct ipci_loop *loop)
{
	closep(&loop->fd);
}

static int control(struct ipci_loop *loop, int operation, struct ipci_source *source,
		   uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = source};

	return epoll_ctl(loop->fd, operation, source->fd, &event) < 0 ? -errno : 0;
}

static int epoll_add(struct ipci_loop *loop, struct ipci_source *source)
{
	return control(loop, EPOLL_CTL_ADD, source, source->events);
}

static int epoll_modify(struct ipci_loop *loop, struct ipci_source *source, uint32_t events)
{
	int r = control(loop, EPOLL_CTL_MOD, source, events);

	if (r == 0)
		source->events = events;
	return r;
}

static void epoll_remove(struct ipci_loop *loop, struct ipci_source *source)
{
	(void)control(loop, EPOLL_CTL_DEL, source, 0);
}

/* Nanoseconds need Linux 5.11, and a filter that knows of it; else milliseconds, rounded up. */
static int wait_until(int fd, struct epoll_event *events, int n_events, uint64_t until_ns)
{
	static _Atomic bool refused;
	uint64_t remaining = until_ns > 0 ? ipci_remaining_ns(until_ns, ipci_now_ns()) : 0;
	struct timespec timeout = ipci_timespec(remaining);
	uint64_t ms;
	long r;

	if (remaining == 0 || remaining == IPCI_NEVER)
		return epoll_wait(fd, events, n_events, remaining == 0 ? 0 : -1);
	/* Relaxed: it says nothing about other memory, and whoever misses it asks the kernel once
	 * more. */
	if (!atomic_load_explicit(&refused, memory_order_relaxed)) {
		r = syscall(SYS_epoll_pwait2, fd, events, n_events, &timeout, NULL, 0);
		if (r >= 0 || (errno != ENOSYS && errno != EPERM && errno != EACCES))
			return (int)r;
		atomic_store_explicit(&refused, true, memory_order_relaxed);
	}
	ms = (remaining - 1) / IPCI_NS_PER_MS + 1;
	return epoll_wait(fd, events, n_events, ms < INT_MAX ? (int)ms : INT_MAX);
}

static int epoll_wait_ready(struct ipci_loop *loop, struct ipci_ready *ready, unsigned n_ready,
			    uint64_t until_ns)
{
	struct epoll_event events[BATCH_MAX];
	int n = wait_until(loop->fd, events, (int)(n_ready < BATCH_MAX ? n_ready : BATCH_MAX),
			   until_ns);

	if (n < 0)
		return -errno;
	for (int i = 0; i < n; i++)
		ready[i] = (struct ipci_ready){events[i].data.ptr, events[i].events};
	return n;
}

const struct ipci_backend ipci_backend_epoll = {
	.kind = IPCI_LOOP_EPOLL,
	.open = epoll_open,
	.close = epoll_close,
	.add = epoll_add,
	.modify = epoll_modify,
	.remove = epoll_remove,
	.wait = epoll_wait_ready,
};
