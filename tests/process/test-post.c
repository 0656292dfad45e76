// SPDX-License-Identifier: Apache-2.0
/* Posts from other threads: each once, in order, and to a loop that sleeps in whatever way. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>

#include <criterion/criterion.h>

#include "pair.h"

#define N_THREADS 3
#define N_POSTS 5000

static ipc_loop *target;

static void *post_many(void *arg)
{
	uintptr_t thread = (uintptr_t)arg;

	for (uintptr_t i = 1; i <= N_POSTS; i++)
		if (ipc_loop_post(target, (void *)(thread << 32 | i)) != 0)
			return arg;
	return NULL;
}

static void take_posts(bool hosted)
{
	struct pollfd fd = {.fd = ipc_loop_fd(target), .events = POLLIN};
	uintptr_t next[N_THREADS] = {1, 1, 1};
	struct ipc_event event;
	int r;

	for (unsigned n = 0; n < N_THREADS * N_POSTS;) {
		r = ipc_loop_next(target, &event, hosted ? 0 : (int64_t)PATIENCE_NS);
		if (r == 0) {
			cr_assert(hosted, "no post came");
			cr_assert_eq(poll(&fd, 1, (int)(PATIENCE_NS / MS_NS)), 1,
				     "a post left the fd silent");
			continue;
		}
		cr_assert_eq(r, 1);
		cr_assert_eq(event.kind, IPC_EVENT_POST);
		cr_assert(!event.channel && !event.call && !event.server);
		uintptr_t thread = (uintptr_t)event.user >> 32;
		cr_assert_lt(thread, N_THREADS);
		cr_assert_eq((uintptr_t)event.user & UINT32_MAX, next[thread]++);
		n++;
	}
	cr_assert_eq(ipc_loop_next(target, &event, 0), 0);
}

static void post_from_threads(uint32_t wait, bool hosted)
{
	pthread_t threads[N_THREADS];
	struct world world;
	void *failed;

	world_start(&world);
	target = world_loop(&world, "web", wait);
	for (uintptr_t i = 0; i < N_THREADS; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, post_many, (void *)i), 0);
	take_posts(hosted);
	for (unsigned i = 0; i < N_THREADS; i++) {
		cr_assert_eq(pthread_join(threads[i], &failed), 0);
		cr_assert_null(failed);
	}
	ipc_loop_free(target);
	world_stop(&world);
}

Test(post, from_threads_come_once_each_in_order, .timeout = 60)
{
	post_from_threads(IPC_WAIT_AUTO, false);
}

Test(post, from_threads_come_to_a_loop_that_sleeps_in_epoll, .timeout = 60)
{
	post_from_threads(IPC_WAIT_EPOLL, false);
}

Test(post, from_threads_come_to_a_loop_that_spins, .timeout = 60)
{
	post_from_threads(IPC_WAIT_SPIN, false);
}

Test(post, from_threads_come_to_a_loop_that_sleeps_on_futexes, .timeout = 60)
{
	post_from_threads(IPC_WAIT_FUTEX, false);
}

Test(post, from_threads_come_to_a_hosted_loop, .timeout = 60)
{
	post_from_threads(IPC_WAIT_AUTO, true);
}

Test(post, that_nobody_takes_goes_with_the_loop, .timeout = 30)
{
	struct world world;

	world_start(&world);
	target = world_loop(&world, "web", 0);
	for (uintptr_t i = 0; i < 100; i++)
		cr_assert_eq(ipc_loop_post(target, (void *)i), 0);
	cr_assert_eq(ipc_loop_post(NULL, NULL), -EINVAL);
	ipc_loop_free(target);
	world_stop(&world);
}

/* ── replies from workers ── */

struct job {
	ipc_call *call;
	uint64_t seed;
	size_t size_bytes;
	uint8_t result[600];
};

#define N_JOBS 64

static struct job queue[N_JOBS];
static unsigned n_queued, n_taken;
static bool closing;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t more = PTHREAD_COND_INITIALIZER;

/* Works on a copy, and leaves the answer to the loop's thread. */
static void *work(void *arg)
{
	struct job *job;

	(void)arg;
	for (;;) {
		(void)pthread_mutex_lock(&lock);
		while (n_taken == n_queued && !closing)
			(void)pthread_cond_wait(&more, &lock);
		job = n_taken < n_queued ? &queue[n_taken++] : NULL;
		(void)pthread_mutex_unlock(&lock);
		if (!job)
			return NULL;
		fill(job->result, job->size_bytes, job->seed + 1);
		if (ipc_loop_post(target, job) != 0)
			return &closing;
	}
}

static void hand_out(struct pair *pair, struct ipc_event *event)
{
	struct ipc_room room;
	struct job *job;

	(void)pair;
	if (event->kind == IPC_EVENT_REQUEST) {
		job = &queue[n_queued];
		job->call = event->call;
		memcpy(&job->seed, event->msg.data, sizeof(job->seed));
		job->size_bytes = 8 + job->seed % 500;
		(void)pthread_mutex_lock(&lock);
		n_queued++;
		(void)pthread_cond_signal(&more);
		(void)pthread_mutex_unlock(&lock);
	} else if (event->kind == IPC_EVENT_POST) {
		job = event->user;
		cr_assert_eq(ipc_reserve(job->call, job->size_bytes, 0, &room), 0);
		memcpy(room.data, job->result, job->size_bytes);
		cr_assert_eq(ipc_commit(job->call, job->size_bytes, IPC_LAST), 0);
	}
}

static void check_result(struct pair *pair, struct ipc_event *event)
{
	uint64_t seed = (uintptr_t)event->user;

	(void)pair;
	if (event->kind != IPC_EVENT_MESSAGE)
		return;
	cr_assert_eq(event->msg.size_bytes, 8 + seed % 500);
	cr_assert(filled(event->msg.data, event->msg.size_bytes, seed + 1));
}

Test(post, brings_the_replies_of_worker_threads, .timeout = 60)
{
	struct ipc_call_opts opts = {.size = sizeof(opts)};
	static struct pair pair;
	pthread_t threads[N_THREADS];
	struct ipc_room room;
	ipc_call *call;
	void *failed;

	pair_start(&pair, &(struct pair_opts){.server_ring_bytes = 1 << 18});
	target = pair.server.loop;
	pair.server.on_event = hand_out;
	pair.client.on_event = check_result;
	for (unsigned i = 0; i < N_THREADS; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, work, NULL), 0);
	for (uint64_t seed = 1; seed <= N_JOBS; seed++) {
		opts.user = (void *)(uintptr_t)seed;
		cr_assert_eq(ipc_begin(pair.channel, HOLD, 8, &opts, &call, &room), 0);
		memcpy(room.data, &seed, sizeof(seed));
		cr_assert_eq(ipc_commit(call, 8, IPC_LAST), 0);
	}
	PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_MESSAGE] == N_JOBS);
	(void)pthread_mutex_lock(&lock);
	closing = true;
	(void)pthread_cond_broadcast(&more);
	(void)pthread_mutex_unlock(&lock);
	for (unsigned i = 0; i < N_THREADS; i++) {
		cr_assert_eq(pthread_join(threads[i], &failed), 0);
		cr_assert_null(failed);
	}
	pair_stop(&pair);
}

/* ── a loop moves between threads ── */

static void *call_once(void *arg)
{
	struct pair *pair = arg;
	unsigned before = pair->client.n[IPC_EVENT_MESSAGE];

	(void)send_call(pair->channel, ECHO, 600, before, NULL);
	PUMP_UNTIL(pair, pair->client.n[IPC_EVENT_MESSAGE] == before + 1);
	cr_assert(filled(pair->client.last.msg.data, 600, before));
	return NULL;
}

Test(post, a_loop_may_be_used_by_one_thread_after_another, .timeout = 60)
{
	static struct pair pair;
	pthread_t thread;

	pair_start(&pair, NULL);
	pair.server.on_event = answer_echo;
	for (unsigned i = 0; i < 50; i++) {
		cr_assert_eq(pthread_create(&thread, NULL, call_once, &pair), 0);
		cr_assert_eq(pthread_join(thread, NULL), 0);
		(void)call_once(&pair);
	}
	pair_stop(&pair);
}
