// SPDX-License-Identifier: Apache-2.0
/* A server that breaks every rule, and a real client: as in test-peer.c. */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "futex.h"
#include "victim.h"

/* ── as a server ── */

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

/* The honest form of it ends the channel, too, but breaks nothing. */
Test(hostile_server, drains_in_ways_that_cannot_be, .timeout = 30)
{
	const struct raw_frame drain = {.commit = 1, .kind = IPCI_KIND_DRAIN};
	struct raw_frame frames[] = {drain, drain, drain};

	frames[0].call_id = 1;
	frames[1].commit = 2;
	frames[2].kind |= IPCI_EXT_TRACE;
	for (unsigned i = 0; i < 3; i++) {
		start_server();
		(void)get_called();
		peer_put(&peer, frames[i], 0);
		expect_broken("a drain that is more than that", 1);
	}
	/* As often as it likes. */
	start_server();
	(void)get_called();
	peer_put(&peer, drain, 0);
	peer_put(&peer, drain, 0);
	expect_broken("a second drain", 1);
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
		if (kind == IPCI_KIND_REPLY || kind == IPCI_KIND_ERROR ||
		    kind == IPCI_KIND_PADDING || kind == IPCI_KIND_DRAIN ||
		    (kind >= IPCI_KIND_ITEM && kind <= IPCI_KIND_CREDIT))
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

static void *ring_for_ever(void *arg)
{
	while (!atomic_load(&ended)) {
		atomic_fetch_add(&peer_control(&peer)->bell_frames, 1);
		(void)ipci_futex_wake(&peer_control(&peer)->bell_frames);
		peer_ring(&peer);
	}
	return arg;
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
		cr_assert_eq(pthread_create(&thread, NULL, ring_for_ever, NULL), 0);
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

Test(hostile_server, pads_under_a_waiting_client, .timeout = 60)
{
	struct ipc_room room;
	struct ipc_msg msg;
	pthread_t thread;
	ipc_call *call;

	start_server();
	atomic_store(&ended, false);
	cr_assert_eq(ipc_begin(victim, 0, 10, NULL, &call, &room), 0);
	cr_assert_eq(pthread_create(&thread, NULL, pad_for_ever, NULL), 0);
	cr_assert_eq(ipc_transact(call, 10, &msg), IPC_INTERNAL);
	atomic_store(&ended, true);
	cr_assert_eq(pthread_join(thread, NULL), 0);
	expect_poison("padding without end");
	stop();
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
