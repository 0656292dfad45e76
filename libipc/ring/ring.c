/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What of the ring is not on every message's way: starting, and frames that stay in place for a
 * while.
 *
 * Frames are released in any order, but the peer is told one position. So the held ones are kept in
 * the ring's order; a release finds its frame by halving and marks it, and whatever is released at
 * the front falls off: a ring of a gigabyte can hold some 130,000.
 */
#include <stdlib.h>
#include <string.h>

#include "consume.h"
#include "publish.h"

void ipci_producer_init(struct ipci_producer *p, uint8_t *own, const uint8_t *peer,
			uint32_t ring_offset, uint64_t ring_bytes)
{
	*p = (struct ipci_producer){
		.ring = own + ring_offset,
		.own = (struct ipci_control *)(void *)own,
		.peer = (const struct ipci_control *)(const void *)peer,
		.ring_bytes = ring_bytes,
		.blank = IPCI_NOT_BLANK,
	};
	IPCI_CRASH_POINT(FIRST);
	/* Relaxed: the peer learns of the half from the broker, later. */
	atomic_store_explicit(&ipci_producer_frame(p, 0)->commit, 0, memory_order_relaxed);
}

void ipci_consumer_init(struct ipci_consumer *c, uint8_t *own, const uint8_t *peer,
			uint32_t ring_offset, uint64_t ring_bytes)
{
	*c = (struct ipci_consumer){
		.ring = peer + ring_offset,
		.own = (struct ipci_control *)(void *)own,
		.peer = (const struct ipci_control *)(const void *)peer,
		.ring_bytes = ring_bytes,
		.plain_max_bytes = (uint32_t)(ipci_payload_max_bytes(ring_bytes) <
							      IPCI_RING_NEVER_HELD_BYTES
						      ? ipci_payload_max_bytes(ring_bytes)
						      : IPCI_RING_NEVER_HELD_BYTES),
	};
}

void ipci_consumer_deinit(struct ipci_consumer *c)
{
	free(c->held);
	*c = (struct ipci_consumer){};
}

static struct ipci_held *held_at(const struct ipci_consumer *c, uint32_t i)
{
	return &c->held[(c->held_first + i) & (c->n_held_max - 1)];
}

/*
 * Doubles the room for held frames. Bounded: a held frame is larger than a snapshot, and they fit
 * the ring.
 */
static int grow(struct ipci_consumer *c)
{
	uint32_t n = c->n_held_max ? 2 * c->n_held_max : 8;
	struct ipci_held *held = calloc(n, sizeof(*held));

	if (!held)
		return -ENOMEM;
	for (uint32_t i = 0; i < c->n_held; i++)
		held[i] = *held_at(c, i);
	free(c->held);
	c->held = held;
	c->held_first = 0;
	c->n_held_max = n;
	return 0;
}

int ipci_consumer_hold(struct ipci_consumer *c, const struct ipci_view *view)
{
	if (c->n_held == c->n_held_max) {
		int r = grow(c);

		if (r < 0)
			return r;
	}
	*held_at(c, c->n_held) = (struct ipci_held){.position = c->tail};
	c->n_held++;
	ipci_consumer_take(c, view);
	return 0;
}

/* The held frame at @position, by halving: the ring's order is that of the positions. */
static struct ipci_held *find_held(const struct ipci_consumer *c, uint64_t position)
{
	uint32_t first = 0, end = c->n_held;

	while (first < end) {
		uint32_t middle = first + (end - first) / 2;
		struct ipci_held *held = held_at(c, middle);

		if (held->position == position)
			return held;
		if (held->position < position)
			first = middle + 1;
		else
			end = middle;
	}
	return NULL;
}

void ipci_consumer_release(struct ipci_consumer *c, uint64_t position)
{
	struct ipci_held *held = find_held(c, position);

	if (held)
		held->released = true;
	while (c->n_held && held_at(c, 0)->released) {
		c->held_first = (c->held_first + 1) & (c->n_held_max - 1);
		c->n_held--;
	}
	if (c->n_held == 0)
		c->held_first = 0;
}
