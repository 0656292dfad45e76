// SPDX-License-Identifier: Apache-2.0
/* A channel that survives its server: each call in flight has one answer, and the handle goes on. */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "pair.h"

static struct pair pair;
static ipc_call *kept[64];
static unsigned n_kept;

static void keep_all(struct pair *p, struct ipc_event *event)
{
	(void)p;
	if (event->kind == IPC_EVENT_REQUEST)
		kept[n_kept++] = event->call;
}

static unsigned n_fates[3], n_came, n_went;
static int last_went;

static void note_ends(struct pair *p, struct ipc_event *event)
{
	if (event->kind == IPC_EVENT_END) {
		cr_assert_eq(event->status, IPC_UNAVAILABLE);
		n_fates[call_info(event->call).fate]++;
	}
	if (event->kind != IPC_EVENT_CHANNEL || event->channel != p->channel)
		return;
	cr_assert_eq(event->user, &p->client);
	if (event->status == 0) {
		n_came++;
		return;
	}
	n_went++;
	last_went = event->status;
}

static void start(unsigned n_calls, const struct pair_opts *opts)
{
	n_kept = n_came = n_went = 0;
	memset(n_fates, 0, sizeof(n_fates));
	pair_start(&pair, opts);
	pair.server.on_event = keep_all;
	pair.client.on_event = note_ends;
	for (unsigned i = 0; i < n_calls; i++)
		(void)send_call(pair.channel, HOLD, 40, i, NULL);
	PUMP_UNTIL(&pair, n_kept == n_calls);
}

/* The service once more, on the same loop. */
static void serve_again(uint32_t max_calls)
{
	struct ipc_serve_opts opts = {.size = sizeof(opts),
				      .max_calls = max_calls,
				      .user = &pair.server};

	cr_assert_eq(ipc_serve(pair.server.loop, &echo_served, &opts, &pair.service), 0);
}

static void free_kept(void)
{
	for (unsigned i = 0; i < n_kept; i++)
		cr_assert_eq(ipc_fail(kept[i], IPC_ABORTED, NULL), 0);
	n_kept = 0;
}

static void check_echo(unsigned n)
{
	unsigned before = pair.client.n[IPC_EVENT_MESSAGE];

	pair.server.on_event = answer_echo;
	for (unsigned i = 0; i < n; i++)
		(void)send_call(pair.channel, ECHO, i * 60, i, NULL);
	PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_MESSAGE] == before + n);
	pair.server.on_event = keep_all;
}

/* ── a server process that is killed ── */

#define N_CALLS 100u
#define N_ROUNDS 12u

/* What the servers did, in memory that outlives them. */
struct ledger {
	_Atomic unsigned n_taken; /* in this round */
	_Atomic unsigned runs[N_ROUNDS][N_CALLS];
};

/* Runs each request once, and says so first; answers two of three at once, the others never. */
static int run_ledger(const struct world *world, void *arg)
{
	struct ipc_loop_opts opts = {.size = sizeof(opts)};
	struct ledger *ledger = arg;
	struct ipc_event event;
	struct ipc_room room;
	ipc_server *server;
	ipc_loop *loop;
	uint32_t at[2];

	opts.broker = world_socket(world, "shop");
	if (ipc_loop_new(&loop, &opts) < 0 || ipc_serve(loop, &echo_served, NULL, &server) < 0)
		return 1;
	while (ipc_loop_next(loop, &event, (int64_t)PATIENCE_NS) == 1) {
		if (event.kind != IPC_EVENT_REQUEST)
			continue;
		memcpy(at, event.msg.data, sizeof(at));
		atomic_fetch_add(&ledger->runs[at[0]][at[1]], 1);
		atomic_fetch_add(&ledger->n_taken, 1);
		if (at[1] % 3 == 2)
			continue;
		if (ipc_reserve(event.call, 8, 0, &room) < 0 ||
		    ipc_commit(event.call, 8, IPC_LAST) < 0)
			return 2;
	}
	return 3;
}

struct tally {
	unsigned n_answers[N_CALLS], n_all;
	int fate[N_CALLS];
	unsigned n_went, n_came;
};

static void count(struct tally *tally, const struct ipc_event *event)
{
	uintptr_t i = (uintptr_t)event->user;

	if (event->kind == IPC_EVENT_CHANNEL) {
		cr_assert(event->status == 0 || event->status == -EPIPE);
		/* In turn: it goes, it comes. */
		cr_assert_eq(tally->n_went, tally->n_came + (event->status == 0));
		tally->n_went += event->status != 0;
		tally->n_came += event->status == 0;
		return;
	}
	cr_assert(event->kind == IPC_EVENT_MESSAGE || event->kind == IPC_EVENT_END);
	if (event->kind == IPC_EVENT_END)
		cr_assert_eq(event->status, IPC_UNAVAILABLE);
	cr_assert_lt(i, N_CALLS);
	tally->n_answers[i]++;
	tally->n_all++;
	tally->fate[i] = (int)call_info(event->call).fate;
}

static void next_event(ipc_loop *loop, struct tally *tally)
{
	struct ipc_event event;

	cr_assert_eq(ipc_loop_next(loop, &event, (int64_t)PATIENCE_NS), 1);
	count(tally, &event);
}

static void send_round(ipc_channel *channel, uint32_t round)
{
	struct ipc_call_opts opts = {.size = sizeof(opts), .flags = IPC_BLOCK};
	struct ipc_room room;
	ipc_call *call;

	for (uint32_t i = 0; i < N_CALLS; i++) {
		const uint32_t at[2] = {round, i};

		opts.user = (void *)(uintptr_t)i;
		cr_assert_eq(ipc_begin(channel, HOLD, 8, &opts, &call, &room), 0);
		memcpy(room.data, at, sizeof(at));
		cr_assert_eq(ipc_commit(call, 8, IPC_LAST), 0);
	}
}

static void check_round(const struct ledger *ledger, const struct tally *tally, unsigned round)
{
	for (unsigned i = 0; i < N_CALLS; i++) {
		unsigned n_runs = atomic_load(&ledger->runs[round][i]);

		cr_assert_eq(tally->n_answers[i], 1);
		cr_assert_leq(n_runs, 1);
		if (tally->fate[i] == IPC_FATE_EXECUTED)
			cr_assert_eq(n_runs, 1);
		if (tally->fate[i] == IPC_FATE_NOT_EXECUTED)
			cr_assert_eq(n_runs, 0);
	}
}

/* Killed at a moment that differs from round to round, with a hundred calls in flight. */
Test(reconnect, of_a_client_whose_server_is_killed_and_restarted_tells_the_fate_of_every_call,
     .timeout = 60)
{
	struct ipc_open_opts opts = {.size = sizeof(opts), .timeout_ns = PATIENCE_NS};
	struct ledger *ledger = mmap(NULL, sizeof(*ledger), PROT_READ | PROT_WRITE,
				     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct tally tally;
	struct world world;
	ipc_channel *channel;
	ipc_loop *loop;
	pid_t pid;

	cr_assert_neq(ledger, MAP_FAILED);
	world_start(&world);
	pid = spawn(run_ledger, &world, ledger);
	loop = world_loop(&world, "web", 0);
	cr_assert_eq(ipc_open(loop, &echo_called, &opts, &channel), 0, "%s", ipc_loop_error(loop));
	for (unsigned round = 0; round < N_ROUNDS; round++) {
		atomic_store(&ledger->n_taken, 0);
		tally = (struct tally){};
		send_round(channel, round);
		while (atomic_load(&ledger->n_taken) < round * 9)
			;
		while (tally.n_all < round * 5)
			next_event(loop, &tally);
		slay(pid);
		pid = spawn(run_ledger, &world, ledger);
		while (tally.n_all < N_CALLS || tally.n_came == 0)
			next_event(loop, &tally);
		check_round(ledger, &tally, round);
		cr_assert_eq(tally.n_went, 1);
		cr_assert_eq(channel_info(channel).state, IPC_CHANNEL_OPEN);
		cr_assert_eq(channel_info(channel).error, 0);
	}
	ipc_loop_free(loop);
	slay(pid);
	world_stop(&world);
	(void)munmap(ledger, sizeof(*ledger));
}

/* Nothing but calls: no event is looked for. */
Test(reconnect, works_for_a_client_that_only_makes_synchronous_calls, .timeout = 60)
{
	struct ipc_open_opts opts = {.size = sizeof(opts), .timeout_ns = PATIENCE_NS};
	struct ipc_call_opts call_opts = {.size = sizeof(call_opts),
					  .flags = IPC_BLOCK,
					  .timeout_ns = PATIENCE_NS};
	struct echo_server server = {};
	struct ipc_room room;
	struct ipc_msg msg;
	struct world world;
	ipc_channel *channel;
	ipc_loop *loop;
	ipc_call *call;
	pid_t pid;

	world_start(&world);
	loop = world_loop(&world, "web", 0);
	pid = spawn(serve_echo, &world, &server);
	cr_assert_eq(ipc_open(loop, &echo_called, &opts, &channel), 0);
	for (unsigned i = 0; i < 5; i++) {
		for (unsigned k = 0; k < 20; k++) {
			cr_assert_eq(ipc_begin(channel, ECHO, 50, &call_opts, &call, &room), 0);
			fill(room.data, 50, k);
			cr_assert_eq(ipc_transact(call, 50, &msg), 0);
			cr_assert(filled(msg.data, 50, k));
		}
		slay(pid);
		/* The first call may find it out, or the one that waits for its answer. */
		if (ipc_begin(channel, ECHO, 50, NULL, &call, &room) == 0) {
			cr_assert_eq(ipc_transact(call, 50, &msg), IPC_UNAVAILABLE);
			cr_assert_eq(call_info(call).fate, IPC_FATE_UNKNOWN);
		}
		cr_assert_eq(ipc_begin(channel, ECHO, 50, NULL, &call, &room), -ENOTCONN);
		call_opts.timeout_ns = 30 * MS_NS;
		cr_assert_eq(ipc_begin(channel, ECHO, 50, &call_opts, &call, &room), -ETIMEDOUT);
		call_opts.timeout_ns = PATIENCE_NS;
		pid = spawn(serve_echo, &world, &server);
	}
	ipc_loop_free(loop);
	slay(pid);
	world_stop(&world);
}

/* ── an orderly end ── */

/* What the server took and did not answer may have run; what lies behind did not. */
Test(reconnect, after_an_orderly_end_knows_what_was_not_taken, .timeout = 30)
{
	struct ipc_event event;

	for (unsigned n_taken = 0; n_taken <= 20; n_taken += 5) {
		start(0, NULL);
		for (unsigned i = 0; i < 20; i++)
			(void)send_call(pair.channel, HOLD, i % 3 ? 30 : 900, i, NULL);
		while (n_kept < n_taken) {
			cr_assert_eq(ipc_loop_next(pair.server.loop, &event, 0), 1);
			keep_all(&pair, &event);
		}
		ipc_server_free(pair.service);
		PUMP_UNTIL(&pair, n_went == 1);
		cr_assert_eq(n_fates[IPC_FATE_UNKNOWN], n_taken);
		cr_assert_eq(n_fates[IPC_FATE_NOT_EXECUTED], 20 - n_taken);
		free_kept();
		pair_stop(&pair);
	}
}

/* `consumed` stays behind a message that is kept in place; what was taken after it was taken. */
Test(reconnect, is_not_deceived_by_room_that_the_server_still_holds, .timeout = 30)
{
	struct ipc_msg msg;

	start(0, NULL);
	for (unsigned i = 0; i < 3; i++)
		(void)send_call(pair.channel, HOLD, i == 0 ? 6000 : 40, i, NULL);
	PUMP_UNTIL(&pair, n_kept == 1);
	msg = pair.server.last.msg;
	cr_assert_eq(ipc_keep(&msg), 0);
	PUMP_UNTIL(&pair, n_kept == 3);
	(void)send_call(pair.channel, HOLD, 40, 3, NULL);
	ipc_server_free(pair.service);
	PUMP_UNTIL(&pair, n_went == 1);
	cr_assert_eq(n_fates[IPC_FATE_UNKNOWN], 3);
	cr_assert_eq(n_fates[IPC_FATE_NOT_EXECUTED], 1);
	ipc_release(&msg);
	free_kept();
	pair_stop(&pair);
}

/* ── the handle ── */

Test(reconnect, says_that_the_channel_went_and_that_it_came, .timeout = 30)
{
	struct ipc_room room;
	ipc_call *call = NULL;
	uint64_t id;

	start(2, NULL);
	id = channel_info(pair.channel).id;
	for (unsigned i = 1; i <= 5; i++) {
		ipc_server_free(pair.service);
		PUMP_UNTIL(&pair, n_went == i);
		cr_assert_eq(last_went, -EPIPE);
		cr_assert_eq(channel_info(pair.channel).state, IPC_CHANNEL_OPENING);
		cr_assert_gt(strlen(channel_info(pair.channel).reason), 0);
		cr_assert_eq(ipc_begin(pair.channel, ECHO, 5, NULL, &call, &room), -ENOTCONN);
		pair_settle(&pair);
		cr_assert_eq(channel_info(pair.channel).state, IPC_CHANNEL_OPENING);
		cr_assert_eq(n_came, i - 1);
		serve_again(0);
		PUMP_UNTIL(&pair, n_came == i && pair.served);
		cr_assert_eq(channel_info(pair.channel).state, IPC_CHANNEL_OPEN);
		cr_assert_str_eq(channel_info(pair.channel).reason, "");
		cr_assert_gt(channel_info(pair.channel).id, id);
		id = channel_info(pair.channel).id;
		check_echo(20);
	}
	cr_assert_null(call);
	free_kept();
	pair_stop(&pair);
}

Test(reconnect, is_not_for_channels_that_are_opened_once, .timeout = 30)
{
	struct ipc_open_opts opts = {.size = sizeof(opts),
				     .flags = IPC_OPEN_ASYNC | IPC_OPEN_ONCE,
				     .user = &pair.client};
	struct ipc_room room;
	ipc_channel *once;
	ipc_call *call;

	start(0, NULL);
	cr_assert_eq(ipc_open(pair.client.loop, &echo_called, &opts, &once), 0);
	PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_CHANNEL] == 2);
	ipc_server_free(pair.service);
	PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_CHANNEL] == 4);
	serve_again(0);
	PUMP_UNTIL(&pair, n_came == 1);
	pair_settle(&pair);
	cr_assert_eq(channel_info(once).state, IPC_CHANNEL_CLOSED);
	cr_assert_eq(channel_info(once).error, -EPIPE);
	cr_assert_eq(ipc_begin(once, ECHO, 5, NULL, &call, &room), -EPIPE);
	cr_assert_eq(pair.client.n[IPC_EVENT_CHANNEL], 5);
	check_echo(5);
	pair_stop(&pair);
}

/* The half in which it lies is not another server's to read, so nothing is opened meanwhile. */
Test(reconnect, waits_for_a_room_that_the_program_has_open, .timeout = 30)
{
	struct ipc_room room;
	ipc_call *call;

	for (unsigned i = 0; i < 3; i++) {
		start(0, NULL);
		cr_assert_eq(ipc_begin(pair.channel, HOLD, 10000, NULL, &call, &room), 0);
		ipc_server_free(pair.service);
		PUMP_UNTIL(&pair, n_went == 1);
		serve_again(0);
		pair_settle(&pair);
		cr_assert_eq(n_came, 0);
		cr_assert_eq(channel_info(pair.channel).state, IPC_CHANNEL_OPENING);
		fill(room.data, 10000, 1);
		if (i)
			cr_assert_eq(ipc_commit(call, 10000, IPC_LAST), -EPIPE);
		if (i == 2)
			ipc_cancel(call);
		else
			ipc_abort(call);
		PUMP_UNTIL(&pair, n_came == 1);
		check_echo(5);
		cr_assert_eq(channel_info(pair.channel).n_calls, 1, "the last, until it is over");
		pair_stop(&pair);
	}
}

/* Their slots are the old channel's; the new one may have fewer. */
Test(reconnect, leaves_the_ends_of_old_calls_to_the_program, .timeout = 30)
{
	const struct pair_opts opts = {.client_max_calls = 16};
	struct ipc_event event;
	ipc_loop *loop;

	start(16, &opts);
	ipc_server_free(pair.service);
	free_kept();
	loop = pair.client.loop;
	/* One end is looked at, the others wait while the channel comes again. */
	cr_assert_eq(ipc_loop_next(loop, &event, (int64_t)PATIENCE_NS), 1);
	cr_assert_eq(event.kind, IPC_EVENT_END);
	serve_again(4);
	for (unsigned n = 0; n < 15; n++) {
		struct ipc_room room;
		ipc_call *call;

		if (n == 7) {
			/* Opened in the middle of it. */
			uint64_t limit_ns = now_ns() + PATIENCE_NS;

			while (channel_info(pair.channel).state != IPC_CHANNEL_OPEN) {
				cr_assert_lt(now_ns(), limit_ns);
				(void)ipc_loop_next(pair.server.loop, &event, 0);
				if (ipc_begin(pair.channel, HOLD, 8, NULL, &call, &room) == 0)
					ipc_abort(call);
			}
			cr_assert_eq(channel_info(pair.channel).max_calls, 4);
		}
		cr_assert_eq(ipc_loop_next(loop, &event, (int64_t)PATIENCE_NS), 1);
		cr_assert_eq(event.kind, IPC_EVENT_END);
		cr_assert_eq(event.status, IPC_UNAVAILABLE);
	}
	PUMP_UNTIL(&pair, n_went == 1 && n_came == 1);
	pair_settle(&pair);
	cr_assert_eq(channel_info(pair.channel).n_calls, 0);
	/* All four slots, and no more. */
	for (unsigned round = 0; round < 3; round++) {
		struct ipc_room room;
		ipc_call *call;

		for (unsigned i = 0; i < 4; i++)
			(void)send_call(pair.channel, HOLD, 8, i, NULL);
		cr_assert_eq(ipc_begin(pair.channel, HOLD, 8, NULL, &call, &room), -EAGAIN);
		PUMP_UNTIL(&pair, n_kept == 4);
		for (unsigned i = 0; i < 4; i++)
			reply_with(kept[i], 8, i);
		n_kept = 0;
		PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_MESSAGE] == 4 * (round + 1));
		pair_settle(&pair);
	}
	pair_stop(&pair);
}

/* A cancel or a deadline that was still to be told is the old channel's. */
Test(reconnect, forgets_what_was_to_be_said_to_the_old_server, .timeout = 30)
{
	struct ipc_call_opts opts = {.size = sizeof(opts), .timeout_ns = 200 * MS_NS};
	ipc_call *call;

	start(3, NULL);
	pair.client.on_event = NULL;
	(void)send_call(pair.channel, HOLD, 40, 1, &opts);
	PUMP_UNTIL(&pair, n_kept == 4);
	/* The program has its end, the server has its slot. */
	PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_END] == 1);
	call = send_call(pair.channel, HOLD, 40, 1, NULL);
	PUMP_UNTIL(&pair, n_kept == 5);
	ipc_cancel(call);
	ipc_server_free(pair.service);
	PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_CHANNEL] == 2);
	serve_again(0);
	PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_CHANNEL] == 3);
	pair.client.on_event = note_ends;
	check_echo(300);
	cr_assert_eq(n_went, 0);
	free_kept();
	pair_stop(&pair);
}

Test(reconnect, can_be_ended_at_any_step, .timeout = 30)
{
	for (unsigned step = 0; step < 4; step++) {
		start(3, NULL);
		ipc_server_free(pair.service);
		if (step > 0)
			PUMP_UNTIL(&pair, n_went == 1);
		/* The OPEN is out, and waits at the broker. */
		if (step > 1)
			pair_settle(&pair);
		if (step > 2)
			serve_again(0);
		ipc_channel_free(pair.channel);
		pair_settle(&pair);
		cr_assert_eq(n_came, 0);
		free_kept();
		pair_stop(&pair);
	}
}

/* ── patience ── */

static unsigned n_joined;

static void close_at_once(struct pair *p, struct ipc_event *event)
{
	(void)p;
	if (event->kind != IPC_EVENT_CHANNEL || event->status < 0)
		return;
	n_joined++;
	ipc_channel_free(event->channel);
}

/* 0, 10, 20, 40, 80, 160 ms: a slow machine makes it fewer, nothing makes it more. */
Test(reconnect, to_a_server_that_closes_at_once_is_tried_ever_more_rarely, .timeout = 30)
{
	uint64_t until_ns;

	start(0, NULL);
	pair.server.on_event = close_at_once;
	n_joined = 0;
	until_ns = now_ns() + 300 * MS_NS;
	ipc_channel_free(pair.served);
	while (now_ns() < until_ns)
		pair_turn(&pair, until_ns);
	cr_assert_leq(n_joined, 6);
	cr_assert_geq(n_joined, 1);
	/* It comes to its senses, and is found. */
	pair.server.on_event = keep_all;
	PUMP_UNTIL(&pair, channel_info(pair.channel).state == IPC_CHANNEL_OPEN && pair.served);
	check_echo(5);
	pair_stop(&pair);
}

/* ── the broker ── */

Test(reconnect, needs_a_broker_and_says_so, .timeout = 30)
{
	struct ipc_room room;
	ipc_call *call;

	/* Gone before the server. */
	start(1, NULL);
	world_kill_broker(&pair.world);
	/* Its sockets go some time after it. */
	while (!*ipc_loop_error(pair.client.loop))
		pair_settle(&pair);
	cr_assert_eq(channel_info(pair.channel).state, IPC_CHANNEL_OPEN);
	ipc_server_free(pair.service);
	PUMP_UNTIL(&pair, n_went == 1);
	cr_assert_eq(channel_info(pair.channel).state, IPC_CHANNEL_CLOSED);
	cr_assert(strstr(channel_info(pair.channel).reason, "the broker is gone"));
	cr_assert_eq(ipc_begin(pair.channel, ECHO, 5, NULL, &call, &room), -EPIPE);
	free_kept();
	pair_stop(&pair);
	/* Gone while the OPEN waits there. */
	start(1, NULL);
	ipc_server_free(pair.service);
	PUMP_UNTIL(&pair, n_went == 1);
	pair_settle(&pair);
	world_kill_broker(&pair.world);
	PUMP_UNTIL(&pair, n_went == 2);
	cr_assert_eq(last_went, -ENOTCONN);
	cr_assert_eq(channel_info(pair.channel).state, IPC_CHANNEL_CLOSED);
	cr_assert(strstr(channel_info(pair.channel).reason, "the broker is gone"));
	cr_assert_eq(ipc_begin(pair.channel, ECHO, 5, NULL, &call, &room), -ENOTCONN);
	free_kept();
	pair_stop(&pair);
}

/* ── draining ── */

Test(reconnect, leads_from_a_server_that_drains_to_another, .timeout = 30)
{
	ipc_loop *first;
	ipc_server *drained;

	start(2, NULL);
	first = pair.server.loop;
	drained = pair.service;
	pair.server.loop = world_loop(&pair.world, "shop", 0);
	serve_again(0);
	cr_assert_eq(ipc_server_drain(drained), 0);
	reply_with(kept[0], 10, 1);
	reply_with(kept[1], 10, 1);
	n_kept = 0;
	PUMP_UNTIL(&pair, n_went == 1 && n_came == 1 && pair.served);
	cr_assert_eq(pair.client.n[IPC_EVENT_MESSAGE], 2);
	ipc_loop_free(first);
	check_echo(20);
	cr_assert_eq(n_went, 1);
	pair_stop(&pair);
}
