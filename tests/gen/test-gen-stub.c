// SPDX-License-Identifier: Apache-2.0
/* Generated stubs over real channels: every way in which a handler can end, and clients' mistakes.
 */
#include "pair.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "echo_fbs.h"

static struct pair pair;
static ipc_call *deferred;
static unsigned int n_handled, n_cancelled;
static bool last_ours;

static int answer(ipc_call *call, test_Ask request)
{
	const struct ipc_str text = test_Ask_text(request);
	test_Answer_w w = {0};
	int r = test_Echo_Echo_reply_begin(call, &w);

	if (r < 0)
		return r;
	test_Answer_set_text(&w, text.data, text.size_bytes);
	test_Answer_set_in_place(&w, (test_Ask_msg(request)->flags & IPC_MSG_IN_PLACE) != 0);
	test_Answer_set_blob_bytes(&w, (uint32_t)ipc_uint8_vec_count(test_Ask_blob(request)));
	if (!test_Ask_ok(request)) {
		ipc_abort(call);
		return IPC_INVALID_ARGUMENT;
	}
	return test_Echo_Echo_reply(&w);
}

static int too_long(ipc_call *call)
{
	static const char text[100];
	test_Answer_w w = {0};
	int r = test_Echo_Echo_reply_begin_sized(call, 64, &w);

	if (r < 0)
		return r;
	test_Answer_set_text(&w, text, sizeof(text));
	r = test_Echo_Echo_reply(&w);
	cr_expect_eq(r, -ENOBUFS);
	cr_expect_gt(w.writer->needed_bytes, sizeof(text));
	return r;
}

static int handle(ipc_call *call, test_Ask request, void *user)
{
	test_Answer_w w = {0};

	cr_expect_eq(user, &pair);
	n_handled++;
	switch (test_Ask_act(request)) {
	case test_Do_Answer:
		return answer(call, request);
	case test_Do_NotFound:
		return IPC_NOT_FOUND;
	case test_Do_Negative:
		return -EIO;
	case test_Do_Again:
		return -EAGAIN;
	case test_Do_Defer:
		deferred = call;
		return IPC_DEFERRED;
	case test_Do_AnswerThenNegative:
		cr_expect_eq(answer(call, request), 0);
		return -EIO;
	case test_Do_Fail:
		cr_expect_eq(ipc_fail(call, IPC_ABORTED, "as asked"), 0);
		return 0;
	case test_Do_LeaveRoomOpen:
		return test_Echo_Echo_reply_begin(call, &w);
	case test_Do_NoStatus:
		return 50;
	case test_Do_AnswerTooLong:
		return too_long(call);
	default:
		return 0;
	}
}

static void cancelled(ipc_call *call, void *user)
{
	cr_expect_eq(user, &pair);
	cr_expect_eq(call, deferred);
	n_cancelled++;
}

/* Missing is missing. */
static const struct test_Echo_handlers handlers = {.Echo = handle,
						   .Hold = handle,
						   .cancelled = cancelled};

static void serve(struct pair *p, struct ipc_event *event)
{
	last_ours = test_Echo_dispatch(event, &handlers, p);
}

static void start(void)
{
	struct ipc_open_opts open = {.size = sizeof(open), .flags = IPC_OPEN_ASYNC};

	world_start(&pair.world);
	pair.server.loop = world_loop(&pair.world, "shop", IPC_WAIT_AUTO);
	pair.client.loop = world_loop(&pair.world, "web", IPC_WAIT_AUTO);
	pair.server.on_event = serve;
	cr_assert_eq(ipc_serve(pair.server.loop, &test_Echo_service, NULL, &pair.service), 0);
	cr_assert_eq(ipc_open(pair.client.loop, &test_Echo_service, &open, &pair.channel), 0);
	PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_CHANNEL] && pair.server.n[IPC_EVENT_CHANNEL]);
	cr_assert_eq(pair.client.last.status, 0);
}

static void stop(void)
{
	pair_stop(&pair);
}

static ipc_call *send_ask(test_Do act)
{
	ipc_call *call = NULL;
	test_Ask_w w = {0};

	cr_assert_eq(test_Echo_Echo_begin(pair.channel, NULL, &w), 0);
	test_Ask_set_act(&w, act);
	test_Ask_set_text_str(&w, "ping");
	cr_assert_eq(test_Echo_Echo_send(&w, &call), 0);
	return call;
}

static unsigned int ended(void)
{
	return pair.client.n[IPC_EVENT_MESSAGE] + pair.client.n[IPC_EVENT_END];
}

/* The status that the call ends with. */
static int outcome(test_Do act)
{
	const unsigned int before = ended();
	ipc_call *call = send_ask(act);

	PUMP_UNTIL(&pair, ended() > before);
	cr_assert_eq(pair.client.last.call, call);
	cr_assert_eq(pair.client.last.last, 1);
	return pair.client.last.kind == IPC_EVENT_MESSAGE ? 0 : pair.client.last.status;
}

TestSuite(gen_stub, .init = start, .fini = stop, .timeout = 60);

Test(gen_stub, a_call_ends_as_its_handler_says)
{
	cr_expect_eq(outcome(test_Do_Answer), IPC_OK);
	cr_expect_eq(outcome(test_Do_NotFound), IPC_NOT_FOUND);
	cr_expect_eq(outcome(test_Do_Negative), IPC_INTERNAL);
	cr_expect_eq(outcome(test_Do_Again), IPC_RESOURCE_EXHAUSTED);
	cr_expect_eq(outcome(test_Do_Fail), IPC_ABORTED);
	cr_expect_eq(outcome(test_Do_NoStatus), IPC_INTERNAL);
	cr_expect_eq(n_handled, 6);
}

Test(gen_stub, a_handler_that_does_not_answer_is_an_error_and_no_hang)
{
	cr_expect_eq(outcome(test_Do_Nothing), IPC_INTERNAL);
	cr_expect_eq(outcome(test_Do_LeaveRoomOpen), IPC_INTERNAL);
	cr_expect_eq(outcome(test_Do_AnswerTooLong), IPC_INTERNAL);
	/* The rooms that were left open are closed. */
	cr_expect_eq(outcome(test_Do_Answer), IPC_OK);
}

Test(gen_stub, an_answer_counts_whatever_the_handler_returns_after_it)
{
	cr_expect_eq(outcome(test_Do_AnswerThenNegative), IPC_OK);
	cr_expect_eq(outcome(test_Do_Answer), IPC_OK);
}

Test(gen_stub, a_deferred_call_is_answered_later)
{
	ipc_call *call = send_ask(test_Do_Defer);
	test_Answer_w w = {0};

	PUMP_UNTIL(&pair, deferred);
	cr_assert_eq(outcome(test_Do_Answer), IPC_OK);
	cr_assert_eq(test_Echo_Echo_reply_begin(deferred, &w), 0);
	test_Answer_set_text_str(&w, "late");
	cr_assert_eq(test_Echo_Echo_reply(&w), 0);
	PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_MESSAGE] == 2);
	cr_assert_eq(pair.client.last.call, call);
	cr_assert(
		ipc_str_equals(test_Answer_text(test_Answer_root(&pair.client.last.msg)), "late"));
}

Test(gen_stub, a_cancelled_call_is_told_and_still_ended)
{
	ipc_call *call = send_ask(test_Do_Defer);

	PUMP_UNTIL(&pair, deferred);
	ipc_cancel(call);
	PUMP_UNTIL(&pair, n_cancelled);
	cr_expect(last_ours);
	cr_expect_eq(ipc_fail(deferred, IPC_CANCELLED, NULL), 0);
	cr_expect_eq(outcome(test_Do_Answer), IPC_OK);
}

Test(gen_stub, a_method_without_a_handler_is_unimplemented)
{
	ipc_call *call = NULL;
	test_Ask_w w = {0};

	cr_assert_eq(test_Echo_Missing_begin(pair.channel, NULL, &w), 0);
	test_Ask_set_text_str(&w, "x");
	cr_assert_eq(test_Echo_Missing_send(&w, &call), 0);
	PUMP_UNTIL(&pair, ended());
	cr_assert_eq(pair.client.last.status, IPC_UNIMPLEMENTED);
	cr_assert_eq(n_handled, 0);
}

Test(gen_stub, a_malformed_small_request_does_not_reach_its_handler)
{
	struct ipc_room room;
	struct ipc_writer w;
	size_t size_bytes = 0;
	ipc_call *call = NULL;
	test_Ask_w ask = {0};

	cr_assert_eq(ipc_begin(pair.channel, test_Echo_Echo_method, 256, NULL, &call, &room), 0);
	ipc_writer_init(&w, room.data, room.size_bytes);
	ask = test_Ask_start(&w);
	test_Ask_set_text_str(&ask, "fine");
	test_Ask_set_blob(&ask, (const uint8_t *)"1234", 4);
	cr_assert_eq(ipc_writer_finish(&w, &size_bytes), 0);
	/* The blob's size, which follows the text: beyond the end. */
	for (uint8_t *at = room.data; at < (uint8_t *)room.data + size_bytes - 8; at += 4)
		if (memcmp(at + 4, "1234", 4) == 0)
			at[1] = 0x10;
	cr_assert_eq(ipc_commit(call, size_bytes, IPC_LAST), 0);
	PUMP_UNTIL(&pair, ended());
	cr_assert_eq(pair.client.last.status, IPC_INVALID_ARGUMENT);
	cr_assert_eq(n_handled, 0);
}

Test(gen_stub, a_large_request_is_read_in_place)
{
	static const uint8_t blob[6000];
	test_Answer reply = {0};
	ipc_call *call = NULL;
	test_Ask_w w = {0};

	cr_assert_eq(test_Echo_Hold_begin_sized(pair.channel, 8000, NULL, &w), 0);
	test_Ask_set_text_str(&w, "large");
	test_Ask_set_blob(&w, blob, sizeof(blob));
	cr_assert_eq(test_Echo_Hold_send(&w, &call), 0);
	PUMP_UNTIL(&pair, ended());
	cr_assert_eq(pair.client.last.kind, IPC_EVENT_MESSAGE);
	reply = test_Answer_root(&pair.client.last.msg);
	cr_assert(test_Answer_in_place(reply));
	cr_assert_eq(test_Answer_blob_bytes(reply), sizeof(blob));
	cr_assert(test_Answer_ok(reply));
}

Test(gen_stub, a_request_that_does_not_fit_says_what_it_needs_and_sends_nothing)
{
	static const uint8_t blob[6000];
	struct ipc_msg msg;
	size_t needed = 0;
	test_Answer reply = {0};
	ipc_call *call = NULL;
	test_Ask_w w = {0};

	for (int attempt = 0; attempt < 2; attempt++) {
		cr_assert_eq(test_Echo_Echo_begin_sized(pair.channel, needed, NULL, &w), 0);
		test_Ask_set_text_str(&w, "large");
		test_Ask_set_blob(&w, blob, sizeof(blob));
		if (attempt == 0) {
			cr_assert_eq(test_Echo_Echo_call(&w, &msg, &reply), -ENOBUFS);
			needed = w.writer->needed_bytes;
		} else {
			cr_assert_eq(test_Echo_Echo_send(&w, &call), 0);
		}
	}
	PUMP_UNTIL(&pair, ended());
	cr_assert_eq(pair.client.last.kind, IPC_EVENT_MESSAGE);
	cr_assert_eq(n_handled, 1);
}

Test(gen_stub, a_request_without_a_required_field_is_not_sent)
{
	struct ipc_msg msg;
	test_Answer reply = {0};
	ipc_call *call = NULL;
	test_Ask_w w = {0};

	cr_assert_eq(test_Echo_Echo_begin(pair.channel, NULL, &w), 0);
	cr_assert_eq(test_Echo_Echo_send(&w, &call), -EINVAL);
	cr_assert_eq(test_Echo_Echo_begin(pair.channel, NULL, &w), 0);
	cr_assert_eq(test_Echo_Echo_call(&w, &msg, &reply), -EINVAL);
	cr_assert_eq(outcome(test_Do_Answer), IPC_OK);
	cr_assert_eq(n_handled, 1);
}

Test(gen_stub, a_small_ring_takes_what_fits_by_default)
{
	struct ipc_open_opts open = {.size = sizeof(open),
				     .flags = IPC_OPEN_ASYNC,
				     .ring_bytes = 4096};
	ipc_channel *small;
	ipc_call *call = NULL;
	test_Ask_w w = {0};

	cr_assert_eq(ipc_open(pair.client.loop, &test_Echo_service, &open, &small), 0);
	PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_CHANNEL] == 2);
	cr_assert_eq(pair.client.last.status, 0, "%s", ipc_loop_error(pair.client.loop));
	cr_assert_lt(channel_info(small).payload_max_bytes, IPC_STUB_ROOM_BYTES);
	cr_assert_eq(test_Echo_Echo_begin(small, NULL, &w), 0);
	test_Ask_set_text_str(&w, "small");
	cr_assert_eq(test_Echo_Echo_send(&w, &call), 0);
	PUMP_UNTIL(&pair, ended());
	cr_assert_eq(pair.client.last.kind, IPC_EVENT_MESSAGE);
}

Test(gen_stub, a_clients_events_are_not_the_dispatchers)
{
	cr_assert_eq(outcome(test_Do_Answer), IPC_OK);
	cr_assert(last_ours);
	cr_assert(!test_Echo_dispatch(&pair.client.last, &handlers, &pair));
}

static int serve_until_lost(const struct world *world, void *arg)
{
	ipc_loop *loop = world_loop(world, "shop", IPC_WAIT_AUTO);
	struct ipc_event event;
	ipc_server *server;

	(void)arg;
	if (ipc_serve(loop, &test_Echo_service, NULL, &server) < 0)
		return 1;
	while (ipc_loop_next(loop, &event, (int64_t)PATIENCE_NS) == 1) {
		if (test_Echo_dispatch(&event, &handlers, &pair))
			continue;
		if (event.kind == IPC_EVENT_CHANNEL && event.status < 0) {
			ipc_loop_free(loop);
			return 0;
		}
	}
	return 2;
}

Test(gen_stub_process, a_synchronous_call_returns_the_reply_or_the_status, .timeout = 60)
{
	const struct ipc_open_opts open = {.size = sizeof(open), .timeout_ns = PATIENCE_NS};
	struct world world;
	ipc_channel *channel;
	struct ipc_msg msg;
	test_Answer reply = {0};
	ipc_loop *loop;
	test_Ask_w w = {0};
	pid_t server;

	world_start(&world);
	server = spawn(serve_until_lost, &world, NULL);
	loop = world_loop(&world, "web", IPC_WAIT_AUTO);
	cr_assert_eq(ipc_open(loop, &test_Echo_service, &open, &channel), 0, "%s",
		     ipc_loop_error(loop));
	for (int i = 0; i < 1000; i++) {
		const test_Do act = i % 3 ? test_Do_Answer : test_Do_NotFound;

		cr_assert_eq(test_Echo_Echo_begin(channel, NULL, &w), 0);
		test_Ask_set_act(&w, act);
		test_Ask_set_text_str(&w, "sync");
		cr_assert_eq(test_Echo_Echo_call(&w, &msg, &reply), act ? IPC_NOT_FOUND : 0);
		cr_assert(act || ipc_str_equals(test_Answer_text(reply), "sync"));
	}
	ipc_channel_free(channel);
	ipc_loop_free(loop);
	cr_expect_eq(reap(server), 0);
	world_stop(&world);
}
