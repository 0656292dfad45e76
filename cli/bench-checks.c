// SPDX-License-Identifier: Apache-2.0
/*
 * bench-checks: what it costs that a peer is not trusted. The library twice, as it is and without
 * the checks of what the peer says (libipc/ring/check.h), in modules of their own, in one run and in
 * turns: synchronous calls, and a stream. Never installed, as what trusts its peer is not.
 *
 * The difference is of the order of what it means where in memory a process happened to get its
 * pages, so it is measured with several pairs of processes, one after the other: the price is the
 * median of theirs, and how sure it is comes from how they differ.
 *
 * The copy that is made of a small payload, so that nobody can change it any more, counts too.
 */
#include <errno.h>
#include <stdio.h>

#include "command.h"
#include "options.h"
#include "output.h"
#include "pair.h"
#include "stats.h"

#define CALL_BYTES 32u
#define CALL_MESSAGES 2u /* a call is one there and one back */
#define ROUNDS_A_RUN_MAX 200u
#define N_RUNS 15u /* processes of their own each */

extern const struct echo_ops echo_checked, echo_unchecked;

enum part {
	PART_UNCHECKED,
	PART_CHECKED,
	N_PARTS,
};

struct checks {
	struct bench_options options;
	struct cpus cpus;
	struct pair pairs[N_PARTS];
	struct rounds rounds;
	uint64_t seed;
	double price_ns[N_RUNS];
};

static const char usage[] =
	"Usage: bench-checks [OPTION]...\n"
	"Measures calls with and without the checks of what the peer says, in turns.\n"
	"\n" BENCH_OPTIONS_HELP "\n" BENCH_STATUS_HELP;

static const struct rounds_part parts[N_PARTS] = {
	[PART_UNCHECKED] = {.name = "unchecked"},
	[PART_CHECKED] = {.name = "checked", .limits = 1u << PART_UNCHECKED},
};

static int work(void *context, size_t part, size_t n, size_t total)
{
	struct checks *checks = context;
	struct pair *pair = &checks->pairs[part];

	(void)total;
	for (; n; n--) {
		int r = pair->echo->call(pair->channels[0], CALL_BYTES, checks->seed++);

		if (__builtin_expect(r != 0, 0))
			return r;
	}
	return stage_stop ? -EINTR : 0;
}

static int connect_all(struct checks *checks, bool backwards, struct ipci_error *error)
{
	const struct echo_ops *ops[N_PARTS] = {
		[PART_UNCHECKED] = &echo_unchecked,
		[PART_CHECKED] = &echo_checked,
	};
	int r = 0;

	for (size_t i = 0; r == 0 && i < N_PARTS; i++) {
		size_t part = backwards ? N_PARTS - 1 - i : i;
		const struct pair_plan plan = {
			.broker = checks->options.broker,
			.cpus = checks->cpus,
			.echo = ops[part],
			.wait = IPC_WAIT_AUTO,
			.n_channels = 1,
		};

		r = pair_init(&checks->pairs[part], &plan, error);
	}
	return r < 0 ? r : cpus_pin(checks->cpus.client, error);
}

/* What a message cost more in the rounds since @first. */
static double price_of(const struct rounds *rounds, size_t first)
{
	const struct rounds_series *checked = &rounds->series[PART_CHECKED];
	size_t n = rounds->n - first;
	double differences[ROUNDS_A_RUN_MAX];

	for (size_t i = 0; i < n; i++)
		differences[i] = (checked->p50_ns[first + i] - checked->limits_ns[first + i]) /
				 CALL_MESSAGES;
	return stats_median(differences, n);
}

/* @n_rounds more, with new processes. */
static int run_once(struct checks *checks, size_t run, size_t n_rounds, struct ipci_error *error)
{
	size_t first = checks->rounds.n;
	int r = connect_all(checks, run % 2, error);

	checks->rounds.plan.n_rounds = first + n_rounds;
	if (r == 0)
		r = echo_error(rounds_run(&checks->rounds, work, checks), error);
	if (r == 0)
		checks->price_ns[run] = price_of(&checks->rounds, first);
	for (size_t part = 0; part < N_PARTS; part++) {
		if (r < 0)
			stage_explain(&checks->pairs[part].stage, error);
		pair_deinit(&checks->pairs[part]);
	}
	cpus_release(&checks->cpus);
	return r;
}

static int run(struct checks *checks, struct ipci_error *error)
{
	size_t n_rounds = checks->options.n_rounds;
	const struct rounds_plan plan = {
		.parts = parts,
		.n_parts = N_PARTS,
		.n_rounds = N_RUNS * n_rounds,
		.n_warm_up = n_rounds / 10 + 1,
		.n_batches = 32,
		.batch = 32,
		.n_singles = 128,
		.meet = 1024, /* until the other server has gone to sleep */
	};
	int r = cpus_choose(&checks->cpus, error);

	if (r == 0 && rounds_init(&checks->rounds, &plan) < 0)
		r = ipci_error_set(error, -ENOMEM, "out of memory");
	for (size_t i = 0; r == 0 && i < N_RUNS; i++)
		r = run_once(checks, i, n_rounds, error);
	return r;
}

static int print(struct checks *checks)
{
	double price = stats_median(checks->price_ns, N_RUNS), low, high;

	stats_median_interval(checks->price_ns, N_RUNS, &low, &high);
	if (checks->options.json) {
		printf("{\"bench\": \"checks\", \"bytes\": %u, \"client_cpu\": %d, \"server_cpu\": "
		       "%d, \"valid\": true,\n \"price_ns\": %.3f, \"price_low_ns\": %.3f, "
		       "\"price_high_ns\": %.3f,\n ",
		       CALL_BYTES, checks->cpus.client, checks->cpus.server, price, low, high);
		output_rounds_json(&checks->rounds);
		puts("}");
		return command_flush(STATUS_OK);
	}
	printf("%u bytes each way, %u times %zu rounds, client on CPU %d, server on CPU %d\n\n",
	       CALL_BYTES, N_RUNS, checks->rounds.n / N_RUNS, checks->cpus.client,
	       checks->cpus.server);
	output_rounds_text(&checks->rounds);
	printf("%-14s %.2f ns a message (95 %% confidence %.2f to %.2f)\n", "checks", price, low,
	       high);
	if (checks->options.histogram)
		output_histograms(&checks->rounds);
	return command_flush(STATUS_OK);
}

int main(int argc, char **argv)
{
	struct checks checks = {.options = {.n_rounds = 30}};
	const struct option_spec specs[] = {
		{"broker", OPTION_TEXT, &checks.options.broker, 0, 0, NULL},
		{"rounds", OPTION_NUMBER, &checks.options.n_rounds, 1, ROUNDS_A_RUN_MAX, NULL},
		{"json", OPTION_FLAG, &checks.options.json, 0, 0, NULL},
		{"histogram", OPTION_FLAG, &checks.options.histogram, 0, 0, NULL},
	};
	struct ipci_error error = {};
	int status = options_parse("bench-checks", usage, specs, sizeof(specs) / sizeof(*specs),
				   argc, argv);

	if (status >= 0)
		return status;
	if (run(&checks, &error) < 0) {
		fprintf(stderr, "ipc: %s\n", error.text);
		status = STATUS_FAILED;
	} else {
		status = print(&checks);
	}
	rounds_deinit(&checks.rounds);
	stage_die_as_told();
	return status;
}
