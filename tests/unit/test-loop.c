// SPDX-License-Identifier: Apache-2.0
/* One suite for both backends: every case runs on epoll and on io_uring, and must find the same. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <criterion/criterion.h>
#include <seccomp.h>

#include "bell.h"
#include "cleanup.h"
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

static void run(void (*test)(struct ipci_loop *), enum ipci_loop_backend backend)
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
static struct ipci_source *event_source(struct ipci_loop *loop, unsigned value)
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

static void source_free(struct ipci_source *source)
{
	if (source->loop)
		ipci_loop_remove(source->loop, source);
	close(source->fd);
	free(source);
}

static void fire(const struct ipci_source *source)
{
	cr_assert_eq(eventfd_write(source->fd, 1), 0);
}

static uint64_t drain(const struct ipci_source *source)
{
	eventfd_t value = 0;

	(void)eventfd_read(source->fd, &value);
	return value;
}

static int wait_one(struct ipci_loop *loop, struct ipci_ready *ready, uint64_t timeout_ns)
{
	return ipci_loop_wait(loop, ready, 1, timeout_ns);
}

static void assert_only(struct ipci_loop *loop, struct ipci_source *source, uint32_t revents)
{
	struct ipci_ready ready[8];
	int n = ipci_loop_wait(loop, ready, 8, 10 * SECOND_NS);

	cr_assert_eq(n, 1, "%d", n);
	cr_assert_eq(ready[0].source, source);
	cr_assert_eq(ready[0].revents, revents, "%#x", ready[0].revents);
}

static void assert_nothing(struct ipci_loop *loop)
{
	struct ipci_ready ready[8];
	int n = ipci_loop_wait(loop, ready, 8, 0);

	cr_assert_eq(n, 0, "%d", n);
}

/* Sleeps as a host would; an io_uring loop makes that return EINTR. */
static bool readable(int fd, int timeout_ms)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
	int n;

	do
		n = poll(&poll_fd, 1, timeout_ms);
	while (n < 0 && errno == EINTR);
	cr_assert_geq(n, 0);
	return n > 0;
}

CASE(what_is_still_ready_is_reported_again)
{
	struct ipci_source *source = event_source(loop, 1);

	for (int i = 0; i < 5; i++)
		assert_only(loop, source, EPOLLIN);
	drain(source);
	assert_nothing(loop);
	fire(source);
	assert_only(loop, source, EPOLLIN);
	source_free(source);
}

CASE(what_was_drained_between_waits_is_not_reported)
{
	struct ipci_source *source = event_source(loop, 0);

	assert_nothing(loop);
	for (int i = 0; i < 5; i++) {
		fire(source);
		drain(source);
		assert_nothing(loop);
	}
	source_free(source);
}

CASE(what_came_between_waits_is_reported)
{
	struct ipci_source *sources[3];

	for (int i = 0; i < 3; i++)
		sources[i] = event_source(loop, 0);
	for (int i = 0; i < 3; i++) {
		assert_nothing(loop);
		fire(sources[i]);
		assert_only(loop, sources[i], EPOLLIN);
		drain(sources[i]);
	}
	for (int i = 0; i < 3; i++)
		source_free(sources[i]);
}

CASE(a_source_added_after_a_wait_is_reported)
{
	struct ipci_source *first = event_source(loop, 0), *second;

	assert_nothing(loop);
	second = event_source(loop, 1);
	assert_only(loop, second, EPOLLIN);
	source_free(first);
	source_free(second);
}

CASE(modify_changes_what_is_reported)
{
	struct ipci_source *source = event_source(loop, 1);

	assert_only(loop, source, EPOLLIN);
	cr_assert_eq(ipci_loop_modify(loop, source, EPOLLOUT), 0);
	assert_only(loop, source, EPOLLOUT);
	cr_assert_eq(ipci_loop_modify(loop, source, EPOLLIN | EPOLLOUT), 0);
	assert_only(loop, source, EPOLLIN | EPOLLOUT);
	cr_assert_eq(ipci_loop_modify(loop, source, 0), 0);
	assert_nothing(loop);
	/* In flight now, and with nothing asked for. */
	cr_assert_eq(ipci_loop_modify(loop, source, EPOLLIN), 0);
	assert_only(loop, source, EPOLLIN);
	source_free(source);
}

CASE(hang_up_is_reported_unasked_and_its_half_only_when_asked_for)
{
	int fds[2];
	struct ipci_source source;

	cr_assert_eq(ipci_bell_pair(fds), 0);
	source = (struct ipci_source){.fd = fds[0]};
	cr_assert_eq(ipci_loop_add(loop, &source), 0);
	assert_nothing(loop);
	cr_assert_eq(shutdown(fds[1], SHUT_WR), 0);
	assert_nothing(loop);
	assert_nothing(loop);
	cr_assert_eq(ipci_loop_modify(loop, &source, EPOLLRDHUP), 0);
	assert_only(loop, &source, EPOLLRDHUP);
	cr_assert_eq(ipci_loop_modify(loop, &source, 0), 0);
	assert_nothing(loop);
	close(fds[1]);
	assert_only(loop, &source, EPOLLHUP);
	ipci_loop_remove(loop, &source);
	close(fds[0]);
}

CASE(a_half_hang_up_that_nobody_asked_for_does_not_keep_the_wait_busy)
{
	int fds[2];
	struct ipci_source source;
	struct rusage before, after;
	struct ipci_ready ready;

	cr_assert_eq(ipci_bell_pair(fds), 0);
	source = (struct ipci_source){.fd = fds[0]};
	cr_assert_eq(ipci_loop_add(loop, &source), 0);
	cr_assert_eq(shutdown(fds[1], SHUT_WR), 0);
	getrusage(RUSAGE_SELF, &before);
	cr_assert_eq(wait_one(loop, &ready, SECOND_NS / 2), 0);
	getrusage(RUSAGE_SELF, &after);
	/* Asleep once or twice, and never runnable beyond that: not thousands of rounds. */
	cr_assert_lt(after.ru_nvcsw + after.ru_nivcsw - before.ru_nvcsw - before.ru_nivcsw, 1000);
	cr_assert_lt(after.ru_utime.tv_sec * 1000000 + after.ru_utime.tv_usec -
			     before.ru_utime.tv_sec * 1000000 - before.ru_utime.tv_usec,
		     100000);
	ipci_loop_remove(loop, &source);
	close(fds[0]);
	close(fds[1]);
}

CASE(a_source_removed_while_ready_is_not_reported)
{
	struct ipci_source *gone = event_source(loop, 1), *stays = event_source(loop, 0);
	struct ipci_ready ready;

	/* Removed after a report, in flight, and before it was ever armed. */
	assert_only(loop, gone, EPOLLIN);
	ipci_loop_remove(loop, gone);
	assert_nothing(loop);
	drain(gone);
	cr_assert_eq(ipci_loop_add(loop, gone), 0);
	assert_nothing(loop);
	fire(gone);
	ipci_loop_remove(loop, gone);
	assert_nothing(loop);
	cr_assert_eq(ipci_loop_add(loop, gone), 0);
	ipci_loop_remove(loop, gone);
	assert_nothing(loop);
	ipci_loop_remove(loop, gone);
	fire(stays);
	cr_assert_eq(wait_one(loop, &ready, IPCI_NEVER), 1);
	cr_assert_eq(ready.source, stays);
	source_free(gone);
	source_free(stays);
}

CASE(a_descriptor_number_used_again_brings_no_events_of_the_old_one)
{
	for (int i = 0; i < 20; i++) {
		struct ipci_source *old = event_source(loop, 0), *new;
		int fd = old->fd;

		assert_nothing(loop);
		fire(old);
		source_free(old);
		new = event_source(loop, 0);
		cr_assert_eq(new->fd, fd);
		assert_nothing(loop);
		fire(new);
		assert_only(loop, new, EPOLLIN);
		source_free(new);
	}
}

CASE(a_removed_source_no_longer_keeps_its_file_open)
{
	int fds[2];
	struct ipci_source source;

	cr_assert_eq(ipci_bell_pair(fds), 0);
	source = (struct ipci_source){.fd = fds[0], .events = EPOLLIN};
	cr_assert_eq(ipci_loop_add(loop, &source), 0);
	assert_nothing(loop);
	ipci_loop_remove(loop, &source);
	close(fds[0]);
	cr_assert(readable(fds[1], 10000));
	cr_assert(ipci_bell_hung_up(fds[1]));
	close(fds[1]);
}

Test(loop_uring, a_freed_loop_no_longer_keeps_its_files_open, .timeout = 30)
{
	int fds[2];
	struct ipci_loop *loop;
	struct ipci_source source;
	int r = ipci_loop_new(&loop, IPCI_LOOP_URING);

	if (r < 0)
		cr_skip_test("io_uring is refused: %s", strerror(-r));
	cr_assert_eq(ipci_bell_pair(fds), 0);
	source = (struct ipci_source){.fd = fds[0], .events = EPOLLIN};
	cr_assert_eq(ipci_loop_add(loop, &source), 0);
	assert_nothing(loop);
	ipci_loop_free(loop);
	close(fds[0]);
	cr_assert(readable(fds[1], 10000));
	close(fds[1]);
}

/* More than a ring has room for, and many more than a batch. */
#define MANY 1500

CASE(of_many_ready_sources_each_is_reported_in_turn)
{
	struct rlimit limit;
	static struct ipci_source *sources[MANY];
	static unsigned n_reports[MANY];
	struct ipci_ready ready[64];
	unsigned n_reported = 0;

	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_cur < MANY + 64)
		cr_skip_test("not %d descriptors allowed", MANY + 64);
	for (size_t i = 0; i < MANY; i++) {
		sources[i] = event_source(loop, 0);
		sources[i]->user = &n_reports[i];
	}
	assert_nothing(loop);
	for (size_t i = 0; i < MANY; i++)
		fire(sources[i]);
	/* None drained: the first round must reach all before the second round reaches any for a
	 * third time. */
	while (n_reported < 2 * MANY) {
		int n = ipci_loop_wait(loop, ready, 64, IPCI_NEVER);

		cr_assert_gt(n, 0);
		for (int i = 0; i < n; i++) {
			unsigned *count = ready[i].source->user;

			cr_assert_leq(++*count, 3);
			n_reported++;
		}
	}
	for (size_t i = 0; i < MANY; i++) {
		cr_assert_geq(n_reports[i], 1, "source %zu", i);
		drain(sources[i]);
	}
	assert_nothing(loop);
	for (size_t i = 0; i < MANY; i++)
		source_free(sources[i]);
}

CASE(a_time_out_returns_nothing)
{
	struct ipci_source *source = event_source(loop, 0);
	struct ipci_ready ready;
	uint64_t start = ipci_now_ns();

	cr_assert_eq(wait_one(loop, &ready, 2 * IPCI_NS_PER_MS), 0);
	cr_assert_geq(ipci_now_ns(), start + 2 * IPCI_NS_PER_MS);
	cr_assert_eq(wait_one(loop, &ready, 1), 0);
	source_free(source);
}

CASE(the_deadline_ends_a_wait_and_makes_the_fd_readable_until_set_anew)
{
	struct ipci_source *source = event_source(loop, 0);
	struct ipci_ready ready;
	uint64_t deadline = ipci_deadline_ns(2 * IPCI_NS_PER_MS);

	cr_assert_eq(ipci_loop_set_deadline(loop, deadline), 0);
	cr_assert_eq(wait_one(loop, &ready, IPCI_NEVER), 0);
	cr_assert_geq(ipci_now_ns(), deadline);
	cr_assert(readable(ipci_loop_fd(loop), -1));
	cr_assert_eq(wait_one(loop, &ready, IPCI_NEVER), 0);
	cr_assert(readable(ipci_loop_fd(loop), -1));
	/* A passed deadline hides no source. */
	fire(source);
	while (wait_one(loop, &ready, IPCI_NEVER) == 0)
		;
	cr_assert_eq(ready.source, source);
	drain(source);

	cr_assert_eq(ipci_loop_set_deadline(loop, ipci_deadline_ns(1000 * SECOND_NS)), 0);
	assert_nothing(loop);
	cr_assert_not(readable(ipci_loop_fd(loop), 0));
	cr_assert_eq(ipci_loop_set_deadline(loop, IPCI_NEVER), 0);
	assert_nothing(loop);
	cr_assert_not(readable(ipci_loop_fd(loop), 0));
	cr_assert_eq(ipci_loop_set_deadline(loop, 0), 0);
	cr_assert_eq(wait_one(loop, &ready, IPCI_NEVER), 0);
	source_free(source);
}

CASE(a_deadline_that_moved_later_does_not_end_a_wait_early)
{
	struct ipci_ready ready;
	uint64_t deadline;

	cr_assert_eq(ipci_loop_set_deadline(loop, ipci_deadline_ns(IPCI_NS_PER_MS)), 0);
	deadline = ipci_deadline_ns(30 * IPCI_NS_PER_MS);
	cr_assert_eq(ipci_loop_set_deadline(loop, deadline), 0);
	cr_assert_eq(wait_one(loop, &ready, IPCI_NEVER), 0);
	cr_assert_geq(ipci_now_ns(), deadline);
}

CASE(a_deadline_that_moved_earlier_ends_a_wait)
{
	struct ipci_ready ready;

	cr_assert_eq(ipci_loop_set_deadline(loop, ipci_deadline_ns(1000 * SECOND_NS)), 0);
	assert_nothing(loop);
	cr_assert_eq(ipci_loop_set_deadline(loop, ipci_deadline_ns(IPCI_NS_PER_MS)), 0);
	cr_assert(readable(ipci_loop_fd(loop), -1));
	cr_assert_eq(wait_one(loop, &ready, IPCI_NEVER), 0);
}

CASE(a_host_sees_one_readable_fd_until_nothing_is_left)
{
	struct ipci_source *first = event_source(loop, 0), *second = event_source(loop, 0);
	int fd = ipci_loop_fd(loop);
	struct ipci_ready ready;

	assert_nothing(loop);
	cr_assert_not(readable(fd, 0));
	fire(first);
	fire(second);
	cr_assert(readable(fd, -1));
	cr_assert_eq(wait_one(loop, &ready, 0), 1);
	cr_assert(readable(fd, 0));
	drain(ready.source);
	cr_assert_eq(wait_one(loop, &ready, 0), 1);
	/* Reported and not drained. */
	cr_assert(readable(fd, 0));
	cr_assert_eq(wait_one(loop, &ready, 0), 1);
	drain(ready.source);
	assert_nothing(loop);
	cr_assert_not(readable(fd, 0));
	cr_assert_eq(ipci_loop_fd(loop), fd);
	source_free(first);
	source_free(second);
}

CASE(a_loop_can_host_a_loop)
{
	for (int backend = IPCI_LOOP_EPOLL; backend <= IPCI_LOOP_URING; backend++) {
		struct ipci_loop *inner;
		struct ipci_source *source, host = {.events = EPOLLIN};

		if (ipci_loop_new(&inner, (enum ipci_loop_backend)backend) < 0)
			continue;
		source = event_source(inner, 0);
		host.fd = ipci_loop_fd(inner);
		cr_assert_eq(ipci_loop_add(loop, &host), 0);
		for (int i = 0; i < 10; i++) {
			assert_nothing(inner);
			assert_nothing(loop);
			fire(source);
			assert_only(loop, &host, EPOLLIN);
			assert_only(inner, source, EPOLLIN);
			drain(source);
		}
		ipci_loop_remove(loop, &host);
		source_free(source);
		ipci_loop_free(inner);
	}
}

CASE(what_cannot_be_waited_for_is_refused)
{
	char path[] = "/tmp/ipc-test-loop-XXXXXX";
	int file = mkostemp(path, O_CLOEXEC);
	struct ipci_source source = {.fd = file, .events = EPOLLIN};
	struct ipci_ready ready;

	cr_assert_geq(file, 0);
	unlink(path);
	cr_assert_eq(ipci_loop_add(loop, &source), -EPERM);
	close(file);
	cr_assert_eq(ipci_loop_add(loop, &source), -EBADF);
	cr_assert_null(source.loop);
	cr_assert_eq(ipci_loop_wait(loop, &ready, 0, 0), -EINVAL);
	assert_nothing(loop);
}

static void on_signal(int number)
{
	(void)number;
}

struct sleeper {
	pid_t tid;
	pthread_t thread;
};

/* One signal, sent once the thread is seen to sleep. */
static void *interrupt(void *argument)
{
	struct sleeper *sleeper = argument;
	char path[64], stat[256], *end = NULL;
	ssize_t n;

	(void)snprintf(path, sizeof(path), "/proc/self/task/%d/stat", sleeper->tid);
	do {
		_cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);

		sched_yield();
		n = read(fd, stat, sizeof(stat) - 1);
		stat[n > 0 ? n : 0] = '\0';
		end = strrchr(stat, ')');
	} while (end && end[2] != 'S');
	return pthread_kill(sleeper->thread, SIGUSR1) == 0 ? NULL : sleeper;
}

CASE(a_signal_interrupts_a_wait)
{
	static const uint64_t timeouts[] = {IPCI_NEVER, 1000 * SECOND_NS, IPCI_NEVER};
	struct sigaction action = {.sa_handler = on_signal};
	struct sleeper sleeper = {gettid(), pthread_self()};
	struct ipci_source *source = event_source(loop, 0);
	struct ipci_ready ready;

	cr_assert_eq(sigaction(SIGUSR1, &action, NULL), 0);
	/* The first wait has something to arm as well. */
	for (size_t i = 0; i < 3; i++) {
		pthread_t thread;
		void *failed;

		cr_assert_eq(pthread_create(&thread, NULL, interrupt, &sleeper), 0);
		cr_assert_eq(wait_one(loop, &ready, timeouts[i]), -EINTR);
		cr_assert_eq(pthread_join(thread, &failed), 0);
		cr_assert_null(failed);
	}
	fire(source);
	assert_only(loop, source, EPOLLIN);
	source_free(source);
}

static void *wait_here(void *argument)
{
	assert_nothing(argument);
	return NULL;
}

CASE(a_loop_outlives_the_thread_that_armed_it)
{
	struct ipci_source *source = event_source(loop, 0);

	for (int i = 0; i < 3; i++) {
		pthread_t thread;

		cr_assert_eq(pthread_create(&thread, NULL, wait_here, loop), 0);
		cr_assert_eq(pthread_join(thread, NULL), 0);
		fire(source);
		/* First as a host, then directly. */
		if (i == 0)
			cr_assert(readable(ipci_loop_fd(loop), -1));
		assert_only(loop, source, EPOLLIN);
		drain(source);
	}
	source_free(source);
}

#define N_PRODUCED 20000
#define N_SOURCES 8u

static void *produce(void *argument)
{
	struct ipci_source **sources = argument;

	for (unsigned i = 0; i < N_PRODUCED; i++)
		if (eventfd_write(sources[i % N_SOURCES]->fd, 1) < 0)
			return sources;
	return NULL;
}

/* Sleeps without any time-out, so a lost event is a test that times out. */
static void consume_all(struct ipci_loop *loop, bool hosted)
{
	struct ipci_source *sources[N_SOURCES];
	struct ipci_ready ready[3];
	uint64_t n_consumed = 0;
	pthread_t producer;
	void *failed;

	for (unsigned i = 0; i < N_SOURCES; i++)
		sources[i] = event_source(loop, 0);
	cr_assert_eq(pthread_create(&producer, NULL, produce, sources), 0);
	while (n_consumed < N_PRODUCED) {
		int n = ipci_loop_wait(loop, ready, 3, hosted ? 0 : IPCI_NEVER);

		cr_assert_geq(n, 0, "%s", strerror(-n));
		for (int i = 0; i < n; i++)
			n_consumed += drain(ready[i].source);
		if (n == 0)
			cr_assert(readable(ipci_loop_fd(loop), -1));
	}
	cr_assert_eq(n_consumed, N_PRODUCED);
	cr_assert_eq(pthread_join(producer, &failed), 0);
	cr_assert_null(failed);
	for (unsigned i = 0; i < N_SOURCES; i++)
		source_free(sources[i]);
}

CASE(no_event_of_another_thread_is_lost)
{
	consume_all(loop, false);
}

CASE(no_event_of_another_thread_is_lost_to_a_host)
{
	consume_all(loop, true);
}

/* What poll(2) says of all sources that are added now must be what the loop says. */
static void assert_as_poll(struct ipci_loop *loop, struct ipci_source *sources, size_t n_sources)
{
	struct ipci_ready ready[64];
	uint32_t expected[64] = {0};
	int n = ipci_loop_wait(loop, ready, 64, 0), n_expected = 0;

	for (size_t i = 0; i < n_sources; i++) {
		struct pollfd poll_fd = {sources[i].fd, (short)sources[i].events, 0};

		if (!sources[i].loop || poll(&poll_fd, 1, 0) <= 0)
			continue;
		expected[i] = (uint32_t)poll_fd.revents;
		n_expected++;
	}
	cr_assert_eq(n, n_expected, "%d ready, not %d", n, n_expected);
	for (int i = 0; i < n; i++) {
		size_t at = (size_t)(ready[i].source - sources);

		cr_assert_eq(ready[i].revents, expected[at], "source %zu: %#x, not %#x", at,
			     ready[i].revents, expected[at]);
		expected[at] = 0;
	}
}

CASE(after_any_changes_it_says_what_poll_says)
{
	static const uint32_t masks[] = {0, EPOLLIN, EPOLLOUT, EPOLLIN | EPOLLOUT};
	enum { PAIRS = 12 };
	struct ipci_source sources[2 * PAIRS] = {0};
	unsigned seed = 20261122;

	for (size_t i = 0; i < PAIRS; i++) {
		int fds[2];

		cr_assert_eq(ipci_bell_pair(fds), 0);
		sources[2 * i].fd = fds[0];
		sources[2 * i + 1].fd = fds[1];
	}
	for (int step = 0; step < 5000; step++) {
		struct ipci_source *source = &sources[(unsigned)rand_r(&seed) % (2 * PAIRS)];
		uint32_t mask = masks[(unsigned)rand_r(&seed) % 4];

		switch (rand_r(&seed) % 5) {
		case 0:
			if (source->loop) {
				ipci_loop_remove(loop, source);
				break;
			}
			source->events = mask;
			cr_assert_eq(ipci_loop_add(loop, source), 0);
			break;
		case 1:
			if (source->loop)
				cr_assert_eq(ipci_loop_modify(loop, source, mask), 0);
			break;
		case 2:
			cr_assert_eq(ipci_bell_ring(source->fd), 0);
			break;
		default:
			cr_assert_geq(ipci_bell_drain(source->fd), 0);
		}
		if (rand_r(&seed) % 2)
			assert_as_poll(loop, sources, 2 * PAIRS);
	}
	for (size_t i = 0; i < 2 * PAIRS; i++) {
		ipci_loop_remove(loop, &sources[i]);
		close(sources[i].fd);
	}
}

/* What a child found out: its exit status is the line at which it found otherwise, or 0. */
#define CHILD_ASSERT(condition)                                                                    \
	do {                                                                                       \
		if (!(condition))                                                                  \
			_exit(__LINE__ % 255 + 1);                                                 \
	} while (0)

static void assert_child_succeeds(pid_t child)
{
	int status;

	cr_assert_gt(child, 0);
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %#x", status);
}

CASE(a_forked_child_is_told_so_and_its_parent_not_disturbed)
{
	struct ipci_source *source = event_source(loop, 1), another = *source;
	struct ipci_ready ready;
	pid_t child;

	assert_only(loop, source, EPOLLIN);
	child = fork();
	if (child == 0) {
		CHILD_ASSERT(wait_one(loop, &ready, IPCI_NEVER) == -ECHILD);
		CHILD_ASSERT(ipci_loop_add(loop, &another) == -ECHILD);
		CHILD_ASSERT(ipci_loop_modify(loop, source, 0) == -ECHILD);
		CHILD_ASSERT(ipci_loop_set_deadline(loop, 0) == -ECHILD);
		CHILD_ASSERT(ipci_loop_fd(loop) == -EBADF);
		ipci_loop_remove(loop, source);
		ipci_loop_free(loop);
		_exit(0);
	}
	assert_child_succeeds(child);
	assert_only(loop, source, EPOLLIN);
	drain(source);
	assert_nothing(loop);
	source_free(source);
}

/* The owner of @fd, whose child outlives it. */
static void die_with_a_child(enum ipci_loop_backend backend, int fd, int alive)
{
	struct ipci_source source = {.fd = fd, .events = EPOLLIN};
	struct ipci_loop *loop;
	struct ipci_ready ready;

	CHILD_ASSERT(ipci_loop_new(&loop, backend) == 0);
	CHILD_ASSERT(ipci_loop_add(loop, &source) == 0);
	CHILD_ASSERT(wait_one(loop, &ready, 0) == 0);
	if (fork() == 0) {
		char byte;

		close(fd);
		/* Until the test ends it. */
		(void)!read(alive, &byte, 1);
	}
	_exit(0);
}

CASE(a_child_that_lives_on_does_not_hide_its_parents_death)
{
	int bell[2], alive[2];
	pid_t parent;

	cr_assert_eq(ipci_bell_pair(bell), 0);
	cr_assert_eq(pipe2(alive, O_CLOEXEC), 0);
	parent = fork();
	if (parent == 0) {
		close(bell[1]);
		close(alive[1]);
		die_with_a_child(ipci_loop_backend(loop), bell[0], alive[0]);
	}
	close(bell[0]);
	close(alive[0]);
	assert_child_succeeds(parent);
	cr_assert(readable(bell[1], 10000));
	cr_assert(ipci_bell_hung_up(bell[1]));
	close(bell[1]);
	close(alive[1]);
}

static void sleep_often(struct ipci_loop *loop)
{
	struct ipci_ready ready;

	for (int i = 0; i < 40; i++)
		cr_assert_eq(wait_one(loop, &ready, 1), 0);
}

Test(loop_any, becomes_io_uring_where_it_sleeps_and_epoll_where_it_is_hosted, .timeout = 30)
{
	struct ipci_loop *loop;
	struct ipci_source *source;
	int fd;

	cr_assert_eq(ipci_loop_new(&loop, IPCI_LOOP_URING), 0, "io_uring is refused");
	ipci_loop_free(loop);
	cr_assert_eq(ipci_loop_new(&loop, IPCI_LOOP_ANY), 0);
	cr_assert_eq(ipci_loop_backend(loop), IPCI_LOOP_EPOLL);
	source = event_source(loop, 0);
	sleep_often(loop);
	cr_assert_eq(ipci_loop_backend(loop), IPCI_LOOP_URING);
	fire(source);
	assert_only(loop, source, EPOLLIN);
	fd = ipci_loop_fd(loop);
	cr_assert_eq(ipci_loop_backend(loop), IPCI_LOOP_EPOLL);
	assert_only(loop, source, EPOLLIN);
	drain(source);
	sleep_often(loop);
	cr_assert_eq(ipci_loop_backend(loop), IPCI_LOOP_EPOLL);
	cr_assert_eq(ipci_loop_fd(loop), fd);
	cr_assert_eq(ipci_loop_set_deadline(loop, 0), 0);
	cr_assert(readable(fd, -1));
	source_free(source);
	ipci_loop_free(loop);
}

static int refuse(int syscall_number, int error)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	int r = filter ? seccomp_rule_add(filter, SCMP_ACT_ERRNO((unsigned)error), syscall_number,
					  0)
		       : -ENOMEM;

	if (r == 0)
		r = seccomp_load(filter);
	seccomp_release(filter);
	return r;
}

/* As in a container whose profile refuses io_uring. */
static void without_uring(int syscall_number, int error)
{
	struct ipci_source source = {.fd = eventfd(1, EFD_CLOEXEC), .events = EPOLLIN};
	struct ipci_loop *loop;
	struct ipci_ready ready;

	CHILD_ASSERT(refuse(syscall_number, error) == 0);
	CHILD_ASSERT(ipci_loop_new(&loop, IPCI_LOOP_URING) == -error);
	CHILD_ASSERT(ipci_loop_new(&loop, IPCI_LOOP_ANY) == 0);
	for (int i = 0; i < 40; i++)
		CHILD_ASSERT(wait_one(loop, &ready, 1) == 0);
	CHILD_ASSERT(ipci_loop_backend(loop) == IPCI_LOOP_EPOLL);
	CHILD_ASSERT(ipci_loop_add(loop, &source) == 0);
	CHILD_ASSERT(wait_one(loop, &ready, IPCI_NEVER) == 1 && ready.source == &source);
	ipci_loop_free(loop);
	_exit(0);
}

Test(loop_any, stays_epoll_where_io_uring_is_refused, .timeout = 30)
{
	static const int errors[] = {EPERM, ENOSYS, EACCES, ENOMEM};

	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		pid_t child = fork();

		if (child == 0)
			without_uring(SCMP_SYS(io_uring_setup), errors[i]);
		assert_child_succeeds(child);
	}
}

Test(loop_any, stays_epoll_where_a_ring_can_be_made_but_not_used, .timeout = 30)
{
	struct ipci_loop *loop;
	pid_t child;

	if (ipci_loop_new(&loop, IPCI_LOOP_URING) < 0)
		cr_skip_test("io_uring is refused as a whole");
	ipci_loop_free(loop);
	child = fork();
	if (child == 0)
		without_uring(SCMP_SYS(io_uring_enter), EPERM);
	assert_child_succeeds(child);
}

Test(loop_epoll, a_time_out_works_without_epoll_pwait2, .timeout = 30)
{
	pid_t child = fork();

	if (child == 0) {
		struct ipci_loop *loop;
		struct ipci_ready ready;
		uint64_t start = ipci_now_ns();

		CHILD_ASSERT(refuse(SCMP_SYS(epoll_pwait2), EPERM) == 0);
		CHILD_ASSERT(ipci_loop_new(&loop, IPCI_LOOP_EPOLL) == 0);
		CHILD_ASSERT(wait_one(loop, &ready, 1500 * IPCI_NS_PER_US) == 0);
		CHILD_ASSERT(ipci_now_ns() >= start + 1500 * IPCI_NS_PER_US);
		_exit(0);
	}
	assert_child_succeeds(child);
}
