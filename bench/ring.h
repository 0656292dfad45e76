/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A frame through a ring, there and out again, by one thread: what the checks cost, beside a ring
 * that has none. A shim, since the ring's headers are C with atomics, which C++ does not read.
 */
#ifndef BENCH_RING_H
#define BENCH_RING_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

struct bench_ring;

/* NULL: no memory. */
struct bench_ring *bench_ring_new(void);
void bench_ring_free(struct bench_ring *ring);

/* @bytes from @from through the ring to @to, which both have room for @bytes rounded up to 16. 0 or
 * -errno. */
int bench_ring_checked(struct bench_ring *ring, const void *from, void *to, size_t bytes);
int bench_ring_bare(struct bench_ring *ring, const void *from, void *to, size_t bytes);

/* BENCH_RING_BATCH of them published, then all of them taken: the ring as a stream has it. */
#define BENCH_RING_BATCH 32
int bench_ring_batch(struct bench_ring *ring, const void *from, void *to, size_t bytes);

#ifdef __cplusplus
}
#endif

#endif
