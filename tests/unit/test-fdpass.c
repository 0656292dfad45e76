// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "dispose.h"
#include "fdpass.h"
#include "lingering.h"

static int sockets[2];

static void setup(void)
{
	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sockets),
		     0);
}

TestSuite(fdpass, .init = setup, .timeout = 20);

/* What a stranger may send, beyond what ipci_packet_send() does. */
static void send_many(const int *fds, size_t n_fds)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int) * 253)];
		struct cmsghdr header;
	} control = {0};
	char byte = 0;
	struct iovec iov = {.iov_base = &byte, .iov_len = 1};
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds),
	};

	control.header.cmsg_level = SOL_SOCKET;
	control.header.cmsg_type = SCM_RIGHTS;
	control.header.cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
	memcpy(CMSG_DATA(&control.header), fds, sizeof(int) * n_fds);
	cr_assert_eq(sendmsg(sockets[0], &msg, 0), 1, "%s", strerror(errno));
}

/* The other end of a pipe says when the last copy of @fd is closed. */
static void assert_hangs_up(int fd)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};

	cr_assert_eq(poll(&poll_fd, 1, 10000), 1);
	cr_assert(poll_fd.revents & POLLHUP);
}

Test(fdpass, bytes_and_descriptors_arrive_together)
{
	int pipe_fds[2], fds[4] = {-1, -1, -1, -1};
	char data[16];
	unsigned n_fds = 77;

	cr_assert_eq(pipe2(pipe_fds, 0), 0);
	cr_assert_eq(ipci_packet_send(sockets[0], "hello", 5, pipe_fds, 2), 0);
	cr_assert_eq(ipci_packet_recv(sockets[1], data, sizeof(data), fds, 4, &n_fds), 5);
	cr_assert_eq(memcmp(data, "hello", 5), 0);
	cr_assert_eq(n_fds, 2);
	for (int i = 0; i < 2; i++)
		cr_assert(fcntl(fds[i], F_GETFD) & FD_CLOEXEC);
	close(pipe_fds[1]);
	cr_assert_eq(write(fds[1], "y", 1), 1);
	cr_assert_eq(read(fds[0], data, 1), 1);
	cr_assert_eq(ipci_packet_recv(sockets[1], data, sizeof(data), fds, 4, &n_fds), -EAGAIN);
	close(sockets[0]);
	cr_assert_eq(ipci_packet_recv(sockets[1], data, sizeof(data), fds, 4, &n_fds), 0);
	cr_assert_eq(n_fds, 2);
}

Test(fdpass, what_does_not_fit_is_refused_before_it_is_sent)
{
	int fds[IPCI_PACKET_FDS_MAX + 1] = {0};

	cr_assert_eq(ipci_packet_send(sockets[0], "x", 0, NULL, 0), -EINVAL);
	cr_assert_eq(ipci_packet_send(sockets[0], "x", 1, fds, IPCI_PACKET_FDS_MAX + 1), -EINVAL);
	fds[0] = 99999;
	cr_assert_eq(ipci_packet_send(sockets[0], "x", 1, fds, 1), -EBADF);
}

Test(fdpass, more_descriptors_than_expected_are_refused_and_closed)
{
	for (size_t n = 1; n <= 253; n = n < 10 ? n + 1 : n + 81) {
		int pipe_fds[2], sent[253], taken[IPCI_PACKET_FDS_MAX] = {77};
		unsigned n_fds = 77,
			 max = n <= IPCI_PACKET_FDS_MAX ? (unsigned)n - 1 : IPCI_PACKET_FDS_MAX;
		char byte;

		cr_assert_eq(pipe2(pipe_fds, O_CLOEXEC), 0);
		for (size_t i = 0; i < n; i++)
			sent[i] = pipe_fds[1];
		send_many(sent, n);
		close(pipe_fds[1]);
		cr_assert_eq(ipci_packet_recv(sockets[1], &byte, 1, taken, max, &n_fds), -EBADMSG);
		cr_assert_eq(n_fds, 77);
		cr_assert_eq(taken[0], 77);
		assert_hangs_up(pipe_fds[0]);
		close(pipe_fds[0]);
	}
}

Test(fdpass, descriptors_of_a_packet_that_was_cut_are_closed)
{
	int pipe_fds[2], fds[4];
	unsigned n_fds;
	char byte;

	cr_assert_eq(pipe2(pipe_fds, O_CLOEXEC), 0);
	cr_assert_eq(ipci_packet_send(sockets[0], "hello", 5, &pipe_fds[1], 1), 0);
	close(pipe_fds[1]);
	cr_assert_eq(ipci_packet_recv(sockets[1], &byte, 1, fds, 4, &n_fds), -EMSGSIZE);
	assert_hangs_up(pipe_fds[0]);
}

Test(fdpass, a_full_descriptor_table_is_told_from_too_many_descriptors)
{
	struct rlimit limit, before;
	int null = open("/dev/null", O_RDWR | O_CLOEXEC), fds[4], r;
	unsigned n_fds = 77;
	char byte;

	cr_assert_eq(ipci_packet_send(sockets[0], "x", 1, &null, 1), 0);
	getrlimit(RLIMIT_NOFILE, &before);
	limit = before;
	limit.rlim_cur = (rlim_t)null + 1;
	setrlimit(RLIMIT_NOFILE, &limit);
	r = (int)ipci_packet_recv(sockets[1], &byte, 1, fds, 4, &n_fds);
	setrlimit(RLIMIT_NOFILE, &before);
	cr_assert_eq(r, -EMFILE);
	cr_assert_eq(n_fds, 77);
}

Test(fdpass, refused_descriptors_that_take_for_ever_to_close_block_nobody)
{
	int listener = lingering_listen(), fds[IPCI_PACKET_FDS_MAX + 1], taken[4];
	unsigned n_fds;
	char byte;

	for (unsigned i = 0; i <= IPCI_PACKET_FDS_MAX; i++)
		fds[i] = lingering_connect(listener);
	send_many(fds, IPCI_PACKET_FDS_MAX + 1);
	/* What is queued holds them open. */
	for (unsigned i = 0; i <= IPCI_PACKET_FDS_MAX; i++)
		close(fds[i]);
	cr_assert_eq(ipci_packet_recv(sockets[1], &byte, 1, taken, 4, &n_fds), -EBADMSG);
	cr_assert_geq(ipci_dispose_counts().n_threads, 1);
	close(listener);
}
