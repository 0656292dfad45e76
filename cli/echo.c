// SPDX-License-Identifier: Apache-2.0
/* Written against the public headers alone, like a user's program that has no schema. */
#include "echo.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "cpus.h"
#include "payload.h"
#include "rounds.h"

static const struct ipc_method methods[] = {
	{.name = "Echo", .id = ECHO_ECHO},   {.name = "Play", .id = ECHO_PLAY},
	{.name = "Stamp", .id = ECHO_STAMP}, {.name = "Stream", .id = ECHO_STREAM},
	{.name = "Flood", .id = ECHO_FLOOD}, {.name = "Polite", .id = ECHO_POLITE},
};

static const struct ipc_service service = {
	.name = ECHO_SERVICE,
	.methods = methods,
	.n_methods = ECHO_N_METHODS,
};

struct command {
	uint32_t what, n;
};

struct stamps {
	uint64_t took_ns, sent_ns;
};

struct stream {
	uint64_t n, bytes, batch;
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

static int answer_with(ipc_call *call, const void *data, size_t bytes)
{
	struct ipc_room room;
	int r = ipc_reserve(call, bytes, 0, &room);

	if (r < 0)
		return r;
	memcpy(room.data, data, bytes);
	return ipc_commit(call, bytes, IPC_LAST);
}

static int answer_play(const struct ipc_event *event, const struct echo_server *server)
{
	struct command command;
	struct echo_facts facts;
	int r;

	if (event->msg.size_bytes != sizeof(command))
		return ipc_fail(event->call, IPC_INVALID_ARGUMENT, NULL);
	memcpy(&command, event->msg.data, sizeof(command));
	r = echo_facts(event->channel, &facts);
	if (r == 0)
		r = answer_with(event->call, &facts, sizeof(facts));
	if (r < 0 || command.n == 0 || !server->play)
		return r;
	return server->play(server->play_context, command.what, command.n);
}

static int answer_stamp(const struct ipc_event *event)
{
	uint64_t now_ns = ipci_now_ns(), sent_ns;
	struct stamps stamps;

	if (event->msg.size_bytes != sizeof(sent_ns))
		return ipc_fail(event->call, IPC_INVALID_ARGUMENT, NULL);
	memcpy(&sent_ns, event->msg.data, sizeof(sent_ns));
	stamps = (struct stamps){now_ns - sent_ns, ipci_now_ns()};
	return answer_with(event->call, &stamps, sizeof(stamps));
}

/* Message after message, as fast as the client takes them. */
static int send_one_by_one(ipc_call *call, const struct stream *stream)
{
	for (uint64_t i = 0; i < stream->n; i++) {
		struct ipc_room room;
		int r = ipc_reserve(call, stream->bytes, IPC_BLOCK, &room);

		if (r < 0)
			return r;
		payload_write(room.data, stream->bytes, i);
		r = ipc_commit(call, stream->bytes, 0);
		if (r < 0)
			return r;
	}
	return ipc_commit(call, 0, IPC_LAST);
}

/* As many at once as there is room for, up to a batch. */
static int send_batches(ipc_call *call, const struct stream *stream)
{
	struct ipc_room rooms[ECHO_BATCH_MAX];
	size_t sizes[ECHO_BATCH_MAX];

	for (uint64_t i = 0; i < stream->batch; i++)
		sizes[i] = stream->bytes;
	for (uint64_t i = 0; i < stream->n;) {
		uint64_t left = stream->n - i, want = left < stream->batch ? left : stream->batch;
		int r, n = ipc_reserve_batch(call, stream->bytes, (uint32_t)want, IPC_BLOCK, rooms);

		if (n < 0)
			return n;
		for (int room = 0; room < n; room++)
			payload_write(rooms[room].data, stream->bytes, i++);
		r = ipc_commit_batch(call, sizes, (uint32_t)n, 0);
		if (r < 0)
			return r;
	}
	return ipc_commit(call, 0, IPC_LAST);
}

static int answer_stream(const struct ipc_event *event)
{
	struct stream stream;

	if (event->msg.size_bytes != sizeof(stream))
		return ipc_fail(event->call, IPC_INVALID_ARGUMENT, NULL);
	memcpy(&stream, event->msg.data, sizeof(stream));
	if (stream.batch == 0 || stream.batch > ECHO_BATCH_MAX)
		return ipc_fail(event->call, IPC_INVALID_ARGUMENT, NULL);
	return stream.batch == 1 ? send_one_by_one(event->call, &stream)
				 : send_batches(event->call, &stream);
}

static int answer_flood(const struct ipc_event *event, const struct echo_server *server)
{
	uint64_t n;

	if (!server->n_flood)
		return ipc_fail(event->call, IPC_FAILED_PRECONDITION, NULL);
	/* Relaxed: a count whose only writer is this thread. */
	n = atomic_load_explicit(server->n_flood, memory_order_relaxed);
	if (event->method == ECHO_POLITE)
		return answer_with(event->call, &n, sizeof(n));
	atomic_store_explicit(server->n_flood, n + 1, memory_order_relaxed);
	return answer_with(event->call, &n, 0);
}

static int answer(const struct ipc_event *event, const struct echo_server *server)
{
	switch (event->method) {
	case ECHO_PLAY:
		return answer_play(event, server);
	case ECHO_STAMP:
		return answer_stamp(event);
	case ECHO_STREAM:
		return answer_stream(event);
	case ECHO_FLOOD:
	case ECHO_POLITE:
		return answer_flood(event, server);
	default:
		return ipc_fail(event->call, IPC_UNIMPLEMENTED, NULL);
	}
}

static int serve_forever(ipc_loop *loop, const struct echo_server *server)
{
	struct ipc_event event;

	for (;;) {
		int r = ipc_loop_next(loop, &event, -1);

		if (r == 1 && event.kind == IPC_EVENT_REQUEST) {
			r = event.method == ECHO_ECHO ? answer_echo(&event)
						      : answer(&event, server);
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
					   .flags = server->loop_flags,
					   .wait = server->wait,
					   .broker = socket};
	const struct ipc_serve_opts serve_opts = {.size = sizeof(serve_opts),
						  .max_calls = server->max_calls,
						  .ring_bytes = server->ring_bytes};
	struct ipci_error error = {};
	ipc_server *offered;
	ipc_loop *loop = NULL;
	int r = ipc_loop_new(&loop, &opts);

	if (r < 0)
		(void)ipci_error_set(&error, r, "%s", ipc_loop_error(NULL));
	/* Only now: a loop that is made on one CPU of one does not spin. */
	if (r == 0)
		r = cpus_pin(server->cpu, &error);
	if (r == 0) {
		r = ipc_serve(loop, &service, &serve_opts, &offered);
		if (r < 0)
			(void)ipci_error_set(&error, r, "%s", ipc_loop_error(loop));
	}
	if (r == 0) {
		r = serve_forever(loop, server);
		(void)ipci_error_set(&error, r, "%s", strerror(-r));
	}
	fprintf(stderr, "ipc: the server: %s\n", error.text);
	ipc_loop_free(loop);
	return r;
}

/* ── client ── */

int echo_connect(const char *socket, enum ipc_wait wait, uint32_t flags, ipc_loop **ret,
		 struct ipci_error *error)
{
	const struct ipc_loop_opts opts = {
		.size = sizeof(opts), .flags = flags, .wait = wait, .broker = socket};
	int r = ipc_loop_new(ret, &opts);

	return r < 0 ? ipci_error_set(error, r, "%s", ipc_loop_error(NULL)) : 0;
}

int echo_open(ipc_loop *loop, const struct ipc_open_opts *opts, ipc_channel **ret,
	      struct ipci_error *error)
{
	int r = ipc_open(loop, &service, opts, ret);

	return r < 0 ? ipci_error_set(error, r, "%s", ipc_loop_error(loop)) : 0;
}

int echo_call(ipc_channel *channel, size_t bytes, uint64_t seed)
{
	struct ipc_room room;
	struct ipc_msg msg;
	ipc_call *call;
	int r = ipc_begin(channel, ECHO_ECHO, bytes, NULL, &call, &room);

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

/* Asks with the bytes of one thing, and is answered with those of another. */
static int ask(ipc_channel *channel, enum echo_method method, const void *data, size_t bytes,
	       void *ret, size_t ret_bytes)
{
	struct ipc_room room;
	struct ipc_msg msg;
	ipc_call *call;
	int r = ipc_begin(channel, method, bytes, NULL, &call, &room);

	if (r < 0)
		return r;
	memcpy(room.data, data, bytes);
	r = ipc_transact(call, bytes, &msg);
	if (r != 0)
		return r;
	if (msg.size_bytes != ret_bytes)
		return -EBADMSG;
	memcpy(ret, msg.data, ret_bytes);
	return 0;
}

int echo_play(ipc_channel *channel, uint32_t what, uint32_t n, struct echo_facts *ret)
{
	const struct command command = {what, n};

	return ask(channel, ECHO_PLAY, &command, sizeof(command), ret, sizeof(*ret));
}

int echo_stamp(ipc_channel *channel, struct histogram *one_way)
{
	uint64_t sent_ns = ipci_now_ns();
	struct stamps stamps;
	int r = ask(channel, ECHO_STAMP, &sent_ns, sizeof(sent_ns), &stamps, sizeof(stamps));

	if (r != 0)
		return r;
	histogram_add(one_way, stamps.took_ns * ROUNDS_PS_PER_NS);
	histogram_add(one_way, (ipci_now_ns() - stamps.sent_ns) * ROUNDS_PS_PER_NS);
	return 0;
}

int echo_stream(ipc_channel *channel, uint64_t n, uint64_t bytes, uint32_t batch, ipc_call **ret)
{
	const struct stream stream = {n, bytes, batch};
	struct ipc_room room;
	int r = ipc_begin(channel, ECHO_STREAM, sizeof(stream), NULL, ret, &room);

	if (r < 0)
		return r;
	memcpy(room.data, &stream, sizeof(stream));
	return ipc_commit(*ret, sizeof(stream), IPC_LAST);
}

int echo_error(int r, struct ipci_error *error)
{
	if (r == 0)
		return 0;
	if (r == -EBADMSG)
		return ipci_error_set(error, r, "a payload arrived that is not what was sent");
	return ipci_error_set(error, r < 0 ? r : -EREMOTEIO, "a call failed: %s",
			      r < 0 ? strerror(-r) : ipc_status_name(r));
}

/* Where this file is compiled for another library than the program's, it is known by another name. */
#ifndef ECHO_OPS
#define ECHO_OPS echo_ops
#endif
extern const struct echo_ops ECHO_OPS __attribute__((__visibility__("default")));

const struct echo_ops ECHO_OPS = {
	.serve = echo_serve,
	.connect = echo_connect,
	.open = echo_open,
	.call = echo_call,
	.free = ipc_loop_free,
};
