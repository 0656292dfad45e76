// SPDX-License-Identifier: Apache-2.0
/* Calls of many messages: items either way, credit for them, and every way in which they end. */
#include <errno.h>
#include <string.h>

#include <criterion/criterion.h>

#include "pair.h"

static struct pair pair;

/* What each side saw of the call, in order; payloads are fill(n, their number). */
static ipc_call *served;
static struct seen {
	unsigned n_items, n_last, n_ends, n_writable, n_cancelled;
	int end_status;
	uint32_t end_fate;
} at_server, at_client;

static size_t size_of(unsigned n)
{
	return 8 + n * 7 % 300;
}

static void see(struct seen *seen, struct ipc_event *event)
{
	switch (event->kind) {
	case IPC_EVENT_REQUEST:
	case IPC_EVENT_MESSAGE:
		cr_assert_eq(event->msg.size_bytes, size_of(seen->n_items), "item %u",
			     seen->n_items);
		cr_assert(filled(event->msg.data, event->msg.size_bytes, seen->n_items));
		cr_assert_eq((event->msg.flags & IPC_MSG_LAST) != 0, event->last != 0);
		cr_assert_eq(event->status, 0);
		seen->n_items++;
		seen->n_last += event->last;
		break;
	case IPC_EVENT_END:
		seen->n_ends++;
		seen->end_status = event->status;
		cr_assert_eq(event->last, 1);
		seen->end_fate = call_info(event->call).fate;
		break;
	case IPC_EVENT_WRITABLE:
		seen->n_writable++;
		break;
	case IPC_EVENT_CANCELLED:
		seen->n_cancelled++;
		break;
	default:
		break;
	}
}

static void on_server(struct pair *p, struct ipc_event *event)
{
	(void)p;
	if (event->kind == IPC_EVENT_REQUEST) {
		cr_assert_null(served);
		served = event->call;
	}
	if (event->kind == IPC_EVENT_MESSAGE || event->kind == IPC_EVENT_END ||
	    event->kind == IPC_EVENT_CANCELLED)
		cr_assert_eq(event->call, served);
	see(&at_server, event);
}

static void on_client(struct pair *p, struct ipc_event *event)
{
	(void)p;
	see(&at_client, event);
}

static void start(const struct pair_opts *opts)
{
	served = NULL;
	at_server = at_client = (struct seen){};
	pair_start(&pair, opts);
	pair.server.on_event = on_server;
	pair.client.on_event = on_client;
}

/* The next message of either side: 0, or -EAGAIN. */
static int try_item(ipc_call *call, unsigned n, uint32_t flags)
{
	struct ipc_room room;
	int r = ipc_reserve(call, size_of(n), flags & IPC_LAST, &room);

	if (r < 0)
		return r;
	fill(room.data, size_of(n), n);
	cr_assert_eq(ipc_commit(call, size_of(n), flags), 0);
	return 0;
}

/* Turns pass while there is no room or no credit. */
static void send_item(ipc_call *call, unsigned n, uint32_t flags)
{
	uint64_t limit_ns = now_ns() + PATIENCE_NS;
	int r;

	while ((r = try_item(call, n, flags)) == -EAGAIN && now_ns() < limit_ns)
		pair_turn(&pair, limit_ns);
	cr_assert_eq(r, 0, "item %u: %s", n, strerror(-r));
}

static ipc_call *open_call(uint32_t flags, const struct ipc_call_opts *opts)
{
	struct ipc_room room;
	ipc_call *call;

	cr_assert_eq(ipc_begin(pair.channel, HOLD, size_of(0), opts, &call, &room), 0);
	fill(room.data, size_of(0), 0);
	cr_assert_eq(ipc_commit(call, size_of(0), flags), 0);
	return call;
}

/* The server has it. */
static ipc_call *open_served(uint32_t flags, const struct ipc_call_opts *opts)
{
	ipc_call *call = open_call(flags, opts);

	PUMP_UNTIL(&pair, served != NULL);
	cr_assert_eq(pair.server.last.last, (flags & IPC_LAST) != 0);
	return call;
}

static const struct pair_opts tiny = {.client_ring_bytes = 4096, .server_ring_bytes = 4096};
#define N_ITEMS 1000u

/* ── one way, to its end ── */

static void from_server(const struct pair_opts *opts, bool by_end)
{
	start(opts);
	(void)open_served(IPC_LAST, NULL);
	for (unsigned n = 0; n < N_ITEMS; n++)
		send_item(served, n, n == N_ITEMS - 1 && !by_end ? IPC_LAST : 0);
	if (by_end)
		cr_assert_eq(ipc_commit(served, 0, IPC_LAST), 0);
	PUMP_UNTIL(&pair, at_client.n_last + at_client.n_ends);
	cr_assert_eq(at_client.n_items, N_ITEMS);
	cr_assert_eq(at_client.n_last, !by_end);
	cr_assert_eq(at_client.n_ends, by_end);
	if (by_end) {
		cr_assert_eq(at_client.end_status, IPC_OK);
		cr_assert_eq(at_client.end_fate, IPC_FATE_EXECUTED);
	}
	pair_settle(&pair);
	cr_assert_eq(channel_info(pair.channel).n_calls, 0);
	cr_assert_eq(channel_info(pair.served).n_calls, 0);
	pair_stop(&pair);
}

Test(stream, a_server_sends_items_and_a_reply, .timeout = 60)
{
	from_server(NULL, false);
	from_server(&tiny, false);
}

Test(stream, a_server_sends_items_and_ends_without_a_message, .timeout = 60)
{
	from_server(NULL, true);
	from_server(&tiny, true);
}

static void from_client(const struct pair_opts *opts, bool by_end)
{
	ipc_call *call;

	start(opts);
	call = open_served(0, NULL);
	for (unsigned n = 1; n < N_ITEMS; n++)
		send_item(call, n, n == N_ITEMS - 1 && !by_end ? IPC_LAST : 0);
	if (by_end)
		cr_assert_eq(ipc_commit(call, 0, IPC_LAST), 0);
	cr_assert_eq(ipc_commit(call, 0, IPC_LAST), -EINVAL, "its side has ended");
	PUMP_UNTIL(&pair, at_server.n_last + at_server.n_ends);
	cr_assert_eq(at_server.n_items, N_ITEMS);
	cr_assert_eq(at_server.n_last, !by_end);
	cr_assert_eq(at_server.n_ends, by_end);
	cr_assert_eq(at_server.end_status, IPC_OK);
	send_item(served, 0, IPC_LAST);
	PUMP_UNTIL(&pair, at_client.n_last == 1);
	pair_settle(&pair);
	cr_assert_eq(channel_info(pair.channel).n_calls, 0);
	pair_stop(&pair);
}

Test(stream, a_client_sends_items_and_its_last, .timeout = 60)
{
	from_client(NULL, false);
	from_client(&tiny, false);
}

Test(stream, a_client_sends_items_and_ends_without_a_message, .timeout = 60)
{
	from_client(NULL, true);
	from_client(&tiny, true);
}

static void both_ways(const struct pair_opts *opts)
{
	ipc_call *call;
	unsigned sent = 0, answered = 0;
	uint64_t limit_ns = now_ns() + 2 * PATIENCE_NS;

	start(opts);
	call = open_served(0, NULL);
	sent = 1;
	while (sent < N_ITEMS || answered < N_ITEMS) {
		bool last = answered == N_ITEMS - 1;
		bool busy = false;

		cr_assert_lt(now_ns(), limit_ns);
		if (sent < N_ITEMS && try_item(call, sent, sent == N_ITEMS - 1 ? IPC_LAST : 0) == 0)
			busy = sent++;
		/* The reply ends the call, whatever the client has still to send. */
		if (answered < N_ITEMS && (!last || at_server.n_last) &&
		    try_item(served, answered, last ? IPC_LAST : 0) == 0)
			busy = ++answered;
		if (!busy)
			pair_turn(&pair, 0);
	}
	PUMP_UNTIL(&pair, at_client.n_last == 1);
	cr_assert_eq(at_client.n_items, N_ITEMS);
	cr_assert_eq(at_server.n_items, N_ITEMS);
	pair_stop(&pair);
}

Test(stream, items_go_both_ways_at_once, .timeout = 60)
{
	both_ways(NULL);
	both_ways(&tiny);
}

/* ── credit ── */

/* As many as go without the other side taking any. */
static unsigned fill_up(ipc_call *call, unsigned from)
{
	unsigned n = from;
	int r;

	while ((r = try_item(call, n, 0)) == 0)
		n++;
	cr_assert_eq(r, -EAGAIN);
	return n;
}

Test(stream, an_item_is_no_larger_than_a_window, .timeout = 30)
{
	struct ipc_room room;
	ipc_call *call;
	size_t window;

	start(&tiny);
	call = open_served(0, NULL);
	window = 4096 / 4 - 16;
	cr_assert_eq(ipc_reserve(call, window + 1, 0, &room), -EMSGSIZE);
	cr_assert_eq(ipc_reserve(call, window + 1, IPC_BLOCK, &room), -EMSGSIZE);
	cr_assert_eq(ipc_reserve(call, window, 0, &room), 0);
	ipc_abort(call);
	/* A server's first may be its last, and that has the whole ring. */
	cr_assert_eq(ipc_reserve(served, window + 1, 0, &room), 0);
	cr_assert_eq(ipc_commit(served, window + 1, 0), -EMSGSIZE);
	fill(room.data, size_of(0), 0);
	cr_assert_eq(ipc_commit(served, size_of(0), 0), 0);
	cr_assert_eq(ipc_reserve(served, window + 1, 0, &room), -EMSGSIZE);
	cr_assert_eq(ipc_reserve(served, window + 1, IPC_LAST, &room), 0);
	cr_assert_eq(ipc_commit(served, window + 1, 0), -EMSGSIZE);
	cr_assert_eq(ipc_commit(served, window, 0), -EINVAL, "there is no credit for it");
	pair.client.on_event = NULL;
	cr_assert_eq(ipc_commit(served, window + 1, IPC_LAST), 0);
	PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_MESSAGE] == 2);
	cr_assert_eq(pair.client.last.msg.size_bytes, window + 1);
	pair_stop(&pair);
}

Test(stream, without_credit_writable_follows_once_it_came, .timeout = 30)
{
	struct ipc_event event;
	unsigned sent;

	start(&tiny);
	(void)open_served(IPC_LAST, NULL);
	sent = fill_up(served, 0);
	pair_settle(&pair);
	cr_assert_eq(at_client.n_items, sent);
	cr_assert_eq(at_server.n_writable, 1);
	cr_assert_eq(pair.server.last.kind, IPC_EVENT_WRITABLE);
	cr_assert_eq(pair.server.last.call, served);
	cr_assert_eq(try_item(served, sent, 0), 0);
	cr_assert_eq(ipc_loop_next(pair.server.loop, &event, 0), 0, "once");
	cr_assert_eq(ipc_commit(served, 0, IPC_LAST), 0);
	PUMP_UNTIL(&pair, at_client.n_ends == 1);
	pair_stop(&pair);
}

Test(stream, a_server_that_only_sends_takes_credit_by_itself, .timeout = 30)
{
	struct ipc_event event;

	start(&tiny);
	(void)open_served(IPC_LAST, NULL);
	/* The server's loop gets no turn. */
	for (unsigned n = 0; n < N_ITEMS; n++) {
		int r;

		while ((r = try_item(served, n, 0)) == -EAGAIN)
			if (ipc_loop_next(pair.client.loop, &event, 0) == 1)
				see(&at_client, &event);
		cr_assert_eq(r, 0);
	}
	cr_assert_eq(ipc_commit(served, 0, IPC_LAST), 0);
	PUMP_UNTIL(&pair, at_client.n_ends == 1);
	cr_assert_eq(at_client.n_items, N_ITEMS);
	pair_stop(&pair);
}

/* Answers what comes beside the stream. */
static void answer_others(struct pair *p, struct ipc_event *event)
{
	if (event->kind == IPC_EVENT_REQUEST && served) {
		answer_echo(p, event);
		return;
	}
	on_server(p, event);
}

static void echo_beside(unsigned n)
{
	ipc_call *call = send_call(pair.channel, ECHO, 100, n, NULL);
	struct ipc_msg msg;

	/* The server's turn, and only then the client's, in the call. */
	for (unsigned i = 0; i < 10; i++) {
		struct ipc_event event;

		if (ipc_loop_next(pair.server.loop, &event, 0) == 1)
			answer_others(&pair, &event);
	}
	cr_assert_eq(ipc_receive(call, &msg), 0);
	cr_assert(msg.flags & IPC_MSG_LAST);
	cr_assert(filled(msg.data, msg.size_bytes, n));
}

Test(stream, that_nobody_reads_stalls_no_call_beside_it, .timeout = 60)
{
	unsigned sent;
	ipc_call *call;
	struct ipc_msg msg;

	start(&tiny);
	pair.server.on_event = answer_others;
	call = open_served(IPC_LAST, NULL);
	sent = fill_up(served, 0);
	for (unsigned n = 0; n < 300; n++)
		echo_beside(n);
	cr_assert_eq(try_item(served, sent, 0), -EAGAIN, "what nobody took is no credit");
	/* And then it is all there, in order. */
	for (unsigned n = 0; n < sent; n++) {
		cr_assert_eq(ipc_receive(call, &msg), 0);
		cr_assert(filled(msg.data, msg.size_bytes, n));
		cr_assert(!(msg.flags & IPC_MSG_LAST));
	}
	send_item(served, sent, IPC_LAST);
	cr_assert_eq(ipc_receive(call, &msg), 0);
	cr_assert(msg.flags & IPC_MSG_LAST);
	cr_assert_eq(ipc_receive(call, &msg), -EINVAL);
	pair_stop(&pair);
}

Test(stream, what_was_queued_comes_as_events_in_order, .timeout = 60)
{
	unsigned sent;

	start(&tiny);
	pair.server.on_event = answer_others;
	(void)open_served(IPC_LAST, NULL);
	sent = fill_up(served, 0);
	echo_beside(1);
	cr_assert_eq(ipc_fail(served, IPC_ABORTED, "enough"), 0);
	echo_beside(2);
	PUMP_UNTIL(&pair, at_client.n_ends == 1);
	cr_assert_eq(at_client.n_items, sent);
	cr_assert_eq(at_client.end_status, IPC_ABORTED);
	pair_stop(&pair);
}

Test(stream, credit_does_not_wait_behind_a_room_for_ever, .timeout = 30)
{
	unsigned sent, n = 0;
	struct ipc_room room;
	ipc_call *call, *other;
	struct ipc_msg msg;
	int r;

	start(&tiny);
	call = open_served(IPC_LAST, NULL);
	sent = fill_up(served, 0);
	cr_assert_eq(ipc_begin(pair.channel, ECHO, 8, NULL, &other, &room), 0);
	while ((r = ipc_receive(call, &msg)) == 0)
		cr_assert(filled(msg.data, msg.size_bytes, n++));
	cr_assert_eq(r, -EBUSY);
	cr_assert_eq(n, sent);
	ipc_abort(other);
	send_item(served, sent, IPC_LAST);
	cr_assert_eq(ipc_receive(call, &msg), 0);
	pair_stop(&pair);
}

/* ── the end, from either side ── */

Test(stream, a_client_cancels_in_the_middle, .timeout = 30)
{
	struct ipc_room room;
	ipc_call *call;

	start(&tiny);
	call = open_served(0, NULL);
	(void)fill_up(served, 0);
	(void)fill_up(call, 1);
	ipc_cancel(call);
	PUMP_UNTIL(&pair, at_server.n_cancelled == 1);
	cr_assert_eq(ipc_reserve(served, 8, 0, &room), -ECANCELED);
	cr_assert_eq(ipc_reserve(served, 8, IPC_BLOCK, &room), -ECANCELED);
	cr_assert_eq(channel_info(pair.channel).n_calls, 1, "the server has not ended it");
	cr_assert_eq(ipc_fail(served, IPC_CANCELLED, NULL), 0);
	pair_settle(&pair);
	cr_assert_eq(channel_info(pair.channel).n_calls, 0);
	cr_assert_eq(at_client.n_items + at_client.n_ends, 0);
	served = NULL;
	at_server.n_items = 0;
	(void)open_served(IPC_LAST, NULL);
	pair_stop(&pair);
}

Test(stream, a_server_ends_while_the_client_sends, .timeout = 30)
{
	ipc_call *call;
	unsigned n;

	for (unsigned how = 0; how < 3; how++) {
		start(&tiny);
		call = open_served(0, NULL);
		n = fill_up(call, 1);
		if (how == 0)
			cr_assert_eq(ipc_fail(served, IPC_OUT_OF_RANGE, "too much"), 0);
		else if (how == 1)
			cr_assert_eq(ipc_commit(served, 0, IPC_LAST), 0);
		else
			send_item(served, 0, IPC_LAST);
		PUMP_UNTIL(&pair, at_client.n_ends + at_client.n_last == 1);
		cr_assert_eq(at_client.end_status, how == 0 ? IPC_OUT_OF_RANGE : 0);
		cr_assert_eq(try_item(call, n, 0), -EINVAL, "it has ended");
		pair_settle(&pair);
		cr_assert_eq(pair.client.n[IPC_EVENT_CHANNEL], 1, "late items are no breach");
		/* The slot is used again. */
		served = NULL;
		at_server = (struct seen){};
		(void)open_served(IPC_LAST, NULL);
		cr_assert_eq(at_server.n_items, 1);
		pair_stop(&pair);
	}
}

Test(stream, a_deadline_ends_it_on_both_sides, .timeout = 30)
{
	struct ipc_call_opts opts = {.size = sizeof(opts), .timeout_ns = 20 * MS_NS};
	struct ipc_room room;

	start(&tiny);
	(void)open_served(0, &opts);
	send_item(served, 0, 0);
	PUMP_UNTIL(&pair, at_client.n_ends == 1 && at_server.n_cancelled == 1);
	cr_assert_eq(at_client.end_status, IPC_DEADLINE_EXCEEDED);
	cr_assert_eq(at_client.n_items, 1);
	cr_assert_eq(ipc_reserve(served, 8, 0, &room), -ECANCELED);
	cr_assert_eq(ipc_fail(served, IPC_CANCELLED, NULL), 0);
	pair_settle(&pair);
	cr_assert_eq(channel_info(pair.channel).n_calls, 0);
	pair_stop(&pair);
}

Test(stream, who_waits_for_an_item_gets_the_deadline, .timeout = 30)
{
	struct ipc_call_opts opts = {.size = sizeof(opts), .timeout_ns = 20 * MS_NS};
	struct ipc_msg msg;
	ipc_call *call;

	start(&tiny);
	call = open_served(IPC_LAST, &opts);
	send_item(served, 0, 0);
	cr_assert_eq(ipc_receive(call, &msg), 0);
	cr_assert_eq(ipc_receive(call, &msg), IPC_DEADLINE_EXCEEDED);
	pair_stop(&pair);
}

Test(stream, a_lost_channel_ends_it_after_what_came, .timeout = 30)
{
	unsigned sent;

	start(&tiny);
	pair.server.on_event = answer_others;
	(void)open_served(IPC_LAST, NULL);
	sent = fill_up(served, 0);
	echo_beside(1);
	ipc_channel_free(pair.served);
	PUMP_UNTIL(&pair, at_client.n_ends == 1);
	cr_assert_eq(at_client.n_items, sent);
	cr_assert_eq(at_client.end_status, IPC_UNAVAILABLE);
	cr_assert_eq(at_client.end_fate, IPC_FATE_UNKNOWN);
	cr_assert_eq(ipc_fail(served, IPC_CANCELLED, NULL), 0);
	pair_stop(&pair);
}

Test(stream, ends_where_receive_says_end, .timeout = 30)
{
	struct ipc_msg msg;
	ipc_call *call;

	start(NULL);
	call = open_served(IPC_LAST, NULL);
	send_item(served, 0, 0);
	cr_assert_eq(ipc_commit(served, 0, IPC_LAST), 0);
	cr_assert_eq(ipc_receive(call, &msg), 0);
	cr_assert_eq(ipc_receive(call, &msg), IPC_END);
	cr_assert_eq(call_info(call).status, IPC_OK);
	cr_assert_eq(call_info(call).fate, IPC_FATE_EXECUTED);
	pair_stop(&pair);
}

/* ── batches ── */

static void batches(const struct pair_opts *opts, bool at_client_side)
{
	struct ipc_room rooms[64];
	size_t sizes[64];
	ipc_call *call;
	unsigned n = at_client_side;
	struct seen *seen = at_client_side ? &at_server : &at_client;

	start(opts);
	call = open_served(at_client_side ? 0 : IPC_LAST, NULL);
	if (!at_client_side)
		call = served;
	while (n < N_ITEMS) {
		unsigned want = 1 + n % 64, m;
		int r = ipc_reserve_batch(call, 8 + 299, want, 0, rooms);

		if (r == -EAGAIN) {
			pair_turn(&pair, now_ns() + PATIENCE_NS);
			continue;
		}
		cr_assert(r >= 1 && r <= (int)want, "%s", strerror(-r));
		/* Not all that was opened is used. */
		m = 1 + n % (unsigned)r;
		for (unsigned i = 0; i < m; i++) {
			cr_assert_eq((uintptr_t)rooms[i].data % 16, 0);
			sizes[i] = size_of(n + i);
			cr_assert_geq(rooms[i].size_bytes, sizes[i]);
			fill(rooms[i].data, sizes[i], n + i);
		}
		n += m;
		cr_assert_eq(ipc_commit_batch(call, sizes, m, n >= N_ITEMS ? IPC_LAST : 0), 0);
	}
	PUMP_UNTIL(&pair, seen->n_last == 1);
	cr_assert_eq(seen->n_items, n);
	if (at_client_side)
		send_item(served, 0, IPC_LAST);
	pair_settle(&pair);
	cr_assert_eq(channel_info(pair.channel).n_calls, 0);
	pair_stop(&pair);
}

Test(stream, batches_arrive_item_by_item, .timeout = 60)
{
	for (unsigned i = 0; i < 4; i++)
		batches(i & 1 ? &tiny : NULL, i & 2);
}

Test(stream, a_batch_is_as_strict_as_one_item, .timeout = 30)
{
	struct ipc_room rooms[32], room;
	size_t sizes[32] = {};
	ipc_call *call;

	start(&tiny);
	call = open_served(0, NULL);
	cr_assert_eq(ipc_reserve_batch(call, 8, 0, 0, rooms), -EINVAL);
	cr_assert_eq(ipc_reserve_batch(call, 8, IPC_BATCH_MAX + 1, 0, rooms), -EINVAL);
	cr_assert_eq(ipc_reserve_batch(call, 8, 1, IPC_MORE, rooms), -EINVAL);
	cr_assert_eq(ipc_reserve_batch(NULL, 8, 1, 0, rooms), -EINVAL);
	cr_assert_eq(ipc_reserve_batch(call, 1009, 1, 0, rooms), -EMSGSIZE);
	cr_assert_eq(ipc_reserve_batch(call, SIZE_MAX, 32, 0, rooms), -EMSGSIZE);
	/* A window of 1024 bytes holds 16 frames of a line. */
	cr_assert_eq(ipc_reserve_batch(call, 48, 32, 0, rooms), 16);
	cr_assert_eq(ipc_reserve_batch(call, 48, 32, 0, rooms), -EBUSY);
	cr_assert_eq(ipc_reserve(call, 48, 0, &room), -EBUSY);
	cr_assert_eq(ipc_commit_batch(call, sizes, 17, 0), -EINVAL);
	sizes[15] = 49;
	cr_assert_eq(ipc_commit_batch(call, sizes, 16, 0), -EINVAL);
	cr_assert_eq(ipc_commit_batch(served, sizes, 1, 0), -EINVAL);
	ipc_abort(call);
	cr_assert_eq(ipc_commit_batch(call, sizes, 1, 0), -EINVAL);
	cr_assert_eq(ipc_reserve_batch(call, 48, 4, 0, rooms), 4);
	ipc_cancel(call);
	PUMP_UNTIL(&pair, at_server.n_cancelled == 1);
	cr_assert_eq(ipc_fail(served, IPC_CANCELLED, NULL), 0);
	pair_settle(&pair);
	cr_assert_eq(channel_info(pair.channel).n_calls, 0);
	pair_stop(&pair);
}

Test(stream, credit_that_an_open_room_held_back_does_not_follow_the_end, .timeout = 30)
{
	struct ipc_event event;
	struct ipc_room room;
	ipc_call *call;

	start(&tiny);
	call = open_served(0, NULL);
	(void)fill_up(call, 1);
	cr_assert_eq(ipc_reserve(served, size_of(0), 0, &room), 0);
	fill(room.data, size_of(0), 0);
	while (ipc_loop_next(pair.server.loop, &event, 0) == 1)
		see(&at_server, &event);
	cr_assert_eq(ipc_commit(served, size_of(0), IPC_LAST), 0);
	PUMP_UNTIL(&pair, at_client.n_last == 1);
	pair_settle(&pair);
	cr_assert_eq(pair.client.n[IPC_EVENT_CHANNEL], 1);
	pair_stop(&pair);
}

/* ── what is kept for later has an end ── */

#define KEPT_MAX_BYTES (16u << 20)
#define BIG_BYTES 400000u
#define N_BIG 50u
#define HELD_BYTES 8u /* of a request that is answered later */

static ipc_call *held[N_BIG];
static unsigned n_held, n_kept, n_dropped;

static void hold_or_echo(struct pair *p, struct ipc_event *event)
{
	if (event->kind == IPC_EVENT_REQUEST && event->msg.size_bytes == HELD_BYTES)
		held[n_held++] = event->call;
	else
		answer_echo(p, event);
}

static void count_kept(struct pair *p, struct ipc_event *event)
{
	(void)p;
	if (event->kind == IPC_EVENT_MESSAGE) {
		cr_assert(event->msg.size_bytes == BIG_BYTES &&
			  filled(event->msg.data, BIG_BYTES, (uintptr_t)event->user));
		n_kept++;
	} else if (event->kind == IPC_EVENT_END) {
		cr_assert_eq(event->status, IPC_RESOURCE_EXHAUSTED);
		n_dropped++;
	}
}

Test(stream, replies_beyond_what_is_kept_for_later_end_their_calls, .timeout = 60)
{
	const struct pair_opts opts = {.server_ring_bytes = 1 << 20};
	struct ipc_call_opts call_opts = {.size = sizeof(call_opts)};

	start(&opts);
	pair.server.on_event = hold_or_echo;
	pair.client.on_event = count_kept;
	for (uintptr_t i = 0; i < N_BIG; i++) {
		call_opts.user = (void *)i;
		(void)send_call(pair.channel, HOLD, HELD_BYTES, i, &call_opts);
	}
	PUMP_UNTIL(&pair, n_held == N_BIG);
	for (unsigned i = 0; i < N_BIG; i++) {
		struct ipc_event event;
		struct ipc_msg msg;
		ipc_call *call;

		/* Who waits for the echo must take what lies before it. */
		reply_with(held[i], BIG_BYTES, i);
		call = send_call(pair.channel, ECHO, 100, i, NULL);
		while (ipc_loop_next(pair.server.loop, &event, 0) == 1)
			hold_or_echo(&pair, &event);
		cr_assert_eq(ipc_receive(call, &msg), 0);
		cr_assert(filled(msg.data, msg.size_bytes, i));
	}
	PUMP_UNTIL(&pair, n_kept + n_dropped == N_BIG);
	cr_expect_leq(n_kept * BIG_BYTES, KEPT_MAX_BYTES);
	cr_expect_gt((n_kept + 1) * (BIG_BYTES + 4096), KEPT_MAX_BYTES);
	pair_settle(&pair);
	cr_expect_eq(channel_info(pair.channel).n_calls, 0);
	pair_stop(&pair);
}
