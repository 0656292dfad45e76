// SPDX-License-Identifier: Apache-2.0
/* Rings that are full, on one side and on both: nothing is lost, order is kept, nobody is stuck. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <criterion/criterion.h>

#include "pair.h"

static struct pair pair;

/* ── a client that sends and does not read ── */

static unsigned n_served;

static void serve_in_order(struct pair *p, struct ipc_event *event)
{
	uint64_t seed;

	if (event->kind != IPC_EVENT_REQUEST)
		return;
	memcpy(&seed, event->msg.data, sizeof(seed));
	cr_assert_eq(seed, n_served++, "requests came out of order");
	(void)p;
	/* What a handler answers at once always has room, whatever the client does. */
	answer_echo(p, event);
}

static int try_send(uint64_t seed, size_t size_bytes)
{
	struct ipc_call_opts opts = {.size = sizeof(opts), .user = (void *)(uintptr_t)seed};
	struct ipc_room room;
	ipc_call *call;
	int r = ipc_begin(pair.channel, ECHO, size_bytes, &opts, &call, &room);

	if (r < 0)
		return r;
	memset(room.data, (int)seed, size_bytes);
	memcpy(room.data, &seed, sizeof(seed));
	return ipc_commit(call, size_bytes, IPC_LAST);
}

static void expect_reply(const struct ipc_event *event, uint64_t seed, size_t size_bytes)
{
	const uint8_t *bytes = event->msg.data;

	cr_assert_eq(event->kind, IPC_EVENT_MESSAGE);
	cr_assert_eq((uintptr_t)event->user, seed, "replies came out of order");
	cr_assert_eq(event->msg.size_bytes, size_bytes);
	cr_assert_eq(memcmp(bytes, &seed, sizeof(seed)), 0);
	for (size_t i = sizeof(seed); i < size_bytes; i++)
		cr_assert_eq(bytes[i], (uint8_t)seed);
}

/* Lets the server alone do what it can. */
static void run_server(void)
{
	struct ipc_event event;

	for (int idle = 0; idle < 3;) {
		int r = ipc_loop_next(pair.server.loop, &event, 0);

		cr_assert_geq(r, 0);
		idle = r ? 0 : idle + 1;
		if (r)
			serve_in_order(&pair, &event);
	}
}

static void flood(const struct pair_opts *opts, size_t size_bytes)
{
	uint64_t n_sent = 0, n_read = 0;
	struct ipc_event event;

	n_served = 0;
	pair_start(&pair, opts);
	for (unsigned round = 0; round < 50; round++) {
		/* Until nothing more goes out, however often the server gets its turn. */
		for (int full = 0; full < 3;) {
			int r = try_send(n_sent, size_bytes);

			cr_assert(r == 0 || r == -EAGAIN);
			n_sent += r == 0;
			full = r == 0 ? 0 : full + 1;
			if (r < 0)
				run_server();
		}
		/* Read a part, or everything. */
		for (unsigned n = 0; round % 3 == 0 || n < 5; n++) {
			if (ipc_loop_next(pair.client.loop, &event, 0) == 0)
				break;
			if (event.kind == IPC_EVENT_WRITABLE)
				continue;
			expect_reply(&event, n_read++, size_bytes);
		}
	}
	while (n_read < n_sent) {
		run_server();
		cr_assert_eq(ipc_loop_next(pair.client.loop, &event, (int64_t)PATIENCE_NS), 1);
		if (event.kind == IPC_EVENT_MESSAGE)
			expect_reply(&event, n_read++, size_bytes);
	}
	cr_assert_gt(n_sent, 50);
	pair_stop(&pair);
}

Test(backpressure, a_client_that_does_not_read_loses_nothing_small, .timeout = 60)
{
	flood(&(struct pair_opts){.client_max_calls = 1000, .server_max_calls = 1000}, 16);
}

Test(backpressure, a_client_that_does_not_read_loses_nothing_large, .timeout = 60)
{
	flood(&(struct pair_opts){}, 9000);
}

Test(backpressure, a_client_that_does_not_read_loses_nothing_in_the_smallest_rings, .timeout = 60)
{
	flood(&(struct pair_opts){.client_ring_bytes = 4096, .server_ring_bytes = 4096}, 700);
}

Test(backpressure, requests_in_a_large_ring_wait_for_replies_in_a_small_one, .timeout = 60)
{
	flood(&(struct pair_opts){.client_ring_bytes = 1 << 18, .server_ring_bytes = 4096}, 700);
}

/* Denials need room as replies do, and nobody waits for them. */
Test(backpressure, a_flood_of_denied_calls_gets_each_its_denial, .timeout = 60)
{
	unsigned n_sent = 0;
	struct ipc_room room;
	ipc_call *call;

	pair_start(&pair, &(struct pair_opts){.server_ring_bytes = 4096});
	for (unsigned i = 0; i < 2000; i++) {
		if (ipc_begin(pair.channel, i % 2 ? SECRET : MISSING, 8, NULL, &call, &room) == 0) {
			cr_assert_eq(ipc_commit(call, 8, IPC_LAST), 0);
			n_sent++;
		} else {
			pair_turn(&pair, now_ns() + PATIENCE_NS);
		}
	}
	PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_END] == n_sent);
	cr_assert_eq(pair.server.n[IPC_EVENT_REQUEST], 0);
	pair_settle(&pair);
	cr_assert_eq(channel_info(pair.channel).n_calls, 0);
	pair_stop(&pair);
}

/* ── errors and cancels that find no room ── */

static ipc_call *kept[300];
static unsigned n_kept;

static void keep_request(struct pair *p, struct ipc_event *event)
{
	(void)p;
	if (event->kind == IPC_EVENT_REQUEST)
		kept[n_kept++] = event->call;
}

Test(backpressure, errors_that_find_no_room_go_when_there_is_some, .timeout = 60)
{
	char text[256];

	memset(text, 'e', 255);
	text[255] = '\0';
	n_kept = 0;
	pair_start(&pair, &(struct pair_opts){.server_ring_bytes = 4096});
	pair.server.on_event = keep_request;
	for (unsigned i = 0; i < 256; i++)
		(void)send_call(pair.channel, HOLD, 8, i, NULL);
	PUMP_UNTIL(&pair, n_kept == 256);
	for (unsigned i = 0; i < 256; i++)
		cr_assert_eq(ipc_fail(kept[i], IPC_ABORTED, text), 0);
	PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_END] == 256);
	pair_settle(&pair);
	cr_assert_eq(channel_info(pair.channel).n_calls, 0);
	cr_assert_eq(channel_info(pair.served).n_calls, 0);
	pair_stop(&pair);
}

/* Calls until the client's ring is full of them. How many, and which. */
static unsigned fill_ring(uint64_t timeout_ns, ipc_call *calls[])
{
	struct ipc_call_opts opts = {.size = sizeof(opts), .timeout_ns = timeout_ns};
	struct ipc_room room;
	unsigned n = 0;

	n_kept = 0;
	pair_start(&pair, &(struct pair_opts){.client_ring_bytes = 4096});
	pair.server.on_event = keep_request;
	while (ipc_begin(pair.channel, HOLD, 900, &opts, &calls[n], &room) == 0)
		cr_assert_eq(ipc_commit(calls[n++], 900, IPC_LAST), 0);
	while (ipc_begin(pair.channel, HOLD, 0, &opts, &calls[n], &room) == 0)
		cr_assert_eq(ipc_commit(calls[n++], 0, IPC_LAST), 0);
	return n;
}

/* The cancels wait their turn. */
Test(backpressure, cancels_that_find_no_room_go_when_there_is_some, .timeout = 60)
{
	ipc_call *calls[64];
	unsigned n = fill_ring(0, calls);

	for (unsigned i = 0; i < n; i++)
		ipc_cancel(calls[i]);
	PUMP_UNTIL(&pair, n_kept == n && pair.server.n[IPC_EVENT_CANCELLED] == n);
	for (unsigned i = 0; i < n; i++)
		cr_assert_eq(ipc_fail(kept[i], IPC_CANCELLED, NULL), 0);
	pair_settle(&pair);
	cr_assert_eq(channel_info(pair.channel).n_calls, 0);
	pair_stop(&pair);
}

/* And so do those of calls whose time is up; nobody need serve these any more. */
Test(backpressure, deadlines_that_pass_while_the_ring_is_full_take_their_requests_back,
     .timeout = 60)
{
	ipc_call *calls[64];
	unsigned n = fill_ring(10 * MS_NS, calls), n_ended = 0;
	struct ipc_event event;

	while (n_ended < n) {
		cr_assert_eq(ipc_loop_next(pair.client.loop, &event, (int64_t)PATIENCE_NS), 1);
		n_ended += event.kind == IPC_EVENT_END;
	}
	pair_settle(&pair);
	cr_assert_eq(n_kept, 0);
	cr_assert_eq(channel_info(pair.channel).n_calls, 0);
	cr_assert_eq(channel_info(pair.served).n_calls, 0);
	pair_stop(&pair);
}

/* ── two processes, each the other's client and server, rings of both directions full ── */

#define N_CALLS 3000u

struct peer {
	const char *workload;
	const struct ipc_service *served, *called;
	uint32_t method;
	size_t size_bytes;
	uint32_t wait;
};

struct progress {
	unsigned n_sent, n_answered, n_served;
	bool gone;
};

static int fail(const struct peer *peer, const char *what, int r)
{
	fprintf(stderr, "%s: %s: %s\n", peer->workload, what, strerror(-r));
	return 1;
}

/* Sends until there is no room or no call left. */
static int send_more(const struct peer *peer, ipc_channel *channel, struct progress *p)
{
	struct ipc_call_opts opts = {.size = sizeof(opts)};
	struct ipc_room room;
	ipc_call *call;
	int r;

	while (p->n_sent < N_CALLS) {
		opts.user = (void *)(uintptr_t)p->n_sent;
		r = ipc_begin(channel, peer->method, peer->size_bytes, &opts, &call, &room);
		if (r < 0)
			return r == -EAGAIN ? 0 : r;
		fill(room.data, peer->size_bytes, p->n_sent++);
		r = ipc_commit(call, peer->size_bytes, IPC_LAST);
		if (r < 0)
			return r;
	}
	return 0;
}

static int serve_one(struct ipc_event *event, struct progress *p)
{
	struct ipc_room room;
	int r = ipc_reserve(event->call, event->msg.size_bytes, 0, &room);

	if (r < 0)
		return r;
	memcpy(room.data, event->msg.data, event->msg.size_bytes);
	p->n_served++;
	return ipc_commit(event->call, event->msg.size_bytes, IPC_LAST);
}

static int exchange(const struct peer *peer, ipc_loop *loop, ipc_channel *channel)
{
	struct progress p = {};
	struct ipc_event event;
	int r;

	while (p.n_answered < N_CALLS || p.n_served < N_CALLS) {
		r = send_more(peer, channel, &p);
		if (r == 0)
			r = ipc_loop_next(loop, &event, (int64_t)PATIENCE_NS);
		if (r <= 0)
			return r < 0 ? r : -ETIMEDOUT;
		r = 0;
		if (event.kind == IPC_EVENT_REQUEST)
			r = serve_one(&event, &p);
		else if (event.kind == IPC_EVENT_MESSAGE)
			r = (uintptr_t)event.user == p.n_answered &&
					    event.msg.size_bytes == peer->size_bytes &&
					    filled(event.msg.data, peer->size_bytes, p.n_answered++)
				    ? 0
				    : -EBADMSG;
		else if (event.kind == IPC_EVENT_CHANNEL && event.status < 0 &&
			 event.channel != channel)
			p.gone = true; /* The other has all its answers, and has left. */
		else if (event.kind == IPC_EVENT_END ||
			 (event.kind == IPC_EVENT_CHANNEL && event.status < 0))
			r = -EPIPE;
		if (r < 0)
			return r;
	}
	/* The other may still wait for our last reply. */
	ipc_channel_free(channel);
	while (!p.gone) {
		r = ipc_loop_next(loop, &event, (int64_t)PATIENCE_NS);
		if (r <= 0)
			return r < 0 ? r : -ETIMEDOUT;
		p.gone = event.kind == IPC_EVENT_CHANNEL && event.status < 0;
	}
	return 0;
}

static int run_peer(const struct world *world, void *arg)
{
	const struct peer *peer = arg;
	struct ipc_loop_opts loop_opts = {.size = sizeof(loop_opts), .wait = peer->wait};
	struct ipc_serve_opts serve_opts = {.size = sizeof(serve_opts), .ring_bytes = 16384};
	struct ipc_open_opts open_opts = {.size = sizeof(open_opts),
					  .timeout_ns = PATIENCE_NS,
					  .ring_bytes = 16384};
	ipc_channel *channel;
	ipc_server *server;
	ipc_loop *loop;
	int r;

	loop_opts.broker = world_socket(world, peer->workload);
	r = ipc_loop_new(&loop, &loop_opts);
	if (r < 0)
		return fail(peer, "loop", r);
	r = ipc_serve(loop, peer->served, &serve_opts, &server);
	if (r == 0)
		r = ipc_open(loop, peer->called, &open_opts, &channel);
	if (r == 0)
		r = exchange(peer, loop, channel);
	if (r < 0)
		return fail(peer, ipc_loop_error(loop), r);
	ipc_loop_free(loop);
	return leaked();
}

static void run_both(size_t size_bytes, uint32_t wait)
{
	struct peer peers[] = {
		{"shop", &other_service, &mirror_service, 0, size_bytes, wait},
		{"web", &mirror_service, &other_service, 0, size_bytes, wait},
	};
	struct world world;
	pid_t pids[2];

	world_start(&world);
	for (unsigned i = 0; i < 2; i++)
		pids[i] = spawn(run_peer, &world, &peers[i]);
	for (unsigned i = 0; i < 2; i++)
		cr_expect_eq(reap(pids[i]), 0);
	world_stop(&world);
}

Test(backpressure, two_peers_that_flood_each_other_with_small_calls_both_finish, .timeout = 60)
{
	run_both(30, IPC_WAIT_AUTO);
}

Test(backpressure, two_peers_that_flood_each_other_with_large_calls_both_finish, .timeout = 60)
{
	run_both(5000, IPC_WAIT_AUTO);
}

Test(backpressure, two_peers_that_flood_each_other_and_sleep_on_futexes_both_finish, .timeout = 60)
{
	run_both(3000, IPC_WAIT_FUTEX);
}

Test(backpressure, two_peers_that_flood_each_other_and_spin_both_finish, .timeout = 60)
{
	run_both(3000, IPC_WAIT_SPIN);
}
