/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Letting go of what may take long.
 *
 * Descriptors that strangers sent: close() can block for as long as the file behind it likes: a
 * file system that never answers a flush, a TCP socket that lingers over unsent data, a socket with
 * such descriptors still in its queue. So it happens on disposable threads, of which there are at
 * most a few. While all of them hang, descriptors queue; when the queue is full too they are left
 * open, rather than the caller hung, and counted.
 *
 * Large memory: whoever holds the last reference to a memfd frees its pages, a gigabyte in some
 * 0.2 s, and a peer that dies leaves the last one to this side. That always ends, so it has one
 * thread of its own, and where that thread cannot take it the caller does it itself.
 */
#ifndef IPCI_MEMORY_DISPOSE_H
#define IPCI_MEMORY_DISPOSE_H

#include <stddef.h>

#define IPCI_DISPOSE_THREADS_MAX 4u
/* 64 packets with as many descriptors as the kernel lets one carry, as a broker may get in one
 * batch. */
#define IPCI_DISPOSE_QUEUE_MAX 16384u
/* Memory beyond this is large: up to here letting go takes a millisecond or two. */
#define IPCI_DISPOSE_LARGE_BYTES ((size_t)8 << 20)
#define IPCI_DISPOSE_LARGE_QUEUE_MAX 256u

/* Takes @fd (any fd, also -EBADF): closes it soon. Never blocks. Any thread. Keeps errno. */
void ipci_fd_dispose(int fd);

/* Takes @fd, verified to be a memfd, or a socket in whose queue no descriptor can lie: closes it at
 * once, or soon if it is large memory. */
void ipci_fd_close(int fd);

/* Unmaps @size bytes at @base, NULL: nothing: at once, or soon if that is much. Keeps errno. */
void ipci_mapping_dispose(void *base, size_t size);

struct ipci_dispose_counts {
	unsigned n_threads;   /* closing strangers' descriptors right now */
	unsigned n_queued;    /* of those, waiting for one of them */
	unsigned n_left_open; /* found the queue full, ever */
	unsigned n_large;     /* 0: nothing large is left to be done */
};

struct ipci_dispose_counts ipci_dispose_counts(void);

#endif
