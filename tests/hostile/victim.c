// SPDX-License-Identifier: Apache-2.0
#include "victim.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#include <criterion/criterion.h>

struct pair pair;
struct peer peer;

char reason[512]; /* of the last channel that the victim's loop lost */
int lost_status;
unsigned n_lost;
ipc_call *kept[64];
unsigned n_kept;
ipc_channel *victim;
unsigned n_ends;
int end_status;

/* Whoever hears of a breach in the middle of an answer frees the call, as the header says. */
static void echo(const struct ipc_event *event)
{
	struct ipc_room room;
	int r = ipc_reserve(event->call, event->msg.size_bytes, 0, &room);

	if (r < 0) {
		cr_assert_eq(r, -EPROTO);
		cr_assert_eq(ipc_fail(event->call, IPC_ABORTED, NULL), 0);
		return;
	}
	memcpy(room.data, event->msg.data, event->msg.size_bytes);
	cr_assert_eq(ipc_commit(event->call, event->msg.size_bytes, IPC_LAST), 0);
}

/* Echo is answered, Hold is kept; the honest client calls Echo alone. */
void serve_all(struct pair *p, struct ipc_event *event)
{
	(void)p;
	if (event->kind == IPC_EVENT_REQUEST && event->method == SERVED_ECHO) {
		echo(event);
	} else if (event->kind == IPC_EVENT_REQUEST && n_kept < 64) {
		kept[n_kept++] = event->call;
	} else if (event->kind == IPC_EVENT_REQUEST) {
		cr_assert_eq(ipc_fail(event->call, IPC_RESOURCE_EXHAUSTED, NULL), 0);
	} else if (event->kind == IPC_EVENT_CHANNEL && event->status < 0) {
		(void)strcpy(reason, channel_info(event->channel).reason);
		lost_status = event->status;
		n_lost++;
	}
}

void start(void)
{
	n_lost = n_kept = 0;
	lost_status = 0;
	reason[0] = '\0';
	pair_start(&pair, NULL);
	pair.server.on_event = serve_all;
	peer_connect(&peer, world_socket(&pair.world, "web"));
}

/* The peer becomes a client of the pair's server. */
void start_client(void)
{
	start();
	peer_ask(&peer);
	PUMP_UNTIL(&pair, pair.server.n[IPC_EVENT_CHANNEL] == 2);
	peer_joined(&peer);
}

static void be_victim(struct pair *p, struct ipc_event *event)
{
	if (event->kind == IPC_EVENT_END) {
		n_ends++;
		end_status = event->status;
	}
	serve_all(p, event);
}

void start_server(void)
{
	struct ipc_open_opts opts = {.size = sizeof(opts),
				     .flags = IPC_OPEN_ASYNC,
				     .ring_bytes = RING};

	start();
	n_ends = 0;
	pair.server.on_event = be_victim;
	peer_offer(&peer);
	cr_assert_eq(ipc_open(pair.server.loop, &mirror_service, &opts, &victim), 0);
	peer_accept(&peer);
	PUMP_UNTIL(&pair, pair.server.n[IPC_EVENT_CHANNEL] == 2);
	cr_assert_eq(pair.server.last.status, 0, "%s", ipc_loop_error(pair.server.loop));
}

struct raw_frame get_called(void)
{
	struct raw_frame frame;

	(void)send_call(victim, 0, 30, 1, NULL);
	cr_assert(peer_take(&peer, &frame));
	cr_assert_eq(frame.kind, IPCI_KIND_REQUEST);
	return frame;
}

void answer(uint64_t call_id, uint32_t payload_bytes)
{
	struct raw_frame frame = {.commit = payload_bytes + 1,
				  .kind = IPCI_KIND_REPLY,
				  .call_id = call_id};

	peer_put(&peer, frame, 0x33);
}

void expect_broken(const char *why, unsigned n)
{
	expect_poison(why);
	cr_assert_eq(n_ends, n);
	if (n)
		cr_assert_eq(end_status, IPC_INTERNAL);
	cr_assert_eq(channel_info(victim).state, IPC_CHANNEL_CLOSED);
	stop();
}

void start_as(enum role role)
{
	if (role == AS_CLIENT)
		start_client();
	else
		start_server();
	exchange(role);
}

ipc_channel *victims_channel(enum role role)
{
	return role == AS_CLIENT ? pair.served : victim;
}

void exchange(enum role role)
{
	unsigned before = pair.server.n[IPC_EVENT_MESSAGE];

	if (role == AS_CLIENT) {
		expect_reply(peer_request(&peer, 0, ECHO, 20), IPCI_KIND_REPLY);
		return;
	}
	answer(get_called().call_id, 40);
	PUMP_UNTIL(&pair, pair.server.n[IPC_EVENT_MESSAGE] == before + 1);
	cr_assert_eq(pair.server.last.msg.size_bytes, 40);
	cr_assert_eq(n_lost, 0, "%s", reason);
}

void check_honest(void)
{
	unsigned before = pair.client.n[IPC_EVENT_MESSAGE];

	for (unsigned i = 0; i < 10; i++) {
		(void)send_call(pair.channel, ECHO, i * 500, i, NULL);
		PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_MESSAGE] == before + i + 1);
		cr_assert(filled(pair.client.last.msg.data, i * 500, i));
	}
	cr_assert_eq(channel_info(pair.channel).state, IPC_CHANNEL_OPEN);
}

/*
 * The loop has nothing to report, and a host may sleep on it: soon, for the broker may still have
 * something to say.
 */
void expect_asleep(void)
{
	struct pollfd poll_fd = {.fd = ipc_loop_fd(pair.server.loop), .events = POLLIN};
	uint64_t limit_ns = now_ns() + PATIENCE_NS;

	do {
		cr_assert_lt(now_ns(), limit_ns, "the loop says for ever that there is something");
		pair_settle(&pair);
	} while (poll(&poll_fd, 1, 0) != 0);
}

void stop(void)
{
	check_honest();
	expect_asleep();
	for (unsigned i = 0; i < n_kept; i++)
		(void)ipc_fail(kept[i], IPC_ABORTED, NULL);
	peer_close(&peer);
	pair_stop(&pair);
}

/* The server found it out, and says why, to everybody. */
void expect_poison(const char *why)
{
	PUMP_UNTIL(&pair, n_lost == 1);
	cr_assert_eq(lost_status, -EPROTO);
	cr_assert(strstr(reason, why), "\"%s\" does not say \"%s\"", reason, why);
	cr_assert(strstr(ipc_loop_error(pair.server.loop), why));
	cr_assert(peer_is_poisoned(&peer));
}

void expect_reply(uint64_t call_id, uint32_t kind)
{
	struct raw_frame frame;

	AWAIT_PEER(peer_take(&peer, &frame));
	cr_assert_eq(frame.call_id, call_id);
	cr_assert_eq(frame.kind, kind);
	cr_assert_eq(n_lost, 0, "%s", reason);
}

atomic_bool ended;

/* Padding, as fast as the server reads it, and faster. */
void *pad_for_ever(void *arg)
{
	while (!atomic_load(&ended)) {
		if (peer.head + 128 - atomic_load(&other_control(&peer)->consumed) < RING)
			peer_put(&peer, (struct raw_frame){.commit = 1, .kind = IPCI_KIND_PADDING},
				 0);
	}
	return arg;
}

/* Headers and payloads change while they are read. */
void *scribble_for_ever(void *arg)
{
	uint64_t x = 88172645463325252u;

	while (!atomic_load(&ended)) {
		struct ipci_frame *frame;
		uint64_t line;

		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		line = x % (RING / 64) * 64;
		frame = (void *)(peer.own.base + peer.own.ring_offset + line);
		*(volatile uint16_t *)&frame->kind = (uint16_t)(x >> 20 & 1 ? IPCI_KIND_REQUEST
									    : x >> 24);
		*(volatile uint64_t *)&frame->call_id = x >> 8;
		atomic_store_explicit(&frame->commit, (uint32_t)(x >> 32) % 4000,
				      memory_order_relaxed);
		atomic_store_explicit(&peer_control(&peer)->consumed, x % 20000 / 64 * 64,
				      memory_order_relaxed);
		atomic_store_explicit(&peer_control(&peer)->waiting, x, memory_order_relaxed);
	}
	return arg;
}
