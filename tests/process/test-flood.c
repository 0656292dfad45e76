// SPDX-License-Identifier: Apache-2.0
/*
 * Both rings full, in every mix: unary calls that wait and that do not, streams from the server,
 * from the client and both ways, all at once over rings of one page, between two processes. Each
 * message carries its number, so that nothing is lost, doubled or out of order; and everything ends.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <criterion/criterion.h>

#include "pair.h"

#define RING 4096
#define N_SLOTS 24u
#define N_MESSAGES 60u /* of a stream, each way */

enum kind { UNARY, FROM_SERVER, FROM_CLIENT, BOTH_WAYS, N_MIXED };

/* What a request begins with; items begin with their number. */
struct order {
	uint32_t kind, n;
};

static size_t size_of(uint32_t n)
{
	return sizeof(struct order) + n * 37 % 400;
}

static int send_number(ipc_call *call, uint32_t n, uint32_t flags)
{
	struct ipc_room room;
	int r = ipc_reserve(call, size_of(n), flags, &room);

	if (r < 0)
		return r;
	memset(room.data, (int)n, size_of(n));
	memcpy(room.data, &n, sizeof(n));
	return ipc_commit(call, size_of(n), flags & IPC_LAST);
}

static bool is_number(const struct ipc_msg *msg, uint32_t n)
{
	const uint8_t *bytes = msg->data;

	if (msg->size_bytes != size_of(n) || memcmp(bytes, &n, sizeof(n)) != 0)
		return false;
	for (size_t i = sizeof(n); i < msg->size_bytes; i++)
		if (bytes[i] != (uint8_t)n)
			return false;
	return true;
}

/* ── the server's process ── */

struct task {
	ipc_call *call; /* NULL: free */
	struct order order;
	uint32_t sent, received;
	bool client_ended;
};

struct host {
	struct task tasks[N_SLOTS];
	uint32_t block; /* 0 or IPC_BLOCK */
};

/* As much as can be said on the call now; then its end. 0, or -errno but -EAGAIN. */
static int advance(struct host *host, struct task *task)
{
	const uint32_t kind = task->order.kind;
	int r = 0;

	while (kind == FROM_SERVER || kind == BOTH_WAYS) {
		if (task->sent == task->order.n ||
		    (kind == BOTH_WAYS && task->sent == task->received))
			break;
		r = send_number(task->call, task->sent, host->block);
		if (r < 0)
			return r == -EAGAIN ? 0 : r;
		task->sent++;
	}
	if ((kind == FROM_CLIENT || kind == BOTH_WAYS) && !task->client_ended)
		return 0;
	if (kind == FROM_SERVER && task->order.n % 2)
		r = ipc_commit(task->call, 0, IPC_LAST);
	else
		r = send_number(task->call, task->received, host->block | IPC_LAST);
	if (r == -EAGAIN)
		return 0;
	task->call = NULL;
	return r;
}

static struct task *task_of(struct host *host, const ipc_call *call)
{
	for (unsigned i = 0; i < N_SLOTS; i++)
		if (host->tasks[i].call == call)
			return &host->tasks[i];
	return NULL;
}

static int advance_all(struct host *host)
{
	for (unsigned i = 0; i < N_SLOTS; i++) {
		int r = host->tasks[i].call ? advance(host, &host->tasks[i]) : 0;

		if (r < 0)
			return r;
	}
	return 0;
}

/* 0 go on; 1 the client has gone; 2 and above: what is wrong. */
static int host_event(struct host *host, struct ipc_event *event)
{
	struct task *task = event->call ? task_of(host, event->call) : NULL;

	switch (event->kind) {
	case IPC_EVENT_REQUEST:
		task = task_of(host, NULL);
		if (!task || event->msg.size_bytes != sizeof(struct order))
			return 2;
		*task = (struct task){.call = event->call};
		memcpy(&task->order, event->msg.data, sizeof(task->order));
		return advance(host, task) < 0 ? 3 : 0;
	case IPC_EVENT_MESSAGE:
		if (!task || !is_number(&event->msg, task->received))
			return 4;
		task->received++;
		task->client_ended = event->last;
		return advance(host, task) < 0 ? 5 : 0;
	case IPC_EVENT_END:
		if (!task || event->status)
			return 6;
		task->client_ended = true;
		return advance(host, task) < 0 ? 7 : 0;
	case IPC_EVENT_WRITABLE:
		return advance_all(host) < 0 ? 8 : 0;
	case IPC_EVENT_CHANNEL:
		return event->status < 0;
	default:
		return 9;
	}
}

static int serve(const struct world *world, void *block)
{
	struct ipc_serve_opts opts = {.size = sizeof(opts),
				      .ring_bytes = RING,
				      .max_calls = N_SLOTS};
	static struct host host;
	struct ipc_event event;
	ipc_server *server;
	ipc_loop *loop = world_loop(world, "shop", IPC_WAIT_AUTO);
	int r = ipc_serve(loop, &echo_served, &opts, &server);

	host.block = block ? IPC_BLOCK : 0;
	while (r == 0) {
		r = ipc_loop_next(loop, &event, (int64_t)PATIENCE_NS);
		r = r == 1 ? host_event(&host, &event) : 10;
	}
	ipc_loop_free(loop);
	return r == 1 ? 0 : r;
}

/* ── the client ── */

struct flow {
	ipc_call *call; /* NULL: not begun, or ended */
	enum kind kind;
	uint32_t n, sent, received;
	bool ended; /* its own side */
};

static struct client {
	ipc_loop *loop;
	ipc_channel *channel;
	struct flow flows[N_SLOTS];
	unsigned kinds; /* a bit a kind: which are in the mix */
	uint32_t block; /* 0 or IPC_BLOCK: may steps of the client wait? */
	unsigned n_begun, n_ended, n_calls;
	bool moved; /* something was done in this round */
} c;

static uint32_t draw(uint32_t below)
{
	return (uint32_t)rand() % below;
}

static enum kind draw_kind(void)
{
	enum kind kind;

	do
		kind = draw(N_MIXED);
	while (!(c.kinds & 1u << kind));
	return kind;
}

static void received(struct flow *flow, const struct ipc_msg *msg, bool last)
{
	/* A server's last message carries how many it got; the others their own number. */
	cr_assert(is_number(msg, last ? flow->sent : flow->received), "message %u of kind %d",
		  flow->received, (int)flow->kind);
	if (!last) {
		flow->received++;
		return;
	}
	cr_assert_eq(flow->received,
		     flow->kind == FROM_SERVER || flow->kind == BOTH_WAYS ? flow->n : 0);
	flow->call = NULL;
	c.n_ended++;
}

static void ended(struct flow *flow, int status)
{
	cr_assert_eq(status, IPC_OK, "%s", ipc_status_name(status));
	cr_assert_eq(flow->received, flow->n);
	flow->call = NULL;
	c.n_ended++;
}

static void begin(struct flow *flow)
{
	struct ipc_call_opts opts = {.size = sizeof(opts),
				     .user = flow,
				     .flags = draw(2) ? c.block : 0};
	struct order order = {.kind = draw_kind(), .n = 1 + draw(N_MESSAGES)};
	bool one_way = order.kind == UNARY || order.kind == FROM_SERVER;
	struct ipc_room room;
	ipc_call *call;
	int r = ipc_begin(c.channel, ECHO, sizeof(order), &opts, &call, &room);

	if (r == -EAGAIN)
		return;
	cr_assert_eq(r, 0, "%s: %s", strerror(-r), ipc_loop_error(c.loop));
	memcpy(room.data, &order, sizeof(order));
	*flow = (struct flow){.call = call, .kind = order.kind, .n = order.n, .ended = one_way};
	if (order.kind == UNARY && c.block && draw(2)) {
		struct ipc_msg msg;

		cr_assert_eq(ipc_transact(call, sizeof(order), &msg), 0);
		received(flow, &msg, true);
	} else {
		cr_assert_eq(ipc_commit(call, sizeof(order), one_way ? IPC_LAST : 0), 0);
	}
	c.n_begun++;
	c.moved = true;
}

static void say(struct flow *flow)
{
	uint32_t flags = draw(2) ? c.block : 0;
	int r;

	if (flow->sent == flow->n) {
		cr_assert_eq(ipc_commit(flow->call, 0, IPC_LAST), 0);
		flow->ended = c.moved = true;
		return;
	}
	if (flow->sent == flow->n - 1 && draw(2))
		flags |= IPC_LAST;
	r = send_number(flow->call, flow->sent, flags);
	if (r == -EAGAIN)
		return;
	cr_assert_eq(r, 0, "%s: %s", strerror(-r), ipc_loop_error(c.loop));
	flow->sent++;
	flow->ended = flags & IPC_LAST;
	c.moved = true;
}

/* Waits for what is sure to come: the server has all that it needs. */
static void hear(struct flow *flow)
{
	struct ipc_msg msg;
	int r = ipc_receive(flow->call, &msg);

	cr_assert(r == 0 || r == IPC_END, "%d", r);
	if (r == 0)
		received(flow, &msg, msg.flags & IPC_MSG_LAST);
	else
		ended(flow, IPC_OK);
	c.moved = true;
}

static void take_event(int64_t timeout_ns)
{
	struct ipc_event event;
	int r = ipc_loop_next(c.loop, &event, timeout_ns);

	/* A child of an earlier world has ended. */
	if (r == -EINTR)
		return;
	cr_assert_geq(r, 0, "%s", strerror(-r));
	cr_assert(r == 1 || timeout_ns == 0, "nobody moves any more");
	if (r == 0)
		return;
	if (event.kind == IPC_EVENT_MESSAGE)
		received(event.user, &event.msg, event.last);
	else if (event.kind == IPC_EVENT_END)
		ended(event.user, event.status);
	else
		cr_assert_eq(event.kind, IPC_EVENT_WRITABLE);
	c.moved = true;
}

static void flood(unsigned kinds, bool client_blocks, bool server_blocks, unsigned n_calls)
{
	struct ipc_open_opts open = {.size = sizeof(open),
				     .ring_bytes = RING,
				     .max_calls = N_SLOTS};
	struct world world;
	pid_t server;

	world_start(&world);
	server = spawn(serve, &world, server_blocks ? &world : NULL);
	c = (struct client){.kinds = kinds, .block = client_blocks ? IPC_BLOCK : 0};
	c.loop = world_loop(&world, "web", IPC_WAIT_AUTO);
	cr_assert_eq(ipc_open(c.loop, &echo_called, &open, &c.channel), 0);
	while (c.n_ended < n_calls) {
		c.moved = false;
		for (unsigned i = 0; i < N_SLOTS; i++) {
			struct flow *flow = &c.flows[i];

			if (!flow->call && c.n_begun < n_calls)
				begin(flow);
			else if (flow->call && !flow->ended)
				say(flow);
			else if (flow->call && client_blocks && draw(8) == 0)
				hear(flow);
		}
		/* Reads less than it writes, until it cannot write. */
		if (draw(4) == 0)
			take_event(0);
		if (!c.moved)
			take_event((int64_t)PATIENCE_NS);
	}
	ipc_loop_free(c.loop);
	cr_assert_eq(reap(server), 0);
	world_stop(&world);
}

#define ALL ((1u << N_MIXED) - 1)

Test(flood, each_kind_by_itself_ends, .timeout = 60)
{
	for (unsigned kind = 0; kind < N_MIXED; kind++)
		flood(1u << kind, false, false, 60);
}

Test(flood, each_kind_by_itself_ends_where_the_client_waits_in_calls, .timeout = 60)
{
	for (unsigned kind = 0; kind < N_MIXED; kind++)
		flood(1u << kind, true, false, 60);
}

Test(flood, each_kind_by_itself_ends_where_the_server_waits_in_calls, .timeout = 60)
{
	for (unsigned kind = 0; kind < N_MIXED; kind++)
		flood(1u << kind, false, true, 60);
}

Test(flood, all_kinds_at_once_end, .timeout = 60)
{
	for (unsigned seed = 1; seed <= 3; seed++) {
		srand(seed);
		flood(ALL, false, false, 200);
	}
}

Test(flood, all_kinds_at_once_end_where_the_client_waits_in_calls, .timeout = 60)
{
	for (unsigned seed = 1; seed <= 3; seed++) {
		srand(seed);
		flood(ALL, true, false, 200);
	}
}

Test(flood, all_kinds_at_once_end_where_the_server_waits_in_calls, .timeout = 60)
{
	for (unsigned seed = 1; seed <= 3; seed++) {
		srand(seed);
		flood(ALL, false, true, 200);
	}
}
