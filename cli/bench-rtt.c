// SPDX-License-Identifier: Apache-2.0
/*
 * ipc bench rtt: a synchronous call through a real channel, beside raw ping-pong between the same
 * two processes on the same two CPUs, in turns. It checks itself: a call cannot beat its own limit,
 * and blocking calls must have slept; else the figures are of something else, and it fails.
 *
 * ipc bench wake: the same, always asleep, and each message says how long it took to its receiver,
 * which it had to wake.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "command.h"
#include "options.h"
#include "output.h"
#include "pair.h"
#include "raw.h"

#define SLEEPS_MIN 0.95
#define RAW_SLEEPS_MIN 0.90 /* what slept less is the faster for it, and a harder limit */
#define BYTES_MAX 32000u    /* a default ring's largest payload, and a little less */
#define STAMP_BYTES 16u

enum part {
	PART_RAW,
	PART_RAW_LATE, /* the same, looked for in another way; the faster of the two is the limit */
	PART_CALL,
	N_PARTS,
};

enum wait {
	WAIT_SPIN,
	WAIT_FUTEX,
};

struct rtt {
	struct bench_options options;
	uint64_t bytes;
	unsigned int wait;
	bool stamped; /* it is "wake" */
	struct cpus cpus;
	struct pair pair;
	struct raw raw;
	struct rounds rounds;
	struct rounds_part parts[N_PARTS];
	uint64_t seed;
	uint64_t n_raw;
	struct echo_facts client, server;
	struct histogram one_way_raw, one_way_call;
	uint64_t shared_bytes;
	char why[160]; /* it is not valid; "" it is */
};

static const char usage_rtt[] =
	"Usage: ipc bench rtt [--bytes N] [--wait spin|futex] [OPTION]...\n"
	"Measures a synchronous call: two processes, each on a CPU of its own, a channel through "
	"a\n"
	"broker of its own, a payload written and read on both sides. Beside it, in the same run "
	"and in\n"
	"turns, raw ping-pong between the same two: the limit that the machine itself sets.\n"
	"\n"
	"  --bytes N        payload, each way; 32 unless given\n"
	"  --wait spin      both sides spin (this is the default)\n"
	"  --wait futex     both sides sleep in the kernel for each message\n" BENCH_OPTIONS_HELP
	"\n" BENCH_STATUS_HELP;

static const char usage_wake[] =
	"Usage: ipc bench wake [OPTION]...\n"
	"Measures synchronous calls for each of which both sides sleep in the kernel, beside bare\n"
	"ping-pong with futexes, in turns; and how long one message takes to a side that sleeps.\n"
	"\n" BENCH_OPTIONS_HELP "\n" BENCH_STATUS_HELP;

/* ── measuring ── */

static int call_many(struct rtt *rtt, size_t n)
{
	ipc_channel *channel = rtt->pair.channels[0];

	for (; n; n--) {
		int r = rtt->stamped ? echo_stamp(channel, &rtt->one_way_call)
				     : echo_call(channel, rtt->bytes, rtt->seed++);

		if (__builtin_expect(r != 0, 0))
			return r;
	}
	return stage_stop ? -EINTR : 0;
}

static int work(void *context, size_t part, size_t n, size_t total)
{
	struct rtt *rtt = context;
	bool late = part == PART_RAW_LATE;

	if (part == PART_CALL)
		return call_many(rtt, n);
	if (n)
		return raw_ping(&rtt->raw, (unsigned int)n, late);
	rtt->n_raw += total;
	return echo_play(rtt->pair.channels[0], late, (uint32_t)total, &rtt->server);
}

/* In the server's process. */
static int play_raw(void *context, uint32_t late, uint32_t n)
{
	struct rtt *rtt = context;

	return raw_echo(&rtt->raw, n, late);
}

static int prepare(struct rtt *rtt, struct ipci_error *error)
{
	bool blocking = rtt->wait == WAIT_FUTEX;
	struct rounds_plan plan = {
		.parts = rtt->parts,
		.n_parts = N_PARTS,
		.n_rounds = rtt->options.n_rounds,
		.n_batches = blocking ? 16 : 64,
		.batch = 16,
		.n_singles = 256,
		.ratio_min = blocking ? 0 : ROUNDS_RATIO_MIN,
	};
	int r;

	rtt->parts[PART_RAW] = (struct rounds_part){.name = "raw"};
	rtt->parts[PART_RAW_LATE] = (struct rounds_part){.name = "raw, late", .off = blocking};
	rtt->parts[PART_CALL] = (struct rounds_part){
		.name = "call", .limits = 1u << PART_RAW | 1u << PART_RAW_LATE};
	if (plan.n_rounds == 0)
		plan.n_rounds = blocking ? 100 : 500;
	plan.n_warm_up = plan.n_rounds / 10 + 1;
	r = cpus_choose(&rtt->cpus, error);
	if (r < 0)
		return r;
	if (rounds_init(&rtt->rounds, &plan) < 0 || histogram_init(&rtt->one_way_raw) < 0 ||
	    histogram_init(&rtt->one_way_call) < 0)
		return ipci_error_set(error, -ENOMEM, "out of memory");
	r = raw_init(&rtt->raw, rtt->bytes, blocking, rtt->stamped, &stage_stop);
	if (r < 0)
		return ipci_error_set(error, r, "cannot share memory: %s", strerror(-r));
	return 0;
}

static int connect_both(struct rtt *rtt, struct ipci_error *error)
{
	const struct pair_plan plan = {
		.broker = rtt->options.broker,
		.cpus = rtt->cpus,
		.wait = rtt->wait == WAIT_FUTEX ? IPC_WAIT_FUTEX : IPC_WAIT_SPIN,
		.server = {.play = play_raw, .play_context = rtt},
		.n_channels = 1,
	};
	int r = pair_init(&rtt->pair, &plan, error);

	if (rtt->stamped)
		rtt->raw.one_way = &rtt->one_way_raw;
	return r < 0 ? r : cpus_pin(rtt->cpus.client, error);
}

/* What a side counted while the rounds ran. */
static void subtract(struct echo_facts *facts, const struct echo_facts *before)
{
	facts->n_calls -= before->n_calls;
	facts->n_sleeps -= before->n_sleeps;
	facts->n_wakes -= before->n_wakes;
}

static int measure(struct rtt *rtt, struct ipci_error *error)
{
	struct ipc_channel_info info = {.size = sizeof(info)};
	ipc_channel *channel = rtt->pair.channels[0];
	struct echo_facts client, server;
	int r = echo_play(channel, 0, 0, &server);

	if (r == 0)
		r = echo_facts(channel, &client);
	if (r == 0)
		r = rounds_run(&rtt->rounds, work, rtt);
	if (r == 0)
		r = echo_facts(channel, &rtt->client);
	if (r == 0)
		r = echo_play(channel, 0, 0, &rtt->server);
	if (r == 0)
		r = ipc_channel_info(channel, &info);
	if (r != 0)
		return echo_error(r, error);
	subtract(&rtt->client, &client);
	subtract(&rtt->server, &server);
	rtt->shared_bytes = info.shared_bytes;
	return 0;
}

/* ── reporting ── */

struct sleeps {
	double client, server, raw, wakes; /* a call; of the raw, a ping-pong */
};

static struct sleeps sleeps_of(const struct rtt *rtt)
{
	double n_calls = (double)rtt->client.n_calls;

	return (struct sleeps){
		.client = (double)rtt->client.n_sleeps / n_calls,
		.server = (double)rtt->server.n_sleeps / (double)rtt->server.n_calls,
		.raw = (double)rtt->raw.n_sleeps / (double)rtt->n_raw,
		.wakes = (double)(rtt->client.n_wakes + rtt->server.n_wakes) / n_calls,
	};
}

static void judge(struct rtt *rtt, const struct sleeps *sleeps)
{
	output_judge(&rtt->rounds, rtt->why, sizeof(rtt->why));
	if (rtt->why[0] || rtt->wait != WAIT_FUTEX)
		return;
	if (sleeps->raw < RAW_SLEEPS_MIN)
		(void)snprintf(rtt->why, sizeof(rtt->why),
			       "the raw side slept only %.3f times a ping-pong", sleeps->raw);
	else if (sleeps->client < SLEEPS_MIN || sleeps->server < SLEEPS_MIN)
		(void)snprintf(rtt->why, sizeof(rtt->why),
			       "it measured spinning: the client slept %.3f times a call, the "
			       "server %.3f",
			       sleeps->client, sleeps->server);
}

static const char *wait_name(const struct rtt *rtt)
{
	return rtt->wait == WAIT_FUTEX ? "futex" : "spin";
}

static void print_quantiles_json(const char *name, double p50_ns, const struct histogram *singles)
{
	printf(" \"%s_p50_ns\": %.1f, \"%s_p99_ns\": %.1f, \"%s_p999_ns\": %.1f,\n", name, p50_ns,
	       name, (double)histogram_quantile(singles, 0.99) / ROUNDS_PS_PER_NS, name,
	       (double)histogram_quantile(singles, 0.999) / ROUNDS_PS_PER_NS);
}

static void print_json(struct rtt *rtt, const struct sleeps *sleeps)
{
	struct rounds_series *call = &rtt->rounds.series[PART_CALL];
	struct rounds_result result;

	rounds_result(&rtt->rounds, PART_CALL, &result);
	printf("{\"bench\": \"%s\", \"bytes\": %llu, \"wait\": \"%s\", \"client_cpu\": %d, "
	       "\"server_cpu\": %d,\n",
	       rtt->stamped ? "wake" : "rtt",
	       (unsigned long long)(rtt->stamped ? STAMP_BYTES : rtt->bytes), wait_name(rtt),
	       rtt->cpus.client, rtt->cpus.server);
	print_quantiles_json("raw", result.limit_ns, &call->limits);
	print_quantiles_json("call", result.p50_ns, &call->singles);
	printf(" \"ratio_median\": %.4f, \"ratio_low\": %.4f, \"ratio_high\": %.4f, "
	       "\"ratio_p25\": %.4f, \"ratio_p75\": %.4f,\n",
	       result.ratio, result.ratio_low, result.ratio_high, result.ratio_p25,
	       result.ratio_p75);
	printf(" \"sleeps_per_call_client\": %.4f, \"sleeps_per_call_server\": %.4f, "
	       "\"sleeps_per_raw\": %.4f, \"wakes_per_call\": %.4f,\n",
	       sleeps->client, sleeps->server, sleeps->raw, sleeps->wakes);
	printf(" \"shared_bytes\": %llu, \"valid\": %s,\n ", (unsigned long long)rtt->shared_bytes,
	       rtt->why[0] ? "false" : "true");
	if (rtt->stamped) {
		printf("\"one_way\": [{\"name\": \"raw\", ");
		output_distribution_json(&rtt->one_way_raw);
		printf("},\n {\"name\": \"call\", ");
		output_distribution_json(&rtt->one_way_call);
		printf("}],\n ");
	}
	output_rounds_json(&rtt->rounds);
	puts("}");
}

static void print_text(struct rtt *rtt, const struct sleeps *sleeps)
{
	printf("%llu bytes each way, wait %s, %zu rounds, client on CPU %d, server on CPU %d\n\n",
	       (unsigned long long)(rtt->stamped ? STAMP_BYTES : rtt->bytes), wait_name(rtt),
	       rtt->rounds.n, rtt->cpus.client, rtt->cpus.server);
	output_rounds_text(&rtt->rounds);
	printf("%-14s client %.3f, server %.3f a call; raw %.3f; wakes %.3f a call\n", "sleeps",
	       sleeps->client, sleeps->server, sleeps->raw, sleeps->wakes);
	printf("%-14s %llu bytes shared a channel\n", "memory",
	       (unsigned long long)rtt->shared_bytes);
	if (rtt->stamped) {
		putchar('\n');
		output_distribution_head("one way");
		output_distribution_text("raw", &rtt->one_way_raw);
		output_distribution_text("call", &rtt->one_way_call);
	}
	if (!rtt->options.histogram)
		return;
	output_histograms(&rtt->rounds);
	if (rtt->stamped) {
		output_histogram("raw, one way", &rtt->one_way_raw);
		output_histogram("call, one way", &rtt->one_way_call);
	}
}

static int print(struct rtt *rtt)
{
	struct sleeps sleeps = sleeps_of(rtt);

	judge(rtt, &sleeps);
	if (rtt->options.json)
		print_json(rtt, &sleeps);
	else
		print_text(rtt, &sleeps);
	return output_verdict(rtt->why);
}

static int run(struct rtt *rtt)
{
	struct ipci_error error = {};
	int status, r = prepare(rtt, &error);

	if (r == 0)
		r = connect_both(rtt, &error);
	if (r == 0)
		r = measure(rtt, &error);
	if (r < 0)
		stage_explain(&rtt->pair.stage, &error);
	pair_deinit(&rtt->pair);
	if (r < 0)
		fprintf(stderr, "ipc: %s\n", error.text);
	status = r < 0 ? STATUS_FAILED : print(rtt);
	raw_deinit(&rtt->raw);
	rounds_deinit(&rtt->rounds);
	histogram_deinit(&rtt->one_way_raw);
	histogram_deinit(&rtt->one_way_call);
	stage_die_as_told();
	return status;
}

int command_bench_rtt(int argc, char **argv)
{
	static const char *const waits[] = {"spin", "futex", NULL};
	struct rtt rtt = {.bytes = 32};
	const struct option_spec specs[] = {
		{"bytes", OPTION_NUMBER, &rtt.bytes, 0, BYTES_MAX, NULL},
		{"wait", OPTION_CHOICE, &rtt.wait, 0, 0, waits},
		BENCH_OPTIONS(&rtt.options),
	};
	int status = options_parse("ipc bench rtt", usage_rtt, specs,
				   sizeof(specs) / sizeof(*specs), argc, argv);

	return status >= 0 ? status : run(&rtt);
}

int command_bench_wake(int argc, char **argv)
{
	struct rtt rtt = {.wait = WAIT_FUTEX, .stamped = true};
	const struct option_spec specs[] = {BENCH_OPTIONS(&rtt.options)};
	int status = options_parse("ipc bench wake", usage_wake, specs,
				   sizeof(specs) / sizeof(*specs), argc, argv);

	return status >= 0 ? status : run(&rtt);
}
