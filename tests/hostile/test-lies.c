// SPDX-License-Identifier: Apache-2.0
/*
 * A peer that lies in its ring: frames too early, too late, half done, over each other, answers to
 * what was asked elsewhere; as a client of a victim and as a server of one. Each time its own
 * channel goes on or ends for the right reason, and the honest third is served.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "victim.h"

#define IN_BOTH_ROLES(role) for (enum role role = AS_CLIENT; role < N_ROLES; role++)

static struct ipci_frame *frame_at(uint64_t position)
{
	return (struct ipci_frame *)(void *)(peer.own.base + peer.own.ring_offset +
					     (position & (RING - 1)));
}

/* Hides what peer_put() would do at once, to do it piece by piece. */
static struct ipci_frame *next_frame(void)
{
	return frame_at(peer.head);
}

/* ── too early, too late, too slow ── */

/* The commit word first and the rest when it may have been read: whatever arrives is one thing. */
Test(lies, commits_before_it_writes, .timeout = 60)
{
	start_as(AS_CLIENT);
	for (uint32_t i = 0; i < 200 && n_lost == 0; i++) {
		struct ipci_frame *frame = next_frame();

		atomic_store(&frame_at(peer.head + 1088)->commit, 0);
		frame->kind = IPCI_KIND_REQUEST;
		frame->method = ECHO;
		frame->call_id = ++peer.seq << IPCI_CALL_SLOT_BITS;
		atomic_store(&frame->commit, 1001);
		peer_ring(&peer);
		if (i % 2)
			pair_turn(&pair, 0);
		memset(frame + 1, (int)i, 1000);
		peer.head += ipci_frame_bytes(0, 1000);
		expect_reply(frame->call_id, IPCI_KIND_REPLY);
	}
	stop();
}

/* Slow loris: a word at a time, and turns between. Nothing waits for it. */
static void write_slowly(struct raw_frame raw, uint32_t payload_bytes)
{
	struct ipci_frame *frame = next_frame();

	atomic_store(&frame_at(peer.head + raw.frame_bytes)->commit, 0);
	frame->kind = (uint16_t)raw.kind;
	check_honest();
	frame->method = (uint16_t)raw.method;
	check_honest();
	frame->call_id = raw.call_id;
	for (uint32_t at = 0; at < payload_bytes; at++) {
		((uint8_t *)(frame + 1))[at] = (uint8_t)at;
		peer_ring(&peer);
		pair_settle(&pair);
	}
	check_honest();
	expect_asleep();
	atomic_store(&frame->commit, payload_bytes + 1);
	peer.head += raw.frame_bytes;
	peer_ring(&peer);
}

Test(lies, writes_a_frame_one_byte_at_a_time, .timeout = 60)
{
	unsigned before;

	start_as(AS_CLIENT);
	write_slowly((struct raw_frame){.kind = IPCI_KIND_REQUEST,
					.method = ECHO,
					.call_id = ++peer.seq << IPCI_CALL_SLOT_BITS,
					.frame_bytes = 128},
		     100);
	expect_reply(peer.seq << IPCI_CALL_SLOT_BITS, IPCI_KIND_REPLY);
	stop();
	start_as(AS_SERVER);
	before = pair.server.n[IPC_EVENT_MESSAGE];
	write_slowly((struct raw_frame){.kind = IPCI_KIND_REPLY,
					.call_id = get_called().call_id,
					.frame_bytes = 128},
		     100);
	PUMP_UNTIL(&pair, pair.server.n[IPC_EVENT_MESSAGE] == before + 1);
	stop();
}

Test(lies, leaves_a_frame_unfinished, .timeout = 30)
{
	IN_BOTH_ROLES(role)
	{
		start_as(role);
		next_frame()->kind = IPCI_KIND_REQUEST;
		next_frame()->call_id = UINT64_MAX;
		memset(next_frame() + 1, 0xff, 512);
		peer_ring(&peer);
		expect_asleep();
		stop();
	}
}

Test(lies, takes_a_frame_back_before_it_is_read, .timeout = 30)
{
	IN_BOTH_ROLES(role)
	{
		start_as(role);
		for (unsigned i = 0; i < 100; i++) {
			atomic_store(&next_frame()->commit, 21);
			peer_ring(&peer);
			atomic_store(&next_frame()->commit, 0);
			pair_settle(&pair);
			exchange(role);
		}
		stop();
	}
}

/* ── over each other ── */

/* It waits for no room, and so writes over what was not read. */
Test(lies, overruns_its_own_ring, .timeout = 60)
{
	start_as(AS_CLIENT);
	for (uint32_t i = 0; i < 2000 && n_lost == 0; i++) {
		(void)peer_request(&peer, i % 16, i % 3 ? ECHO : MISSING, 100 + i % 1000);
		if (i % 50 == 49)
			pair_settle(&pair);
	}
	pair_settle(&pair);
	if (n_lost)
		cr_assert_eq(lost_status, -EPROTO, "%s", reason);
	stop();
	start_as(AS_SERVER);
	for (uint32_t i = 0; i < 500 && n_lost == 0; i++)
		answer(UINT64_C(1) << IPCI_CALL_SLOT_BITS, 100 + i);
	expect_poison("");
	stop();
}

static void *rewrite_for_ever(void *arg)
{
	uint8_t *payloads = peer.own.base + peer.own.ring_offset;

	/* Everything but the header words of frames, which lie on lines. */
	for (uint8_t x = 0; !atomic_load(&ended); x++)
		for (uint64_t line = 0; line < RING; line += 64)
			for (unsigned at = 16; at < 64; at += 8)
				*(volatile uint64_t *)(void *)(payloads + line +
							       at) = x *
								     UINT64_C(0x0101010101010101);
	return arg;
}

static void exchange_while_rewriting(enum role role, uint32_t bytes)
{
	pthread_t thread;

	start_as(role);
	atomic_store(&ended, false);
	cr_assert_eq(pthread_create(&thread, NULL, rewrite_for_ever, NULL), 0);
	for (unsigned i = 0; i < 100; i++) {
		unsigned before = pair.server.n[IPC_EVENT_MESSAGE];

		if (role == AS_CLIENT) {
			expect_reply(peer_request(&peer, 0, ECHO, bytes), IPCI_KIND_REPLY);
		} else {
			answer(get_called().call_id, bytes);
			PUMP_UNTIL(&pair, pair.server.n[IPC_EVENT_MESSAGE] == before + 1);
			cr_assert_eq(pair.server.last.msg.size_bytes, bytes);
		}
	}
	atomic_store(&ended, true);
	cr_assert_eq(pthread_join(thread, NULL), 0);
	cr_assert_eq(n_lost, 0, "%s", reason);
	stop();
}

Test(lies, rewrites_a_small_payload_while_it_is_copied, .timeout = 60)
{
	IN_BOTH_ROLES(role)
	exchange_while_rewriting(role, 1000);
}

static bool torn;

static void look_twice(struct pair *p, struct ipc_event *event)
{
	if (event->kind == IPC_EVENT_REQUEST && event->method != SERVED_ECHO) {
		uint8_t *copy = malloc(event->msg.size_bytes);

		cr_assert_not_null(copy);
		memcpy(copy, event->msg.data, event->msg.size_bytes);
		torn = torn || memcmp(copy, event->msg.data, event->msg.size_bytes) != 0;
		free(copy);
	}
	serve_all(p, event);
}

Test(lies, rewrites_a_payload_between_two_loads, .timeout = 60)
{
	pthread_t thread;

	start_as(AS_CLIENT);
	pair.server.on_event = look_twice;
	atomic_store(&ended, false);
	torn = false;
	cr_assert_eq(pthread_create(&thread, NULL, rewrite_for_ever, NULL), 0);
	for (uint32_t i = 0; i < 60; i++) {
		(void)peer_request(&peer, i % 16, HOLD, 3800);
		PUMP_UNTIL(&pair, n_kept == 1);
		cr_assert_eq(ipc_fail(kept[--n_kept], IPC_ABORTED, NULL), 0);
		PUMP_UNTIL(&pair, peer_take(&peer, &(struct raw_frame){0}));
	}
	atomic_store(&ended, true);
	cr_assert_eq(pthread_join(thread, NULL), 0);
	/* What was delivered is one thing, whatever the peer's half says by now. */
	cr_assert(!torn);
	stop();
}

/* ── while something is kept ── */

static struct ipc_msg kept_msg;

static void keep_one(struct pair *p, struct ipc_event *event)
{
	if (event->kind == IPC_EVENT_REQUEST && event->method != SERVED_ECHO && !kept_msg.data) {
		kept_msg = event->msg;
		cr_assert_eq(ipc_keep(&kept_msg), 0);
	}
	serve_all(p, event);
}

static void lose_while_kept(bool poisons)
{
	uint64_t sum = 0;

	start_as(AS_CLIENT);
	kept_msg = (struct ipc_msg){};
	pair.server.on_event = keep_one;
	(void)peer_request(&peer, 1, HOLD, 3000);
	PUMP_UNTIL(&pair, n_kept == 1);
	if (poisons) {
		peer_put(&peer, (struct raw_frame){.commit = 1, .kind = IPCI_KIND_MASK}, 0);
	} else {
		(void)close(peer.bell);
		peer.bell = -1;
	}
	PUMP_UNTIL(&pair, n_lost == 1);
	cr_assert_eq(lost_status, poisons ? -EPROTO : -EPIPE);
	check_honest();
	/* Readable as long as it is held. */
	for (size_t i = 0; i < kept_msg.size_bytes; i++)
		sum += ((const uint8_t *)kept_msg.data)[i];
	cr_assert_eq(sum, UINT64_C(0x77) * 3000);
	ipc_release(&kept_msg);
	stop();
}

Test(lies, breaks_the_channel_while_its_message_is_kept, .timeout = 30)
{
	lose_while_kept(true);
}

Test(lies, dies_while_its_message_is_kept, .timeout = 30)
{
	lose_while_kept(false);
}

/* The seals hold for the owner as well: nobody reads a hole, and nobody gets SIGBUS. */
Test(lies, tries_to_take_its_half_away_under_the_reader, .timeout = 30)
{
	IN_BOTH_ROLES(role)
	{
		char path[64];
		int fd;

		start_as(role);
		(void)snprintf(path, sizeof(path), "/proc/self/map_files/%lx-%lx",
			       (unsigned long)(uintptr_t)peer.own.base,
			       (unsigned long)((uintptr_t)peer.own.base +
					       ipci_half_size_bytes(RING)));
		fd = open(path, O_RDWR | O_CLOEXEC);
		if (fd >= 0) {
			cr_assert_lt(ftruncate(fd, 0), 0);
			cr_assert_lt(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
					       4096),
				     0);
			(void)close(fd);
		}
		cr_assert_lt(madvise(peer.own.base, 4096, MADV_REMOVE), 0);
		(void)madvise(peer.own.base, ipci_half_size_bytes(RING), MADV_DONTNEED);
		(void)madvise(peer.own.base, ipci_half_size_bytes(RING), MADV_PAGEOUT);
		exchange(role);
		(void)munmap(peer.own.base, 4096);
		cr_assert_eq(mmap(peer.own.base, 4096, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
			     peer.own.base);
		check_honest();
		stop();
	}
}

/* ── deadlines ── */

static uint64_t request_with_deadline(uint32_t slot, uint64_t remaining_ns)
{
	struct raw_frame frame = {
		.commit = 5,
		.kind = IPCI_KIND_REQUEST | IPCI_EXT_DEADLINE,
		.method = HOLD,
		.call_id = ++peer.seq << IPCI_CALL_SLOT_BITS | slot,
	};
	struct ipci_frame *at = next_frame();
	int bell = peer.bell;

	/* Nobody is told before all of it is there. */
	peer.bell = -1;
	peer_put(&peer, frame, 0);
	*(uint64_t *)(void *)(at + 1) = remaining_ns;
	peer.bell = bell;
	peer_ring(&peer);
	return frame.call_id;
}

/* No handler sees them. */
Test(lies, sends_deadlines_that_have_passed, .timeout = 30)
{
	struct raw_frame frame;

	start_as(AS_CLIENT);
	for (uint32_t i = 0; i < 200; i++) {
		uint64_t id = request_with_deadline(i % 16, 0);

		AWAIT_PEER(peer_take(&peer, &frame));
		cr_assert_eq(frame.call_id, id);
		cr_assert_eq(frame.kind, IPCI_KIND_ERROR);
		cr_assert_eq(frame.method, IPC_DEADLINE_EXCEEDED | IPCI_STATUS_NOT_EXECUTED);
	}
	cr_assert_eq(n_kept, 0);
	expect_asleep();
	stop();
}

Test(lies, sends_deadlines_that_pass_at_once, .timeout = 30)
{
	start_as(AS_CLIENT);
	for (uint32_t slot = 0; slot < 16; slot++)
		(void)request_with_deadline(slot, 1);
	PUMP_UNTIL(&pair, n_kept == 16);
	PUMP_UNTIL(&pair, pair.server.n[IPC_EVENT_CANCELLED] == 16);
	expect_asleep();
	cr_assert_eq(pair.server.n[IPC_EVENT_CANCELLED], 16);
	stop();
}

Test(lies, sends_deadlines_at_the_end_of_time, .timeout = 30)
{
	const uint64_t ends[] = {UINT64_MAX, UINT64_MAX - 1, INT64_MAX, UINT64_C(1) << 63};

	start_as(AS_CLIENT);
	for (uint32_t slot = 0; slot < 4; slot++)
		(void)request_with_deadline(slot, ends[slot]);
	PUMP_UNTIL(&pair, n_kept == 4);
	expect_asleep();
	cr_assert_eq(pair.server.n[IPC_EVENT_CANCELLED], 0);
	stop();
}

Test(lies, holds_every_call_that_it_may, .timeout = 30)
{
	start_as(AS_CLIENT);
	for (uint32_t slot = 0; slot < 16; slot++)
		(void)peer_request(&peer, slot, HOLD, 20);
	PUMP_UNTIL(&pair, n_kept == 16);
	expect_asleep();
	check_honest();
	(void)peer_request(&peer, 3, HOLD, 20);
	expect_poison("has not ended");
	stop();
}

/* ── as a server: answers ── */

Test(lies, sends_lengths_that_no_answer_has, .timeout = 60)
{
	const uint64_t lengths[] = {ipci_payload_max_bytes(RING) + 1, RING, INT32_MAX,
				    UINT32_MAX - 1};

	for (unsigned i = 0; i < 4; i++) {
		start_as(AS_SERVER);
		peer_put(&peer,
			 (struct raw_frame){.commit = (uint32_t)lengths[i] + 1,
					    .kind = IPCI_KIND_REPLY,
					    .call_id = get_called().call_id,
					    .frame_bytes = 64},
			 0);
		expect_broken("length", 1);
	}
}

Test(lies, answers_what_was_cancelled_late_and_twice, .timeout = 30)
{
	ipc_call *call;
	struct raw_frame frame;
	uint64_t id;

	start_as(AS_SERVER);
	call = send_call(victim, 0, 30, 1, NULL);
	cr_assert(peer_take(&peer, &frame));
	id = frame.call_id;
	ipc_cancel(call);
	pair_settle(&pair);
	cr_assert(peer_take(&peer, &frame));
	cr_assert_eq(frame.kind, IPCI_KIND_CANCEL);
	cr_assert_eq(frame.call_id, id);
	answer(id, 10);
	exchange(AS_SERVER);
	answer(id, 10);
	expect_poison("answer");
	stop();
}

Test(lies, answers_what_has_expired_late_and_twice, .timeout = 30)
{
	struct ipc_call_opts opts = {.size = sizeof(opts), .timeout_ns = MS_NS};
	struct raw_frame frame;
	uint64_t id;

	start_as(AS_SERVER);
	(void)send_call(victim, 0, 30, 1, &opts);
	cr_assert(peer_take(&peer, &frame));
	id = frame.call_id;
	PUMP_UNTIL(&pair, n_ends == 1);
	cr_assert_eq(end_status, IPC_DEADLINE_EXCEEDED);
	pair_settle(&pair);
	cr_assert(peer_take(&peer, &frame));
	cr_assert_eq(frame.kind, IPCI_KIND_CANCEL);
	answer(id, 10);
	pair_settle(&pair);
	/* The call's slot is free again, and nobody hears of the answer. */
	exchange(AS_SERVER);
	answer(id, 10);
	expect_poison("answer");
	stop();
}

/* Numbers are the channel's own: the honest third's call of that number is answered by its server. */
Test(lies, answers_the_call_of_another_channel, .timeout = 30)
{
	unsigned before;
	uint64_t id;
	ipc_call *call;

	start_as(AS_SERVER);
	before = pair.client.n[IPC_EVENT_MESSAGE];
	call = send_call(pair.channel, ECHO, 300, 9, NULL);
	id = call_info(call).id;
	answer(id + (UINT64_C(5) << IPCI_CALL_SLOT_BITS), 10);
	PUMP_UNTIL(&pair, n_lost == 1 && pair.client.n[IPC_EVENT_MESSAGE] == before + 1);
	cr_assert(filled(pair.client.last.msg.data, 300, 9));
	cr_assert_eq(lost_status, -EPROTO, "%s", reason);
	stop();
}

Test(lies, fails_with_a_text_for_terminals, .timeout = 30)
{
	static const char text[] = "\x1b[2J\x07 \xc2\x9b"
				   "31m ok \x7f\xc2";
	struct raw_frame frame;
	struct ipci_frame *at;
	struct ipc_call_info info;
	ipc_call *call;

	start_as(AS_SERVER);
	call = send_call(victim, 0, 30, 1, NULL);
	cr_assert(peer_take(&peer, &frame));
	at = next_frame();
	atomic_store(&frame_at(peer.head + 64)->commit, 0);
	at->kind = IPCI_KIND_ERROR;
	at->method = 3;
	at->call_id = frame.call_id;
	memcpy(at + 1, text, sizeof(text) - 1);
	atomic_store(&at->commit, (uint32_t)sizeof(text));
	peer.head += 64;
	peer_ring(&peer);
	PUMP_UNTIL(&pair, n_ends == 1);
	cr_assert_eq(pair.server.last.call, call);
	info = call_info(call);
	cr_assert_str_eq(info.error, "?[2J? ??31m ok ?\xc2");
	stop();
}

/* All at once, in the wrong order, as large as they come, while the victim waits for another one. */
static void *answer_all_backwards(void *arg)
{
	struct raw_frame frame;
	uint64_t ids[9];
	unsigned n = 0;

	while (n < 9)
		if (peer_take(&peer, &frame))
			ids[n++] = frame.call_id;
	while (n-- > 0) {
		while (peer.head + 2048 - atomic_load(&other_control(&peer)->consumed) > RING)
			;
		answer(ids[n], 1500);
		atomic_fetch_add(&peer_control(&peer)->bell_frames, 1);
	}
	return arg;
}

Test(lies, answers_all_others_first, .timeout = 30)
{
	struct ipc_room room;
	struct ipc_msg msg;
	pthread_t thread;
	unsigned before;
	ipc_call *call;

	start_as(AS_SERVER);
	before = pair.server.n[IPC_EVENT_MESSAGE];
	cr_assert_eq(pthread_create(&thread, NULL, answer_all_backwards, NULL), 0);
	cr_assert_eq(ipc_begin(victim, 0, 30, NULL, &call, &room), 0);
	cr_assert_eq(ipc_commit(call, 30, IPC_LAST), 0);
	for (unsigned i = 0; i < 8; i++)
		(void)send_call(victim, 0, 30, i, NULL);
	cr_assert_eq(ipc_receive(call, &msg), 0);
	cr_assert_eq(msg.size_bytes, 1500);
	cr_assert_eq(pthread_join(thread, NULL), 0);
	PUMP_UNTIL(&pair, pair.server.n[IPC_EVENT_MESSAGE] == before + 8);
	stop();
}
