// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "histogram.h"
#include "output.h"
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

/* ── rounds ── */

enum {
	BARE,
	BARE_OTHER,
	CALL,
	BARE_CALL, /* with the other bare one alone as its limit */
	N_PARTS,
};

static const struct rounds_part parts[N_PARTS] = {
	[BARE] = {.name = "bare"},
	[BARE_OTHER] = {.name = "another"},
	[CALL] = {.name = "call", .limits = 1u << BARE | 1u << BARE_OTHER},
	[BARE_CALL] = {.name = "other call", .limits = 1u << BARE_OTHER},
};

static const struct rounds_plan plan = {.parts = parts,
					.n_parts = N_PARTS,
					.n_rounds = 5,
					.n_warm_up = 2,
					.n_batches = 4,
					.batch = 3,
					.n_singles = 6};

struct tally {
	size_t n_done[N_PARTS], n_promised[N_PARTS];
	size_t fail_after, n_calls;
};

static int count(void *context, size_t part, size_t n, size_t total)
{
	struct tally *tally = context;

	if (tally->fail_after && ++tally->n_calls > tally->fail_after)
		return -7;
	tally->n_done[part] += n;
	tally->n_promised[part] += total;
	return 0;
}

static void check_promises(bool off, size_t single, size_t meet)
{
	struct rounds_part some_parts[N_PARTS];
	struct rounds_plan some = plan;
	struct tally tally = {};
	struct rounds rounds;

	memcpy(some_parts, parts, sizeof(parts));
	some_parts[BARE_OTHER].off = some_parts[BARE_CALL].off = off;
	some.parts = some_parts;
	some.single = single;
	some.meet = meet;
	cr_assert_eq(rounds_init(&rounds, &some), 0);
	cr_assert_eq(rounds_run(&rounds, count, &tally), 0);
	cr_assert_eq(rounds.n, plan.n_rounds);
	for (size_t part = 0; part < N_PARTS; part++) {
		size_t expected = 7u * (2 * (meet ? meet : 3) + 4 * 3 + 6 * (single ? single : 1));

		if (some_parts[part].off)
			expected = 0;
		cr_assert_eq(tally.n_done[part], expected);
		cr_assert_eq(tally.n_done[part], tally.n_promised[part]);
		if (expected)
			cr_assert_eq(rounds.series[part].singles.n, 5u * 6);
	}
	cr_assert_eq(rounds.series[CALL].limits.n, 5u * 6);
	rounds_deinit(&rounds);
}

Test(rounds, each_part_does_what_was_promised_to_it, .timeout = 5)
{
	check_promises(false, 0, 0);
	check_promises(true, 0, 0);
	check_promises(false, 7, 100);
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

Test(rounds, without_singles_the_batches_are_the_distribution, .timeout = 5)
{
	struct rounds_plan some = plan;
	struct tally tally = {};
	struct rounds rounds;

	some.n_singles = 0;
	cr_assert_eq(rounds_init(&rounds, &some), 0);
	cr_assert_eq(rounds_run(&rounds, count, &tally), 0);
	cr_assert_eq(rounds.series[CALL].singles.n, 5u * 4);
	cr_assert_eq(tally.n_done[CALL], 7u * (3 + 4 * 3));
	rounds_deinit(&rounds);
}

/* Work that takes so many times as long as one of it; a clock that runs with it. */
struct load {
	size_t times[N_PARTS];
	volatile size_t sink;
	size_t n_fast; /* so many preparations of CALL from now on, it is faster than it can be */
	size_t n_prepared; /* of CALL */
};

static int work(void *context, size_t part, size_t n, size_t total)
{
	struct load *load = context;
	bool fast = part == CALL && load->n_prepared <= load->n_fast;

	load->n_prepared += part == CALL && total;
	for (size_t i = 0; i < n * 10000 * (fast ? 1 : load->times[part]); i++)
		load->sink += i;
	return 0;
}

static void check_ratio(struct load *load, size_t part)
{
	struct rounds_result result;
	struct rounds rounds;

	cr_assert_eq(rounds_init(&rounds, &plan), 0);
	cr_assert_eq(rounds_run(&rounds, work, load), 0);
	rounds_result(&rounds, part, &result);
	cr_assert_gt(result.ratio, 1.5, "%f", result.ratio);
	cr_assert_lt(result.ratio, 6, "%f", result.ratio);
	cr_assert_leq(result.ratio_low, result.ratio);
	cr_assert_geq(result.ratio_high, result.ratio);
	cr_assert_lt(result.limit_ns, result.p50_ns);
	rounds_result(&rounds, BARE, &result);
	cr_assert(NEAR(result.ratio, 0) && NEAR(result.limit_ns, 0) && result.p50_ns > 0);
	rounds_deinit(&rounds);
}

Test(rounds, the_limit_is_the_fastest_of_a_parts_own, .timeout = 20)
{
	check_ratio(&(struct load){.times = {1, 9, 3, 27}}, CALL);
	check_ratio(&(struct load){.times = {9, 1, 3, 9}}, CALL);
	check_ratio(&(struct load){.times = {1, 9, 9, 27}}, BARE_CALL);
}

Test(rounds, a_round_that_beats_its_limit_is_done_again, .timeout = 20)
{
	struct load load = {.times = {4, 12, 12, 36}, .n_fast = 4};
	struct rounds_plan some = plan;
	struct rounds_result result;
	struct rounds rounds;

	some.n_warm_up = 0;
	some.ratio_min = ROUNDS_RATIO_MIN;
	cr_assert_eq(rounds_init(&rounds, &some), 0);
	cr_assert_eq(rounds_run(&rounds, work, &load), 0);
	cr_assert_eq(rounds.n, plan.n_rounds);
	cr_assert_geq(rounds.n_rejected, 2u, "%zu", rounds.n_rejected);
	cr_assert_not(rounds.hopeless);
	rounds_result(&rounds, CALL, &result);
	cr_assert_gt(result.ratio_low, 1, "%f", result.ratio_low);
	rounds_deinit(&rounds);
}

Test(rounds, what_always_beats_its_limit_is_hopeless_and_not_valid, .timeout = 20)
{
	struct load load = {.times = {4, 12, 1, 36}};
	struct rounds_plan some = plan;
	struct rounds rounds;
	char why[160];

	some.ratio_min = ROUNDS_RATIO_MIN;
	cr_assert_eq(rounds_init(&rounds, &some), 0);
	cr_assert_eq(rounds_run(&rounds, work, &load), 0);
	cr_assert(rounds.hopeless);
	cr_assert_eq(rounds.n_rejected, plan.n_rounds + 1);
	output_judge(&rounds, why, sizeof(why));
	cr_assert(strstr(why, "faster than"), "%s", why);
	rounds_deinit(&rounds);
}

Test(rounds, a_ratio_that_cannot_be_is_not_valid, .timeout = 20)
{
	struct load wrong = {.times = {4, 12, 1, 36}}, right = {.times = {4, 12, 12, 36}};
	struct rounds rounds;
	char why[160];

	cr_assert_eq(rounds_init(&rounds, &plan), 0);
	cr_assert_eq(rounds_run(&rounds, work, &wrong), 0);
	output_judge(&rounds, why, sizeof(why));
	cr_assert(strstr(why, "cannot take"), "%s", why);
	rounds_deinit(&rounds);
	cr_assert_eq(rounds_init(&rounds, &plan), 0);
	cr_assert_eq(rounds_run(&rounds, work, &right), 0);
	output_judge(&rounds, why, sizeof(why));
	cr_assert_str_eq(why, "");
	rounds_deinit(&rounds);
}

/* ── histogram ── */

Test(histogram, a_value_comes_back_to_one_part_in_a_thousand, .timeout = 10)
{
	struct histogram histogram;

	for (uint64_t value = 1; value < UINT64_MAX / 8; value = value * 5 / 3 + 1) {
		uint64_t seen;

		cr_assert_eq(histogram_init(&histogram), 0);
		histogram_add(&histogram, value);
		histogram_add(&histogram, UINT64_MAX);
		seen = histogram_quantile(&histogram, 0.5);
		cr_assert(seen >= value && seen - value <= value / 1000, "%llu: %llu",
			  (unsigned long long)value, (unsigned long long)seen);
		cr_assert(value >= 2048 || seen == value);
		cr_assert_eq(histogram_quantile(&histogram, 1), UINT64_MAX);
		histogram_deinit(&histogram);
	}
}

Test(histogram, quantiles_are_of_the_values_ranks, .timeout = 5)
{
	struct histogram histogram;

	cr_assert_eq(histogram_init(&histogram), 0);
	cr_assert_eq(histogram_quantile(&histogram, 0.5), 0u, "of nothing");
	for (uint64_t value = 1000; value >= 1; value--)
		histogram_add(&histogram, value);
	cr_assert_eq(histogram_quantile(&histogram, 0), 1u);
	cr_assert_eq(histogram_quantile(&histogram, 0.5), 500u);
	cr_assert_eq(histogram_quantile(&histogram, 0.999), 999u);
	cr_assert_eq(histogram_quantile(&histogram, 0.9991), 1000u);
	cr_assert_eq(histogram.min, 1u);
	cr_assert_eq(histogram.max, 1000u);
	cr_assert(NEAR(histogram_mean(&histogram), 500.5));
	cr_assert(fabs(histogram_deviation(&histogram) - 288.675) < 0.001);
	histogram_deinit(&histogram);
}

Test(histogram, merging_is_adding_all_values, .timeout = 5)
{
	struct histogram a, b, nothing;

	cr_assert(histogram_init(&a) == 0 && histogram_init(&b) == 0 &&
		  histogram_init(&nothing) == 0);
	for (uint64_t i = 10; i < 20; i++)
		histogram_add(i % 2 ? &a : &b, i * i * 1000);
	histogram_merge(&a, &nothing);
	histogram_merge(&a, &b);
	histogram_merge(&nothing, &a);
	cr_assert_eq(nothing.n, 10u);
	cr_assert_eq(nothing.min, 100000u);
	cr_assert_eq(nothing.max, 361000u);
	cr_assert(NEAR(nothing.sum, a.sum) && a.n == 10);
	cr_assert_eq(histogram_quantile(&nothing, 0.1), 100031u, "the top of its bucket");
	histogram_deinit(&a);
	histogram_deinit(&b);
	histogram_deinit(&nothing);
}

Test(histogram, a_walk_ends_with_all_values_and_grows_finer_toward_the_end, .timeout = 5)
{
	struct histogram_step step = {}, before = {};
	struct histogram histogram;
	size_t n_steps = 0;

	cr_assert_eq(histogram_init(&histogram), 0);
	cr_assert_not(histogram_walk(&histogram, 5, &step), "there is nothing");
	for (uint64_t i = 0; i < 100000; i++)
		histogram_add(&histogram, i);
	while (histogram_walk(&histogram, 5, &step)) {
		cr_assert_gt(step.n_below, before.n_below);
		cr_assert(n_steps == 0 || step.value > before.value);
		cr_assert(before.share > 0.5 || step.share - before.share < 0.102);
		before = step;
		n_steps++;
	}
	cr_assert(NEAR(before.share, 1) && before.value == 99999);
	cr_assert(n_steps > 30 && n_steps < 120, "%zu", n_steps);
	histogram_deinit(&histogram);
}
