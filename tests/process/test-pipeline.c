// SPDX-License-Identifier: Apache-2.0
/* Many calls at once, from the client's side: order, parking, room. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "pair.h"

#define N_CALLS 256

static struct pair pair;

/* The server keeps what comes, and answers when the test says so. */
static ipc_call *kept[1024];
static unsigned n_kept;
static uint64_t seeds[1024]; /* of kept[] */
static size_t held_bytes[1024];

static void keep_request(struct pair *p, struct ipc_event *event)
{
	(void)p;
	if (event->kind != IPC_EVENT_REQUEST)
		return;
	cr_assert_lt(n_kept, 1024);
	if (event->msg.size_bytes >= sizeof(uint64_t))
		memcpy(&seeds[n_kept], event->msg.data, sizeof(uint64_t));
	held_bytes[n_kept] = event->msg.size_bytes;
	ipc_call_set_user(event->call, &kept[n_kept]);
	kept[n_kept++] = event->call;
}

static void shuffle(unsigned n)
{
	for (unsigned i = n; i > 1; i--) {
		unsigned j = (unsigned)rand() % i;
		ipc_call *call = kept[i - 1];
		uint64_t seed = seeds[i - 1];

		kept[i - 1] = kept[j];
		seeds[i - 1] = seeds[j];
		kept[j] = call;
		seeds[j] = seed;
	}
}

/* A request whose first bytes are its seed: whoever answers knows it. */
static int try_send(uint64_t seed, size_t size_bytes, const struct ipc_call_opts *opts,
		    ipc_call **ret)
{
	struct ipc_room room;
	int r = ipc_begin(pair.channel, HOLD, size_bytes, opts, ret, &room);

	if (r < 0)
		return r;
	memset(room.data, 0, size_bytes);
	memcpy(room.data, &seed, sizeof(seed));
	cr_assert_eq(ipc_commit(*ret, size_bytes, IPC_LAST), 0);
	return 0;
}

static ipc_call *send_seed(uint64_t seed, size_t size_bytes, void *user)
{
	struct ipc_call_opts opts = {.size = sizeof(opts), .user = user};
	ipc_call *call;
	int r = try_send(seed, size_bytes, &opts, &call);

	cr_assert_eq(r, 0, "%s", strerror(-r));
	return call;
}

struct sent {
	ipc_call *call;
	uint64_t seed;
	unsigned n_ended;
};
static struct sent sent[1024];

static void check_reply(struct pair *p, struct ipc_event *event)
{
	struct sent *s = event->user;

	(void)p;
	if (event->kind != IPC_EVENT_MESSAGE)
		return;
	cr_assert_eq(event->call, s->call);
	cr_assert_eq(ipc_call_user(event->call), s);
	cr_assert_eq(event->channel, pair.channel);
	cr_assert_eq(event->last, 1);
	cr_assert_eq(event->status, 0);
	cr_assert(filled(event->msg.data, event->msg.size_bytes, s->seed));
	s->n_ended++;
}

static void send_all(unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		sent[i].seed = 1000 + i;
		sent[i].n_ended = 0;
		sent[i].call = send_seed(sent[i].seed, 8 + i % 100, &sent[i]);
	}
}

static void start(const struct pair_opts *opts)
{
	pair_start(&pair, opts);
	pair.server.on_event = keep_request;
	pair.client.on_event = check_reply;
}

Test(pipeline, replies_to_256_calls_come_in_any_order, .timeout = 60)
{
	start(NULL);
	for (unsigned round = 0; round < 20; round++) {
		unsigned before = pair.client.n[IPC_EVENT_MESSAGE];

		n_kept = 0;
		send_all(N_CALLS);
		PUMP_UNTIL(&pair, n_kept == N_CALLS);
		for (unsigned i = 0; i < N_CALLS; i++)
			cr_assert_eq(seeds[i], 1000 + i, "requests came out of order");
		shuffle(N_CALLS);
		for (unsigned i = 0; i < N_CALLS; i++)
			reply_with(kept[i], (size_t)rand() % 150, seeds[i]);
		PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_MESSAGE] == before + N_CALLS);
		for (unsigned i = 0; i < N_CALLS; i++)
			cr_assert_eq(sent[i].n_ended, 1);
		pair_settle(&pair);
		cr_assert_eq(channel_info(pair.channel).n_calls, 0);
		cr_assert_eq(channel_info(pair.served).n_calls, 0);
	}
	pair_stop(&pair);
}

Test(pipeline, a_call_too_many_is_eagain_and_writable_follows_when_one_ends, .timeout = 30)
{
	struct ipc_room room = {};
	ipc_call *call = NULL;

	start(NULL);
	send_all(N_CALLS);
	cr_assert_eq(channel_info(pair.channel).n_calls, N_CALLS);
	for (int i = 0; i < 3; i++)
		cr_assert_eq(ipc_begin(pair.channel, ECHO, 0, NULL, &call, &room), -EAGAIN);
	cr_assert(!call && !room.data);
	PUMP_UNTIL(&pair, n_kept == N_CALLS);
	pair_settle(&pair);
	cr_assert_eq(pair.client.n[IPC_EVENT_WRITABLE], 0);
	reply_with(kept[17], 10, seeds[17]);
	PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_WRITABLE]);
	cr_assert_eq(pair.client.n[IPC_EVENT_MESSAGE], 1);
	sent[17].call = send_seed(sent[17].seed, 8, &sent[17]);
	cr_assert_eq(ipc_begin(pair.channel, ECHO, 0, NULL, &call, &room), -EAGAIN);
	pair_stop(&pair);
}

/* The server takes requests and answers none: nothing but room can wake the client. */
Test(pipeline, room_too_little_is_eagain_and_writable_follows_when_the_server_took_requests,
     .timeout = 30)
{
	struct pair_opts opts = {.client_ring_bytes = 8192};
	unsigned n = 0;
	ipc_call *call;
	int r;

	start(&opts);
	pair_settle(&pair);
	while ((r = try_send(n, 1000, NULL, &call)) == 0)
		n++;
	cr_assert_eq(r, -EAGAIN);
	cr_assert_geq(n, 6);
	pair.client.on_event = NULL;
	PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_WRITABLE] == 1);
	cr_assert_eq(try_send(n, 1000, NULL, &call), 0);
	PUMP_UNTIL(&pair, n_kept == n + 1);
	pair_settle(&pair);
	cr_assert_eq(pair.client.n[IPC_EVENT_WRITABLE], 1, "WRITABLE came twice for one -EAGAIN");
	pair_stop(&pair);
}

/* The client is asleep, for frames alone, when it finds no room; then it sleeps again. */
Test(pipeline, writable_comes_to_a_client_that_slept_before_it_found_no_room, .timeout = 30)
{
	struct pair_opts opts = {.client_ring_bytes = 8192};
	struct ipc_event event;
	unsigned n = 0;
	ipc_call *call;

	start(&opts);
	pair.client.on_event = NULL;
	pair_settle(&pair);
	while (try_send(n, 1000, NULL, &call) == 0) {
		n++;
		cr_assert_eq(ipc_loop_next(pair.client.loop, &event, 0), 0);
	}
	PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_WRITABLE] == 1);
	pair_stop(&pair);
}

/* Likewise for a server's deferred replies: nothing comes from the client any more but room. */
Test(pipeline, writable_comes_to_a_server_that_slept_before_it_found_no_room, .timeout = 30)
{
	struct pair_opts opts = {.server_ring_bytes = 8192};
	struct ipc_room room;
	unsigned n = 0;

	start(&opts);
	pair.client.on_event = NULL;
	send_all(30);
	PUMP_UNTIL(&pair, n_kept == 30);
	pair_settle(&pair);
	while (ipc_reserve(kept[n], 1000, 0, &room) == 0)
		cr_assert_eq(ipc_commit(kept[n++], 1000, IPC_LAST), 0);
	PUMP_UNTIL(&pair, pair.server.n[IPC_EVENT_WRITABLE] == 1);
	cr_assert_eq(pair.server.last.channel, pair.served);
	while (n < 30) {
		if (ipc_reserve(kept[n], 1000, 0, &room) == 0)
			cr_assert_eq(ipc_commit(kept[n++], 1000, IPC_LAST), 0);
		else
			pair_turn(&pair, now_ns() + SECOND_NS);
	}
	PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_MESSAGE] == 30);
	pair_stop(&pair);
}

/* Room came while a small room was open; that one is given up, and nothing else happens. */
Test(pipeline, writable_comes_when_an_abort_closes_the_room_that_was_in_its_way, .timeout = 30)
{
	struct pair_opts opts = {.client_ring_bytes = 8192};
	struct ipc_room room;
	ipc_call *call, *open;
	unsigned n = 0;

	for (int by_cancel = 0; by_cancel < 2; by_cancel++) {
		n_kept = n = 0;
		start(&opts);
		pair.client.on_event = NULL;
		while (try_send(n, 1000, NULL, &call) == 0)
			n++;
		cr_assert_eq(ipc_begin(pair.channel, HOLD, 8, NULL, &open, &room), 0);
		PUMP_UNTIL(&pair, n_kept == n);
		pair_settle(&pair);
		cr_assert_eq(pair.client.n[IPC_EVENT_WRITABLE], 0,
			     "WRITABLE although a room is open");
		if (by_cancel)
			ipc_cancel(open);
		else
			ipc_abort(open);
		PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_WRITABLE] == 1);
		pair_stop(&pair);
	}
}

Test(pipeline, receive_takes_replies_in_any_order_and_parks_the_others, .timeout = 30)
{
	struct ipc_msg msg;

	start(NULL);
	send_all(N_CALLS);
	PUMP_UNTIL(&pair, n_kept == N_CALLS);
	for (unsigned i = 0; i < N_CALLS; i++)
		reply_with(kept[i], seeds[i] % 100, seeds[i]);
	for (unsigned i = N_CALLS; i-- > 0;) {
		memset(&msg, 0, sizeof(msg));
		cr_assert_eq(ipc_receive(sent[i].call, &msg), 0);
		cr_assert_eq(msg.size_bytes, sent[i].seed % 100);
		cr_assert(filled(msg.data, msg.size_bytes, sent[i].seed));
		cr_assert_eq((uintptr_t)msg.data % 16, 0);
		cr_assert_eq(call_info(sent[i].call).fate, IPC_FATE_EXECUTED);
		cr_assert_eq(call_info(sent[i].call).status, 0);
	}
	pair_settle(&pair);
	cr_assert_eq(pair.client.n[IPC_EVENT_MESSAGE], 0, "a reply was reported twice");
	pair_stop(&pair);
}

static void echo_process_pair(struct world *world, pid_t *server, ipc_loop **loop,
			      ipc_channel **channel)
{
	struct echo_server echo = {};
	struct ipc_open_opts opts = {.size = sizeof(opts), .timeout_ns = PATIENCE_NS};

	world_start(world);
	*server = spawn(serve_echo, world, &echo);
	*loop = world_loop(world, "web", IPC_WAIT_AUTO);
	cr_assert_eq(ipc_open(*loop, &echo_called, &opts, channel), 0, "%s", ipc_loop_error(*loop));
}

Test(pipeline, transact_parks_the_replies_of_calls_that_were_sent_before, .timeout = 30)
{
	struct world world;
	struct ipc_event event;
	struct ipc_msg msg;
	ipc_channel *channel;
	ipc_call *calls[20], *call;
	bool seen[20] = {};
	struct ipc_room room;
	ipc_loop *loop;
	pid_t server;

	echo_process_pair(&world, &server, &loop, &channel);
	for (unsigned i = 0; i < 20; i++)
		calls[i] = send_call(channel, ECHO, i == 3 ? 6000 : 10 + i, i, NULL);
	cr_assert_eq(ipc_begin(channel, ECHO, 50, NULL, &call, &room), 0);
	fill(room.data, 50, 999);
	cr_assert_eq(ipc_transact(call, 50, &msg), 0);
	cr_assert(filled(msg.data, 50, 999));
	/* The server answers in order, so all are here. One of them is asked for. */
	cr_assert_eq(ipc_receive(calls[3], &msg), 0);
	cr_assert_eq(msg.size_bytes, 6000);
	cr_assert(filled(msg.data, 6000, 3));
	seen[3] = true;
	for (unsigned n = 0; n < 19; n++) {
		unsigned i = 0;

		cr_assert_eq(ipc_loop_next(loop, &event, 0), 1);
		cr_assert_eq(event.kind, IPC_EVENT_MESSAGE);
		while (calls[i] != event.call || seen[i])
			cr_assert_lt(++i, 20);
		seen[i] = true;
		cr_assert_eq(event.msg.size_bytes, 10 + i);
		cr_assert(filled(event.msg.data, event.msg.size_bytes, i));
	}
	cr_assert_eq(ipc_loop_next(loop, &event, 0), 0);
	ipc_loop_free(loop);
	cr_assert_eq(reap(server), 0);
	world_stop(&world);
}

Test(pipeline, begin_that_may_block_waits_for_room_and_keeps_what_is_received, .timeout = 60)
{
	struct ipc_call_opts opts = {.size = sizeof(opts), .flags = IPC_BLOCK};
	struct world world;
	struct ipc_event event;
	ipc_channel *channel;
	struct ipc_room room;
	unsigned n_sent = 0, n_answered = 0;
	ipc_loop *loop;
	ipc_call *call;
	pid_t server;
	int r;

	echo_process_pair(&world, &server, &loop, &channel);
	while (n_answered < 2000) {
		opts.user = (void *)(uintptr_t)(n_sent + 1);
		r = n_sent < 2000 ? ipc_begin(channel, ECHO, 3000, &opts, &call, &room) : -EAGAIN;
		if (r == 0) {
			fill(room.data, 3000, n_sent++);
			cr_assert_eq(ipc_commit(call, 3000, IPC_LAST), 0);
			continue;
		}
		/* Only for want of a call, and then there is a reply to take. */
		cr_assert_eq(r, -EAGAIN);
		cr_assert_eq(ipc_loop_next(loop, &event, (int64_t)PATIENCE_NS), 1);
		if (event.kind != IPC_EVENT_MESSAGE)
			continue;
		cr_assert_eq((uintptr_t)event.user, n_answered + 1, "replies came out of order");
		cr_assert(filled(event.msg.data, 3000, n_answered++));
	}
	ipc_loop_free(loop);
	cr_assert_eq(reap(server), 0);
	world_stop(&world);
}

Test(pipeline, begin_that_may_block_gives_up_at_its_deadline, .timeout = 30)
{
	struct pair_opts small = {.client_ring_bytes = 8192, .client_max_calls = 20};
	struct ipc_call_opts opts = {.size = sizeof(opts),
				     .flags = IPC_BLOCK,
				     .timeout_ns = 30 * MS_NS};
	struct ipc_room room = {};
	ipc_call *call = NULL;
	uint64_t started_ns;
	unsigned n = 0;

	start(&small);
	while (try_send(n, 1000, NULL, &call) == 0)
		n++;
	call = NULL;
	started_ns = now_ns();
	cr_assert_eq(ipc_begin(pair.channel, HOLD, 1000, &opts, &call, &room), -ETIMEDOUT);
	cr_assert_geq(now_ns() - started_ns, 30 * MS_NS);
	cr_assert(!call && !room.data);
	PUMP_UNTIL(&pair, n_kept == n);
	while (n < 20)
		send_seed(n++, 8, NULL);
	cr_assert_eq(ipc_begin(pair.channel, HOLD, 8, &opts, &call, &room), -ETIMEDOUT);
	cr_assert(!call && !room.data);
	pair_stop(&pair);
}

Test(pipeline, commits_with_more_to_follow_arrive_when_the_loop_is_asked_next, .timeout = 30)
{
	ipc_call *call;
	struct ipc_room room;

	start(NULL);
	pair_settle(&pair);
	for (unsigned i = 0; i < 5; i++) {
		cr_assert_eq(ipc_begin(pair.channel, HOLD, 8, NULL, &call, &room), 0);
		memset(room.data, 0, 8);
		cr_assert_eq(ipc_commit(call, 8, IPC_LAST | IPC_MORE), 0);
	}
	PUMP_UNTIL(&pair, n_kept == 5);
	pair_settle(&pair);
	pair.client.on_event = NULL;
	for (unsigned i = 0; i < 5; i++) {
		cr_assert_eq(ipc_reserve(kept[i], 8, 0, &room), 0);
		cr_assert_eq(ipc_commit(kept[i], 8, IPC_LAST | IPC_MORE), 0);
	}
	PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_MESSAGE] == 5);
	pair_stop(&pair);
}

Test(pipeline, a_call_committed_with_more_to_follow_can_be_waited_for, .timeout = 30)
{
	struct world world;
	ipc_channel *channel;
	struct ipc_room room;
	struct ipc_msg msg;
	ipc_loop *loop;
	ipc_call *call;
	pid_t server;

	echo_process_pair(&world, &server, &loop, &channel);
	for (unsigned i = 0; i < 10; i++) {
		cr_assert_eq(ipc_begin(channel, ECHO, 8, NULL, &call, &room), 0);
		fill(room.data, 8, i);
		cr_assert_eq(ipc_commit(call, 8, IPC_LAST | IPC_MORE), 0);
		cr_assert_eq(ipc_receive(call, &msg), 0);
		cr_assert(filled(msg.data, 8, i));
	}
	ipc_loop_free(loop);
	cr_assert_eq(reap(server), 0);
	world_stop(&world);
}
