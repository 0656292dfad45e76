// SPDX-License-Identifier: Apache-2.0
/*
 * Two queues, and detached threads that empty them and end. They take no signals, so that the host
 * program's handlers never run on them, and touch nothing but their queue: a thread that hangs in
 * close() holds no lock.
 *
 * Large mappings go in pieces, because each munmap() holds the address space's lock: the host
 * program's own mmap() never waits for more than one piece.
 */
#include "dispose.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "cleanup.h"

/* The host program's thread-local storage comes out of it too. */
#define STACK_BYTES ((size_t)256 * 1024)

struct item {
	uint8_t *base; /* NULL: @fd is meant */
	size_t size;
	int fd;
};

struct queue {
	pthread_mutex_t lock;
	struct item *items;
	const unsigned n_items_max, n_threads_max;
	const bool patient; /* items may wait although no thread could be had */
	unsigned n_items, n_threads, n_refused;
};

static struct item strange_items[IPCI_DISPOSE_QUEUE_MAX];
static struct item large_items[IPCI_DISPOSE_LARGE_QUEUE_MAX];

static struct queue strange = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.items = strange_items,
	.n_items_max = IPCI_DISPOSE_QUEUE_MAX,
	.n_threads_max = IPCI_DISPOSE_THREADS_MAX,
	.patient = true,
};
static struct queue large = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.items = large_items,
	.n_items_max = IPCI_DISPOSE_LARGE_QUEUE_MAX,
	.n_threads_max = 1,
};

static void let_go(const struct item *item)
{
	const size_t piece = IPCI_DISPOSE_LARGE_BYTES;

	if (!item->base) {
		(void)close(item->fd);
		return;
	}
	for (size_t at = 0; at < item->size; at += piece)
		(void)munmap(item->base + at, item->size - at < piece ? item->size - at : piece);
}

static bool queue_take(struct queue *queue, struct item *ret)
{
	bool any;

	pthread_mutex_lock(&queue->lock);
	any = queue->n_items > 0;
	if (any)
		*ret = queue->items[--queue->n_items];
	else
		queue->n_threads--;
	pthread_mutex_unlock(&queue->lock);
	return any;
}

static void *dispose_thread(void *queue)
{
	struct item item;

	while (queue_take(queue, &item))
		let_go(&item);
	return NULL;
}

static bool start_thread(struct queue *queue)
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
	started = pthread_create(&thread, &attr, dispose_thread, queue) == 0;
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	(void)pthread_attr_destroy(&attr);
	return started;
}

/* False: it was not taken. */
static bool queue_put(struct queue *queue, const struct item *item)
{
	bool taken;

	pthread_mutex_lock(&queue->lock);
	taken = queue->n_items < queue->n_items_max;
	if (taken) {
		queue->items[queue->n_items++] = *item;
		if (queue->n_threads < queue->n_threads_max && start_thread(queue))
			queue->n_threads++;
		/* Else it waits for a thread that runs, or for the next item. */
		taken = queue->n_threads > 0 || queue->patient;
		queue->n_items -= !taken;
	}
	queue->n_refused += !taken;
	pthread_mutex_unlock(&queue->lock);
	return taken;
}

static void dispose_large(const struct item *item)
{
	if (!queue_put(&large, item))
		let_go(item);
}

/* Only memfds and files on tmpfs or hugetlbfs know seals: these answer, and close, without waiting
 * for anybody. They are most of what fails a check. */
static bool is_memory(int fd)
{
	return fcntl(fd, F_GET_SEALS) >= 0;
}

void ipci_fd_dispose(int fd)
{
	int saved = errno;

	if (fd < 0)
		return;
	if (is_memory(fd))
		ipci_fd_close(fd);
	else
		(void)queue_put(&strange, &(struct item){.fd = fd});
	errno = saved;
}

void ipci_fd_close(int fd)
{
	int saved = errno;
	struct stat st;

	if (fd < 0)
		return;
	if (is_memory(fd) && fstat(fd, &st) == 0 &&
	    (size_t)st.st_blocks * 512 > IPCI_DISPOSE_LARGE_BYTES)
		dispose_large(&(struct item){.fd = fd});
	else
		(void)close(fd);
	errno = saved;
}

void ipci_mapping_dispose(void *base, size_t size)
{
	const struct item item = {.base = base, .size = size};
	int saved = errno;

	if (!base)
		return;
	if (size > IPCI_DISPOSE_LARGE_BYTES)
		dispose_large(&item);
	else
		let_go(&item);
	errno = saved;
}

struct ipci_dispose_counts ipci_dispose_counts(void)
{
	struct ipci_dispose_counts counts;

	pthread_mutex_lock(&strange.lock);
	counts.n_threads = strange.n_threads;
	counts.n_queued = strange.n_items;
	counts.n_left_open = strange.n_refused;
	pthread_mutex_unlock(&strange.lock);
	pthread_mutex_lock(&large.lock);
	counts.n_large = large.n_items + large.n_threads;
	pthread_mutex_unlock(&large.lock);
	return counts;
}
