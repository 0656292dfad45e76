// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "dispose.h"
#include "lingering.h"

TestSuite(dispose, .timeout = 30);

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

/* Disposes of one end of a pipe and waits until the other end sees it closed. */
static void assert_gets_closed(void)
{
	struct pollfd poll_fd = {.events = POLLIN};
	int fds[2];

	cr_assert_eq(pipe2(fds, O_CLOEXEC), 0);
	poll_fd.fd = fds[0];
	ipci_fd_dispose(fds[1]);
	cr_assert_eq(poll(&poll_fd, 1, 10000), 1);
	cr_assert(poll_fd.revents & POLLHUP);
	close(fds[0]);
}

Test(dispose, any_descriptor_is_closed)
{
	for (int i = 0; i < 200; i++)
		assert_gets_closed();
	cr_assert_eq(ipci_dispose_counts().n_left_open, 0);
}

Test(dispose, a_memfd_is_closed_at_once_and_errno_kept)
{
	int fd = memfd_create("test", MFD_CLOEXEC);

	cr_assert_geq(fd, 0);
	errno = ENOTTY;
	ipci_fd_dispose(fd);
	cr_assert_eq(errno, ENOTTY);
	cr_assert_not(is_open(fd));
	fd = memfd_create("test", MFD_CLOEXEC);
	ipci_fd_close(fd);
	cr_assert_not(is_open(fd));
	cr_assert_eq(errno, EBADF);
}

static size_t resident_bytes(void)
{
	unsigned long size, pages = 0;
	FILE *file = fopen("/proc/self/statm", "re");

	cr_assert_not_null(file);
	cr_assert_eq(fscanf(file, "%lu %lu", &size, &pages), 2);
	fclose(file);
	return pages * (size_t)sysconf(_SC_PAGESIZE);
}

Test(dispose, large_memory_goes_soon_and_the_rest_at_once)
{
	const size_t size = 4 * IPCI_DISPOSE_LARGE_BYTES;
	void *base = mmap(NULL, size, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	size_t before = resident_bytes();
	int fd = memfd_create("test", MFD_CLOEXEC);

	cr_assert_neq(base, MAP_FAILED);
	cr_assert_geq(before, size);
	errno = ENOTTY;
	ipci_mapping_dispose(base, IPCI_DISPOSE_LARGE_BYTES);
	cr_assert_eq(ipci_dispose_counts().n_large, 0);
	cr_assert_leq(resident_bytes(), before - IPCI_DISPOSE_LARGE_BYTES / 2);
	ipci_mapping_dispose((char *)base + IPCI_DISPOSE_LARGE_BYTES,
			     size - IPCI_DISPOSE_LARGE_BYTES);
	ipci_mapping_dispose(NULL, size);
	cr_assert_eq(fallocate(fd, 0, 0, (off_t)size), 0);
	ipci_fd_dispose(fd);
	cr_assert_eq(errno, ENOTTY);
	while (ipci_dispose_counts().n_large > 0)
		sched_yield();
	cr_assert_leq(resident_bytes(), before - size + size / 8);
	cr_assert_not(is_open(fd));
}

Test(dispose, more_large_memory_than_the_queue_holds_goes_all_the_same)
{
	enum { N = 2 * IPCI_DISPOSE_LARGE_QUEUE_MAX };
	int fd = memfd_create("test", MFD_CLOEXEC), fds[N];

	cr_assert_eq(fallocate(fd, 0, 0, (off_t)(2 * IPCI_DISPOSE_LARGE_BYTES)), 0);
	for (unsigned i = 0; i < N; i++)
		cr_assert_geq(fds[i] = fcntl(fd, F_DUPFD_CLOEXEC, 0), 0);
	for (unsigned i = 0; i < N; i++)
		ipci_fd_dispose(fds[i]);
	while (ipci_dispose_counts().n_large > 0)
		sched_yield();
	for (unsigned i = 0; i < N; i++)
		cr_assert_not(is_open(fds[i]));
	close(fd);
}

Test(dispose, no_descriptor_is_fine)
{
	ipci_fd_dispose(-EBADF);
	ipci_fd_close(-EBADF);
	cr_assert_eq(ipci_dispose_counts().n_threads, 0);
}

Test(dispose, the_callers_signal_mask_stays)
{
	sigset_t before, after;

	pthread_sigmask(SIG_SETMASK, NULL, &before);
	assert_gets_closed();
	pthread_sigmask(SIG_SETMASK, NULL, &after);
	for (int i = 1; i < SIGRTMAX; i++)
		cr_assert_eq(sigismember(&before, i), sigismember(&after, i));
}

Test(dispose, closes_that_hang_block_nobody_and_beyond_a_bound_leave_descriptors_open)
{
	int listener = lingering_listen(), pipe_fds[2], extra = eventfd(0, EFD_CLOEXEC);
	struct rlimit limit;
	struct pollfd poll_fd = {.events = POLLIN};

	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_cur < IPCI_DISPOSE_QUEUE_MAX + 64)
		cr_skip_test("not %u descriptors allowed", IPCI_DISPOSE_QUEUE_MAX + 64);

	for (unsigned i = 0; i < IPCI_DISPOSE_THREADS_MAX; i++)
		ipci_fd_dispose(lingering_connect(listener));
	/* Each of them has taken one and hangs. */
	while (ipci_dispose_counts().n_queued > 0)
		sched_yield();
	cr_assert_eq(ipci_dispose_counts().n_threads, IPCI_DISPOSE_THREADS_MAX);

	cr_assert_eq(pipe2(pipe_fds, O_CLOEXEC), 0);
	for (unsigned i = 1; i < IPCI_DISPOSE_QUEUE_MAX; i++)
		ipci_fd_dispose(fcntl(pipe_fds[1], F_DUPFD_CLOEXEC, 0));
	ipci_fd_dispose(pipe_fds[1]);
	ipci_fd_dispose(extra);
	cr_assert_eq(ipci_dispose_counts().n_queued, IPCI_DISPOSE_QUEUE_MAX);
	cr_assert_eq(ipci_dispose_counts().n_left_open, 1);
	cr_assert(is_open(extra));

	/* Now the hanging ones go on, and the queue with them. */
	close(listener);
	poll_fd.fd = pipe_fds[0];
	cr_assert_eq(poll(&poll_fd, 1, 20000), 1);
	cr_assert(poll_fd.revents & POLLHUP);
	cr_assert(is_open(extra));
}

static atomic_int n_handled;

static void on_signal(int number)
{
	(void)number;
	n_handled++;
}

Test(dispose, a_hanging_thread_takes_no_signal_of_the_program)
{
	static const struct timespec bound = {.tv_sec = 10};
	int listener = lingering_listen();
	sigset_t set;

	cr_assert_neq(signal(SIGUSR1, on_signal), SIG_ERR);
	ipci_fd_dispose(lingering_connect(listener));
	while (ipci_dispose_counts().n_queued > 0)
		sched_yield();
	/* Nobody else takes it, so it waits for this thread. */
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	for (int i = 0; i < 100; i++) {
		cr_assert_eq(kill(getpid(), SIGUSR1), 0);
		sched_yield();
		cr_assert_eq(sigtimedwait(&set, NULL, &bound), SIGUSR1);
	}
	cr_assert_eq(n_handled, 0);
	cr_assert_eq(ipci_dispose_counts().n_threads, 1);
	close(listener);
}
