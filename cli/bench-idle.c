// SPDX-License-Identifier: Apache-2.0
/*
 * ipc bench idle: what channels cost that nobody uses. Each was used once, so that nothing is left
 * to be set up; then client, server and broker are left alone for some seconds.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "clock.h"
#include "command.h"
#include "options.h"
#include "pair.h"
#include "usage.h"

#define CALL_BYTES 32u
#define SETTLE_NS (500 * (int64_t)IPCI_NS_PER_MS)

enum process {
	CLIENT,
	SERVER,
	BROKER,
	N_PROCESSES,
};

static const char *const names[N_PROCESSES] = {"client", "server", "broker"};

struct idle {
	struct bench_options options;
	uint64_t n_channels, seconds;
	struct pair pair;
	pid_t pids[N_PROCESSES];
	uint64_t cpu_ns[N_PROCESSES], elapsed_ns;
	uint64_t private_before[N_PROCESSES], private_after[N_PROCESSES];
	uint64_t configured_bytes, shared_bytes, others_before, others_after;
};

static const char usage[] =
	"Usage: ipc bench idle [--channels N] [--seconds N] [OPTION]...\n"
	"Opens channels, uses each once, leaves them alone, and tells what client, server and "
	"broker\n"
	"then use of the CPUs, and how much memory the channels hold.\n"
	"\n"
	"  --channels N     1000 unless given\n"
	"  --seconds N      how long to look; 5 unless given\n"
	"  --broker PATH    the ipc-broker to start, if not the one that came with this program\n"
	"  --json           print the result as data\n"
	"\n" BENCH_STATUS_HELP;

/* Nothing comes: 0, else -errno. */
static int stay_idle(struct idle *idle, int64_t ns)
{
	struct ipc_event event;
	int r = ipc_loop_next(idle->pair.loop, &event, ns);

	if (r == 1)
		return -EPROTO;
	return r == 0 && stage_stop ? -EINTR : r;
}

static int use_each(struct idle *idle)
{
	struct ipc_channel_info info = {.size = sizeof(info)};
	int r = 0;

	for (size_t i = 0; r == 0 && i < idle->pair.n_channels; i++) {
		ipc_channel *channel = idle->pair.channels[i];

		r = echo_call(channel, CALL_BYTES, i);
		if (r == 0)
			r = ipc_channel_info(channel, &info);
		idle->configured_bytes += info.shared_bytes;
	}
	return r;
}

/* What each has used of a CPU from now on, by being called twice. */
static int count_cpu(struct idle *idle)
{
	for (int i = 0; i < N_PROCESSES; i++) {
		uint64_t ns;
		int r = usage_cpu_ns(idle->pids[i], &ns);

		if (r < 0)
			return r;
		idle->cpu_ns[i] = ns - idle->cpu_ns[i];
	}
	idle->elapsed_ns = ipci_now_ns() - idle->elapsed_ns;
	return 0;
}

static int count_private(const struct idle *idle, uint64_t ret[N_PROCESSES])
{
	int r = 0;

	for (int i = 0; r == 0 && i < N_PROCESSES; i++)
		r = usage_private_bytes(idle->pids[i], &ret[i]);
	return r;
}

static int measure(struct idle *idle, struct ipci_error *error)
{
	int r = echo_error(use_each(idle), error);

	if (r < 0)
		return r;
	r = stay_idle(idle, SETTLE_NS);
	if (r == 0)
		r = count_cpu(idle);
	if (r == 0)
		r = stay_idle(idle, (int64_t)(idle->seconds * IPCI_NS_PER_S));
	if (r == 0)
		r = count_cpu(idle);
	if (r == 0)
		r = count_private(idle, idle->private_after);
	if (r == 0)
		r = usage_shared_bytes(idle->pids, N_PROCESSES, &idle->shared_bytes,
				       &idle->others_after);
	return r < 0 ? ipci_error_set(error, r, "cannot stay idle and look: %s", strerror(-r)) : 0;
}

/* Before there is any channel: one opened and closed, and what there is then. */
static int look_before(struct idle *idle, struct ipci_error *error)
{
	ipc_channel *channel;
	uint64_t halves;
	int r = echo_open(idle->pair.loop, NULL, &channel, error);

	if (r < 0)
		return r;
	r = echo_error(echo_call(channel, CALL_BYTES, 0), error);
	ipc_channel_free(channel);
	if (r < 0)
		return r;
	r = count_private(idle, idle->private_before);
	if (r == 0)
		r = usage_shared_bytes(idle->pids, N_PROCESSES, &halves, &idle->others_before);
	return r < 0 ? ipci_error_set(error, r, "cannot look into /proc: %s", strerror(-r)) : 0;
}

static int run(struct idle *idle, struct ipci_error *error)
{
	struct pair_plan plan = {.broker = idle->options.broker, .wait = IPC_WAIT_AUTO};
	int r = cpus_choose(&plan.cpus, error);

	if (r < 0)
		return r;
	pair_raise_limits();
	r = pair_init(&idle->pair, &plan, error);
	if (r == 0)
		r = cpus_pin(plan.cpus.client, error);
	idle->pids[CLIENT] = getpid();
	idle->pids[SERVER] = idle->pair.stage.children[0];
	idle->pids[BROKER] = idle->pair.stage.broker;
	if (r == 0)
		r = look_before(idle, error);
	if (r == 0)
		r = pair_open(&idle->pair, NULL, idle->n_channels, error);
	if (r == 0)
		r = measure(idle, error);
	if (r < 0)
		stage_explain(&idle->pair.stage, error);
	pair_deinit(&idle->pair);
	return r;
}

/* ── reporting ── */

static double percent(const struct idle *idle, int process)
{
	return 100 * (double)idle->cpu_ns[process] / (double)idle->elapsed_ns;
}

/* Private memory that a channel took. */
static double private_bytes(const struct idle *idle, int process)
{
	return ((double)idle->private_after[process] - (double)idle->private_before[process]) /
	       (double)idle->n_channels;
}

static double percent_of_all(const struct idle *idle)
{
	double sum = 0;

	for (int i = 0; i < N_PROCESSES; i++)
		sum += percent(idle, i);
	return sum;
}

static int print(const struct idle *idle)
{
	if (idle->options.json) {
		printf("{\"bench\": \"idle\", \"channels\": %llu, \"elapsed_s\": %.3f, \"valid\": "
		       "true",
		       (unsigned long long)idle->n_channels, (double)idle->elapsed_ns / 1e9);
		for (int i = 0; i < N_PROCESSES; i++)
			printf(", \"%s_cpu_percent\": %.5f, \"%s_private_bytes_per_channel\": %.0f",
			       names[i], percent(idle, i), names[i], private_bytes(idle, i));
		printf(",\n \"cpu_percent\": %.5f, \"shared_bytes\": %llu, \"configured_bytes\": "
		       "%llu, \"other_shared_bytes\": %lld}\n",
		       percent_of_all(idle), (unsigned long long)idle->shared_bytes,
		       (unsigned long long)idle->configured_bytes,
		       (long long)(idle->others_after - idle->others_before));
		return command_flush(STATUS_OK);
	}
	printf("%llu channels, left alone for %.1f s\n\n", (unsigned long long)idle->n_channels,
	       (double)idle->elapsed_ns / 1e9);
	printf("%-8s %10s %26s\n", "", "CPU", "private memory a channel");
	for (int i = 0; i < N_PROCESSES; i++)
		printf("%-8s %8.4f %% %20.0f bytes\n", names[i], percent(idle, i),
		       private_bytes(idle, i));
	printf("\nshared memory: %llu bytes in halves, %llu configured; %lld besides\n",
	       (unsigned long long)idle->shared_bytes, (unsigned long long)idle->configured_bytes,
	       (long long)(idle->others_after - idle->others_before));
	return command_flush(STATUS_OK);
}

int command_bench_idle(int argc, char **argv)
{
	struct idle idle = {.n_channels = 1000, .seconds = 5};
	const struct option_spec specs[] = {
		{"channels", OPTION_NUMBER, &idle.n_channels, 1, 4000, NULL},
		{"seconds", OPTION_NUMBER, &idle.seconds, 1, 600, NULL},
		{"broker", OPTION_TEXT, &idle.options.broker, 0, 0, NULL},
		{"json", OPTION_FLAG, &idle.options.json, 0, 0, NULL},
	};
	struct ipci_error error = {};
	int status = options_parse("ipc bench idle", usage, specs, sizeof(specs) / sizeof(*specs),
				   argc, argv);

	if (status >= 0)
		return status;
	if (run(&idle, &error) < 0) {
		fprintf(stderr, "ipc: %s\n", error.text);
		status = STATUS_FAILED;
	} else {
		status = print(&idle);
	}
	stage_die_as_told();
	return status;
}
