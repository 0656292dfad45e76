// SPDX-License-Identifier: Apache-2.0
/* A forked child may free, and make its own; what is its parent's goes on as if nothing had
 * happened. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "pair.h"

static struct pair pair;
static ipc_call *sent, *begun, *served, *deferred;
static struct ipc_msg small, large;

static void keep_request(struct pair *p, struct ipc_event *event)
{
	(void)p;
	if (event->kind != IPC_EVENT_REQUEST)
		return;
	if (!served)
		served = event->call;
	else if (!deferred)
		deferred = event->call;
}

/* Something of everything: sent, begun, served and deferred calls, an open room, kept messages. */
static void start(void)
{
	struct ipc_room room;

	served = deferred = NULL;
	pair_start(&pair, NULL);
	pair.server.on_event = answer_echo;
	(void)send_call(pair.channel, ECHO, 50, 1, NULL);
	PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_MESSAGE] == 1);
	small = pair.client.last.msg;
	cr_assert_eq(ipc_keep(&small), 0);
	(void)send_call(pair.channel, ECHO, 5000, 2, NULL);
	PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_MESSAGE] == 2);
	large = pair.client.last.msg;
	cr_assert_eq(ipc_keep(&large), 0);
	pair.server.on_event = keep_request;
	(void)send_call(pair.channel, HOLD, 10, 1, NULL);
	sent = send_call(pair.channel, HOLD, 10, 1, NULL);
	PUMP_UNTIL(&pair, deferred);
	cr_assert_eq(ipc_begin(pair.channel, HOLD, 10, NULL, &begun, &room), 0);
	cr_assert_eq(ipc_reserve(served, 10, 0, &room), 0);
}

/* All that was open before the fork is brought to its end, and more. */
static void check_parent(void)
{
	cr_assert(filled(small.data, 50, 1) && filled(large.data, 5000, 2));
	cr_assert_eq(ipc_commit(begun, 10, IPC_LAST), 0);
	cr_assert_eq(ipc_commit(served, 10, IPC_LAST), 0);
	PUMP_UNTIL(&pair,
		   pair.server.n[IPC_EVENT_REQUEST] == 5 && pair.client.n[IPC_EVENT_MESSAGE] == 3);
	reply_with(pair.server.last.call, 10, 1);
	pair.server.on_event = answer_echo;
	for (unsigned i = 0; i < 100; i++)
		(void)send_call(pair.channel, ECHO, i % 40, i, NULL);
	PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_MESSAGE] == 104);
	cr_assert_eq(ipc_fail(deferred, IPC_ABORTED, NULL), 0);
	PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_END] == 1);
	cr_assert_eq(pair.client.last.call, sent);
	ipc_release(&small);
	ipc_release(&large);
	pair_settle(&pair);
	cr_assert_eq(channel_info(pair.channel).n_calls, 0);
	pair_stop(&pair);
}

/* Each call of the library on the parent's objects. The number of the first that answers otherwise,
 * or 0. */
static int everything_refuses(void)
{
	struct ipc_channel_info channel_info = {.size = sizeof(channel_info)};
	struct ipc_call_info info = {.size = sizeof(info)};
	struct ipc_open_opts open = {.size = sizeof(open)};
	size_t size_bytes = 4;
	struct ipc_event event;
	struct ipc_room room;
	struct ipc_msg msg;
	ipc_server *server;
	ipc_channel *channel;
	ipc_call *call;
	const int answers[] = {
		ipc_loop_fd(pair.client.loop),
		ipc_loop_next(pair.client.loop, &event, 0),
		ipc_loop_next(pair.server.loop, &event, -1),
		ipc_loop_post(pair.client.loop, NULL),
		ipc_loop_watch(pair.client.loop, 0, EPOLLIN, NULL),
		ipc_serve(pair.client.loop, &mirror_service, NULL, &server),
		ipc_open(pair.client.loop, &other_service, &open, &channel),
		ipc_channel_info(pair.channel, &channel_info),
		ipc_channel_info(pair.served, &channel_info),
		ipc_begin(pair.channel, HOLD, 4, NULL, &call, &room),
		ipc_reserve(deferred, 4, 0, &room),
		ipc_commit(begun, 4, IPC_LAST),
		ipc_commit(served, 4, IPC_LAST),
		ipc_transact(begun, 4, &msg),
		ipc_receive(sent, &msg),
		ipc_fail(deferred, IPC_ABORTED, NULL),
		ipc_server_drain(pair.service),
		ipc_reserve_batch(deferred, 4, 1, 0, &room),
		ipc_commit_batch(served, &size_bytes, 1, IPC_LAST),
		ipc_call_info(sent, &info),
	};

	for (unsigned i = 0; i < sizeof(answers) / sizeof(answers[0]); i++)
		if (answers[i] != -ECHILD)
			return (int)i + 1;
	msg = pair.client.last.msg;
	return ipc_keep(&msg) == -ECHILD || ipc_keep(&msg) == -EINVAL ? 0 : 100;
}

static int refuse_all(const struct world *world, void *arg)
{
	(void)world;
	(void)arg;
	/* Without effect, and without harm. */
	ipc_abort(begun);
	ipc_cancel(sent);
	return everything_refuses();
}

Test(fork, in_the_child_every_call_answers_echild, .timeout = 30)
{
	start();
	cr_assert_eq(reap(spawn(refuse_all, &pair.world, NULL)), 0);
	check_parent();
}

enum { LOOPS_ONLY, OBJECTS_FIRST, MESSAGES_FIRST, MESSAGES_LAST, CHANNEL_THEN_MESSAGES };

static int free_all(const struct world *world, void *arg)
{
	int order = *(int *)arg;

	(void)world;
	if (order == MESSAGES_FIRST) {
		ipc_release(&large);
		ipc_release(&small);
	}
	if (order == OBJECTS_FIRST || order == CHANNEL_THEN_MESSAGES) {
		ipc_channel_free(pair.channel);
		ipc_server_free(pair.service);
	}
	if (order == CHANNEL_THEN_MESSAGES) {
		ipc_release(&large);
		ipc_release(&small);
	}
	ipc_loop_free(pair.client.loop);
	ipc_loop_free(pair.server.loop);
	if (order == MESSAGES_LAST) {
		ipc_release(&small);
		ipc_release(&large);
	}
	return order == LOOPS_ONLY ? 0 : leaked();
}

Test(fork, the_child_may_free_everything_in_any_order, .timeout = 30)
{
	for (int order = LOOPS_ONLY; order <= CHANNEL_THEN_MESSAGES; order++) {
		start();
		cr_assert_eq(reap(spawn(free_all, &pair.world, &order)), 0, "order %d", order);
		check_parent();
	}
}

/* The child makes its own loop beside the inherited one, and calls. */
static int call_anew(const struct world *world, void *arg)
{
	struct ipc_loop_opts loop_opts = {.size = sizeof(loop_opts)};
	struct ipc_open_opts opts = {.size = sizeof(opts), .timeout_ns = PATIENCE_NS};
	struct ipc_room room;
	struct ipc_msg msg;
	ipc_channel *channel;
	ipc_loop *loop;
	ipc_call *call;

	(void)arg;
	loop_opts.broker = world_socket(world, "web");
	if (ipc_loop_new(&loop, &loop_opts) < 0)
		return 1;
	if (ipc_open(loop, &echo_called, &opts, &channel) < 0)
		return 2;
	for (unsigned i = 0; i < 100; i++) {
		if (ipc_begin(channel, ECHO, 6000, NULL, &call, &room) < 0)
			return 3;
		fill(room.data, 6000, i);
		if (ipc_transact(call, 6000, &msg) != 0 || !filled(msg.data, 6000, i))
			return 4;
	}
	ipc_loop_free(loop);
	ipc_loop_free(pair.client.loop);
	return 0;
}

Test(fork, the_child_can_make_a_loop_of_its_own, .timeout = 30)
{
	pid_t pid;

	pair_start(&pair, NULL);
	pair.server.on_event = answer_echo;
	pair_settle(&pair);
	pid = spawn(call_anew, &pair.world, NULL);
	/* Its channel comes and goes. */
	PUMP_UNTIL(&pair, pair.server.n[IPC_EVENT_CHANNEL] == 3);
	cr_assert_eq(reap(pid), 0);
	(void)send_call(pair.channel, ECHO, 10, 1, NULL);
	PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_MESSAGE] == 1);
	pair_stop(&pair);
}

/* A client with a child that does nothing, and lives on when its parent is killed. */
static int be_a_parent(const struct world *world, void *arg)
{
	struct ipc_loop_opts loop_opts = {.size = sizeof(loop_opts)};
	struct ipc_open_opts opts = {.size = sizeof(opts), .timeout_ns = PATIENCE_NS};
	int *fds = arg;
	ipc_channel *channel;
	ipc_loop *loop;
	char byte = 'x';

	loop_opts.broker = world_socket(world, "web");
	if (ipc_loop_new(&loop, &loop_opts) < 0 ||
	    ipc_open(loop, &echo_called, &opts, &channel) < 0)
		return 1;
	if (fork() == 0) {
		/* Until the test closes its end. */
		(void)close(fds[1]);
		(void)!read(fds[0], &byte, 1);
		_exit(0);
	}
	(void)close(fds[0]);
	(void)!write(fds[3], &byte, 1);
	(void)pause();
	return 2;
}

Test(fork, a_child_that_lives_on_does_not_hide_its_parent_s_death, .timeout = 30)
{
	int fds[4];
	char byte;
	pid_t pid;

	pair_start(&pair, NULL);
	cr_assert_eq(pipe(fds), 0);
	cr_assert_eq(pipe(fds + 2), 0);
	pid = spawn(be_a_parent, &pair.world, fds);
	PUMP_UNTIL(&pair, pair.server.n[IPC_EVENT_CHANNEL] == 2);
	(void)close(fds[3]);
	cr_assert_eq(read(fds[2], &byte, 1), 1, "the client has no child yet");
	slay(pid);
	PUMP_UNTIL(&pair, pair.server.n[IPC_EVENT_CHANNEL] == 3);
	cr_assert_eq(pair.server.last.status, -EPIPE);
	/* The child lives: the pipe's other end is open there. */
	(void)close(fds[1]);
	pair_stop(&pair);
}
