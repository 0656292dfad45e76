// SPDX-License-Identifier: Apache-2.0
#include "world.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* In a spawned process a failure is its exit status; no assertion of the test framework may run
 * there. */
static int answer(struct ipc_event *event)
{
	uint64_t size_bytes = event->msg.size_bytes;
	struct ipc_room room;
	int r;

	if (event->method == SERVED_HOLD)
		memcpy(&size_bytes, event->msg.data, sizeof(size_bytes));
	r = ipc_reserve(event->call, size_bytes, 0, &room);
	if (r == -EMSGSIZE)
		return ipc_fail(event->call, IPC_OUT_OF_RANGE, "too long a reply");
	if (r < 0)
		return r;
	if (event->method == SERVED_HOLD)
		fill(room.data, size_bytes, size_bytes);
	else
		memcpy(room.data, event->msg.data, size_bytes);
	return ipc_commit(event->call, size_bytes, IPC_LAST);
}

static int serve_until_lost(ipc_loop *loop)
{
	struct ipc_event event;
	int r;

	for (;;) {
		r = ipc_loop_next(loop, &event, (int64_t)PATIENCE_NS);
		if (r <= 0)
			return r < 0 ? r : -ETIMEDOUT;
		if (event.kind == IPC_EVENT_REQUEST)
			r = answer(&event);
		else if (event.kind == IPC_EVENT_CHANNEL && event.status < 0)
			return 0;
		if (r < 0)
			return r;
	}
}

int serve_echo(const struct world *world, void *arg)
{
	const struct echo_server *server = arg;
	struct ipc_loop_opts loop_opts = {.size = sizeof(loop_opts), .wait = server->wait};
	struct ipc_serve_opts opts = {
		.size = sizeof(opts),
		.ring_bytes = server->ring_bytes,
		.max_calls = server->max_calls,
	};
	ipc_server *service;
	ipc_loop *loop;
	int r;

	loop_opts.broker = world_socket(world, "shop");
	r = ipc_loop_new(&loop, &loop_opts);
	if (r < 0) {
		fprintf(stderr, "echo server: %s\n", ipc_loop_error(NULL));
		return 1;
	}
	r = ipc_serve(loop, &echo_served, &opts, &service);
	if (r == 0)
		r = serve_until_lost(loop);
	if (r < 0)
		fprintf(stderr, "echo server: %s; %s\n", strerror(-r), ipc_loop_error(loop));
	ipc_loop_free(loop);
	return r < 0 || leaked();
}
