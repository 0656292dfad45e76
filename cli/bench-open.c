// SPDX-License-Identifier: Apache-2.0
/*
 * ipc bench open: opening a channel through a broker, and closing it. Each that was opened is used
 * for one call, outside the clock, so that what is measured is a channel that works.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "clock.h"
#include "command.h"
#include "cpus.h"
#include "echo.h"
#include "stage.h"
#include "stats.h"

#define WARM_UP 20u
#define CALL_BYTES 32u

struct options {
	uint64_t n;
	const char *broker;
	int json;
};

struct samples {
	double *open_ns, *close_ns, *both_ns;
};

static const char usage[] =
	"Usage: ipc bench open [--count N] [--broker PATH] [--json]\n"
	"Measures how long it takes to open a channel to a server in another process through a "
	"broker,\n"
	"and to close it again.\n"
	"\n"
	"  --count N        channels, one after the other; 500 unless given\n"
	"  --broker PATH    the ipc-broker to start, if not the one that came with this program\n"
	"  --json           print the result as data\n"
	"\n"
	"Exit status: 0 well; 1 a failure; 2 a wrong command line.\n";

/* -1 go on; else the exit status. */
static int parse_options(struct options *options, int argc, char **argv)
{
	static const struct option known[] = {
		{"count", required_argument, NULL, 'c'},
		{"broker", required_argument, NULL, 'b'},
		{"json", no_argument, NULL, 'j'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	int option, r = 0;

	while (r == 0 && (option = getopt_long(argc, argv, "", known, NULL)) != -1) {
		switch (option) {
		case 'c':
			r = command_number("--count", optarg, 1, 1000000, &options->n);
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
	return r < 0 ? command_usage("ipc bench open") : -1;
}

/* One channel: opened, used, closed; what that took is added as sample @i. */
static int open_and_close(ipc_loop *loop, struct samples *samples, size_t i,
			  struct ipci_error *error)
{
	uint64_t opening_ns = ipci_now_ns(), opened_ns, closing_ns, closed_ns;
	ipc_channel *channel;
	int r = echo_open(loop, &channel, error);

	if (r < 0)
		return r;
	opened_ns = ipci_now_ns();
	r = echo_call(channel, CALL_BYTES, i);
	closing_ns = ipci_now_ns();
	ipc_channel_free(channel);
	closed_ns = ipci_now_ns();
	if (r != 0)
		return ipci_error_set(error, r < 0 ? r : -EREMOTEIO,
				      "a call on a new channel failed: %s",
				      r < 0 ? strerror(-r) : ipc_status_name(r));
	samples->open_ns[i] = (double)(opened_ns - opening_ns);
	samples->close_ns[i] = (double)(closed_ns - closing_ns);
	samples->both_ns[i] = samples->open_ns[i] + samples->close_ns[i];
	return stage_stop ? -EINTR : 0;
}

static int measure(ipc_loop *loop, size_t n, struct samples *samples, struct ipci_error *error)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < WARM_UP; i++)
		r = open_and_close(loop, samples, 0, error);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = open_and_close(loop, samples, i, error);
	return r;
}

static int run(const struct options *options, struct samples *samples, struct ipci_error *error)
{
	struct echo_server server = {.wait = IPC_WAIT_AUTO};
	struct stage stage = {};
	struct cpus cpus;
	ipc_loop *loop = NULL;
	int r = cpus_choose(&cpus, error);

	server.cpu = cpus.server;
	if (r == 0)
		r = stage_init(&stage, options->broker, ECHO_SERVICE, error);
	if (r == 0)
		r = stage_start_server(&stage, echo_serve, &server, error);
	if (r == 0)
		r = cpus_pin(cpus.client, error);
	if (r == 0)
		r = echo_connect(stage.client_socket, IPC_WAIT_AUTO, &loop, error);
	if (r == 0)
		r = measure(loop, options->n, samples, error);
	if (r < 0)
		stage_explain(&stage, error);
	ipc_loop_free(loop);
	stage_deinit(&stage);
	return r;
}

static int print(const struct options *options, const struct samples *samples)
{
	const struct {
		const char *name;
		double *ns;
	} rows[] = {
		{"open", samples->open_ns},
		{"close", samples->close_ns},
		{"both", samples->both_ns},
	};

	printf(options->json ? "{\"count\": %llu" : "%llu channels, one after the other\n\n",
	       (unsigned long long)options->n);
	if (!options->json)
		printf("%-8s %10s %10s\n", "", "p50", "p99");
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		double p50 = stats_median(rows[i].ns, options->n);
		double p99 = stats_quantile(rows[i].ns, options->n, 0.99);

		if (options->json)
			printf(", \"%s_p50_ns\": %.0f, \"%s_p99_ns\": %.0f", rows[i].name, p50,
			       rows[i].name, p99);
		else
			printf("%-8s %7.1f us %7.1f us\n", rows[i].name, p50 / 1e3, p99 / 1e3);
	}
	if (options->json)
		puts("}");
	return command_flush(STATUS_OK);
}

int command_bench_open(int argc, char **argv)
{
	struct options options = {.n = 500};
	_cleanup_(freep) double *ns = NULL;
	struct ipci_error error = {};
	struct samples samples;
	int status = parse_options(&options, argc, argv), r;

	if (status >= 0)
		return status;
	ns = calloc(3 * options.n, sizeof(*ns));
	if (!ns) {
		fputs("ipc: out of memory\n", stderr);
		return STATUS_FAILED;
	}
	samples = (struct samples){ns, ns + options.n, ns + 2 * options.n};
	r = run(&options, &samples, &error);
	if (r < 0)
		fprintf(stderr, "ipc: %s\n", error.text);
	status = r < 0 ? STATUS_FAILED : print(&options, &samples);
	stage_die_as_told();
	return status;
}
