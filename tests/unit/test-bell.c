// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "bell.h"
#include "fdpass.h"
#include "lingering.h"

static int bells[2];

static void setup(void)
{
	cr_assert_eq(ipci_bell_pair(bells), 0);
}

TestSuite(bell, .init = setup, .timeout = 20);

Test(bell, a_ring_is_taken_once)
{
	cr_assert_eq(ipci_bell_drain(bells[1]), 0);
	cr_assert_eq(ipci_bell_ring(bells[0]), 0);
	cr_assert_eq(ipci_bell_drain(bells[1]), 1);
	cr_assert_eq(ipci_bell_drain(bells[1]), 0);
	cr_assert_eq(ipci_bell_drain(bells[0]), 0);
}

Test(bell, ends_are_closed_by_exec_and_never_block)
{
	for (int i = 0; i < 2; i++) {
		cr_assert(fcntl(bells[i], F_GETFD) & FD_CLOEXEC);
		cr_assert(fcntl(bells[i], F_GETFL) & O_NONBLOCK);
	}
}

Test(bell, ringing_a_full_bell_neither_fails_nor_blocks_whatever_the_flags_say)
{
	int n_drained = 0;

	/* The peer shares the open file's flags with whoever it sent it to. */
	cr_assert_eq(fcntl(bells[0], F_SETFL, 0), 0);
	cr_assert_eq(fcntl(bells[1], F_SETFL, 0), 0);
	for (int i = 0; i < 5000; i++)
		cr_assert_eq(ipci_bell_ring(bells[0]), 0);
	while (ipci_bell_drain(bells[1]) == 1)
		n_drained++;
	/* Bounded a call, so it took several. */
	cr_assert_gt(n_drained, 1);
	cr_assert_eq(ipci_bell_drain(bells[1]), 0);
}

Test(bell, a_peer_that_hung_up_is_reported_and_raises_no_signal)
{
	signal(SIGPIPE, SIG_DFL);
	cr_assert_not(ipci_bell_hung_up(bells[0]));
	close(bells[1]);
	cr_assert(ipci_bell_hung_up(bells[0]));
	cr_assert_eq(ipci_bell_ring(bells[0]), -EPIPE);
	cr_assert_eq(ipci_bell_drain(bells[0]), -EPIPE);
}

Test(bell, what_was_rung_before_the_hang_up_is_taken_first)
{
	cr_assert_eq(ipci_bell_ring(bells[0]), 0);
	/* Unread bells make the close a reset. */
	cr_assert_eq(ipci_bell_ring(bells[1]), 0);
	close(bells[0]);
	cr_assert_eq(ipci_bell_drain(bells[1]), 1);
	cr_assert_eq(ipci_bell_drain(bells[1]), -EPIPE);
	cr_assert_eq(ipci_bell_ring(bells[1]), -EPIPE);
}

Test(bell, closing_hangs_up_also_where_a_copy_is_held)
{
	int copy = fcntl(bells[0], F_DUPFD_CLOEXEC, 0);

	cr_assert_geq(copy, 0);
	ipci_bell_close(bells[0]);
	cr_assert(ipci_bell_hung_up(bells[1]));
	cr_assert_eq(ipci_bell_drain(bells[1]), -EPIPE);
	close(copy);
	ipci_bell_close(-EBADF);
}

Test(bell, large_and_empty_packets_do_no_harm)
{
	char large[4096] = {0};

	cr_assert_eq(send(bells[0], large, sizeof(large), 0), sizeof(large));
	cr_assert_eq(ipci_bell_drain(bells[1]), 1);
	cr_assert_eq(send(bells[0], large, 0, 0), 0);
	cr_assert_eq(ipci_bell_drain(bells[1]), -EPIPE);
}

static void assert_refused(int fd)
{
	cr_assert_geq(fd, 0);
	cr_assert_eq(ipci_bell_check(fd), -EPROTO);
	close(fd);
}

Test(bell, only_a_seqpacket_socket_of_this_machine_is_a_bell)
{
	int fds[2];

	cr_assert_eq(ipci_bell_check(bells[0]), 0);
	cr_assert_eq(ipci_bell_check(-1), -EPROTO);
	assert_refused(eventfd(0, EFD_CLOEXEC));
	assert_refused(open("/dev/null", O_RDWR | O_CLOEXEC));
	assert_refused(open("/", O_PATH | O_CLOEXEC));
	assert_refused(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
	assert_refused(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
	assert_refused(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
	cr_assert_eq(pipe2(fds, O_CLOEXEC), 0);
	assert_refused(fds[0]);
	assert_refused(fds[1]);
}

/* As on kernels that know nothing of SO_PASSRIGHTS: a pair that lets descriptors in. */
static void open_pair(int fds[2])
{
	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
}

Test(bell, descriptors_are_refused_and_closed)
{
	int pipe_fds[2], fds[2], payload[IPCI_PACKET_FDS_MAX];
	struct pollfd poll_fd = {.events = POLLIN};

	open_pair(fds);
	cr_assert_eq(pipe2(pipe_fds, O_CLOEXEC), 0);
	for (unsigned i = 0; i < IPCI_PACKET_FDS_MAX; i++)
		payload[i] = pipe_fds[1];
	cr_assert_eq(ipci_packet_send(fds[0], "x", 1, payload, IPCI_PACKET_FDS_MAX), 0);
	close(pipe_fds[1]);
	cr_assert_eq(ipci_bell_drain(fds[1]), -EPROTO);
	/* The pipe hangs up once the last copy of its other end is closed. */
	poll_fd.fd = pipe_fds[0];
	cr_assert_eq(poll(&poll_fd, 1, 10000), 1);
	cr_assert(poll_fd.revents & POLLHUP);
	close(pipe_fds[0]);
	close(fds[0]);
	close(fds[1]);
}

Test(bell, a_checked_bell_lets_no_descriptors_in_where_the_kernel_can_refuse_them)
{
	int fds[2], null = open("/dev/null", O_RDWR | O_CLOEXEC), off = 0;

	if (setsockopt(bells[0], SOL_SOCKET, 83, &off, sizeof(off)) < 0)
		cr_skip_test("no SO_PASSRIGHTS: it came with Linux 6.16");
	cr_assert_eq(ipci_packet_send(bells[0], "x", 1, &null, 1), -EPERM);
	cr_assert_eq(ipci_packet_send(bells[1], "x", 1, &null, 1), -EPERM);
	open_pair(fds);
	cr_assert_eq(ipci_packet_send(fds[0], "x", 1, &null, 1), 0);
	cr_assert_eq(ipci_bell_drain(fds[1]), -EPROTO);
	cr_assert_eq(ipci_bell_check(fds[1]), 0);
	cr_assert_eq(ipci_packet_send(fds[0], "x", 1, &null, 1), -EPERM);
	close(null);
}

Test(bell, a_descriptor_that_takes_for_ever_to_close_blocks_nobody)
{
	int fds[2], listener = lingering_listen();

	open_pair(fds);
	for (int i = 0; i < 2; i++) {
		int lingering = lingering_connect(listener);

		cr_assert_eq(ipci_packet_send(fds[0], "x", 1, &lingering, 1), 0);
		/* Not the close that takes for ever: what is queued holds it open. */
		close(lingering);
	}
	cr_assert_eq(ipci_bell_drain(fds[1]), -EPROTO);
	/* The other one is freed with the socket. */
	ipci_bell_close(fds[1]);
	cr_assert(ipci_bell_hung_up(fds[0]));
	close(listener);
}
