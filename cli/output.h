/* SPDX-License-Identifier: Apache-2.0 */
/* What was measured, for people and for programs: the same shape for every bench. */
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

#include "rounds.h"

/* A distribution of picoseconds: "p50_ns": …, "percentiles": [[percentile, ns], …]. */
void output_distribution_json(const struct histogram *histogram);
void output_distribution_text(const char *name, const struct histogram *histogram);
void output_distribution_head(const char *first);

/* "rounds": …, "rejected": …, "parts": [{…}, …], of every part that was measured. */
void output_rounds_json(struct rounds *rounds);
/* A table of the parts, the ratios below it. */
void output_rounds_text(struct rounds *rounds);
/* The parts' whole distributions. */
void output_histograms(const struct rounds *rounds);
void output_histogram(const char *name, const struct histogram *histogram);

/* Why the rounds say nothing; "" if they do. */
void output_judge(struct rounds *rounds, char *why, size_t size);

/* Says on stderr why it is not valid, unless @why is "", and that all was printed: exit status. */
int output_verdict(const char *why);

#endif
