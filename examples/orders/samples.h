/* SPDX-License-Identifier: Apache-2.0 */
/* Durations of single calls, kept one by one: percentiles of what happened, not of a model of it.
 */
#ifndef ORDERS_SAMPLES_H
#define ORDERS_SAMPLES_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

struct samples {
	uint64_t *ns;
	size_t n, capacity;
	uint64_t elapsed_ns; /* of the rounds that the samples come from, what lies between calls
				included */
};

/* All memory at once and touched, so that recording never faults. 0 or -ENOMEM. */
int samples_init(struct samples *samples, size_t capacity);
void samples_deinit(struct samples *samples);

static inline void samples_add(struct samples *samples, uint64_t ns)
{
	if (samples->n < samples->capacity)
		samples->ns[samples->n++] = ns;
}

/* {"n", "p50_ns", "p99_ns", "p999_ns", "calls_per_s"}, by nearest rank; sorts. NULL without memory.
 */
json_t *samples_to_json(struct samples *samples);

#endif
