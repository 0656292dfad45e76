/* SPDX-License-Identifier: Apache-2.0 */
#include "samples.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int samples_init(struct samples *samples, size_t capacity)
{
	uint64_t *ns = malloc((capacity + 1) * sizeof(*ns));

	if (ns == NULL)
		return -ENOMEM;
	memset(ns, 0xff, (capacity + 1) * sizeof(*ns));
	*samples = (struct samples){.ns = ns, .capacity = capacity};
	return 0;
}

void samples_deinit(struct samples *samples)
{
	free(samples->ns);
	*samples = (struct samples){0};
}

static int compare(const void *left, const void *right)
{
	const uint64_t *a = left, *b = right;

	return (*a > *b) - (*a < *b);
}

static json_int_t percentile(const struct samples *samples, size_t per_mille)
{
	size_t rank = (samples->n * per_mille + 999) / 1000;

	return (json_int_t)samples->ns[rank > 0 ? rank - 1 : 0];
}

json_t *samples_to_json(struct samples *samples)
{
	double per_s = samples->elapsed_ns > 0
			       ? (double)samples->n * 1e9 / (double)samples->elapsed_ns
			       : 0;

	if (samples->n == 0)
		return json_null();
	qsort(samples->ns, samples->n, sizeof(*samples->ns), compare);
	return json_pack("{s:I, s:I, s:I, s:I, s:I}", "n", (json_int_t)samples->n, "p50_ns",
			 percentile(samples, 500), "p99_ns", percentile(samples, 990), "p999_ns",
			 percentile(samples, 999), "calls_per_s", (json_int_t)per_s);
}
