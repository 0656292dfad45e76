// SPDX-License-Identifier: Apache-2.0
/*
 * One packet is one sendmsg() or recvmsg(). Whatever the sender attached is ours the moment
 * recvmsg() returns, also when the packet is then refused, so the descriptors are gathered first
 * and judged after. There is room for as many as the kernel lets a packet carry, whatever the
 * caller expects: those without room are closed by the kernel before recvmsg() returns, and the
 * close of a lingering TCP socket lasts as long as its sender likes. So a truncated packet means
 * one thing, a full descriptor table.
 */
#include "fdpass.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cleanup.h"
#include "dispose.h"

#define KERNEL_FDS_MAX 253 /* SCM_MAX_FD */

union control {
	char bytes[CMSG_SPACE(sizeof(int) * KERNEL_FDS_MAX)];
	struct cmsghdr align;
};

/* What came beside a packet, until someone takes it. */
struct parcel {
	int fds[KERNEL_FDS_MAX];
	unsigned n_fds;
};

static void parcel_dispose(struct parcel *parcel)
{
	for (unsigned i = 0; i < parcel->n_fds; i++)
		ipci_fd_dispose(parcel->fds[i]);
	parcel->n_fds = 0;
}

int ipci_packet_send(int socket, const void *data, size_t n, const int *fds, unsigned n_fds)
{
	/* sendmsg() only reads what an iovec points to. */
	struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = n};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};
	union control control = {0};

	if (n == 0 || n_fds > IPCI_PACKET_FDS_MAX)
		return -EINVAL;

	if (n_fds > 0) {
		struct cmsghdr *cmsg = &control.align;

		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
		memcpy(CMSG_DATA(cmsg), fds, sizeof(int) * n_fds);
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
	}
	return sendmsg(socket, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static void parcel_gather(struct parcel *parcel, struct msghdr *msg)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		size_t n;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		/* The control buffer has room for no more than the array has. */
		n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		memcpy(parcel->fds + parcel->n_fds, CMSG_DATA(c), n * sizeof(int));
		parcel->n_fds += (unsigned)n;
	}
}

/* Why the kernel dropped descriptors that there was room for: only a full table also refuses a dup.
 */
static int missing_fds_reason(int socket)
{
	_cleanup_(closep) int probe = fcntl(socket, F_DUPFD_CLOEXEC, 0);

	return probe < 0 ? -EMFILE : -EACCES;
}

ssize_t ipci_packet_recv(int socket, void *data, size_t n, int *fds, unsigned max_fds,
			 unsigned *n_fds)
{
	union control control = {0};
	struct iovec iov = {.iov_base = data, .iov_len = n};
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control.bytes),
	};
	_cleanup_(parcel_dispose) struct parcel parcel = {0};
	ssize_t size = recvmsg(socket, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (size < 0)
		return -errno;
	parcel_gather(&parcel, &msg);

	if (parcel.n_fds > max_fds)
		return -EBADMSG;
	if (msg.msg_flags & MSG_CTRUNC)
		return missing_fds_reason(socket);
	if (msg.msg_flags & MSG_TRUNC)
		return -EMSGSIZE;
	if (size == 0)
		return 0;

	if (parcel.n_fds > 0)
		memcpy(fds, parcel.fds, parcel.n_fds * sizeof(int));
	*n_fds = parcel.n_fds;
	parcel.n_fds = 0;
	return size;
}
