// SPDX-License-Identifier: Apache-2.0
#include "fake.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "bell.h"

ipc_loop *fake_loop;
int fake_socket = -1;

static const struct ipc_method methods[METHODS] = {{.name = "Zero", .id = 0},
						   {.name = "One", .id = 1},
						   {.name = "Two", .id = 2}};
const struct ipc_service fake_service = {.name = "fuzz.Service",
					 .methods = methods,
					 .n_methods = METHODS};

/* ── the broker ── */

static _Alignas(16) uint8_t received[IPCI_PACKET_MAX_BYTES], sent[IPCI_PACKET_MAX_BYTES];
static struct ipc_writer writer;
static struct ipc_msg msg;
static uint64_t last_channel;
static uint64_t serve_serial;
static uint64_t offer_serial;

static char directory[] = "/tmp/ipc-fuzz-XXXXXX";
static struct sockaddr_un address = {.sun_family = AF_UNIX};
static int listener = -1;

static ipc_broker_Message_w start(ipc_broker_Kind kind, uint64_t serial)
{
	ipc_broker_Message_w m;

	ipc_writer_init(&writer, sent, sizeof(sent));
	m = ipc_broker_Message_start(&writer);
	ipc_broker_Message_set_kind(&m, kind);
	ipc_broker_Message_set_serial(&m, serial);
	return m;
}

static void send_out(const int *fds, unsigned n_fds)
{
	size_t size_bytes = 0;

	must(ipc_writer_finish(&writer, &size_bytes) == 0);
	must(ipci_packet_send(fake_socket, sent, size_bytes, fds, n_fds) == 0);
}

bool fake_take(ipc_broker_Kind kind, ipc_broker_Message *ret, int fds[IPCI_PACKET_FDS_MAX],
	       unsigned *n_fds)
{
	for (;;) {
		ssize_t r = ipci_packet_recv(fake_socket, received, sizeof(received), fds,
					     IPCI_PACKET_FDS_MAX, n_fds);

		if (r <= 0)
			return false;
		msg = ipc_msg_from(received, (size_t)r);
		*ret = ipc_broker_Message_root(&msg);
		if (ipc_broker_Message_kind(*ret) == kind)
			return true;
		for (unsigned i = 0; i < *n_fds; i++)
			(void)close(fds[i]);
	}
}

void fake_drain(void)
{
	int fds[IPCI_PACKET_FDS_MAX];
	ipc_broker_Message m;
	unsigned n_fds;

	must(!fake_take(UINT16_MAX, &m, fds, &n_fds));
}

static void await(ipc_broker_Kind kind, ipc_broker_Message *ret)
{
	struct pollfd poll_fd = {.fd = fake_socket, .events = POLLIN};
	int fds[IPCI_PACKET_FDS_MAX];
	unsigned n_fds;

	while (!fake_take(kind, ret, fds, &n_fds))
		must(poll(&poll_fd, 1, 10000) == 1);
}

/* What the library blocks for, answered from another thread: its hello and its offer. */
static void *greet(void *arg)
{
	const bool serve = *(const bool *)arg;
	ipc_broker_Welcome_w welcome;
	ipc_broker_Message_w out;
	ipc_broker_Message in;

	await(ipc_broker_Kind_Hello, &in);
	out = start(ipc_broker_Kind_Welcome, ipc_broker_Message_serial(in));
	welcome = ipc_broker_Message_new_welcome(&out);
	ipc_broker_Welcome_set_version(&welcome, 1);
	ipc_broker_Welcome_set_workload(&welcome, "victim", 6);
	send_out(NULL, 0);
	if (!serve)
		return NULL;
	await(ipc_broker_Kind_Serve, &in);
	serve_serial = ipc_broker_Message_serial(in);
	(void)start(ipc_broker_Kind_Result, serve_serial);
	send_out(NULL, 0);
	return NULL;
}

static void *accept_and_greet(void *arg)
{
	fake_socket = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	must(fake_socket >= 0);
	return greet(arg);
}

static void remove_directory(void)
{
	(void)unlink(address.sun_path);
	(void)rmdir(directory);
}

/* Once: a name in a file system is dear. */
static void listen_once(void)
{
	if (listener >= 0)
		return;
	listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	must(mkdtemp(directory) && listener >= 0);
	(void)snprintf(address.sun_path, sizeof(address.sun_path), "%s/broker.sock", directory);
	must(bind(listener, (struct sockaddr *)&address, sizeof(address)) == 0);
	must(atexit(remove_directory) == 0);
	must(listen(listener, 1) == 0);
}

void fake_start(bool serve)
{
	struct ipc_loop_opts opts = {.size = sizeof(opts), .wait = IPC_WAIT_EPOLL, .spin_ns = 1};
	ipc_server *server;
	pthread_t thread;

	listen_once();
	must(pthread_create(&thread, NULL, accept_and_greet, &serve) == 0);
	opts.broker = address.sun_path;
	must(ipc_loop_new(&fake_loop, &opts) == 0);
	if (serve) {
		struct ipc_serve_opts serve_opts = {.size = sizeof(serve_opts),
						    .ring_bytes = RING_BYTES,
						    .max_calls = 8};

		must(ipc_serve(fake_loop, &fake_service, &serve_opts, &server) == 0);
	}
	must(pthread_join(thread, NULL) == 0);
}

/* ── the peer ── */

static int make_half(struct peer *peer)
{
	struct ipci_control *control;
	struct ipci_error error;
	int fd;

	must(ipci_half_create(&peer->own, &fd, RING_BYTES, &error) == 0);
	control = (struct ipci_control *)(void *)peer->own.base;
	control->magic = IPCI_LAYOUT_MAGIC;
	control->version = IPCI_LAYOUT_VERSION;
	control->ring_offset = peer->own.ring_offset;
	control->ring_bytes = RING_BYTES;
	return fd;
}

static void import(struct peer *peer, int half, uint64_t ring_bytes)
{
	struct ipci_error error;

	must(ipci_half_import(&peer->other, half, ring_bytes, &error) == 0);
	(void)close(half);
}

void fake_open(struct peer *peer, ipc_channel **ret)
{
	struct ipc_open_opts opts = {.size = sizeof(opts),
				     .flags = IPC_OPEN_ASYNC | IPC_OPEN_ONCE,
				     .ring_bytes = RING_BYTES,
				     .max_calls = 8};
	int fds[IPCI_PACKET_FDS_MAX], bell[2];
	ipc_broker_Message_w out;
	ipc_broker_Opened_w opened;
	struct ipc_event event;
	ipc_broker_Message in;
	unsigned n_fds;

	*peer = (struct peer){.channel = ++last_channel};
	must(ipc_open(fake_loop, &fake_service, &opts, ret) == 0);
	must(fake_take(ipc_broker_Kind_Open, &in, fds, &n_fds) && n_fds == 1);
	import(peer, fds[0], RING_BYTES);
	fds[0] = make_half(peer);
	must(ipci_bell_pair(bell) == 0);
	peer->bell = bell[0];
	fds[1] = bell[1];
	out = start(ipc_broker_Kind_Opened, ipc_broker_Message_serial(in));
	ipc_broker_Message_set_channel(&out, peer->channel);
	opened = ipc_broker_Message_new_opened(&out);
	ipc_broker_Opened_set_server(&opened, "fuzzer", 6);
	ipc_broker_Opened_set_ring_bytes(&opened, RING_BYTES);
	ipc_broker_Opened_set_layout(&opened, IPCI_LAYOUT_VERSION);
	ipc_broker_Opened_set_max_calls(&opened, 8);
	send_out(fds, 2);
	(void)close(fds[0]);
	(void)close(fds[1]);
	must(ipc_loop_next(fake_loop, &event, 0) == 1);
	must(event.kind == IPC_EVENT_CHANNEL && event.status == 0);
}

/* The client's ids are not the server's: 5 is Zero, 6 is One, 7 is no method of the server's. */
static void offer_methods(ipc_broker_Offer_w *offer)
{
	static const char *const names[] = {"Zero", "One", "None"};
	ipc_broker_Method_vec_w v = ipc_broker_Offer_new_methods(offer, 3);

	for (unsigned i = 0; i < 3; i++) {
		ipc_broker_Method_w m = ipc_broker_Method_new_at(&v, i);

		ipc_broker_Method_set_name(&m, names[i], strlen(names[i]));
		ipc_broker_Method_set_id(&m, (uint16_t)(5 + i));
	}
}

void fake_offer(struct peer *peer, ipc_channel **ret)
{
	int fds[IPCI_PACKET_FDS_MAX], bell[2];
	ipc_broker_Message_w out;
	ipc_broker_Offer_w offer;
	struct ipc_event event;
	ipc_broker_Message in;
	unsigned n_fds;

	*peer = (struct peer){.channel = ++last_channel};
	must(ipci_bell_pair(bell) == 0);
	peer->bell = bell[0];
	fds[0] = make_half(peer);
	fds[1] = bell[1];
	out = start(ipc_broker_Kind_Offer, ++offer_serial);
	ipc_broker_Message_set_channel(&out, peer->channel);
	offer = ipc_broker_Message_new_offer(&out);
	ipc_broker_Offer_set_service(&offer, fake_service.name, strlen(fake_service.name));
	ipc_broker_Offer_set_serve_serial(&offer, serve_serial);
	ipc_broker_Offer_set_caller(&offer, "fuzzer", 6);
	ipc_broker_Offer_set_ring_bytes(&offer, RING_BYTES);
	ipc_broker_Offer_set_layout(&offer, IPCI_LAYOUT_VERSION);
	ipc_broker_Offer_set_max_calls(&offer, 8);
	offer_methods(&offer);
	send_out(fds, 2);
	(void)close(fds[0]);
	(void)close(fds[1]);
	must(ipc_loop_next(fake_loop, &event, 0) == 1);
	must(event.kind == IPC_EVENT_CHANNEL && event.status == 0);
	*ret = event.channel;
	must(fake_take(ipc_broker_Kind_Accept, &in, fds, &n_fds) && n_fds == 1);
	import(peer, fds[0], RING_BYTES);
}

void fake_close(struct peer *peer)
{
	if (peer->bell >= 0)
		(void)close(peer->bell);
	ipci_half_deinit(&peer->own);
	ipci_half_deinit(&peer->other);
	fake_drain();
}

void peer_die(struct peer *peer)
{
	if (peer->bell >= 0)
		(void)close(peer->bell);
	peer->bell = -1;
}

void fake_stop(void)
{
	ipc_loop_free(fake_loop);
	fake_loop = NULL;
	(void)close(fake_socket);
	fake_socket = -1;
}
