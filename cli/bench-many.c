// SPDX-License-Identifier: Apache-2.0
/*
 * ipc bench many: one channel in use among N of a server, for several N in turns, each a server
 * with a broker of its own. What one call costs must not depend on how many channels lie idle.
 */
#include <errno.h>
#include <stdio.h>

#include "command.h"
#include "options.h"
#include "output.h"
#include "pair.h"

#define STEPS 4u
#define RING_BYTES 4096u /* the smallest: thousands of them are to fit */
#define CALL_BYTES 32u

struct many {
	struct bench_options options;
	uint64_t n_channels_max;
	uint64_t n_channels[STEPS];
	char names[STEPS][24];
	struct rounds_part parts[STEPS];
	struct pair pairs[STEPS];
	struct cpus cpus;
	struct rounds rounds;
	uint64_t seed;
};

static const char usage[] =
	"Usage: ipc bench many [--channels N] [OPTION]...\n"
	"Measures a call over one channel while a server holds N of them: for N = 1, as the limit, "
	"and\n"
	"for growing N, in turns.\n"
	"\n"
	"  --channels N     the most; 4000 unless given\n" BENCH_OPTIONS_HELP
	"\n" BENCH_STATUS_HELP;

static int work(void *context, size_t part, size_t n, size_t total)
{
	struct many *many = context;
	struct pair *pair = &many->pairs[part];
	/* Neither the first nor the last that was opened. */
	ipc_channel *channel = pair->channels[pair->n_channels / 2];

	(void)total;
	for (; n; n--) {
		int r = echo_call(channel, CALL_BYTES, many->seed++);

		if (__builtin_expect(r != 0, 0))
			return r;
	}
	return stage_stop ? -EINTR : 0;
}

/* 1, the most, and two between, each as many times more than the one before. */
static void choose_steps(struct many *many)
{
	uint64_t most = many->n_channels_max;
	const uint64_t wanted[STEPS] = {1, most / 256, most / 16, most};

	for (size_t step = 0; step < STEPS; step++) {
		struct rounds_part *part = &many->parts[step];

		many->n_channels[step] = wanted[step];
		part->off = step && wanted[step] <= many->n_channels[step - 1];
		if (part->off)
			many->n_channels[step] = many->n_channels[step - 1];
		(void)snprintf(many->names[step], sizeof(many->names[step]), "1 of %llu",
			       (unsigned long long)wanted[step]);
		part->name = many->names[step];
		part->limits = step ? 1u : 0;
	}
}

static int prepare(struct many *many, struct ipci_error *error)
{
	struct rounds_plan plan = {
		.parts = many->parts,
		.n_parts = STEPS,
		.n_rounds = many->options.n_rounds ? many->options.n_rounds : 100,
		.n_batches = 32,
		.batch = 32,
		.n_singles = 128,
		.meet = 1024, /* until the server before has gone to sleep */
	};
	int r;

	choose_steps(many);
	plan.n_warm_up = plan.n_rounds / 10 + 1;
	r = cpus_choose(&many->cpus, error);
	if (r == 0 && rounds_init(&many->rounds, &plan) < 0)
		r = ipci_error_set(error, -ENOMEM, "out of memory");
	return r;
}

static int connect_all(struct many *many, struct ipci_error *error)
{
	int r = 0;

	pair_raise_limits();
	for (size_t step = 0; r == 0 && step < STEPS; step++) {
		const struct pair_plan plan = {
			.broker = many->options.broker,
			.cpus = many->cpus,
			.wait = IPC_WAIT_AUTO,
			.server = {.ring_bytes = RING_BYTES, .max_calls = 4},
			.opens = {.ring_bytes = RING_BYTES, .max_calls = 4},
			.n_channels = many->n_channels[step],
		};

		if (!many->parts[step].off)
			r = pair_init(&many->pairs[step], &plan, error);
	}
	return r < 0 ? r : cpus_pin(many->cpus.client, error);
}

static int run(struct many *many, struct ipci_error *error)
{
	int r = prepare(many, error);

	if (r == 0)
		r = connect_all(many, error);
	if (r == 0)
		r = echo_error(rounds_run(&many->rounds, work, many), error);
	for (size_t step = 0; step < STEPS; step++) {
		if (r < 0)
			stage_explain(&many->pairs[step].stage, error);
		pair_deinit(&many->pairs[step]);
	}
	return r;
}

static int print(struct many *many)
{
	if (many->options.json) {
		printf("{\"bench\": \"many\", \"channels\": %llu, \"bytes\": %u, \"client_cpu\": "
		       "%d, "
		       "\"server_cpu\": %d, \"valid\": true,\n ",
		       (unsigned long long)many->n_channels_max, CALL_BYTES, many->cpus.client,
		       many->cpus.server);
		output_rounds_json(&many->rounds);
		puts("}");
		return command_flush(STATUS_OK);
	}
	printf("%u bytes each way over one of N channels, %zu rounds, client on CPU %d, server on "
	       "CPU %d\n\n",
	       CALL_BYTES, many->rounds.n, many->cpus.client, many->cpus.server);
	output_rounds_text(&many->rounds);
	if (many->options.histogram)
		output_histograms(&many->rounds);
	return command_flush(STATUS_OK);
}

int command_bench_many(int argc, char **argv)
{
	struct many many = {.n_channels_max = 4000};
	const struct option_spec specs[] = {
		{"channels", OPTION_NUMBER, &many.n_channels_max, 2, 15000, NULL},
		BENCH_OPTIONS(&many.options),
	};
	struct ipci_error error = {};
	int status = options_parse("ipc bench many", usage, specs, sizeof(specs) / sizeof(*specs),
				   argc, argv);

	if (status >= 0)
		return status;
	if (run(&many, &error) < 0) {
		fprintf(stderr, "ipc: %s\n", error.text);
		status = STATUS_FAILED;
	} else {
		status = print(&many);
	}
	rounds_deinit(&many.rounds);
	stage_die_as_told();
	return status;
}
