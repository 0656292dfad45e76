// SPDX-License-Identifier: Apache-2.0
/*
 * Every rule of items, ends and credits, broken once from each side. The victim poisons the channel
 * and says why; what is merely late it drops; and the honest third is served as ever.
 */
#include <errno.h>
#include <string.h>

#include <criterion/criterion.h>

#include "victim.h"

#define WINDOW (RING / 4)	  /* of the peer's ring */
#define VICTIM_WINDOW (65536 / 4) /* of the victim's */

/* ── a client ── */

/* A call that the victim keeps; @flags beside the method. */
static uint64_t open_call(uint32_t slot, uint32_t flags)
{
	uint64_t id = peer_request(&peer, slot, HOLD | flags, 8);
	unsigned before = n_kept;

	PUMP_UNTIL(&pair, n_kept == before + 1);
	return id;
}

static void put_item(uint64_t id, uint32_t method, uint32_t payload_bytes)
{
	peer_put(&peer,
		 (struct raw_frame){.commit = payload_bytes + 1,
				    .kind = IPCI_KIND_ITEM,
				    .method = method,
				    .call_id = id},
		 0x11);
}

static void put_credit(uint64_t id, uint64_t credit_bytes)
{
	struct ipci_frame *frame = (void *)(peer.own.base + peer.own.ring_offset +
					    (peer.head & (RING - 1)));

	/* Room for it is there: written before the frame is. */
	peer_put(&peer,
		 (struct raw_frame){
			 .commit = 0, .kind = IPCI_KIND_CREDIT, .call_id = id, .frame_bytes = 64},
		 0);
	memcpy(frame + 1, &credit_bytes, sizeof(credit_bytes));
	atomic_store(&frame->commit, sizeof(credit_bytes) + 1);
	peer_ring(&peer);
}

static void put_end(uint64_t id)
{
	peer_put(&peer, (struct raw_frame){.commit = 1, .kind = IPCI_KIND_END, .call_id = id}, 0);
}

Test(hostile_stream, a_client_that_keeps_the_rules_is_served, .timeout = 30)
{
	uint64_t id;

	start_client();
	id = open_call(0, IPCI_REQUEST_OPEN);
	for (unsigned i = 0; i < 3; i++)
		put_item(id, 0, 100);
	put_item(id, IPCI_ITEM_LAST, 10);
	PUMP_UNTIL(&pair, pair.server.n[IPC_EVENT_MESSAGE] == 4);
	cr_assert_eq(pair.server.last.last, 1);
	cr_assert_eq(ipc_commit(kept[--n_kept], 0, IPC_LAST), 0);
	expect_reply(id, IPCI_KIND_END);
	stop();
}

Test(hostile_stream, a_client_sends_items_on_a_call_without, .timeout = 30)
{
	for (uint32_t kind = IPCI_KIND_ITEM; kind <= IPCI_KIND_CREDIT; kind++) {
		uint64_t id;

		start_client();
		id = open_call(0, 0);
		if (kind == IPCI_KIND_ITEM)
			put_item(id, 0, 8);
		else if (kind == IPCI_KIND_END)
			put_end(id);
		else
			put_credit(id, VICTIM_WINDOW + 64);
		expect_poison(kind == IPCI_KIND_ITEM  ? "its sender had ended"
			      : kind == IPCI_KIND_END ? "second end"
						      : "without items");
		stop();
	}
}

Test(hostile_stream, a_client_names_calls_that_have_none, .timeout = 60)
{
	const uint64_t seqs[] = {0, 2, 1000, UINT64_MAX >> IPCI_CALL_SLOT_BITS};

	for (uint32_t kind = IPCI_KIND_ITEM; kind <= IPCI_KIND_CREDIT; kind++) {
		for (unsigned i = 0; i < 4; i++) {
			start_client();
			expect_reply(peer_request(&peer, 0, ECHO, 8), IPCI_KIND_REPLY);
			peer_put(&peer,
				 (struct raw_frame){.commit = 9,
						    .kind = kind,
						    .call_id = seqs[i] << IPCI_CALL_SLOT_BITS |
							       (i == 2 ? 999 : 0)},
				 0);
			expect_poison("of a call that has none");
			stop();
		}
	}
}

Test(hostile_stream, a_client_sends_beyond_its_credit, .timeout = 30)
{
	uint64_t id, sent = 0;

	start_client();
	/* The victim's program does not take what is queued while it waits: here it never looks. */
	id = open_call(0, IPCI_REQUEST_OPEN);
	/* All of them at once: one is more than a window, whatever was taken. */
	while (sent + 1024 <= WINDOW) {
		put_item(id, 0, 1024 - 16);
		sent += 1024;
	}
	put_item(id, 0, WINDOW);
	expect_poison("beyond the credit");
	stop();
}

Test(hostile_stream, a_client_sends_an_item_larger_than_a_window, .timeout = 30)
{
	start_client();
	put_item(open_call(0, IPCI_REQUEST_OPEN), 0, WINDOW - 15);
	expect_poison("beyond the credit");
	stop();
}

Test(hostile_stream, a_client_goes_on_after_its_last, .timeout = 30)
{
	for (unsigned how = 0; how < 4; how++) {
		uint64_t id;

		start_client();
		id = open_call(0, IPCI_REQUEST_OPEN);
		if (how & 1)
			put_end(id);
		else
			put_item(id, IPCI_ITEM_LAST, 8);
		if (how & 2)
			put_end(id);
		else
			put_item(id, 0, 8);
		expect_poison(how & 2 ? "second end" : "its sender had ended");
		stop();
	}
}

Test(hostile_stream, a_client_sets_bits_that_items_and_ends_have_not, .timeout = 60)
{
	for (uint32_t bit = 1; bit <= 1u << 15; bit <<= 1) {
		uint64_t id;

		if (bit != IPCI_ITEM_LAST) {
			start_client();
			put_item(open_call(0, IPCI_REQUEST_OPEN), bit, 8);
			expect_poison("impossible flags");
			stop();
		}
		start_client();
		id = open_call(0, IPCI_REQUEST_OPEN);
		peer_put(&peer,
			 (struct raw_frame){
				 .commit = 1, .kind = IPCI_KIND_END, .method = bit, .call_id = id},
			 0);
		expect_poison("payload or flags");
		stop();
	}
}

Test(hostile_stream, a_client_ends_with_a_payload, .timeout = 30)
{
	uint64_t id;

	start_client();
	id = open_call(0, IPCI_REQUEST_OPEN);
	peer_put(&peer, (struct raw_frame){.commit = 2, .kind = IPCI_KIND_END, .call_id = id}, 0);
	expect_poison("payload or flags");
	stop();
}

Test(hostile_stream, a_client_puts_extensions_on_items_ends_and_credits, .timeout = 30)
{
	for (uint32_t kind = IPCI_KIND_ITEM; kind <= IPCI_KIND_CREDIT; kind++) {
		uint64_t id;

		start_client();
		id = open_call(0, IPCI_REQUEST_OPEN);
		peer_put(&peer,
			 (struct raw_frame){
				 .commit = 1, .kind = kind | IPCI_EXT_TRACE, .call_id = id},
			 0);
		expect_poison("with extensions");
		stop();
	}
}

/* The victim has sent one item on the call, of a line. */
static uint64_t open_and_hear(void)
{
	struct ipc_room room;
	struct raw_frame frame;
	uint64_t id = open_call(0, 0);

	cr_assert_eq(ipc_reserve(kept[0], 8, 0, &room), 0);
	memset(room.data, 0, 8);
	cr_assert_eq(ipc_commit(kept[0], 8, 0), 0);
	AWAIT_PEER(peer_take(&peer, &frame));
	cr_assert_eq(frame.kind, IPCI_KIND_ITEM);
	return id;
}

Test(hostile_stream, a_client_gives_credit_that_cannot_be, .timeout = 30)
{
	const uint64_t credits[] = {0,
				    64,
				    VICTIM_WINDOW,	 /* tells nothing */
				    VICTIM_WINDOW + 1,	 /* no line */
				    VICTIM_WINDOW + 128, /* more than was sent, and a window */
				    UINT64_MAX - 63,
				    UINT64_MAX};

	for (unsigned i = 0; i < sizeof(credits) / sizeof(credits[0]); i++) {
		start_client();
		put_credit(open_and_hear(), credits[i]);
		expect_poison("credit that cannot be");
		stop();
	}
}

Test(hostile_stream, a_client_gives_credit_of_another_form, .timeout = 30)
{
	for (uint32_t payload_bytes = 0; payload_bytes <= 16; payload_bytes += 4) {
		uint64_t id;

		if (payload_bytes == 8)
			continue;
		start_client();
		id = open_and_hear();
		peer_put(&peer,
			 (struct raw_frame){.commit = payload_bytes + 1,
					    .kind = IPCI_KIND_CREDIT,
					    .call_id = id},
			 0);
		expect_poison("impossible form");
		stop();
	}
}

Test(hostile_stream, credit_is_given_once_and_not_again, .timeout = 30)
{
	uint64_t id;

	start_client();
	id = open_and_hear();
	put_credit(id, VICTIM_WINDOW + 64);
	pair_settle(&pair);
	cr_assert_eq(n_lost, 0, "%s", reason);
	put_credit(id, VICTIM_WINDOW + 64);
	expect_poison("credit that cannot be");
	stop();
}

Test(hostile_stream, what_is_late_is_dropped_and_still_counted, .timeout = 30)
{
	uint64_t id;

	start_client();
	id = open_call(0, IPCI_REQUEST_OPEN);
	cr_assert_eq(ipc_fail(kept[--n_kept], IPC_ABORTED, NULL), 0);
	expect_reply(id, IPCI_KIND_ERROR);
	put_item(id, 0, 1024 - 16);
	pair_settle(&pair);
	cr_assert_eq(n_lost, 0, "%s", reason);
	cr_assert_eq(pair.server.n[IPC_EVENT_MESSAGE], 0);
	put_item(id, 0, 1024);
	expect_poison("beyond the credit");
	stop();
}

Test(hostile_stream, late_frames_do_not_lead_round_the_ring, .timeout = 30)
{
	uint64_t id;

	start_client();
	id = open_call(0, IPCI_REQUEST_OPEN);
	cr_assert_eq(ipc_fail(kept[--n_kept], IPC_ABORTED, NULL), 0);
	expect_reply(id, IPCI_KIND_ERROR);
	put_end(id);
	pair_settle(&pair);
	cr_assert_eq(n_lost, 0, "%s", reason);
	put_end(id);
	expect_poison("second end");
	stop();
}

Test(hostile_stream, a_slot_is_used_again_after_what_was_late, .timeout = 30)
{
	uint64_t id;

	start_client();
	for (unsigned i = 0; i < 50; i++) {
		id = open_call(0, IPCI_REQUEST_OPEN);
		put_item(id, 0, 100);
		PUMP_UNTIL(&pair, pair.server.n[IPC_EVENT_MESSAGE] == i + 1);
		cr_assert_eq(ipc_fail(kept[--n_kept], IPC_ABORTED, NULL), 0);
		expect_reply(id, IPCI_KIND_ERROR);
		put_item(id, i % 2, 100);
		expect_reply(peer_request(&peer, 0, ECHO, 8), IPCI_KIND_REPLY);
	}
	/* What belonged to the call before is none of this one. */
	put_item(id, 0, 100);
	expect_poison("of a call that has none");
	stop();
}

Test(hostile_stream, a_request_has_bits_that_nobody_agreed_on, .timeout = 30)
{
	for (uint32_t bit = 1 << 10; bit < IPCI_REQUEST_OPEN; bit <<= 1) {
		start_client();
		(void)peer_request(&peer, 0, ECHO | bit, 8);
		expect_poison("bits that nobody agreed on");
		stop();
	}
}

Test(hostile_stream, a_client_that_gives_no_credit_stalls_nobody, .timeout = 60)
{
	struct ipc_room room;
	unsigned n = 0;
	int r;

	start_client();
	(void)open_call(0, 0);
	while ((r = ipc_reserve(kept[0], 1000, 0, &room)) == 0) {
		struct raw_frame frame;

		memset(room.data, 0, 1000);
		cr_assert_eq(ipc_commit(kept[0], 1000, 0), 0);
		cr_assert(peer_take(&peer, &frame));
		cr_assert_lt(++n, 100);
	}
	cr_assert_eq(r, -EAGAIN);
	cr_assert_eq(n, VICTIM_WINDOW / 1024);
	for (unsigned i = 0; i < 100; i++)
		expect_reply(peer_request(&peer, 1, ECHO, 100), IPCI_KIND_REPLY);
	stop();
}
