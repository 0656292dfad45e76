// SPDX-License-Identifier: Apache-2.0
/* Threads that share a loop: handing it over is fine, being in it at once is found. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>

#include <criterion/criterion.h>

#include "world.h"

#define N_THREADS 4u
#define N_ROUNDS 25u

static struct world world;
static ipc_loop *loop, *server_loop;
static ipc_server *server;
static ipc_channel *channel;
static _Atomic bool done;

static void answer(const struct ipc_event *event)
{
	struct ipc_room room;

	if (event->kind != IPC_EVENT_REQUEST ||
	    ipc_reserve(event->call, event->msg.size_bytes, 0, &room) < 0)
		return;
	memcpy(room.data, event->msg.data, event->msg.size_bytes);
	(void)ipc_commit(event->call, event->msg.size_bytes, IPC_LAST);
}

static void *serve(void *arg)
{
	struct ipc_event event;

	while (!atomic_load(&done))
		if (ipc_loop_next(server_loop, &event, (int64_t)MS_NS) == 1)
			answer(&event);
	return arg;
}

static pthread_t start(void)
{
	struct ipc_open_opts opts = {.size = sizeof(opts), .timeout_ns = PATIENCE_NS};
	pthread_t thread;

	world_start(&world);
	server_loop = world_loop(&world, "shop", 0);
	cr_assert_eq(ipc_serve(server_loop, &echo_served, NULL, &server), 0);
	cr_assert_eq(pthread_create(&thread, NULL, serve, NULL), 0);
	loop = world_loop(&world, "web", 0);
	cr_assert_eq(ipc_open(loop, &echo_called, &opts, &channel), 0);
	return thread;
}

static int call_once(uint64_t seed)
{
	struct ipc_room room;
	struct ipc_msg msg;
	ipc_call *call;
	int r = ipc_begin(channel, ECHO, 40, NULL, &call, &room);

	if (r < 0)
		return r;
	fill(room.data, 40, seed);
	r = ipc_transact(call, 40, &msg);
	return r ? r : filled(msg.data, 40, seed) ? 0 : -EBADMSG;
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned n_good;

static void *take_turns(void *arg)
{
	for (unsigned i = 0; i < N_ROUNDS; i++) {
		(void)pthread_mutex_lock(&lock);
		n_good += call_once(i) == 0;
		(void)pthread_mutex_unlock(&lock);
	}
	return arg;
}

/* One thread at a time, whichever: the lock hands the loop over. */
Test(threads, that_hand_a_loop_over_may_all_use_it, .timeout = 60)
{
	pthread_t thread = start(), others[N_THREADS];

	for (unsigned i = 0; i < N_THREADS; i++)
		cr_assert_eq(pthread_create(&others[i], NULL, take_turns, NULL), 0);
	for (unsigned i = 0; i < N_THREADS; i++)
		cr_assert_eq(pthread_join(others[i], NULL), 0);
	cr_assert_eq(n_good, N_THREADS * N_ROUNDS);
	atomic_store(&done, true);
	cr_assert_eq(pthread_join(thread, NULL), 0);
	/* Made in one thread, used in others, freed in this. */
	ipc_loop_free(loop);
	ipc_loop_free(server_loop);
	world_stop(&world);
}

static void *wait_in_loop(void *arg)
{
	struct ipc_event event;

	(void)ipc_loop_next(loop, &event, (int64_t)PATIENCE_NS);
	return arg;
}

/* The one sits in the loop for as long as nothing comes; the other's call is one too many. */
Test(threads, that_are_in_one_loop_at_once_are_found, .signal = SIGABRT, .timeout = 60)
{
	pthread_t thread;
	uint64_t limit_ns;

	(void)start();
	cr_assert_eq(pthread_create(&thread, NULL, wait_in_loop, NULL), 0);
	/* Until the other is inside: whoever comes second finds the first. */
	limit_ns = now_ns() + PATIENCE_NS;
	while (now_ns() < limit_ns)
		(void)ipc_call_user(NULL), (void)call_once(1);
}

Test(threads, may_post_from_anywhere, .timeout = 60)
{
	struct ipc_event event;
	pthread_t thread = start(), waiter;

	cr_assert_eq(pthread_create(&waiter, NULL, wait_in_loop, NULL), 0);
	for (unsigned i = 0; i < 100; i++)
		cr_assert_eq(ipc_loop_post(loop, &event), 0);
	cr_assert_eq(pthread_join(waiter, NULL), 0);
	atomic_store(&done, true);
	cr_assert_eq(pthread_join(thread, NULL), 0);
	ipc_loop_free(loop);
	ipc_loop_free(server_loop);
	world_stop(&world);
}
