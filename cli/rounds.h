/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Several things measured in turns, in many short rounds, and how they compare with the limit.
 *
 * The CPUs of a virtual machine move between cores, and a core changes its frequency, so figures
 * compare only if they come from the same moments: within a round. Each round gives one ratio; the
 * result is the median of them, and how sure it is. The clock is read once a batch, so that what it
 * costs is shared by the whole batch; percentiles of single ones come from batches of one.
 *
 * A part is measured against others, its limits: several bare ways to do the same. The fastest of
 * them in a round is the round's limit. A round in which a part comes out faster than its limit was
 * torn by such a move, or did something else than was meant: it is thrown away, and done again.
 */
#ifndef CLI_ROUNDS_H
#define CLI_ROUNDS_H

#include <stdbool.h>
#include <stddef.h>

#include "histogram.h"

#define ROUNDS_PARTS_MAX 8u
#define ROUNDS_RATIO_MIN 0.98 /* below, a part was faster than its limit can be */
#define ROUNDS_PS_PER_NS 1000 /* histograms count picoseconds */

struct rounds_part {
	const char *name;
	unsigned int limits; /* a bit for each part that limits this one; 0: this is a bare one */
	bool off;	     /* not measured at all */
};

struct rounds_plan {
	const struct rounds_part *parts;
	size_t n_parts;
	size_t n_rounds, n_warm_up; /* of which the first ones do not count */
	size_t n_batches, batch;    /* a part: so many batches of so many */
	size_t n_singles, single;   /* and so many of so few for the percentiles; single 0: one */
	size_t meet;		    /* before either: so many that are not timed; 0: a batch */
	double ratio_min;	    /* a round below is thrown away; 0: every round counts */
};

struct rounds_series {
	double *p50_ns, *limits_ns, *ratios; /* by round */
	struct histogram singles;	     /* of this part, … */
	struct histogram limits;	     /* … and of what limited it, round by round */
	double *now_ns;			     /* of the round that is being measured */
};

struct rounds {
	struct rounds_plan plan;
	size_t n, n_rejected; /* rounds that count, and that do not, so far */
	bool hopeless;	      /* more were rejected than count */
	struct rounds_series series[ROUNDS_PARTS_MAX];
	double *batches_ns; /* of the part that is being measured */
};

struct rounds_result {
	double p50_ns;	 /* median over rounds of the rounds' medians over batches */
	double limit_ns; /* of what limited it, likewise; 0: it is a bare one, without ratio */
	double ratio, ratio_low, ratio_high; /* median, and its 95 % confidence interval */
	double ratio_p25, ratio_p75;	     /* the middle half of the rounds */
};

/*
 * Does @n of @part, or, with @n 0, gets ready for @total of them, which is not timed.
 * 0, or anything else, which ends the measurement.
 */
typedef int (*rounds_do)(void *context, size_t part, size_t n, size_t total);

/* 0 or -ENOMEM. */
int rounds_init(struct rounds *rounds, const struct rounds_plan *plan);
void rounds_deinit(struct rounds *rounds);

/*
 * All of them; what @work answered if that was not 0. Ends early, with rounds->hopeless, when more
 * rounds were thrown away than the plan has. Says on a terminal how far it is.
 */
int rounds_run(struct rounds *rounds, rounds_do work, void *context);

/* Of a part that was measured, after at least one round. */
void rounds_result(struct rounds *rounds, size_t part, struct rounds_result *ret);

#endif
