// SPDX-License-Identifier: Apache-2.0
/* What a server does with its calls: keep, answer, fail, abort; and what becomes of them when it
 * goes. */
#include <errno.h>
#include <string.h>

#include <criterion/criterion.h>

#include "pair.h"

static struct pair pair;
static ipc_call *kept[16];
static unsigned n_kept;

static void keep_request(struct pair *p, struct ipc_event *event)
{
	(void)p;
	if (event->kind == IPC_EVENT_REQUEST)
		kept[n_kept++] = event->call;
}

/* Starts, and has @n calls at the server. */
static void start_with(unsigned n, const struct pair_opts *opts)
{
	n_kept = 0;
	pair_start(&pair, opts);
	pair.server.on_event = keep_request;
	for (unsigned i = 0; i < n; i++)
		(void)send_call(pair.channel, HOLD, 20, i, NULL);
	PUMP_UNTIL(&pair, n_kept == n);
}

static void start(unsigned n)
{
	start_with(n, NULL);
}

/* ── failing ── */

struct failure {
	int status;
	const char *text, *expected;
};

static void check_failure(struct pair *p, struct ipc_event *event)
{
	const struct failure *f = p->data;
	struct ipc_call_info info;

	if (event->kind != IPC_EVENT_END)
		return;
	cr_assert_eq(event->status, f->status);
	cr_assert_eq(event->last, 1);
	cr_assert_null(event->msg.data);
	info = call_info(event->call);
	cr_assert_eq(info.status, f->status);
	cr_assert_eq(info.fate, IPC_FATE_EXECUTED);
	cr_assert_str_eq(info.error, f->expected);
}

static void fail_once(int status, const char *text, const char *expected)
{
	struct failure f = {status, text, expected};
	unsigned before = pair.client.n[IPC_EVENT_END];

	pair.data = &f;
	pair.client.on_event = check_failure;
	n_kept = 0;
	(void)send_call(pair.channel, HOLD, 3, 1, NULL);
	PUMP_UNTIL(&pair, n_kept == 1);
	cr_assert_eq(ipc_fail(kept[0], status, text), 0);
	PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_END] == before + 1);
}

Test(server, every_status_arrives_with_its_text, .timeout = 30)
{
	char text[301], cut[256];

	start(0);
	memset(text, 'x', 300);
	text[300] = '\0';
	memset(cut, 'x', 255);
	cut[255] = '\0';
	for (int status = IPC_CANCELLED; status <= IPC_UNAUTHENTICATED; status++) {
		fail_once(status, NULL, "");
		fail_once(status, "", "");
		fail_once(status, "no such order", "no such order");
		fail_once(status, cut, cut);
		fail_once(status, text, cut);
	}
	/* What a terminal would obey does not arrive; what is no ASCII does. */
	fail_once(IPC_INTERNAL, "\x1b[31mred\r\n\x7f f\xc3\xbcr", "?[31mred??? f\xc3\xbcr");
	pair_stop(&pair);
}

Test(server, what_is_no_status_fails_no_call, .timeout = 30)
{
	start(1);
	cr_assert_eq(ipc_fail(kept[0], 0, "x"), -EINVAL);
	cr_assert_eq(ipc_fail(kept[0], 17, "x"), -EINVAL);
	cr_assert_eq(ipc_fail(kept[0], -1, "x"), -EINVAL);
	cr_assert_eq(ipc_fail(NULL, 1, "x"), -EINVAL);
	reply_with(kept[0], 5, 1);
	PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_MESSAGE] == 1);
	pair_stop(&pair);
}

Test(server, statuses_have_names, .timeout = 5)
{
	cr_assert_str_eq(ipc_status_name(IPC_OK), "OK");
	cr_assert_str_eq(ipc_status_name(IPC_DEADLINE_EXCEEDED), "DEADLINE_EXCEEDED");
	cr_assert_str_eq(ipc_status_name(IPC_UNAUTHENTICATED), "UNAUTHENTICATED");
	cr_assert_str_eq(ipc_status_name(17), "?");
	cr_assert_str_eq(ipc_status_name(-1), "?");
}

/* ── rooms ── */

Test(server, a_second_room_is_busy_until_the_first_is_given_back, .timeout = 30)
{
	struct ipc_room first, second = {};

	start(2);
	cr_assert_eq(ipc_reserve(kept[0], 10, 0, &first), 0);
	cr_assert_eq(ipc_reserve(kept[1], 10, 0, &second), -EBUSY);
	cr_assert_eq(ipc_reserve(kept[0], 10, 0, &second), -EBUSY);
	cr_assert_null(second.data);
	ipc_abort(kept[0]);
	cr_assert_eq(ipc_commit(kept[0], 10, IPC_LAST), -EINVAL);
	reply_with(kept[1], 10, 7);
	reply_with(kept[0], 10, 7);
	PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_MESSAGE] == 2);
	pair_stop(&pair);
}

Test(server, a_failed_call_gives_its_open_room_back, .timeout = 30)
{
	struct ipc_room room;

	start(2);
	cr_assert_eq(ipc_reserve(kept[0], 1000, 0, &room), 0);
	cr_assert_eq(ipc_fail(kept[0], IPC_ABORTED, "changed its mind"), 0);
	reply_with(kept[1], 10, 7);
	PUMP_UNTIL(&pair,
		   pair.client.n[IPC_EVENT_MESSAGE] == 1 && pair.client.n[IPC_EVENT_END] == 1);
	pair_stop(&pair);
}

Test(server, a_call_that_fails_beside_an_open_room_is_told_when_that_closes, .timeout = 30)
{
	struct ipc_room room;

	for (int by_abort = 0; by_abort < 2; by_abort++) {
		start(2);
		cr_assert_eq(ipc_reserve(kept[0], 1000, 0, &room), 0);
		cr_assert_eq(ipc_fail(kept[1], IPC_ABORTED, "beside"), 0);
		pair_settle(&pair);
		cr_assert_eq(pair.client.n[IPC_EVENT_END], 0);
		if (by_abort)
			ipc_abort(kept[0]);
		else
			cr_assert_eq(ipc_commit(kept[0], 0, IPC_LAST), 0);
		PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_END] == 1);
		pair_stop(&pair);
	}
}

Test(server, what_cannot_be_committed_leaves_the_room_open, .timeout = 30)
{
	struct ipc_room room, other = {};
	ipc_call *call;

	start(1);
	cr_assert_eq(ipc_commit(kept[0], 1, IPC_LAST), -EINVAL, "no room is open");
	cr_assert_eq(ipc_commit(kept[0], 0, 0), -EINVAL, "no room is open");
	cr_assert_eq(ipc_reserve(kept[0], 10, 0, &room), 0);
	cr_assert_eq(ipc_commit(kept[0], 11, 0), -EINVAL);
	cr_assert_eq(ipc_commit(kept[0], 11, IPC_MORE), -EINVAL);
	cr_assert_eq(ipc_commit(kept[0], 10, IPC_LAST | 1 << 20), -EINVAL);
	cr_assert_eq(ipc_commit(kept[0], 11, IPC_LAST), -EINVAL);
	cr_assert_eq(ipc_commit(kept[0], SIZE_MAX, IPC_LAST), -EINVAL);
	cr_assert_eq(ipc_commit(NULL, 0, IPC_LAST), -EINVAL);
	cr_assert_eq(ipc_reserve(kept[0], 10, 1 << 20, &other), -EINVAL);
	fill(room.data, 10, 0);
	cr_assert_eq(ipc_commit(kept[0], 10, IPC_LAST), 0);
	/* A client's room, with extensions before it, is as strict. */
	cr_assert_eq(ipc_begin(pair.channel, HOLD, 10,
			       &(struct ipc_call_opts){.size = sizeof(struct ipc_call_opts),
						       .timeout_ns = PATIENCE_NS},
			       &call, &room),
		     0);
	for (size_t bytes = 11; bytes < 200; bytes++)
		cr_assert_eq(ipc_commit(call, bytes, IPC_LAST), -EINVAL);
	cr_assert_eq(ipc_commit(call, 10, IPC_LAST), 0);
	PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_MESSAGE] == 1 && n_kept == 2);
	pair_stop(&pair);
}

Test(server, a_reply_that_can_never_fit_is_emsgsize_and_one_that_just_fits_goes, .timeout = 30)
{
	struct ipc_room room = {};
	uint64_t most;

	start(1);
	most = channel_info(pair.served).payload_max_bytes;
	cr_assert_eq(ipc_reserve(kept[0], most + 1, 0, &room), -EMSGSIZE);
	cr_assert_eq(ipc_reserve(kept[0], SIZE_MAX, 0, &room), -EMSGSIZE);
	cr_assert_null(room.data);
	reply_with(kept[0], most, 9);
	PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_MESSAGE] == 1);
	pair_stop(&pair);
}

Test(server, less_than_was_reserved_may_be_committed, .timeout = 30)
{
	struct ipc_room room;

	start(3);
	for (unsigned i = 0; i < 3; i++) {
		cr_assert_eq(ipc_reserve(kept[i], 20000, 0, &room), 0);
		fill(room.data, i * 100, i);
		cr_assert_eq(ipc_commit(kept[i], i * 100, IPC_LAST), 0);
		PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_MESSAGE] == i + 1);
		cr_assert_eq(pair.client.last.msg.size_bytes, i * 100);
		cr_assert(filled(pair.client.last.msg.data, i * 100, i));
	}
	pair_stop(&pair);
}

/* ── ending ── */

Test(server, a_call_that_was_ended_cannot_be_ended_again, .timeout = 30)
{
	struct ipc_room room;

	start(2);
	reply_with(kept[0], 5, 1);
	cr_assert_eq(ipc_fail(kept[0], IPC_ABORTED, NULL), -EINVAL);
	cr_assert_eq(ipc_reserve(kept[0], 5, 0, &room), -EINVAL);
	cr_assert_eq(ipc_commit(kept[0], 5, IPC_LAST), -EINVAL);
	cr_assert_eq(ipc_fail(kept[1], IPC_ABORTED, NULL), 0);
	cr_assert_eq(ipc_fail(kept[1], IPC_ABORTED, NULL), -EINVAL);
	pair_settle(&pair);
	cr_assert_eq(pair.client.n[IPC_EVENT_MESSAGE], 1);
	cr_assert_eq(pair.client.n[IPC_EVENT_END], 1);
	pair_stop(&pair);
}

Test(server, a_handler_s_caller_learns_in_memory_that_the_call_has_ended, .timeout = 30)
{
	struct ipc_room room;
	int ended = 0, other = 0;

	start(3);
	ipc_call_on_end(kept[0], &ended);
	cr_assert_eq(ipc_reserve(kept[0], 5, 0, &room), 0);
	cr_assert_eq(ended, 0);
	cr_assert_eq(ipc_commit(kept[0], 5, IPC_LAST), 0);
	cr_assert_eq(ended, 1);
	ended = 0;
	ipc_call_on_end(kept[1], &ended);
	ipc_call_on_end(kept[1], &other);
	cr_assert_eq(ipc_fail(kept[1], IPC_ABORTED, NULL), 0);
	cr_assert_eq(ended, 0);
	cr_assert_eq(other, 1);
	other = 0;
	ipc_call_on_end(kept[2], &other);
	ipc_call_on_end(kept[2], NULL);
	cr_assert_eq(ipc_fail(kept[2], IPC_ABORTED, NULL), 0);
	cr_assert_eq(other, 0);
	pair_stop(&pair);
}

Test(server, a_server_knows_who_calls_and_what, .timeout = 30)
{
	static const char trace[] = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
	struct ipc_call_opts opts = {.size = sizeof(opts),
				     .timeout_ns = PATIENCE_NS,
				     .traceparent = trace};
	struct ipc_call_info info, client;
	int mine;
	ipc_call *call;

	start(1);
	info = call_info(kept[0]);
	cr_assert_str_eq(info.caller, "web");
	cr_assert_str_eq(info.error, "");
	cr_assert_str_eq(info.traceparent, "");
	cr_assert_eq(info.remaining_ns, IPC_FOREVER);
	cr_assert_eq(info.method, SERVED_HOLD);
	cr_assert_eq(info.status, -1);
	cr_assert_eq(info.cancelled, 0);
	cr_assert_eq(info.channel, pair.served);
	cr_assert_null(ipc_call_user(kept[0]));
	ipc_call_set_user(kept[0], &mine);
	cr_assert_eq(ipc_call_user(kept[0]), &mine);
	call = send_call(pair.channel, ECHO, 20, 0, &opts);
	PUMP_UNTIL(&pair, n_kept == 2);
	cr_assert_eq(pair.server.last.method, SERVED_ECHO);
	cr_assert_eq(pair.server.last.server, pair.service);
	cr_assert_eq(pair.server.last.channel, pair.served);
	cr_assert_eq(pair.server.last.user, &pair.server);
	info = call_info(kept[1]);
	client = call_info(call);
	cr_assert_str_eq(info.traceparent, trace);
	cr_assert_str_eq(client.traceparent, trace);
	cr_assert_leq(info.remaining_ns, PATIENCE_NS);
	cr_assert_gt(info.remaining_ns, 0);
	cr_assert_eq(info.id, client.id);
	cr_assert_neq(info.id, call_info(kept[0]).id);
	pair_stop(&pair);
}

Test(server, what_is_no_traceparent_is_refused_before_anything_is_made, .timeout = 30)
{
	static const char *const bad[] = {
		"",
		"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
		"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-011",
		"00-4BF92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
		"01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
		"00-00000000000000000000000000000000-00f067aa0ba902b7-01",
		"00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
		"00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
	};
	struct ipc_call_opts opts = {.size = sizeof(opts)};
	struct ipc_room room = {};
	ipc_call *call = NULL;

	start(0);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		opts.traceparent = bad[i];
		cr_assert_eq(ipc_begin(pair.channel, HOLD, 5, &opts, &call, &room), -EINVAL, "%s",
			     bad[i]);
	}
	cr_assert(!call && !room.data);
	cr_assert_eq(channel_info(pair.channel).n_calls, 0);
	pair_stop(&pair);
}

/* ── the server goes ── */

static void free_service(struct pair *p)
{
	ipc_server_free(p->service);
}

static void free_served(struct pair *p)
{
	ipc_channel_free(p->served);
}

static void check_unavailable(struct pair *p, struct ipc_event *event)
{
	if (event->kind != IPC_EVENT_END)
		return;
	cr_assert_eq(event->status, IPC_UNAVAILABLE);
	cr_assert_eq(call_info(event->call).fate, IPC_FATE_UNKNOWN);
	cr_assert_eq(p->client.n[IPC_EVENT_CHANNEL], 1,
		     "the channel went before its calls had ended");
}

/* A reply is on its way when the server goes: it arrives, and then the end. */
static void go_with(void (*go)(struct pair *))
{
	const struct pair_opts opts = {.client_flags = IPC_OPEN_ONCE};
	struct ipc_room room = {};
	ipc_call *call = NULL;

	start_with(3, &opts);
	pair.client.on_event = check_unavailable;
	reply_with(kept[1], 30, 5);
	go(&pair);
	PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_CHANNEL] == 2);
	cr_assert_eq(pair.client.last.status, -EPIPE);
	cr_assert_eq(pair.client.n[IPC_EVENT_MESSAGE], 1);
	cr_assert_eq(pair.client.n[IPC_EVENT_END], 2);
	cr_assert_eq(channel_info(pair.channel).state, IPC_CHANNEL_CLOSED);
	cr_assert_eq(channel_info(pair.channel).error, -EPIPE);
	cr_assert_gt(strlen(channel_info(pair.channel).reason), 0);
	cr_assert_eq(ipc_begin(pair.channel, HOLD, 5, NULL, &call, &room), -EPIPE);
	cr_assert(!call && !room.data);
	/* The calls are the program's until it ended each. */
	cr_assert_eq(call_info(kept[0]).cancelled, 1);
	cr_assert_eq(ipc_reserve(kept[0], 10, 0, &room), -EPIPE);
	cr_assert_eq(ipc_fail(kept[0], IPC_ABORTED, "late"), 0);
	cr_assert_eq(ipc_fail(kept[2], IPC_ABORTED, NULL), 0);
	pair_settle(&pair);
	cr_assert_eq(pair.client.n[IPC_EVENT_CHANNEL], 2);
	ipc_channel_free(pair.channel);
	pair_stop(&pair);
}

Test(server, callers_of_a_service_that_is_withdrawn_get_what_was_sent_and_then_unavailable,
     .timeout = 30)
{
	go_with(free_service);
}

Test(server, callers_on_a_channel_that_the_server_frees_get_what_was_sent_and_then_unavailable,
     .timeout = 30)
{
	go_with(free_served);
}

Test(server, an_open_room_outlives_the_channel_that_was_freed, .timeout = 30)
{
	struct ipc_room room;

	start(1);
	cr_assert_eq(ipc_reserve(kept[0], 10000, 0, &room), 0);
	ipc_channel_free(pair.served);
	fill(room.data, 10000, 1);
	cr_assert_eq(ipc_commit(kept[0], 10000, IPC_LAST), -EPIPE);
	cr_assert(filled(room.data, 10000, 1));
	cr_assert_eq(ipc_fail(kept[0], IPC_ABORTED, NULL), 0);
	PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_CHANNEL] == 2);
	pair_stop(&pair);
}

Test(server, a_client_s_open_room_outlives_its_peer, .timeout = 30)
{
	struct ipc_room room;
	struct ipc_msg msg;
	ipc_call *call;

	for (int i = 0; i < 4; i++) {
		start(0);
		cr_assert_eq(ipc_begin(pair.channel, HOLD, 10000, NULL, &call, &room), 0);
		ipc_server_free(pair.service);
		PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_CHANNEL] == 2);
		fill(room.data, 10000, 1);
		if (i == 0)
			cr_assert_eq(ipc_transact(call, 10000, &msg), -EPIPE);
		else
			cr_assert_eq(ipc_commit(call, 10000, IPC_LAST), -EPIPE);
		if (i == 1)
			ipc_abort(call);
		if (i == 2)
			ipc_cancel(call);
		ipc_channel_free(pair.channel);
		pair_stop(&pair);
	}
}

/* ── two services, and a server that is a client ── */

static void echo_both(struct pair *p, struct ipc_event *event)
{
	if (event->kind == IPC_EVENT_REQUEST && event->user != &p->server)
		cr_assert_eq(event->user, p->data);
	answer_echo(p, event);
}

Test(server, one_loop_serves_two_services, .timeout = 30)
{
	struct ipc_serve_opts serve = {.size = sizeof(serve), .user = &serve};
	struct ipc_open_opts open = {.size = sizeof(open), .flags = IPC_OPEN_ASYNC};
	ipc_server *other = NULL, *again = NULL;
	ipc_channel *channel;

	start(0);
	pair.server.on_event = echo_both;
	pair.data = &serve;
	cr_assert_eq(ipc_serve(pair.server.loop, &echo_served, NULL, &again), -EALREADY);
	cr_assert_null(again);
	cr_assert_eq(ipc_serve(pair.server.loop, &other_service, &serve, &other), 0);
	cr_assert_eq(ipc_open(pair.client.loop, &other_service, &open, &channel), 0);
	PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_CHANNEL] == 2);
	(void)send_call(channel, 0, 50, 1, NULL);
	(void)send_call(pair.channel, ECHO, 60, 2, NULL);
	PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_MESSAGE] == 2);
	ipc_server_free(other);
	PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_CHANNEL] == 3);
	cr_assert_eq(pair.client.last.channel, channel);
	(void)send_call(pair.channel, ECHO, 60, 2, NULL);
	PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_MESSAGE] == 3);
	/* Withdrawn, it may be offered anew. */
	cr_assert_eq(ipc_serve(pair.server.loop, &other_service, &serve, &other), 0);
	pair_stop(&pair);
}

static ipc_channel *onward;
static ipc_call *mirrored;
static uint64_t onward_timeout_ns;

/* shop: each request leads to a call of the mirror, whose reply is the answer. */
static void pass_on(struct pair *p, struct ipc_event *event)
{
	struct ipc_call_opts opts = {.size = sizeof(opts), .timeout_ns = onward_timeout_ns};

	(void)p;
	if (event->kind == IPC_EVENT_REQUEST) {
		opts.parent = opts.user = event->call;
		(void)send_call(onward, 0, event->msg.size_bytes, 77, &opts);
	} else if (event->kind == IPC_EVENT_MESSAGE) {
		reply_with(event->user, event->msg.size_bytes, 78);
	} else if (event->kind == IPC_EVENT_END) {
		cr_assert_eq(ipc_fail(event->user, event->status, "onward"), 0);
	}
}

/* web: its own calls, and the mirror. */
static void mirror(struct pair *p, struct ipc_event *event)
{
	(void)p;
	if (event->kind == IPC_EVENT_REQUEST)
		mirrored = event->call;
}

static void start_onward(void)
{
	struct ipc_open_opts open = {.size = sizeof(open), .flags = IPC_OPEN_ASYNC};
	ipc_server *server;

	start(0);
	cr_assert_eq(ipc_serve(pair.client.loop, &mirror_service, NULL, &server), 0);
	cr_assert_eq(ipc_open(pair.server.loop, &mirror_service, &open, &onward), 0);
	PUMP_UNTIL(&pair,
		   pair.server.n[IPC_EVENT_CHANNEL] == 2 && pair.client.n[IPC_EVENT_CHANNEL] == 2);
	pair.server.on_event = pass_on;
	pair.client.on_event = mirror;
	mirrored = NULL;
	onward_timeout_ns = 0;
}

Test(server, a_call_made_for_another_inherits_its_deadline_and_trace, .timeout = 30)
{
	static const char trace[] = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
	struct ipc_call_opts opts = {.size = sizeof(opts),
				     .traceparent = trace,
				     .timeout_ns = 10 * SECOND_NS};
	uint64_t expected[] = {10 * SECOND_NS, 10 * SECOND_NS, 5 * SECOND_NS};
	uint64_t timeouts[] = {0, 15 * SECOND_NS, 5 * SECOND_NS};
	struct ipc_call_info info;

	start_onward();
	for (unsigned i = 0; i < 3; i++) {
		mirrored = NULL;
		onward_timeout_ns = timeouts[i];
		(void)send_call(pair.channel, HOLD, 40, 1, &opts);
		PUMP_UNTIL(&pair, mirrored);
		info = call_info(mirrored);
		cr_assert_str_eq(info.traceparent, trace);
		cr_assert_str_eq(info.caller, "shop");
		cr_assert_leq(info.remaining_ns, expected[i]);
		cr_assert_gt(info.remaining_ns, expected[i] - 5 * SECOND_NS);
		reply_with(mirrored, 40, 2);
		PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_MESSAGE] == i + 1);
		cr_assert(filled(pair.client.last.msg.data, 40, 78));
	}
	pair_stop(&pair);
}

Test(server, a_failure_travels_back_through_a_server_that_is_a_client, .timeout = 30)
{
	start_onward();
	(void)send_call(pair.channel, HOLD, 40, 1, NULL);
	PUMP_UNTIL(&pair, mirrored);
	cr_assert_eq(ipc_fail(mirrored, IPC_NOT_FOUND, "mirror"), 0);
	PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_END] == 1);
	cr_assert_eq(pair.client.last.status, IPC_NOT_FOUND);
	pair_stop(&pair);
}

/* A channel joins two connections: a loop never reaches itself, another loop of the same workload
 * does. */
Test(server, a_loop_reaches_its_own_workload_s_service_on_another_loop_alone, .timeout = 30)
{
	struct ipc_open_opts open = {.size = sizeof(open), .timeout_ns = 20 * MS_NS};
	ipc_channel *channel = NULL;
	ipc_server *server;
	ipc_loop *loop;

	start(0);
	cr_assert_eq(ipc_serve(pair.client.loop, &mirror_service, NULL, &server), 0);
	cr_assert_eq(ipc_open(pair.client.loop, &mirror_service, &open, &channel), -ETIMEDOUT);
	cr_assert_null(channel);
	loop = pair.server.loop;
	pair.server.loop = world_loop(&pair.world, "web", 0);
	pair.client.on_event = answer_echo;
	open = (struct ipc_open_opts){.size = sizeof(open), .flags = IPC_OPEN_ASYNC};
	cr_assert_eq(ipc_open(pair.server.loop, &mirror_service, &open, &channel), 0);
	PUMP_UNTIL(&pair, pair.server.n[IPC_EVENT_CHANNEL] == 2);
	pair.server.on_event = NULL;
	for (unsigned i = 0; i < 10; i++) {
		(void)send_call(channel, 0, i * 900, i, NULL);
		PUMP_UNTIL(&pair, pair.server.n[IPC_EVENT_MESSAGE] == i + 1);
	}
	ipc_loop_free(loop);
	pair_stop(&pair);
}
