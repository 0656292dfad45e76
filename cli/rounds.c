// SPDX-License-Identifier: Apache-2.0
#include "rounds.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "stats.h"

#define PROGRESS_NS (IPCI_NS_PER_MS * 500)

static bool is_measured(const struct rounds *rounds, size_t part)
{
	return part < rounds->plan.n_parts && !rounds->plan.parts[part].off;
}

static int series_init(struct rounds_series *series, const struct rounds_plan *plan)
{
	size_t n_now = plan->n_singles ? plan->n_singles : plan->n_batches;

	series->p50_ns = calloc(plan->n_rounds, sizeof(double));
	series->limits_ns = calloc(plan->n_rounds, sizeof(double));
	series->ratios = calloc(plan->n_rounds, sizeof(double));
	series->now_ns = calloc(n_now, sizeof(double));
	if (!series->p50_ns || !series->limits_ns || !series->ratios || !series->now_ns)
		return -ENOMEM;
	return histogram_init(&series->singles) < 0 || histogram_init(&series->limits) < 0 ? -ENOMEM
											   : 0;
}

int rounds_init(struct rounds *rounds, const struct rounds_plan *plan)
{
	int r = 0;

	*rounds = (struct rounds){.plan = *plan};
	if (rounds->plan.single == 0)
		rounds->plan.single = 1;
	if (rounds->plan.meet == 0)
		rounds->plan.meet = plan->batch;
	rounds->batches_ns = calloc(plan->n_batches, sizeof(double));
	if (!rounds->batches_ns)
		r = -ENOMEM;
	for (size_t part = 0; r == 0 && part < plan->n_parts; part++)
		if (is_measured(rounds, part))
			r = series_init(&rounds->series[part], plan);
	if (r < 0)
		rounds_deinit(rounds);
	return r;
}

void rounds_deinit(struct rounds *rounds)
{
	free(rounds->batches_ns);
	for (size_t part = 0; part < ROUNDS_PARTS_MAX; part++) {
		struct rounds_series *series = &rounds->series[part];

		free(series->p50_ns);
		free(series->limits_ns);
		free(series->ratios);
		free(series->now_ns);
		histogram_deinit(&series->singles);
		histogram_deinit(&series->limits);
	}
	*rounds = (struct rounds){};
}

/* ── measuring ── */

/* @n_batches of @batch each, after some that are not timed, on which the two sides meet. */
static int measure(struct rounds *rounds, rounds_do work, void *context, size_t part,
		   size_t n_batches, size_t batch, double *ret_ns)
{
	size_t meet = rounds->plan.meet;
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

static int measure_part(struct rounds *rounds, rounds_do work, void *context, size_t part)
{
	const struct rounds_plan *plan = &rounds->plan;
	struct rounds_series *series = &rounds->series[part];
	int r = measure(rounds, work, context, part, plan->n_batches, plan->batch,
			rounds->batches_ns);

	if (r != 0)
		return r;
	if (plan->n_singles == 0)
		memcpy(series->now_ns, rounds->batches_ns, plan->n_batches * sizeof(double));
	series->p50_ns[rounds->n] = stats_median(rounds->batches_ns, plan->n_batches);
	return 0;
}

static int measure_singles(struct rounds *rounds, rounds_do work, void *context, size_t part)
{
	const struct rounds_plan *plan = &rounds->plan;

	if (plan->n_singles == 0)
		return 0;
	return measure(rounds, work, context, part, plan->n_singles, plan->single,
		       rounds->series[part].now_ns);
}

/* Every part, or the singles of every part; backwards every other round: what drifts favours none.
 */
static int measure_all(struct rounds *rounds, rounds_do work, void *context, bool backwards,
		       int (*measure_one)(struct rounds *, rounds_do, void *, size_t))
{
	size_t n_parts = rounds->plan.n_parts;
	int r = 0;

	for (size_t i = 0; r == 0 && i < n_parts; i++) {
		size_t part = backwards ? n_parts - 1 - i : i;

		if (is_measured(rounds, part))
			r = measure_one(rounds, work, context, part);
	}
	return r;
}

/* ── a round's result ── */

/* The limit is what the machine can do, in whichever way it is asked: the fastest of a part's. */
static size_t fastest_limit(const struct rounds *rounds, unsigned int limits)
{
	size_t fastest = ROUNDS_PARTS_MAX;

	for (size_t part = 0; part < rounds->plan.n_parts; part++) {
		if (!(limits & 1u << part) || !is_measured(rounds, part))
			continue;
		if (fastest == ROUNDS_PARTS_MAX ||
		    rounds->series[part].p50_ns[rounds->n] <
			    rounds->series[fastest].p50_ns[rounds->n])
			fastest = part;
	}
	return fastest;
}

static void add_all(struct histogram *histogram, const double *ns, size_t n)
{
	for (size_t i = 0; i < n; i++)
		histogram_add(histogram, (uint64_t)(ns[i] * ROUNDS_PS_PER_NS));
}

/* False: a part was faster than its limit. */
static bool compare_all(struct rounds *rounds)
{
	for (size_t part = 0; part < rounds->plan.n_parts; part++) {
		struct rounds_series *series = &rounds->series[part];
		size_t limit = fastest_limit(rounds, rounds->plan.parts[part].limits);

		if (!is_measured(rounds, part) || limit == ROUNDS_PARTS_MAX)
			continue;
		series->limits_ns[rounds->n] = rounds->series[limit].p50_ns[rounds->n];
		series->ratios[rounds->n] = series->p50_ns[rounds->n] /
					    series->limits_ns[rounds->n];
		if (series->ratios[rounds->n] < rounds->plan.ratio_min)
			return false;
	}
	return true;
}

/* The round counts. */
static void keep_round(struct rounds *rounds)
{
	const struct rounds_plan *plan = &rounds->plan;
	size_t n = plan->n_singles ? plan->n_singles : plan->n_batches;

	for (size_t part = 0; part < plan->n_parts; part++) {
		struct rounds_series *series = &rounds->series[part];
		size_t limit = fastest_limit(rounds, plan->parts[part].limits);

		if (!is_measured(rounds, part))
			continue;
		add_all(&series->singles, series->now_ns, n);
		if (limit != ROUNDS_PARTS_MAX)
			add_all(&series->limits, rounds->series[limit].now_ns, n);
	}
	rounds->n++;
}

/* ── all rounds ── */

/* For who looks on. */
static void tell_progress(const struct rounds *rounds, uint64_t *told_ns)
{
	uint64_t now_ns = ipci_now_ns();

	if (now_ns - *told_ns < PROGRESS_NS || !isatty(STDERR_FILENO))
		return;
	*told_ns = now_ns;
	fprintf(stderr, "\r%zu of %zu rounds ", rounds->n, rounds->plan.n_rounds);
}

static int run_rounds(struct rounds *rounds, rounds_do work, void *context)
{
	const struct rounds_plan *plan = &rounds->plan;
	uint64_t told_ns = ipci_now_ns();

	for (size_t i = 0; rounds->n < plan->n_rounds; i++) {
		bool backwards = i % 2;
		int r = measure_all(rounds, work, context, backwards, measure_part);

		if (r == 0)
			r = measure_all(rounds, work, context, backwards, measure_singles);
		if (r != 0)
			return r;
		tell_progress(rounds, &told_ns);
		if (i < plan->n_warm_up)
			continue;
		if (compare_all(rounds)) {
			keep_round(rounds);
		} else if (++rounds->n_rejected > plan->n_rounds) {
			rounds->hopeless = true;
			return 0;
		}
	}
	return 0;
}

int rounds_run(struct rounds *rounds, rounds_do work, void *context)
{
	int r = run_rounds(rounds, work, context);

	if (isatty(STDERR_FILENO))
		fputs("\r\033[K", stderr);
	return r;
}

void rounds_result(struct rounds *rounds, size_t part, struct rounds_result *ret)
{
	struct rounds_series *series = &rounds->series[part];

	*ret = (struct rounds_result){};
	if (rounds->n == 0)
		return;
	ret->p50_ns = stats_median(series->p50_ns, rounds->n);
	if (!rounds->plan.parts[part].limits)
		return;
	ret->limit_ns = stats_median(series->limits_ns, rounds->n);
	ret->ratio = stats_median(series->ratios, rounds->n);
	stats_median_interval(series->ratios, rounds->n, &ret->ratio_low, &ret->ratio_high);
	ret->ratio_p25 = stats_quantile(series->ratios, rounds->n, 0.25);
	ret->ratio_p75 = stats_quantile(series->ratios, rounds->n, 0.75);
}
