// SPDX-License-Identifier: Apache-2.0
#include "peer.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "bell.h"

uint64_t peer_claims;

/* ── the control protocol ── */

static _Alignas(16) uint8_t in[IPCI_PACKET_MAX_BYTES], out[IPCI_PACKET_MAX_BYTES];
static struct ipc_writer writer;
static struct ipc_msg msg;

static ipc_broker_Message_w start(ipc_broker_Kind kind, uint64_t serial)
{
	ipc_broker_Message_w m;

	ipc_writer_init(&writer, out, sizeof(out));
	m = ipc_broker_Message_start(&writer);
	ipc_broker_Message_set_kind(&m, kind);
	ipc_broker_Message_set_serial(&m, serial);
	return m;
}

static void send_out(int socket, const int *fds, unsigned n_fds)
{
	size_t size_bytes = 0;

	cr_assert_eq(ipc_writer_finish(&writer, &size_bytes), 0);
	cr_assert_eq(ipci_packet_send(socket, out, size_bytes, fds, n_fds), 0);
}

ipc_broker_Message peer_await(int socket, ipc_broker_Kind kind, int fds[IPCI_PACKET_FDS_MAX],
			      unsigned *n_fds)
{
	for (;;) {
		struct pollfd poll_fd = {.fd = socket, .events = POLLIN};
		ipc_broker_Message message;
		ssize_t r;

		cr_assert_eq(poll(&poll_fd, 1, (int)(PATIENCE_NS / MS_NS)), 1,
			     "no packet of kind %d", (int)kind);
		r = ipci_packet_recv(socket, in, sizeof(in), fds, IPCI_PACKET_FDS_MAX, n_fds);
		cr_assert_gt(r, 0, "the broker hung up on a peer that waits for kind %d",
			     (int)kind);
		msg = ipc_msg_from(in, (size_t)r);
		message = ipc_broker_Message_root(&msg);
		if (ipc_broker_Message_kind(message) == kind)
			return message;
		for (unsigned i = 0; i < *n_fds; i++)
			(void)close(fds[i]);
	}
}

void peer_connect(struct peer *peer, const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fds[IPCI_PACKET_FDS_MAX];
	ipc_broker_Message_w m;
	ipc_broker_Hello_w hello;
	unsigned n_fds;

	*peer = (struct peer){.bell = -EBADF, .other_fd = -EBADF};
	cr_assert_lt(strlen(path), sizeof(address.sun_path));
	memcpy(address.sun_path, path, strlen(path));
	peer->socket = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	cr_assert_eq(connect(peer->socket, (struct sockaddr *)&address, sizeof(address)), 0);
	m = start(ipc_broker_Kind_Hello, 1);
	hello = ipc_broker_Message_new_hello(&m);
	ipc_broker_Hello_set_version(&hello, 1);
	send_out(peer->socket, NULL, 0);
	(void)peer_await(peer->socket, ipc_broker_Kind_Welcome, fds, &n_fds);
}

void peer_close(struct peer *peer)
{
	if (peer->bell >= 0)
		(void)close(peer->bell);
	if (peer->other_fd >= 0)
		(void)close(peer->other_fd);
	(void)close(peer->socket);
	ipci_half_deinit(&peer->own);
	ipci_half_deinit(&peer->other);
}

int peer_half(struct peer *peer)
{
	struct peer none = {0}, *owner = peer ? peer : &none;
	struct ipci_control *control;
	struct ipci_error error;
	int fd;

	cr_assert_eq(ipci_half_create(&owner->own, &fd, RING, &error), 0, "%s", error.text);
	control = peer_control(owner);
	control->magic = IPCI_LAYOUT_MAGIC;
	control->version = IPCI_LAYOUT_VERSION;
	control->ring_offset = owner->own.ring_offset;
	control->ring_bytes = RING;
	ipci_half_deinit(&none.own);
	return fd;
}

static void import(struct peer *peer, int half, int bell, uint64_t ring_bytes)
{
	struct ipci_error error;

	cr_assert_eq(ipci_half_import(&peer->other, half, ring_bytes, &error), 0, "%s", error.text);
	peer->bell = bell;
	peer->other_fd = half;
}

void peer_ask_with(const struct peer *peer, int half, uint64_t ring_bytes, uint64_t timeout_ns)
{
	static const struct {
		const char *name;
		uint16_t id;
	} methods[] = {{"Echo", ECHO}, {"Hold", HOLD}, {"Missing", MISSING}};
	ipc_broker_Message_w m = start(ipc_broker_Kind_Open, 2);
	ipc_broker_Open_w open = ipc_broker_Message_new_open(&m);
	ipc_broker_Method_vec_w v;

	ipc_broker_Open_set_service(&open, "test.Echo", 9);
	ipc_broker_Open_set_max_calls(&open, 16);
	ipc_broker_Open_set_timeout_ns(&open, timeout_ns);
	ipc_broker_Open_set_ring_bytes(&open, ring_bytes);
	ipc_broker_Open_set_layout(&open, IPCI_LAYOUT_VERSION);
	ipc_broker_Open_set_features(&open, peer_claims);
	v = ipc_broker_Open_new_methods(&open, 3);
	for (unsigned i = 0; i < 3; i++) {
		ipc_broker_Method_w method = ipc_broker_Method_new_at(&v, i);

		ipc_broker_Method_set_name(&method, methods[i].name, strlen(methods[i].name));
		ipc_broker_Method_set_id(&method, methods[i].id);
	}
	send_out(peer->socket, &half, 1);
}

void peer_ask(struct peer *peer)
{
	int half = peer_half(peer);

	peer_ask_with(peer, half, RING, 0);
	(void)close(half);
}

void peer_joined(struct peer *peer)
{
	int fds[IPCI_PACKET_FDS_MAX];
	ipc_broker_Message message;
	ipc_broker_Opened opened;
	unsigned n_fds;

	message = peer_await(peer->socket, ipc_broker_Kind_Opened, fds, &n_fds);
	cr_assert_eq(n_fds, 2);
	opened = ipc_broker_Message_opened(message);
	peer->max_calls = ipc_broker_Opened_max_calls(opened);
	peer->channel = ipc_broker_Message_channel(message);
	import(peer, fds[0], fds[1], ipc_broker_Opened_ring_bytes(opened));
}

void peer_offer(struct peer *peer)
{
	int fds[IPCI_PACKET_FDS_MAX];
	ipc_broker_Message_w m = start(ipc_broker_Kind_Serve, 2);
	ipc_broker_Serve_w serve = ipc_broker_Message_new_serve(&m);
	ipc_broker_Method_vec_w v;
	ipc_broker_Method_w method;
	unsigned n_fds;

	ipc_broker_Serve_set_service(&serve, "test.Mirror", 11);
	ipc_broker_Serve_set_max_calls(&serve, 16);
	ipc_broker_Serve_set_ring_bytes(&serve, RING);
	v = ipc_broker_Serve_new_methods(&serve, 1);
	method = ipc_broker_Method_new_at(&v, 0);
	ipc_broker_Method_set_name(&method, "Get", 3);
	send_out(peer->socket, NULL, 0);
	(void)peer_await(peer->socket, ipc_broker_Kind_Result, fds, &n_fds);
}

void peer_accept_with(struct peer *peer, int half)
{
	int fds[IPCI_PACKET_FDS_MAX];
	ipc_broker_Message message;
	ipc_broker_Message_w m;
	ipc_broker_Accept_w accept;
	ipc_broker_Offer offer;
	unsigned n_fds;

	message = peer_await(peer->socket, ipc_broker_Kind_Offer, fds, &n_fds);
	cr_assert_eq(n_fds, 2);
	offer = ipc_broker_Message_offer(message);
	peer->channel = ipc_broker_Message_channel(message);
	import(peer, fds[0], fds[1], ipc_broker_Offer_ring_bytes(offer));
	m = start(ipc_broker_Kind_Accept, ipc_broker_Message_serial(message));
	ipc_broker_Message_set_channel(&m, peer->channel);
	accept = ipc_broker_Message_new_accept(&m);
	ipc_broker_Accept_set_ring_bytes(&accept, RING);
	ipc_broker_Accept_set_layout(&accept, IPCI_LAYOUT_VERSION);
	ipc_broker_Accept_set_features(&accept, peer_claims);
	ipc_broker_Accept_set_max_calls(&accept, 16);
	send_out(peer->socket, &half, 1);
}

void peer_accept(struct peer *peer)
{
	int half = peer_half(peer);

	peer_accept_with(peer, half);
	(void)close(half);
}

/* ── the own half ── */

static struct ipci_frame *frame_at(const struct ipci_half *half, uint64_t position)
{
	return (struct ipci_frame *)(void *)(half->base + half->ring_offset +
					     (position & (half->ring_bytes - 1)));
}

void peer_ring(const struct peer *peer)
{
	(void)ipci_bell_ring(peer->bell);
}

void peer_put(struct peer *peer, struct raw_frame raw, uint8_t filler)
{
	struct ipci_frame *frame = frame_at(&peer->own, peer->head);
	uint64_t bytes = raw.frame_bytes;

	if (bytes == 0)
		bytes = ipci_frame_bytes(ipci_ext_bytes(raw.kind), raw.commit - 1);
	/* Whatever the commit word claims, no more is written than there is. */
	if (bytes <= RING)
		memset(frame + 1, filler, bytes - sizeof(*frame));
	if (bytes < RING)
		atomic_store(&frame_at(&peer->own, peer->head + bytes)->commit, 0);
	frame->kind = (uint16_t)raw.kind;
	frame->method = (uint16_t)raw.method;
	frame->call_id = raw.call_id;
	atomic_store(&frame->commit, raw.commit);
	peer->head += bytes;
	peer_ring(peer);
}

uint64_t peer_request(struct peer *peer, uint32_t slot, uint32_t method, uint32_t payload_bytes)
{
	struct raw_frame frame = {
		.commit = payload_bytes + 1,
		.kind = IPCI_KIND_REQUEST,
		.method = method,
		.call_id = ++peer->seq << IPCI_CALL_SLOT_BITS | slot,
	};

	peer_put(peer, frame, 0x77);
	return frame.call_id;
}

bool peer_take(struct peer *peer, struct raw_frame *ret)
{
	for (;;) {
		const struct ipci_frame *frame = frame_at(&peer->other, peer->tail);
		uint32_t commit = atomic_load(&frame->commit);

		if (commit == 0)
			return false;
		*ret = (struct raw_frame){commit, frame->kind, frame->method, frame->call_id, 0};
		ret->frame_bytes = ipci_frame_bytes(ipci_ext_bytes(ret->kind), commit - 1);
		peer->tail += ret->frame_bytes;
		atomic_store(&peer_control(peer)->consumed, peer->tail);
		peer_ring(peer);
		if ((ret->kind & IPCI_KIND_MASK) != IPCI_KIND_PADDING)
			return true;
	}
}

bool peer_is_poisoned(const struct peer *peer)
{
	return atomic_load(&other_control(peer)->state) ==
	       (IPCI_PHASE_CLOSED | IPCI_REASON_POISONED << 8);
}
