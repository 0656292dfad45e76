// SPDX-License-Identifier: Apache-2.0
/*
 * ipc bench rtt: a synchronous call through a real channel, beside raw ping-pong between the same
 * two processes on the same two CPUs, in turns. It checks itself: a call cannot beat its own limit,
 * and blocking calls must have slept; else the figures are of something else, and it fails.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "command.h"
#include "cpus.h"
#include "echo.h"
#include "raw.h"
#include "rounds.h"
#include "stage.h"

#define RATIO_MIN 0.98
#define SLEEPS_MIN 0.95
#define RAW_SLEEPS_MIN 0.90 /* what slept less is the faster for it, and a harder limit */
#define BYTES_MAX 32000u    /* a default ring's largest payload, and a little less */

struct options {
	uint64_t bytes, n_rounds;
	enum ipc_wait wait;
	const char *broker;
	int json;
};

struct rtt {
	struct options options;
	struct cpus cpus;
	struct stage stage;
	struct raw raw;
	struct rounds rounds;
	ipc_loop *loop;
	ipc_channel *channel;
	uint64_t seed;
	uint64_t n_raw;
	struct echo_facts client, server;
	uint64_t shared_bytes;
};

static const char usage[] =
	"Usage: ipc bench rtt [--bytes N] [--wait spin|futex] [--rounds N] [--broker PATH] "
	"[--json]\n"
	"Measures a synchronous call: two processes, each on a CPU of its own, a channel through "
	"a\n"
	"broker of its own, a payload written and read on both sides. Beside it, in the same run "
	"and "
	"in\n"
	"turns, raw ping-pong between the same two: the limit that the machine itself sets.\n"
	"\n"
	"  --bytes N        payload, each way; 32 unless given\n"
	"  --wait spin      both sides spin (this is the default)\n"
	"  --wait futex     both sides sleep in the kernel for each message\n"
	"  --rounds N       rounds that count; 500 spinning, 100 sleeping, unless given\n"
	"  --broker PATH    the ipc-broker to start, if not the one that came with this program\n"
	"  --json           print the result as data\n"
	"\n"
	"Exit status: 0 well; 1 a failure; 2 a wrong command line; 3 a measurement that is not "
	"valid.\n";

static int parse_wait(const char *text, enum ipc_wait *ret)
{
	if (strcmp(text, "spin") == 0) {
		*ret = IPC_WAIT_SPIN;
	} else if (strcmp(text, "futex") == 0) {
		*ret = IPC_WAIT_FUTEX;
	} else {
		fprintf(stderr, "ipc: --wait: expected \"spin\" or \"futex\", not \"%s\"\n", text);
		return -EINVAL;
	}
	return 0;
}

/* -1 go on; else the exit status. */
static int parse_options(struct options *options, int argc, char **argv)
{
	static const struct option known[] = {
		{"bytes", required_argument, NULL, 'n'},
		{"wait", required_argument, NULL, 'w'},
		{"rounds", required_argument, NULL, 'r'},
		{"broker", required_argument, NULL, 'b'},
		{"json", no_argument, NULL, 'j'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	int option, r = 0;

	while (r == 0 && (option = getopt_long(argc, argv, "", known, NULL)) != -1) {
		switch (option) {
		case 'n':
			r = command_number("--bytes", optarg, 0, BYTES_MAX, &options->bytes);
			break;
		case 'w':
			r = parse_wait(optarg, &options->wait);
			break;
		case 'r':
			r = command_number("--rounds", optarg, 1, 10000, &options->n_rounds);
			break;
		case 'b':
			options->broker = optarg;
			break;
		case 'j':
			options->json = 1;
			break;
		case 'h':
			fputs(usage, stdout);
			return command_flush(STATUS_OK);
		default:
			r = -EINVAL;
		}
	}
	if (r == 0 && optind < argc) {
		fprintf(stderr, "ipc: unexpected argument \"%s\"\n", argv[optind]);
		r = -EINVAL;
	}
	return r < 0 ? command_usage("ipc bench rtt") : -1;
}

/* ── measuring ── */

static int call_many(struct rtt *rtt, size_t n)
{
	for (; n; n--) {
		int r = echo_call(rtt->channel, rtt->options.bytes, rtt->seed++);

		if (__builtin_expect(r != 0, 0))
			return r;
	}
	return stage_stop ? -EINTR : 0;
}

static int work(void *context, enum rounds_part part, size_t n, size_t total)
{
	struct rtt *rtt = context;
	bool late = part == ROUNDS_RAW_LATE;

	if (part == ROUNDS_CALL)
		return call_many(rtt, n);
	if (n)
		return raw_ping(&rtt->raw, (unsigned int)n, late);
	rtt->n_raw += total;
	return echo_raw(rtt->channel, (uint32_t)total | (late ? ECHO_RAW_LATE : 0), &rtt->server);
}

static int prepare(struct rtt *rtt, struct ipci_error *error)
{
	const struct options *options = &rtt->options;
	bool blocking = options->wait == IPC_WAIT_FUTEX;
	struct rounds_plan plan = {
		.n_rounds = options->n_rounds,
		.n_warm_up = options->n_rounds / 10 + 1,
		.n_batches = blocking ? 16 : 64,
		.batch = 16,
		.n_singles = 256,
		.late = !blocking,
	};
	int r;

	if (plan.n_rounds == 0)
		plan.n_rounds = blocking ? 100 : 500;
	r = cpus_choose(&rtt->cpus, error);
	if (r < 0)
		return r;
	if (rounds_init(&rtt->rounds, &plan) < 0)
		return ipci_error_set(error, -ENOMEM, "out of memory");
	r = raw_init(&rtt->raw, options->bytes, blocking, &stage_stop);
	if (r < 0)
		return ipci_error_set(error, r, "cannot share memory: %s", strerror(-r));
	return stage_init(&rtt->stage, options->broker, ECHO_SERVICE, error);
}

static int connect_both(struct rtt *rtt, struct ipci_error *error)
{
	struct echo_server server = {.wait = rtt->options.wait,
				     .cpu = rtt->cpus.server,
				     .raw = &rtt->raw};
	int r = stage_start_server(&rtt->stage, echo_serve, &server, error);

	/* The server's process has a copy of all of this; what follows is the client's alone. */
	if (r == 0)
		r = cpus_pin(rtt->cpus.client, error);
	if (r == 0)
		r = echo_connect(rtt->stage.client_socket, rtt->options.wait, &rtt->loop, error);
	if (r == 0)
		r = echo_open(rtt->loop, &rtt->channel, error);
	return r;
}

/* What each side counted while the rounds ran. */
static int count(struct rtt *rtt, struct echo_facts *client, struct echo_facts *server)
{
	struct echo_facts before = *client;
	int r = echo_facts(rtt->channel, client);

	if (r == 0)
		r = echo_raw(rtt->channel, 0, server);
	client->n_calls -= before.n_calls;
	client->n_sleeps -= before.n_sleeps;
	client->n_wakes -= before.n_wakes;
	return r;
}

static int measure(struct rtt *rtt, struct ipci_error *error)
{
	struct ipc_channel_info info = {.size = sizeof(info)};
	struct echo_facts before;
	int r = echo_raw(rtt->channel, 0, &before);

	if (r == 0)
		r = echo_facts(rtt->channel, &rtt->client);
	if (r == 0)
		r = rounds_run(&rtt->rounds, work, rtt);
	if (r == 0)
		r = count(rtt, &rtt->client, &rtt->server);
	if (r == 0)
		r = ipc_channel_info(rtt->channel, &info);
	if (r == -EBADMSG)
		return ipci_error_set(error, r, "a payload arrived that is not what was sent");
	if (r != 0)
		return ipci_error_set(error, r < 0 ? r : -EREMOTEIO, "a call failed: %s",
				      r < 0 ? strerror(-r) : ipc_status_name(r));
	rtt->shared_bytes = info.shared_bytes;
	rtt->server.n_calls -= before.n_calls;
	rtt->server.n_sleeps -= before.n_sleeps;
	rtt->server.n_wakes -= before.n_wakes;
	return 0;
}

/* ── reporting ── */

struct report {
	struct rounds_result result;
	double client_sleeps, server_sleeps, wakes,
		raw_sleeps; /* a call; of the raw, a ping-pong */
	char why[160];	    /* it is not valid; "" it is */
};

static void judge(const struct rtt *rtt, struct report *report)
{
	bool blocking = rtt->options.wait == IPC_WAIT_FUTEX;

	/* Asleep, both take what the scheduler gives: there the whole interval must be below. */
	if ((blocking ? report->result.ratio_high : report->result.ratio) < RATIO_MIN)
		(void)snprintf(report->why, sizeof(report->why),
			       "a call cannot take %.3f times its own limit", report->result.ratio);
	else if (blocking && report->raw_sleeps < RAW_SLEEPS_MIN)
		(void)snprintf(report->why, sizeof(report->why),
			       "the raw side slept only %.3f times a ping-pong",
			       report->raw_sleeps);
	else if (blocking &&
		 (report->client_sleeps < SLEEPS_MIN || report->server_sleeps < SLEEPS_MIN))
		(void)snprintf(report->why, sizeof(report->why),
			       "it measured spinning: the client slept %.3f times a call, the "
			       "server %.3f",
			       report->client_sleeps, report->server_sleeps);
}

static void fill(struct rtt *rtt, struct report *report)
{
	const struct echo_facts *client = &rtt->client, *server = &rtt->server;

	*report = (struct report){};
	rounds_result(&rtt->rounds, &report->result);
	report->client_sleeps = (double)client->n_sleeps / (double)client->n_calls;
	report->server_sleeps = (double)server->n_sleeps / (double)server->n_calls;
	report->wakes = (double)(client->n_wakes + server->n_wakes) / (double)client->n_calls;
	report->raw_sleeps = (double)rtt->raw.n_sleeps / (double)rtt->n_raw;
	judge(rtt, report);
}

static const char *wait_name(const struct rtt *rtt)
{
	return rtt->options.wait == IPC_WAIT_FUTEX ? "futex" : "spin";
}

static void print_json(const struct rtt *rtt, const struct report *report)
{
	const struct rounds_result *result = &report->result;

	printf("{\"bytes\": %llu, \"wait\": \"%s\", \"rounds\": %zu, \"client_cpu\": %d, "
	       "\"server_cpu\": %d,\n",
	       (unsigned long long)rtt->options.bytes, wait_name(rtt), rtt->rounds.n,
	       rtt->cpus.client, rtt->cpus.server);
	printf(" \"raw_p50_ns\": %.1f, \"raw_p99_ns\": %.1f, \"raw_p999_ns\": %.1f,\n",
	       result->p50_ns[ROUNDS_RAW], result->p99_ns[ROUNDS_RAW], result->p999_ns[ROUNDS_RAW]);
	printf(" \"call_p50_ns\": %.1f, \"call_p99_ns\": %.1f, \"call_p999_ns\": %.1f,\n",
	       result->p50_ns[ROUNDS_CALL], result->p99_ns[ROUNDS_CALL],
	       result->p999_ns[ROUNDS_CALL]);
	printf(" \"ratio_median\": %.4f, \"ratio_low\": %.4f, \"ratio_high\": %.4f, "
	       "\"ratio_p25\": %.4f, \"ratio_p75\": %.4f,\n",
	       result->ratio, result->ratio_low, result->ratio_high, result->ratio_p25,
	       result->ratio_p75);
	printf(" \"sleeps_per_call_client\": %.4f, \"sleeps_per_call_server\": %.4f, "
	       "\"sleeps_per_raw\": %.4f, \"wakes_per_call\": %.4f,\n",
	       report->client_sleeps, report->server_sleeps, report->raw_sleeps, report->wakes);
	printf(" \"shared_bytes\": %llu, \"valid\": %s}\n", (unsigned long long)rtt->shared_bytes,
	       report->why[0] ? "false" : "true");
}

static void print_text(const struct rtt *rtt, const struct report *report)
{
	const struct rounds_result *result = &report->result;
	static const char *const names[] = {[ROUNDS_RAW] = "raw", [ROUNDS_CALL] = "call"};

	printf("%llu bytes each way, wait %s, %zu rounds, client on CPU %d, server on CPU %d\n\n",
	       (unsigned long long)rtt->options.bytes, wait_name(rtt), rtt->rounds.n,
	       rtt->cpus.client, rtt->cpus.server);
	printf("%-8s %10s %10s %10s\n", "", "p50", "p99", "p99.9");
	for (int part = 0; part < ROUNDS_N_PARTS; part++)
		if (names[part])
			printf("%-8s %7.0f ns %7.0f ns %7.0f ns\n", names[part],
			       result->p50_ns[part], result->p99_ns[part], result->p999_ns[part]);
	printf("\nratio    %.3f (95 %% confidence %.3f to %.3f; half of the rounds %.3f to %.3f)\n",
	       result->ratio, result->ratio_low, result->ratio_high, result->ratio_p25,
	       result->ratio_p75);
	printf("sleeps   client %.3f, server %.3f a call; raw %.3f; wakes %.3f a call\n",
	       report->client_sleeps, report->server_sleeps, report->raw_sleeps, report->wakes);
	printf("memory   %llu bytes shared a channel\n", (unsigned long long)rtt->shared_bytes);
}

static int print(struct rtt *rtt)
{
	struct report report;

	fill(rtt, &report);
	if (rtt->options.json)
		print_json(rtt, &report);
	else
		print_text(rtt, &report);
	if (report.why[0])
		fprintf(stderr, "ipc: the measurement is not valid: %s\n", report.why);
	return command_flush(report.why[0] ? STATUS_INVALID : STATUS_OK);
}

int command_bench_rtt(int argc, char **argv)
{
	struct rtt rtt = {.options = {.bytes = 32, .wait = IPC_WAIT_SPIN}};
	struct ipci_error error = {};
	int status = parse_options(&rtt.options, argc, argv), r;

	if (status >= 0)
		return status;
	r = prepare(&rtt, &error);
	if (r == 0)
		r = connect_both(&rtt, &error);
	if (r == 0)
		r = measure(&rtt, &error);
	if (r < 0)
		stage_explain(&rtt.stage, &error);
	ipc_loop_free(rtt.loop);
	stage_deinit(&rtt.stage);
	if (r < 0)
		fprintf(stderr, "ipc: %s\n", error.text);
	status = r < 0 ? STATUS_FAILED : print(&rtt);
	raw_deinit(&rtt.raw);
	rounds_deinit(&rtt.rounds);
	stage_die_as_told();
	return status;
}
