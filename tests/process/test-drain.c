// SPDX-License-Identifier: Apache-2.0
/* A server that leaves: what runs ends well, what comes is refused, and it is told when it may go. */
#include <errno.h>
#include <string.h>

#include <criterion/criterion.h>

#include "pair.h"

static struct pair pair;
static ipc_call *kept[64];
static unsigned n_kept, n_refused;

static void keep_all(struct pair *p, struct ipc_event *event)
{
	if (event->kind == IPC_EVENT_REQUEST)
		kept[n_kept++] = event->call;
	if (event->kind != IPC_EVENT_DRAINED)
		return;
	cr_assert_eq(event->server, p->service);
	cr_assert_eq(event->user, &p->server);
}

static void count_refusals(struct pair *p, struct ipc_event *event)
{
	(void)p;
	if (event->kind != IPC_EVENT_END)
		return;
	cr_assert_eq(event->status, IPC_UNAVAILABLE);
	cr_assert_eq(call_info(event->call).fate, IPC_FATE_NOT_EXECUTED);
	n_refused++;
}

static void start(unsigned n_calls, const struct pair_opts *opts)
{
	n_kept = n_refused = 0;
	pair_start(&pair, opts);
	pair.server.on_event = keep_all;
	pair.client.on_event = count_refusals;
	for (unsigned i = 0; i < n_calls; i++)
		(void)send_call(pair.channel, HOLD, 40, i, NULL);
	PUMP_UNTIL(&pair, n_kept == n_calls);
}

static bool has_drained(void)
{
	return pair.server.n[IPC_EVENT_DRAINED] == 1;
}

Test(drain, of_an_idle_server_is_over_at_once_and_told_once, .timeout = 30)
{
	struct ipc_event event;

	start(0, NULL);
	cr_assert_eq(ipc_server_drain(pair.service), 0);
	cr_assert_eq(ipc_server_drain(pair.service), 0);
	cr_assert_eq(ipc_loop_next(pair.server.loop, &event, -1), 1);
	cr_assert_eq(event.kind, IPC_EVENT_DRAINED);
	cr_assert_eq(event.server, pair.service);
	pair_settle(&pair);
	cr_assert_eq(ipc_server_drain(pair.service), 0);
	pair_settle(&pair);
	cr_assert_eq(pair.server.n[IPC_EVENT_DRAINED], 0);
	ipc_server_free(pair.service);
	pair_stop(&pair);
}

/* A host that polls the loop's descriptor hears of it. */
Test(drain, makes_the_loop_s_descriptor_ready, .timeout = 30)
{
	start(0, NULL);
	cr_assert_eq(ipc_server_drain(pair.service), 0);
	PUMP_UNTIL(&pair, has_drained());
	pair_stop(&pair);
}

Test(drain, waits_for_the_last_call_that_runs_however_it_ends, .timeout = 30)
{
	start(5, NULL);
	pair.client.on_event = NULL;
	cr_assert_eq(ipc_server_drain(pair.service), 0);
	pair_settle(&pair);
	cr_assert_not(has_drained());
	reply_with(kept[2], 10, 1);
	cr_assert_eq(ipc_fail(kept[0], IPC_ABORTED, NULL), 0);
	reply_with(kept[4], 6000, 1);
	reply_with(kept[1], 0, 1);
	pair_settle(&pair);
	cr_assert_not(has_drained());
	reply_with(kept[3], 10, 1);
	PUMP_UNTIL(&pair, has_drained());
	PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_MESSAGE] == 4);
	cr_assert_eq(pair.client.n[IPC_EVENT_END], 1);
	pair_stop(&pair);
}

/* Sent before the client had heard of it. */
Test(drain, refuses_what_still_comes_and_no_handler_sees_it, .timeout = 30)
{
	struct ipc_room room;
	ipc_call *call = NULL;

	start(1, NULL);
	cr_assert_eq(ipc_server_drain(pair.service), 0);
	for (unsigned i = 0; i < 10; i++)
		(void)send_call(pair.channel, HOLD, i * 600, i, NULL);
	PUMP_UNTIL(&pair, n_refused == 10);
	cr_assert_eq(n_kept, 1);
	/* Now it has, and keeps its calls to itself. */
	cr_assert_eq(ipc_begin(pair.channel, HOLD, 10, NULL, &call, &room), -ENOTCONN);
	cr_assert_null(call);
	reply_with(kept[0], 10, 1);
	PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_MESSAGE] == 1 && has_drained());
	pair_stop(&pair);
}

/* The client closes the channel by itself, after its last call. */
Test(drain, empties_the_channels_of_its_clients, .timeout = 30)
{
	start(2, NULL);
	cr_assert_eq(ipc_server_drain(pair.service), 0);
	pair_settle(&pair);
	cr_assert_not_null(pair.served);
	reply_with(kept[0], 10, 1);
	pair_settle(&pair);
	cr_assert_not_null(pair.served);
	reply_with(kept[1], 10, 1);
	PUMP_UNTIL(&pair, has_drained() && !pair.served);
	cr_assert_eq(pair.client.n[IPC_EVENT_MESSAGE], 2);
	PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_CHANNEL] == 2);
	cr_assert_eq(pair.client.last.status, -EPIPE);
	cr_assert_str_eq(channel_info(pair.channel).reason, "the server drained");
	ipc_server_free(pair.service);
	pair_stop(&pair);
}

Test(drain, refuses_whoever_waits_for_a_place, .timeout = 30)
{
	start(0, &(struct pair_opts){.max_in_flight = 2, .max_waiting = 20});
	for (unsigned i = 0; i < 9; i++)
		(void)send_call(pair.channel, HOLD, 40, i, NULL);
	pair_settle(&pair);
	cr_assert_eq(n_kept, 2);
	/* One has its turn, and was not looked at. */
	reply_with(kept[0], 10, 1);
	cr_assert_eq(ipc_server_drain(pair.service), 0);
	PUMP_UNTIL(&pair, n_refused == 7);
	cr_assert_not(has_drained());
	reply_with(kept[1], 10, 1);
	PUMP_UNTIL(&pair, has_drained());
	cr_assert_eq(n_kept, 2);
	pair_stop(&pair);
}

Test(drain, counts_the_calls_of_clients_that_have_gone, .timeout = 30)
{
	start(2, NULL);
	ipc_channel_free(pair.channel);
	PUMP_UNTIL(&pair, pair.server.n[IPC_EVENT_CANCELLED] == 2 && !pair.served);
	cr_assert_eq(ipc_server_drain(pair.service), 0);
	pair_settle(&pair);
	cr_assert_not(has_drained());
	cr_assert_eq(ipc_fail(kept[0], IPC_CANCELLED, NULL), 0);
	cr_assert_eq(ipc_fail(kept[1], IPC_CANCELLED, NULL), 0);
	PUMP_UNTIL(&pair, has_drained());
	pair_stop(&pair);
}

Test(drain, tells_a_client_that_reads_late, .timeout = 30)
{
	struct ipc_event event;
	unsigned n_requests;

	start(0, &(struct pair_opts){.server_ring_bytes = 4096});
	for (unsigned i = 0; i < 5; i++)
		(void)send_call(pair.channel, HOLD, 8, i, NULL);
	/* The server alone: its ring fills up to the last line. */
	while (ipc_loop_next(pair.server.loop, &event, 0) == 1)
		if (event.kind == IPC_EVENT_REQUEST)
			kept[n_kept++] = event.call;
	n_requests = n_kept;
	for (unsigned i = 0; i < n_requests; i++) {
		struct ipc_room room;

		if (ipc_reserve(kept[i], i < 2 ? 1700 : 450, 0, &room) == 0)
			cr_assert_eq(ipc_commit(kept[i], i < 2 ? 1700 : 450, IPC_LAST), 0);
		else
			cr_assert_eq(ipc_fail(kept[i], IPC_ABORTED, "no room"), 0);
	}
	cr_assert_eq(ipc_server_drain(pair.service), 0);
	pair.client.on_event = NULL;
	PUMP_UNTIL(&pair, has_drained() && !pair.served);
	cr_assert_eq(pair.client.n[IPC_EVENT_MESSAGE] + pair.client.n[IPC_EVENT_END], 5);
	pair_stop(&pair);
}

/* With the room of an answer open, DRAIN goes out behind it. */
Test(drain, does_not_mind_an_open_room, .timeout = 30)
{
	struct ipc_room room;

	start(2, NULL);
	cr_assert_eq(ipc_reserve(kept[0], 100, 0, &room), 0);
	cr_assert_eq(ipc_server_drain(pair.service), 0);
	pair_settle(&pair);
	cr_assert_eq(ipc_commit(kept[0], 100, IPC_LAST), 0);
	reply_with(kept[1], 10, 1);
	PUMP_UNTIL(&pair, has_drained() && !pair.served);
	pair_stop(&pair);
}

static ipc_channel *opened(ipc_loop *loop, uint32_t flags, uint64_t timeout_ns, int expected)
{
	struct ipc_open_opts opts = {.size = sizeof(opts),
				     .flags = flags,
				     .timeout_ns = timeout_ns};
	ipc_channel *channel = NULL;

	cr_assert_eq(ipc_open(loop, &echo_called, &opts, &channel), expected);
	return channel;
}

Test(drain, sends_new_clients_to_another_instance, .timeout = 30)
{
	ipc_loop *loop, *other;
	ipc_channel *channel;
	ipc_server *server;

	start(1, NULL);
	/* The broker has offered it, the server has not looked. */
	channel = opened(pair.client.loop, IPC_OPEN_ASYNC, 0, 0);
	{
		ipc_loop *ordered = world_loop(&pair.world, "web", 0);

		(void)opened(ordered, 0, 1, -ETIMEDOUT);
		ipc_loop_free(ordered);
	}
	cr_assert_eq(ipc_server_drain(pair.service), 0);
	PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_CHANNEL] == 2);
	cr_assert_eq(pair.client.last.channel, channel);
	cr_assert_eq(pair.client.last.status, -ENOENT);
	ipc_channel_free(channel);
	/* Nobody serves it now. */
	(void)opened(pair.client.loop, 0, 20 * MS_NS, -ETIMEDOUT);
	other = world_loop(&pair.world, "shop", 0);
	cr_assert_eq(ipc_serve(other, &echo_served, NULL, &server), 0);
	channel = opened(pair.client.loop, IPC_OPEN_ASYNC, 0, 0);
	loop = pair.server.loop;
	pair.server.loop = other;
	PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_CHANNEL] == 3);
	cr_assert_eq(pair.client.last.status, 0);
	pair.server.loop = loop;
	reply_with(kept[0], 10, 1);
	PUMP_UNTIL(&pair, has_drained());
	ipc_loop_free(other);
	pair_stop(&pair);
}

Test(drain, leaves_the_loop_s_other_service_alone, .timeout = 30)
{
	struct ipc_open_opts open = {.size = sizeof(open), .flags = IPC_OPEN_ASYNC};
	ipc_server *other;
	ipc_channel *channel;

	start(1, NULL);
	cr_assert_eq(ipc_serve(pair.server.loop, &other_service, NULL, &other), 0);
	cr_assert_eq(ipc_open(pair.client.loop, &other_service, &open, &channel), 0);
	PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_CHANNEL] == 2);
	cr_assert_eq(ipc_server_drain(pair.service), 0);
	pair_settle(&pair);
	(void)send_call(channel, 0, 10, 1, NULL);
	PUMP_UNTIL(&pair, n_kept == 2);
	reply_with(kept[0], 10, 1);
	PUMP_UNTIL(&pair, has_drained());
	reply_with(kept[1], 10, 1);
	PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_MESSAGE] == 2);
	pair_stop(&pair);
}
