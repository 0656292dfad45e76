/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a peer leaves behind keeps nobody awake. A peer need not do anything to cost a processor: a
 * state that the loop neither sleeps on nor gets rid of is enough. So each of these ends in a loop
 * that has nothing to do and says so: its fd is not readable, and a host would sleep. Nor may a
 * peer that was closed stay for as long as it likes.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "futex.h"
#include "pair.h"
#include "peer.h"

static struct pair pair;
static struct peer peer;
static ipc_channel *victim; /* a client's, to the peer */
static unsigned n_lost;

static void serve(struct pair *p, struct ipc_event *event)
{
	if (event->kind == IPC_EVENT_CHANNEL && event->status < 0)
		n_lost++;
	answer_echo(p, event);
}

/* The peer as a client of the pair's server. */
static void start_client(void)
{
	pair_start(&pair, NULL);
	pair.server.on_event = serve;
	peer_connect(&peer, world_socket(&pair.world, "web"));
	peer_ask(&peer);
	PUMP_UNTIL(&pair, pair.server.n[IPC_EVENT_CHANNEL] == 2);
	peer_joined(&peer);
}

/* The peer as a server, and a client on the pair's server's loop. */
static void start_server(void)
{
	struct ipc_open_opts opts = {.size = sizeof(opts),
				     .flags = IPC_OPEN_ASYNC,
				     .ring_bytes = RING};

	pair_start(&pair, NULL);
	peer_connect(&peer, world_socket(&pair.world, "web"));
	peer_offer(&peer);
	cr_assert_eq(ipc_open(pair.server.loop, &mirror_service, &opts, &victim), 0);
	peer_accept(&peer);
	PUMP_UNTIL(&pair, pair.server.n[IPC_EVENT_CHANNEL] == 2);
	cr_assert_eq(pair.server.last.status, 0, "%s", ipc_loop_error(pair.server.loop));
}

static void stop(void)
{
	peer_close(&peer);
	pair_stop(&pair);
}

/* The loop has nothing to report, and a host may sleep on it. */
static void expect_asleep(void)
{
	struct pollfd poll_fd = {.fd = ipc_loop_fd(pair.server.loop), .events = POLLIN};
	struct ipc_event event;

	pair_settle(&pair);
	for (unsigned i = 0; i < 3; i++)
		cr_assert_eq(ipc_loop_next(pair.server.loop, &event, 0), 0);
	cr_assert_eq(poll(&poll_fd, 1, 0), 0, "the loop says that there is something");
}

static uint64_t n_unread(void)
{
	return peer.head - atomic_load(&other_control(&peer)->consumed);
}

/* Requests until one stays where it is, because nobody reads the answers. */
static void stall(void)
{
	for (uint32_t slot = 0; slot < 16; slot++) {
		(void)peer_request(&peer, slot, ECHO, 3800);
		pair_settle(&pair);
		if (n_unread() >= 3800)
			return;
	}
	cr_assert_fail("the server never stalled");
}

Test(wakeful, a_request_that_waited_for_room_and_is_withdrawn, .timeout = 30)
{
	const uint64_t bytes = ipci_frame_bytes(0, 3800);
	struct raw_frame frame;
	uint8_t *ring;

	start_client();
	stall();
	ring = peer.own.base + peer.own.ring_offset;
	atomic_store(
		&((struct ipci_frame *)(void *)(ring + ((peer.head - bytes) & (RING - 1))))->commit,
		0);
	/* Now there is room, and no request. */
	while (peer_take(&peer, &frame))
		;
	expect_asleep();
	stop();
}

/* The client wants room for a large request, and has made all the calls that it may. */
static void want_room_and_call(void)
{
	struct ipc_room room;
	ipc_call *call;

	(void)send_call(victim, 0, 3000, 1, NULL);
	(void)send_call(victim, 0, 3000, 2, NULL);
	for (unsigned i = 2; i < 15; i++)
		(void)send_call(victim, 0, 30, i, NULL);
	cr_assert_eq(ipc_begin(victim, 0, 3000, NULL, &call, &room), -EAGAIN);
	(void)send_call(victim, 0, 30, 15, NULL);
	cr_assert_eq(ipc_begin(victim, 0, 30, NULL, &call, &room), -EAGAIN);
	expect_asleep();
}

static void expect_writable(void)
{
	unsigned before = pair.server.n[IPC_EVENT_WRITABLE];

	PUMP_UNTIL(&pair, pair.server.n[IPC_EVENT_WRITABLE] == before + 1);
	expect_asleep();
	stop();
}

static void answer(uint64_t call_id)
{
	peer_put(&peer,
		 (struct raw_frame){.commit = 11, .kind = IPCI_KIND_REPLY, .call_id = call_id},
		 0x33);
}

Test(wakeful, a_server_that_reads_all_and_answers_nothing, .timeout = 30)
{
	struct raw_frame frame;

	start_server();
	want_room_and_call();
	while (peer_take(&peer, &frame))
		;
	expect_asleep();
	answer(frame.call_id);
	expect_writable();
}

Test(wakeful, a_server_that_answers_and_never_says_that_it_read, .timeout = 30)
{
	struct raw_frame frame;
	unsigned before;

	start_server();
	want_room_and_call();
	before = pair.server.n[IPC_EVENT_MESSAGE];
	cr_assert(peer_take(&peer, &frame));
	atomic_store(&peer_control(&peer)->consumed, 0);
	answer(frame.call_id);
	PUMP_UNTIL(&pair, pair.server.n[IPC_EVENT_MESSAGE] == before + 1);
	expect_asleep();
	atomic_store(&peer_control(&peer)->consumed, peer.tail);
	peer_ring(&peer);
	expect_writable();
}

/* Nothing is writable while a room is open, whatever becomes free meanwhile. */
Test(wakeful, a_call_that_becomes_free_while_a_room_is_open, .timeout = 30)
{
	struct raw_frame frame;
	struct ipc_room room;
	struct ipc_msg msg;
	ipc_call *calls[16], *call;

	start_server();
	for (unsigned i = 0; i < 16; i++)
		calls[i] = send_call(victim, 0, 30, i, NULL);
	cr_assert_eq(ipc_begin(victim, 0, 30, NULL, &call, &room), -EAGAIN);
	for (unsigned i = 0; i < 2; i++) {
		cr_assert(peer_take(&peer, &frame));
		answer(frame.call_id);
	}
	/* Both are waited for by themselves: the first is free while the second is waited for. */
	cr_assert_eq(ipc_receive(calls[0], &msg), 0);
	cr_assert_eq(ipc_receive(calls[1], &msg), 0);
	cr_assert_eq(ipc_begin(victim, 0, 30, NULL, &call, &room), 0);
	expect_asleep();
	ipc_abort(call);
	expect_writable();
}

/* Whoever the broker has closed is accounted for no more: what it had sent is read, and no more of
 * it than that. */
Test(wakeful, a_client_that_goes_on_after_the_broker_closed_it, .timeout = 30)
{
	const uint64_t bytes = ipci_frame_bytes(0, 1000);
	uint64_t limit_ns;
	struct raw_frame frame;
	unsigned n = 0;

	start_client();
	(void)shutdown(peer.socket, SHUT_RDWR);
	limit_ns = now_ns() + PATIENCE_NS;
	/* There is always another request before the last one was read. */
	while (n_lost == 0 && now_ns() < limit_ns) {
		while (n_lost == 0 && n_unread() < 4 * bytes)
			(void)peer_request(&peer, n++ % 16, ECHO, 1000);
		pair_turn(&pair, 0);
		while (peer_take(&peer, &frame))
			;
	}
	cr_assert_eq(n_lost, 1, "the channel is there after %u requests", n);
	stop();
}

/* The cancel that waited for the room to close finds the lie, in the middle of a call. */
Test(wakeful, a_server_that_is_found_to_lie_while_a_request_goes_out, .timeout = 30)
{
	struct ipc_room room;
	struct ipc_msg msg;
	ipc_call *cancelled, *call;

	start_server();
	cancelled = send_call(victim, 0, 3000, 1, NULL);
	(void)send_call(victim, 0, 3000, 2, NULL);
	/* Up to the last line. */
	cr_assert_eq(ipc_begin(victim, 0, RING - 64 - 2 * 3072 - 16, NULL, &call, &room), 0);
	ipc_cancel(cancelled);
	atomic_store(&peer_control(&peer)->consumed, 64 * RING);
	cr_assert_eq(ipc_transact(call, room.size_bytes, &msg), IPC_INTERNAL);
	cr_assert_eq(channel_info(victim).state, IPC_CHANNEL_CLOSED);
	stop();
}

/* ── wakes ── */

/* A request whose answer is for a peer that says anew that it sleeps, waiting for @want. */
static void ask_asleep(uint32_t want, uint32_t payload_bytes)
{
	static uint64_t epoch;
	const int bell = peer.bell;
	struct ipc_event event;
	struct raw_frame frame;

	/* Nobody sleeps who would have to be rung for, and time counts. */
	peer.bell = -EBADF;
	(void)peer_request(&peer, 0, ECHO, payload_bytes);
	atomic_store(&peer_control(&peer)->waiting, ++epoch << IPCI_WANT_BITS | want);
	cr_assert_eq(ipc_loop_next(pair.server.loop, &event, -1), 1);
	cr_assert_eq(event.kind, IPC_EVENT_REQUEST);
	answer_echo(&pair, &event);
	cr_assert(peer_take(&peer, &frame));
	peer.bell = bell;
}

static void start_asking(uint32_t want, uint32_t payload_bytes)
{
	start_client();
	(void)peer_request(&peer, 0, ECHO, payload_bytes);
	PUMP_UNTIL(&pair, pair.server.n[IPC_EVENT_REQUEST] == 1);
	cr_assert(peer_take(&peer, &(struct raw_frame){}));
	ask_asleep(want, payload_bytes);
}

static void expect_few_wakes(uint32_t want, uint32_t payload_bytes)
{
	struct ipc_channel_info before, after;
	uint64_t started_ns, ms;

	start_asking(want, payload_bytes);
	before = channel_info(pair.served);
	started_ns = now_ns();
	for (unsigned i = 0; i < 50000; i++)
		ask_asleep(want, payload_bytes);
	after = channel_info(pair.served);
	ms = (now_ns() - started_ns) / MS_NS;
	/* A budget begins within the first millisecond, and one within the last. */
	cr_assert_leq(after.n_wakes - before.n_wakes, 256 * (ms + 2));
	cr_assert_gt(after.n_wakes - before.n_wakes, 0);
	cr_assert_geq(after.n_wakes - before.n_wakes + after.n_wakes_deferred, 50000);
	stop();
}

Test(wakeful, a_client_that_says_with_every_message_that_it_sleeps_for_frames, .timeout = 60)
{
	expect_few_wakes(IPCI_WANT_FRAMES_FUTEX, 20);
}

Test(wakeful, a_client_that_says_with_every_message_that_it_sleeps_for_space, .timeout = 60)
{
	expect_few_wakes(IPCI_WANT_SPACE_FUTEX, RING / 4);
}

Test(wakeful, a_wake_that_was_put_off_comes_before_the_server_sleeps, .timeout = 60)
{
	uint64_t limit_ns = now_ns() + PATIENCE_NS, n_wakes;

	start_asking(IPCI_WANT_FRAMES_FUTEX, 20);
	/* Until a wake was just put off. */
	while (channel_info(pair.served).n_wakes_deferred == 0) {
		if (now_ns() > limit_ns)
			cr_skip("too slow a machine to wake 256 times a millisecond");
		ask_asleep(IPCI_WANT_FRAMES_FUTEX, 20);
	}
	n_wakes = channel_info(pair.served).n_wakes;
	pair_settle(&pair);
	cr_assert_eq(channel_info(pair.served).n_wakes, n_wakes + 1);
	expect_asleep();
	stop();
}

/* One more is put off, for frames, and by IPC_MORE: neither takes the other's place. */
Test(wakeful, a_wake_for_room_that_was_put_off_comes_beside_one_for_frames, .timeout = 60)
{
	struct ipc_open_opts opts = {.size = sizeof(opts), .timeout_ns = 20 * MS_NS};
	const uint32_t both = IPCI_WANT_FRAMES_FUTEX | IPCI_WANT_SPACE_FUTEX;
	uint64_t limit_ns = now_ns() + PATIENCE_NS, n_wakes;
	struct ipc_room room;
	ipc_channel *none;
	ipc_call *call;

	start_client();
	pair.server.on_event = NULL;
	(void)peer_request(&peer, 1, ECHO, 8);
	PUMP_UNTIL(&pair, pair.server.n[IPC_EVENT_REQUEST] == 1);
	call = pair.server.last.call;
	while (channel_info(pair.served).n_wakes_deferred == 0) {
		if (now_ns() > limit_ns)
			cr_skip("too slow a machine to wake 256 times a millisecond");
		ask_asleep(IPCI_WANT_SPACE_FUTEX, RING / 4);
	}
	n_wakes = channel_info(pair.served).n_wakes;
	/* The next millisecond's budget has room. */
	(void)usleep(2000);
	atomic_store(&peer_control(&peer)->waiting, UINT64_MAX << IPCI_WANT_BITS | both);
	cr_assert_eq(ipc_reserve(call, 8, 0, &room), 0);
	cr_assert_eq(ipc_commit(call, 8, IPC_LAST | IPC_MORE), 0);
	/* It blocks, and nobody serves that. */
	cr_assert_eq(ipc_open(pair.server.loop, &mirror_service, &opts, &none), -ETIMEDOUT);
	cr_assert_eq(channel_info(pair.served).n_wakes, n_wakes + 2);
	stop();
}

/* It never said that it is registered for membarrier(2). */
Test(wakeful, a_client_without_membarrier_is_fenced_for, .timeout = 60)
{
	struct ipc_event event;
	struct raw_frame frame;

	start_client();
	for (unsigned i = 0; i < 5000; i++) {
		(void)peer_request(&peer, i % 16, ECHO, 20);
		cr_assert_eq(ipc_loop_next(pair.server.loop, &event, -1), 1);
		answer_echo(&pair, &event);
		cr_assert(peer_take(&peer, &frame));
		cr_assert_eq(atomic_load(&other_control(&peer)->waiting) & IPCI_AWAKE, 0);
	}
	stop();
}

/* ── cooling ── */

/* One of many that are silent costs nothing while another one is busy. */
Test(wakeful, a_client_that_is_silent_is_armed_for_while_another_is_busy, .timeout = 60)
{
	uint64_t limit_ns = now_ns() + PATIENCE_NS;
	struct raw_frame frame;

	start_client();
	(void)peer_request(&peer, 0, ECHO, 20);
	PUMP_UNTIL(&pair, peer_take(&peer, &frame));
	while (atomic_load(&other_control(&peer)->waiting) & IPCI_WANT_FRAMES) {
		(void)peer_request(&peer, 0, ECHO, 20);
		pair_turn(&pair, 0);
		(void)peer_take(&peer, &frame);
	}
	while (!(atomic_load(&other_control(&peer)->waiting) & IPCI_WANT_FRAMES)) {
		struct ipc_event event;

		cr_assert_lt(now_ns(), limit_ns, "a silent channel stays hot");
		(void)send_call(pair.channel, ECHO, 20, 1, NULL);
		cr_assert_eq(ipc_loop_next(pair.server.loop, &event, -1), 1);
		if (event.kind == IPC_EVENT_REQUEST)
			answer_echo(&pair, &event);
		cr_assert_eq(ipc_loop_next(pair.client.loop, &event, -1), 1);
	}
	/* And it is heard again. */
	(void)peer_request(&peer, 0, ECHO, 20);
	PUMP_UNTIL(&pair, peer_take(&peer, &frame));
	stop();
}

/* ── padding ── */

static atomic_bool ended;

/* Always awake for nothing, and soon without the broker. */
static void *ring(void *arg)
{
	for (unsigned n = 0; !atomic_load(&ended); n++) {
		atomic_fetch_add(&peer_control(&peer)->bell_frames, 1);
		(void)ipci_futex_wake(&peer_control(&peer)->bell_frames);
		if (n == 1000)
			(void)shutdown(peer.socket, SHUT_RDWR);
	}
	return arg;
}

Test(wakeful, a_server_that_rings_a_waiting_client_after_the_broker_closed_it, .timeout = 60)
{
	struct ipc_room room;
	struct ipc_msg msg;
	pthread_t thread;
	ipc_call *call;

	start_server();
	atomic_store(&ended, false);
	cr_assert_eq(ipc_begin(victim, 0, 10, NULL, &call, &room), 0);
	cr_assert_eq(pthread_create(&thread, NULL, ring, NULL), 0);
	cr_assert_eq(ipc_transact(call, 10, &msg), IPC_UNAVAILABLE);
	atomic_store(&ended, true);
	cr_assert_eq(pthread_join(thread, NULL), 0);
	stop();
}
