// SPDX-License-Identifier: Apache-2.0
#include "output.h"

#include <stdio.h>

#include "command.h"

#define SCALE ((double)ROUNDS_PS_PER_NS)

static const struct {
	const char *key, *title;
	double share;
} shares[] = {
	{"p50_ns", "p50", 0.5},	     {"p90_ns", "p90", 0.9},	     {"p99_ns", "p99", 0.99},
	{"p999_ns", "p99.9", 0.999}, {"p9999_ns", "p99.99", 0.9999},
};
#define N_SHARES (sizeof(shares) / sizeof(*shares))

void output_distribution_json(const struct histogram *histogram)
{
	printf("\"n\": %llu, \"min_ns\": %.3f, \"mean_ns\": %.3f, \"max_ns\": %.3f",
	       (unsigned long long)histogram->n, (double)histogram->min / SCALE,
	       histogram_mean(histogram) / SCALE, (double)histogram->max / SCALE);
	for (size_t i = 0; i < N_SHARES; i++)
		printf(", \"%s\": %.3f", shares[i].key,
		       (double)histogram_quantile(histogram, shares[i].share) / SCALE);
	printf(", \"percentiles\": ");
	histogram_print_json(histogram, SCALE, stdout);
}

void output_distribution_head(const char *first)
{
	printf("%-14s", first);
	for (size_t i = 0; i < N_SHARES; i++)
		printf(" %12s", shares[i].title);
	printf(" %12s\n", "max");
}

static void print_ns(double ns)
{
	if (ns < 1000)
		printf(" %9.1f ns", ns);
	else if (ns < 1e6)
		printf(" %9.2f us", ns / 1e3);
	else
		printf(" %9.2f ms", ns / 1e6);
}

void output_distribution_text(const char *name, const struct histogram *histogram)
{
	printf("%-14s", name);
	for (size_t i = 0; i < N_SHARES; i++)
		print_ns((double)histogram_quantile(histogram, shares[i].share) / SCALE);
	print_ns((double)histogram->max / SCALE);
	putchar('\n');
}

/* ── rounds ── */

static bool is_measured(const struct rounds *rounds, size_t part)
{
	return !rounds->plan.parts[part].off;
}

static void print_part_json(struct rounds *rounds, size_t part)
{
	const struct rounds_series *series = &rounds->series[part];
	struct rounds_result result;

	rounds_result(rounds, part, &result);
	printf("{\"name\": \"%s\", \"batch_p50_ns\": %.3f, ", rounds->plan.parts[part].name,
	       result.p50_ns);
	output_distribution_json(&series->singles);
	if (rounds->plan.parts[part].limits) {
		printf(",\n  \"limit\": {\"batch_p50_ns\": %.3f, ", result.limit_ns);
		output_distribution_json(&series->limits);
		printf("},\n  \"ratio_median\": %.4f, \"ratio_low\": %.4f, \"ratio_high\": %.4f, "
		       "\"ratio_p25\": %.4f, \"ratio_p75\": %.4f",
		       result.ratio, result.ratio_low, result.ratio_high, result.ratio_p25,
		       result.ratio_p75);
	}
	putchar('}');
}

void output_rounds_json(struct rounds *rounds)
{
	const char *between = "";

	printf("\"rounds\": %zu, \"rejected\": %zu, \"parts\": [\n ", rounds->n,
	       rounds->n_rejected);
	for (size_t part = 0; part < rounds->plan.n_parts; part++) {
		if (!is_measured(rounds, part))
			continue;
		printf("%s", between);
		print_part_json(rounds, part);
		between = ",\n ";
	}
	putchar(']');
}

static void print_ratio(struct rounds *rounds, size_t part)
{
	struct rounds_result result;

	rounds_result(rounds, part, &result);
	printf("%-14s %.3f times its limit (95 %% confidence %.3f to %.3f; half of the rounds %.3f "
	       "to %.3f)\n",
	       rounds->plan.parts[part].name, result.ratio, result.ratio_low, result.ratio_high,
	       result.ratio_p25, result.ratio_p75);
}

void output_rounds_text(struct rounds *rounds)
{
	struct rounds_result result;

	printf("%-14s %12s", "", "batches");
	for (size_t i = 0; i < N_SHARES; i++)
		printf(" %12s", shares[i].title);
	putchar('\n');
	for (size_t part = 0; part < rounds->plan.n_parts; part++) {
		if (!is_measured(rounds, part))
			continue;
		rounds_result(rounds, part, &result);
		printf("%-14s", rounds->plan.parts[part].name);
		print_ns(result.p50_ns);
		for (size_t i = 0; i < N_SHARES; i++)
			print_ns((double)histogram_quantile(&rounds->series[part].singles,
							    shares[i].share) /
				 SCALE);
		putchar('\n');
	}
	putchar('\n');
	for (size_t part = 0; part < rounds->plan.n_parts; part++)
		if (is_measured(rounds, part) && rounds->plan.parts[part].limits)
			print_ratio(rounds, part);
	if (rounds->n_rejected)
		printf("%-14s %zu thrown away beside the %zu that count\n", "rounds",
		       rounds->n_rejected, rounds->n);
}

void output_histogram(const char *name, const struct histogram *histogram)
{
	printf("\n# %s, ns\n", name);
	histogram_print(histogram, SCALE, stdout);
}

void output_histograms(const struct rounds *rounds)
{
	for (size_t part = 0; part < rounds->plan.n_parts; part++)
		if (is_measured(rounds, part))
			output_histogram(rounds->plan.parts[part].name,
					 &rounds->series[part].singles);
}

void output_judge(struct rounds *rounds, char *why, size_t size)
{
	why[0] = '\0';
	if (rounds->hopeless) {
		(void)snprintf(why, size,
			       "%zu rounds beside the %zu that count came out faster than their "
			       "limit",
			       rounds->n_rejected, rounds->n);
		return;
	}
	for (size_t part = 0; part < rounds->plan.n_parts; part++) {
		struct rounds_result result;

		if (!is_measured(rounds, part) || !rounds->plan.parts[part].limits)
			continue;
		rounds_result(rounds, part, &result);
		/*
		 * Asleep, both take what the scheduler gives, and rounds are not thrown away: there
		 * the whole interval must be below.
		 */
		if ((rounds->plan.ratio_min > 0 ? result.ratio : result.ratio_high) <
		    ROUNDS_RATIO_MIN) {
			(void)snprintf(why, size, "%s cannot take %.3f times its own limit",
				       rounds->plan.parts[part].name, result.ratio);
			return;
		}
	}
}

int output_verdict(const char *why)
{
	if (why[0])
		fprintf(stderr, "ipc: the measurement is not valid: %s\n", why);
	return command_flush(why[0] ? STATUS_INVALID : STATUS_OK);
}
