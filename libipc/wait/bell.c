// SPDX-License-Identifier: Apache-2.0
/*
 * Why descriptors matter on a socket that carries none: whoever frees a packet closes the
 * descriptors in it, and close() of, say, a TCP socket that lingers blocks for as long as its
 * sender likes. That happens to a receiver that asks for no descriptors as well, and to whoever
 * closes a socket with packets still queued. So they are kept out by SO_PASSRIGHTS where the kernel
 * has it; else taken in full and disposed of on another thread, and the bell itself is closed there
 * as well.
 */
#include "bell.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "cleanup.h"
#include "dispose.h"

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif

#define DRAIN_MAX 64
#define PACKET_FDS_MAX 253 /* the kernel's SCM_MAX_FD: no packet carries more */

/* Keeps descriptors out. False where the kernel cannot. */
static bool refuse_fds(int fd)
{
	int off = 0;

	return setsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &off, sizeof(off)) == 0;
}

int ipci_bell_pair(int ret_fds[2])
{
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) < 0)
		return -errno;
	/* Before the ends leave, so that nothing can be queued earlier. */
	(void)refuse_fds(fds[0]);
	(void)refuse_fds(fds[1]);
	ret_fds[0] = fds[0];
	ret_fds[1] = fds[1];
	return 0;
}

static bool socket_option_is(int fd, int option, int wanted)
{
	int value;
	socklen_t size = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, option, &value, &size) == 0 && value == wanted;
}

int ipci_bell_check(int fd)
{
	if (!socket_option_is(fd, SO_DOMAIN, AF_UNIX) ||
	    !socket_option_is(fd, SO_TYPE, SOCK_SEQPACKET))
		return -EPROTO;
	(void)refuse_fds(fd);
	return 0;
}

static bool hung_up(int error)
{
	return error == EPIPE || error == ECONNRESET || error == ENOTCONN;
}

int ipci_bell_ring(int fd)
{
	ssize_t n = send(fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n >= 0 || errno == EAGAIN)
		return 0;
	return hung_up(errno) ? -EPIPE : -errno;
}

static bool dispose_received(struct msghdr *msg)
{
	bool any = false;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t at = CMSG_LEN(0); at + sizeof(int) <= c->cmsg_len; at += sizeof(int)) {
			int fd;

			memcpy(&fd, (const char *)c + at, sizeof(fd));
			ipci_fd_dispose(fd);
			any = true;
		}
	}
	return any;
}

/* Takes one packet: its size, or -errno; -EPROTO also where descriptors came with it. */
static ssize_t receive(int fd)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int) * PACKET_FDS_MAX)];
		struct cmsghdr align;
	} control;
	char bell;
	struct iovec iov = {.iov_base = &bell, .iov_len = sizeof(bell)};
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control.bytes),
	};
	ssize_t n = recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (n < 0)
		return -errno;
	if (dispose_received(&msg) || msg.msg_flags & MSG_CTRUNC)
		return -EPROTO;
	return n;
}

int ipci_bell_drain(int fd)
{
	bool taken = false;

	for (int i = 0; i < DRAIN_MAX; i++) {
		ssize_t n = receive(fd);

		if (n == -EAGAIN)
			break;
		/* A peer that closed with bells unread says so once, ahead of what it had sent. */
		if (n == -ECONNRESET || n == -EINTR)
			continue;
		if (n == 0 || n == -ENOTCONN)
			return taken ? 1 : -EPIPE;
		if (n < 0)
			return (int)n;
		taken = true;
	}
	return taken;
}

bool ipci_bell_hung_up(int fd)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLRDHUP};

	return poll(&poll_fd, 1, 0) > 0 && poll_fd.revents & (POLLHUP | POLLRDHUP | POLLERR);
}

void ipci_bell_close(int fd)
{
	if (fd < 0)
		return;
	(void)shutdown(fd, SHUT_RDWR);
	if (socket_option_is(fd, SO_PASSRIGHTS, 0))
		ipci_fd_close(fd);
	else
		ipci_fd_dispose(fd);
}
