// SPDX-License-Identifier: Apache-2.0
/*
 * Bucket i below 2^EXACT_BITS holds the value i. Above, a value's leading EXACT_BITS bits say its
 * bucket: half of the buckets of the doubling before, as their leading bit is always one.
 */
#include "histogram.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#define EXACT_BITS 11u
#define EXACT (UINT64_C(1) << EXACT_BITS)
#define HALF (EXACT / 2)
#define N_BUCKETS (EXACT + (64 - EXACT_BITS) * HALF)
#define PRINT_TICKS 5u

int histogram_init(struct histogram *histogram)
{
	*histogram = (struct histogram){.counts = calloc(N_BUCKETS, sizeof(uint64_t))};
	return histogram->counts ? 0 : -ENOMEM;
}

void histogram_deinit(struct histogram *histogram)
{
	free(histogram->counts);
	*histogram = (struct histogram){};
}

static size_t bucket_of(uint64_t value)
{
	unsigned int shift;

	if (value < EXACT)
		return value;
	shift = 64 - EXACT_BITS - (unsigned int)__builtin_clzll(value);
	return EXACT + (shift - 1) * HALF + ((value >> shift) - HALF);
}

/* The largest value of a bucket. */
static uint64_t top_of(size_t bucket)
{
	uint64_t shift, leading;

	if (bucket < EXACT)
		return bucket;
	shift = (bucket - EXACT) / HALF + 1;
	leading = (bucket - EXACT) % HALF + HALF;
	return (leading << shift) + ((UINT64_C(1) << shift) - 1);
}

void histogram_add(struct histogram *histogram, uint64_t value)
{
	histogram->counts[bucket_of(value)]++;
	if (histogram->n == 0 || value < histogram->min)
		histogram->min = value;
	if (value > histogram->max)
		histogram->max = value;
	histogram->n++;
	histogram->sum += (double)value;
	histogram->sum_of_squares += (double)value * (double)value;
}

void histogram_merge(struct histogram *to, const struct histogram *from)
{
	if (from->n == 0)
		return;
	for (size_t i = 0; i < N_BUCKETS; i++)
		to->counts[i] += from->counts[i];
	if (to->n == 0 || from->min < to->min)
		to->min = from->min;
	if (from->max > to->max)
		to->max = from->max;
	to->n += from->n;
	to->sum += from->sum;
	to->sum_of_squares += from->sum_of_squares;
}

/* The @rank-th value, from 1, and how many are not above its bucket. */
static uint64_t value_at(const struct histogram *histogram, uint64_t rank, uint64_t *ret_n_below)
{
	uint64_t n = 0, top;
	size_t i = 0;

	while (n + histogram->counts[i] < rank)
		n += histogram->counts[i++];
	*ret_n_below = n + histogram->counts[i];
	top = top_of(i);
	return top < histogram->max ? top : histogram->max;
}

static uint64_t rank_of(const struct histogram *histogram, double share)
{
	double rank = ceil(share * (double)histogram->n);

	if (rank < 1)
		return 1;
	return rank < (double)histogram->n ? (uint64_t)rank : histogram->n;
}

uint64_t histogram_quantile(const struct histogram *histogram, double share)
{
	uint64_t n_below;

	return histogram->n ? value_at(histogram, rank_of(histogram, share), &n_below) : 0;
}

double histogram_mean(const struct histogram *histogram)
{
	return histogram->n ? histogram->sum / (double)histogram->n : 0;
}

double histogram_deviation(const struct histogram *histogram)
{
	double mean = histogram_mean(histogram), variance;

	if (histogram->n == 0)
		return 0;
	variance = histogram->sum_of_squares / (double)histogram->n - mean * mean;
	return variance > 0 ? sqrt(variance) : 0;
}

bool histogram_walk(const struct histogram *histogram, unsigned int n_ticks,
		    struct histogram_step *step)
{
	double above = 1 - step->share, next;

	if (step->n_below == histogram->n)
		return false;
	/* So many halvings down, the step is so much smaller. */
	next = step->n_below == 0 ? 0
				  : step->share + 1 / (n_ticks * exp2(floor(log2(1 / above)) + 1));
	step->value = value_at(histogram, rank_of(histogram, next), &step->n_below);
	step->share = (double)step->n_below / (double)histogram->n;
	return true;
}

void histogram_print(const struct histogram *histogram, double scale, FILE *file)
{
	struct histogram_step step = {};

	fprintf(file, "%12s %14s %10s %14s\n\n", "Value", "Percentile", "TotalCount",
		"1/(1-Percentile)");
	while (histogram_walk(histogram, PRINT_TICKS, &step)) {
		fprintf(file, "%12.3f %14.12f %10llu ", (double)step.value / scale, step.share,
			(unsigned long long)step.n_below);
		if (step.n_below < histogram->n)
			fprintf(file, "%14.2f\n", 1 / (1 - step.share));
		else
			fputs("           inf\n", file);
	}
	fprintf(file, "#[Mean    = %12.3f, StdDeviation   = %12.3f]\n",
		histogram_mean(histogram) / scale, histogram_deviation(histogram) / scale);
	fprintf(file, "#[Max     = %12.3f, Total count    = %12llu]\n",
		(double)histogram->max / scale, (unsigned long long)histogram->n);
	fprintf(file, "#[Buckets = %12u, SubBuckets     = %12llu]\n", 64 - EXACT_BITS + 1,
		(unsigned long long)EXACT);
}

void histogram_print_json(const struct histogram *histogram, double scale, FILE *file)
{
	struct histogram_step step = {};
	const char *between = "";

	fputc('[', file);
	while (histogram_walk(histogram, PRINT_TICKS, &step)) {
		fprintf(file, "%s[%.6f, %.3f]", between, 100 * step.share,
			(double)step.value / scale);
		between = ", ";
	}
	fputc(']', file);
}
