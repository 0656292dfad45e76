/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packets with descriptors beside them, over AF_UNIX SOCK_SEQPACKET: the control connection between
 * a workload and the broker. Neither call ever blocks, raises SIGPIPE or leaks a descriptor.
 */
#ifndef IPCI_MEMORY_FDPASS_H
#define IPCI_MEMORY_FDPASS_H

#include <stddef.h>
#include <sys/types.h>

#define IPCI_PACKET_FDS_MAX 4u /* descriptors that a packet can carry */
#define IPCI_PACKET_MAX_BYTES                                                                      \
	65536u /* and bytes, by the protocol; room for these never truncates */

/*
 * Sends one packet, whole or not at all. @fds stay the caller's: the kernel took references of its
 * own. Returns 0; -EAGAIN the peer's queue is full; -EPIPE or -ECONNRESET the peer hung up;
 * -EMSGSIZE the packet can never fit the socket's buffer; -ETOOMANYREFS too many descriptors of
 * this user are in flight; -EINVAL nothing to send, or too many descriptors; -EBADF; -ENOMEM,
 * -ENOBUFS.
 */
int ipci_packet_send(int socket, const void *data, size_t n, const int *fds, unsigned n_fds);

/*
 * Takes one packet, and up to @max_fds descriptors (CLOEXEC; the caller's, who knows nothing of
 * their kind). Outputs but @data are untouched on failure; then, and on 0, every descriptor that
 * came is closed, off this thread. Returns the packet's size; 0 the peer hung up (or sent an empty
 * packet, which nobody has reason to); -EAGAIN nothing is there; -EMSGSIZE it was larger than @n
 * and is lost; -EBADMSG more descriptors came than @max_fds; -EMFILE this process has no room for
 * those that came, -EACCES a security module refused them (SELinux does so between container
 * labels); -ECONNRESET; -ENOMEM.
 */
ssize_t ipci_packet_recv(int socket, void *data, size_t n, int *fds, unsigned max_fds,
			 unsigned *n_fds);

#endif
