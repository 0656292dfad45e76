// SPDX-License-Identifier: Apache-2.0
/* Synchronous calls, between two processes. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <criterion/criterion.h>
#include <criterion/parameterized.h>

#include "pair.h"

struct setting {
	uint64_t client_ring_bytes, server_ring_bytes;
	uint32_t wait;
};

static struct world world;
static pid_t server;
static ipc_loop *loop;
static ipc_channel *channel;

static void start(const struct setting *setting)
{
	struct echo_server echo = {.wait = setting->wait, .ring_bytes = setting->server_ring_bytes};
	struct ipc_open_opts opts = {
		.size = sizeof(opts),
		.ring_bytes = setting->client_ring_bytes,
		.timeout_ns = PATIENCE_NS,
	};
	int r;

	world_start(&world);
	server = spawn(serve_echo, &world, &echo);
	loop = world_loop(&world, "web", setting->wait);
	r = ipc_open(loop, &echo_called, &opts, &channel);
	cr_assert_eq(r, 0, "ipc_open: %s", ipc_loop_error(loop));
}

/* The server sees the end, frees all it has and is free of leaks. */
static void stop(void)
{
	ipc_channel_free(channel);
	ipc_loop_free(loop);
	cr_expect_eq(reap(server), 0);
	world_stop(&world);
}

static const uint64_t sizes[] = {0,    1,    2,	   15,	 16,   17,   31,   32,
				 33,   63,   64,   65,	 1000, 4079, 4080, 4081,
				 4095, 4096, 4097, 4112, 8191, 8192, 8193, 20000};
#define N_SIZES (sizeof(sizes) / sizeof(sizes[0]))

static int transact(uint32_t method, size_t size_bytes, const void *data, struct ipc_msg *msg)
{
	struct ipc_room room;
	ipc_call *call;
	int r = ipc_begin(channel, method, size_bytes, NULL, &call, &room);

	if (r < 0)
		return r;
	cr_assert_geq(room.size_bytes, size_bytes);
	cr_assert_eq((uintptr_t)room.data % 16, 0);
	memcpy(room.data, data, size_bytes);
	return ipc_transact(call, size_bytes, msg);
}

static void check_flags(const struct ipc_msg *msg)
{
	cr_assert_not_null(msg->data);
	cr_assert_eq((uintptr_t)msg->data % 16, 0);
	cr_assert_eq(msg->bad, 0);
	const uint32_t in_place = msg->size_bytes > IPC_SNAPSHOT_MAX_BYTES ? IPC_MSG_IN_PLACE : 0;

	cr_assert_eq(msg->flags, in_place | IPC_MSG_LAST);
}

static void echo(size_t size_bytes, bool fits_back)
{
	static uint8_t data[1 << 20];
	struct ipc_msg msg = {};
	int r;

	fill(data, size_bytes, size_bytes + 1);
	r = transact(ECHO, size_bytes, data, &msg);
	if (!fits_back) {
		cr_assert_eq(r, IPC_OUT_OF_RANGE);
		return;
	}
	cr_assert_eq(r, 0, "%zu bytes: %d", size_bytes, r);
	cr_assert_eq(msg.size_bytes, size_bytes);
	cr_assert(filled(msg.data, size_bytes, size_bytes + 1), "%zu bytes came back as others",
		  size_bytes);
	check_flags(&msg);
}

/* A reply of that size to a request of eight bytes. */
static void fetch(uint64_t size_bytes)
{
	struct ipc_msg msg = {};

	cr_assert_eq(transact(HOLD, sizeof(size_bytes), &size_bytes, &msg), 0);
	cr_assert_eq(msg.size_bytes, size_bytes);
	cr_assert(filled(msg.data, size_bytes, size_bytes));
	check_flags(&msg);
}

static void check_sizes(void)
{
	const struct ipc_channel_info info = channel_info(channel);
	uint64_t too_much = info.receive_max_bytes + 1;
	struct ipc_room room = {};
	struct ipc_msg msg = {};
	ipc_call *call = NULL;

	for (unsigned i = 0; i < N_SIZES; i++) {
		if (sizes[i] <= info.payload_max_bytes)
			echo(sizes[i], sizes[i] <= info.receive_max_bytes);
		if (sizes[i] <= info.receive_max_bytes)
			fetch(sizes[i]);
	}
	for (uint64_t less = 2; less-- > 0;) {
		echo(info.payload_max_bytes - less,
		     info.payload_max_bytes - less <= info.receive_max_bytes);
		fetch(info.receive_max_bytes - less);
	}
	cr_assert_eq(ipc_begin(channel, ECHO, info.payload_max_bytes + 1, NULL, &call, &room),
		     -EMSGSIZE);
	cr_assert(!call && !room.data);
	cr_assert_eq(transact(HOLD, sizeof(too_much), &too_much, &msg), IPC_OUT_OF_RANGE);
	cr_assert_null(msg.data);
	/* Nothing of all that is still held. */
	cr_assert_leq(channel_info(channel).n_calls, 1,
		      "the last to end is still to be asked about");
}

#define BOTH_WAYS(name, client_bytes, server_bytes)                                                \
	Test(call, name, .timeout = 60)                                                            \
	{                                                                                          \
		start(&(struct setting){client_bytes, server_bytes, IPC_WAIT_AUTO});               \
		check_sizes();                                                                     \
		stop();                                                                            \
	}

BOTH_WAYS(payloads_of_every_size_arrive_unchanged, 0, 0)
BOTH_WAYS(payloads_of_every_size_arrive_unchanged_in_the_smallest_rings, 4096, 4096)
BOTH_WAYS(payloads_of_every_size_arrive_unchanged_in_rings_of_1_MiB, 1 << 20, 1 << 20)
BOTH_WAYS(payloads_of_every_size_arrive_unchanged_from_a_small_ring_to_a_large_one, 4096, 1 << 20)
BOTH_WAYS(payloads_of_every_size_arrive_unchanged_from_a_large_ring_to_a_small_one, 1 << 20, 4096)

Test(call, payloads_of_every_size_from_nothing_to_the_largest, .timeout = 60)
{
	uint64_t most;

	start(&(struct setting){8192, 8192, IPC_WAIT_AUTO});
	most = channel_info(channel).payload_max_bytes;
	cr_assert_eq(channel_info(channel).receive_max_bytes, most);
	for (uint64_t bytes = 0; bytes <= most; bytes++)
		echo(bytes, true);
	stop();
}

/* Odd sizes, so that frames begin at every line of the ring and wrap at every offset. */
static void check_many(uint32_t wait, unsigned n_calls)
{
	start(&(struct setting){0, 0, wait});
	for (unsigned i = 0; i < n_calls; i++)
		echo((i * 97) % 700 + (i % 50 == 0 ? 5000 : 0), true);
	stop();
}

Test(call, many_calls_in_a_row_while_spinning, .timeout = 60)
{
	check_many(IPC_WAIT_SPIN, 5000);
}

Test(call, many_calls_in_a_row_while_sleeping_on_futexes, .timeout = 60)
{
	check_many(IPC_WAIT_FUTEX, 5000);
}

Test(call, many_calls_in_a_row_with_epoll, .timeout = 60)
{
	check_many(IPC_WAIT_EPOLL, 5000);
}

Test(call, many_calls_in_a_row_with_io_uring, .timeout = 60)
{
	struct ipc_loop_opts opts = {.size = sizeof(opts), .wait = IPC_WAIT_URING};
	int r;

	world_start(&world);
	opts.broker = world_socket(&world, "web");
	r = ipc_loop_new(&loop, &opts);
	if (r == 0)
		ipc_loop_free(loop);
	world_stop(&world);
	if (r < 0)
		cr_skip_test("io_uring is refused: %s", strerror(-r));
	check_many(IPC_WAIT_URING, 5000);
}

Test(call, a_method_that_policy_does_not_name_is_denied_and_not_executed, .timeout = 30)
{
	struct ipc_call_info info;
	struct ipc_room room;
	struct ipc_msg msg;
	ipc_call *call;

	start(&(struct setting){});
	for (int i = 0; i < 3; i++) {
		cr_assert_eq(ipc_begin(channel, SECRET, 5000, NULL, &call, &room), 0);
		cr_assert_eq(ipc_transact(call, 5000, &msg), IPC_PERMISSION_DENIED);
		info = call_info(call);
		cr_assert_eq(info.fate, IPC_FATE_NOT_EXECUTED);
		cr_assert_eq(info.status, IPC_PERMISSION_DENIED);
		cr_assert(strstr(info.error, "policy"), "%s", info.error);
		cr_assert_eq(info.method, SECRET);
		cr_assert_eq(info.channel, channel);
	}
	echo(100, true);
	stop();
}

Test(call, a_method_that_the_server_lacks_is_unimplemented_and_not_executed, .timeout = 30)
{
	struct ipc_room room;
	struct ipc_msg msg;
	ipc_call *call;

	start(&(struct setting){});
	cr_assert_eq(ipc_begin(channel, MISSING, 10, NULL, &call, &room), 0);
	cr_assert_eq(ipc_transact(call, 10, &msg), IPC_UNIMPLEMENTED);
	cr_assert_eq(call_info(call).fate, IPC_FATE_NOT_EXECUTED);
	echo(100, true);
	stop();
}

Test(call, a_number_that_the_client_gave_to_no_method_is_denied, .timeout = 30)
{
	struct ipc_room room;
	struct ipc_msg msg;
	ipc_call *call;

	start(&(struct setting){});
	cr_assert_eq(ipc_begin(channel, 8, 0, NULL, &call, &room), 0);
	cr_assert_eq(ipc_transact(call, 0, &msg), IPC_PERMISSION_DENIED);
	cr_assert_eq(ipc_begin(channel, IPC_METHODS_MAX, 0, NULL, &call, &room), -EINVAL);
	stop();
}

Test(call, what_a_call_answers_once_it_was_executed, .timeout = 30)
{
	struct ipc_call_info info;
	struct ipc_room room;
	struct ipc_msg msg;
	ipc_call *call;

	start(&(struct setting){});
	cr_assert_eq(ipc_begin(channel, ECHO, 3, NULL, &call, &room), 0);
	cr_assert_eq(call_info(call).fate, IPC_FATE_NOT_EXECUTED);
	cr_assert_eq(call_info(call).status, -1);
	cr_assert_eq(ipc_transact(call, 3, &msg), 0);
	info = call_info(call);
	cr_assert_eq(info.fate, IPC_FATE_EXECUTED);
	cr_assert_eq(info.status, 0);
	cr_assert_eq(info.remaining_ns, IPC_FOREVER);
	cr_assert_str_eq(info.caller, "");
	cr_assert_str_eq(info.error, "");
	cr_assert_str_eq(info.traceparent, "");
	cr_assert_eq(info.cancelled, 0);
	stop();
}

Test(call, a_channel_knows_its_peer_and_its_limits, .timeout = 30)
{
	struct ipc_channel_info info;
	struct {
		size_t size;
		uint32_t state;
		int32_t untouched;
	} shorter = {offsetof(struct ipc_channel_info, error), 77, 77};

	start(&(struct setting){4096, 8192});
	echo(10, true);
	info = channel_info(channel);
	cr_assert_eq(info.state, IPC_CHANNEL_OPEN);
	cr_assert_eq(info.error, 0);
	cr_assert_gt(info.id, 0);
	cr_assert_eq(info.max_calls, 256);
	cr_assert_eq(info.n_calls, 1, "the call that just ended is still to be asked about");
	cr_assert_str_eq(info.peer, "shop");
	cr_assert_str_eq(info.service, "test.Echo");
	cr_assert_str_eq(info.reason, "");
	cr_assert_eq(info.n_sent, 1);
	cr_assert_eq(info.n_received, 1);
	cr_assert_geq(info.shared_bytes, 4096 + 8192);
	cr_assert_lt(info.payload_max_bytes, 4096);
	cr_assert_gt(info.receive_max_bytes, info.payload_max_bytes);
	cr_assert_eq(ipc_channel_info(channel, (void *)&shorter), 0);
	cr_assert_eq(shorter.state, IPC_CHANNEL_OPEN);
	cr_assert_eq(shorter.untouched, 77);
	stop();
}

/* ── a server that sleeps on futexes, and two channels ── */

#define N_IN_TURNS 100u

static int open_two_and_call_in_turns(const struct world *where, void *go)
{
	struct ipc_open_opts opts = {.size = sizeof(opts), .timeout_ns = PATIENCE_NS};
	ipc_loop *own = world_loop(where, "web", IPC_WAIT_AUTO);
	ipc_channel *channels[2];
	struct ipc_room room;
	struct ipc_msg msg;
	ipc_call *call;
	char byte;

	for (unsigned i = 0; i < 2; i++)
		if (ipc_open(own, &echo_called, &opts, &channels[i]) < 0)
			return 2;
	if (read(*(int *)go, &byte, 1) != 1)
		return 3;
	for (unsigned i = 0; i < N_IN_TURNS; i++)
		if (ipc_begin(channels[i % 2], ECHO, 0, NULL, &call, &room) < 0 ||
		    ipc_transact(call, 0, &msg) != 0)
			return 4;
	ipc_loop_free(own);
	return 0;
}

/* Asleep for the one that was just served, it is not deaf to the other. */
Test(call, each_channel_wakes_a_server_that_sleeps_on_futexes, .timeout = 60)
{
	unsigned n_open = 0, n_gone = 0, n_requests = 0;
	struct ipc_event event;
	ipc_server *echo;
	int go[2], r;
	pid_t client;

	if (syscall(SYS_futex_waitv, NULL, 0, 0, NULL, 0) == 0 || errno != EINVAL)
		cr_skip_test("futex_waitv(2) is refused");
	world_start(&world);
	cr_assert_eq(pipe2(go, O_CLOEXEC), 0);
	client = spawn(open_two_and_call_in_turns, &world, &go[0]);
	loop = world_loop(&world, "shop", IPC_WAIT_FUTEX);
	cr_assert_eq(ipc_serve(loop, &echo_served, NULL, &echo), 0);
	while (n_open < 2 && ipc_loop_next(loop, &event, (int64_t)PATIENCE_NS) == 1)
		n_open += event.kind == IPC_EVENT_CHANNEL && event.status == 0;
	cr_assert_eq(n_open, 2);
	/* Both are armed in the kernel. */
	while ((r = ipc_loop_next(loop, &event, 0)) != 0)
		cr_assert_eq(r, -EINTR);
	cr_assert_eq(write(go[1], "", 1), 1);
	while (n_gone < 2 && ipc_loop_next(loop, &event, (int64_t)PATIENCE_NS) == 1) {
		if (event.kind == IPC_EVENT_REQUEST) {
			n_requests++;
			reply_with(event.call, 0, 0);
			continue;
		}
		cr_assert_eq(event.kind, IPC_EVENT_CHANNEL);
		n_gone++;
		cr_assert_gt(channel_info(event.channel).n_sleeps, 0);
	}
	cr_assert_eq(n_gone, 2);
	cr_assert_eq(n_requests, N_IN_TURNS);
	ipc_loop_free(loop);
	(void)close(go[0]);
	(void)close(go[1]);
	cr_assert_eq(reap(client), 0);
	world_stop(&world);
}
