/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Awake and drowsy: who consumes much without sleeping says that it is awake, and takes that back,
 * with one membarrier(2), before it sleeps. Nobody who is awake is woken, and nobody who slept is
 * missed.
 *
 * Both sides are in one thread, and a side that is never asked for an event while it has none does
 * not arm: so who sleeps, and when, is the test's to say.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>

#include <criterion/criterion.h>
#include <seccomp.h>

#include "pair.h"

#define BATCH 16u /* a few hundred lines: rings never run full */

static struct pair pair;

static void take(struct side *side, uint32_t kind)
{
	struct ipc_event event;
	int r = ipc_loop_next(side->loop, &event, 0);

	cr_assert_eq(r, 1, "%s %s", side == &pair.client ? "client" : "server", strerror(-r));
	cr_assert_eq(event.kind, kind);
	if (kind == IPC_EVENT_REQUEST)
		answer_echo(&pair, &event);
}

/* A batch of calls, answered; neither side ever looks for what is not there. */
static void busy_turn(uint32_t flags)
{
	for (unsigned i = 0; i < BATCH; i++) {
		struct ipc_room room;
		ipc_call *call;

		cr_assert_eq(ipc_begin(pair.channel, ECHO, 40, NULL, &call, &room), 0);
		fill(room.data, 40, i);
		cr_assert_eq(ipc_commit(call, 40, IPC_LAST | flags), 0);
	}
	for (unsigned i = 0; i < BATCH; i++)
		take(&pair.server, IPC_EVENT_REQUEST);
	for (unsigned i = 0; i < BATCH; i++)
		take(&pair.client, IPC_EVENT_MESSAGE);
}

static bool both_awake(void)
{
	return channel_info(pair.channel).awake && channel_info(pair.served).awake;
}

static void get_awake(void)
{
	uint64_t limit_ns = now_ns() + PATIENCE_NS;

	while (!both_awake()) {
		cr_assert_lt(now_ns(), limit_ns, "busy, and yet not awake");
		busy_turn(0);
	}
}

static void start(uint32_t client_flags, uint32_t server_flags)
{
	const struct pair_opts opts = {.client_loop_flags = client_flags,
				       .server_loop_flags = server_flags};

	pair_start(&pair, &opts);
	pair_settle(&pair);
}

/* Both are armed; a call wakes each of them. */
static void call_from_sleep(void)
{
	unsigned before = pair.client.n[IPC_EVENT_MESSAGE];

	pair.server.on_event = answer_echo;
	pair_settle(&pair);
	cr_assert(!channel_info(pair.channel).awake && !channel_info(pair.served).awake);
	(void)send_call(pair.channel, ECHO, 40, 1, NULL);
	PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_MESSAGE] == before + 1);
}

static void filter_membarrier(void)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);

	cr_assert_not_null(filter);
	cr_assert_eq(seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(membarrier), 0), 0);
	cr_assert_eq(seccomp_load(filter), 0);
	seccomp_release(filter);
}

Test(awake, who_is_busy_for_long_enough_is_awake_and_says_so, .timeout = 60)
{
	start(0, 0);
	busy_turn(0);
	cr_assert(!channel_info(pair.channel).awake, "a few messages are not worth a membarrier");
	get_awake();
	cr_assert(channel_info(pair.channel).peer_awake);
	cr_assert(channel_info(pair.served).peer_awake);
	pair_stop(&pair);
}

Test(awake, a_sleep_costs_one_membarrier_and_loses_nothing, .timeout = 60)
{
	start(0, 0);
	for (uint64_t n = 1; n <= 5; n++) {
		get_awake();
		call_from_sleep();
		cr_assert_eq(channel_info(pair.channel).n_membarriers, n);
		cr_assert_eq(channel_info(pair.served).n_membarriers, n);
		/* Drowsy already: sleeping is free of it. */
		for (unsigned i = 0; i < 10; i++)
			call_from_sleep();
		cr_assert_eq(channel_info(pair.channel).n_membarriers, n);
	}
	pair_stop(&pair);
}

Test(awake, what_is_sent_while_the_peer_falls_asleep_wakes_it, .timeout = 60)
{
	struct ipc_event event;

	start(0, 0);
	pair.server.on_event = answer_echo;
	for (unsigned i = 0; i < 20; i++) {
		get_awake();
		/* The server finds it at its last look, before it says that there is nothing. */
		(void)send_call(pair.channel, ECHO, 40, 1, NULL);
		cr_assert_eq(ipc_loop_next(pair.server.loop, &event, 0), 1);
		answer_echo(&pair, &event);
		cr_assert_eq(ipc_loop_next(pair.server.loop, &event, 0), 0);
		cr_assert_eq(ipc_loop_next(pair.client.loop, &event, 0), 1);
		call_from_sleep();
	}
	pair_stop(&pair);
}

Test(awake, a_saturated_stream_makes_no_wake_system_call, .timeout = 120)
{
	uint64_t client, server;

	start(0, 0);
	busy_turn(0);
	client = channel_info(pair.channel).n_wakes;
	server = channel_info(pair.served).n_wakes;
	for (unsigned i = 0; i < 100000 / BATCH; i++)
		busy_turn(i % 2 ? IPC_MORE : 0);
	cr_expect_eq(channel_info(pair.channel).n_wakes, client);
	cr_expect_eq(channel_info(pair.served).n_wakes, server);
	pair_stop(&pair);
}

static void expect_always_drowsy(void)
{
	for (unsigned i = 0; i < 10000 / BATCH; i++) {
		busy_turn(0);
		cr_assert(!channel_info(pair.channel).awake && !channel_info(pair.served).awake);
	}
	call_from_sleep();
	cr_assert_eq(channel_info(pair.channel).n_membarriers, 0);
	cr_assert_eq(channel_info(pair.served).n_membarriers, 0);
	pair_stop(&pair);
}

Test(awake, a_client_that_does_without_is_drowsy_and_so_is_its_server, .timeout = 60)
{
	start(IPC_LOOP_NO_MEMBARRIER, 0);
	expect_always_drowsy();
}

Test(awake, a_server_that_does_without_is_drowsy_and_so_is_its_client, .timeout = 60)
{
	start(0, IPC_LOOP_NO_MEMBARRIER);
	expect_always_drowsy();
}

Test(awake, where_membarrier_is_refused_both_are_drowsy, .timeout = 60)
{
	filter_membarrier();
	start(0, 0);
	expect_always_drowsy();
}

Test(awake, where_membarrier_is_refused_later_nothing_is_lost, .timeout = 60)
{
	start(0, 0);
	get_awake();
	filter_membarrier();
	call_from_sleep();
	for (unsigned i = 0; i < 10000 / BATCH; i++) {
		busy_turn(0);
		cr_assert(!channel_info(pair.channel).awake && !channel_info(pair.served).awake);
	}
	call_from_sleep();
	pair_stop(&pair);
}
