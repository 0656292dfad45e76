// SPDX-License-Identifier: Apache-2.0
/* What a loop reports, of which source, and when. */
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "bell.h"
#include "loop-case.h"

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
