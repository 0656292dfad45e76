/* SPDX-License-Identifier: Apache-2.0 */
/* Two sides in one process, each with a half of its own and a read-only view of the other's. */
#ifndef TESTS_UNIT_RING_PAIR_H
#define TESTS_UNIT_RING_PAIR_H

#include <criterion/criterion.h>
#include <unistd.h>

#include "half.h"
#include "signal.h"

struct ring_side {
	struct ipci_half own;	      /* read-write */
	struct ipci_half seen;	      /* the other's, as it is seen from here */
	struct ipci_control *control; /* own */
	struct ipci_producer tx;
	struct ipci_consumer rx;
};

/* The tests let @a produce and @b consume. */
struct ring_pair {
	struct ring_side a, b;
};

static inline void ring_pair_share(struct ring_side *owner, struct ring_side *importer,
				   uint64_t ring_bytes)
{
	struct ipci_error error;
	int fd = -1;

	cr_assert_eq(ipci_half_create(&owner->own, &fd, ring_bytes, &error), 0, "%s", error.text);
	cr_assert_eq(ipci_half_import(&importer->seen, fd, ring_bytes, &error), 0, "%s",
		     error.text);
	(void)close(fd);
	owner->control = (struct ipci_control *)(void *)owner->own.base;
}

static inline void ring_side_init(struct ring_side *side, uint64_t ring_bytes)
{
	ipci_producer_init(&side->tx, side->own.base, side->seen.base, IPCI_HALF_RING_OFFSET,
			   ring_bytes);
	ipci_consumer_init(&side->rx, side->own.base, side->seen.base, IPCI_HALF_RING_OFFSET,
			   ring_bytes);
}

static inline void ring_pair_init(struct ring_pair *pair, uint64_t ring_bytes)
{
	*pair = (struct ring_pair){0};
	ring_pair_share(&pair->a, &pair->b, ring_bytes);
	ring_pair_share(&pair->b, &pair->a, ring_bytes);
	ring_side_init(&pair->a, ring_bytes);
	ring_side_init(&pair->b, ring_bytes);
}

static inline void ring_side_deinit(struct ring_side *side)
{
	ipci_consumer_deinit(&side->rx);
	ipci_half_deinit(&side->own);
	ipci_half_deinit(&side->seen);
}

static inline void ring_pair_deinit(struct ring_pair *pair)
{
	ring_side_deinit(&pair->a);
	ring_side_deinit(&pair->b);
}

/* A seeded generator (SplitMix64): a failure comes again. */
static inline uint64_t ring_random(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

#endif
