/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Room over a longer time: frames that stay in place for a while keep no room from others for good.
 */
#include "ring-frames.h"

/* ── frames held in place ── */

/* Takes the next frame and holds it. Says where. */
static uint64_t hold(struct ring_pair *pair, uint64_t bytes, uint64_t id)
{
	struct ipci_view view = expect(pair, IPCI_KIND_REQUEST, bytes, id);
	uint64_t position = pair->b.rx.tail;

	cr_assert_eq(ipci_consumer_hold(&pair->b.rx, &view), 0);
	cr_assert_eq(pair->b.rx.tail, position + view.frame_bytes);
	return position;
}

static void swap(unsigned *a, unsigned *b)
{
	unsigned c = *a;

	*a = *b;
	*b = c;
}

/* Holds @n frames and releases them in that order; at each step only what lies before the oldest is
 * given back. */
static void release_in_order(struct ring_pair *pair, const unsigned *order, unsigned n)
{
	uint64_t positions[32];
	bool held[32] = {0};

	for (unsigned i = 0; i < n; i++) {
		cr_assert_eq(put(pair, i, i), 0);
		positions[i] = hold(pair, i, i);
		held[i] = true;
	}
	for (unsigned i = 0; i < n; i++) {
		uint64_t given_back = pair->b.rx.tail;

		held[order[i]] = false;
		ipci_consumer_release(&pair->b.rx, positions[order[i]]);
		for (unsigned k = n; k-- > 0;)
			if (held[k])
				given_back = positions[k];
		cr_assert_eq(ipci_consumer_given_back(&pair->b.rx), given_back);
		(void)ipci_consumer_publish(&pair->b.rx);
		cr_assert_eq(atomic_load(&pair->b.control->consumed), given_back);
	}
	cr_assert_eq(pair->b.rx.n_held, 0);
}

static void release_in_all_orders(struct ring_pair *pair, unsigned *order, unsigned n, unsigned k)
{
	if (k == n) {
		release_in_order(pair, order, n);
		return;
	}
	for (unsigned i = k; i < n; i++) {
		swap(&order[k], &order[i]);
		release_in_all_orders(pair, order, n, k + 1);
		swap(&order[k], &order[i]);
	}
}

Test(room, five_frames_are_released_in_all_orders, .timeout = 10)
{
	unsigned order[5] = {0, 1, 2, 3, 4};
	struct ring_pair pair;

	ring_pair_init(&pair, RING);
	release_in_all_orders(&pair, order, 5, 0);
	ring_pair_deinit(&pair);
}

Test(room, many_frames_are_released_in_random_orders, .timeout = 10)
{
	struct ring_pair pair;
	unsigned order[32];
	uint64_t seed = 2;

	ring_pair_init(&pair, RING);
	for (unsigned round = 0; round < 500; round++) {
		unsigned n = 1 + (unsigned)(ring_random(&seed) % 32);

		for (unsigned i = 0; i < n; i++)
			order[i] = i;
		for (unsigned i = n; i > 1; i--)
			swap(&order[i - 1], &order[ring_random(&seed) % i]);
		release_in_order(&pair, order, n);
	}
	ring_pair_deinit(&pair);
}

/* A million of them: who looked at each for each would take many minutes. */
Test(room, a_large_ring_of_held_frames_is_released_in_random_order, .timeout = 20)
{
	const uint64_t ring_bytes = UINT64_C(64) << 20;
	const uint64_t n = ring_bytes / LINE - 1;
	uint64_t *positions = malloc(n * sizeof(*positions));
	struct ring_pair pair;
	struct ipci_view view;
	uint64_t seed = 3;

	cr_assert_not_null(positions);
	ring_pair_init(&pair, ring_bytes);
	for (uint64_t i = 0; i < n; i++) {
		cr_assert_eq(put(&pair, 0, 1), 0);
		cr_assert_eq(ipci_consumer_peek(&pair.b.rx, &view), 1);
		positions[i] = pair.b.rx.tail;
		cr_assert_eq(ipci_consumer_hold(&pair.b.rx, &view), 0);
	}
	cr_assert_eq(put(&pair, 0, 1), -EAGAIN);
	/* The oldest goes last, so that all are there to be looked through until then. */
	for (uint64_t i = n; i > 2; i--) {
		uint64_t j = 1 + ring_random(&seed) % (i - 1), position = positions[j];

		positions[j] = positions[i - 1];
		ipci_consumer_release(&pair.b.rx, position);
		cr_assert_eq(ipci_consumer_given_back(&pair.b.rx), positions[0]);
	}
	ipci_consumer_release(&pair.b.rx, positions[1]);
	ipci_consumer_release(&pair.b.rx, positions[0]);
	cr_assert_eq(ipci_consumer_given_back(&pair.b.rx), pair.a.tx.head);
	free(positions);
	ring_pair_deinit(&pair);
}

Test(room, releasing_what_is_not_held_does_nothing, .timeout = 5)
{
	struct ring_pair pair;
	uint64_t first, second;

	ring_pair_init(&pair, RING);
	ipci_consumer_release(&pair.b.rx, 0);
	cr_assert_eq(put(&pair, 1, 1), 0);
	cr_assert_eq(put(&pair, 2, 2), 0);
	first = hold(&pair, 1, 1);
	second = hold(&pair, 2, 2);
	ipci_consumer_release(&pair.b.rx, second + LINE);
	ipci_consumer_release(&pair.b.rx, second);
	ipci_consumer_release(&pair.b.rx, second);
	cr_assert_eq(ipci_consumer_given_back(&pair.b.rx), first);
	ipci_consumer_release(&pair.b.rx, first);
	cr_assert_eq(ipci_consumer_given_back(&pair.b.rx), second + LINE);
	ring_pair_deinit(&pair);
}

struct kept {
	struct ipci_view view;
	uint64_t position;
};

/* One of many frames is held for a while, whatever the producer does: its bytes must still be
 * there. */
static void let_go(struct ring_pair *pair, struct kept *kept)
{
	cr_assert(filled(kept->view.payload, kept->view.payload_bytes, kept->view.call_id),
		  "a held frame was written over");
	ipci_consumer_release(&pair->b.rx, kept->position);
}

Test(room, held_frames_stay_as_they_are_while_the_ring_goes_on, .timeout = 20)
{
	struct ring_pair pair;
	struct kept kept[N_LINES];
	uint64_t sent = 0, seed = 3, n_full = 0;
	unsigned n_kept = 0;

	ring_pair_init(&pair, RING);
	for (unsigned step = 0; step < 100000; step++) {
		uint64_t size = ring_random(&seed) % 400;
		unsigned what = (unsigned)(ring_random(&seed) % 8), i;
		struct ipci_view view;

		if (what < 3) {
			int r = put(&pair, size, sent);

			cr_assert(r == 0 || r == -EAGAIN);
			sent += r == 0;
			n_full += r != 0;
		} else if (what < 6 && ipci_consumer_peek(&pair.b.rx, &view) == 1) {
			kept[n_kept] = (struct kept){view, pair.b.rx.tail};
			if (what == 3)
				ipci_consumer_take(&pair.b.rx, &view);
			else if (ipci_consumer_hold(&pair.b.rx, &view) == 0)
				n_kept++;
		} else if (what == 6 && n_kept) {
			i = (unsigned)(ring_random(&seed) % n_kept);
			let_go(&pair, &kept[i]);
			kept[i] = kept[--n_kept];
		} else {
			(void)ipci_consumer_publish(&pair.b.rx);
		}
	}
	cr_assert_gt(n_full, 100);
	cr_assert_gt(sent, 1000);
	ring_pair_deinit(&pair);
}

Test(room, half_the_ring_may_be_kept_and_the_largest_frame_still_fits, .timeout = 10)
{
	struct ring_pair pair;
	uint8_t *at;

	ring_pair_init(&pair, RING);
	for (uint64_t line = 0; line < N_LINES; line++) {
		uint64_t start, kept = 0;

		advance_to(&pair, line);
		start = pair.b.rx.tail;
		for (;;) {
			cr_assert_eq(put(&pair, 48, 5), 0);
			(void)hold(&pair, 48, 5);
			if (!ipci_consumer_may_keep(&pair.b.rx))
				break;
			kept += LINE;
			/* What is kept never keeps the largest frame away, once the peer knows. */
			(void)ipci_consumer_publish(&pair.b.rx);
			cr_assert_eq(ipci_producer_reserve(&pair.a.tx, IPCI_EXT_MAX_BYTES,
							   PAYLOAD_MAX, &at),
				     0);
			ipci_producer_abort(&pair.a.tx);
		}
		cr_assert_eq(kept, RING / 2);
		for (uint64_t held = start; held < pair.b.rx.tail; held += LINE)
			ipci_consumer_release(&pair.b.rx, held);
		(void)ipci_consumer_publish(&pair.b.rx);
	}
	ring_pair_deinit(&pair);
}

/* ── batches ── */

/* Publishes @n items in places for @room bytes each, the last as a reply, and checks what is said of
 * it. */
static void put_batch(struct ring_pair *pair, uint64_t room, const size_t *sizes, uint32_t n,
		      uint64_t id)
{
	const struct ipci_batch batch = {
		.call_id = id,
		.place_bytes = ipci_frame_bytes(0, room),
		.kind = IPCI_KIND_ITEM,
		.last_kind = IPCI_KIND_REPLY,
		.last_method = 7,
	};
	uint64_t sum = 0;
	uint8_t *at;

	cr_assert_eq(ipci_producer_reserve_lines(&pair->a.tx, n * batch.place_bytes, &at), 0);
	for (uint32_t i = 0; i < n; i++) {
		fill(at + i * batch.place_bytes, sizes[i], id + i);
		sum += ipci_frame_bytes(0, sizes[i]);
	}
	cr_assert_eq(ipci_producer_commit_batch(&pair->a.tx, &batch, sizes, n), sum);
}

static void next_but_padding(struct ring_pair *pair, struct ipci_view *view)
{
	cr_assert_eq(ipci_consumer_peek(&pair->b.rx, view), 1);
	if (view->kind != IPCI_KIND_PADDING)
		return;
	ipci_consumer_take(&pair->b.rx, view);
	cr_assert_eq(ipci_consumer_peek(&pair->b.rx, view), 1);
}

static void expect_batch(struct ring_pair *pair, const size_t *sizes, uint32_t n, uint64_t id)
{
	struct ipci_view view;

	for (uint32_t i = 0; i < n; i++) {
		const bool last = i == n - 1;

		next_but_padding(pair, &view);
		cr_assert_eq(view.kind, last ? IPCI_KIND_REPLY : IPCI_KIND_ITEM);
		cr_assert_eq(view.method, last ? 7 : 0);
		cr_assert_eq(view.call_id, id);
		cr_assert_eq(view.payload_bytes, sizes[i]);
		cr_assert(filled(view.payload, sizes[i], id + i));
		for (uint64_t k = sizes[i]; (sizeof(struct ipci_frame) + k) % LINE; k++)
			cr_assert_eq(view.payload[k], 0, "old bytes behind a payload");
		ipci_consumer_take(&pair->b.rx, &view);
	}
	(void)ipci_consumer_publish(&pair->b.rx);
}

/* Old bytes lie wherever the batch comes to lie, and what is behind it is not a frame. */
Test(room, a_batch_of_every_size_arrives_frame_by_frame_at_every_line, .timeout = 20)
{
	uint64_t seed = 5;
	struct ring_pair pair;
	struct ipci_view view;

	ring_pair_init(&pair, RING);
	memset(pair.a.own.base + IPCI_HALF_RING_OFFSET + LINE, 0xff, RING - LINE);
	for (uint64_t id = 1; id < 20000; id++) {
		uint32_t n = 1 + (uint32_t)(ring_random(&seed) % 8);
		uint64_t room = ring_random(&seed) % 300;
		size_t sizes[8];

		for (uint32_t i = 0; i < n; i++)
			sizes[i] = ring_random(&seed) % (room + 1);
		put_batch(&pair, room, sizes, n, id);
		expect_batch(&pair, sizes, n, id);
		cr_assert_eq(ipci_consumer_peek(&pair.b.rx, &view), 0);
		cr_assert_eq(pair.a.tx.head, pair.b.rx.tail);
	}
	ring_pair_deinit(&pair);
}

/* Room is reserved for more than are published: the rest is the ring's again, all of it. */
Test(room, what_a_batch_does_not_need_is_free_again, .timeout = 10)
{
	static const size_t sizes[] = {100, 0, 200, 30};
	const uint64_t place = ipci_frame_bytes(0, 200);
	const struct ipci_batch batch = {.call_id = 1,
					 .place_bytes = place,
					 .kind = IPCI_KIND_ITEM,
					 .last_kind = IPCI_KIND_ITEM};
	struct ring_pair pair;
	uint8_t *at;

	ring_pair_init(&pair, RING);
	cr_assert_eq(ipci_producer_reserve_lines(&pair.a.tx, 8 * place, &at), 0);
	(void)ipci_producer_commit_batch(&pair.a.tx, &batch, sizes, 4);
	/* Three whole places, and of the fourth what it needs. */
	cr_expect_eq(pair.a.tx.head, 3 * place + ipci_frame_bytes(0, 30));
	cr_expect_eq(pair.a.tx.n_frames, 4);
	cr_expect_eq(ipci_producer_reserve_lines(&pair.a.tx, RING - LINE - pair.a.tx.head, &at), 0);
	ring_pair_deinit(&pair);
}
