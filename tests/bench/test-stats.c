// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>

#include "payload.h"
#include "rounds.h"
#include "stats.h"

#define NEAR(a, b) (fabs((a) - (b)) < 1e-9)

Test(stats, quantiles_are_values_that_occurred, .timeout = 5)
{
	double values[] = {5, 1, 4, 2, 3};

	cr_assert(NEAR(stats_median(values, 5), 3));
	cr_assert(NEAR(stats_quantile(values, 5, 0), 1));
	cr_assert(NEAR(stats_quantile(values, 5, 0.2), 1));
	cr_assert(NEAR(stats_quantile(values, 5, 0.21), 2));
	cr_assert(NEAR(stats_quantile(values, 5, 0.99), 5));
	cr_assert(NEAR(stats_quantile(values, 5, 1), 5));
	cr_assert(NEAR(stats_median(values, 4), 2), "the lower of the two in the middle");
	cr_assert(NEAR(stats_median(values, 1), 1));
}

/* Ranks as tables of the sign test have them. */
Test(stats, a_medians_interval_has_the_ranks_of_the_tables, .timeout = 5)
{
	static const struct {
		size_t n, low, high;
	} tables[] = {{1, 1, 1},  {5, 1, 5},   {6, 1, 6},   {8, 1, 8},	  {9, 2, 8},
		      {10, 2, 9}, {20, 6, 15}, {25, 8, 18}, {50, 18, 33}, {100, 40, 61}};
	double values[100], low, high;

	for (size_t i = 0; i < 100; i++)
		values[i] = (double)(i + 1);
	for (size_t i = 0; i < sizeof(tables) / sizeof(*tables); i++) {
		stats_median_interval(values, tables[i].n, &low, &high);
		cr_assert(NEAR(low, (double)tables[i].low), "n %zu: %f", tables[i].n, low);
		cr_assert(NEAR(high, (double)tables[i].high), "n %zu: %f", tables[i].n, high);
	}
}

Test(stats, a_medians_interval_holds_it_as_often_as_it_says, .timeout = 20)
{
	unsigned int seed = 1, held = 0, n_trials = 4000;

	for (unsigned int trial = 0; trial < n_trials; trial++) {
		double values[51], low, high;

		for (size_t i = 0; i < 51; i++)
			values[i] = (double)rand_r(&seed) / RAND_MAX;
		stats_sort(values, 51);
		stats_median_interval(values, 51, &low, &high);
		held += low <= 0.5 && 0.5 <= high;
	}
	cr_assert(held >= n_trials * 94 / 100, "%u of %u", held, n_trials);
	cr_assert(held <= n_trials * 985 / 1000, "%u of %u: wider than it need be", held, n_trials);
}

Test(payload, every_size_has_the_sum_that_is_expected, .timeout = 5)
{
	uint8_t data[300];

	for (size_t bytes = 0; bytes < sizeof(data); bytes++) {
		memset(data, 0xa5, sizeof(data));
		payload_write(data, bytes, UINT64_MAX - 7);
		cr_assert_eq(data[bytes], 0xa5, "%zu bytes: written beyond the end", bytes);
		cr_assert_eq(payload_sum(data, bytes), payload_expected(bytes, UINT64_MAX - 7));
	}
}

Test(payload, any_byte_that_changed_shows, .timeout = 5)
{
	uint8_t data[77];

	payload_write(data, sizeof(data), 0x123456789abcdef);
	for (size_t i = 0; i < sizeof(data); i++) {
		data[i] ^= 0x10;
		cr_assert_neq(payload_sum(data, sizeof(data)),
			      payload_expected(sizeof(data), 0x123456789abcdef), "byte %zu", i);
		data[i] ^= 0x10;
	}
}

struct tally {
	size_t n_done[ROUNDS_N_PARTS], n_promised[ROUNDS_N_PARTS];
	size_t fail_after, n_calls;
};

static int count(void *context, enum rounds_part part, size_t n, size_t total)
{
	struct tally *tally = context;

	if (tally->fail_after && ++tally->n_calls > tally->fail_after)
		return -7;
	tally->n_done[part] += n;
	tally->n_promised[part] += total;
	return 0;
}

static const struct rounds_plan plan = {
	.n_rounds = 5, .n_warm_up = 2, .n_batches = 4, .batch = 3, .n_singles = 6};

static void check_promises(bool late)
{
	struct rounds_plan some = plan;
	struct tally tally = {};
	struct rounds_result result;
	struct rounds rounds;

	some.late = late;
	cr_assert_eq(rounds_init(&rounds, &some), 0);
	cr_assert_eq(rounds_run(&rounds, count, &tally), 0);
	cr_assert_eq(rounds.n, plan.n_rounds);
	for (int part = 0; part < ROUNDS_N_PARTS; part++) {
		size_t expected = part == ROUNDS_RAW_LATE && !late ? 0 : 7u * (3 + 4 * 3 + 3 + 6);

		cr_assert_eq(tally.n_done[part], expected);
		cr_assert_eq(tally.n_done[part], tally.n_promised[part]);
	}
	rounds_result(&rounds, &result);
	cr_assert_leq(result.ratio_low, result.ratio);
	cr_assert_geq(result.ratio_high, result.ratio);
	rounds_deinit(&rounds);
}

Test(rounds, each_part_does_what_was_promised_to_it, .timeout = 5)
{
	check_promises(false);
	check_promises(true);
}

Test(rounds, what_fails_ends_them, .timeout = 5)
{
	struct tally tally = {.fail_after = 20};
	struct rounds rounds;

	cr_assert_eq(rounds_init(&rounds, &plan), 0);
	cr_assert_eq(rounds_run(&rounds, count, &tally), -7);
	cr_assert_eq(tally.n_calls, 21);
	rounds_deinit(&rounds);
}

/* A clock that runs with the work: calls that take three times as long as raw have that ratio. */
static int work(void *context, enum rounds_part part, size_t n, size_t total)
{
	volatile size_t *sink = context;

	(void)total;
	for (size_t i = 0; i < n * 20000 * (part == ROUNDS_CALL ? 3 : 1); i++)
		*sink += i;
	return 0;
}

/* The limit is the faster way, whichever it is: the other takes nine times as long. */
static int work_fast_late(void *context, enum rounds_part part, size_t n, size_t total)
{
	return work(context, part, part == ROUNDS_RAW ? 9 * n : n, total);
}

static int work_slow_late(void *context, enum rounds_part part, size_t n, size_t total)
{
	return work(context, part, part == ROUNDS_RAW_LATE ? 9 * n : n, total);
}

static void check_limit(rounds_do do_work)
{
	struct rounds_plan some = plan;
	struct rounds_result result;
	struct rounds rounds;
	size_t sink = 0;

	some.late = true;
	cr_assert_eq(rounds_init(&rounds, &some), 0);
	cr_assert_eq(rounds_run(&rounds, do_work, &sink), 0);
	rounds_result(&rounds, &result);
	cr_assert_gt(result.ratio, 1.5, "%f", result.ratio);
	cr_assert_lt(result.ratio, 6, "%f", result.ratio);
	rounds_deinit(&rounds);
}

Test(rounds, the_limit_is_the_faster_way, .timeout = 20)
{
	check_limit(work_fast_late);
	check_limit(work_slow_late);
}

Test(rounds, the_ratio_is_of_the_work, .timeout = 20)
{
	struct rounds_result result;
	struct rounds rounds;
	size_t sink = 0;

	cr_assert_eq(rounds_init(&rounds, &plan), 0);
	cr_assert_eq(rounds_run(&rounds, work, &sink), 0);
	rounds_result(&rounds, &result);
	cr_assert_gt(result.ratio, 1.5, "%f", result.ratio);
	cr_assert_lt(result.ratio, 6, "%f", result.ratio);
	rounds_deinit(&rounds);
}
