// SPDX-License-Identifier: Apache-2.0
#include "packet.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <ipc/flatbuffers.h>

#include "broker_fbs.h"
#include "half.h"

#define RAW_MAX_BYTES 256u
#define FDS 3u

static _Alignas(16) uint8_t out[IPCI_PACKET_MAX_BYTES];

/* Small numbers are likely to mean something. */
static uint64_t number(struct input *in)
{
	const uint8_t how = take_u8(in);

	switch (how & 3) {
	case 0:
		return how >> 2;
	case 1:
		return UINT64_C(4096) << (how >> 2 & 15);
	case 2:
		return take_u16(in);
	default:
		return take_u64(in);
	}
}

static struct ipc_str name(struct input *in, const char *service)
{
	static const char *const names[] = {"",	    "Zero",	    "One", "Two",
					    "fuzz", "a b\nc\033[m", "x",   "fuzz.Other"};
	const uint8_t how = take_u8(in);
	const char *text = how & 8 ? names[how & 7] : service;

	return (struct ipc_str){.data = text, .size_bytes = strlen(text)};
}

#define SET_STRING(Table, field, w)                                                                \
	do {                                                                                       \
		struct ipc_str _s = name(in, service);                                             \
		ipc_broker_##Table##_set_##field(w, _s.data, _s.size_bytes);                       \
	} while (0)

static void methods(ipc_broker_Method_vec_w *v, unsigned n, struct input *in, const char *service)
{
	for (unsigned i = 0; i < n; i++) {
		ipc_broker_Method_w m = ipc_broker_Method_new_at(v, i);

		SET_STRING(Method, name, &m);
		ipc_broker_Method_set_id(&m, (uint16_t)number(in));
	}
}

static void from_workload(ipc_broker_Message_w *m, uint8_t which, struct input *in,
			  const char *service)
{
	const unsigned n = take_u8(in) & 3;
	ipc_broker_Method_vec_w v;

	if (which & 1) {
		ipc_broker_Hello_w hello = ipc_broker_Message_new_hello(m);

		ipc_broker_Hello_set_version(&hello, (uint32_t)number(in));
		SET_STRING(Hello, name, &hello);
	}
	if (which & 2) {
		ipc_broker_Serve_w serve = ipc_broker_Message_new_serve(m);

		SET_STRING(Serve, service, &serve);
		ipc_broker_Serve_set_max_calls(&serve, (uint32_t)number(in));
		ipc_broker_Serve_set_ring_bytes(&serve, number(in));
		v = ipc_broker_Serve_new_methods(&serve, n);
		methods(&v, n, in, service);
	}
	if (which & 4) {
		ipc_broker_Open_w open = ipc_broker_Message_new_open(m);

		SET_STRING(Open, service, &open);
		ipc_broker_Open_set_max_calls(&open, (uint32_t)number(in));
		ipc_broker_Open_set_ring_bytes(&open, number(in));
		ipc_broker_Open_set_layout(&open, (uint32_t)number(in));
		ipc_broker_Open_set_timeout_ns(&open, number(in));
		v = ipc_broker_Open_new_methods(&open, n);
		methods(&v, n, in, service);
	}
	if (which & 8) {
		ipc_broker_Accept_w accept = ipc_broker_Message_new_accept(m);

		ipc_broker_Accept_set_ring_bytes(&accept, number(in));
		ipc_broker_Accept_set_layout(&accept, (uint32_t)number(in));
		ipc_broker_Accept_set_max_calls(&accept, (uint32_t)number(in));
	}
}

static void from_broker(ipc_broker_Message_w *m, uint8_t which, struct input *in,
			const char *service)
{
	const unsigned n = take_u8(in) & 3;

	if (which & 16) {
		ipc_broker_Welcome_w welcome = ipc_broker_Message_new_welcome(m);

		SET_STRING(Welcome, workload, &welcome);
	}
	if (which & 32) {
		ipc_broker_Offer_w offer = ipc_broker_Message_new_offer(m);
		ipc_broker_Method_vec_w v;

		SET_STRING(Offer, service, &offer);
		SET_STRING(Offer, caller, &offer);
		ipc_broker_Offer_set_serve_serial(&offer, number(in));
		ipc_broker_Offer_set_ring_bytes(&offer, number(in));
		ipc_broker_Offer_set_layout(&offer, (uint32_t)number(in));
		ipc_broker_Offer_set_max_calls(&offer, (uint32_t)number(in));
		v = ipc_broker_Offer_new_methods(&offer, n);
		methods(&v, n, in, service);
	}
	if (which & 64) {
		ipc_broker_Opened_w opened = ipc_broker_Message_new_opened(m);

		SET_STRING(Opened, server, &opened);
		ipc_broker_Opened_set_ring_bytes(&opened, number(in));
		ipc_broker_Opened_set_layout(&opened, (uint32_t)number(in));
		ipc_broker_Opened_set_max_calls(&opened, (uint32_t)number(in));
	}
}

static size_t build(struct input *in, uint64_t serial, uint64_t channel, const char *service)
{
	const uint8_t how = take_u8(in), which = take_u8(in);
	struct ipc_writer writer;
	ipc_broker_Message_w m;
	size_t n = 0;

	ipc_writer_init(&writer, out, sizeof(out));
	m = ipc_broker_Message_start(&writer);
	ipc_broker_Message_set_kind(&m, how & 15);
	ipc_broker_Message_set_serial(&m, how & 16 ? serial : number(in));
	ipc_broker_Message_set_channel(&m, how & 32 ? channel : number(in));
	if (which & 128) {
		ipc_broker_Message_set_error(&m, (int32_t)number(in));
		SET_STRING(Message, text, &m);
	}
	from_workload(&m, which, in, service);
	from_broker(&m, which, in, service);
	if (ipc_writer_finish(&writer, &n) < 0)
		return 0;
	/* A few bytes that are not what was built. */
	for (unsigned i = how >> 6; i && n; i--) {
		const size_t at = take_u16(in) % n;

		out[at] = take_u8(in);
	}
	return n;
}

/* A descriptor as peers may send them: few are halves. */
static int descriptor(uint8_t how)
{
	struct ipci_half half;
	struct ipci_error error;
	int fd = -1, pair[2];

	switch (how & 7) {
	case 0:
	case 1:
	case 2:
		if (ipci_half_create(&half, &fd, UINT64_C(4096) << (how >> 3 & 3), &error) == 0)
			ipci_half_deinit(&half);
		return fd;
	case 3:
		fd = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);
		if (fd >= 0 && ftruncate(fd, 8192) == 0 && how & 8)
			(void)fcntl(fd, F_ADD_SEALS, how >> 4);
		return fd;
	case 4:
	case 5:
		if (socketpair(AF_UNIX, (how & 8 ? SOCK_STREAM : SOCK_SEQPACKET) | SOCK_CLOEXEC, 0,
			       pair))
			return -1;
		(void)close(pair[1]);
		return pair[0];
	case 6:
		return open("/dev/null", O_RDWR | O_CLOEXEC);
	default:
		if (pipe2(pair, O_CLOEXEC) < 0)
			return -1;
		(void)close(pair[1]);
		return pair[0];
	}
}

int packet_send(int socket, struct input *in, uint64_t serial, uint64_t channel,
		const char *service)
{
	const uint8_t how = take_u8(in);
	size_t n_bytes = 0;
	unsigned n_fds = 0;
	int fds[FDS], r;

	if (how & 0x80) {
		n_bytes = 1 + take_u8(in) % RAW_MAX_BYTES;
		for (size_t i = 0; i < n_bytes; i++)
			out[i] = take_u8(in);
	} else {
		n_bytes = build(in, serial, channel, service);
	}
	for (unsigned i = 0; i < (how & FDS); i++) {
		fds[n_fds] = descriptor(take_u8(in));
		n_fds += fds[n_fds] >= 0;
	}
	r = ipci_packet_send(socket, out, n_bytes, fds, n_fds);
	for (unsigned i = 0; i < n_fds; i++)
		(void)close(fds[i]);
	return r;
}
