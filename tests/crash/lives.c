// SPDX-License-Identifier: Apache-2.0
/*
 * Lives that reach every store: small and large messages, deadlines, calls that are held, failed and
 * cancelled, sleeps, room that is given back, and an end.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "crash.h"

#define ROUNDS 3u
#define REQUESTS 40u /* of a server's life */
#define LARGE 6000u

static const struct ipc_method methods[] = {
	{"Echo", ECHO, 0, 0},
	{"Hold", HOLD, 0, 0},
	{"Fail", FAIL, 0, 0},
	{"Stream", STREAM, 0, 0},
};
const struct ipc_service service = {"crash.Test", methods, 4, 0};

const struct flow victim_flow = {.n_items = 9, .item_bytes = 900, .ring_bytes = 16384};
const struct flow survivor_flow = {
	.n_items = 6000, .item_bytes = 32, .flags = IPC_MORE, .ring_bytes = 1 << 20};

static void need(int r, const char *what, ipc_loop *loop)
{
	if (r >= 0)
		return;
	fprintf(stderr, "victim: %s: %s; %s\n", what, strerror(-r), ipc_loop_error(loop));
	_exit(1);
}

static ipc_loop *connect_to(const char *socket, uint32_t wait)
{
	struct ipc_loop_opts opts = {.size = sizeof(opts), .broker = socket, .wait = wait};
	ipc_loop *loop = NULL;

	need(ipc_loop_new(&loop, &opts), "ipc_loop_new", NULL);
	return loop;
}

/* ── client ── */

static ipc_call *begin(ipc_channel *channel, uint32_t method, size_t size_bytes,
		       uint64_t timeout_ns)
{
	struct ipc_call_opts opts = {.size = sizeof(opts),
				     .flags = IPC_BLOCK,
				     .timeout_ns = timeout_ns};
	struct ipc_room room;
	ipc_call *call;

	need(ipc_begin(channel, method, size_bytes, &opts, &call, &room), "ipc_begin", NULL);
	fill(room.data, size_bytes, size_bytes);
	return call;
}

static void transact(ipc_channel *channel, uint32_t method, size_t size_bytes, uint64_t timeout_ns,
		     int expected)
{
	ipc_call *call = begin(channel, method, size_bytes, timeout_ns);
	struct ipc_msg msg;

	if (ipc_transact(call, size_bytes, &msg) != expected ||
	    (expected == 0 && !filled(msg.data, msg.size_bytes, size_bytes)))
		_exit(2);
}

/* Held until FAIL comes, all but the one that is cancelled. */
static void pipeline(ipc_loop *loop, ipc_channel *channel)
{
	struct ipc_event event;
	unsigned n = 0;

	for (unsigned i = 0; i < HOLDS_MAX; i++) {
		size_t size_bytes = i % 2 ? LARGE : 100;
		ipc_call *call = begin(channel, HOLD, size_bytes, 0);

		need(ipc_commit(call, size_bytes, IPC_LAST | (i == 1 ? IPC_MORE : 0)), "ipc_commit",
		     loop);
		if (i == 2)
			ipc_cancel(call);
		else
			n++;
	}
	transact(channel, FAIL, 1, 0, IPC_NOT_FOUND);
	while (n > 0) {
		need(ipc_loop_next(loop, &event, -1), "ipc_loop_next", loop);
		n -= event.kind == IPC_EVENT_MESSAGE || event.kind == IPC_EVENT_END;
	}
}

static int send_item(ipc_call *call, size_t size_bytes, uint32_t flags)
{
	struct ipc_room room;
	int r = ipc_reserve(call, size_bytes, IPC_BLOCK, &room);

	if (r < 0)
		return r;
	fill(room.data, size_bytes, size_bytes);
	return ipc_commit(call, size_bytes, flags);
}

/* Two, of which the first leaves part of its place empty. */
static int send_batch(ipc_call *call, size_t size_bytes)
{
	const size_t sizes_bytes[] = {size_bytes / 8, size_bytes};
	struct ipc_room rooms[2];
	int n = ipc_reserve_batch(call, size_bytes, 2, IPC_BLOCK, rooms);

	for (int i = 0; i < n; i++)
		fill(rooms[i].data, sizes_bytes[i], sizes_bytes[i]);
	return n < 0 ? n : ipc_commit_batch(call, sizes_bytes, (uint32_t)n, 0);
}

int stream(ipc_call *call, const struct flow *flow)
{
	struct ipc_msg msg;
	int r = ipc_commit(call, flow->item_bytes, flow->flags);

	if (r == 0)
		r = send_batch(call, flow->item_bytes);
	for (unsigned i = 1; i < flow->n_items && r == 0; i++)
		r = send_item(call, flow->item_bytes,
			      i + 1 < flow->n_items ? flow->flags : IPC_LAST);
	/* Whatever stopped it, the call says how it ended. */
	while ((r = ipc_receive(call, &msg)) == 0) {
		if (msg.flags & IPC_MSG_LAST)
			return 0;
		if (!filled(msg.data, msg.size_bytes, msg.size_bytes)) {
			ipc_cancel(call);
			return -EBADMSG;
		}
	}
	if (r < 0)
		ipc_cancel(call);
	return r;
}

/* Held beyond its deadline; the server's answer to that may be the first to come. */
static void expire(ipc_loop *loop, ipc_channel *channel)
{
	ipc_call *call = begin(channel, HOLD, 10, SECOND_NS / 1000);
	struct ipc_event event;

	need(ipc_commit(call, 10, IPC_LAST), "ipc_commit", loop);
	do
		need(ipc_loop_next(loop, &event, -1), "ipc_loop_next", loop);
	while (event.kind != IPC_EVENT_END && event.kind != IPC_EVENT_MESSAGE);
}

void live_as_client(const char *socket, uint32_t wait)
{
	struct ipc_open_opts opts = {.size = sizeof(opts),
				     .timeout_ns = PATIENCE_NS,
				     .ring_bytes = victim_flow.ring_bytes};
	ipc_loop *loop = connect_to(socket, wait);
	ipc_channel *channel = NULL;

	need(ipc_open(loop, &service, &opts, &channel), "ipc_open", loop);
	for (unsigned i = 0; i < ROUNDS; i++) {
		transact(channel, ECHO, 32, 0, 0);
		transact(channel, ECHO, LARGE, PATIENCE_NS, 0);
		pipeline(loop, channel);
		expire(loop, channel);
		if (stream(begin(channel, STREAM, victim_flow.item_bytes, 0), &victim_flow) !=
		    IPC_END)
			_exit(3);
	}
	ipc_channel_free(channel);
	ipc_loop_free(loop);
	_exit(0);
}

/* ── server ── */

static int answer(ipc_call *call, size_t size_bytes)
{
	struct ipc_room room;
	int r = ipc_reserve(call, size_bytes, 0, &room);

	/* Deferred answers may find the ring full, and a lost peer takes none. */
	if (r < 0)
		return ipc_fail(call, IPC_RESOURCE_EXHAUSTED, "no room");
	fill(room.data, size_bytes, size_bytes);
	return ipc_commit(call, size_bytes, IPC_LAST);
}

static int let_go(struct holds *holds, unsigned i)
{
	ipc_call *call = holds->calls[i];

	ipc_release(&holds->kept[i]);
	holds->n--;
	holds->calls[i] = holds->calls[holds->n];
	holds->kept[i] = holds->kept[holds->n];
	holds->kept[holds->n] = (struct ipc_msg){};
	return answer(call, 50);
}

/* What is large stays in the ring until it is let go, where that may be. */
static int hold(struct holds *holds, struct ipc_event *event)
{
	if (holds->n == HOLDS_MAX)
		return answer(event->call, 50);
	holds->calls[holds->n] = event->call;
	holds->kept[holds->n] = event->msg;
	(void)ipc_keep(&holds->kept[holds->n]);
	holds->n++;
	return 0;
}

/* The client has sent its items: here are ours. */
static int stream_back(ipc_call *call, const struct flow *flow)
{
	int r = send_batch(call, flow->item_bytes);

	for (unsigned i = 0; i < flow->n_items && r == 0; i++)
		r = send_item(call, flow->item_bytes, flow->flags);
	return r < 0 ? ipc_fail(call, IPC_UNAVAILABLE, "the stream broke off")
		     : ipc_commit(call, 0, IPC_LAST);
}

int serve_event(struct holds *holds, struct ipc_event *event)
{
	if (event->kind == IPC_EVENT_CANCELLED) {
		for (unsigned i = 0; i < holds->n; i++)
			if (holds->calls[i] == event->call)
				return let_go(holds, i);
		return ipc_fail(event->call, IPC_CANCELLED, NULL);
	}
	if (event->kind == IPC_EVENT_MESSAGE)
		return event->last ? stream_back(event->call, holds->flow) : 0;
	if (event->kind != IPC_EVENT_REQUEST)
		return 0;
	if (!filled(event->msg.data, event->msg.size_bytes, event->msg.size_bytes))
		return -EBADMSG;
	if (event->method == STREAM)
		return 0;
	if (event->method == HOLD)
		return hold(holds, event);
	if (event->method == FAIL) {
		while (holds->n > 0)
			(void)let_go(holds, 0);
		return ipc_fail(event->call, IPC_NOT_FOUND, "there is no such thing");
	}
	return answer(event->call, event->msg.size_bytes);
}

void live_as_server(const char *socket, uint32_t wait)
{
	struct ipc_serve_opts opts = {.size = sizeof(opts), .ring_bytes = victim_flow.ring_bytes};
	ipc_loop *loop = connect_to(socket, wait);
	ipc_server *server = NULL;
	struct holds holds = {.flow = &victim_flow};
	struct ipc_event event;

	need(ipc_serve(loop, &service, &opts, &server), "ipc_serve", loop);
	for (unsigned n = 0; n < REQUESTS;) {
		need(ipc_loop_next(loop, &event, -1), "ipc_loop_next", loop);
		need(serve_event(&holds, &event), "serving", loop);
		n += event.kind == IPC_EVENT_REQUEST;
	}
	ipc_server_free(server);
	while (holds.n > 0)
		(void)let_go(&holds, 0);
	ipc_loop_free(loop);
	_exit(0);
}
