// SPDX-License-Identifier: Apache-2.0
/* A server that says how many calls it takes at once: who waits, in which order, and who is refused. */
#include <errno.h>
#include <string.h>

#include <criterion/criterion.h>

#include "pair.h"

#define N_CHANNELS 3u
#define MAX_CALLS 64u

static struct pair pair;
static ipc_channel *channels[N_CHANNELS];
static ipc_call *kept[256];
static uint64_t seen[256]; /* what each request carried, in the order of their coming */
static unsigned n_kept, n_cancelled, n_max, n_running;

/* Every request is kept until the test answers it. */
static void keep_all(struct pair *p, struct ipc_event *event)
{
	(void)p;
	n_cancelled += event->kind == IPC_EVENT_CANCELLED;
	if (event->kind != IPC_EVENT_REQUEST)
		return;
	cr_assert_eq(event->server, pair.service);
	cr_assert_eq(event->method, SERVED_HOLD);
	memcpy(&seen[n_kept], event->msg.data, sizeof(seen[0]));
	cr_assert_eq((uintptr_t)event->msg.data % 16, 0);
	kept[n_kept++] = event->call;
	n_running++;
	n_max = n_running > n_max ? n_running : n_max;
}

static void start(const struct pair_opts *opts)
{
	struct ipc_open_opts open = {.size = sizeof(open),
				     .flags = IPC_OPEN_ASYNC,
				     .ring_bytes = opts->client_ring_bytes,
				     .user = &pair.client};

	n_kept = n_cancelled = n_max = n_running = 0;
	pair_start(&pair, opts);
	pair.server.on_event = keep_all;
	channels[0] = pair.channel;
	for (unsigned i = 1; i < N_CHANNELS; i++) {
		cr_assert_eq(ipc_open(pair.client.loop, &echo_called, &open, &channels[i]), 0);
		PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_CHANNEL] == i + 1);
	}
}

/* A request of @size_bytes that begins with @number, which its event brings as `user`, too. */
static ipc_call *ask(unsigned channel, uint64_t number, size_t size_bytes, uint32_t flags,
		     uint64_t timeout_ns)
{
	struct ipc_call_opts opts = {.size = sizeof(opts),
				     .flags = flags,
				     .timeout_ns = timeout_ns,
				     .user = (void *)(uintptr_t)number};
	struct ipc_room room;
	ipc_call *call;

	cr_assert_eq(ipc_begin(channels[channel], HOLD, size_bytes, &opts, &call, &room), 0);
	fill(room.data, size_bytes, number);
	memcpy(room.data, &number, sizeof(number));
	cr_assert_eq(ipc_commit(call, size_bytes, IPC_LAST), 0);
	return call;
}

static void answer(unsigned i)
{
	n_running--;
	reply_with(kept[i], 10, 1);
}

static void expect_refusal(uint64_t number, int status)
{
	cr_assert_eq(pair.client.last.kind, IPC_EVENT_END);
	cr_assert_eq((uintptr_t)pair.client.last.user, number);
	cr_assert_eq(pair.client.last.status, status);
}

static unsigned n_refused;

static void count_refusals(struct pair *p, struct ipc_event *event)
{
	(void)p;
	if (event->kind != IPC_EVENT_END)
		return;
	cr_assert_eq(event->status, IPC_RESOURCE_EXHAUSTED);
	cr_assert_eq(call_info(event->call).fate, IPC_FATE_NOT_EXECUTED);
	cr_assert_gt(strlen(call_info(event->call).error), 0);
	n_refused++;
}

static void check_idle(void)
{
	pair_settle(&pair);
	for (unsigned i = 0; i < N_CHANNELS; i++)
		cr_assert_eq(channel_info(channels[i]).n_calls, 0);
}

Test(overload, requests_beyond_the_limit_are_served_in_the_order_of_their_coming_over_all_channels,
     .timeout = 30)
{
	const struct pair_opts opts = {.max_in_flight = 2, .max_waiting = 60};
	const unsigned n = 40;

	start(&opts);
	for (uint64_t i = 0; i < n; i++) {
		/* The server looks after each, so that there is one order. Some are large: held in
		 * place, were they not queued. */
		(void)ask((unsigned)(i * 7 % 5 % N_CHANNELS), i, i % 4 ? 16 : 5000, 0, 0);
		pair_settle(&pair);
	}
	cr_assert_eq(n_kept, 2);
	for (unsigned i = 0; i < n; i++) {
		PUMP_UNTIL(&pair, n_kept > i);
		answer(i);
		pair_settle(&pair);
	}
	for (unsigned i = 0; i < n; i++)
		cr_assert_eq(seen[i], i, "%u. came %lu", i, (unsigned long)seen[i]);
	cr_assert_eq(n_max, 2);
	PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_MESSAGE] == n);
	check_idle();
	pair_stop(&pair);
}

Test(overload, a_queued_request_arrives_whole_and_can_be_kept, .timeout = 30)
{
	const struct pair_opts opts = {.max_in_flight = 1};
	const size_t sizes[] = {8, 4096, 4097, 30000};
	struct ipc_msg msg;

	start(&opts);
	for (unsigned i = 0; i < 4; i++) {
		uint8_t expected[30000];
		unsigned before = n_kept;

		(void)ask(0, 1, 8, 0, 0);
		PUMP_UNTIL(&pair, n_kept == before + 1);
		(void)ask(1, 77, sizes[i], 0, 0);
		pair_settle(&pair);
		cr_assert_eq(n_kept, before + 1);
		answer(before);
		PUMP_UNTIL(&pair, n_kept == before + 2);
		msg = pair.server.last.msg;
		cr_assert_eq(ipc_keep(&msg), 0);
		answer(before + 1);
		pair_settle(&pair);
		fill(expected, sizes[i], 77);
		memcpy(expected, &seen[before + 1], 8);
		cr_assert_eq(msg.size_bytes, sizes[i]);
		cr_assert_eq(memcmp(msg.data, expected, sizes[i]), 0);
		cr_assert_eq(seen[before + 1], 77);
		ipc_release(&msg);
	}
	check_idle();
	pair_stop(&pair);
}

Test(overload, a_caller_that_does_not_wait_is_refused_at_once, .timeout = 30)
{
	const struct pair_opts opts = {.max_in_flight = 1};
	ipc_call *call;

	start(&opts);
	pair.client.on_event = count_refusals;
	n_refused = 0;
	(void)ask(0, 1, 16, IPC_NO_WAIT, 0);
	PUMP_UNTIL(&pair, n_kept == 1);
	call = ask(1, 2, 16, IPC_NO_WAIT, 0);
	PUMP_UNTIL(&pair, n_refused == 1);
	cr_assert_eq(pair.client.last.call, call);
	expect_refusal(2, IPC_RESOURCE_EXHAUSTED);
	/* Who waits is not overtaken by who does not. */
	(void)ask(2, 3, 16, 0, 0);
	pair_settle(&pair);
	(void)ask(1, 4, 16, IPC_NO_WAIT, 0);
	PUMP_UNTIL(&pair, n_refused == 2);
	answer(0);
	PUMP_UNTIL(&pair, n_kept == 2);
	cr_assert_eq(seen[1], 3);
	answer(1);
	pair_settle(&pair);
	(void)ask(1, 5, 16, IPC_NO_WAIT, 0);
	PUMP_UNTIL(&pair, n_kept == 3);
	answer(2);
	PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_MESSAGE] == 3);
	check_idle();
	pair_stop(&pair);
}

Test(overload, the_line_is_as_long_as_the_server_says_and_no_longer, .timeout = 30)
{
	const struct pair_opts limits[] = {{.max_in_flight = 3, .max_waiting = 5},
					   {.max_in_flight = 4}};
	const unsigned expected[] = {8, 8};

	for (unsigned k = 0; k < 2; k++) {
		start(&limits[k]);
		pair.client.on_event = count_refusals;
		n_refused = 0;
		for (unsigned i = 0; i < 30; i++)
			(void)ask(i % N_CHANNELS, i, 16, 0, 0);
		PUMP_UNTIL(&pair, n_refused == 30 - expected[k]);
		pair_settle(&pair);
		cr_assert_eq(n_refused, 30 - expected[k]);
		for (unsigned i = 0; i < expected[k]; i++) {
			PUMP_UNTIL(&pair, n_kept > i);
			answer(i);
		}
		PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_MESSAGE] == expected[k]);
		cr_assert_eq(n_max, limits[k].max_in_flight);
		check_idle();
		pair_stop(&pair);
	}
}

/* One client's copies are never more than its own ring: there is a limit even where the line is long. */
Test(overload, the_bytes_that_wait_are_bounded_by_the_client_s_own_ring, .timeout = 30)
{
	const struct pair_opts opts = {.max_in_flight = 1,
				       .max_waiting = 1000,
				       .client_ring_bytes = 16384};
	unsigned n_waiting;

	start(&opts);
	pair.client.on_event = count_refusals;
	n_refused = 0;
	(void)ask(0, 0, 16, 0, 0);
	PUMP_UNTIL(&pair, n_kept == 1);
	for (unsigned i = 1; i <= 20; i++) {
		(void)ask(0, i, 3000, 0, 0);
		pair_settle(&pair);
	}
	n_waiting = 20 - n_refused;
	cr_assert_eq(n_waiting, 16384 / 3000);
	/* Another client has its own. */
	(void)ask(1, 99, 3000, 0, 0);
	pair_settle(&pair);
	cr_assert_eq(n_refused, 20 - n_waiting);
	for (unsigned i = 0; i < n_waiting + 2; i++) {
		PUMP_UNTIL(&pair, n_kept > i);
		answer(i);
	}
	cr_assert_eq(seen[n_waiting + 1], 99);
	/* What it had is its again. */
	(void)ask(0, 1, 16, 0, 0);
	(void)ask(0, 1, 3000, 0, 0);
	pair_settle(&pair);
	cr_assert_eq(n_refused, 20 - n_waiting);
	answer(n_waiting + 2);
	PUMP_UNTIL(&pair, n_kept == n_waiting + 4);
	answer(n_waiting + 3);
	check_idle();
	pair_stop(&pair);
}

Test(overload, a_call_that_is_cancelled_while_it_waits_never_reaches_the_handler, .timeout = 30)
{
	const struct pair_opts opts = {.max_in_flight = 1, .max_waiting = 10};
	ipc_call *calls[6];

	start(&opts);
	for (unsigned i = 0; i < 6; i++) {
		calls[i] = ask(i % N_CHANNELS, i, i % 2 ? 16 : 6000, 0, 0);
		pair_settle(&pair);
	}
	cr_assert_eq(n_kept, 1);
	ipc_cancel(calls[1]);
	ipc_cancel(calls[4]);
	pair_settle(&pair);
	/* The slots are free at once: nobody has the calls any more. */
	cr_assert_eq(channel_info(channels[1]).n_calls, 0);
	answer(0);
	for (unsigned i = 1; i < 4; i++) {
		PUMP_UNTIL(&pair, n_kept == i + 1);
		answer(i);
	}
	PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_MESSAGE] == 4);
	cr_assert(seen[1] == 2 && seen[2] == 3 && seen[3] == 5);
	cr_assert_eq(n_cancelled, 0);
	check_idle();
	pair_stop(&pair);
}

Test(overload, a_deadline_runs_while_the_call_waits, .timeout = 30)
{
	const struct pair_opts opts = {.max_in_flight = 1, .max_waiting = 10};
	struct ipc_call_info info;

	start(&opts);
	(void)ask(0, 0, 16, 0, 0);
	pair_settle(&pair);
	(void)ask(1, 1, 16, 0, 20 * MS_NS);
	(void)ask(2, 2, 16, 0, PATIENCE_NS);
	pair_settle(&pair);
	cr_assert_eq(n_kept, 1);
	PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_END] == 1);
	expect_refusal(1, IPC_DEADLINE_EXCEEDED);
	pair_settle(&pair);
	answer(0);
	PUMP_UNTIL(&pair, n_kept == 2);
	cr_assert_eq(seen[1], 2);
	info = call_info(kept[1]);
	/* A little less than the other's 20 ms: it was sent later. */
	cr_assert_leq(info.remaining_ns, PATIENCE_NS - 10 * MS_NS, "waiting took no time");
	answer(1);
	check_idle();
	cr_assert_eq(n_cancelled, 0);
	pair_stop(&pair);
}

/* Nobody looks at the server's timers meanwhile: its turn comes too late all the same. */
Test(overload, a_call_whose_time_is_up_when_its_turn_comes_is_not_handed_out, .timeout = 30)
{
	const struct pair_opts opts = {.max_in_flight = 1, .max_waiting = 10};
	uint64_t until_ns;
	struct ipc_event event;

	start(&opts);
	(void)ask(0, 0, 16, 0, 0);
	(void)ask(1, 1, 16, 0, 20 * MS_NS);
	pair_settle(&pair);
	until_ns = now_ns() + 21 * MS_NS;
	while (now_ns() < until_ns)
		(void)ipc_loop_next(pair.client.loop, &event, MS_NS);
	answer(0);
	pair_settle(&pair);
	cr_assert_eq(n_kept, 1);
	check_idle();
	pair_stop(&pair);
}

Test(overload, a_client_that_leaves_leaves_the_line, .timeout = 30)
{
	const struct pair_opts opts = {.max_in_flight = 2, .max_waiting = 10};

	start(&opts);
	for (unsigned i = 0; i < 9; i++) {
		(void)ask(i % N_CHANNELS, i, i == 4 ? 9000 : 16, 0, 0);
		pair_settle(&pair);
	}
	/* Of its three calls one runs, two wait. */
	ipc_channel_free(channels[1]);
	pair_settle(&pair);
	cr_assert_eq(n_cancelled, 1);
	cr_assert_eq(ipc_fail(kept[1], IPC_CANCELLED, NULL), 0);
	n_running--;
	answer(0);
	for (unsigned i = 2; i < 7; i++) {
		PUMP_UNTIL(&pair, n_kept > i);
		answer(i);
	}
	pair_settle(&pair);
	cr_assert_eq(n_kept, 7);
	for (unsigned i = 2; i < 7; i++)
		cr_assert_neq(seen[i] % N_CHANNELS, 1);
	cr_assert_eq(n_max, 2);
	pair_stop(&pair);
}

Test(overload, whoever_waits_when_the_service_is_withdrawn_was_not_executed, .timeout = 30)
{
	const struct pair_opts opts = {.max_in_flight = 1, .max_waiting = 10};

	start(&opts);
	for (unsigned i = 0; i < 7; i++) {
		(void)ask(i % N_CHANNELS, i, 16, 0, 0);
		pair_settle(&pair);
	}
	/* One more has its turn already, but was not looked at. */
	answer(0);
	ipc_server_free(pair.service);
	for (unsigned i = 1; i < 7; i++) {
		PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_END] == i);
		cr_assert_eq(pair.client.last.status, IPC_UNAVAILABLE);
		cr_assert_eq(call_info(pair.client.last.call).fate, IPC_FATE_NOT_EXECUTED);
	}
	cr_assert_eq(n_kept, 1);
	pair_stop(&pair);
}

static void answer_at_once(struct pair *p, struct ipc_event *event)
{
	struct ipc_room room;

	(void)p;
	if (event->kind != IPC_EVENT_REQUEST)
		return;
	n_kept++;
	/* Never -EAGAIN: that is what it waited for. */
	cr_assert_eq(ipc_reserve(event->call, 1700, 0, &room), 0);
	fill(room.data, 1700, 1);
	cr_assert_eq(ipc_commit(event->call, 1700, IPC_LAST), 0);
}

/* A client that takes no answers comes to a stop; others pass it in the line. */
Test(overload, who_does_not_read_its_answers_holds_up_nobody_else, .timeout = 30)
{
	const struct pair_opts opts = {.max_in_flight = 1,
				       .max_waiting = 50,
				       .server_ring_bytes = 4096};
	struct ipc_open_opts open = {.size = sizeof(open), .user = &pair.client};
	struct pair reader;
	ipc_channel *channel;
	struct ipc_event event;
	ipc_loop *loop;
	unsigned n = 0;

	start(&opts);
	(void)ask(0, 0, 16, 0, 0);
	PUMP_UNTIL(&pair, n_kept == 1);
	for (unsigned i = 1; i < 10; i++)
		(void)ask(0, i, 16, 0, 0);
	pair_settle(&pair);
	/* From here on the client's loop stands still: another client of the same workload calls. */
	reader = pair;
	loop = pair.client.loop;
	pair.client.loop = world_loop(&pair.world, "web", 0);
	open.flags = IPC_OPEN_ASYNC;
	cr_assert_eq(ipc_open(pair.client.loop, &echo_called, &open, &channel), 0);
	PUMP_UNTIL(&pair,
		   pair.client.n[IPC_EVENT_CHANNEL] == reader.client.n[IPC_EVENT_CHANNEL] + 1);
	pair.server.on_event = answer_at_once;
	channels[1] = channel;
	for (unsigned i = 10; i < 20; i++)
		(void)ask(1, i, 16, 0, 0);
	pair_settle(&pair);
	answer(0);
	PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_MESSAGE] == 10);
	/* It reads again, and has all that is its. */
	while (n < 10) {
		pair_turn(&pair, now_ns() + MS_NS);
		n += ipc_loop_next(loop, &event, 0) == 1 && event.kind == IPC_EVENT_MESSAGE;
	}
	cr_assert_eq(n_kept, 20);
	ipc_loop_free(loop);
	pair_stop(&pair);
}

Test(overload, a_server_that_says_more_waiting_than_it_has_places_for_is_refused, .timeout = 30)
{
	struct ipc_serve_opts opts = {.size = sizeof(opts), .max_waiting = 5};
	ipc_server *server = NULL;

	pair_start(&pair, NULL);
	cr_assert_eq(ipc_serve(pair.server.loop, &other_service, &opts, &server), -EINVAL);
	cr_assert_null(server);
	pair_stop(&pair);
}
