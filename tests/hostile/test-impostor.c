// SPDX-License-Identifier: Apache-2.0
/*
 * A broker that lies: what it hands on is checked again by whoever imports it, and what cannot be
 * is refused in words, without a crash, a stall, or a descriptor left over.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "bell.h"
#include "broker_fbs.h"
#include "fdpass.h"
#include "half.h"
#include "layout.h"
#include "world.h"

#define RING UINT64_C(8192)
#define ALL_SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE)

/* What the impostor says, instead of the truth. */
struct lie {
	int fds[IPCI_PACKET_FDS_MAX];
	unsigned n_fds;
	uint64_t ring_bytes;
	uint32_t layout, max_calls;
	const char *name;
	const void *packet; /* sent as it is */
	size_t packet_bytes;
	uint64_t serial; /* 0: the right one */
};

static char directory[64], path[96];
static int listener;
static struct lie lie;
static pthread_t thread;
/* What the victim answered to an offer. */
static int answer_kind, answer_error;

static _Alignas(16) uint8_t in[IPCI_PACKET_MAX_BYTES], out[IPCI_PACKET_MAX_BYTES];
static struct ipc_writer writer;
static struct ipc_msg msg;

static ipc_broker_Message_w begin(ipc_broker_Kind kind, uint64_t serial)
{
	ipc_broker_Message_w m;

	ipc_writer_init(&writer, out, sizeof(out));
	m = ipc_broker_Message_start(&writer);
	ipc_broker_Message_set_kind(&m, kind);
	ipc_broker_Message_set_serial(&m, serial);
	return m;
}

static void finish(int socket, const int *fds, unsigned n_fds)
{
	size_t size_bytes = 0;

	if (ipc_writer_finish(&writer, &size_bytes) == 0)
		(void)ipci_packet_send(socket, out, size_bytes, fds, n_fds);
}

/* The victim's next packet; its serial, or 0 once it has gone. */
static uint64_t hear(int socket, ipc_broker_Message *ret)
{
	int fds[IPCI_PACKET_FDS_MAX];
	unsigned n_fds = 0;
	ssize_t r;
	char byte;

	/* Waits, but takes nothing. */
	if (recv(socket, &byte, 1, MSG_PEEK) <= 0)
		return 0;
	r = ipci_packet_recv(socket, in, sizeof(in), fds, IPCI_PACKET_FDS_MAX, &n_fds);
	if (r <= 0)
		return 0;
	for (unsigned i = 0; i < n_fds; i++)
		(void)close(fds[i]);
	msg = ipc_msg_from(in, (size_t)r);
	*ret = ipc_broker_Message_root(&msg);
	return ipc_broker_Message_serial(*ret);
}

static void send_opened(int socket, uint64_t serial)
{
	ipc_broker_Message_w m = begin(ipc_broker_Kind_Opened, lie.serial ? lie.serial : serial);
	ipc_broker_Opened_w opened;

	ipc_broker_Message_set_channel(&m, 1);
	opened = ipc_broker_Message_new_opened(&m);
	ipc_broker_Opened_set_server(&opened, lie.name, strlen(lie.name));
	ipc_broker_Opened_set_ring_bytes(&opened, lie.ring_bytes);
	ipc_broker_Opened_set_layout(&opened, lie.layout);
	ipc_broker_Opened_set_max_calls(&opened, lie.max_calls);
	finish(socket, lie.fds, lie.n_fds);
}

static void send_offer(int socket, uint64_t serve_serial)
{
	ipc_broker_Message_w m = begin(ipc_broker_Kind_Offer, 77);
	ipc_broker_Method_vec_w methods;
	ipc_broker_Method_w method;
	ipc_broker_Offer_w offer;

	ipc_broker_Message_set_channel(&m, 1);
	offer = ipc_broker_Message_new_offer(&m);
	ipc_broker_Offer_set_service(&offer, "test.Echo", 9);
	ipc_broker_Offer_set_serve_serial(&offer, lie.serial ? lie.serial : serve_serial);
	ipc_broker_Offer_set_caller(&offer, lie.name, strlen(lie.name));
	methods = ipc_broker_Offer_new_methods(&offer, 1);
	method = ipc_broker_Method_new_at(&methods, 0);
	ipc_broker_Method_set_name(&method, "Echo", 4);
	ipc_broker_Method_set_id(&method, ECHO);
	ipc_broker_Offer_set_max_calls(&offer, lie.max_calls);
	ipc_broker_Offer_set_ring_bytes(&offer, lie.ring_bytes);
	ipc_broker_Offer_set_layout(&offer, lie.layout);
	finish(socket, lie.fds, lie.n_fds);
}

static void *impersonate(void *arg)
{
	int socket = accept(listener, NULL, NULL);
	ipc_broker_Welcome_w welcome;
	ipc_broker_Message message;
	ipc_broker_Message_w m;
	uint64_t serial;

	while ((serial = hear(socket, &message)) != 0) {
		switch (ipc_broker_Message_kind(message)) {
		case ipc_broker_Kind_Hello:
			m = begin(ipc_broker_Kind_Welcome, serial);
			welcome = ipc_broker_Message_new_welcome(&m);
			ipc_broker_Welcome_set_version(&welcome, 1);
			ipc_broker_Welcome_set_workload(&welcome, "web", 3);
			finish(socket, NULL, 0);
			break;
		case ipc_broker_Kind_Open:
			if (lie.packet)
				(void)ipci_packet_send(socket, lie.packet, lie.packet_bytes,
						       lie.fds, lie.n_fds);
			else
				send_opened(socket, serial);
			break;
		case ipc_broker_Kind_Serve:
			(void)begin(ipc_broker_Kind_Result, serial);
			finish(socket, NULL, 0);
			send_offer(socket, serial);
			break;
		case ipc_broker_Kind_Close:
			break;
		default:
			answer_kind = (int)ipc_broker_Message_kind(message);
			answer_error = ipc_broker_Message_error(message);
			/* The victim is told that somebody heard. */
			(void)shutdown(socket, SHUT_RDWR);
		}
	}
	(void)close(socket);
	return arg;
}

static ipc_loop *meet(void)
{
	struct ipc_loop_opts opts = {.size = sizeof(opts), .broker = path};
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	ipc_loop *loop = NULL;

	(void)strcpy(directory, "/tmp/ipc-test-XXXXXX");
	cr_assert_not_null(mkdtemp(directory));
	(void)snprintf(path, sizeof(path), "%s/broker.sock", directory);
	(void)strcpy(address.sun_path, path);
	listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	cr_assert_eq(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
	cr_assert_eq(listen(listener, 1), 0);
	cr_assert_eq(pthread_create(&thread, NULL, impersonate, NULL), 0);
	cr_assert_eq(ipc_loop_new(&loop, &opts), 0, "%s", ipc_loop_error(NULL));
	return loop;
}

static void part(ipc_loop *loop)
{
	ipc_loop_free(loop);
	cr_assert_eq(pthread_join(thread, NULL), 0);
	(void)close(listener);
	for (unsigned i = 0; i < lie.n_fds; i++)
		(void)close(lie.fds[i]);
	(void)unlink(path);
	(void)rmdir(directory);
	cr_expect(!leaked());
}

static int good_half(void)
{
	struct ipci_half half;
	int fd;

	cr_assert_eq(ipci_half_create(&half, &fd, RING, NULL), 0);
	ipci_half_deinit(&half);
	return fd;
}

static int good_bell(void)
{
	int fds[2];

	cr_assert_eq(ipci_bell_pair(fds), 0);
	/* The other end stays open: a hang-up is not what is tested. */
	return fds[0];
}

/* The truth, to be bent. */
static void tell_truth(void)
{
	lie = (struct lie){
		.fds = {good_half(), good_bell()},
		.n_fds = 2,
		.ring_bytes = RING,
		.layout = IPCI_LAYOUT_VERSION,
		.max_calls = 16,
		.name = "shop",
	};
}

static int count_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* As a client, that opens. */
static void open_expecting(int expected)
{
	struct ipc_open_opts opts = {.size = sizeof(opts),
				     .max_calls = 16,
				     .timeout_ns = 200 * MS_NS,
				     .ring_bytes = RING};
	ipc_channel *channel = NULL;
	ipc_loop *loop = meet();
	int before = count_fds();

	cr_assert_eq(ipc_open(loop, &echo_called, &opts, &channel), expected, "%s",
		     ipc_loop_error(loop));
	if (expected == 0) {
		struct ipc_channel_info info = {.size = sizeof(info)};

		cr_assert_eq(ipc_channel_info(channel, &info), 0);
		cr_assert_eq(info.state, IPC_CHANNEL_OPEN);
	} else {
		cr_assert_null(channel);
		cr_assert_gt(strlen(ipc_loop_error(loop)), 0);
		/* Nothing that came stays; a connection that broke is closed, too. */
		for (uint64_t limit_ns = now_ns() + PATIENCE_NS; count_fds() > before;)
			cr_assert_lt(now_ns(), limit_ns, "%d descriptors too many",
				     count_fds() - before);
	}
	part(loop);
}

/* As a server, that is offered a client. */
static void offer_expecting(int kind)
{
	struct ipc_event event;
	ipc_server *server;
	ipc_loop *loop = meet();

	answer_kind = -1;
	cr_assert_eq(ipc_serve(loop, &echo_served, NULL, &server), 0);
	/* Until the impostor has heard the answer and hangs up, or the channel is there. */
	while (ipc_loop_next(loop, &event, 100 * (int64_t)MS_NS) == 1)
		cr_assert_eq(event.kind, IPC_EVENT_CHANNEL);
	part(loop);
	cr_assert_eq(answer_kind, kind);
	if (kind == ipc_broker_Kind_Reject)
		cr_assert_gt(answer_error, 0);
}

#define AS_CLIENT_AND_SERVER(change, client_expects)                                               \
	do {                                                                                       \
		tell_truth();                                                                      \
		change;                                                                            \
		open_expecting(client_expects);                                                    \
		tell_truth();                                                                      \
		change;                                                                            \
		offer_expecting(ipc_broker_Kind_Reject);                                           \
	} while (0)

static void replace(unsigned which, int fd)
{
	cr_assert_geq(fd, 0);
	(void)close(lie.fds[which]);
	lie.fds[which] = fd;
}

Test(impostor, that_tells_the_truth_is_believed, .timeout = 30)
{
	tell_truth();
	open_expecting(0);
	tell_truth();
	offer_expecting(ipc_broker_Kind_Accept);
}

static int memfd(uint64_t bytes, bool allocate, int seals)
{
	int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	cr_assert_geq(fd, 0);
	cr_assert_eq(ftruncate(fd, (off_t)bytes), 0);
	if (allocate)
		cr_assert_eq(posix_fallocate(fd, 0, (off_t)bytes), 0);
	cr_assert_eq(fcntl(fd, F_ADD_SEALS, seals), 0);
	return fd;
}

Test(impostor, hands_on_a_half_without_one_of_its_seals, .timeout = 30)
{
	const int seals[] = {F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_FUTURE_WRITE,
			     ALL_SEALS};
	const uint64_t size = ipci_half_size_bytes(RING);

	for (unsigned i = 0; i < 5; i++)
		AS_CLIENT_AND_SERVER(replace(0, memfd(size, true, ALL_SEALS & ~seals[i])), -EPROTO);
}

Test(impostor, hands_on_a_half_of_another_size_or_with_holes, .timeout = 30)
{
	const uint64_t size = ipci_half_size_bytes(RING);
	const uint64_t sizes[] = {0, 4096, size - 1, size + 1, size - 4096, size + 4096, size * 2};

	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		AS_CLIENT_AND_SERVER(replace(0, memfd(sizes[i], sizes[i] != 0, ALL_SEALS)),
				     -EPROTO);
	AS_CLIENT_AND_SERVER(replace(0, memfd(size, false, ALL_SEALS)), -EPROTO);
}

static int a_pipe(void)
{
	int fds[2];

	cr_assert_eq(pipe2(fds, O_CLOEXEC), 0);
	(void)close(fds[1]);
	return fds[0];
}

static int a_socket(int type)
{
	return socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
}

static int a_file(void)
{
	int fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd >= 0)
		(void)!ftruncate(fd, (off_t)ipci_half_size_bytes(RING));
	return fd;
}

Test(impostor, hands_on_something_else_for_a_half, .timeout = 30)
{
	AS_CLIENT_AND_SERVER(replace(0, a_pipe()), -EPROTO);
	AS_CLIENT_AND_SERVER(replace(0, a_socket(SOCK_SEQPACKET)), -EPROTO);
	AS_CLIENT_AND_SERVER(replace(0, a_file()), -EPROTO);
	AS_CLIENT_AND_SERVER(replace(0, open("/tmp", O_DIRECTORY | O_RDONLY | O_CLOEXEC)), -EPROTO);
	AS_CLIENT_AND_SERVER(replace(0, open("/dev/null", O_RDWR | O_CLOEXEC)), -EPROTO);
	AS_CLIENT_AND_SERVER(replace(0, open("/dev/zero", O_RDWR | O_CLOEXEC)), -EPROTO);
	AS_CLIENT_AND_SERVER(replace(0, open("/proc/self/maps", O_RDONLY | O_CLOEXEC)), -EPROTO);
	AS_CLIENT_AND_SERVER(replace(0, open("/proc/self", O_PATH | O_CLOEXEC)), -EPROTO);
}

Test(impostor, hands_on_something_else_for_a_bell, .timeout = 30)
{
	AS_CLIENT_AND_SERVER(replace(1, a_pipe()), -EPROTO);
	AS_CLIENT_AND_SERVER(replace(1, a_socket(SOCK_STREAM)), -EPROTO);
	AS_CLIENT_AND_SERVER(replace(1, a_socket(SOCK_DGRAM)), -EPROTO);
	AS_CLIENT_AND_SERVER(replace(1, socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)), -EPROTO);
	AS_CLIENT_AND_SERVER(replace(1, good_half()), -EPROTO);
}

static void add_fds(unsigned n)
{
	while (lie.n_fds < n)
		lie.fds[lie.n_fds++] = good_bell();
	for (unsigned i = n; i < IPCI_PACKET_FDS_MAX && i < lie.n_fds; i++)
		(void)close(lie.fds[i]);
	lie.n_fds = n;
}

Test(impostor, hands_on_too_few_or_too_many, .timeout = 30)
{
	AS_CLIENT_AND_SERVER(add_fds(0), -EHOSTUNREACH);
	AS_CLIENT_AND_SERVER(add_fds(1), -EPROTO);
	AS_CLIENT_AND_SERVER(add_fds(3), -EPROTO);
	AS_CLIENT_AND_SERVER(add_fds(4), -EPROTO);
}

Test(impostor, agrees_on_what_cannot_be, .timeout = 30)
{
	static char long_name[200];

	memset(long_name, 'x', sizeof(long_name) - 1);
	AS_CLIENT_AND_SERVER(lie.layout = 2, -EPROTO);
	AS_CLIENT_AND_SERVER(lie.layout = 0, -EPROTO);
	AS_CLIENT_AND_SERVER(lie.ring_bytes = 0, -EPROTO);
	AS_CLIENT_AND_SERVER(lie.ring_bytes = 5000, -EPROTO);
	AS_CLIENT_AND_SERVER(lie.ring_bytes = RING * 2, -EPROTO);
	AS_CLIENT_AND_SERVER(lie.ring_bytes = UINT64_MAX, -EPROTO);
	AS_CLIENT_AND_SERVER(lie.ring_bytes = UINT64_C(1) << 63, -EPROTO);
	AS_CLIENT_AND_SERVER(lie.max_calls = 0, -EPROTO);
	AS_CLIENT_AND_SERVER(lie.name = "", -EPROTO);
	AS_CLIENT_AND_SERVER(lie.name = long_name, -EPROTO);
	tell_truth();
	lie.max_calls = 17;
	open_expecting(-EPROTO);
}

/* What it does not know was never asked: the answer that was asked for never comes. */
Test(impostor, answers_what_was_not_asked, .timeout = 30)
{
	tell_truth();
	lie.serial = 999;
	open_expecting(-ETIMEDOUT);
	tell_truth();
	lie.serial = 999;
	offer_expecting(ipc_broker_Kind_Reject);
}

Test(impostor, sends_no_message, .timeout = 60)
{
	static uint8_t bytes[4096];
	uint64_t x = 1;

	for (unsigned round = 0; round < 200; round++) {
		for (unsigned i = 0; i < sizeof(bytes); i++) {
			x = x * UINT64_C(6364136223846793005) + 1442695040888963407u;
			/* Small numbers are likelier to be believed. */
			bytes[i] = (uint8_t)(round % 2 ? x >> 56 : x >> 60);
		}
		tell_truth();
		lie.packet = bytes;
		lie.packet_bytes = round % 50 + 1;
		if (round % 4 == 3)
			lie.packet_bytes = sizeof(bytes);
		{
			struct ipc_open_opts opts = {.size = sizeof(opts), .timeout_ns = 2 * MS_NS};
			ipc_channel *channel = NULL;
			ipc_loop *loop = meet();
			int r = ipc_open(loop, &echo_called, &opts, &channel);

			cr_assert_lt(r, 0);
			cr_assert_null(channel);
			part(loop);
		}
	}
}
