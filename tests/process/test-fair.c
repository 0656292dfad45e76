/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fairness, counted: one process floods the server through many channels, another makes one call at
 * a time. Between the arrival of the polite call and its service the server may serve each other
 * channel for two turns, and no more, whatever the time that takes.
 *
 * The server counts what it serves in memory that the polite client sees. The client reads that once
 * its request has been committed, and the reply says what it was when the request was served. So a
 * client that is held up in between finds too little, never too much.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include <criterion/criterion.h>

#include "world.h"

#define N_FLOODED 64u
#define N_IN_FLIGHT 64u
#define TURN_EVENTS 32u /* of one channel in a row: ARCHITECTURE.md, section 7 */
#define BOUND (2 * (N_FLOODED + 1) * TURN_EVENTS)

static struct shared {
	_Atomic uint64_t n_served; /* of the flood */
	_Atomic bool flooded;	   /* each channel has had its first answer */
	uint64_t n_most;	   /* between a polite call's arrival and its service */
	uint64_t n_calls;
} * shared;

/* How the polite client calls. */
struct manner {
	unsigned n_calls;
	uint64_t pause_ns; /* so long that its channel cools */
};

/* ── the flood ── */

static int flood_one(ipc_channel *channel)
{
	struct ipc_room room;
	ipc_call *call;
	int r = ipc_begin(channel, HOLD, 8, NULL, &call, &room);

	if (r < 0)
		return r;
	memset(room.data, 0, 8);
	return ipc_commit(call, 8, IPC_LAST);
}

static int flood_all(ipc_loop *loop)
{
	uint64_t n_answers = 0;
	struct ipc_event event;
	int r;

	for (;;) {
		r = ipc_loop_next(loop, &event, (int64_t)PATIENCE_NS);
		if (r <= 0)
			return r < 0 ? r : -ETIMEDOUT;
		if (event.kind == IPC_EVENT_CHANNEL)
			return 0; /* the server is done */
		if (event.kind != IPC_EVENT_MESSAGE)
			continue;
		if (++n_answers == N_FLOODED * N_IN_FLIGHT)
			atomic_store(&shared->flooded, true);
		r = flood_one(event.channel);
		if (r < 0 && r != -EPIPE)
			return r;
	}
}

static int flood(const struct world *world, void *arg)
{
	struct ipc_loop_opts opts = {.size = sizeof(opts)};
	ipc_channel *channels[N_FLOODED];
	ipc_loop *loop;
	int r;

	(void)arg;
	opts.broker = world_socket(world, "web");
	r = ipc_loop_new(&loop, &opts);
	for (unsigned i = 0; r == 0 && i < N_FLOODED; i++)
		r = ipc_open(loop, &echo_called, NULL, &channels[i]);
	for (unsigned i = 0; r == 0 && i < N_FLOODED * N_IN_FLIGHT; i++)
		r = flood_one(channels[i % N_FLOODED]);
	return r < 0 || flood_all(loop) < 0;
}

/* ── the polite client ── */

static int call_politely(ipc_channel *channel)
{
	uint64_t arrived, served;
	struct ipc_room room;
	struct ipc_msg msg;
	ipc_call *call;
	int r = ipc_begin(channel, ECHO, 8, NULL, &call, &room);

	if (r < 0)
		return r;
	memset(room.data, 0, 8);
	r = ipc_commit(call, 8, IPC_LAST);
	if (r < 0)
		return r;
	arrived = atomic_load(&shared->n_served);
	r = ipc_receive(call, &msg);
	if (r != 0 || msg.size_bytes != 8)
		return r < 0 ? r : -EPROTO;
	memcpy(&served, msg.data, 8);
	if (served > arrived && served - arrived > shared->n_most)
		shared->n_most = served - arrived;
	shared->n_calls++;
	return 0;
}

static int be_polite(const struct world *world, void *arg)
{
	const struct manner *manner = arg;
	const struct timespec pause = {.tv_nsec = (long)manner->pause_ns};
	struct ipc_loop_opts opts = {.size = sizeof(opts)};
	ipc_channel *channel;
	ipc_loop *loop;
	int r;

	opts.broker = world_socket(world, "web");
	r = ipc_loop_new(&loop, &opts);
	if (r == 0)
		r = ipc_open(loop, &echo_called, NULL, &channel);
	while (r == 0 && !atomic_load(&shared->flooded))
		r = nanosleep(&pause, NULL);
	for (unsigned i = 0; r == 0 && i < manner->n_calls; i++) {
		r = call_politely(channel);
		if (r == 0 && manner->pause_ns > 1)
			r = nanosleep(&pause, NULL);
	}
	ipc_loop_free(loop);
	return r != 0;
}

/* ── the server ── */

static void answer(struct ipc_event *event)
{
	const uint64_t n = atomic_load(&shared->n_served);
	struct ipc_room room;
	int r = ipc_reserve(event->call, sizeof(n), 0, &room);

	cr_assert_eq(r, 0, "%s", strerror(-r));
	memcpy(room.data, &n, sizeof(n));
	cr_assert_eq(ipc_commit(event->call, sizeof(n), IPC_LAST), 0);
	if (event->method == SERVED_HOLD)
		atomic_store(&shared->n_served, n + 1);
}

/* Serves until the polite client, the first that goes, has gone. */
static void serve(ipc_loop *loop)
{
	struct ipc_event event;

	for (;;) {
		cr_assert_eq(ipc_loop_next(loop, &event, (int64_t)PATIENCE_NS), 1);
		if (event.kind == IPC_EVENT_REQUEST)
			answer(&event);
		else if (event.kind == IPC_EVENT_CHANNEL && event.status < 0)
			return;
	}
}

static void expect_fair(struct manner manner, uint32_t wait)
{
	struct world world;
	ipc_server *server;
	pid_t flooder, polite;
	ipc_loop *loop;

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	cr_assert_neq(shared, MAP_FAILED);
	world_start(&world);
	loop = world_loop(&world, "shop", wait);
	cr_assert_eq(ipc_serve(loop, &echo_served, NULL, &server), 0);
	flooder = spawn(flood, &world, NULL);
	polite = spawn(be_polite, &world, &manner);
	serve(loop);
	cr_expect_eq(reap(polite), 0);
	cr_expect_eq(shared->n_calls, manner.n_calls);
	cr_expect_gt(atomic_load(&shared->n_served), N_FLOODED * N_IN_FLIGHT);
	cr_expect_leq(shared->n_most, BOUND, "%lu others' served before a polite call",
		      (unsigned long)shared->n_most);
	slay(flooder);
	ipc_loop_free(loop);
	world_stop(&world);
}

Test(fair, to_a_client_that_calls_again_at_once, .timeout = 120)
{
	expect_fair((struct manner){.n_calls = 500, .pause_ns = 1}, IPC_WAIT_AUTO);
}

Test(fair, to_a_client_whose_channel_has_cooled, .timeout = 120)
{
	expect_fair((struct manner){.n_calls = 200, .pause_ns = 3 * MS_NS}, IPC_WAIT_AUTO);
}

Test(fair, on_epoll_too, .timeout = 120)
{
	expect_fair((struct manner){.n_calls = 200, .pause_ns = 3 * MS_NS}, IPC_WAIT_EPOLL);
}
