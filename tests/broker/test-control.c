// SPDX-License-Identifier: Apache-2.0
/*
 * What no correct library sends. After each, who sent it is off or was refused in words, another
 * workload is served as before, and the broker has not one descriptor more.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../unit/lingering.h"
#include "dispose.h"
#include "half.h"
#include "rig.h"
#include "three.h"

TestSuite(control, .init = setup, .fini = teardown, .timeout = 100);

/* Offers @fd as the half of an OPEN: refused in words, and the connection goes on. */
static void offer_as_half(int fd, const char *text)
{
	static const char *const methods[] = {"Place", NULL};
	int evil = rig_join(&rig, "evil");
	struct packet packet;

	rig_write_open(&packet, 2, "shop.Orders", methods, RIG_SECOND);
	rig_send(evil, &packet, fd);
	rig_expect_result(evil, 2, EPROTO, text);
	rig_expect_nothing(evil);
	rig_expect_nothing(orders);
	close(evil);
	close(fd);
}

/* Answers an offer with @fd as the half: the client is told, and the server that it is over. */
static void accept_with_half(int fd)
{
	int evil = rig_join(&rig, "evil");
	struct answer offer, closed;
	struct packet packet;

	rig_offer_service(evil, 2, "bad.Service");
	rig_open(web, 9, "bad.Service", "Place", 15 * RIG_SECOND);
	rig_expect(evil, &offer, ipc_broker_Kind_Offer);
	rig_write_accept(&packet, offer.serial);
	rig_send(evil, &packet, fd);
	rig_expect_result(web, 9, EPROTO, "");
	rig_expect(evil, &closed, ipc_broker_Kind_Closed);
	cr_expect_eq(closed.channel, offer.channel);
	cr_expect_eq(closed.error, EPROTO);
	rig_done(&offer);
	rig_expect_nothing(evil);
	close(evil);
	close(fd);
}

static int memfd(unsigned flags, off_t size, int seals)
{
	int fd = memfd_create("foreign", MFD_CLOEXEC | flags);

	cr_assert_geq(fd, 0);
	cr_assert_eq(posix_fallocate(fd, 0, size), 0);
	if (seals)
		cr_assert_eq(fcntl(fd, F_ADD_SEALS, seals), 0, "%s", strerror(errno));
	return fd;
}

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL)
#define SIZE ((off_t)ipci_half_size_bytes(RIG_RING_BYTES))

/* One of each kind of file that is no half. */
static int foreign(unsigned kind)
{
	char path[] = "/tmp/ipc-foreign-XXXXXX";
	int fds[2], fd;

	switch (kind) {
	case 0:
		cr_assert_eq(pipe2(fds, O_CLOEXEC), 0);
		close(fds[1]);
		return fds[0];
	case 1:
		fd = mkstemp(path);
		unlink(path);
		cr_assert_eq(ftruncate(fd, SIZE), 0);
		return fd;
	case 2:
		return open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	case 3:
		cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
		close(fds[1]);
		return fds[0];
	case 4:
		return eventfd(0, EFD_CLOEXEC);
	case 5:
		return open("/dev/zero", O_RDWR | O_CLOEXEC);
	case 6:
		return memfd(MFD_ALLOW_SEALING, SIZE, 0);
	case 7:
		return memfd(0, SIZE, 0);
	case 8:
		return memfd(MFD_ALLOW_SEALING, SIZE, SEALS & ~F_SEAL_FUTURE_WRITE);
	case 9:
		return memfd(MFD_ALLOW_SEALING, SIZE, SEALS & ~F_SEAL_SHRINK);
	case 10:
		return memfd(MFD_ALLOW_SEALING, SIZE + 4096, SEALS);
	case 11:
		return memfd(MFD_ALLOW_SEALING, SIZE - 4096, SEALS);
	case 12:
		return open("/tmp", O_PATH | O_CLOEXEC);
	default:
		return -1;
	}
}

#define N_FOREIGN 13u

Test(control, no_foreign_descriptor_passes_for_a_clients_half)
{
	for (unsigned kind = 0; kind < N_FOREIGN; kind++)
		offer_as_half(foreign(kind), "");
	expect_unharmed();
}

Test(control, no_foreign_descriptor_passes_for_a_servers_half)
{
	for (unsigned kind = 0; kind < N_FOREIGN; kind++)
		accept_with_half(foreign(kind));
	expect_unharmed();
}

/* A connection that may be cut off at any time sends bytes. */

static uint64_t seed = 0x9e3779b97f4a7c15;

static uint64_t draw(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

Test(control, random_bytes_end_the_connection_that_sent_them)
{
	uint8_t bytes[512];

	for (int i = 0; i < 300; i++) {
		int evil = i % 2 ? rig_join(&rig, "evil") : rig_dial(&rig, "evil");
		size_t n = 1 + draw() % sizeof(bytes);

		for (size_t b = 0; b < n; b++)
			bytes[b] = (uint8_t)draw();
		send_bytes(evil, bytes, n);
		rig_expect_end(evil);
		close(evil);
	}
	expect_unharmed();
}

static void write_plain_open(struct packet *packet)
{
	static const char *const methods[] = {"Place", NULL};

	rig_write_open(packet, 2, "shop.Orders", methods, 1);
	cr_assert_eq(rig_finish(packet), 0);
}

Test(control, every_prefix_of_a_message_is_survived)
{
	struct packet packet;

	write_plain_open(&packet);
	for (size_t n = 1; n < packet.n; n++) {
		int evil = rig_join(&rig, "evil");

		send_bytes(evil, packet.data, n);
		rig_expect_end(evil);
		close(evil);
	}
	expect_unharmed();
}

/* Many of these are messages still, of other requests; what an offer of them reaches is rejected by
 * nobody. */
Test(control, every_byte_of_a_message_may_be_another)
{
	struct packet packet, refusal;
	int evil = rig_join(&rig, "evil"), half = rig_half();

	write_plain_open(&packet);
	for (size_t i = 0; i < packet.n; i++) {
		uint8_t byte = packet.data[i];
		struct pollfd pollfd;

		packet.data[i] = (uint8_t)(byte ^ (1u << draw() % 8));
		(void)ipci_packet_send(evil, packet.data, packet.n, &half, 1);
		packet.data[i] = byte;
		rig_expect_nothing(web);
		/* Whatever it was, it was worked off before that answer. */
		pollfd = (struct pollfd){.fd = evil, .events = POLLIN};
		while (poll(&pollfd, 1, 0) > 0) {
			struct answer answer;

			rig_receive(evil, &answer);
			rig_done(&answer);
			if (answer.kind >= 0)
				continue;
			close(evil);
			evil = pollfd.fd = rig_join(&rig, "evil");
		}
		pollfd = (struct pollfd){.fd = orders, .events = POLLIN};
		while (poll(&pollfd, 1, 0) > 0) {
			struct answer offer;

			rig_expect(orders, &offer, ipc_broker_Kind_Offer);
			rig_done(&offer);
			rig_begin(&refusal, ipc_broker_Kind_Reject, offer.serial);
			ipc_broker_Message_set_error(&refusal.message, EBUSY);
			rig_send(orders, &refusal, -1);
		}
	}
	close(half);
	close(evil);
	expect_unharmed();
}

Test(control, an_oversized_message_ends_the_connection)
{
	int evil = rig_join(&rig, "evil"), size = 1 << 20;
	static uint8_t bytes[IPCI_PACKET_MAX_BYTES + 1];

	cr_assert_eq(setsockopt(evil, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size)), 0);
	send_bytes(evil, bytes, sizeof(bytes));
	rig_expect_result(evil, 0, EPROTO, "more than 64 KiB");
	rig_expect_end(evil);
	close(evil);
	expect_unharmed();
}

/* Sends a good HELLO with @n copies of @fd beside it. False: the broker's queue is full. */
static bool try_send_with_fds(int socket, unsigned n, int fd)
{
	static int fds[253];
	union {
		char bytes[CMSG_SPACE(sizeof(fds))];
		struct cmsghdr align;
	} control = {0};
	struct packet packet;
	struct iovec iov;
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control};
	ipc_broker_Hello_w hello;

	rig_begin(&packet, ipc_broker_Kind_Hello, 1);
	hello = ipc_broker_Message_new_hello(&packet.message);
	ipc_broker_Hello_set_version(&hello, 1);
	cr_assert_eq(rig_finish(&packet), 0);
	iov = (struct iovec){packet.data, packet.n};
	for (unsigned i = 0; i < n; i++)
		fds[i] = fd;
	msg.msg_controllen = CMSG_SPACE(sizeof(int) * n);
	control.align = (struct cmsghdr){CMSG_LEN(sizeof(int) * n), SOL_SOCKET, SCM_RIGHTS};
	memcpy(CMSG_DATA(&control.align), fds, sizeof(int) * n);
	if (sendmsg(socket, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
		return true;
	cr_assert(errno == EAGAIN || errno == EPIPE || errno == ECONNRESET || errno == ETOOMANYREFS,
		  "%s", strerror(errno));
	return false;
}

static void send_with_fds(int socket, unsigned n)
{
	cr_assert(try_send_with_fds(socket, n, socket));
}

Test(control, descriptors_that_nobody_asked_for_end_the_connection)
{
	static const unsigned counts[] = {1, 2, 4, 5, 253};

	for (unsigned i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		int evil = rig_dial(&rig, "evil");

		send_with_fds(evil, counts[i]);
		rig_expect_result(evil, counts[i] == 1, EPROTO,
				  counts[i] == 1 ? "HELLO with a descriptor"
						 : "too many descriptors");
		rig_expect_end(evil);
		close(evil);
	}
	expect_unharmed();
}

/* None of them is one that closes at once, and all come sooner than they can be closed. */
Test(control, queues_full_of_descriptors_leave_none_behind)
{
	int other = eventfd(0, EFD_CLOEXEC), evil[8];

	kill(rig.pid, SIGSTOP);
	for (unsigned i = 0; i < 8; i++) {
		unsigned n = 0;

		evil[i] = rig_dial(&rig, "evil");
		while (try_send_with_fds(evil[i], 253, other))
			n++;
		/* Of an ordinary user the kernel lets only so many be in flight, all in all. */
		cr_assert_geq(n, geteuid() == 0 ? 10 : i == 0);
	}
	kill(rig.pid, SIGCONT);
	for (unsigned i = 0; i < 8; i++)
		close(evil[i]);
	close(other);
	expect_unharmed();
}

/* Their closing hangs for as long as the sender likes, and so does that of all that come after
 * them. */
Test(control, descriptors_that_cannot_be_closed_do_not_use_up_the_brokers)
{
	int listener, other;

	if (geteuid() != 0)
		cr_skip_test("not root: here attacker and victim are one user, and the kernel "
			     "limits the descriptors that a user has in flight");
	listener = lingering_listen();
	other = eventfd(0, EFD_CLOEXEC);
	for (unsigned i = 0; i < 60; i++) {
		int evil = rig_dial(&rig, "evil"), fd = other;

		/* The broker's is to be the last close. */
		kill(rig.pid, SIGSTOP);
		if (i < IPCI_DISPOSE_THREADS_MAX)
			fd = lingering_connect(listener);
		(void)try_send_with_fds(evil, 253, fd);
		if (fd != other)
			close(fd);
		close(evil);
		kill(rig.pid, SIGCONT);
		rig_expect_nothing(web);
	}
	cr_expect_lt(rig_count_fds(&rig), 4096);
	close(other);
	close(listener);
	expect_unharmed();
}

/* Sends a message of this kind without a table, a serial or a descriptor unless told. */
static void expect_refused(int socket, ipc_broker_Kind kind, uint64_t serial, const char *text)
{
	struct packet packet;

	rig_begin(&packet, kind, serial);
	rig_send(socket, &packet, -1);
	rig_expect_result(socket, serial, EPROTO, text);
	rig_expect_end(socket);
	close(socket);
}

Test(control, a_message_out_of_its_turn_ends_the_connection)
{
	int evil = rig_join(&rig, "evil");

	rig_hello(evil, 1);
	rig_expect_result(evil, 1, EPROTO, "HELLO a second time");
	rig_expect_end(evil);
	close(evil);
	expect_refused(rig_dial(&rig, "evil"), ipc_broker_Kind_Serve, 3, "SERVE before HELLO");
	expect_refused(rig_dial(&rig, "evil"), ipc_broker_Kind_Close, 0, "CLOSE before HELLO");
	expect_refused(rig_dial(&rig, "evil"), ipc_broker_Kind_Open, 3, "OPEN before HELLO");
	expect_unharmed();
}

Test(control, a_message_that_is_not_for_the_broker_ends_the_connection)
{
	static const ipc_broker_Kind kinds[] = {ipc_broker_Kind_None,
						ipc_broker_Kind_Welcome,
						ipc_broker_Kind_Offer,
						ipc_broker_Kind_Opened,
						ipc_broker_Kind_Closed,
						ipc_broker_Kind_Result,
						99,
						65535};

	for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		expect_refused(rig_join(&rig, "evil"), kinds[i], 3, "is not for the broker");
	expect_unharmed();
}

Test(control, a_message_without_its_parts_ends_the_connection)
{
	expect_refused(rig_dial(&rig, "evil"), ipc_broker_Kind_Hello, 1, "HELLO without its table");
	expect_refused(rig_join(&rig, "evil"), ipc_broker_Kind_Serve, 3, "SERVE without its table");
	expect_refused(rig_join(&rig, "evil"), ipc_broker_Kind_Open, 3, "OPEN without its table");
	expect_refused(rig_join(&rig, "evil"), ipc_broker_Kind_Accept, 3,
		       "ACCEPT without its table");
	expect_refused(rig_join(&rig, "evil"), ipc_broker_Kind_Withdraw, 0,
		       "WITHDRAW without a serial");
	expect_refused(rig_join(&rig, "evil"), ipc_broker_Kind_Open, 0, "OPEN without a serial");
	expect_refused(rig_join(&rig, "evil"), ipc_broker_Kind_Reject, 3, "REJECT of no offer");
	expect_unharmed();
}

struct wish {
	const char *service, *method;
	uint64_t ring_bytes;
	uint32_t layout;
	const char *text;
};

Test(control, an_open_of_impossible_things_ends_the_connection)
{
	static const struct wish wishes[] = {
		{"", "Place", 4096, 1, "names no service"},
		{"shop..Orders", "Place", 4096, 1, "names no service"},
		{"shop.Orders\n", "Place", 4096, 1, "names no service"},
		{"shop.Orders", NULL, 4096, 1, "0 methods"},
		{"shop.Orders", "", 4096, 1, "impossible method"},
		{"shop.Orders", "a b", 4096, 1, "impossible method"},
		{"shop.Orders", "Place", 0, 1, "impossible ring"},
		{"shop.Orders", "Place", 4097, 1, "impossible ring"},
		{"shop.Orders", "Place", UINT64_MAX, 1, "impossible ring"},
		{"shop.Orders", "Place", UINT64_C(1) << 63, 1, "impossible ring"},
		{"shop.Orders", "Place", 4096, 0, "no layout"},
	};

	for (unsigned i = 0; i < sizeof(wishes) / sizeof(wishes[0]); i++) {
		int evil = rig_join(&rig, "evil"), half = rig_half();
		ipc_broker_Method_vec_w vec;
		ipc_broker_Open_w open;
		struct packet packet;

		rig_begin(&packet, ipc_broker_Kind_Open, 2);
		open = ipc_broker_Message_new_open(&packet.message);
		ipc_broker_Open_set_service_str(&open, wishes[i].service);
		ipc_broker_Open_set_ring_bytes(&open, wishes[i].ring_bytes);
		ipc_broker_Open_set_layout(&open, wishes[i].layout);
		vec = ipc_broker_Open_new_methods(&open, wishes[i].method != NULL);
		if (wishes[i].method) {
			ipc_broker_Method_w method = ipc_broker_Method_new_at(&vec, 0);

			ipc_broker_Method_set_name_str(&method, wishes[i].method);
		}
		rig_send(evil, &packet, half);
		rig_expect_result(evil, 2, EPROTO, wishes[i].text);
		rig_expect_end(evil);
		close(half);
		close(evil);
	}
	expect_unharmed();
}

Test(control, an_open_without_a_half_ends_the_connection)
{
	static const char *const methods[] = {"Place", NULL};
	int evil = rig_join(&rig, "evil");
	struct packet packet;

	rig_write_open(&packet, 2, "shop.Orders", methods, RIG_SECOND);
	rig_send(evil, &packet, -1);
	rig_expect_result(evil, 2, EPROTO, "OPEN without a descriptor");
	rig_expect_end(evil);
	close(evil);
	expect_unharmed();
}

Test(control, an_answer_to_somebody_elses_offer_ends_the_connection)
{
	struct answer offer, opened;
	int evil = rig_join(&rig, "evil");

	rig_open(web, 9, "shop.Orders", "Place", 15 * RIG_SECOND);
	rig_expect(orders, &offer, ipc_broker_Kind_Offer);
	rig_accept(evil, offer.serial);
	rig_expect_result(evil, offer.serial, EPROTO, "ACCEPT of no offer");
	rig_expect_end(evil);
	close(evil);
	rig_accept(orders, offer.serial);
	rig_done(&offer);
	rig_expect(web, &opened, ipc_broker_Kind_Opened);
	rig_done(&opened);
	rig_close(web, opened.channel);
	rig_expect(orders, &opened, ipc_broker_Kind_Closed);
	expect_unharmed();
}

Test(control, an_offer_can_be_answered_once)
{
	int evil = rig_join(&rig, "evil");
	struct answer offer, opened;

	rig_offer_service(evil, 2, "bad.Service");
	rig_open(web, 9, "bad.Service", "Place", 15 * RIG_SECOND);
	rig_expect(evil, &offer, ipc_broker_Kind_Offer);
	rig_accept(evil, offer.serial);
	rig_accept(evil, offer.serial);
	rig_done(&offer);
	rig_expect(web, &opened, ipc_broker_Kind_Opened);
	rig_done(&opened);
	rig_expect_result(evil, offer.serial, EPROTO, "ACCEPT of no offer");
	rig_expect_end(evil);
	close(evil);
	rig_expect(web, &opened, ipc_broker_Kind_Closed);
	expect_unharmed();
}

/* Whoever asks and never reads is cut off when its socket and its queue are full, not waited for.
 */
Test(control, a_workload_that_never_reads_is_cut_off)
{
	int evil = rig_join(&rig, "evil");
	struct packet packet;
	int r = 0;

	rig_begin(&packet, ipc_broker_Kind_Withdraw, 3);
	cr_assert_eq(rig_finish(&packet), 0);
	for (int i = 0; i < 1000000 && (r == 0 || r == -EAGAIN); i++) {
		r = ipci_packet_send(evil, packet.data, packet.n, NULL, 0);
		if (r == -EAGAIN)
			rig_expect_nothing(web);
	}
	cr_expect(r == -EPIPE || r == -ECONNRESET, "%d", r);
	close(evil);
	expect_unharmed();
}

/* Offers that a server leaves lying are bounded, and so are the descriptors in flight to it. */
Test(control, a_server_that_never_answers_holds_few_offers)
{
	int evil = rig_join(&rig, "evil"), again = rig_join(&rig, "web"), n_offers = 0;
	struct answer answer;
	struct pollfd pollfd = {.fd = evil, .events = POLLIN};

	rig_offer_service(evil, 2, "bad.Service");
	for (unsigned i = 0; i < 40; i++) {
		rig_open(again, 9 + i, "bad.Service", "Place", RIG_SECOND / 50);
		rig_expect_result(again, 9 + i, ETIMEDOUT, "");
	}
	while (poll(&pollfd, 1, 0) > 0) {
		rig_expect(evil, &answer, ipc_broker_Kind_Offer);
		rig_done(&answer);
		n_offers++;
	}
	cr_expect_eq(n_offers, 32);
	/* With an answer there is room for one that waits. */
	rig_open(again, 99, "bad.Service", "Place", 15 * RIG_SECOND);
	rig_expect_nothing(evil);
	rig_accept(evil, answer.serial);
	rig_expect(evil, &answer, ipc_broker_Kind_Closed);
	rig_expect(evil, &answer, ipc_broker_Kind_Offer);
	rig_done(&answer);
	close(evil);
	close(again);
	expect_unharmed();
}

/* A client that asks and does not wait is no work for the server. */
Test(control, an_open_whose_time_is_up_is_not_offered)
{
	for (uint64_t serial = 100; serial < 140; serial++) {
		rig_open(web, serial, "shop.Orders", "Place", 1);
		rig_expect_result(web, serial, ETIMEDOUT, "in time");
	}
	rig_expect_nothing(orders);
	expect_unharmed();
}

/* One that says nothing is not waited for either; nor does it keep others out meanwhile. */
Test(control, a_connection_that_says_nothing_is_ended)
{
	int evil = rig_dial(&rig, "evil");

	rig_expect_result(evil, 0, ETIMEDOUT, "no HELLO");
	rig_expect_end(evil);
	close(evil);
	expect_unharmed();
}
