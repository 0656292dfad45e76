/* SPDX-License-Identifier: Apache-2.0 */
/* One suite for both backends: every case runs on epoll and on io_uring, and must find the same. */
#ifndef IPCI_TESTS_LOOP_CASE_H
#define IPCI_TESTS_LOOP_CASE_H

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "clock.h"
#include "loop.h"

#define SECOND_NS IPCI_NS_PER_S

/* A case is a function of a loop; its two tests make and free that loop. */
#define CASE(name)                                                                                 \
	static void name(struct ipci_loop *loop);                                                  \
	Test(loop_epoll, name, .timeout = 30)                                                      \
	{                                                                                          \
		run(name, IPCI_LOOP_EPOLL);                                                        \
	}                                                                                          \
	Test(loop_uring, name, .timeout = 30)                                                      \
	{                                                                                          \
		run(name, IPCI_LOOP_URING);                                                        \
	}                                                                                          \
	static void name(struct ipci_loop *loop)

static inline void run(void (*test)(struct ipci_loop *), enum ipci_loop_backend backend)
{
	struct ipci_loop *loop;
	int r = ipci_loop_new(&loop, backend);

	if (r < 0 && backend == IPCI_LOOP_URING)
		cr_skip_test("io_uring is refused: %s", strerror(-r));
	cr_assert_eq(r, 0, "%s", strerror(-r));
	cr_assert_eq(ipci_loop_backend(loop), backend);
	test(loop);
	ipci_loop_free(loop);
}

/* A source that is ready while its counter is not zero. */
static inline struct ipci_source *event_source(struct ipci_loop *loop, unsigned value)
{
	struct ipci_source *source = calloc(1, sizeof(*source));
	int r;

	cr_assert_not_null(source);
	source->fd = eventfd(value, EFD_CLOEXEC | EFD_NONBLOCK);
	source->events = EPOLLIN;
	cr_assert_geq(source->fd, 0);
	r = ipci_loop_add(loop, source);
	cr_assert_eq(r, 0, "%s", strerror(-r));
	return source;
}

static inline void source_free(struct ipci_source *source)
{
	if (source->loop)
		ipci_loop_remove(source->loop, source);
	close(source->fd);
	free(source);
}

static inline void fire(const struct ipci_source *source)
{
	cr_assert_eq(eventfd_write(source->fd, 1), 0);
}

static inline uint64_t drain(const struct ipci_source *source)
{
	eventfd_t value = 0;

	(void)eventfd_read(source->fd, &value);
	return value;
}

static inline int wait_one(struct ipci_loop *loop, struct ipci_ready *ready, uint64_t timeout_ns)
{
	return ipci_loop_wait(loop, ready, 1, timeout_ns);
}

static inline void assert_only(struct ipci_loop *loop, struct ipci_source *source, uint32_t revents)
{
	struct ipci_ready ready[8];
	int n = ipci_loop_wait(loop, ready, 8, 10 * SECOND_NS);

	cr_assert_eq(n, 1, "%d", n);
	cr_assert_eq(ready[0].source, source);
	cr_assert_eq(ready[0].revents, revents, "%#x", ready[0].revents);
}

static inline void assert_nothing(struct ipci_loop *loop)
{
	struct ipci_ready ready[8];
	int n = ipci_loop_wait(loop, ready, 8, 0);

	cr_assert_eq(n, 0, "%d", n);
}

/* Sleeps as a host would; an io_uring loop makes that return EINTR. */
static inline bool readable(int fd, int timeout_ms)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
	int n;

	do
		n = poll(&poll_fd, 1, timeout_ms);
	while (n < 0 && errno == EINTR);
	cr_assert_geq(n, 0);
	return n > 0;
}

#endif
