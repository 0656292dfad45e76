// SPDX-License-Identifier: Apache-2.0
/*
 * A peer that misuses streams and drains: items without a stream, without credit, after the end;
 * credit that shrinks or that nobody could use. As a client of a victim and as a server of one; the
 * honest third is served all the while.
 */
#include <errno.h>
#include <string.h>

#include <criterion/criterion.h>

#include "victim.h"

#define WINDOW (RING / 4)

static struct raw_frame item(uint64_t call_id, uint32_t payload_bytes, uint32_t flags)
{
	return (struct raw_frame){.commit = payload_bytes + 1,
				  .kind = IPCI_KIND_ITEM,
				  .method = flags,
				  .call_id = call_id};
}

static struct raw_frame end(uint64_t call_id)
{
	return (struct raw_frame){.commit = 1, .kind = IPCI_KIND_END, .call_id = call_id};
}

/* A CREDIT's payload is a word. */
static void put_credit(uint64_t call_id, uint64_t bytes)
{
	uint8_t *frame = peer.own.base + peer.own.ring_offset + (peer.head & (RING - 1));
	struct raw_frame raw = {.commit = 9, .kind = IPCI_KIND_CREDIT, .call_id = call_id};
	struct ipci_frame *at = (struct ipci_frame *)(void *)frame;

	atomic_store(&((struct ipci_frame *)(void *)(peer.own.base + peer.own.ring_offset +
						     ((peer.head + 64) & (RING - 1))))
			      ->commit,
		     0);
	at->kind = (uint16_t)raw.kind;
	at->method = 0;
	at->call_id = call_id;
	memcpy(at + 1, &bytes, sizeof(bytes));
	atomic_store(&at->commit, raw.commit);
	peer.head += 64;
	peer_ring(&peer);
}

/* ── as a client ── */

/* A call that the victim keeps, and that may have items; its id. */
static uint64_t open_stream(uint32_t slot)
{
	unsigned before = n_kept;
	uint64_t id = peer_request(&peer, slot, HOLD | IPCI_REQUEST_OPEN, 20);

	PUMP_UNTIL(&pair, n_kept == before + 1);
	return id;
}

/* On an open stream of the peer's. */
static void send_bad(struct raw_frame frame, const char *why)
{
	start_client();
	frame.call_id = open_stream(0);
	peer_put(&peer, frame, 0x44);
	expect_poison(why);
	stop();
}

Test(streams, items_end_and_answer_as_the_rules_say, .timeout = 30)
{
	struct raw_frame frame;
	uint64_t id;

	start_client();
	id = open_stream(0);
	for (unsigned i = 0; i < 200; i++) {
		peer_put(&peer, item(id, 100, 0), 0x44);
		PUMP_UNTIL(&pair, pair.server.n[IPC_EVENT_MESSAGE] == i + 1);
		while (peer_take(&peer, &frame))
			cr_assert_eq(frame.kind, IPCI_KIND_CREDIT);
	}
	peer_put(&peer, end(id), 0);
	PUMP_UNTIL(&pair, pair.server.n[IPC_EVENT_END] == 1);
	cr_assert_eq(ipc_fail(kept[--n_kept], IPC_ABORTED, NULL), 0);
	expect_reply(id, IPCI_KIND_ERROR);
	stop();
}

Test(streams, an_item_with_flags_that_are_none, .timeout = 30)
{
	send_bad(item(0, 10, 2), "flags");
	send_bad(item(0, 10, 0x8001), "flags");
}

Test(streams, an_item_with_extensions, .timeout = 30)
{
	struct raw_frame frame = item(0, 10, 0);

	frame.kind |= IPCI_EXT_DEADLINE;
	send_bad(frame, "extensions");
}

Test(streams, an_item_beyond_its_credit, .timeout = 30)
{
	send_bad(item(0, WINDOW, 0), "beyond the credit");
}

Test(streams, an_item_of_a_call_that_has_none, .timeout = 30)
{
	uint64_t id;

	start_client();
	id = peer_request(&peer, 0, HOLD, 20);
	peer_put(&peer, item(id, 10, 0), 0);
	expect_poison("item of a call");
	stop();
}

Test(streams, an_item_of_a_call_that_never_was, .timeout = 30)
{
	const uint64_t ids[] = {0, 3, UINT64_C(9) << 16, UINT64_C(1) << 16 | 16, UINT64_MAX};

	for (unsigned i = 0; i < 5; i++) {
		start_client();
		(void)open_stream(0);
		peer_put(&peer, item(ids[i], 10, 0), 0);
		expect_poison("call that has none");
		stop();
	}
}

Test(streams, an_item_after_the_last_one, .timeout = 30)
{
	uint64_t id;

	start_client();
	id = open_stream(0);
	peer_put(&peer, item(id, 10, IPCI_ITEM_LAST), 0);
	peer_put(&peer, item(id, 10, 0), 0);
	expect_poison("had ended");
	stop();
}

Test(streams, an_end_after_the_end, .timeout = 30)
{
	uint64_t id;

	start_client();
	id = open_stream(0);
	peer_put(&peer, end(id), 0);
	peer_put(&peer, end(id), 0);
	expect_poison("second end");
	stop();
}

Test(streams, an_end_that_carries_something, .timeout = 30)
{
	send_bad((struct raw_frame){.commit = 9, .kind = IPCI_KIND_END}, "payload");
	send_bad((struct raw_frame){.commit = 1, .kind = IPCI_KIND_END, .method = 1}, "flags");
}

/* What was under way when the call ended is dropped, up to the credit that was given for it. */
Test(streams, items_for_ever_of_a_call_that_is_over, .timeout = 30)
{
	uint64_t id;

	start_client();
	id = open_stream(0);
	cr_assert_eq(ipc_fail(kept[--n_kept], IPC_ABORTED, NULL), 0);
	expect_reply(id, IPCI_KIND_ERROR);
	for (unsigned i = 0; i < 2; i++) {
		peer_put(&peer, item(id, WINDOW / 2 - 64, 0), 0);
		pair_settle(&pair);
		cr_assert_eq(n_lost, 0, "%s", reason);
	}
	peer_put(&peer, item(id, WINDOW / 2 - 64, 0), 0);
	expect_poison("beyond the credit");
	stop();
}

/* As with padding: nobody would have to write them. */
Test(streams, items_in_a_circle, .timeout = 30)
{
	uint64_t id;

	start_client();
	id = open_stream(0);
	cr_assert_eq(ipc_fail(kept[--n_kept], IPC_ABORTED, NULL), 0);
	expect_reply(id, IPCI_KIND_ERROR);
	for (uint64_t at = 0; at < RING; at += 64) {
		struct ipci_frame *frame = (struct ipci_frame *)(void *)(peer.own.base +
									 peer.own.ring_offset +
									 (RING - 64 - at));

		frame->kind = IPCI_KIND_ITEM;
		frame->method = 0;
		frame->call_id = id;
		atomic_store(&frame->commit, 1);
	}
	peer_ring(&peer);
	expect_poison("beyond the credit");
	stop();
}

Test(streams, empty_items_without_end, .timeout = 60)
{
	struct raw_frame frame;
	uint64_t id;

	start_client();
	id = open_stream(0);
	for (unsigned i = 0; i < 5000; i++) {
		peer_put(&peer, item(id, 0, 0), 0);
		if (i % 16 == 15)
			pair_settle(&pair);
		if (i % 500 == 0)
			check_honest();
		while (peer_take(&peer, &frame))
			;
	}
	PUMP_UNTIL(&pair, pair.server.n[IPC_EVENT_MESSAGE] == 5000);
	cr_assert_eq(n_lost, 0, "%s", reason);
	stop();
}

Test(streams, a_stream_in_every_slot_and_none_ends, .timeout = 30)
{
	start_client();
	for (uint32_t slot = 0; slot < 16; slot++)
		peer_put(&peer, item(open_stream(slot), 400, 0), 0);
	pair_settle(&pair);
	expect_asleep();
	cr_assert_eq(n_lost, 0, "%s", reason);
	stop();
}

Test(streams, a_request_with_bits_that_are_none, .timeout = 30)
{
	for (uint32_t bit = 1 << 10; bit < IPCI_REQUEST_OPEN; bit <<= 1) {
		start_client();
		(void)peer_request(&peer, 0, HOLD | bit, 20);
		expect_poison("bits");
		stop();
	}
}

/* ── credit ── */

/* The peer is a client, and the victim sends items. */
static uint64_t get_items(void)
{
	struct ipc_room room;
	struct raw_frame frame;
	uint64_t id;

	start_client();
	id = peer_request(&peer, 0, HOLD, 20);
	PUMP_UNTIL(&pair, n_kept == 1);
	cr_assert_eq(ipc_reserve(kept[0], 500, 0, &room), 0);
	cr_assert_eq(ipc_commit(kept[0], 500, 0), 0);
	AWAIT_PEER(peer_take(&peer, &frame));
	cr_assert_eq(frame.kind, IPCI_KIND_ITEM);
	return id;
}

static void give_bad(uint64_t bytes)
{
	put_credit(get_items(), bytes);
	expect_poison("credit that cannot be");
	stop();
}

Test(streams, credit_that_shrinks_or_stays, .timeout = 30)
{
	give_bad(0);
	give_bad(64);
	/* The window of the victim's ring, which it began with. */
	give_bad(65536 / 4);
}

Test(streams, credit_that_nobody_could_use, .timeout = 30)
{
	give_bad(UINT64_MAX & ~UINT64_C(63));
	give_bad(UINT64_C(1) << 40);
	give_bad(65536 / 4 + 512 + 64 + 64);
}

Test(streams, credit_for_half_a_line, .timeout = 30)
{
	give_bad(65536 / 4 + 33);
}

Test(streams, credit_of_another_size, .timeout = 30)
{
	uint64_t id = get_items();

	peer_put(&peer, (struct raw_frame){.commit = 1, .kind = IPCI_KIND_CREDIT, .call_id = id},
		 0);
	expect_poison("impossible form");
	stop();
}

Test(streams, credit_for_a_call_without_items, .timeout = 30)
{
	start_client();
	put_credit(peer_request(&peer, 0, HOLD, 20), 65536 / 4 + 64);
	expect_poison("without items");
	stop();
	start_server();
	put_credit(get_called().call_id, WINDOW + 64);
	expect_broken("without items", 1);
}

Test(streams, credit_for_a_call_that_is_over_and_over, .timeout = 30)
{
	uint64_t id = get_items(), most = 65536 / 4 + ipci_frame_bytes(0, 500);

	cr_assert_eq(ipc_fail(kept[--n_kept], IPC_ABORTED, NULL), 0);
	expect_reply(id, IPCI_KIND_ERROR);
	for (uint64_t bytes = 65536 / 4 + 64; bytes <= most; bytes += 64) {
		put_credit(id, bytes);
		pair_settle(&pair);
		cr_assert_eq(n_lost, 0, "%s", reason);
	}
	put_credit(id, most);
	expect_poison("credit that cannot be");
	stop();
}

/* Gives all the credit that it may and reads nothing: the victim has no room, and says so. */
Test(streams, credit_and_nothing_read, .timeout = 30)
{
	struct ipc_room room;
	int r;

	start_client();
	(void)peer_request(&peer, 0, HOLD, 20);
	PUMP_UNTIL(&pair, n_kept == 1);
	do {
		r = ipc_reserve(kept[0], 1000, 0, &room);
		if (r == 0)
			cr_assert_eq(ipc_commit(kept[0], 1000, 0), 0);
	} while (r == 0);
	cr_assert_eq(r, -EAGAIN);
	check_honest();
	expect_asleep();
	cr_assert_eq(n_lost, 0, "%s", reason);
	stop();
}

/* ── as a server ── */

Test(streams, from_a_server_that_keeps_the_rules, .timeout = 30)
{
	uint64_t id;

	start_server();
	id = get_called().call_id;
	for (unsigned i = 0; i < 3; i++)
		peer_put(&peer, item(id, 100, 0), 0x44);
	PUMP_UNTIL(&pair, pair.server.n[IPC_EVENT_MESSAGE] == 3);
	peer_put(&peer, end(id), 0);
	PUMP_UNTIL(&pair, n_ends == 1);
	cr_assert_eq(end_status, 0);
	stop();
}

/* On a call that the victim made. */
static void answer_badly(struct raw_frame frame, const char *why)
{
	start_server();
	frame.call_id = get_called().call_id;
	peer_put(&peer, frame, 0x44);
	expect_broken(why, 1);
}

Test(streams, from_a_server_an_item_beyond_its_credit, .timeout = 30)
{
	answer_badly(item(0, WINDOW, 0), "beyond the credit");
}

Test(streams, from_a_server_an_item_with_flags, .timeout = 30)
{
	answer_badly(item(0, 10, IPCI_ITEM_LAST), "flags");
	answer_badly(item(0, 10, 0xffff), "flags");
}

Test(streams, from_a_server_an_end_that_carries_something, .timeout = 30)
{
	answer_badly((struct raw_frame){.commit = 3, .kind = IPCI_KIND_END}, "payload");
	answer_badly((struct raw_frame){.commit = 1, .kind = IPCI_KIND_END, .method = 7}, "flags");
}

Test(streams, from_a_server_items_after_the_end, .timeout = 30)
{
	uint64_t id;

	start_server();
	id = get_called().call_id;
	peer_put(&peer, end(id), 0);
	peer_put(&peer, item(id, 10, 0), 0);
	expect_poison("answer");
	stop();
	start_server();
	id = get_called().call_id;
	answer(id, 10);
	peer_put(&peer, end(id), 0);
	expect_poison("answer");
	stop();
}

Test(streams, from_a_server_items_for_ever_of_what_was_cancelled, .timeout = 30)
{
	struct raw_frame frame;
	ipc_call *call;
	uint64_t id;

	start_server();
	call = send_call(victim, 0, 30, 1, NULL);
	cr_assert(peer_take(&peer, &frame));
	id = frame.call_id;
	ipc_cancel(call);
	for (unsigned i = 0; i < 2; i++) {
		peer_put(&peer, item(id, WINDOW / 2 - 64, 0), 0);
		pair_settle(&pair);
		cr_assert_eq(n_lost, 0, "%s", reason);
	}
	peer_put(&peer, item(id, WINDOW / 2 - 64, 0), 0);
	expect_poison("beyond the credit");
	cr_assert_eq(pair.server.n[IPC_EVENT_MESSAGE], 0);
	stop();
}

/* ── drains ── */

Test(streams, a_client_that_drains, .timeout = 30)
{
	start_client();
	peer_put(&peer, (struct raw_frame){.commit = 1, .kind = IPCI_KIND_DRAIN}, 0);
	expect_poison("kind");
	stop();
}

Test(streams, a_drain_that_carries_something, .timeout = 30)
{
	const struct raw_frame bad[] = {
		{.commit = 2, .kind = IPCI_KIND_DRAIN},
		{.commit = 1, .kind = IPCI_KIND_DRAIN, .call_id = 7},
	};

	for (unsigned i = 0; i < 2; i++) {
		start_server();
		(void)get_called();
		peer_put(&peer, bad[i], 0);
		expect_broken("drain", 1);
	}
}

Test(streams, a_drain_after_a_drain, .timeout = 30)
{
	start_server();
	(void)get_called();
	peer_put(&peer, (struct raw_frame){.commit = 1, .kind = IPCI_KIND_DRAIN}, 0);
	pair_settle(&pair);
	cr_assert_eq(n_lost, 0, "%s", reason);
	peer_put(&peer, (struct raw_frame){.commit = 1, .kind = IPCI_KIND_DRAIN}, 0);
	expect_broken("second drain", 1);
}
