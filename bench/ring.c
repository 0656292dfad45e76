// SPDX-License-Identifier: Apache-2.0
#include "ring.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "half.h"

#include "consume.h"
#include "publish.h"

#define RING_BYTES UINT64_C(65536)

struct bench_ring {
	struct ipci_half sender, receiver;	 /* their own, writable */
	struct ipci_half sender_ro, receiver_ro; /* the same, as the other sees them */
	struct ipci_producer tx;
	struct ipci_consumer rx;
	uint64_t head; /* of the bare one, which is both ends' */
	uint64_t call_id;
};

static int make_half(struct ipci_half *own, struct ipci_half *seen)
{
	int fd, r = ipci_half_create(own, &fd, RING_BYTES, NULL);

	if (r < 0)
		return r;
	r = ipci_half_import(seen, fd, RING_BYTES, NULL);
	(void)close(fd);
	return r;
}

struct bench_ring *bench_ring_new(void)
{
	struct bench_ring *ring = calloc(1, sizeof(*ring));

	if (!ring)
		return NULL;
	if (make_half(&ring->sender, &ring->sender_ro) < 0 ||
	    make_half(&ring->receiver, &ring->receiver_ro) < 0) {
		bench_ring_free(ring);
		return NULL;
	}
	ipci_producer_init(&ring->tx, ring->sender.base, ring->receiver_ro.base,
			   IPCI_HALF_RING_OFFSET, RING_BYTES);
	ipci_consumer_init(&ring->rx, ring->receiver.base, ring->sender_ro.base,
			   IPCI_HALF_RING_OFFSET, RING_BYTES);
	return ring;
}

void bench_ring_free(struct bench_ring *ring)
{
	if (!ring)
		return;
	ipci_consumer_deinit(&ring->rx);
	ipci_half_deinit(&ring->sender);
	ipci_half_deinit(&ring->sender_ro);
	ipci_half_deinit(&ring->receiver);
	ipci_half_deinit(&ring->receiver_ro);
	free(ring);
}

static int publish(struct bench_ring *ring, const void *from, size_t bytes)
{
	uint8_t *room;
	int r = ipci_producer_reserve(&ring->tx, 0, bytes, &room);

	if (r < 0)
		return r;
	memcpy(room, from, bytes);
	ipci_producer_commit(&ring->tx, IPCI_KIND_REQUEST, 0, ++ring->call_id, bytes);
	return 0;
}

static int take(struct bench_ring *ring, void *to, size_t bytes)
{
	struct ipci_view view;
	int r;

	while ((r = ipci_consumer_peek(&ring->rx, &view)) > 0 &&
	       (view.kind & IPCI_KIND_MASK) == IPCI_KIND_PADDING)
		ipci_consumer_take(&ring->rx, &view);
	if (r <= 0 || view.payload_bytes != bytes)
		return r < 0 ? r : -ENOMSG;
	ipci_snapshot(to, view.payload, view.payload_bytes);
	ipci_consumer_take(&ring->rx, &view);
	if (ipci_consumer_should_publish(&ring->rx))
		(void)ipci_consumer_publish(&ring->rx);
	return 0;
}

int bench_ring_checked(struct bench_ring *ring, const void *from, void *to, size_t bytes)
{
	int r = publish(ring, from, bytes);

	return r < 0 ? r : take(ring, to, bytes);
}

int bench_ring_batch(struct bench_ring *ring, const void *from, void *to, size_t bytes)
{
	int r = 0;

	for (int i = 0; r == 0 && i < BENCH_RING_BATCH; i++)
		r = publish(ring, from, bytes);
	for (int i = 0; r == 0 && i < BENCH_RING_BATCH; i++)
		r = take(ring, to, bytes);
	return r;
}

/* The same memory, lines and orderings; nothing is looked at twice, and nobody is doubted. */
int bench_ring_bare(struct bench_ring *ring, const void *from, void *to, size_t bytes)
{
	const uint64_t at = IPCI_HALF_RING_OFFSET + (ring->head & (RING_BYTES - 1));
	struct ipci_frame *frame = (struct ipci_frame *)(void *)(ring->sender.base + at);
	const struct ipci_frame *seen =
		(const struct ipci_frame *)(const void *)(ring->sender_ro.base + at);

	memcpy(frame + 1, from, bytes);
	frame->call_id = ++ring->call_id;
	atomic_store_explicit(&frame->commit, (uint32_t)bytes + 1, memory_order_release);
	if (atomic_load_explicit(&seen->commit, memory_order_acquire) == 0)
		return -ENOMSG;
	memcpy(to, seen + 1, bytes);
	ring->head += ipci_line_up(sizeof(*frame) + bytes);
	return 0;
}
