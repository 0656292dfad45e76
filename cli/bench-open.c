// SPDX-License-Identifier: Apache-2.0
/*
 * ipc bench open: opening a channel through a broker, and closing it. Each that was opened is used
 * for one call, outside the clock, so that what is measured is a channel that works.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "clock.h"
#include "command.h"
#include "options.h"
#include "output.h"
#include "pair.h"

#define WARM_UP 20u
#define CALL_BYTES 32u

enum step {
	STEP_OPEN,
	STEP_CLOSE,
	STEP_BOTH,
	N_STEPS,
};

static const char *const step_names[] = {"open", "close", "both"};

struct opening {
	struct bench_options options;
	uint64_t n;
	struct histogram steps[N_STEPS];
};

static const char usage[] =
	"Usage: ipc bench open [--count N] [OPTION]...\n"
	"Measures how long it takes to open a channel to a server in another process through a "
	"broker,\n"
	"and to close it again.\n"
	"\n"
	"  --count N        channels, one after the other; 500 unless given\n"
	"  --broker PATH    the ipc-broker to start, if not the one that came with this program\n"
	"  --histogram      print whole distributions too, as HDR histograms are\n"
	"  --json           print the result as data\n"
	"\n"
	"Exit status: 0 well; 1 a failure; 2 a wrong command line.\n";

static void add(struct opening *opening, enum step step, uint64_t ns)
{
	histogram_add(&opening->steps[step], ns * ROUNDS_PS_PER_NS);
}

/* One channel: opened, used, closed; what that took is added if it @counts. */
static int open_and_close(struct opening *opening, ipc_loop *loop, uint64_t i, bool counts,
			  struct ipci_error *error)
{
	uint64_t opening_ns = ipci_now_ns(), opened_ns, closing_ns, closed_ns;
	ipc_channel *channel;
	int r = echo_open(loop, NULL, &channel, error);

	if (r < 0)
		return r;
	opened_ns = ipci_now_ns();
	r = echo_call(channel, CALL_BYTES, i);
	closing_ns = ipci_now_ns();
	ipc_channel_free(channel);
	closed_ns = ipci_now_ns();
	if (r != 0)
		return echo_error(r, error);
	if (counts) {
		add(opening, STEP_OPEN, opened_ns - opening_ns);
		add(opening, STEP_CLOSE, closed_ns - closing_ns);
		add(opening, STEP_BOTH, opened_ns - opening_ns + closed_ns - closing_ns);
	}
	return stage_stop ? -EINTR : 0;
}

static int measure(struct opening *opening, ipc_loop *loop, struct ipci_error *error)
{
	int r = 0;

	for (uint64_t i = 0; r == 0 && i < WARM_UP + opening->n; i++)
		r = open_and_close(opening, loop, i, i >= WARM_UP, error);
	return r;
}

static int prepare(struct opening *opening, struct pair_plan *plan, struct ipci_error *error)
{
	for (int step = 0; step < N_STEPS; step++)
		if (histogram_init(&opening->steps[step]) < 0)
			return ipci_error_set(error, -ENOMEM, "out of memory");
	*plan = (struct pair_plan){.broker = opening->options.broker, .wait = IPC_WAIT_AUTO};
	return cpus_choose(&plan->cpus, error);
}

static int run(struct opening *opening, struct ipci_error *error)
{
	struct pair pair = {};
	struct pair_plan plan;
	int r = prepare(opening, &plan, error);

	if (r < 0)
		return r;
	r = pair_init(&pair, &plan, error);
	if (r == 0)
		r = cpus_pin(plan.cpus.client, error);
	if (r == 0)
		r = measure(opening, pair.loop, error);
	if (r < 0)
		stage_explain(&pair.stage, error);
	pair_deinit(&pair);
	return r;
}

static void print_json(const struct opening *opening)
{
	printf("{\"bench\": \"open\", \"count\": %llu", (unsigned long long)opening->n);
	for (int step = 0; step < N_STEPS; step++)
		printf(", \"%s_p50_ns\": %.0f, \"%s_p99_ns\": %.0f", step_names[step],
		       (double)histogram_quantile(&opening->steps[step], 0.5) / ROUNDS_PS_PER_NS,
		       step_names[step],
		       (double)histogram_quantile(&opening->steps[step], 0.99) / ROUNDS_PS_PER_NS);
	printf(",\n \"parts\": [");
	for (int step = 0; step < N_STEPS; step++) {
		printf("%s{\"name\": \"%s\", ", step ? ",\n " : "", step_names[step]);
		output_distribution_json(&opening->steps[step]);
		putchar('}');
	}
	puts("]}");
}

static void print_text(const struct opening *opening)
{
	printf("%llu channels, one after the other\n\n", (unsigned long long)opening->n);
	output_distribution_head("");
	for (int step = 0; step < N_STEPS; step++)
		output_distribution_text(step_names[step], &opening->steps[step]);
	for (int step = 0; opening->options.histogram && step < N_STEPS; step++)
		output_histogram(step_names[step], &opening->steps[step]);
}

int command_bench_open(int argc, char **argv)
{
	struct opening opening = {.n = 500};
	const struct option_spec specs[] = {
		{"count", OPTION_NUMBER, &opening.n, 1, 1000000, NULL},
		{"broker", OPTION_TEXT, &opening.options.broker, 0, 0, NULL},
		{"histogram", OPTION_FLAG, &opening.options.histogram, 0, 0, NULL},
		{"json", OPTION_FLAG, &opening.options.json, 0, 0, NULL},
	};
	struct ipci_error error = {};
	int status = options_parse("ipc bench open", usage, specs, sizeof(specs) / sizeof(*specs),
				   argc, argv),
	    r;

	if (status >= 0)
		return status;
	r = run(&opening, &error);
	if (r < 0) {
		fprintf(stderr, "ipc: %s\n", error.text);
	} else if (opening.options.json) {
		print_json(&opening);
	} else {
		print_text(&opening);
	}
	for (int step = 0; step < N_STEPS; step++)
		histogram_deinit(&opening.steps[step]);
	stage_die_as_told();
	return r < 0 ? STATUS_FAILED : command_flush(STATUS_OK);
}
