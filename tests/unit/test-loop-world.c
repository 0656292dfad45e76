// SPDX-License-Identifier: Apache-2.0
/* A loop among threads, hosts, signals, forks, and filters that refuse io_uring. */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <string.h>
#include <stdio.h>
#include <sys/wait.h>

#include "bell.h"
#include "cleanup.h"
#include "loop-case.h"
#include "loop-child.h"

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

/* What a child found out: its exit status is the line at which it found otherwise, or 0. */
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
	int r;

	r = ipci_loop_new(&loop, IPCI_LOOP_URING);
	if (r < 0)
		cr_skip_test("io_uring is refused: %s", strerror(-r));
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
