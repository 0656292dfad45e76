// SPDX-License-Identifier: Apache-2.0
/*
 * Wakes that are put off: by IPC_MORE, and on a loop that puts all of them off. They come when they
 * must, and none is lost on the way.
 *
 * The one that sleeps is a loop of this thread's, armed and seen not to be readable; so what wakes it
 * can only be what the test does next.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "pair.h"

#define N_CHANNELS 8u

static struct world world;
static ipc_loop *sleeper; /* serves test.Other */
static ipc_loop *loop;	  /* calls it */
static ipc_channel *channels[N_CHANNELS];
static unsigned n_seen[N_KINDS]; /* by the sleeper */

static bool readable(int timeout_ms)
{
	struct pollfd fd = {.fd = ipc_loop_fd(sleeper), .events = POLLIN};
	int n;

	do
		n = poll(&fd, 1, timeout_ms);
	while (n < 0 && errno == EINTR);
	return n > 0;
}

#define PATIENCE_MS ((int)(PATIENCE_NS / MS_NS))

/* All that the sleeper has to do, until it is armed. */
static void settle(void)
{
	struct ipc_event event;
	int r;

	while ((r = ipc_loop_next(sleeper, &event, 0)) != 0) {
		if (r == -EINTR)
			continue;
		cr_assert_eq(r, 1, "%s", strerror(-r));
		n_seen[event.kind]++;
	}
}

static void put_to_sleep(void)
{
	for (unsigned i = 0; i < 1000; i++) {
		settle();
		if (!readable(0))
			return;
	}
	cr_assert_fail("the sleeper does not come to rest");
}

static void open_channels(unsigned n)
{
	struct ipc_open_opts opts = {.size = sizeof(opts), .flags = IPC_OPEN_ASYNC};
	struct ipc_event event;
	unsigned n_open = 0;
	uint64_t limit_ns = now_ns() + PATIENCE_NS;

	for (unsigned i = 0; i < n; i++)
		cr_assert_eq(ipc_open(loop, &other_service, &opts, &channels[i]), 0);
	while (n_open < n || n_seen[IPC_EVENT_CHANNEL] < n) {
		cr_assert_lt(now_ns(), limit_ns);
		settle();
		if (ipc_loop_next(loop, &event, 0) == 1) {
			cr_assert_eq(event.kind, IPC_EVENT_CHANNEL);
			cr_assert_eq(event.status, 0);
			n_open++;
		}
	}
	cr_assert_eq(ipc_loop_next(loop, &event, 0), 0);
	put_to_sleep();
}

/* A loop that waits like that, with that many channels to the sleeper. */
static void start(uint32_t wait, uint32_t flags, unsigned n)
{
	struct ipc_loop_opts opts = {.size = sizeof(opts), .wait = wait, .flags = flags};
	ipc_server *server;
	int r;

	memset(n_seen, 0, sizeof(n_seen));
	world_start(&world);
	opts.broker = world_socket(&world, "web");
	r = ipc_loop_new(&loop, &opts);
	if (r < 0 && wait == IPC_WAIT_URING) {
		world_stop(&world);
		cr_skip_test("io_uring is refused: %s", strerror(-r));
	}
	cr_assert_eq(r, 0, "%s", ipc_loop_error(NULL));
	sleeper = world_loop(&world, "shop", IPC_WAIT_EPOLL);
	cr_assert_eq(ipc_serve(sleeper, &other_service, NULL, &server), 0);
	open_channels(n);
}

static void stop(void)
{
	ipc_loop_free(loop);
	ipc_loop_free(sleeper);
	world_stop(&world);
}

static ipc_call *put(ipc_channel *channel, uint32_t flags)
{
	struct ipc_room room;
	ipc_call *call;
	int r = ipc_begin(channel, 0, 8, NULL, &call, &room);

	cr_assert_eq(r, 0, "%s", strerror(-r));
	memset(room.data, 0, 8);
	cr_assert_eq(ipc_commit(call, 8, IPC_LAST | flags), 0);
	return call;
}

/* Every case on both kinds of loop, with either kind of wake that is put off. */
#define CASE(name)                                                                                 \
	static void name(uint32_t more);                                                           \
	Test(wakes, name##_epoll_more, .timeout = 60)                                              \
	{                                                                                          \
		start(IPC_WAIT_EPOLL, 0, N_CHANNELS);                                              \
		name(IPC_MORE);                                                                    \
	}                                                                                          \
	Test(wakes, name##_epoll_batch, .timeout = 60)                                             \
	{                                                                                          \
		start(IPC_WAIT_EPOLL, IPC_LOOP_BATCH_WAKES, N_CHANNELS);                           \
		name(0);                                                                           \
	}                                                                                          \
	Test(wakes, name##_uring_more, .timeout = 60)                                              \
	{                                                                                          \
		start(IPC_WAIT_URING, 0, N_CHANNELS);                                              \
		name(IPC_MORE);                                                                    \
	}                                                                                          \
	Test(wakes, name##_uring_batch, .timeout = 60)                                             \
	{                                                                                          \
		start(IPC_WAIT_URING, IPC_LOOP_BATCH_WAKES, N_CHANNELS);                           \
		name(0);                                                                           \
	}                                                                                          \
	static void name(uint32_t more)

static void put_in_all(uint32_t more)
{
	for (unsigned i = 0; i < N_CHANNELS; i++)
		(void)put(channels[i], more);
	cr_assert_not(readable(0), "woken at once");
}

static void assert_woken(unsigned n_requests)
{
	cr_assert(readable(PATIENCE_MS), "a wake was lost");
	n_seen[IPC_EVENT_REQUEST] = 0;
	settle();
	cr_assert_eq(n_seen[IPC_EVENT_REQUEST], n_requests);
}

CASE(come_with_the_next_turn)
{
	struct ipc_event event;

	put_in_all(more);
	cr_assert_eq(ipc_loop_next(loop, &event, 0), 0);
	assert_woken(N_CHANNELS);
	for (unsigned i = 0; i < N_CHANNELS; i++) {
		struct ipc_channel_info info = channel_info(channels[i]);

		cr_assert_eq(info.n_wakes, 1, "%ju wakes", (uintmax_t)info.n_wakes);
	}
	/* And once. */
	put_to_sleep();
	cr_assert_eq(ipc_loop_next(loop, &event, 0), 0);
	cr_assert_not(readable(0));
	stop();
}

CASE(come_with_a_commit_that_does_not_put_them_off)
{
	(void)put(channels[0], IPC_MORE);
	cr_assert_not(readable(0));
	(void)put(channels[0], 0);
	/* Of a loop that puts all off, only the turn does it. */
	if (more) {
		assert_woken(2);
	} else {
		struct ipc_event event;

		cr_assert_not(readable(0));
		cr_assert_eq(ipc_loop_next(loop, &event, 0), 0);
		assert_woken(2);
	}
	stop();
}

/* A call on another channel, answered by another process. */
CASE(come_before_a_call_elsewhere_waits)
{
	struct ipc_open_opts opts = {.size = sizeof(opts), .timeout_ns = PATIENCE_NS};
	struct echo_server echo = {};
	pid_t server = spawn(serve_echo, &world, &echo);
	ipc_channel *elsewhere;
	struct ipc_room room;
	struct ipc_msg msg;
	ipc_call *call;

	cr_assert_eq(ipc_open(loop, &echo_called, &opts, &elsewhere), 0);
	put_in_all(more);
	cr_assert_eq(ipc_begin(elsewhere, ECHO, 8, NULL, &call, &room), 0);
	memset(room.data, 0, 8);
	cr_assert_eq(ipc_transact(call, 8, &msg), 0);
	assert_woken(N_CHANNELS);
	ipc_channel_free(elsewhere);
	cr_assert_eq(reap(server), 0);
	/* Opening blocks as well. */
	put_to_sleep();
	server = spawn(serve_echo, &world, &echo);
	put_in_all(more);
	cr_assert_eq(ipc_open(loop, &echo_called, &opts, &elsewhere), 0);
	assert_woken(N_CHANNELS);
	ipc_channel_free(elsewhere);
	cr_assert_eq(reap(server), 0);
	stop();
}

/* The other's server is gone, and so is its channel, until there is another. */
CASE(come_before_a_call_waits_for_its_channel)
{
	struct ipc_open_opts opts = {.size = sizeof(opts), .timeout_ns = PATIENCE_NS};
	struct ipc_call_opts waits = {.size = sizeof(waits),
				      .flags = IPC_BLOCK,
				      .timeout_ns = 30 * MS_NS};
	struct echo_server echo = {};
	pid_t server = spawn(serve_echo, &world, &echo);
	ipc_channel *elsewhere;
	struct ipc_event event;
	struct ipc_room room;
	ipc_call *call;
	int r;

	cr_assert_eq(ipc_open(loop, &echo_called, &opts, &elsewhere), 0);
	(void)kill(server, SIGKILL);
	(void)reap(server);
	while ((r = ipc_loop_next(loop, &event, (int64_t)PATIENCE_NS)) == -EINTR)
		;
	cr_assert(r == 1 && event.kind == IPC_EVENT_CHANNEL && event.channel == elsewhere);
	cr_assert_lt(event.status, 0);
	put_in_all(more);
	do
		r = ipc_begin(elsewhere, ECHO, 8, &waits, &call, &room);
	while (r == -EINTR);
	cr_assert_eq(r, -ETIMEDOUT, "%d", r);
	assert_woken(N_CHANNELS);
	stop();
}

CASE(come_before_the_channel_goes)
{
	struct ipc_event event;

	put_in_all(more);
	ipc_channel_free(channels[3]);
	/* What was on that channel is read before its end; the others are told in their turn. */
	cr_assert(readable(PATIENCE_MS));
	settle();
	cr_assert_geq(n_seen[IPC_EVENT_REQUEST], 1);
	cr_assert_eq(ipc_loop_next(loop, &event, 0), 0);
	while (n_seen[IPC_EVENT_REQUEST] < N_CHANNELS) {
		cr_assert(readable(PATIENCE_MS), "a wake was lost");
		settle();
	}
	stop();
}

CASE(come_before_the_loop_goes)
{
	put_in_all(more);
	ipc_loop_free(loop);
	loop = NULL;
	cr_assert(readable(PATIENCE_MS));
	while (n_seen[IPC_EVENT_CHANNEL] < 2 * N_CHANNELS) {
		cr_assert(readable(PATIENCE_MS));
		settle();
	}
	cr_assert_eq(n_seen[IPC_EVENT_REQUEST], N_CHANNELS);
	stop();
}

CASE(are_the_parents_where_it_forked)
{
	struct ipc_event event;
	pid_t child;

	put_in_all(more);
	child = fork();
	if (child == 0) {
		int r = ipc_loop_next(loop, &event, 0);

		ipc_loop_free(loop);
		_exit(r == -ECHILD ? 0 : 1);
	}
	cr_assert_eq(reap(child), 0);
	cr_assert_not(readable(0), "the child rang");
	cr_assert_eq(ipc_loop_next(loop, &event, 0), 0);
	assert_woken(N_CHANNELS);
	stop();
}

/* Replies, and room that is given back, are put off too, and come before the server sleeps. */
static void serve_in_batches(uint32_t wait)
{
	struct ipc_loop_opts opts = {
		.size = sizeof(opts),
		.wait = wait,
		.flags = IPC_LOOP_BATCH_WAKES,
	};
	struct ipc_event event;
	unsigned n_answered = 0;
	ipc_server *server;
	int r;

	memset(n_seen, 0, sizeof(n_seen));
	world_start(&world);
	opts.broker = world_socket(&world, "shop");
	r = ipc_loop_new(&loop, &opts);
	if (r < 0 && wait == IPC_WAIT_URING) {
		world_stop(&world);
		cr_skip_test("io_uring is refused: %s", strerror(-r));
	}
	sleeper = world_loop(&world, "web", IPC_WAIT_EPOLL);
	cr_assert_eq(ipc_serve(loop, &other_service, NULL, &server), 0);
	for (unsigned i = 0; i < N_CHANNELS; i++)
		cr_assert_eq(ipc_open(sleeper, &other_service,
				      &(struct ipc_open_opts){.size = sizeof(struct ipc_open_opts),
							      .flags = IPC_OPEN_ASYNC},
				      &channels[i]),
			     0);
	while (n_seen[IPC_EVENT_CHANNEL] < N_CHANNELS) {
		settle();
		(void)ipc_loop_next(loop, &event, 0);
	}
	for (unsigned i = 0; i < N_CHANNELS; i++)
		(void)put(channels[i], 0);
	put_to_sleep();
	while (n_answered < N_CHANNELS) {
		cr_assert_eq(ipc_loop_next(loop, &event, (int64_t)PATIENCE_NS), 1);
		if (event.kind != IPC_EVENT_REQUEST)
			continue;
		reply_with(event.call, 8, 1);
		n_answered++;
	}
	cr_assert_eq(n_seen[IPC_EVENT_MESSAGE], 0);
	do
		r = ipc_loop_next(loop, &event, 0);
	while (r == 1 || r == -EINTR);
	cr_assert_eq(r, 0);
	cr_assert(readable(PATIENCE_MS));
	settle();
	cr_assert_eq(n_seen[IPC_EVENT_MESSAGE], N_CHANNELS);
	stop();
}

Test(wakes, of_a_servers_replies_come_before_it_sleeps_epoll, .timeout = 60)
{
	serve_in_batches(IPC_WAIT_EPOLL);
}

Test(wakes, of_a_servers_replies_come_before_it_sleeps_uring, .timeout = 60)
{
	serve_in_batches(IPC_WAIT_URING);
}
