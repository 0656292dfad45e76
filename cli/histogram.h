/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A distribution in bounded memory, whatever its range: counts by value, exact below 2048, and from
 * there on 1024 buckets for each doubling, so that a value is known to one part in a thousand. In
 * the manner of an HDR histogram, whose percentile table is how it is printed.
 */
#ifndef CLI_HISTOGRAM_H
#define CLI_HISTOGRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct histogram {
	uint64_t *counts;
	uint64_t n, min, max; /* of what was added; 0 while that is nothing */
	double sum, sum_of_squares;
};

/* 0 or -ENOMEM. */
int histogram_init(struct histogram *histogram);
void histogram_deinit(struct histogram *histogram);

void histogram_add(struct histogram *histogram, uint64_t value);

/* All of @from into @to. */
void histogram_merge(struct histogram *to, const struct histogram *from);

/*
 * The value that @share of the values do not exceed (nearest rank), to the histogram's precision
 * and never beyond what was added. 0 if nothing was.
 */
uint64_t histogram_quantile(const struct histogram *histogram, double share);
double histogram_mean(const struct histogram *histogram);
double histogram_deviation(const struct histogram *histogram);

/* One step of a distribution: @n_below values, @share of them all, are at most @value. */
struct histogram_step {
	uint64_t value, n_below;
	double share;
};

/*
 * From the smallest value to the largest, in steps of the share that halve with each halving of
 * what is left above: @n_ticks to a halving. False: there are no more. @step: zero at first.
 */
bool histogram_walk(const struct histogram *histogram, unsigned int n_ticks,
		    struct histogram_step *step);

/* The usual table: value, percentile, count, 1/(1-percentile). Values are divided by @scale. */
void histogram_print(const struct histogram *histogram, double scale, FILE *file);

/* [[percentile, value], …] as JSON, values likewise. */
void histogram_print_json(const struct histogram *histogram, double scale, FILE *file);

#endif
