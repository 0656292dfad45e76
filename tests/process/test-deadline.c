// SPDX-License-Identifier: Apache-2.0
/* Deadlines and cancelling, seen from both sides. Where time must pass, it passes in the loop. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "pair.h"

#define SOON_NS (20 * MS_NS)

static struct pair pair;
static ipc_call *kept[300];
static unsigned n_kept;
static ipc_call *cancelled[300];
static unsigned n_cancelled;

static void keep_all(struct pair *p, struct ipc_event *event)
{
	(void)p;
	if (event->kind == IPC_EVENT_REQUEST)
		kept[n_kept++] = event->call;
	if (event->kind != IPC_EVENT_CANCELLED)
		return;
	cr_assert_eq(event->channel, pair.served);
	cr_assert_eq(event->server, pair.service);
	cr_assert_eq(call_info(event->call).cancelled, 1);
	cancelled[n_cancelled++] = event->call;
}

static void start(const struct pair_opts *opts)
{
	n_kept = n_cancelled = 0;
	pair_start(&pair, opts);
	pair.server.on_event = keep_all;
}

static ipc_call *send_with(uint64_t timeout_ns)
{
	struct ipc_call_opts opts = {.size = sizeof(opts), .timeout_ns = timeout_ns, .user = &pair};

	return send_call(pair.channel, HOLD, 40, 1, &opts);
}

/* Every slot serves again, and nothing is left of what was given up. */
static void check_all_slots(void)
{
	unsigned n = channel_info(pair.channel).max_calls,
		 before = pair.client.n[IPC_EVENT_MESSAGE];

	pair_settle(&pair);
	cr_assert_eq(channel_info(pair.channel).n_calls, 0);
	cr_assert_eq(channel_info(pair.served).n_calls, 0);
	n_kept = 0;
	for (unsigned i = 0; i < n; i++)
		(void)send_with(0);
	PUMP_UNTIL(&pair, n_kept == n);
	for (unsigned i = 0; i < n; i++)
		reply_with(kept[i], 4, i);
	PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_MESSAGE] == before + n);
}

Test(deadline, passes_while_the_server_sits_on_the_call, .timeout = 30)
{
	struct pair_opts opts = {.client_max_calls = 8};
	struct ipc_call_info info;
	uint64_t started_ns;
	ipc_call *call;

	start(&opts);
	started_ns = now_ns();
	call = send_with(SOON_NS);
	PUMP_UNTIL(&pair, n_kept == 1);
	info = call_info(kept[0]);
	cr_assert_leq(info.remaining_ns, SOON_NS);
	PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_END] == 1);
	cr_assert_geq(now_ns() - started_ns, SOON_NS);
	cr_assert_eq(pair.client.last.call, call);
	cr_assert_eq(pair.client.last.status, IPC_DEADLINE_EXCEEDED);
	cr_assert_eq(pair.client.last.user, &pair);
	info = call_info(call);
	cr_assert_eq(info.fate, IPC_FATE_UNKNOWN);
	cr_assert_eq(info.status, IPC_DEADLINE_EXCEEDED);
	cr_assert_eq(info.remaining_ns, 0);
	PUMP_UNTIL(&pair, n_cancelled == 1);
	cr_assert_eq(cancelled[0], kept[0]);
	cr_assert_eq(call_info(kept[0]).remaining_ns, 0);
	/* It has the slot until it answers, and what it answers is dropped. */
	pair_settle(&pair);
	cr_assert_eq(channel_info(pair.channel).n_calls, 1);
	reply_with(kept[0], 5000, 1);
	check_all_slots();
	cr_assert_eq(pair.client.n[IPC_EVENT_END], 1);
	cr_assert_eq(n_cancelled, 1);
	pair_stop(&pair);
}

Test(deadline, of_many_calls_pass_in_their_order, .timeout = 30)
{
	static uint64_t timeouts[200];
	struct ipc_call_opts opts = {.size = sizeof(opts)};
	unsigned n_ended = 0;
	uint64_t last = 0;

	start(NULL);
	for (unsigned i = 0; i < 200; i++) {
		timeouts[i] = (1 + i * 7919 % 200) * 200000;
		opts.timeout_ns = timeouts[i];
		opts.user = &timeouts[i];
		(void)send_call(pair.channel, HOLD, 4, i, &opts);
	}
	while (n_ended < 200) {
		unsigned before = pair.client.n[IPC_EVENT_END];

		PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_END] == before + 1);
		n_ended++;
		/* Sending took its time, so neighbours may change places, but not those far apart.
		 */
		cr_assert_gt(*(uint64_t *)pair.client.last.user + 20 * MS_NS, last);
		last = *(uint64_t *)pair.client.last.user;
	}
	PUMP_UNTIL(&pair, n_kept == 200 && n_cancelled == 200);
	for (unsigned i = 0; i < 200; i++)
		cr_assert_eq(ipc_fail(kept[i], IPC_ABORTED, "too late anyway"), 0);
	check_all_slots();
	pair_stop(&pair);
}

/* In the ring, before the server looked: whether the time was up when it was sent, or ran out there. */
Test(deadline, that_has_passed_before_the_server_looks_keeps_the_request_from_its_handler,
     .timeout = 30)
{
	const uint64_t timeouts[] = {1, SOON_NS};
	struct ipc_event event;

	for (unsigned i = 0; i < 2; i++) {
		start(NULL);
		(void)send_with(0);
		(void)send_with(timeouts[i]);
		(void)send_with(0);
		cr_assert_eq(ipc_loop_next(pair.client.loop, &event, (int64_t)PATIENCE_NS), 1);
		cr_assert_eq(event.kind, IPC_EVENT_END);
		cr_assert_eq(event.status, IPC_DEADLINE_EXCEEDED);
		cr_assert_eq(event.user, &pair);
		PUMP_UNTIL(&pair, n_kept == 2);
		pair_settle(&pair);
		cr_assert_eq(n_kept, 2);
		cr_assert_eq(n_cancelled, 0);
		cr_assert_eq(channel_info(pair.channel).n_calls, 2);
		for (unsigned k = 0; k < 2; k++)
			cr_assert_eq(ipc_fail(kept[k], IPC_ABORTED, NULL), 0);
		PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_END] == 2);
		check_all_slots();
		pair_stop(&pair);
	}
}

Test(deadline, ends_transact_and_receive_when_nobody_answers, .timeout = 30)
{
	struct ipc_call_opts opts = {.size = sizeof(opts), .timeout_ns = SOON_NS};
	const uint32_t waits[] = {IPC_WAIT_AUTO, IPC_WAIT_SPIN, IPC_WAIT_FUTEX, IPC_WAIT_EPOLL};
	struct ipc_room room;
	struct ipc_msg msg;
	uint64_t started_ns;
	ipc_call *call;

	for (unsigned i = 0; i < 4; i++) {
		start(&(struct pair_opts){.wait = waits[i]});
		msg = (struct ipc_msg){};
		cr_assert_eq(ipc_begin(pair.channel, HOLD, 4, &opts, &call, &room), 0);
		started_ns = now_ns();
		cr_assert_eq(ipc_transact(call, 4, &msg), IPC_DEADLINE_EXCEEDED);
		cr_assert_lt(now_ns() - started_ns, 5 * SECOND_NS);
		cr_assert_eq(call_info(call).status, IPC_DEADLINE_EXCEEDED);
		call = send_with(SOON_NS);
		cr_assert_eq(ipc_receive(call, &msg), IPC_DEADLINE_EXCEEDED);
		cr_assert_null(msg.data);
		/* The server looks only now. */
		check_all_slots();
		cr_assert_eq(n_cancelled, 0);
		cr_assert_eq(pair.client.n[IPC_EVENT_END], 0);
		pair_stop(&pair);
	}
}

Test(deadline, that_is_infinite_is_none, .timeout = 30)
{
	start(NULL);
	(void)send_with(IPC_FOREVER);
	(void)send_with(IPC_FOREVER - 1);
	PUMP_UNTIL(&pair, n_kept == 2);
	cr_assert_eq(call_info(kept[0]).remaining_ns, IPC_FOREVER);
	reply_with(kept[0], 3, 1);
	reply_with(kept[1], 3, 1);
	PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_MESSAGE] == 2);
	pair_stop(&pair);
}

Test(deadline, ends_a_server_s_wait_for_room, .timeout = 30)
{
	struct pair_opts opts = {.server_ring_bytes = 4096};
	struct ipc_room room = {};

	start(&opts);
	(void)send_with(0);
	(void)send_with(0);
	(void)send_with(50 * MS_NS);
	PUMP_UNTIL(&pair, n_kept == 3);
	reply_with(kept[0], 1700, 1);
	reply_with(kept[1], 1700, 1);
	cr_assert_eq(ipc_reserve(kept[2], 1700, 0, &room), -EAGAIN);
	cr_assert_eq(ipc_reserve(kept[2], 1700, IPC_BLOCK, &room), -ETIMEDOUT);
	cr_assert_null(room.data);
	cr_assert_eq(ipc_fail(kept[2], IPC_DEADLINE_EXCEEDED, "no room"), 0);
	PUMP_UNTIL(&pair,
		   pair.client.n[IPC_EVENT_MESSAGE] == 2 && pair.client.n[IPC_EVENT_END] == 1);
	pair_settle(&pair);
	cr_assert_eq(channel_info(pair.channel).n_calls, 0);
	pair_stop(&pair);
}

/* ── cancelling ── */

Test(cancel, of_a_sent_call_tells_the_server_once_and_drops_the_answer, .timeout = 30)
{
	ipc_call *call;

	start(NULL);
	call = send_with(0);
	PUMP_UNTIL(&pair, n_kept == 1);
	ipc_cancel(call);
	PUMP_UNTIL(&pair, n_cancelled == 1);
	cr_assert_eq(cancelled[0], kept[0]);
	pair_settle(&pair);
	cr_assert_eq(n_cancelled, 1);
	reply_with(kept[0], 6000, 1);
	check_all_slots();
	cr_assert_eq(pair.client.n[IPC_EVENT_END], 0);
	pair_stop(&pair);
}

Test(cancel, before_the_server_has_looked_still_brings_request_and_cancel, .timeout = 30)
{
	start(NULL);
	for (unsigned i = 0; i < 50; i++)
		ipc_cancel(send_with(i % 2 ? PATIENCE_NS : 0));
	PUMP_UNTIL(&pair, n_kept == 50 && n_cancelled == 50);
	for (unsigned i = 0; i < 50; i++)
		cr_assert_eq(ipc_fail(kept[i], IPC_CANCELLED, NULL), 0);
	check_all_slots();
	cr_assert_eq(pair.client.n[IPC_EVENT_END], 0);
	pair_stop(&pair);
}

/* The answer is on its way when the call is cancelled: each side drops the other's frame. */
Test(cancel, that_crosses_the_answer_is_harmless, .timeout = 30)
{
	ipc_call *call;

	start(NULL);
	for (unsigned i = 0; i < 20; i++) {
		n_kept = 0;
		call = send_with(0);
		PUMP_UNTIL(&pair, n_kept == 1);
		if (i % 2)
			reply_with(kept[0], 10, 1);
		else
			cr_assert_eq(ipc_fail(kept[0], IPC_ABORTED, "crossing"), 0);
		ipc_cancel(call);
	}
	check_all_slots();
	cr_assert_eq(n_cancelled, 0);
	cr_assert_eq(pair.client.n[IPC_EVENT_END], 0);
	pair_stop(&pair);
}

Test(cancel, of_a_call_that_was_only_begun_sends_nothing, .timeout = 30)
{
	struct ipc_room room;
	ipc_call *call;

	start(NULL);
	for (unsigned i = 0; i < 10; i++) {
		cr_assert_eq(ipc_begin(pair.channel, HOLD, 100, NULL, &call, &room), 0);
		if (i % 2)
			ipc_cancel(call);
		else
			ipc_abort(call);
	}
	cr_assert_eq(channel_info(pair.channel).n_calls, 0);
	cr_assert_eq(channel_info(pair.channel).n_sent, 0);
	ipc_cancel(NULL);
	ipc_abort(NULL);
	check_all_slots();
	pair_stop(&pair);
}

/* The cancel of a sent call waits for a room that is then given up by the other cancel, while
 * everybody sleeps. */
Test(cancel, that_waits_for_an_open_room_goes_when_that_is_cancelled_or_aborted_or_committed,
     .timeout = 30)
{
	struct ipc_room room;
	ipc_call *call, *open;

	for (int way = 0; way < 3; way++) {
		start(NULL);
		call = send_with(0);
		PUMP_UNTIL(&pair, n_kept == 1);
		cr_assert_eq(ipc_begin(pair.channel, HOLD, 100, NULL, &open, &room), 0);
		ipc_cancel(call);
		pair_settle(&pair);
		cr_assert_eq(n_cancelled, 0);
		if (way == 0)
			ipc_cancel(open);
		else if (way == 1)
			ipc_abort(open);
		else
			cr_assert_eq(ipc_commit(open, 100, IPC_LAST), 0);
		PUMP_UNTIL(&pair, n_cancelled == 1);
		pair_stop(&pair);
	}
}

Test(cancel, of_a_parked_reply_drops_it, .timeout = 30)
{
	struct ipc_msg msg;
	ipc_call *first, *second;

	start(NULL);
	first = send_with(0);
	second = send_with(0);
	PUMP_UNTIL(&pair, n_kept == 2);
	reply_with(kept[0], 30, 1);
	reply_with(kept[1], 30, 2);
	cr_assert_eq(ipc_receive(second, &msg), 0);
	ipc_cancel(first);
	check_all_slots();
	cr_assert_eq(n_cancelled, 0);
	pair_stop(&pair);
}

Test(cancel, of_a_call_whose_end_was_just_reported_is_harmless, .timeout = 30)
{
	start(NULL);
	(void)send_with(0);
	PUMP_UNTIL(&pair, n_kept == 1);
	cr_assert_eq(ipc_fail(kept[0], IPC_ABORTED, "x"), 0);
	PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_END] == 1);
	if (pair.client.last.call)
		check_all_slots();
	pair_stop(&pair);
}

static void cancel_at_once(struct pair *p, struct ipc_event *event)
{
	(void)p;
	if (event->kind == IPC_EVENT_MESSAGE || event->kind == IPC_EVENT_END)
		ipc_cancel(event->call);
}

Test(cancel, in_the_event_that_ends_the_call_is_harmless, .timeout = 30)
{
	start(NULL);
	pair.client.on_event = cancel_at_once;
	for (unsigned i = 0; i < 3; i++)
		(void)send_with(i == 2 ? SOON_NS : 0);
	PUMP_UNTIL(&pair, n_kept == 3);
	cr_assert_eq(ipc_fail(kept[0], IPC_ABORTED, "x"), 0);
	reply_with(kept[1], 20, 1);
	PUMP_UNTIL(&pair,
		   pair.client.n[IPC_EVENT_END] == 2 && pair.client.n[IPC_EVENT_MESSAGE] == 1);
	reply_with(kept[2], 20, 1);
	pair.client.on_event = NULL;
	check_all_slots();
	pair_stop(&pair);
}

/* ── what the client's calls refuse ── */

Test(cancel, leaves_what_has_no_business_with_it_alone, .timeout = 30)
{
	struct ipc_call_opts opts = {.size = sizeof(opts)};
	struct {
		struct ipc_call_opts opts;
		uint64_t more;
	} longer = {.opts.size = sizeof(longer), .more = 1};
	struct ipc_call_info info = {.size = 4};
	struct ipc_room room = {};
	struct ipc_msg msg = {};
	ipc_call *call = NULL, *other = NULL;

	start(NULL);
	cr_assert_eq(ipc_begin(NULL, HOLD, 4, NULL, &call, &room), -EINVAL);
	cr_assert_eq(ipc_begin(pair.channel, HOLD, 4, NULL, NULL, &room), -EINVAL);
	cr_assert_eq(ipc_begin(pair.channel, HOLD, 4, NULL, &call, NULL), -EINVAL);
	cr_assert_eq(ipc_begin(pair.served, HOLD, 4, NULL, &call, &room), -EINVAL);
	opts.flags = IPC_LAST;
	cr_assert_eq(ipc_begin(pair.channel, HOLD, 4, &opts, &call, &room), -EINVAL);
	opts = (struct ipc_call_opts){.size = sizeof(opts), .reserved = 1};
	cr_assert_eq(ipc_begin(pair.channel, HOLD, 4, &opts, &call, &room), -EINVAL);
	cr_assert_eq(ipc_begin(pair.channel, HOLD, 4, &longer.opts, &call, &room), -E2BIG);
	cr_assert(!call && !room.data);
	cr_assert_eq(ipc_begin(pair.channel, HOLD, 4, NULL, &call, &room), 0);
	cr_assert_eq(ipc_begin(pair.channel, HOLD, 4, NULL, &other, &room), -EBUSY);
	cr_assert_eq(ipc_reserve(call, 4, 0, &room), -EINVAL,
		     "a client's call has its room already");
	cr_assert_eq(ipc_receive(call, &msg), -EINVAL, "nothing was sent");
	cr_assert_eq(ipc_transact(call, 5, &msg), -EINVAL, "larger than the room");
	cr_assert_eq(ipc_transact(call, 4, NULL), -EINVAL);
	cr_assert_eq(ipc_fail(call, IPC_ABORTED, NULL), -EINVAL, "a client fails no call");
	cr_assert_eq(ipc_call_info(call, NULL), -EINVAL);
	cr_assert_eq(ipc_call_info(call, &info), -EINVAL);
	cr_assert_eq(ipc_commit(call, 4, IPC_LAST), 0);
	cr_assert_eq(ipc_transact(call, 4, &msg), -EINVAL, "sent already");
	cr_assert_eq(ipc_commit(call, 4, IPC_LAST), -EINVAL);
	PUMP_UNTIL(&pair, n_kept == 1);
	ipc_cancel(kept[0]);
	cr_assert_eq(ipc_receive(kept[0], &msg), -EINVAL, "a server receives no reply");
	cr_assert_eq(ipc_transact(kept[0], 0, &msg), -EINVAL);
	reply_with(kept[0], 4, 1);
	PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_MESSAGE] == 1);
	check_all_slots();
	pair_stop(&pair);
}

static void on_alarm(int signal)
{
	(void)signal;
}

Test(cancel, does_not_happen_to_a_wait_that_a_signal_interrupts, .timeout = 30)
{
	struct sigaction action = {.sa_handler = on_alarm};
	struct itimerval timer = {.it_value.tv_usec = 5000, .it_interval.tv_usec = 5000};
	const struct itimerval off = {};
	struct ipc_room room;
	struct ipc_event event;
	struct ipc_msg msg = {};
	ipc_call *call;

	start(&(struct pair_opts){.wait = IPC_WAIT_FUTEX});
	cr_assert_eq(sigaction(SIGALRM, &action, NULL), 0);
	cr_assert_eq(setitimer(ITIMER_REAL, &timer, NULL), 0);
	cr_assert_eq(ipc_begin(pair.channel, HOLD, 4, NULL, &call, &room), 0);
	cr_assert_eq(ipc_transact(call, 4, &msg), -EINTR);
	cr_assert_eq(ipc_receive(call, &msg), -EINTR);
	cr_assert_eq(ipc_loop_next(pair.client.loop, &event, (int64_t)PATIENCE_NS), -EINTR);
	cr_assert_eq(setitimer(ITIMER_REAL, &off, NULL), 0);
	PUMP_UNTIL(&pair, n_kept == 1);
	cr_assert_eq(n_cancelled, 0);
	reply_with(kept[0], 9, 3);
	cr_assert_eq(ipc_receive(call, &msg), 0);
	cr_assert(msg.size_bytes == 9 && filled(msg.data, 9, 3));
	pair_stop(&pair);
}

struct watched {
	pthread_t thread;
	pid_t tid;
	_Atomic bool goes_to_sleep;
};

/* One signal, to a thread that was seen to sleep on a futex. */
static void *interrupt_once_asleep(void *arg)
{
	struct watched *watched = arg;
	char path[64], text[32] = "";
	long number = -1;

	(void)snprintf(path, sizeof(path), "/proc/self/task/%d/syscall", (int)watched->tid);
	while (number != SYS_futex) {
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		ssize_t n = read(fd, text, sizeof(text) - 1);

		(void)close(fd);
		text[n > 0 ? n : 0] = '\0';
		if (!atomic_load(&watched->goes_to_sleep) || sscanf(text, "%ld", &number) != 1)
			number = -1;
	}
	(void)pthread_kill(watched->thread, SIGALRM);
	return NULL;
}

/* There is only the one: a loop that slept on elsewhere would have swallowed it. */
Test(cancel, and_one_signal_ends_a_loops_wait_on_futexes, .timeout = 60)
{
	struct sigaction action = {.sa_handler = on_alarm};
	struct watched watched = {.thread = pthread_self(), .tid = gettid()};
	struct ipc_event event;
	struct ipc_room room;
	ipc_call *call;
	pthread_t other;
	int r;

	start(&(struct pair_opts){.wait = IPC_WAIT_FUTEX});
	cr_assert_eq(sigaction(SIGALRM, &action, NULL), 0);
	cr_assert_eq(ipc_begin(pair.channel, HOLD, 4, NULL, &call, &room), 0);
	cr_assert_eq(pthread_create(&other, NULL, interrupt_once_asleep, &watched), 0);
	/* With this a channel is looked at in memory, and so slept for on its word. */
	cr_assert_eq(ipc_commit(call, 4, IPC_LAST | IPC_MORE), 0);
	atomic_store(&watched.goes_to_sleep, true);
	r = ipc_loop_next(pair.client.loop, &event, (int64_t)PATIENCE_NS);
	cr_assert_eq(r, -EINTR, "%d", r);
	cr_assert_eq(pthread_join(other, NULL), 0);
	pair_stop(&pair);
}
