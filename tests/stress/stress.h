/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two sides, each with a half in plain memory: both threads use one mapping of it, because
 * ThreadSanitizer sees a race only within one range of addresses. The ring is therefore not there
 * twice in a row, and frames must not straddle its end: their sizes are powers of two, and each
 * starts at a multiple of its size.
 */
#ifndef TESTS_STRESS_STRESS_H
#define TESTS_STRESS_STRESS_H

#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "signal.h"

#define STRESS_RING_BYTES 4096u
#define STRESS_LARGE_RING_BYTES 65536u
#define STRESS_RING_OFFSET 4096u

struct stress_side {
	uint8_t *half;
	struct ipci_control *control;
	struct ipci_producer tx;
	struct ipci_consumer rx;
	struct ipci_sleep sleep;
};

/* By convention @a produces and @b consumes. */
struct stress_pair {
	struct stress_side a, b;
};

static inline void stress_half_init(struct stress_side *side, size_t ring_bytes)
{
	const size_t bytes = STRESS_RING_OFFSET + ring_bytes;

	side->half = aligned_alloc(4096, bytes);
	if (!side->half)
		abort();
	memset(side->half, 0, bytes);
	side->control = (struct ipci_control *)(void *)side->half;
}

static inline void stress_side_init(struct stress_side *side, const struct stress_side *peer,
				    size_t ring_bytes)
{
	ipci_producer_init(&side->tx, side->half, peer->half, STRESS_RING_OFFSET, ring_bytes);
	ipci_consumer_init(&side->rx, side->half, peer->half, STRESS_RING_OFFSET, ring_bytes);
}

static inline void stress_pair_init(struct stress_pair *pair, size_t ring_bytes)
{
	*pair = (struct stress_pair){0};
	stress_half_init(&pair->a, ring_bytes);
	stress_half_init(&pair->b, ring_bytes);
	stress_side_init(&pair->a, &pair->b, ring_bytes);
	stress_side_init(&pair->b, &pair->a, ring_bytes);
}

static inline void stress_pair_deinit(struct stress_pair *pair)
{
	ipci_consumer_deinit(&pair->a.rx);
	ipci_consumer_deinit(&pair->b.rx);
	free(pair->a.half);
	free(pair->b.half);
}

static inline uint64_t stress_random(uint64_t *state)
{
	*state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return *state >> 33;
}

/* The size of the next frame: a power of two that the place allows. */
static inline uint32_t stress_frame_bytes(const struct ipci_producer *p, uint64_t *seed)
{
	uint32_t bytes = IPCI_LINE_BYTES << stress_random(seed) % 5;

	while (p->head % bytes)
		bytes /= 2;
	return bytes;
}

/* Payload, as a program writes and reads it: plain words. */
static inline void stress_fill(uint8_t *payload, uint32_t bytes, uint64_t value)
{
	uint64_t *words = (uint64_t *)(void *)payload;

	for (uint32_t i = 0; i < bytes / 8; i++)
		words[i] = value + i;
}

static inline bool stress_filled(const uint8_t *payload, uint32_t bytes, uint64_t value)
{
	const uint64_t *words = (const uint64_t *)(const void *)payload;

	for (uint32_t i = 0; i < bytes / 8; i++)
		if (words[i] != value + i)
			return false;
	return true;
}

#endif
