// SPDX-License-Identifier: Apache-2.0
/* Written against the public headers alone, like a user's program that has no schema. */
#include "echo.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cpus.h"
#include "payload.h"

enum {
	METHOD_ECHO = 0,
	METHOD_RAW = 1,
};

static const struct ipc_method methods[] = {
	{.name = "Echo", .id = METHOD_ECHO},
	{.name = "Raw", .id = METHOD_RAW},
};

static const struct ipc_service service = {
	.name = ECHO_SERVICE,
	.methods = methods,
	.n_methods = sizeof(methods) / sizeof(*methods),
};

int echo_facts(ipc_channel *channel, struct echo_facts *ret)
{
	struct ipc_channel_info info = {.size = sizeof(info)};
	int r = ipc_channel_info(channel, &info);

	if (r < 0)
		return r;
	*ret = (struct echo_facts){info.n_received, info.n_sleeps, info.n_wakes};
	return 0;
}

/* ── server ── */

static int answer_echo(const struct ipc_event *event)
{
	size_t bytes = event->msg.size_bytes;
	uint64_t sum = payload_sum(event->msg.data, bytes);
	struct ipc_room room;
	int r = ipc_reserve(event->call, bytes, 0, &room);

	if (r < 0)
		return r;
	payload_write(room.data, bytes, sum);
	return ipc_commit(event->call, bytes, IPC_LAST);
}

static int answer_raw(const struct ipc_event *event, struct raw *raw)
{
	struct echo_facts facts;
	struct ipc_room room;
	uint32_t n;
	int r;

	if (!raw || event->msg.size_bytes != sizeof(n))
		return ipc_fail(event->call, IPC_INVALID_ARGUMENT, NULL);
	memcpy(&n, event->msg.data, sizeof(n));
	r = echo_facts(event->channel, &facts);
	if (r == 0)
		r = ipc_reserve(event->call, sizeof(facts), 0, &room);
	if (r < 0)
		return r;
	memcpy(room.data, &facts, sizeof(facts));
	r = ipc_commit(event->call, sizeof(facts), IPC_LAST);
	return r < 0 ? r : raw_echo(raw, n & ~ECHO_RAW_LATE, n & ECHO_RAW_LATE);
}

static int serve_forever(ipc_loop *loop, struct raw *raw)
{
	struct ipc_event event;

	for (;;) {
		int r = ipc_loop_next(loop, &event, -1);

		if (r == 1 && event.kind == IPC_EVENT_REQUEST) {
			r = event.method == METHOD_ECHO ? answer_echo(&event)
							: answer_raw(&event, raw);
			/* The client may be gone; the call is over then all the same. */
			if (r == -EPIPE)
				r = ipc_fail(event.call, IPC_UNAVAILABLE, NULL);
		}
		if (r < 0 && r != -EINTR)
			return r;
	}
}

int echo_serve(const char *socket, void *context)
{
	const struct echo_server *server = context;
	const struct ipc_loop_opts opts = {.size = sizeof(opts),
					   .wait = server->wait,
					   .broker = socket};
	struct ipci_error error = {};
	ipc_server *offered;
	ipc_loop *loop = NULL;
	int r = cpus_pin(server->cpu, &error);

	if (r == 0) {
		r = ipc_loop_new(&loop, &opts);
		if (r < 0)
			(void)ipci_error_set(&error, r, "%s", ipc_loop_error(NULL));
	}
	if (r == 0) {
		r = ipc_serve(loop, &service, NULL, &offered);
		if (r < 0)
			(void)ipci_error_set(&error, r, "%s", ipc_loop_error(loop));
	}
	if (r == 0) {
		r = serve_forever(loop, server->raw);
		(void)ipci_error_set(&error, r, "%s", strerror(-r));
	}
	fprintf(stderr, "ipc: the server: %s\n", error.text);
	ipc_loop_free(loop);
	return r;
}

/* ── client ── */

int echo_connect(const char *socket, enum ipc_wait wait, ipc_loop **ret, struct ipci_error *error)
{
	const struct ipc_loop_opts opts = {.size = sizeof(opts), .wait = wait, .broker = socket};
	int r = ipc_loop_new(ret, &opts);

	return r < 0 ? ipci_error_set(error, r, "%s", ipc_loop_error(NULL)) : 0;
}

int echo_open(ipc_loop *loop, ipc_channel **ret, struct ipci_error *error)
{
	int r = ipc_open(loop, &service, NULL, ret);

	return r < 0 ? ipci_error_set(error, r, "%s", ipc_loop_error(loop)) : 0;
}

int echo_call(ipc_channel *channel, size_t bytes, uint64_t seed)
{
	struct ipc_room room;
	struct ipc_msg msg;
	ipc_call *call;
	int r = ipc_begin(channel, METHOD_ECHO, bytes, NULL, &call, &room);

	if (r < 0)
		return r;
	payload_write(room.data, bytes, seed);
	r = ipc_transact(call, bytes, &msg);
	if (r != 0)
		return r;
	if (msg.size_bytes != bytes ||
	    payload_sum(msg.data, bytes) != payload_expected(bytes, payload_expected(bytes, seed)))
		return -EBADMSG;
	return 0;
}

int echo_raw(ipc_channel *channel, uint32_t n, struct echo_facts *ret)
{
	struct ipc_room room;
	struct ipc_msg msg;
	ipc_call *call;
	int r = ipc_begin(channel, METHOD_RAW, sizeof(n), NULL, &call, &room);

	if (r < 0)
		return r;
	memcpy(room.data, &n, sizeof(n));
	r = ipc_transact(call, sizeof(n), &msg);
	if (r != 0)
		return r;
	if (msg.size_bytes != sizeof(*ret))
		return -EBADMSG;
	memcpy(ret, msg.data, sizeof(*ret));
	return 0;
}
