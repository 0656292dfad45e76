// SPDX-License-Identifier: Apache-2.0
#include "rounds.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "stats.h"

int rounds_init(struct rounds *rounds, const struct rounds_plan *plan)
{
	bool whole = true;

	*rounds = (struct rounds){.plan = *plan};
	rounds->ratios = calloc(plan->n_rounds, sizeof(double));
	rounds->batches_ns = calloc(plan->n_batches, sizeof(double));
	for (int part = 0; part < ROUNDS_N_PARTS; part++) {
		rounds->p50_ns[part] = calloc(plan->n_rounds, sizeof(double));
		rounds->singles_ns[part] = calloc(plan->n_rounds * plan->n_singles, sizeof(double));
		whole = whole && rounds->p50_ns[part] && rounds->singles_ns[part];
	}
	if (whole && rounds->ratios && rounds->batches_ns)
		return 0;
	rounds_deinit(rounds);
	return -ENOMEM;
}

void rounds_deinit(struct rounds *rounds)
{
	free(rounds->ratios);
	free(rounds->batches_ns);
	for (int part = 0; part < ROUNDS_N_PARTS; part++) {
		free(rounds->p50_ns[part]);
		free(rounds->singles_ns[part]);
	}
	*rounds = (struct rounds){};
}

/* @n_batches of @batch each, after one that is not timed, on which the two sides meet. */
static int measure(struct rounds *rounds, rounds_do work, void *context, enum rounds_part part,
		   size_t n_batches, size_t batch, double *ret_ns)
{
	size_t meet = rounds->plan.batch;
	uint64_t before_ns, now_ns;
	int r = work(context, part, 0, meet + n_batches * batch);

	if (r == 0)
		r = work(context, part, meet, 0);
	before_ns = ipci_now_ns();
	for (size_t i = 0; r == 0 && i < n_batches; i++) {
		r = work(context, part, batch, 0);
		now_ns = ipci_now_ns();
		ret_ns[i] = (double)(now_ns - before_ns) / (double)batch;
		before_ns = now_ns;
	}
	return r;
}

static int measure_part(struct rounds *rounds, rounds_do work, void *context, enum rounds_part part)
{
	const struct rounds_plan *plan = &rounds->plan;
	int r = measure(rounds, work, context, part, plan->n_batches, plan->batch,
			rounds->batches_ns);

	if (r == 0)
		rounds->p50_ns[part][rounds->n] = stats_median(rounds->batches_ns, plan->n_batches);
	return r;
}

static int measure_singles(struct rounds *rounds, rounds_do work, void *context,
			   enum rounds_part part)
{
	const struct rounds_plan *plan = &rounds->plan;

	return measure(rounds, work, context, part, plan->n_singles, 1,
		       rounds->singles_ns[part] + rounds->n * plan->n_singles);
}

/* Every part, or the singles of every part; backwards every other round: what drifts favours none.
 */
static int measure_all(struct rounds *rounds, rounds_do work, void *context, bool backwards,
		       int (*measure_one)(struct rounds *, rounds_do, void *, enum rounds_part))
{
	int r = 0;

	for (int i = 0; r == 0 && i < ROUNDS_N_PARTS; i++) {
		int part = backwards ? ROUNDS_N_PARTS - 1 - i : i;

		if (part != ROUNDS_RAW_LATE || rounds->plan.late)
			r = measure_one(rounds, work, context, (enum rounds_part)part);
	}
	return r;
}

/* The limit is what the machine can do, in whichever way it is asked. */
static void keep_the_faster(struct rounds *rounds)
{
	double *raw = &rounds->p50_ns[ROUNDS_RAW][rounds->n];
	double late = rounds->p50_ns[ROUNDS_RAW_LATE][rounds->n];
	size_t n_singles = rounds->plan.n_singles;

	if (!rounds->plan.late || late >= *raw)
		return;
	*raw = late;
	memcpy(rounds->singles_ns[ROUNDS_RAW] + rounds->n * n_singles,
	       rounds->singles_ns[ROUNDS_RAW_LATE] + rounds->n * n_singles,
	       n_singles * sizeof(double));
}

static int measure_round(struct rounds *rounds, rounds_do work, void *context, size_t number)
{
	bool backwards = number % 2;
	int r = measure_all(rounds, work, context, backwards, measure_part);

	if (r == 0)
		r = measure_all(rounds, work, context, backwards, measure_singles);
	if (r == 0)
		keep_the_faster(rounds);
	return r;
}

int rounds_run(struct rounds *rounds, rounds_do work, void *context)
{
	const struct rounds_plan *plan = &rounds->plan;

	for (size_t i = 0; i < plan->n_warm_up + plan->n_rounds; i++) {
		int r = measure_round(rounds, work, context, i);

		if (r != 0)
			return r;
		if (i < plan->n_warm_up)
			continue;
		rounds->ratios[rounds->n] = rounds->p50_ns[ROUNDS_CALL][rounds->n] /
					    rounds->p50_ns[ROUNDS_RAW][rounds->n];
		rounds->n++;
	}
	return 0;
}

void rounds_result(struct rounds *rounds, struct rounds_result *ret)
{
	for (int part = 0; part < ROUNDS_N_PARTS; part++) {
		size_t n_singles = rounds->n * rounds->plan.n_singles;

		ret->p50_ns[part] = stats_median(rounds->p50_ns[part], rounds->n);
		stats_sort(rounds->singles_ns[part], n_singles);
		ret->p99_ns[part] = stats_quantile(rounds->singles_ns[part], n_singles, 0.99);
		ret->p999_ns[part] = stats_quantile(rounds->singles_ns[part], n_singles, 0.999);
	}
	ret->ratio = stats_median(rounds->ratios, rounds->n);
	stats_median_interval(rounds->ratios, rounds->n, &ret->ratio_low, &ret->ratio_high);
	ret->ratio_p25 = stats_quantile(rounds->ratios, rounds->n, 0.25);
	ret->ratio_p75 = stats_quantile(rounds->ratios, rounds->n, 0.75);
}
