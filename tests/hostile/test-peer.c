// SPDX-License-Identifier: Apache-2.0
/*
 * A client that breaks every rule, against a real server. Each time the victim must call the channel
 * broken and say why, or shrug; never crash, never hang; and an honest third on the same loop gets
 * right answers.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "victim.h"

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
		    kind != IPCI_KIND_PADDING &&
		    (kind < IPCI_KIND_ITEM || kind > IPCI_KIND_CREDIT))
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

/* The answer and the cancel may cross; but what was given up is not given up again. */
Test(peer, cancels_what_has_ended_once_and_then_again, .timeout = 30)
{
	uint64_t id;

	start_client();
	id = peer_request(&peer, 0, ECHO, 20);
	expect_reply(id, IPCI_KIND_REPLY);
	cancel(id);
	pair_settle(&pair);
	cr_assert_eq(pair.server.n[IPC_EVENT_CANCELLED], 0);
	expect_reply(peer_request(&peer, 0, ECHO, 20), IPCI_KIND_REPLY);
	cancel(id);
	expect_poison("cancel that tells nothing");
	stop();
}

Test(peer, cancels_what_is_held_over_and_over, .timeout = 30)
{
	uint64_t id;

	start_client();
	id = peer_request(&peer, 1, HOLD, 20);
	PUMP_UNTIL(&pair, n_kept == 1);
	cancel(id);
	PUMP_UNTIL(&pair, pair.server.n[IPC_EVENT_CANCELLED] == 1);
	cancel(id);
	expect_poison("cancel that tells nothing");
	cr_assert_eq(pair.server.n[IPC_EVENT_CANCELLED], 1);
	stop();
}

Test(peer, cancels_with_a_payload_or_an_extension, .timeout = 30)
{
	const struct raw_frame bad[] = {
		{.commit = 2, .kind = IPCI_KIND_CANCEL},
		{.commit = 1, .kind = IPCI_KIND_CANCEL | IPCI_EXT_DEADLINE},
		{.commit = 1, .kind = IPCI_KIND_CANCEL | IPCI_EXT_TRACE},
	};

	for (unsigned i = 0; i < 3; i++) {
		struct raw_frame frame = bad[i];

		start_client();
		frame.call_id = peer_request(&peer, 1, HOLD, 20);
		peer_put(&peer, frame, 0);
		expect_poison("cancel that tells nothing");
		stop();
	}
}

Test(peer, calls_methods_by_any_number, .timeout = 30)
{
	struct raw_frame frame;

	start_client();
	for (uint32_t method = 0; method <= IPCI_REQUEST_METHOD_MASK; method++) {
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

Test(peer, sets_bits_of_the_method_that_nobody_agreed_on, .timeout = 30)
{
	for (uint32_t bit = IPCI_REQUEST_METHOD_MASK + 1; bit <= 0x8000; bit <<= 1) {
		if (bit & IPCI_REQUEST_KNOWN)
			continue;
		start_client();
		(void)peer_request(&peer, 0, ECHO | bit, 4);
		expect_poison("bits that nobody agreed on");
		stop();
	}
}

Test(peer, fills_extensions_with_anything, .timeout = 30)
{
	const uint32_t kinds[] = {IPCI_EXT_DEADLINE, IPCI_EXT_TRACE, IPCI_EXT_KNOWN};
	struct ipc_call_info info;
	unsigned n_expected = 0;

	start_client();
	for (unsigned i = 0; i < 9; i++) {
		struct raw_frame frame = {
			.commit = 5,
			.kind = IPCI_KIND_REQUEST | kinds[i % 3],
			.method = HOLD,
			.call_id = ++peer.seq << IPCI_CALL_SLOT_BITS | i,
		};

		peer_put(&peer, frame, i / 3 == 0 ? 0x00 : i / 3 == 1 ? 0xff : 0x5a);
		/* No time remains: answered, and not handed out. */
		if (i < 3 && kinds[i] & IPCI_EXT_DEADLINE) {
			expect_reply(frame.call_id, IPCI_KIND_ERROR);
			continue;
		}
		n_expected++;
		PUMP_UNTIL(&pair, n_kept == n_expected);
		info = call_info(kept[n_kept - 1]);
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
	const uint64_t claims[] = {UINT64_C(1) << 30, UINT64_MAX & ~UINT64_C(63), RING * 6};

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

Test(peer, sends_padding_for_ever, .timeout = 60)
{
	pthread_t thread;

	start_client();
	atomic_store(&ended, false);
	cr_assert_eq(pthread_create(&thread, NULL, pad_for_ever, NULL), 0);
	expect_poison("padding without end");
	atomic_store(&ended, true);
	cr_assert_eq(pthread_join(thread, NULL), 0);
	stop();
}

/* No commit word is 0 any more, so the victim would go round and round, and nobody else works. */
Test(peer, lays_padding_in_a_circle_and_sleeps, .timeout = 60)
{
	const struct raw_frame whole = {.commit = RING - 16 - 64 + 1, .kind = IPCI_KIND_PADDING};
	const uint32_t parts[] = {2, 4, 64};

	for (unsigned i = 0; i < 3; i++) {
		const uint32_t bytes = RING / parts[i];

		start_client();
		/* The last frame ends at the ring's end; so does not what it leads to. */
		for (uint32_t n = 0; n < parts[i]; n++)
			peer_put(&peer,
				 (struct raw_frame){.commit = bytes - 16 + 1,
						    .kind = IPCI_KIND_PADDING},
				 0);
		atomic_store(&((struct ipci_frame *)(void *)(peer.own.base + peer.own.ring_offset))
				      ->commit,
			     bytes - 16 + 1);
		peer_ring(&peer);
		expect_poison("padding without end");
		stop();
	}
	start_client();
	peer_put(&peer, whole, 0);
	peer_put(&peer, (struct raw_frame){.commit = 1, .kind = IPCI_KIND_PADDING}, 0);
	atomic_store(&((struct ipci_frame *)(void *)(peer.own.base + peer.own.ring_offset))->commit,
		     whole.commit);
	peer_ring(&peer);
	expect_poison("padding without end");
	stop();
}

Test(peer, sends_padding_with_extensions, .timeout = 30)
{
	send_bad((struct raw_frame){.commit = 1, .kind = IPCI_KIND_PADDING | IPCI_EXT_DEADLINE},
		 "padding");
	send_bad((struct raw_frame){.commit = 1, .kind = IPCI_KIND_PADDING | IPCI_EXT_TRACE},
		 "padding");
}

/* An end that was seen is the end, although the half stays its owner's to write. */
static void go_on_after(void (*end)(void))
{
	uint64_t limit_ns;
	struct raw_frame frame;
	unsigned n = 0;

	start_client();
	end();
	limit_ns = now_ns() + PATIENCE_NS;
	while (n_lost == 0 && now_ns() < limit_ns) {
		while (n_lost == 0 &&
		       peer.head - atomic_load(&other_control(&peer)->consumed) < RING / 2)
			(void)peer_request(&peer, n++ % 16, ECHO, 1000);
		pair_turn(&pair, 0);
		while (peer_take(&peer, &frame))
			;
	}
	cr_assert_eq(n_lost, 1, "the channel is there after %u requests", n);
	cr_assert_eq(lost_status, -EPIPE);
	stop();
}

static void say_closed(void)
{
	atomic_store(&peer_control(&peer)->state, IPCI_PHASE_CLOSED | IPCI_REASON_FREED << 8);
	peer_ring(&peer);
}

static void shut_the_bell(void)
{
	(void)shutdown(peer.bell, SHUT_WR);
}

static void leave_the_broker(void)
{
	(void)shutdown(peer.socket, SHUT_RDWR);
}

Test(peer, goes_on_sending_after_it_closed, .timeout = 30)
{
	go_on_after(say_closed);
}

Test(peer, goes_on_sending_after_it_hung_up, .timeout = 30)
{
	go_on_after(shut_the_bell);
}

Test(peer, goes_on_sending_after_it_left_the_broker, .timeout = 30)
{
	go_on_after(leave_the_broker);
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
