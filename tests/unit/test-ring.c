/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Publishing and consuming, on real halves: mirrored, and seen read-only from the other side. What
 * two threads can do to each other is tests/stress, what a hostile peer can do is tests/hostile.
 */
#include <sys/mman.h>

#include "ring-frames.h"

Test(ring, a_new_ring_is_empty, .timeout = 5)
{
	struct ring_pair pair;

	ring_pair_init(&pair, RING);
	expect_nothing(&pair);
	cr_assert_eq(ipci_producer_free_bytes(&pair.a.tx), RING - LINE);
	cr_assert(!ipci_consumer_publish(&pair.b.rx));
	ring_pair_deinit(&pair);
}

Test(ring, frames_wrap_at_every_line, .timeout = 20)
{
	static const uint32_t sizes[] = {
		0, 1, 47, 48, 49, 64, 111, 112, 113, 500, 1000, 1024, PAYLOAD_MAX - 1, PAYLOAD_MAX};
	struct ring_pair pair;
	uint64_t id = 0;

	ring_pair_init(&pair, RING);
	for (uint64_t line = 0; line < N_LINES; line++) {
		for (unsigned s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
			advance_to(&pair, line);
			cr_assert_eq(put(&pair, sizes[s], ++id), 0);
			get(&pair, IPCI_KIND_REQUEST, sizes[s], id);
			expect_nothing(&pair);
		}
	}
	ring_pair_deinit(&pair);
}

Test(ring, every_size_arrives_with_every_set_of_extensions, .timeout = 20)
{
	static const uint32_t exts[] = {0, IPCI_EXT_DEADLINE, IPCI_EXT_TRACE,
					IPCI_EXT_DEADLINE | IPCI_EXT_TRACE};
	struct ring_pair pair;
	uint64_t id = 0;

	ring_pair_init(&pair, RING);
	for (uint32_t size = 0; size <= PAYLOAD_MAX; size++) {
		for (unsigned e = 0; e < 4; e++) {
			uint32_t kind = IPCI_KIND_REPLY | exts[e];

			cr_assert_eq(put_shrunk(&pair, kind, size, size, ++id), 0);
			get(&pair, kind, size, id);
		}
	}
	expect_nothing(&pair);
	ring_pair_deinit(&pair);
}

Test(ring, many_frames_arrive_in_their_order, .timeout = 20)
{
	struct ring_pair pair;
	uint64_t sent = 0, received = 0, seed = 1;
	uint32_t sizes[N_LINES];

	ring_pair_init(&pair, RING);
	while (received < 50000) {
		uint32_t size = (uint32_t)(ring_random(&seed) % 600);

		if (ring_random(&seed) % 2 && put(&pair, size, sent) == 0)
			sizes[sent++ % N_LINES] = size;
		else if (received < sent)
			get(&pair, IPCI_KIND_REQUEST, sizes[received % N_LINES], received),
				received++;
		else
			expect_nothing(&pair);
	}
	cr_assert_eq(pair.b.rx.n_frames, received);
	cr_assert_eq(pair.a.tx.n_frames, sent);
	ring_pair_deinit(&pair);
}

Test(ring, positions_pass_four_gigabytes, .timeout = 5)
{
	const uint64_t start = (UINT64_C(1) << 32) - RING;
	struct ring_pair pair;

	ring_pair_init(&pair, RING);
	pair.a.tx.head = pair.a.tx.peer_consumed = start;
	pair.b.rx.tail = pair.b.rx.published = start;
	atomic_store(&pair.b.control->consumed, start);
	for (uint64_t id = 1; id < 4 * N_LINES; id++) {
		cr_assert_eq(put(&pair, id % 300, id), 0);
		get(&pair, IPCI_KIND_REQUEST, id % 300, id);
	}
	cr_assert_gt(pair.b.rx.tail, UINT64_C(1) << 32);
	ring_pair_deinit(&pair);
}

Test(ring, reserve_on_a_full_ring_returns_eagain_and_keeps_ret, .timeout = 5)
{
	struct ring_pair pair;
	uint8_t mark, *at = &mark;

	ring_pair_init(&pair, RING);
	/* One line to spare: behind the newest frame lies a commit word that says "nothing yet". */
	for (uint64_t id = 1; id < N_LINES; id++)
		cr_assert_eq(put(&pair, 48, id), 0);
	cr_assert_eq(ipci_producer_free_bytes(&pair.a.tx), 0);
	cr_assert_eq(ipci_producer_reserve(&pair.a.tx, 0, 0, &at), -EAGAIN);
	cr_assert_eq(at, &mark);
	cr_assert_eq(pair.a.tx.reserved, 0);
	for (uint64_t id = 1; id < N_LINES; id++)
		get(&pair, IPCI_KIND_REQUEST, 48, id);
	expect_nothing(&pair);
	ring_pair_deinit(&pair);
}

Test(ring, a_frame_fits_to_the_last_line_and_not_one_more, .timeout = 5)
{
	struct ring_pair pair;
	uint8_t *at;

	ring_pair_init(&pair, RING);
	for (uint64_t line = 0; line < N_LINES; line++) {
		advance_to(&pair, line);
		cr_assert_eq(put(&pair, PAYLOAD_MAX, 7), 0); /* 29 lines of 64 */
		cr_assert_eq(put(&pair, 1000, 8), 0);	     /* 16 */
		cr_assert_eq(ipci_producer_refresh(&pair.a.tx), 0);
		cr_assert_eq(ipci_producer_free_bytes(&pair.a.tx), 18 * LINE);
		cr_assert_eq(ipci_producer_reserve(&pair.a.tx, 0, 18 * LINE - 15, &at), -EAGAIN);
		cr_assert_eq(put(&pair, 18 * LINE - 16, 9), 0);
		cr_assert_eq(put(&pair, 0, 10), -EAGAIN);
		get(&pair, IPCI_KIND_REQUEST, PAYLOAD_MAX, 7);
		get(&pair, IPCI_KIND_REQUEST, 1000, 8);
		get(&pair, IPCI_KIND_REQUEST, 18 * LINE - 16, 9);
		expect_nothing(&pair);
	}
	ring_pair_deinit(&pair);
}

Test(ring, a_full_ring_has_room_again_for_just_what_was_consumed, .timeout = 5)
{
	struct ring_pair pair;
	uint64_t id;

	ring_pair_init(&pair, RING);
	for (id = 0; id < N_LINES - 1; id++)
		cr_assert_eq(put(&pair, 0, id), 0);
	for (unsigned i = 0; i < 3 * N_LINES; i++) {
		get(&pair, IPCI_KIND_REQUEST, 0, id - (N_LINES - 1));
		cr_assert_eq(put(&pair, 49, id), -EAGAIN);
		cr_assert_eq(put(&pair, 0, id++), 0);
		cr_assert_eq(put(&pair, 0, id), -EAGAIN);
	}
	ring_pair_deinit(&pair);
}

Test(ring, a_commit_may_be_smaller_than_its_room, .timeout = 5)
{
	struct ring_pair pair;
	uint64_t id = 0;

	ring_pair_init(&pair, RING);
	for (uint64_t line = 0; line < N_LINES; line++) {
		for (uint64_t size = 0; size <= PAYLOAD_MAX; size += 179) {
			uint64_t head = pair.a.tx.head;

			cr_assert_eq(put_shrunk(&pair, IPCI_KIND_REQUEST, PAYLOAD_MAX, size, ++id),
				     0);
			cr_assert_eq(pair.a.tx.head - head, ipci_frame_bytes(0, size));
			get(&pair, IPCI_KIND_REQUEST, size, id);
			expect_nothing(&pair);
		}
		advance_to(&pair, line);
	}
	ring_pair_deinit(&pair);
}

Test(ring, an_aborted_room_is_never_seen, .timeout = 5)
{
	struct ring_pair pair;
	uint8_t *at;

	ring_pair_init(&pair, RING);
	for (uint64_t line = 0; line < N_LINES; line++) {
		advance_to(&pair, line);
		cr_assert_eq(ipci_producer_reserve(&pair.a.tx, 0, PAYLOAD_MAX, &at), 0);
		memset(at, 0x01, PAYLOAD_MAX);
		expect_nothing(&pair);
		ipci_producer_abort(&pair.a.tx);
		expect_nothing(&pair);
		/* The room is there again, whole, and what follows is not mistaken for old bytes.
		 */
		cr_assert_eq(put(&pair, 20, line), 0);
		get(&pair, IPCI_KIND_REQUEST, 20, line);
		expect_nothing(&pair);
	}
	ring_pair_deinit(&pair);
}

/* Old bytes that all look like commit words, everywhere but where the consumer looks next, and
 * where the producer blanked ahead. */
static void litter(struct ring_pair *pair, uint32_t word)
{
	struct ipci_frame *next = ipci_producer_frame(&pair->a.tx, pair->a.tx.head);

	for (uint32_t i = 0; i < RING; i += 4)
		memcpy(pair->a.tx.ring + i, &word, 4);
	atomic_store(&next->commit, 0);
	if (pair->a.tx.blank != IPCI_NOT_BLANK)
		atomic_store(&ipci_producer_frame(&pair->a.tx, pair->a.tx.blank)->commit, 0);
}

Test(ring, old_bytes_never_look_like_a_frame, .timeout = 20)
{
	static const uint32_t words[] = {1, 2, 0x01010101, PAYLOAD_MAX + 1, UINT32_MAX};
	static const uint32_t sizes[] = {0, 48, 49, 200, PAYLOAD_MAX};
	struct ring_pair pair;
	uint64_t id = 0;

	ring_pair_init(&pair, RING);
	for (uint64_t n = 0; n < 5 * 5 * 2 * 2 * N_LINES; n++) {
		uint32_t size = sizes[n % 5];
		uint32_t room = n / 25 % 2 ? PAYLOAD_MAX : size;
		uint32_t kind = n / 50 % 2 ? IPCI_KIND_REPLY : IPCI_KIND_REPLY | IPCI_EXT_KNOWN;

		litter(&pair, words[n / 5 % 5]);
		expect_nothing(&pair);
		cr_assert_eq(put_shrunk(&pair, kind, room, size, ++id), 0);
		get(&pair, kind, size, id);
		expect_nothing(&pair);
		/* 100 mixes of 1 to 30 lines: shift by one line more each time, to meet every line.
		 */
		if (n % 100 == 99)
			advance_to(&pair, n / 100 % N_LINES);
	}
	ring_pair_deinit(&pair);
}

Test(ring, a_reused_ring_starts_empty, .timeout = 5)
{
	struct ring_pair pair;

	ring_pair_init(&pair, RING);
	memset(pair.a.tx.ring, 1, RING);
	ring_side_init(&pair.a, RING);
	expect_nothing(&pair);
	ring_pair_deinit(&pair);
}

Test(ring, consumed_is_published_at_a_quarter, .timeout = 5)
{
	struct ring_pair pair;
	uint64_t consumed = 0;

	ring_pair_init(&pair, RING);
	for (uint64_t id = 0; id < 8 * N_LINES; id++) {
		struct ipci_view view;

		cr_assert_eq(put(&pair, 0, id), 0);
		view = expect(&pair, IPCI_KIND_REQUEST, 0, id);
		ipci_consumer_take(&pair.b.rx, &view);
		cr_assert_eq(ipci_consumer_should_publish(&pair.b.rx),
			     (id + 1) % (N_LINES / 4) == 0);
		if (ipci_consumer_should_publish(&pair.b.rx)) {
			cr_assert(ipci_consumer_publish(&pair.b.rx));
			cr_assert(!ipci_consumer_publish(&pair.b.rx));
			consumed = (id + 1) * LINE;
		}
		cr_assert_eq(atomic_load(&pair.b.control->consumed), consumed);
		cr_assert_eq(ipci_producer_refresh(&pair.a.tx), 0);
		cr_assert_eq(pair.a.tx.peer_consumed, consumed);
	}
	ring_pair_deinit(&pair);
}

Test(ring, produced_is_there_for_tools, .timeout = 5)
{
	struct ring_pair pair;

	ring_pair_init(&pair, RING);
	cr_assert_eq(put(&pair, 100, 1), 0);
	cr_assert_eq(put(&pair, 0, 2), 0);
	get(&pair, IPCI_KIND_REQUEST, 100, 1);
	cr_assert_eq(ipci_producer_refresh(&pair.a.tx), 0);
	ipci_producer_publish_produced(&pair.a.tx);
	cr_assert_eq(atomic_load(&pair.a.control->produced), 3 * LINE);
	cr_assert_eq(atomic_load(&pair.a.control->oldest_valid), 2 * LINE);
	ring_pair_deinit(&pair);
}

/* ── what cannot be ── */

Test(ring, an_impossible_frame_is_refused_and_leaves_the_view, .timeout = 5)
{
	static const uint32_t too_long[] = {PAYLOAD_MAX + 2, RING, RING * 2u, 0x80000000u,
					    UINT32_MAX};
	struct ring_pair pair;
	struct ipci_view view, before;
	struct ipci_frame *frame;

	ring_pair_init(&pair, RING);
	memset(&view, 0xa5, sizeof(view));
	before = view;
	frame = ipci_producer_frame(&pair.a.tx, 0);
	frame->kind = IPCI_KIND_REQUEST;
	for (unsigned i = 0; i < sizeof(too_long) / sizeof(too_long[0]); i++) {
		atomic_store(&frame->commit, too_long[i]);
		cr_assert_eq(ipci_consumer_peek(&pair.b.rx, &view), -EPROTO);
	}
	atomic_store(&frame->commit, 1);
	for (unsigned bit = 7; bit < 16; bit++) {
		frame->kind = (uint16_t)(IPCI_KIND_REQUEST | 1u << bit);
		cr_assert_eq(ipci_consumer_peek(&pair.b.rx, &view), -EPROTO, "bit %u", bit);
	}
	cr_assert_eq(memcmp(&view, &before, sizeof(view)), 0);
	cr_assert_eq(pair.b.rx.tail, 0);
	frame->kind = IPCI_KIND_REQUEST;
	atomic_store(&frame->commit, PAYLOAD_MAX + 1);
	cr_assert_eq(ipci_consumer_peek(&pair.b.rx, &view), 1);
	ring_pair_deinit(&pair);
}

Test(ring, an_impossible_consumed_is_refused_and_changes_nothing, .timeout = 5)
{
	struct ring_pair pair;
	uint64_t impossible[] = {LINE,
				 0, /* backwards */
				 5 * LINE,
				 UINT64_MAX,
				 UINT64_MAX - LINE + 1,
				 2 * LINE + 1,
				 4 * LINE - 1,
				 UINT64_C(1) << 63};
	uint8_t mark, *at = &mark;

	ring_pair_init(&pair, RING);
	for (uint64_t id = 0; id < 4; id++)
		cr_assert_eq(put(&pair, 0, id), 0);
	atomic_store(&pair.b.control->consumed, 2 * LINE);
	cr_assert_eq(ipci_producer_refresh(&pair.a.tx), 0);
	for (unsigned i = 0; i < sizeof(impossible) / sizeof(impossible[0]); i++) {
		atomic_store(&pair.b.control->consumed, impossible[i]);
		cr_assert_eq(ipci_producer_refresh(&pair.a.tx), -EPROTO, "%#jx",
			     (uintmax_t)impossible[i]);
		cr_assert_eq(pair.a.tx.peer_consumed, 2 * LINE);
	}
	while (ipci_producer_free_bytes(&pair.a.tx))
		cr_assert_eq(put(&pair, 0, 9), 0);
	cr_assert_eq(ipci_producer_reserve(&pair.a.tx, 0, 0, &at), -EPROTO);
	cr_assert_eq(at, &mark);
	atomic_store(&pair.b.control->consumed, 4 * LINE);
	cr_assert_eq(ipci_producer_reserve(&pair.a.tx, 0, 0, &at), 0);
	ring_pair_deinit(&pair);
}

Test(ring, padding_may_be_all_of_the_ring_but_a_line_and_no_more, .timeout = 5)
{
	struct ring_pair pair;
	struct ipci_frame *frame;
	struct ipci_view view;

	ring_pair_init(&pair, RING);
	frame = ipci_producer_frame(&pair.a.tx, 0);
	frame->kind = IPCI_KIND_PADDING;
	atomic_store(&frame->commit, RING - LINE - 16 + 1);
	cr_assert_eq(ipci_consumer_peek(&pair.b.rx, &view), 1);
	cr_assert_eq(view.frame_bytes, RING - LINE);
	atomic_store(&frame->commit, RING - LINE - 16 + 2);
	cr_assert_eq(ipci_consumer_peek(&pair.b.rx, &view), -EPROTO);
	frame->kind = IPCI_KIND_PADDING | IPCI_EXT_DEADLINE;
	atomic_store(&frame->commit, PAYLOAD_MAX + 2);
	cr_assert_eq(ipci_consumer_peek(&pair.b.rx, &view), -EPROTO);
	ring_pair_deinit(&pair);
}

/* ── snapshots ── */

Test(ring, a_snapshot_copies_every_size_and_touches_nothing_else, .timeout = 20)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE), most = 4096;
	static uint8_t room[16 + 4096 + 16 + 8];
	uint8_t *map = mmap(NULL, most + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			    -1, 0);

	cr_assert_neq(map, MAP_FAILED);
	/* Behind the source lies what cannot be read. */
	cr_assert_eq(mprotect(map + most, page, PROT_NONE), 0);
	for (uint32_t size = 0; size <= most; size++) {
		const size_t padded = (size + 15u) & ~15u;
		uint8_t *src = map + most - padded;
		uint8_t *dst = room + 16 + size % 8;

		fill(src, size, size);
		memset(room, 0xee, sizeof(room));
		ipci_snapshot(dst, src, size);
		cr_assert(filled(dst, size, size), "%u bytes", size);
		for (uint8_t *at = room; at < dst; at++)
			cr_assert_eq(*at, 0xee);
		for (uint8_t *at = dst + padded; at < room + sizeof(room); at++)
			cr_assert_eq(*at, 0xee, "written behind %u bytes", size);
	}
	(void)munmap(map, most + page);
}
