/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Line charts as SVG: one picture of several panels, complete in itself, that can be read on a
 * light and on a dark page.
 */
#ifndef CLI_CHART_H
#define CLI_CHART_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#define CHART_SERIES_MAX 4u
#define CHART_TEXT_BYTES 96

enum chart_axis {
	CHART_PERCENTILES, /* values are 1/(1-share), on a logarithmic scale */
	CHART_NS,	   /* a duration */
	CHART_BYTES,	   /* a size, in powers of two */
	CHART_GB_PER_S,
	CHART_COUNT,
};

struct chart_point {
	double x, y;
};

struct chart_series {
	char name[CHART_TEXT_BYTES];
	bool limit; /* drawn as what the others are measured against */
	struct chart_point *points;
	size_t n_points;
};

struct chart {
	char title[CHART_TEXT_BYTES], note[CHART_TEXT_BYTES];
	enum chart_axis x, y; /* each logarithmic */
	bool markers;	      /* points are measurements of their own, not a curve's */
	struct chart_series series[CHART_SERIES_MAX];
	size_t n_series;
};

/* One more series. NULL: it has as many as it may. */
struct chart_series *chart_add(struct chart *chart, const char *name, bool limit);
/* Points that are not above zero are left out. 0 or -ENOMEM. */
int chart_add_point(struct chart_series *series, double x, double y);
void chart_deinit(struct chart *chart);

/* All of @n charts, two a row. */
void chart_print(const struct chart *charts, size_t n, const char *title, FILE *file);

#endif
