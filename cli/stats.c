// SPDX-License-Identifier: Apache-2.0
#include "stats.h"

#include <math.h>
#include <stdlib.h>

#define TAIL 0.025 /* of either end, outside a 95 % interval */

static int compare(const void *left, const void *right)
{
	const double *a = left, *b = right;

	return (*a > *b) - (*a < *b);
}

void stats_sort(double *values, size_t n)
{
	qsort(values, n, sizeof(*values), compare);
}

double stats_quantile(const double *sorted, size_t n, double share)
{
	size_t rank = (size_t)ceil(share * (double)n);

	return sorted[rank > 1 ? rank - 1 : 0];
}

double stats_median(double *values, size_t n)
{
	stats_sort(values, n);
	return stats_quantile(values, n, 0.5);
}

/* How many values may be cut off each end: the most k with P(fewer than k heads of n coins) <=
 * TAIL. */
static size_t outside(size_t n)
{
	double log_all = -(double)n * log(2), below = 0;
	size_t k = 0;

	for (;;) {
		double heads = (double)k;
		double log_ways = lgamma((double)n + 1) - lgamma(heads + 1) -
				  lgamma((double)n - heads + 1);

		below += exp(log_ways + log_all);
		if (below > TAIL)
			return k;
		k++;
	}
}

void stats_median_interval(const double *sorted, size_t n, double *low, double *high)
{
	size_t k = outside(n);

	/* The median is above the k-th value unless fewer than k values lie below it. */
	*low = sorted[k > 0 ? k - 1 : 0];
	*high = sorted[k > 0 ? n - k : n - 1];
}
