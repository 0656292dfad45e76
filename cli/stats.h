/* SPDX-License-Identifier: Apache-2.0 */
/* Order statistics: percentiles, and how sure a median is. No distribution is assumed. */
#ifndef CLI_STATS_H
#define CLI_STATS_H

#include <stddef.h>

void stats_sort(double *values, size_t n);

/* The value that @share of the sorted values do not exceed (nearest rank). @n > 0. */
double stats_quantile(const double *sorted, size_t n, double share);

/* Sorts @values. @n > 0. */
double stats_median(double *values, size_t n);

/*
 * The 95 % confidence interval of a median: of the ranks counted from both ends the narrowest pair
 * between which it lies with that probability, whatever the distribution, since each independent
 * value falls on either side of the median like a fair coin. Below six values it is their range.
 */
void stats_median_interval(const double *sorted, size_t n, double *low, double *high);

#endif
