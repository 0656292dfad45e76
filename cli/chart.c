// SPDX-License-Identifier: Apache-2.0
/*
 * Every scale is logarithmic: what is drawn spans decades. A position on an axis is the share of
 * the way from its least to its greatest value, both of them at a grid line.
 */
#include "chart.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PANEL_WIDTH 560
#define PANEL_HEIGHT 360
#define LEFT 72
#define RIGHT 40
#define TOP 64
#define BOTTOM 52
#define HEAD 56
#define PLOT_WIDTH (PANEL_WIDTH - LEFT - RIGHT)
#define PLOT_HEIGHT (PANEL_HEIGHT - TOP - BOTTOM)

struct scale {
	enum chart_axis axis;
	double least, most; /* log10 */
	bool dense;	    /* so few decades that 2 and 5 have grid lines too */
};

#define DENSE_DECADES 2.5

struct chart_series *chart_add(struct chart *chart, const char *name, bool limit)
{
	struct chart_series *series;

	if (chart->n_series == CHART_SERIES_MAX)
		return NULL;
	series = &chart->series[chart->n_series++];
	*series = (struct chart_series){.limit = limit};
	(void)snprintf(series->name, sizeof(series->name), "%s", name);
	return series;
}

int chart_add_point(struct chart_series *series, double x, double y)
{
	size_t n = series->n_points;

	if (!(x > 0) || !(y > 0) || isinf(x) || isinf(y))
		return 0;
	/* Powers of two: it is full when it has as many as one. */
	if ((n & (n - 1)) == 0) {
		struct chart_point *points = realloc(series->points,
						     (n ? 2 * n : 1) * sizeof(*points));

		if (!points)
			return -ENOMEM;
		series->points = points;
	}
	series->points[series->n_points++] = (struct chart_point){x, y};
	return 0;
}

void chart_deinit(struct chart *chart)
{
	for (size_t i = 0; i < chart->n_series; i++)
		free(chart->series[i].points);
	*chart = (struct chart){};
}

/* ── scales ── */

static double of_axis(const struct chart_point *point, bool horizontal)
{
	return log10(horizontal ? point->x : point->y);
}

/* The grid line at or below @at: a power of 4 for sizes, else 1, 2 or 5 times a power of 10. */
static double line_below(enum chart_axis axis, double at)
{
	static const double lines[] = {5, 2, 1};
	double decade = floor(at + 1e-9);

	if (axis == CHART_BYTES)
		return floor(at / log10(4) + 1e-9) * log10(4);
	for (size_t i = 0; axis != CHART_PERCENTILES && i < 2; i++)
		if (at - decade >= log10(lines[i]) - 1e-9)
			return decade + log10(lines[i]);
	return decade;
}

/* The next one above a grid line. */
static double line_above(enum chart_axis axis, double line)
{
	double decade = floor(line + 1e-9), part = line - decade;

	if (axis == CHART_BYTES)
		return line + log10(4);
	if (axis == CHART_PERCENTILES || part > log10(4))
		return decade + 1;
	return decade + log10(part > log10(1.5) ? 5 : 2);
}

/* From grid line to grid line around all points. */
static struct scale scale_of(const struct chart *chart, bool horizontal)
{
	struct scale scale = {.axis = horizontal ? chart->x : chart->y,
			      .least = INFINITY,
			      .most = -INFINITY};
	double most;

	for (size_t i = 0; i < chart->n_series; i++) {
		for (size_t j = 0; j < chart->series[i].n_points; j++) {
			double at = of_axis(&chart->series[i].points[j], horizontal);

			scale.least = fmin(scale.least, at);
			scale.most = fmax(scale.most, at);
		}
	}
	if (isinf(scale.least))
		scale.least = scale.most = 0;
	scale.least = line_below(scale.axis, scale.least);
	most = line_below(scale.axis, scale.most);
	if (most < scale.most - 1e-9 || most <= scale.least)
		most = line_above(scale.axis, most);
	scale.most = most;
	scale.dense = scale.most - scale.least <= DENSE_DECADES;
	return scale;
}

static double share_of(const struct scale *scale, double at)
{
	return (at - scale->least) / (scale->most - scale->least);
}

static double x_of(const struct scale *scale, double at)
{
	return LEFT + PLOT_WIDTH * share_of(scale, at);
}

static double y_of(const struct scale *scale, double at)
{
	return TOP + PLOT_HEIGHT * (1 - share_of(scale, at));
}

static void label(const struct scale *scale, double at, char *text, size_t size)
{
	double value = pow(10, at);

	switch (scale->axis) {
	case CHART_PERCENTILES:
		/* 1/(1-share) is 10 at 90 %, 1000 at 99.9 %. */
		if (at < 0.5)
			(void)snprintf(text, size, "0 %%");
		else
			(void)snprintf(text, size, "%.*f %%", at < 2.5 ? 0 : (int)lround(at) - 2,
				       100 * (1 - 1 / value));
		break;
	case CHART_NS:
		if (value < 999)
			(void)snprintf(text, size, "%.0f ns", value);
		else if (value < 999e3)
			(void)snprintf(text, size, "%.0f µs", value / 1e3);
		else
			(void)snprintf(text, size, "%.0f ms", value / 1e6);
		break;
	case CHART_BYTES:
		if (value < 1023)
			(void)snprintf(text, size, "%.0f B", value);
		else if (value < 1024 * 1023)
			(void)snprintf(text, size, "%.0f KiB", value / 1024);
		else
			(void)snprintf(text, size, "%.0f MiB", value / 1048576);
		break;
	case CHART_GB_PER_S:
		(void)snprintf(text, size, "%.*f GB/s", at < -1e-6 ? -(int)floor(at) : 0, value);
		break;
	case CHART_COUNT:
		(void)snprintf(text, size, "%.0f", value);
		break;
	}
}

/* ── drawing ── */

static void print_text(FILE *file, double x, double y, const char *class, const char *text)
{
	fprintf(file, "<text x=\"%.1f\" y=\"%.1f\" class=\"%s\">", x, y, class);
	for (; *text; text++) {
		if (*text == '<')
			fputs("&lt;", file);
		else if (*text == '&')
			fputs("&amp;", file);
		else
			fputc(*text, file);
	}
	fputs("</text>\n", file);
}

static void print_line(const struct scale *scale, bool horizontal, double at, const char *class,
		       FILE *file)
{
	if (horizontal)
		fprintf(file, "<path class=\"%s\" d=\"M%.1f %dV%d\"/>\n", class, x_of(scale, at),
			TOP, TOP + PLOT_HEIGHT);
	else
		fprintf(file, "<path class=\"%s\" d=\"M%d %.1fH%d\"/>\n", class, LEFT,
			y_of(scale, at), LEFT + PLOT_WIDTH);
}

/* Between decades lines without a name: else a decade looks like any other distance. */
static void print_fine_grid(const struct scale *scale, bool horizontal, FILE *file)
{
	if (scale->axis == CHART_BYTES || scale->axis == CHART_PERCENTILES)
		return;
	for (double decade = floor(scale->least); decade < scale->most; decade++) {
		for (int i = 2; i < 10; i++) {
			double at = decade + log10(i);

			if (at > scale->least && at < scale->most)
				print_line(scale, horizontal, at, "fine", file);
		}
	}
}

static void print_grid(const struct scale *scale, bool horizontal, FILE *file)
{
	for (double at = scale->least; at < scale->most + 1e-6; at = line_above(scale->axis, at)) {
		bool decade = fabs(at - round(at)) < 1e-6;
		char text[32];

		if (!decade && !scale->dense && scale->axis != CHART_BYTES)
			continue;
		label(scale, at, text, sizeof(text));
		print_line(scale, horizontal, at, "grid", file);
		if (horizontal)
			print_text(file, x_of(scale, at), TOP + PLOT_HEIGHT + 20, "tick middle",
				   text);
		else
			print_text(file, LEFT - 8, y_of(scale, at) + 4, "tick end", text);
	}
	print_fine_grid(scale, horizontal, file);
}

static void print_series(const struct chart *chart, const struct chart_series *series,
			 const char *class, const struct scale *x, const struct scale *y,
			 FILE *file)
{
	if (series->n_points == 0)
		return;
	fprintf(file, "<path class=\"line %s\" d=\"", class);
	for (size_t i = 0; i < series->n_points; i++)
		fprintf(file, "%c%.1f %.1f", i ? 'L' : 'M', x_of(x, log10(series->points[i].x)),
			y_of(y, log10(series->points[i].y)));
	fputs("\"/>\n", file);
	for (size_t i = 0; chart->markers && i < series->n_points; i++)
		fprintf(file, "<circle class=\"%s\" cx=\"%.1f\" cy=\"%.1f\" r=\"3\"/>\n", class,
			x_of(x, log10(series->points[i].x)), y_of(y, log10(series->points[i].y)));
}

static void class_of(const struct chart *chart, size_t i, char text[16])
{
	unsigned int n = 0;

	for (size_t before = 0; before < i; before++)
		n += !chart->series[before].limit;
	if (chart->series[i].limit)
		(void)snprintf(text, 16, "limit");
	else
		(void)snprintf(text, 16, "s%u", n);
}

/* Beside the title's line, from the right. */
static void print_legend(const struct chart *chart, FILE *file)
{
	double x = LEFT;

	for (size_t i = 0; i < chart->n_series; i++) {
		char class[16];

		class_of(chart, i, class);
		fprintf(file, "<path class=\"line %s\" d=\"M%.1f %dh22\"/>\n", class, x, TOP - 16);
		print_text(file, x + 28, TOP - 12, "tick", chart->series[i].name);
		x += 28 + 6.7 * (double)strlen(chart->series[i].name) + 24;
	}
}

static void print_panel(const struct chart *chart, int left, int top, FILE *file)
{
	struct scale x = scale_of(chart, true), y = scale_of(chart, false);

	fprintf(file, "<g transform=\"translate(%d %d)\">\n", left, top);
	print_text(file, LEFT, TOP - 36, "title", chart->title);
	print_legend(chart, file);
	print_grid(&x, true, file);
	print_grid(&y, false, file);
	for (size_t i = 0; i < chart->n_series; i++) {
		char class[16];

		class_of(chart, i, class);
		print_series(chart, &chart->series[i], class, &x, &y, file);
	}
	print_text(file, LEFT + PLOT_WIDTH / 2.0, TOP + PLOT_HEIGHT + 42, "tick middle",
		   chart->note);
	fputs("</g>\n", file);
}

/* Greys and hues of middle lightness: they stand out from white and from black. */
static const char style[] =
	"text{font-family:system-ui,'DejaVu Sans',sans-serif;fill:#767d86}"
	".head{font-size:18px;font-weight:600}.title{font-size:14px;font-weight:600}"
	".tick{font-size:11.5px}.middle{text-anchor:middle}.end{text-anchor:end}"
	".grid,.fine{stroke:#8b949e;fill:none}.grid{stroke-opacity:.45}.fine{stroke-opacity:.15}"
	".line{fill:none;stroke-width:2;stroke-linejoin:round}"
	".line.limit{stroke:#8b949e;stroke-dasharray:6 4}circle.limit{fill:#8b949e}"
	".line.s0{stroke:#3b82e0}circle.s0{fill:#3b82e0}"
	".line.s1{stroke:#d9772b}circle.s1{fill:#d9772b}"
	".line.s2{stroke:#2f9e6e}circle.s2{fill:#2f9e6e}"
	".line.s3{stroke:#a85fd0}circle.s3{fill:#a85fd0}";

void chart_print(const struct chart *charts, size_t n, const char *title, FILE *file)
{
	int columns = n > 1 ? 2 : 1, rows = (int)(n + 1) / 2;
	int width = columns * PANEL_WIDTH, height = HEAD + rows * PANEL_HEIGHT;

	fprintf(file,
		"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
		"viewBox=\"0 0 %d %d\" role=\"img\">\n<title>",
		width, height, width, height);
	fprintf(file, "libipc</title>\n<style>%s</style>\n", style);
	print_text(file, LEFT, 36, "head", title);
	for (size_t i = 0; i < n; i++)
		print_panel(&charts[i], (int)(i % 2) * PANEL_WIDTH,
			    HEAD + (int)(i / 2) * PANEL_HEIGHT, file);
	fputs("</svg>\n", file);
}
