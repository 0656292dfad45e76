/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Closing an fd that failed its checks. close() of a foreign file can block for as long as its file system
 * likes, so it happens on a disposable thread, of which there are at most a few; when all of them hang, the
 * fd is left open rather than the caller hung, and counted.
 */
#ifndef IPCI_MEMORY_DISPOSE_H
#define IPCI_MEMORY_DISPOSE_H

/* Takes @fd (any fd, also -EBADF). Never blocks. */
void ipci_fd_dispose(int fd);

/* Takes @fd of a kind that was verified to be a memfd or a socket: closes it at once. */
void ipci_fd_close(int fd);

#endif
