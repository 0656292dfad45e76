// SPDX-License-Identifier: Apache-2.0
/*
 * A queue, and up to four detached threads that empty it and end. They take no signals, so that the
 * host program's handlers never run on them, and touch nothing but the queue: a thread that hangs
 * in close() holds no lock.
 */
#include "dispose.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>

#include "cleanup.h"

/* The host program's thread-local storage comes out of it too. */
#define STACK_BYTES ((size_t)256 * 1024)

static struct {
	pthread_mutex_t lock;
	int fds[IPCI_DISPOSE_QUEUE_MAX];
	struct ipci_dispose_counts counts;
} queue = {.lock = PTHREAD_MUTEX_INITIALIZER};

static int queue_take(void)
{
	int fd = -EBADF;

	pthread_mutex_lock(&queue.lock);
	if (queue.counts.n_queued > 0)
		fd = queue.fds[--queue.counts.n_queued];
	else
		queue.counts.n_threads--;
	pthread_mutex_unlock(&queue.lock);
	return fd;
}

static void *dispose_thread(void *unused)
{
	(void)unused;
	for (int fd; (fd = queue_take()) >= 0;)
		(void)close(fd);
	return NULL;
}

static bool start_thread(void)
{
	sigset_t all, before;
	pthread_attr_t attr;
	pthread_t thread;
	bool started;

	if (pthread_attr_init(&attr) != 0)
		return false;
	(void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
	(void)pthread_attr_setstacksize(&attr, STACK_BYTES);
	/* A thread is born with its maker's mask. */
	sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	started = pthread_create(&thread, &attr, dispose_thread, NULL) == 0;
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	(void)pthread_attr_destroy(&attr);
	return started;
}

static void queue_put(int fd)
{
	pthread_mutex_lock(&queue.lock);
	if (queue.counts.n_queued == IPCI_DISPOSE_QUEUE_MAX) {
		queue.counts.n_left_open++;
		pthread_mutex_unlock(&queue.lock);
		return;
	}
	queue.fds[queue.counts.n_queued++] = fd;
	/* Where no thread can be had the queue waits for one that runs, or for the next descriptor.
	 */
	if (queue.counts.n_threads < IPCI_DISPOSE_THREADS_MAX && start_thread())
		queue.counts.n_threads++;
	pthread_mutex_unlock(&queue.lock);
}

void ipci_fd_dispose(int fd)
{
	int saved = errno;

	if (fd < 0)
		return;
	/* Only memfds and files on tmpfs know seals. These close at once, and are most of what
	 * fails a check. */
	if (fcntl(fd, F_GET_SEALS) >= 0)
		(void)close(fd);
	else
		queue_put(fd);
	errno = saved;
}

void ipci_fd_close(int fd)
{
	closep(&fd);
}

struct ipci_dispose_counts ipci_dispose_counts(void)
{
	struct ipci_dispose_counts counts;

	pthread_mutex_lock(&queue.lock);
	counts = queue.counts;
	pthread_mutex_unlock(&queue.lock);
	return counts;
}
