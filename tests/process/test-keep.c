// SPDX-License-Identifier: Apache-2.0
/* Messages: lent for a turn, kept, released in any order, and longer-lived than what brought them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "pair.h"

static struct pair pair;

/* The server's answer to a request of n bytes, seed s: n bytes, seed s. */
static void start(const struct pair_opts *opts)
{
	pair_start(&pair, opts);
	pair.server.on_event = answer_echo;
}

/* A reply, as an event. It is lent until the client's loop is asked again. */
static struct ipc_msg fetch(size_t size_bytes, uint64_t seed)
{
	unsigned before = pair.client.n[IPC_EVENT_MESSAGE];

	(void)send_call(pair.channel, ECHO, size_bytes, seed, NULL);
	PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_MESSAGE] == before + 1);
	cr_assert_eq(pair.client.last.msg.size_bytes, size_bytes);
	cr_assert(filled(pair.client.last.msg.data, size_bytes, seed));
	return pair.client.last.msg;
}

/* Enough traffic to overwrite every byte of both rings. */
static void churn(void)
{
	for (unsigned i = 0; i < 200; i++)
		(void)fetch(1000 + i % 3 * 10, 5000 + i);
}

Test(keep, a_small_message_stays_as_it_was, .timeout = 60)
{
	struct ipc_msg kept[50];

	start(NULL);
	for (unsigned i = 0; i < 50; i++) {
		kept[i] = fetch(i * 80, i);
		cr_assert_eq(ipc_keep(&kept[i]), 0);
		cr_assert_eq(kept[i].flags, IPC_MSG_KEPT | IPC_MSG_LAST);
	}
	churn();
	for (unsigned i = 0; i < 50; i++) {
		unsigned j = i * 7 % 50;

		cr_assert(filled(kept[j].data, j * 80, j));
		ipc_release(&kept[j]);
		cr_assert(!kept[j].data && !kept[j].owner && !kept[j].flags && !kept[j].size_bytes);
		ipc_release(&kept[j]);
	}
	pair_stop(&pair);
}

Test(keep, a_large_message_stays_where_it_is, .timeout = 60)
{
	struct ipc_msg kept[3];

	start(NULL);
	for (unsigned round = 0; round < 20; round++) {
		for (unsigned i = 0; i < 3; i++) {
			kept[i] = fetch(5000 + 100 * i, i);
			cr_assert_eq(kept[i].flags, IPC_MSG_IN_PLACE | IPC_MSG_LAST);
			cr_assert_eq(ipc_keep(&kept[i]), 0);
			cr_assert_eq(kept[i].flags, IPC_MSG_IN_PLACE | IPC_MSG_LAST | IPC_MSG_KEPT);
		}
		/* What fits beside them comes and goes. */
		for (unsigned i = 0; i < 10; i++)
			(void)fetch(500, 100 + i);
		for (unsigned i = 0; i < 3; i++) {
			unsigned j = (round + i * (1 + round % 2)) % 3;

			cr_assert(filled(kept[j].data, 5000 + 100 * j, j));
			ipc_release(&kept[j]);
			cr_assert_null(kept[j].data);
		}
	}
	churn();
	pair_stop(&pair);
}

Test(keep, one_large_message_is_kept_through_as_many_others_as_its_ring_has_room_for, .timeout = 60)
{
	struct ipc_msg kept;

	start(NULL);
	(void)fetch(100, 1);
	kept = fetch(5000, 2);
	cr_assert_eq(ipc_keep(&kept), 0);
	/* 5 KB are kept, half the ring must stay free for the next reply, and the rest is there for
	 * these. */
	for (unsigned i = 0; i < 100; i++)
		(void)fetch(200, i);
	cr_assert(filled(kept.data, 5000, 2));
	ipc_release(&kept);
	churn();
	pair_stop(&pair);
}

Test(keep, beyond_half_the_ring_nothing_more_is_kept_in_place, .timeout = 60)
{
	struct ipc_msg kept[16], more;
	unsigned n = 0;

	start(NULL);
	for (;; n++) {
		cr_assert_lt(n, 16);
		kept[n] = fetch(6000, n);
		if (ipc_keep(&kept[n]) < 0)
			break;
	}
	cr_assert_geq(n, 4, "only %u of 6000 bytes each were kept in a ring of 64 KiB", n);
	cr_assert_leq(n, 5);
	cr_assert_eq(ipc_keep(&kept[n]), -ENOSPC);
	cr_assert_eq(kept[n].flags, IPC_MSG_IN_PLACE | IPC_MSG_LAST);
	cr_assert(filled(kept[n].data, 6000, n), "what could not be kept can still be read");
	ipc_release(&kept[n]);
	cr_assert_not_null(kept[n].data, "only what was kept is released");
	/* With the two oldest gone there is room to keep again; the one that was not kept still
	 * counts. */
	ipc_release(&kept[0]);
	ipc_release(&kept[1]);
	more = fetch(6000, 99);
	cr_assert_eq(ipc_keep(&more), 0);
	for (unsigned i = 2; i < n; i++)
		cr_assert(filled(kept[i].data, 6000, i));
	for (unsigned i = 2; i < n; i++)
		ipc_release(&kept[i]);
	cr_assert(filled(more.data, 6000, 99));
	ipc_release(&more);
	churn();
	pair_stop(&pair);
}

/* As much as may be kept, to the line: the next reply must still come. */
Test(keep, half_the_ring_can_be_kept_and_the_largest_reply_still_comes, .timeout = 60)
{
	const size_t sizes[] = {8176, 4080 + 64, 10000, 16368, 32000, 5001};
	struct ipc_msg kept[16];
	unsigned n;

	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		start(NULL);
		for (n = 0; (n + 1) * (sizes[i] + 16 + 63) / 64 * 64 <= 32768; n++) {
			kept[n] = fetch(sizes[i], n);
			cr_assert_eq(ipc_keep(&kept[n]), 0);
		}
		cr_assert_gt(n, 0);
		(void)fetch(channel_info(pair.channel).receive_max_bytes, 1);
		while (n-- > 0) {
			cr_assert(filled(kept[n].data, sizes[i], n));
			ipc_release(&kept[n]);
		}
		churn();
		pair_stop(&pair);
	}
}

Test(keep, requests_are_kept_as_replies_are, .timeout = 30)
{
	struct ipc_msg kept[2];

	pair_start(&pair, NULL);
	for (unsigned i = 0; i < 2; i++) {
		(void)send_call(pair.channel, HOLD, i ? 9000 : 90, i, NULL);
		PUMP_UNTIL(&pair, pair.server.n[IPC_EVENT_REQUEST] == i + 1);
		kept[i] = pair.server.last.msg;
		cr_assert_eq(ipc_keep(&kept[i]), 0);
		/* The request outlives its call. */
		reply_with(pair.server.last.call, 10, 0);
		PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_MESSAGE] == i + 1);
	}
	pair.server.on_event = answer_echo;
	for (unsigned i = 0; i < 100; i++)
		(void)fetch(200, i);
	cr_assert(filled(kept[0].data, 90, 0));
	cr_assert(filled(kept[1].data, 9000, 1));
	ipc_release(&kept[1]);
	ipc_release(&kept[0]);
	churn();
	pair_stop(&pair);
}

/*
 * Two are kept, the older is released: what it held is less than a quarter of the ring, and nothing
 * else happens on the channel that would be an occasion to say so.
 */
Test(keep, room_that_a_sleeping_channel_gives_back_is_told, .timeout = 60)
{
	struct ipc_msg kept[2];
	struct ipc_room room;
	size_t wanted = 0;
	ipc_call *call;

	pair_start(&pair, NULL);
	(void)send_call(pair.channel, HOLD, 8, 1, NULL);
	PUMP_UNTIL(&pair, pair.server.n[IPC_EVENT_REQUEST] == 1);
	call = pair.server.last.call;
	pair.server.on_event = answer_echo;
	for (unsigned i = 0; i < 2; i++) {
		kept[i] = fetch(5000, i);
		cr_assert_eq(ipc_keep(&kept[i]), 0);
	}
	/* These take room behind them until both are released. */
	(void)fetch(20000, 2);
	(void)fetch(20000, 3);
	while (ipc_reserve(call, wanted += 1000, 0, &room) == 0)
		ipc_abort(call);
	pair_settle(&pair);
	cr_assert_eq(pair.server.n[IPC_EVENT_WRITABLE], 0);
	ipc_release(&kept[0]);
	PUMP_UNTIL(&pair, pair.server.n[IPC_EVENT_WRITABLE] == 1);
	cr_assert_eq(ipc_reserve(call, wanted, 0, &room), 0);
	cr_assert(filled(kept[1].data, 5000, 1));
	ipc_abort(call);
	ipc_release(&kept[1]);
	pair_stop(&pair);
}

Test(keep, a_parked_reply_is_kept_as_well, .timeout = 30)
{
	const size_t sizes[] = {100, 7000, 0};
	struct ipc_msg kept[3], last;
	ipc_call *calls[4];

	start(NULL);
	for (unsigned i = 0; i < 3; i++)
		calls[i] = send_call(pair.channel, ECHO, sizes[i], i, NULL);
	calls[3] = send_call(pair.channel, ECHO, 10, 3, NULL);
	while (pair.server.n[IPC_EVENT_REQUEST] < 4) {
		struct ipc_event event;

		cr_assert_eq(ipc_loop_next(pair.server.loop, &event, (int64_t)PATIENCE_NS), 1);
		answer_echo(&pair, &event);
		pair.server.n[IPC_EVENT_REQUEST] += event.kind == IPC_EVENT_REQUEST;
	}
	cr_assert_eq(ipc_receive(calls[3], &last), 0);
	for (unsigned i = 0; i < 3; i++) {
		cr_assert_eq(ipc_receive(calls[i], &kept[i]), 0);
		cr_assert_eq(ipc_keep(&kept[i]), 0);
		cr_assert_eq(ipc_keep(&kept[i]), -EALREADY);
	}
	cr_assert_eq(ipc_keep(&last), -EINVAL, "its turn is over");
	churn();
	for (unsigned i = 0; i < 3; i++)
		cr_assert(filled(kept[i].data, sizes[i], i));
	for (unsigned i = 0; i < 3; i++)
		ipc_release(&kept[i]);
	pair_stop(&pair);
}

Test(keep, what_is_no_lent_message_is_not_kept, .timeout = 30)
{
	struct ipc_msg none = {}, msg, copy, large;
	struct ipc_event event;

	start(NULL);
	cr_assert_eq(ipc_keep(NULL), -EINVAL);
	cr_assert_eq(ipc_keep(&none), -EINVAL);
	ipc_release(NULL);
	ipc_release(&none);
	msg = fetch(100, 1);
	cr_assert_eq(ipc_loop_next(pair.client.loop, &event, 0), 0);
	cr_assert_eq(ipc_keep(&msg), -EINVAL, "another receive ended its turn");
	large = fetch(9000, 1);
	cr_assert_eq(ipc_loop_next(pair.client.loop, &event, 0), 0);
	cr_assert_eq(ipc_keep(&large), -EINVAL);
	for (unsigned i = 0; i < 2; i++) {
		msg = copy = fetch(i ? 9000 : 100, 2);
		cr_assert_eq(ipc_keep(&msg), 0);
		cr_assert_eq(ipc_keep(&msg), -EALREADY);
		cr_assert_eq(ipc_keep(&copy), -EINVAL, "a copy was kept already");
		ipc_release(&msg);
	}
	pair_stop(&pair);
}

/* ── longer than the channel, and than the loop ── */

enum end {
	PEER_ENDS,
	CHANNEL_FREED,
	LOOP_FREED,
};

static void outlive(enum end end)
{
	struct ipc_msg kept[4];

	start(NULL);
	for (unsigned i = 0; i < 4; i++) {
		kept[i] = fetch(i % 2 ? 7000 : 700, i);
		cr_assert_eq(ipc_keep(&kept[i]), 0);
	}
	if (end == PEER_ENDS) {
		ipc_server_free(pair.service);
		PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_CHANNEL] == 2);
	} else if (end == CHANNEL_FREED) {
		ipc_channel_free(pair.channel);
		PUMP_UNTIL(&pair, pair.server.n[IPC_EVENT_CHANNEL] == 2);
	}
	cr_assert(filled(kept[1].data, 7000, 1));
	if (end != LOOP_FREED)
		ipc_release(&kept[1]);
	pair_stop(&pair);
	for (unsigned i = 0; i < 4; i++) {
		if (!kept[i].data)
			continue;
		cr_assert(filled(kept[i].data, i % 2 ? 7000 : 700, i));
		ipc_release(&kept[i]);
	}
}

Test(keep, what_is_kept_outlives_the_peer, .timeout = 30)
{
	outlive(PEER_ENDS);
}

Test(keep, what_is_kept_outlives_the_channel, .timeout = 30)
{
	outlive(CHANNEL_FREED);
}

Test(keep, what_is_kept_outlives_the_loop, .timeout = 30)
{
	outlive(LOOP_FREED);
}

Test(keep, what_is_kept_outlives_the_peer_s_process, .timeout = 30)
{
	struct echo_server echo = {};
	struct ipc_open_opts opts = {.size = sizeof(opts),
				     .flags = IPC_OPEN_ONCE,
				     .timeout_ns = PATIENCE_NS};
	struct ipc_channel_info info;
	struct ipc_room room;
	struct ipc_event event;
	struct ipc_msg msg;
	struct world world;
	ipc_channel *channel;
	ipc_loop *loop;
	ipc_call *call;
	pid_t server;

	world_start(&world);
	server = spawn(serve_echo, &world, &echo);
	loop = world_loop(&world, "web", 0);
	cr_assert_eq(ipc_open(loop, &echo_called, &opts, &channel), 0);
	cr_assert_eq(ipc_begin(channel, ECHO, 8000, NULL, &call, &room), 0);
	fill(room.data, 8000, 4);
	cr_assert_eq(ipc_transact(call, 8000, &msg), 0);
	cr_assert_eq(ipc_keep(&msg), 0);
	slay(server);
	cr_assert_eq(ipc_loop_next(loop, &event, (int64_t)PATIENCE_NS), 1);
	cr_assert(event.kind == IPC_EVENT_CHANNEL && event.status == -EPIPE);
	cr_assert(filled(msg.data, 8000, 4));
	info = channel_info(channel);
	cr_assert_eq(info.state, IPC_CHANNEL_CLOSED);
	ipc_channel_free(channel);
	cr_assert(filled(msg.data, 8000, 4));
	ipc_loop_free(loop);
	cr_assert(filled(msg.data, 8000, 4));
	ipc_release(&msg);
	world_stop(&world);
}
