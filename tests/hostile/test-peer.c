// SPDX-License-Identifier: Apache-2.0
/*
 * A peer that breaks every rule, against a real server and a real client. Each time the victim must
 * call the channel broken and say why, or shrug; never crash, never hang; and an honest third on
 * the same loop gets right answers.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "pair.h"
#include "peer.h"

static struct pair pair;
static struct peer peer;

static char reason[512]; /* of the last channel that the victim's loop lost */
static int lost_status;
static unsigned n_lost;
static ipc_call *kept[64];
static unsigned n_kept;

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
static void serve_all(struct pair *p, struct ipc_event *event)
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

static void start(void)
{
	n_lost = n_kept = 0;
	lost_status = 0;
	reason[0] = '\0';
	pair_start(&pair, NULL);
	pair.server.on_event = serve_all;
	peer_connect(&peer, world_socket(&pair.world, "web"));
}

/* The peer becomes a client of the pair's server. */
static void start_client(void)
{
	start();
	peer_ask(&peer);
	PUMP_UNTIL(&pair, pair.server.n[IPC_EVENT_CHANNEL] == 2);
	peer_joined(&peer);
}

static void check_honest(void)
{
	unsigned before = pair.client.n[IPC_EVENT_MESSAGE];

	for (unsigned i = 0; i < 10; i++) {
		(void)send_call(pair.channel, ECHO, i * 500, i, NULL);
		PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_MESSAGE] == before + i + 1);
		cr_assert(filled(pair.client.last.msg.data, i * 500, i));
	}
	cr_assert_eq(channel_info(pair.channel).state, IPC_CHANNEL_OPEN);
}

static void stop(void)
{
	check_honest();
	for (unsigned i = 0; i < n_kept; i++)
		(void)ipc_fail(kept[i], IPC_ABORTED, NULL);
	peer_close(&peer);
	pair_stop(&pair);
}

/* The server found it out, and says why, to everybody. */
static void expect_poison(const char *why)
{
	PUMP_UNTIL(&pair, n_lost == 1);
	cr_assert_eq(lost_status, -EPROTO);
	cr_assert(strstr(reason, why), "\"%s\" does not say \"%s\"", reason, why);
	cr_assert(strstr(ipc_loop_error(pair.server.loop), why));
	cr_assert(peer_is_poisoned(&peer));
}

/* The peer is in this thread and on no loop, so nobody sleeps while it is waited for. */
#define AWAIT_PEER(condition)                                                                      \
	do {                                                                                       \
		uint64_t _limit_ns = now_ns() + PATIENCE_NS;                                       \
		while (!(condition)) {                                                             \
			cr_assert_lt(now_ns(), _limit_ns, "never came: " #condition);              \
			pair_turn(&pair, 0);                                                       \
		}                                                                                  \
	} while (0)

static void expect_reply(uint64_t call_id, uint32_t kind)
{
	struct raw_frame frame;

	AWAIT_PEER(peer_take(&peer, &frame));
	cr_assert_eq(frame.call_id, call_id);
	cr_assert_eq(frame.kind, kind);
	cr_assert_eq(n_lost, 0, "%s", reason);
}

Test(peer, that_keeps_the_rules_is_served, .timeout = 30)
{
	start_client();
	for (uint32_t i = 0; i < 200; i++)
		expect_reply(peer_request(&peer, i % 16, ECHO, i * 10), IPCI_KIND_REPLY);
	stop();
}

/* ── as a client: frames ── */

static void send_bad(struct raw_frame frame, const char *why)
{
	start_client();
	expect_reply(peer_request(&peer, 0, ECHO, 20), IPCI_KIND_REPLY);
	if (frame.call_id == 0)
		frame.call_id = UINT64_C(1000) << IPCI_CALL_SLOT_BITS;
	peer_put(&peer, frame, 0x77);
	expect_poison(why);
	stop();
}

Test(peer, sends_frames_of_kinds_that_no_client_sends, .timeout = 60)
{
	for (uint32_t kind = 0; kind <= IPCI_KIND_MASK; kind++)
		if (kind != IPCI_KIND_REQUEST && kind != IPCI_KIND_CANCEL &&
		    kind != IPCI_KIND_PADDING)
			send_bad((struct raw_frame){.commit = 11, .kind = kind}, "kind");
}

Test(peer, sets_extension_bits_that_nobody_agreed_on, .timeout = 60)
{
	for (uint32_t bit = IPCI_EXT_CHECKSUM; bit <= 1u << 15; bit <<= 1)
		send_bad((struct raw_frame){.commit = 11,
					    .kind = IPCI_KIND_REQUEST | bit,
					    .frame_bytes = 128},
			 "extensions");
}

Test(peer, sends_frames_that_are_too_long, .timeout = 60)
{
	const uint64_t lengths[] = {ipci_payload_max_bytes(RING) + 1, RING, RING * 2, INT32_MAX,
				    UINT32_MAX - 1};

	for (unsigned i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		send_bad((struct raw_frame){.commit = (uint32_t)lengths[i] + 1,
					    .kind = IPCI_KIND_REQUEST,
					    .method = ECHO,
					    .frame_bytes = 64},
			 "length");
		if (lengths[i] >= RING)
			send_bad((struct raw_frame){.commit = (uint32_t)lengths[i] + 1,
						    .kind = IPCI_KIND_PADDING,
						    .frame_bytes = 64},
				 "length");
	}
}

Test(peer, sends_call_ids_that_do_not_grow, .timeout = 30)
{
	start_client();
	expect_reply(peer_request(&peer, 3, ECHO, 20), IPCI_KIND_REPLY);
	peer.seq--;
	(void)peer_request(&peer, 4, ECHO, 20);
	expect_poison("does not grow");
	stop();
	start_client();
	peer.seq = 50;
	expect_reply(peer_request(&peer, 3, ECHO, 20), IPCI_KIND_REPLY);
	peer.seq = 7;
	(void)peer_request(&peer, 4, HOLD, 20);
	expect_poison("does not grow");
	stop();
	start_client();
	peer.seq = UINT64_MAX;
	(void)peer_request(&peer, 0, ECHO, 20);
	expect_poison("does not grow");
	stop();
}

Test(peer, uses_slots_beyond_those_agreed_on, .timeout = 30)
{
	const uint32_t slots[] = {16, 255, 65535};

	for (unsigned i = 0; i < 3; i++) {
		start_client();
		cr_assert_eq(peer.max_calls, 16);
		(void)peer_request(&peer, slots[i], ECHO, 20);
		expect_poison("slot beyond");
		stop();
	}
}

Test(peer, uses_a_slot_whose_call_has_not_ended, .timeout = 30)
{
	start_client();
	(void)peer_request(&peer, 5, HOLD, 20);
	PUMP_UNTIL(&pair, n_kept == 1);
	(void)peer_request(&peer, 5, ECHO, 20);
	expect_poison("has not ended");
	/* The call is the program's to end all the same. */
	cr_assert_eq(call_info(kept[0]).cancelled, 1);
	stop();
}

static void cancel(uint64_t call_id)
{
	peer_put(&peer,
		 (struct raw_frame){.commit = 1, .kind = IPCI_KIND_CANCEL, .call_id = call_id}, 0);
}

Test(peer, cancels_calls_that_never_were, .timeout = 30)
{
	const uint64_t ids[] = {UINT64_C(1) << 16, UINT64_MAX & ~UINT64_C(0xffff), 16, UINT64_MAX};

	for (unsigned i = 0; i < 4; i++) {
		start_client();
		cancel(ids[i]);
		expect_poison("never was");
		stop();
	}
}

Test(peer, cancels_what_has_ended_over_and_over, .timeout = 30)
{
	uint64_t id, kept_id;

	start_client();
	id = peer_request(&peer, 0, ECHO, 20);
	expect_reply(id, IPCI_KIND_REPLY);
	kept_id = peer_request(&peer, 1, HOLD, 20);
	PUMP_UNTIL(&pair, n_kept == 1);
	for (unsigned i = 0; i < 500; i++) {
		cancel(i % 2 ? id : kept_id);
		pair_settle(&pair);
	}
	cr_assert_eq(pair.server.n[IPC_EVENT_CANCELLED], 1);
	expect_reply(peer_request(&peer, 2, ECHO, 20), IPCI_KIND_REPLY);
	stop();
}

Test(peer, calls_methods_by_any_number, .timeout = 30)
{
	struct raw_frame frame;

	start_client();
	for (uint32_t method = 0; method <= UINT16_MAX; method += method < 1100 ? 1 : 777) {
		uint64_t id = peer_request(&peer, method % 16, method, 4);

		if (method == HOLD) {
			PUMP_UNTIL(&pair, n_kept == 1);
			cr_assert_eq(ipc_fail(kept[--n_kept], IPC_ABORTED, NULL), 0);
		}
		AWAIT_PEER(peer_take(&peer, &frame));
		cr_assert_eq(frame.call_id, id);
		if (method == ECHO)
			cr_assert_eq(frame.kind, IPCI_KIND_REPLY);
		else if (method == MISSING)
			cr_assert_eq(frame.method, IPC_UNIMPLEMENTED | IPCI_STATUS_NOT_EXECUTED);
		else if (method != HOLD)
			cr_assert_eq(frame.method,
				     IPC_PERMISSION_DENIED | IPCI_STATUS_NOT_EXECUTED);
	}
	cr_assert_eq(n_lost, 0);
	stop();
}

Test(peer, fills_extensions_with_anything, .timeout = 30)
{
	const uint32_t kinds[] = {IPCI_EXT_DEADLINE, IPCI_EXT_TRACE, IPCI_EXT_KNOWN};
	struct ipc_call_info info;

	start_client();
	for (unsigned i = 0; i < 9; i++) {
		struct raw_frame frame = {
			.commit = 5,
			.kind = IPCI_KIND_REQUEST | kinds[i % 3],
			.method = HOLD,
			.call_id = ++peer.seq << IPCI_CALL_SLOT_BITS | i,
		};

		peer_put(&peer, frame, i / 3 == 0 ? 0x00 : i / 3 == 1 ? 0xff : 0x5a);
		PUMP_UNTIL(&pair, n_kept == i + 1);
		info = call_info(kept[i]);
		cr_assert_lt(strlen(info.traceparent), sizeof(info.traceparent));
	}
	pair_settle(&pair);
	cr_assert_eq(n_lost, 0);
	stop();
}

/* ── as a client: cursors ── */

/* Calls and reads nothing, until the server must ask how far this side has read. */
static void fill_server(uint64_t consumed)
{
	atomic_store(&peer_control(&peer)->consumed, consumed);
	for (uint32_t slot = 0; slot < 16 && n_lost == 0; slot++) {
		(void)peer_request(&peer, slot, ECHO, 3800);
		pair_settle(&pair);
		/* The server says how far it has read; never go beyond. */
		while (peer.head - atomic_load(&other_control(&peer)->consumed) > RING - 4096 &&
		       n_lost == 0 && channel_info(pair.channel).state == IPC_CHANNEL_OPEN) {
			pair_settle(&pair);
			if (peer.head - atomic_load(&other_control(&peer)->consumed) > RING - 4096)
				return;
		}
	}
}

Test(peer, claims_to_have_read_more_than_was_written, .timeout = 30)
{
	const uint64_t claims[] = {UINT64_C(1) << 30, UINT64_MAX & ~UINT64_C(63), RING * 2};

	for (unsigned i = 0; i < 3; i++) {
		start_client();
		fill_server(claims[i]);
		/* The server's own ring is larger, so it takes some more until it asks. */
		for (uint32_t n = 0; n_lost == 0 && n < 64; n++) {
			(void)peer_request(&peer, n % 16, ECHO, 3800);
			pair_settle(&pair);
		}
		expect_poison("consumed");
		stop();
	}
}

Test(peer, claims_to_have_read_half_a_line, .timeout = 30)
{
	start_client();
	for (uint32_t n = 0; n_lost == 0 && n < 64; n++) {
		atomic_store(&peer_control(&peer)->consumed, 33);
		(void)peer_request(&peer, n % 16, ECHO, 3800);
		pair_settle(&pair);
	}
	expect_poison("consumed");
	stop();
}

Test(peer, claims_to_have_unread_what_it_had_read, .timeout = 30)
{
	struct raw_frame frame;
	uint32_t n = 0;

	start_client();
	for (; n < 40; n++) {
		(void)peer_request(&peer, n % 16, ECHO, 3800);
		AWAIT_PEER(peer_take(&peer, &frame));
	}
	for (; n_lost == 0 && n < 100; n++) {
		atomic_store(&peer_control(&peer)->consumed, 64);
		(void)peer_request(&peer, n % 16, ECHO, 3800);
		pair_settle(&pair);
	}
	expect_poison("consumed");
	stop();
}

Test(peer, never_reads_an_answer, .timeout = 30)
{
	start_client();
	/* Taken while there is room for the answers, and then left where they are. */
	for (uint32_t slot = 0; slot < 16; slot++) {
		if (peer.head + 4096 - atomic_load(&other_control(&peer)->consumed) > RING)
			break;
		(void)peer_request(&peer, slot, ECHO, 3800);
		pair_settle(&pair);
	}
	check_honest();
	cr_assert_eq(n_lost, 0);
	(void)close(peer.bell);
	peer.bell = -1;
	PUMP_UNTIL(&pair, n_lost == 1);
	cr_assert_eq(lost_status, -EPIPE);
	stop();
}

/* Its connection to the broker ends, its bell does not: the broker says that it is over, and so it
 * is. */
Test(peer, leaves_the_broker_with_requests_that_nobody_can_answer, .timeout = 30)
{
	start_client();
	for (uint32_t n = 0; n < 64; n++) {
		if (peer.head + 4096 - atomic_load(&other_control(&peer)->consumed) > RING)
			break;
		(void)peer_request(&peer, n % 16, ECHO, 3800);
		pair_settle(&pair);
	}
	(void)shutdown(peer.socket, SHUT_RDWR);
	PUMP_UNTIL(&pair, n_lost == 1);
	cr_assert_lt(lost_status, 0);
	stop();
}

/* ── as a client: the rest of the page, and the bell ── */

Test(peer, writes_anything_into_its_state, .timeout = 30)
{
	const uint32_t states[] = {1, 2, 4, 0x80, 0xff, 0x300, UINT32_MAX & ~3u};

	start_client();
	for (unsigned i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
		atomic_store(&peer_control(&peer)->state, states[i]);
		expect_reply(peer_request(&peer, 0, ECHO, 20), IPCI_KIND_REPLY);
	}
	atomic_store(&peer_control(&peer)->state, 0xabcdef00u | IPCI_PHASE_CLOSED);
	peer_ring(&peer);
	PUMP_UNTIL(&pair, n_lost == 1);
	cr_assert_eq(lost_status, -EPIPE);
	stop();
}

Test(peer, always_claims_to_sleep, .timeout = 30)
{
	start_client();
	for (uint32_t i = 0; i < 2000; i++) {
		struct raw_frame frame;

		/* A new epoch each time, so that each is worth a bell, which nobody takes. */
		atomic_store(&peer_control(&peer)->waiting,
			     (uint64_t)(i + 1) << IPCI_WANT_BITS | 0xff);
		(void)peer_request(&peer, i % 16, ECHO, 4);
		AWAIT_PEER(peer_take(&peer, &frame));
	}
	cr_assert_eq(n_lost, 0);
	stop();
}

Test(peer, rings_and_says_nothing, .timeout = 30)
{
	start_client();
	for (unsigned i = 0; i < 3000; i++) {
		for (unsigned n = 0; n < 20; n++)
			peer_ring(&peer);
		if (i % 100 == 0)
			check_honest();
		pair_turn(&pair, 0);
	}
	cr_assert_eq(n_lost, 0);
	expect_reply(peer_request(&peer, 0, ECHO, 20), IPCI_KIND_REPLY);
	stop();
}

Test(peer, rings_with_an_empty_packet, .timeout = 30)
{
	start_client();
	(void)send(peer.bell, "", 0, MSG_NOSIGNAL | MSG_DONTWAIT);
	check_honest();
	stop();
}

Test(peer, sends_descriptors_through_the_bell, .timeout = 30)
{
	int fds[2];

	start_client();
	cr_assert_eq(pipe(fds), 0);
	if (ipci_packet_send(peer.bell, "x", 1, fds, 2) == 0) {
		PUMP_UNTIL(&pair, n_lost == 1);
		cr_assert_eq(lost_status, -EPROTO);
		cr_assert(strstr(reason, "descriptors"), "%s", reason);
	} else {
		/* The kernel keeps them out. */
		expect_reply(peer_request(&peer, 0, ECHO, 20), IPCI_KIND_REPLY);
	}
	(void)close(fds[0]);
	(void)close(fds[1]);
	stop();
}

/* ── as a client that never stops ── */

static atomic_bool ended;

/* Padding, as fast as the server reads it, and faster. */
static void *pad_for_ever(void *arg)
{
	while (!atomic_load(&ended)) {
		if (peer.head + 128 - atomic_load(&other_control(&peer)->consumed) < RING)
			peer_put(&peer, (struct raw_frame){.commit = 1, .kind = IPCI_KIND_PADDING},
				 0);
	}
	return arg;
}

/* Headers and payloads change while they are read. */
static void *scribble_for_ever(void *arg)
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

Test(peer, sends_padding_for_ever, .timeout = 60)
{
	pthread_t thread;

	start_client();
	atomic_store(&ended, false);
	cr_assert_eq(pthread_create(&thread, NULL, pad_for_ever, NULL), 0);
	for (unsigned i = 0; i < 30; i++)
		check_honest();
	atomic_store(&ended, true);
	cr_assert_eq(pthread_join(thread, NULL), 0);
	cr_assert_eq(n_lost, 0, "%s", reason);
	expect_reply(peer_request(&peer, 0, ECHO, 20), IPCI_KIND_REPLY);
	stop();
}

Test(peer, scribbles_over_its_half_while_it_is_read, .timeout = 60)
{
	pthread_t thread;

	for (unsigned round = 0; round < 20; round++) {
		start_client();
		atomic_store(&ended, false);
		cr_assert_eq(pthread_create(&thread, NULL, scribble_for_ever, NULL), 0);
		for (unsigned i = 0; i < 50 && n_lost == 0; i++) {
			peer_ring(&peer);
			pair_settle(&pair);
		}
		check_honest();
		atomic_store(&ended, true);
		cr_assert_eq(pthread_join(thread, NULL), 0);
		if (n_lost)
			cr_assert(lost_status == -EPROTO || lost_status == -EPIPE);
		stop();
	}
}

/* ── as a server ── */

static ipc_channel *victim; /* the pair's server is its client */
static unsigned n_ends;
static int end_status;

static void be_victim(struct pair *p, struct ipc_event *event)
{
	if (event->kind == IPC_EVENT_END) {
		n_ends++;
		end_status = event->status;
	}
	serve_all(p, event);
}

static void start_server(void)
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

/* The request of a call that the victim makes; its frame as it came. */
static struct raw_frame get_called(void)
{
	struct raw_frame frame;

	(void)send_call(victim, 0, 30, 1, NULL);
	cr_assert(peer_take(&peer, &frame));
	cr_assert_eq(frame.kind, IPCI_KIND_REQUEST);
	return frame;
}

static void answer(uint64_t call_id, uint32_t payload_bytes)
{
	struct raw_frame frame = {.commit = payload_bytes + 1,
				  .kind = IPCI_KIND_REPLY,
				  .call_id = call_id};

	peer_put(&peer, frame, 0x33);
}

/* The victim's @n calls end, and the channel with them. */
static void expect_broken(const char *why, unsigned n)
{
	expect_poison(why);
	cr_assert_eq(n_ends, n);
	if (n)
		cr_assert_eq(end_status, IPC_INTERNAL);
	cr_assert_eq(channel_info(victim).state, IPC_CHANNEL_CLOSED);
	stop();
}

Test(hostile_server, that_keeps_the_rules_is_believed, .timeout = 30)
{
	start_server();
	for (unsigned i = 0; i < 100; i++) {
		unsigned before = pair.server.n[IPC_EVENT_MESSAGE];

		answer(get_called().call_id, i * 30);
		PUMP_UNTIL(&pair, pair.server.n[IPC_EVENT_MESSAGE] == before + 1);
	}
	stop();
}

Test(hostile_server, answers_what_nobody_asked, .timeout = 30)
{
	const uint64_t ids[] = {0, 5, UINT64_C(1) << 16, UINT64_C(1) << 16 | 16, UINT64_MAX};

	for (unsigned i = 0; i < 5; i++) {
		start_server();
		answer(ids[i], 10);
		expect_broken(i == 0 || i == 1 ? "answer" : "not made", 0);
	}
}

Test(hostile_server, answers_twice, .timeout = 30)
{
	uint64_t id;

	start_server();
	id = get_called().call_id;
	answer(id, 10);
	answer(id, 10);
	expect_broken("answer", 0);
	/* With the first answer still parked, as with one that was taken. */
	start_server();
	id = get_called().call_id;
	answer(id, 10);
	PUMP_UNTIL(&pair, pair.server.n[IPC_EVENT_MESSAGE] == 1);
	answer(id, 10);
	expect_broken("answer", 0);
}

Test(hostile_server, answers_a_call_under_another_number, .timeout = 30)
{
	start_server();
	answer(get_called().call_id + (UINT64_C(1) << 16), 10);
	expect_broken("not made", 1);
	start_server();
	answer(get_called().call_id + 1, 10);
	expect_broken("answer", 1);
}

Test(hostile_server, answers_a_call_that_was_only_begun, .timeout = 30)
{
	struct ipc_room room;
	ipc_call *call;

	start_server();
	cr_assert_eq(ipc_begin(victim, 0, 10, NULL, &call, &room), 0);
	answer(call_info(call).id, 10);
	PUMP_UNTIL(&pair, n_lost == 1);
	ipc_abort(call);
	expect_broken("answer", 0);
}

Test(hostile_server, fails_with_what_is_no_status, .timeout = 60)
{
	const uint32_t statuses[] = {0, 17, 255, 0x100, 0x111, 0x201, 0x8001, 0xffff};

	for (unsigned i = 0; i < sizeof(statuses) / sizeof(statuses[0]); i++) {
		uint64_t id;

		start_server();
		id = get_called().call_id;
		peer_put(&peer,
			 (struct raw_frame){.commit = 5,
					    .kind = IPCI_KIND_ERROR,
					    .method = statuses[i],
					    .call_id = id},
			 'e');
		expect_broken("status", 1);
	}
}

Test(hostile_server, fails_with_a_text_that_is_too_long_or_none, .timeout = 30)
{
	uint64_t id;

	start_server();
	for (uint32_t bytes = 0; bytes <= 255; bytes += 51) {
		unsigned before = n_ends;

		id = get_called().call_id;
		/* Not text at all, and without an end. */
		peer_put(&peer,
			 (struct raw_frame){.commit = bytes + 1,
					    .kind = IPCI_KIND_ERROR,
					    .method = 3,
					    .call_id = id},
			 0xff);
		PUMP_UNTIL(&pair, n_ends == before + 1);
		cr_assert_eq(end_status, 3);
	}
	n_ends = 0;
	id = get_called().call_id;
	peer_put(&peer,
		 (struct raw_frame){
			 .commit = 257, .kind = IPCI_KIND_ERROR, .method = 3, .call_id = id},
		 'e');
	expect_broken("text", 1);
}

Test(hostile_server, sends_kinds_that_no_server_sends, .timeout = 60)
{
	for (uint32_t kind = 0; kind <= IPCI_KIND_MASK; kind++) {
		if (kind == IPCI_KIND_REPLY || kind == IPCI_KIND_ERROR || kind == IPCI_KIND_PADDING)
			continue;
		start_server();
		peer_put(&peer,
			 (struct raw_frame){
				 .commit = 5, .kind = kind, .call_id = get_called().call_id},
			 0);
		expect_broken("kind", 1);
	}
}

Test(hostile_server, puts_extensions_on_its_answers, .timeout = 30)
{
	const uint32_t bits[] = {IPCI_EXT_DEADLINE, IPCI_EXT_TRACE, IPCI_EXT_FDS, 1 << 15};

	for (unsigned i = 0; i < 4; i++) {
		start_server();
		peer_put(&peer,
			 (struct raw_frame){.commit = 5,
					    .kind = IPCI_KIND_REPLY | bits[i],
					    .call_id = get_called().call_id,
					    .frame_bytes = 128},
			 0);
		expect_broken("", 1);
	}
}

Test(hostile_server, claims_to_have_read_what_was_not_written, .timeout = 30)
{
	const uint64_t claims[] = {UINT64_C(1) << 40, 33};
	struct ipc_room room;
	ipc_call *call;
	int r;

	for (unsigned i = 0; i < 2; i++) {
		start_server();
		atomic_store(&peer_control(&peer)->consumed, claims[i]);
		do {
			r = ipc_begin(victim, 0, 3000, NULL, &call, &room);
			if (r == 0)
				cr_assert_eq(ipc_commit(call, 3000, IPC_LAST), 0);
		} while (r == 0);
		cr_assert_eq(r, -EPROTO);
		cr_assert_eq(ipc_begin(victim, 0, 10, NULL, &call, &room), -EPROTO);
		expect_poison("consumed");
		stop();
	}
}

/* ── while the victim blocks ── */

static void *pad_after_joining(void *arg)
{
	return pad_for_ever(arg);
}

Test(hostile_server, keeps_a_waiting_client_busy_but_not_beyond_its_deadline, .timeout = 60)
{
	const uint32_t flags[] = {0, IPC_BLOCK};
	struct ipc_call_opts opts = {.size = sizeof(opts), .timeout_ns = 100 * MS_NS};
	struct ipc_room room;
	struct ipc_msg msg;
	pthread_t thread;
	ipc_call *call;
	int r;

	for (unsigned i = 0; i < 2; i++) {
		start_server();
		atomic_store(&ended, false);
		cr_assert_eq(pthread_create(&thread, NULL, pad_after_joining, NULL), 0);
		opts.flags = flags[i];
		do {
			r = ipc_begin(victim, 0, 3000, &opts, &call, &room);
			if (r == 0 && flags[i])
				r = ipc_commit(call, 3000, IPC_LAST);
		} while (r == 0 && flags[i]);
		if (flags[i])
			cr_assert_eq(r, -ETIMEDOUT);
		else
			cr_assert_eq(ipc_transact(call, 10, &msg), IPC_DEADLINE_EXCEEDED);
		atomic_store(&ended, true);
		cr_assert_eq(pthread_join(thread, NULL), 0);
		stop();
	}
}

static void *hang_up_soon(void *arg)
{
	(void)usleep(20000);
	(void)shutdown(peer.bell, SHUT_RDWR);
	return arg;
}

Test(hostile_server, closes_its_bell_under_a_waiting_client, .timeout = 30)
{
	struct ipc_room room;
	struct ipc_msg msg;
	pthread_t thread;
	ipc_call *call;

	start_server();
	cr_assert_eq(ipc_begin(victim, 0, 10, NULL, &call, &room), 0);
	cr_assert_eq(pthread_create(&thread, NULL, hang_up_soon, NULL), 0);
	cr_assert_eq(ipc_transact(call, 10, &msg), IPC_UNAVAILABLE);
	cr_assert_eq(pthread_join(thread, NULL), 0);
	PUMP_UNTIL(&pair, n_lost == 1);
	cr_assert_eq(lost_status, -EPIPE);
	stop();
}

Test(hostile_server, scribbles_over_its_half_while_it_is_read, .timeout = 60)
{
	struct ipc_call_opts opts = {.size = sizeof(opts), .timeout_ns = 5 * MS_NS};
	struct ipc_room room;
	struct ipc_msg msg;
	pthread_t thread;
	ipc_call *call;

	for (unsigned round = 0; round < 20; round++) {
		start_server();
		atomic_store(&ended, false);
		cr_assert_eq(pthread_create(&thread, NULL, scribble_for_ever, NULL), 0);
		for (unsigned i = 0; i < 20 && ipc_begin(victim, 0, 10, &opts, &call, &room) == 0;
		     i++) {
			int r = ipc_transact(call, 10, &msg);

			cr_assert(r <= 0 ? r == 0 || r == -EPROTO || r == -EPIPE
					 : r <= IPC_UNAUTHENTICATED);
		}
		atomic_store(&ended, true);
		cr_assert_eq(pthread_join(thread, NULL), 0);
		stop();
	}
}
