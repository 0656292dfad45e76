// SPDX-License-Identifier: Apache-2.0
/* A peer that is killed, at every step of an open, a call and a reply. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "pair.h"

/* The victim goes on until it is at its step, says so, and waits for its end. */
struct victim {
	int step;
	int fds[2];
};

static void stop_here(const struct victim *victim, int step)
{
	char byte = 'x';

	if (victim->step != step)
		return;
	(void)!write(victim->fds[1], &byte, 1);
	for (;;)
		(void)pause();
}

static pid_t start_victim(struct victim *victim, int step, int (*run)(const struct world *, void *),
			  const struct world *world)
{
	victim->step = step;
	cr_assert_eq(pipe(victim->fds), 0);
	return spawn(run, world, victim);
}

static void await_step(struct victim *victim)
{
	char byte;

	(void)close(victim->fds[1]);
	cr_assert_eq(read(victim->fds[0], &byte, 1), 1, "the victim ended before its step %d",
		     victim->step);
	(void)close(victim->fds[0]);
}

#define N_CALLS 20u

/* ── a server dies ── */

enum {
	SERVED,	   /* offered its service, answers no open */
	JOINED,	   /* has the channel */
	REQUESTED, /* has a request, the others wait in the ring */
	RESERVED,  /* has an open room */
	COMMITTED, /* has answered one */
	DEFERRED,  /* has taken all */
};

static int dying_server(const struct world *world, void *arg)
{
	struct ipc_loop_opts opts = {.size = sizeof(opts)};
	const struct victim *victim = arg;
	struct ipc_event event;
	struct ipc_room room;
	ipc_server *server;
	unsigned n = 0;
	ipc_loop *loop;

	opts.broker = world_socket(world, "shop");
	if (ipc_loop_new(&loop, &opts) < 0 || ipc_serve(loop, &echo_served, NULL, &server) < 0)
		return 1;
	stop_here(victim, SERVED);
	while (ipc_loop_next(loop, &event, (int64_t)PATIENCE_NS) == 1) {
		if (event.kind == IPC_EVENT_CHANNEL)
			stop_here(victim, JOINED);
		if (event.kind != IPC_EVENT_REQUEST)
			continue;
		stop_here(victim, REQUESTED);
		if (++n == N_CALLS)
			stop_here(victim, DEFERRED);
		if (victim->step == DEFERRED)
			continue;
		if (ipc_reserve(event.call, 10, 0, &room) < 0)
			return 2;
		fill(room.data, 10, 1);
		stop_here(victim, RESERVED);
		if (ipc_commit(event.call, 10, IPC_LAST) < 0)
			return 3;
		stop_here(victim, COMMITTED);
	}
	return 4;
}

struct toll {
	unsigned n_ended[N_CALLS], n_replies, n_ends, n_losses;
};

static void take_toll(ipc_loop *loop, struct toll *toll)
{
	struct ipc_event event;

	while (toll->n_losses == 0 || toll->n_replies + toll->n_ends < N_CALLS) {
		cr_assert_eq(ipc_loop_next(loop, &event, (int64_t)PATIENCE_NS), 1);
		if (event.kind == IPC_EVENT_CHANNEL) {
			cr_assert_eq(event.status, -EPIPE);
			toll->n_losses++;
			continue;
		}
		toll->n_ended[(uintptr_t)event.user]++;
		if (event.kind == IPC_EVENT_MESSAGE) {
			toll->n_replies++;
			continue;
		}
		cr_assert_eq(event.kind, IPC_EVENT_END);
		cr_assert_eq(event.status, IPC_UNAVAILABLE);
		cr_assert_eq(call_info(event.call).fate, IPC_FATE_UNKNOWN);
		cr_assert_gt(strlen(call_info(event.call).error), 0);
		toll->n_ends++;
	}
	cr_assert_eq(ipc_loop_next(loop, &event, 20 * (int64_t)MS_NS), 0, "event %u too many",
		     event.kind);
	for (unsigned i = 0; i < N_CALLS; i++)
		cr_assert_eq(toll->n_ended[i], 1);
}

static void kill_server(int step, unsigned n_replies)
{
	struct ipc_call_opts call_opts = {.size = sizeof(call_opts)};
	struct ipc_open_opts opts = {.size = sizeof(opts),
				     .flags = IPC_OPEN_ONCE,
				     .timeout_ns = PATIENCE_NS};
	struct toll toll = {};
	struct victim victim;
	struct world world;
	ipc_channel *channel;
	ipc_loop *loop;
	pid_t pid;

	world_start(&world);
	pid = start_victim(&victim, step, dying_server, &world);
	loop = world_loop(&world, "web", 0);
	cr_assert_eq(ipc_open(loop, &echo_called, &opts, &channel), 0, "%s", ipc_loop_error(loop));
	for (uintptr_t i = 0; i < N_CALLS; i++) {
		call_opts.user = (void *)i;
		(void)send_call(channel, HOLD, 100, i, &call_opts);
	}
	await_step(&victim);
	slay(pid);
	take_toll(loop, &toll);
	cr_assert_eq(toll.n_losses, 1);
	cr_assert_eq(toll.n_replies, n_replies);
	cr_assert_eq(channel_info(channel).state, IPC_CHANNEL_CLOSED);
	cr_assert_eq(channel_info(channel).n_calls, 0);
	ipc_loop_free(loop);
	world_stop(&world);
}

Test(death, of_a_server_that_has_just_joined, .timeout = 30)
{
	kill_server(JOINED, 0);
}

Test(death, of_a_server_that_has_a_request, .timeout = 30)
{
	kill_server(REQUESTED, 0);
}

Test(death, of_a_server_that_has_an_open_room, .timeout = 30)
{
	kill_server(RESERVED, 0);
}

Test(death, of_a_server_that_has_answered_once, .timeout = 30)
{
	kill_server(COMMITTED, 1);
}

Test(death, of_a_server_that_keeps_all_calls, .timeout = 30)
{
	kill_server(DEFERRED, 0);
}

/* It dies with the open before it: the open goes to whoever serves next. */
Test(death, of_a_server_that_was_to_answer_an_open, .timeout = 30)
{
	struct ipc_open_opts opts = {.size = sizeof(opts),
				     .flags = IPC_OPEN_ASYNC,
				     .timeout_ns = 500 * MS_NS};
	struct ipc_event event;
	struct victim victim;
	struct world world;
	ipc_channel *channel;
	ipc_loop *loop;
	pid_t pid;

	world_start(&world);
	pid = start_victim(&victim, SERVED, dying_server, &world);
	await_step(&victim);
	loop = world_loop(&world, "web", 0);
	cr_assert_eq(ipc_open(loop, &echo_called, &opts, &channel), 0);
	cr_assert_eq(ipc_loop_next(loop, &event, 20 * (int64_t)MS_NS), 0);
	slay(pid);
	cr_assert_eq(ipc_loop_next(loop, &event, (int64_t)PATIENCE_NS), 1);
	cr_assert_eq(event.kind, IPC_EVENT_CHANNEL);
	cr_assert_lt(event.status, 0);
	cr_assert_gt(strlen(channel_info(channel).reason), 0);
	ipc_channel_free(channel);
	ipc_loop_free(loop);
	world_stop(&world);
}

/* ── while somebody waits ── */

struct killer {
	pid_t pid;
	struct victim *victim;
};

static int kill_at_step(const struct world *world, void *arg)
{
	struct killer *killer = arg;
	char byte;

	(void)world;
	if (read(killer->victim->fds[0], &byte, 1) != 1)
		return 1;
	/* Time for the client to fall asleep; it may be killed earlier as well. */
	(void)usleep(20000);
	return kill(killer->pid, SIGKILL) < 0;
}

static void kill_while_waiting(uint32_t wait, uint32_t flags)
{
	struct ipc_open_opts opts = {.size = sizeof(opts),
				     .timeout_ns = PATIENCE_NS,
				     .ring_bytes = 4096};
	struct ipc_call_opts call_opts = {.size = sizeof(call_opts), .flags = flags};
	struct victim victim;
	struct killer killer = {.victim = &victim};
	struct ipc_event event;
	struct ipc_room room;
	struct ipc_msg msg = {};
	struct world world;
	ipc_channel *channel;
	ipc_loop *loop;
	ipc_call *call;
	pid_t helper;
	int r;

	world_start(&world);
	killer.pid = start_victim(&victim, REQUESTED, dying_server, &world);
	loop = world_loop(&world, "web", wait);
	cr_assert_eq(ipc_open(loop, &echo_called, &opts, &channel), 0);
	helper = spawn(kill_at_step, &world, &killer);
	/* Blocked for room: until the ring is full, and then for ever. Else: one call, and its
	 * reply never comes. */
	do {
		r = ipc_begin(channel, HOLD, 500, &call_opts, &call, &room);
		if (r == 0 && flags)
			cr_assert_eq(ipc_commit(call, 500, IPC_LAST), 0);
	} while (r == 0 && flags);
	if (flags)
		cr_assert_eq(r, -EPIPE);
	else
		cr_assert_eq(ipc_transact(call, 100, &msg), IPC_UNAVAILABLE);
	cr_assert_null(msg.data);
	do
		cr_assert_eq(ipc_loop_next(loop, &event, (int64_t)PATIENCE_NS), 1);
	while (event.kind == IPC_EVENT_END);
	cr_assert_eq(event.kind, IPC_EVENT_CHANNEL);
	cr_assert_eq(ipc_loop_next(loop, &event, 0), 0);
	ipc_loop_free(loop);
	cr_assert_eq(reap(helper), 0);
	slay(killer.pid);
	world_stop(&world);
}

Test(death, ends_transact_of_who_sleeps, .timeout = 30)
{
	kill_while_waiting(IPC_WAIT_FUTEX, 0);
}

Test(death, ends_transact_of_who_spins, .timeout = 30)
{
	kill_while_waiting(IPC_WAIT_SPIN, 0);
}

Test(death, ends_a_wait_for_room, .timeout = 30)
{
	kill_while_waiting(IPC_WAIT_AUTO, IPC_BLOCK);
}

/* ── a client dies ── */

enum {
	CONNECTED, /* to the broker */
	OPENING,   /* has asked, and has not looked at the answer */
	OPENED,
	BEGUN,
	SENT_ONE,
	SENT_ALL,
	WAITING,  /* in transact: says so before */
	RECEIVED, /* the first reply is there, and kept */
};

static int dying_client(const struct world *world, void *arg)
{
	struct ipc_loop_opts loop_opts = {.size = sizeof(loop_opts)};
	struct ipc_open_opts opts = {.size = sizeof(opts), .timeout_ns = PATIENCE_NS};
	struct victim *victim = arg;
	struct ipc_room room;
	struct ipc_msg msg;
	ipc_channel *channel;
	ipc_call *call;
	ipc_loop *loop;

	loop_opts.broker = world_socket(world, "web");
	if (ipc_loop_new(&loop, &loop_opts) < 0)
		return 1;
	stop_here(victim, CONNECTED);
	if (victim->step == OPENING)
		opts.flags = IPC_OPEN_ASYNC;
	if (ipc_open(loop, &echo_called, &opts, &channel) < 0)
		return 2;
	stop_here(victim, OPENING);
	stop_here(victim, OPENED);
	for (unsigned i = 0; i < N_CALLS; i++) {
		if (ipc_begin(channel, HOLD, 100, NULL, &call, &room) < 0)
			return 3;
		stop_here(victim, BEGUN);
		if (victim->step == WAITING && i == N_CALLS - 1) {
			(void)!write(victim->fds[1], "x", 1);
			(void)ipc_transact(call, 100, &msg);
			return 4;
		}
		if (ipc_commit(call, 100, IPC_LAST) < 0)
			return 5;
		stop_here(victim, SENT_ONE);
		if (victim->step != RECEIVED)
			continue;
		if (ipc_receive(call, &msg) != 0 || ipc_keep(&msg) < 0)
			return 6;
		stop_here(victim, RECEIVED);
	}
	stop_here(victim, SENT_ALL);
	return 7;
}

static ipc_call *kept[N_CALLS];
static unsigned n_kept, n_cancelled[N_CALLS], n_others;
static bool answers_first;

/* Echo is the honest client's. Hold is the victim's, and kept. */
static void serve_both(struct pair *p, struct ipc_event *event)
{
	if (event->kind == IPC_EVENT_REQUEST && event->method == SERVED_ECHO) {
		n_others++;
		answer_echo(p, event);
	} else if (event->kind == IPC_EVENT_REQUEST && answers_first) {
		reply_with(event->call, 6000, 1);
	} else if (event->kind == IPC_EVENT_REQUEST) {
		kept[n_kept++] = event->call;
	} else if (event->kind == IPC_EVENT_CANCELLED) {
		for (unsigned i = 0; i < n_kept; i++)
			n_cancelled[i] += kept[i] == event->call;
	}
}

static void check_others(struct pair *p, unsigned n)
{
	unsigned before = p->client.n[IPC_EVENT_MESSAGE];

	for (unsigned i = 0; i < n; i++) {
		(void)send_call(p->channel, ECHO, i * 20, i, NULL);
		PUMP_UNTIL(p, p->client.n[IPC_EVENT_MESSAGE] == before + i + 1);
		cr_assert(filled(p->client.last.msg.data, i * 20, i));
	}
}

static void kill_client(int step, unsigned n_requests)
{
	static struct pair pair;
	struct victim victim;
	pid_t pid;

	n_kept = n_others = 0;
	memset(n_cancelled, 0, sizeof(n_cancelled));
	answers_first = step == RECEIVED;
	pair_start(&pair, NULL);
	pair.server.on_event = serve_both;
	pid = start_victim(&victim, step, dying_client, &pair.world);
	if (step >= OPENED)
		PUMP_UNTIL(&pair, pair.server.n[IPC_EVENT_CHANNEL] == 2);
	PUMP_UNTIL(&pair, n_kept == n_requests);
	if (step == RECEIVED)
		PUMP_UNTIL(&pair, pair.server.n[IPC_EVENT_REQUEST] == 1);
	await_step(&victim);
	check_others(&pair, 5);
	slay(pid);
	check_others(&pair, 5);
	if (step >= OPENED)
		PUMP_UNTIL(&pair, pair.server.n[IPC_EVENT_CHANNEL] == 3);
	pair_settle(&pair);
	cr_assert_eq(pair.server.n[IPC_EVENT_CANCELLED], n_requests);
	for (unsigned i = 0; i < n_requests; i++) {
		struct ipc_room room;

		cr_assert_eq(n_cancelled[i], 1);
		cr_assert_eq(call_info(kept[i]).cancelled, 1);
		cr_assert_eq(ipc_reserve(kept[i], 10, 0, &room), -EPIPE);
		cr_assert_eq(ipc_fail(kept[i], IPC_CANCELLED, NULL), 0);
	}
	check_others(&pair, 20);
	cr_assert_leq(pair.server.n[IPC_EVENT_CHANNEL], 3);
	pair_stop(&pair);
}

Test(death, of_a_client_that_has_only_connected, .timeout = 30)
{
	kill_client(CONNECTED, 0);
}

Test(death, of_a_client_that_opens, .timeout = 30)
{
	kill_client(OPENING, 0);
}

Test(death, of_a_client_that_has_opened, .timeout = 30)
{
	kill_client(OPENED, 0);
}

Test(death, of_a_client_that_has_an_open_room, .timeout = 30)
{
	kill_client(BEGUN, 0);
}

Test(death, of_a_client_that_has_sent_one_request, .timeout = 30)
{
	kill_client(SENT_ONE, 1);
}

Test(death, of_a_client_that_has_sent_many_requests, .timeout = 30)
{
	kill_client(SENT_ALL, N_CALLS);
}

Test(death, of_a_client_that_waits_for_its_reply, .timeout = 30)
{
	kill_client(WAITING, N_CALLS);
}

Test(death, of_a_client_that_keeps_a_reply, .timeout = 30)
{
	kill_client(RECEIVED, 0);
}

/* The client is dead, its ring full of requests, and the server waits for room that will never
 * come. */
Test(death, of_a_client_ends_its_server_s_wait_for_room, .timeout = 30)
{
	static struct pair pair;
	struct victim victim;
	struct ipc_room room;
	unsigned n = 0;
	pid_t pid;
	int r;

	n_kept = 0;
	answers_first = false;
	pair_start(&pair, &(struct pair_opts){.server_ring_bytes = 4096});
	pair.server.on_event = serve_both;
	pid = start_victim(&victim, SENT_ALL, dying_client, &pair.world);
	PUMP_UNTIL(&pair, n_kept == 4);
	await_step(&victim);
	slay(pid);
	do {
		r = ipc_reserve(kept[n], 1500, IPC_BLOCK, &room);
		if (r == 0)
			cr_assert_eq(ipc_commit(kept[n++], 1500, IPC_LAST), 0);
	} while (r == 0 && n < 4);
	cr_assert_eq(r, -EPIPE);
	while (n < n_kept)
		cr_assert_eq(ipc_fail(kept[n++], IPC_ABORTED, NULL), 0);
	PUMP_UNTIL(&pair, pair.server.n[IPC_EVENT_CHANNEL] == 3);
	pair_stop(&pair);
}

/* ── a clean end ── */

static int leave_cleanly(const struct world *world, void *arg)
{
	struct ipc_loop_opts loop_opts = {.size = sizeof(loop_opts)};
	struct ipc_open_opts opts = {.size = sizeof(opts), .timeout_ns = PATIENCE_NS};
	ipc_channel *channel;
	struct ipc_room room;
	ipc_call *call;
	ipc_loop *loop;

	loop_opts.broker = world_socket(world, "web");
	if (ipc_loop_new(&loop, &loop_opts) < 0 ||
	    ipc_open(loop, &echo_called, &opts, &channel) < 0)
		return 1;
	for (unsigned i = 0; i < N_CALLS; i++) {
		if (ipc_begin(channel, HOLD, 100, NULL, &call, &room) < 0)
			return 2;
		memset(room.data, 0, 100);
		if (ipc_commit(call, 100, IPC_LAST) < 0)
			return 3;
	}
	if (*(bool *)arg)
		_exit(0);
	ipc_loop_free(loop);
	return 0;
}

Test(death, comes_after_everything_that_was_committed, .timeout = 30)
{
	static struct pair pair;

	for (int abruptly = 0; abruptly < 2; abruptly++) {
		bool arg = abruptly;

		n_kept = 0;
		answers_first = false;
		pair_start(&pair, NULL);
		pair.server.on_event = serve_both;
		/* All of it has happened before the server looks, but for the open. */
		pid_t pid = spawn(leave_cleanly, &pair.world, &arg);
		PUMP_UNTIL(&pair, pair.server.n[IPC_EVENT_CHANNEL] == 2);
		cr_assert_eq(reap(pid), 0);
		PUMP_UNTIL(&pair, pair.server.n[IPC_EVENT_CHANNEL] == 3);
		cr_assert_eq(n_kept, N_CALLS);
		for (unsigned i = 0; i < N_CALLS; i++)
			cr_assert_eq(ipc_fail(kept[i], IPC_CANCELLED, NULL), 0);
		pair_settle(&pair);
		pair_stop(&pair);
	}
}
