// SPDX-License-Identifier: Apache-2.0
#include "pair.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#include <criterion/criterion.h>

/* The test's: whose turns pass while there is no room. */
static struct pair *current;

/* What the pair itself wants to know, before the test's handler. */
static void note(struct pair *pair, struct side *side, struct ipc_event *event)
{
	cr_assert_lt(event->kind, N_KINDS);
	cr_assert_eq(event->flags, 0);
	side->n[event->kind]++;
	side->last = *event;
	if (side == &pair->server && event->kind == IPC_EVENT_CHANNEL)
		pair->served = event->status == 0 ? event->channel : NULL;
	if (side->on_event)
		side->on_event(pair, event);
}

static bool look(struct pair *pair, struct side *side)
{
	struct ipc_event event;
	int r;

	if (!side->loop)
		return false;
	memset(&event, 0x5a, sizeof(event));
	r = ipc_loop_next(side->loop, &event, 0);
	cr_assert_geq(r, 0, "ipc_loop_next: %s", strerror(-r));
	if (r == 0) {
		cr_assert_eq(event.kind, 0x5a5a5a5a, "no event, but something was written");
		return false;
	}
	note(pair, side, &event);
	return true;
}

static void sleep_on_both(struct pair *pair, uint64_t deadline_ns)
{
	uint64_t now = now_ns();
	struct pollfd fds[] = {
		{.fd = pair->client.loop ? ipc_loop_fd(pair->client.loop) : -1, .events = POLLIN},
		{.fd = pair->server.loop ? ipc_loop_fd(pair->server.loop) : -1, .events = POLLIN},
	};

	if (now < deadline_ns)
		(void)poll(fds, 2, (int)((deadline_ns - now) / MS_NS) + 1);
}

void pair_turn(struct pair *pair, uint64_t deadline_ns)
{
	bool client = look(pair, &pair->client), server = look(pair, &pair->server);

	if (!client && !server)
		sleep_on_both(pair, deadline_ns);
}

void pair_settle(struct pair *pair)
{
	for (int idle = 0; idle < 4;) {
		bool client = look(pair, &pair->client), server = look(pair, &pair->server);

		idle = client || server ? 0 : idle + 1;
	}
}

static void open_channel(struct pair *pair, const struct pair_opts *opts)
{
	struct ipc_serve_opts serve = {
		.size = sizeof(serve),
		.flags = opts->server_flags,
		.ring_bytes = opts->server_ring_bytes,
		.max_calls = opts->server_max_calls,
		.user = &pair->server,
		.max_in_flight = opts->max_in_flight,
		.max_waiting = opts->max_waiting,
	};
	struct ipc_open_opts open = {
		.size = sizeof(open),
		.flags = IPC_OPEN_ASYNC | opts->client_flags,
		.ring_bytes = opts->client_ring_bytes,
		.max_calls = opts->client_max_calls,
		.user = &pair->client,
	};
	int r = ipc_serve(pair->server.loop, &echo_served, &serve, &pair->service);

	cr_assert_eq(r, 0, "ipc_serve: %s", ipc_loop_error(pair->server.loop));
	r = ipc_open(pair->client.loop, &echo_called, &open, &pair->channel);
	cr_assert_eq(r, 0, "ipc_open: %s", ipc_loop_error(pair->client.loop));
	PUMP_UNTIL(pair, pair->client.n[IPC_EVENT_CHANNEL] && pair->server.n[IPC_EVENT_CHANNEL]);
	cr_assert_eq(pair->client.last.status, 0, "%s", ipc_loop_error(pair->client.loop));
	cr_assert_eq(pair->client.last.channel, pair->channel);
	cr_assert_eq(pair->client.last.user, &pair->client);
	cr_assert_not_null(pair->served);
}

void pair_start(struct pair *pair, const struct pair_opts *opts)
{
	static const struct pair_opts defaults;

	*pair = (struct pair){};
	current = pair;
	if (!opts)
		opts = &defaults;
	world_start(&pair->world);
	pair->server.loop = world_loop_with(&pair->world, "shop", opts->wait,
					    opts->server_loop_flags);
	pair->client.loop = world_loop_with(&pair->world, "web", opts->wait,
					    opts->client_loop_flags);
	open_channel(pair, opts);
}

void pair_stop(struct pair *pair)
{
	ipc_loop_free(pair->client.loop);
	ipc_loop_free(pair->server.loop);
	world_stop(&pair->world);
}

void answer_echo(struct pair *pair, struct ipc_event *event)
{
	struct ipc_room room;

	(void)pair;
	if (event->kind != IPC_EVENT_REQUEST)
		return;
	cr_assert_eq(ipc_reserve(event->call, event->msg.size_bytes, 0, &room), 0);
	memcpy(room.data, event->msg.data, event->msg.size_bytes);
	cr_assert_eq(ipc_commit(event->call, event->msg.size_bytes, IPC_LAST), 0);
}

ipc_call *send_call(ipc_channel *channel, uint32_t method, size_t size_bytes, uint64_t seed,
		    const struct ipc_call_opts *opts)
{
	uint64_t limit_ns = now_ns() + PATIENCE_NS;
	struct ipc_room room;
	ipc_call *call;
	int r;

	while ((r = ipc_begin(channel, method, size_bytes, opts, &call, &room)) == -EAGAIN &&
	       current && now_ns() < limit_ns)
		pair_turn(current, limit_ns);
	cr_assert_eq(r, 0, "ipc_begin: %s", strerror(-r));
	fill(room.data, size_bytes, seed);
	r = ipc_commit(call, size_bytes, IPC_LAST);
	cr_assert_eq(r, 0, "ipc_commit: %s", strerror(-r));
	return call;
}

void reply_with(ipc_call *call, size_t size_bytes, uint64_t seed)
{
	uint64_t limit_ns = now_ns() + PATIENCE_NS;
	struct ipc_room room;
	int r;

	while ((r = ipc_reserve(call, size_bytes, 0, &room)) == -EAGAIN && current &&
	       now_ns() < limit_ns)
		pair_turn(current, limit_ns);
	cr_assert_eq(r, 0, "ipc_reserve: %s", strerror(-r));
	fill(room.data, size_bytes, seed);
	r = ipc_commit(call, size_bytes, IPC_LAST);
	cr_assert_eq(r, 0, "ipc_commit: %s", strerror(-r));
}

struct ipc_channel_info channel_info(ipc_channel *channel)
{
	struct ipc_channel_info info = {.size = sizeof(info)};

	cr_assert_eq(ipc_channel_info(channel, &info), 0);
	return info;
}

struct ipc_call_info call_info(ipc_call *call)
{
	struct ipc_call_info info = {.size = sizeof(info)};

	cr_assert_eq(ipc_call_info(call, &info), 0);
	return info;
}
