/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Closing descriptors that strangers sent. close() can block for as long as the file behind it
 * likes: a file system that never answers a flush, a TCP socket that lingers over unsent data, a
 * socket with such descriptors still in its queue. So it happens on disposable threads, of which
 * there are at most a few. While all of them hang, descriptors queue; when the queue is full too
 * they are left open, rather than the caller hung, and counted.
 */
#ifndef IPCI_MEMORY_DISPOSE_H
#define IPCI_MEMORY_DISPOSE_H

#define IPCI_DISPOSE_THREADS_MAX 4u
/* 64 packets with as many descriptors as the kernel lets one carry, as a broker may get in one
 * batch. */
#define IPCI_DISPOSE_QUEUE_MAX 16384u

/* Takes @fd (any fd, also -EBADF): closes it soon. Never blocks. Any thread. Keeps errno. */
void ipci_fd_dispose(int fd);

/* Takes @fd, verified to be a memfd, or a socket in whose queue no descriptor can lie: closes it at
 * once. */
void ipci_fd_close(int fd);

struct ipci_dispose_counts {
	unsigned n_threads;   /* closing right now */
	unsigned n_queued;    /* waiting for one of them */
	unsigned n_left_open; /* found the queue full, ever */
};

struct ipci_dispose_counts ipci_dispose_counts(void);

#endif
