/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two things measured in turns, in many short rounds, and how one compares with the other.
 *
 * The CPUs of a virtual machine move between cores, and a core changes its frequency, so figures
 * compare only if they come from the same moments: within a round. Each round gives one ratio; the
 * result is the median of them, and how sure it is. The clock is read once a batch, so that what it
 * costs is shared by the whole batch; percentiles of single calls come from batches of one.
 */
#ifndef CLI_ROUNDS_H
#define CLI_ROUNDS_H

#include <stdbool.h>
#include <stddef.h>

enum rounds_part {
	ROUNDS_RAW,
	ROUNDS_RAW_LATE, /* the same, looked for in another way; the faster of the two is the limit
			  */
	ROUNDS_CALL,
	ROUNDS_N_PARTS,
};

struct rounds_plan {
	size_t n_rounds, n_warm_up; /* of which the first ones do not count */
	size_t n_batches, batch;    /* a part: so many batches of so many */
	size_t n_singles;	    /* and so many that are timed one by one */
	bool late;		    /* is there a ROUNDS_RAW_LATE? */
};

struct rounds {
	struct rounds_plan plan;
	size_t n; /* rounds that count, so far */
	double *p50_ns[ROUNDS_N_PARTS];
	double *ratios;
	double *singles_ns[ROUNDS_N_PARTS];
	double *batches_ns; /* of the part that is being measured */
};

/* Of ROUNDS_RAW: of whichever way was the faster, round by round. */
struct rounds_result {
	double p50_ns[ROUNDS_N_PARTS]; /* medians over rounds of the rounds' medians over batches */
	double p99_ns[ROUNDS_N_PARTS], p999_ns[ROUNDS_N_PARTS]; /* of single ones */
	double ratio, ratio_low, ratio_high; /* median, and its 95 % confidence interval */
	double ratio_p25, ratio_p75;	     /* the middle half of the rounds */
};

/*
 * Does @n of @part, or, with @n 0, gets ready for @total of them, which is not timed.
 * 0, or anything else, which ends the measurement.
 */
typedef int (*rounds_do)(void *context, enum rounds_part part, size_t n, size_t total);

/* 0 or -ENOMEM. */
int rounds_init(struct rounds *rounds, const struct rounds_plan *plan);
void rounds_deinit(struct rounds *rounds);

/* All of them; what @work answered if that was not 0. */
int rounds_run(struct rounds *rounds, rounds_do work, void *context);

void rounds_result(struct rounds *rounds, struct rounds_result *ret);

#endif
