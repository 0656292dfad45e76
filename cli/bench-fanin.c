// SPDX-License-Identifier: Apache-2.0
/*
 * ipc bench fanin: is a polite client starved by one that floods? One process keeps the rings of
 * many channels full, another makes one call at a time, both to one server. What counts is not time
 * but how many of the flood's requests the server takes between the polite request's arrival and
 * its own turn.
 *
 * The server counts the flood's requests in shared memory. The polite client reads the count just
 * before it commits its request, so what it is charged with is a little too much rather than too
 * little; its answer says what the count was when it was served. It calls only while the flood lies
 * deep in the rings, where the flood is faster than the server; how deep is printed, since a queue that is
 * nearly empty would be fair by itself.
 */
#include <errno.h>
#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "clock.h"
#include "command.h"
#include "options.h"
#include "output.h"
#include "pair.h"
/* Of one channel in a row, while others wait: IPCI_TURN_EVENTS in libipc/channel/objects.h. */
#define TURN_FRAMES_MAX 32u

#define FLOOD_CALLS 512u /* in flight on each channel */
#define WARM_UP 20u
#define DEEP_TIMEOUT_NS (5 * IPCI_NS_PER_MS)

struct shared {
	alignas(128) _Atomic uint64_t n_served; /* of the flood: the server's */
	alignas(128) _Atomic uint64_t n_sent;	/* the flooder's */
};

struct fanin {
	struct bench_options options;
	uint64_t n_channels, n_calls;
	struct cpus cpus;
	struct shared *shared;
	struct pair pair;
	struct histogram between, backlog; /* counts of requests */
	struct histogram call;		   /* picoseconds */
};

static const char usage[] =
	"Usage: ipc bench fanin [--channels N] [--calls N] [OPTION]...\n"
	"One process floods a server over many channels, another makes one call at a time. Counts "
	"how\n"
	"many requests of the flood are served between a polite request's arrival and its turn, "
	"beside\n"
	"the bound that the library promises.\n"
	"\n"
	"  --channels N     channels that flood; 64 unless given\n"
	"  --calls N        polite calls; 500 unless given\n"
	"  --broker PATH    the ipc-broker to start, if not the one that came with this program\n"
	"  --histogram      print whole distributions too, as HDR histograms are\n"
	"  --json           print the result as data\n"
	"\n" BENCH_STATUS_HELP;

/* ── the flood ── */

static int fill_channel(struct shared *shared, ipc_channel *channel)
{
	struct ipc_room room;
	ipc_call *call;
	int r;

	while ((r = ipc_begin(channel, ECHO_FLOOD, sizeof(uint64_t), NULL, &call, &room)) == 0) {
		uint64_t n = atomic_load_explicit(&shared->n_sent, memory_order_relaxed);

		memcpy(room.data, &n, sizeof(n));
		r = ipc_commit(call, sizeof(n), IPC_LAST);
		if (r < 0)
			return r;
		/* Relaxed: a count whose only writer is this thread. */
		atomic_store_explicit(&shared->n_sent, n + 1, memory_order_relaxed);
	}
	return r == -EAGAIN ? 0 : r;
}

static int flood_forever(struct shared *shared, ipc_loop *loop, ipc_channel **channels, size_t n)
{
	struct ipc_event event;
	int r = 0;

	for (size_t i = 0; r == 0 && i < n; i++)
		r = fill_channel(shared, channels[i]);
	while (r >= 0 || r == -EINTR) {
		r = ipc_loop_next(loop, &event, -1);
		if (r == 1 && event.channel)
			r = fill_channel(shared, event.channel);
	}
	return r;
}

/* In a process of its own. */
static int flood(const char *socket, void *context)
{
	const struct fanin *fanin = context;
	const struct ipc_open_opts opens = {.size = sizeof(opens), .max_calls = FLOOD_CALLS};
	ipc_channel **channels = calloc(fanin->n_channels, sizeof(*channels));
	struct ipci_error error = {};
	ipc_loop *loop = NULL;
	int r = channels ? cpus_pin(fanin->cpus.client, &error) : -ENOMEM;

	if (r == 0)
		r = echo_connect(socket, IPC_WAIT_AUTO, 0, &loop, &error);
	for (size_t i = 0; r == 0 && i < fanin->n_channels; i++)
		r = echo_open(loop, &opens, &channels[i], &error);
	if (r == 0) {
		r = flood_forever(fanin->shared, loop, channels, fanin->n_channels);
		(void)ipci_error_set(&error, r, "%s", strerror(-r));
	}
	fprintf(stderr, "ipc: the flood: %s\n", error.text);
	ipc_loop_free(loop);
	free(channels);
	return r;
}

/* ── the polite client ── */

static uint64_t bound_of(const struct fanin *fanin)
{
	return 2 * (fanin->n_channels + 1) * TURN_FRAMES_MAX;
}

static uint64_t backlog_now(const struct fanin *fanin)
{
	uint64_t served = atomic_load_explicit(&fanin->shared->n_served, memory_order_relaxed);
	uint64_t sent = atomic_load_explicit(&fanin->shared->n_sent, memory_order_relaxed);

	return sent > served ? sent - served : 0;
}

/*
 * Until half of what the flood may have in flight is; or for a moment, where the server is faster
 * than those who flood it: then there is less to be starved by.
 */
static int wait_until_deep(const struct fanin *fanin, uint64_t *ret)
{
	uint64_t deep = fanin->n_channels * FLOOD_CALLS / 2;
	uint64_t deadline_ns = ipci_deadline_ns(DEEP_TIMEOUT_NS);

	while ((*ret = backlog_now(fanin)) < deep) {
		const struct timespec moment = ipci_timespec(20 * IPCI_NS_PER_US);

		if (stage_stop)
			return -EINTR;
		if (ipci_now_ns() >= deadline_ns)
			break;
		(void)nanosleep(&moment, NULL);
	}
	return 0;
}

static int call_politely(struct fanin *fanin, bool counts)
{
	ipc_channel *channel = fanin->pair.channels[0];
	uint64_t backlog, before, after, begun_ns = 0;
	struct ipc_room room;
	struct ipc_msg msg;
	ipc_call *call;
	int r = wait_until_deep(fanin, &backlog);

	if (r == 0)
		r = ipc_begin(channel, ECHO_POLITE, 0, NULL, &call, &room);
	if (r == 0) {
		begun_ns = ipci_now_ns();
		before = atomic_load_explicit(&fanin->shared->n_served, memory_order_relaxed);
		r = ipc_transact(call, 0, &msg);
	}
	if (r != 0)
		return r;
	if (msg.size_bytes != sizeof(after))
		return -EBADMSG;
	memcpy(&after, msg.data, sizeof(after));
	if (counts) {
		histogram_add(&fanin->call, (ipci_now_ns() - begun_ns) * ROUNDS_PS_PER_NS);
		histogram_add(&fanin->between, after - before);
		histogram_add(&fanin->backlog, backlog);
	}
	return stage_stop ? -EINTR : 0;
}

static int measure(struct fanin *fanin, struct ipci_error *error)
{
	int r = 0;

	for (uint64_t i = 0; r == 0 && i < WARM_UP + fanin->n_calls; i++)
		r = call_politely(fanin, i >= WARM_UP);
	if (r == -ETIMEDOUT)
		return ipci_error_set(error, r, "the flood never filled its channels");
	return echo_error(r, error);
}

static int prepare(struct fanin *fanin, struct ipci_error *error)
{
	fanin->shared = mmap(NULL, sizeof(*fanin->shared), PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (fanin->shared == MAP_FAILED) {
		fanin->shared = NULL;
		return ipci_error_errno(error, "cannot share memory");
	}
	if (histogram_init(&fanin->between) < 0 || histogram_init(&fanin->backlog) < 0 ||
	    histogram_init(&fanin->call) < 0)
		return ipci_error_set(error, -ENOMEM, "out of memory");
	pair_raise_limits();
	return cpus_choose(&fanin->cpus, error);
}

static int run(struct fanin *fanin, struct ipci_error *error)
{
	struct pair_plan plan = {.broker = fanin->options.broker,
				 .wait = IPC_WAIT_AUTO,
				 .server = {.max_calls = FLOOD_CALLS},
				 .n_channels = 1};
	int r = prepare(fanin, error);

	if (r < 0)
		return r;
	plan.cpus = fanin->cpus;
	plan.server.n_flood = &fanin->shared->n_served;
	r = pair_init(&fanin->pair, &plan, error);
	if (r == 0)
		r = stage_start(&fanin->pair.stage, fanin->pair.stage.client_socket, flood, fanin,
				error);
	if (r == 0)
		r = cpus_pin(fanin->cpus.client, error);
	if (r == 0)
		r = measure(fanin, error);
	if (r < 0)
		stage_explain(&fanin->pair.stage, error);
	pair_deinit(&fanin->pair);
	return r;
}

/* ── reporting ── */

static unsigned long long share_of(const struct histogram *counts, double share)
{
	return histogram_quantile(counts, share);
}

static int print(const struct fanin *fanin)
{
	const struct histogram *between = &fanin->between;
	unsigned long long bound = bound_of(fanin);

	if (fanin->options.json) {
		printf("{\"bench\": \"fanin\", \"channels\": %llu, \"calls\": %llu, "
		       "\"frames_per_turn\": %u, \"bound\": %llu, \"valid\": true,\n",
		       (unsigned long long)fanin->n_channels, (unsigned long long)fanin->n_calls,
		       TURN_FRAMES_MAX, bound);
		printf(" \"between_p50\": %llu, \"between_p99\": %llu, \"between_max\": %llu, "
		       "\"backlog_min\": %llu, \"backlog_p50\": %llu,\n \"parts\": [{\"name\": "
		       "\"polite call\", ",
		       share_of(between, 0.5), share_of(between, 0.99),
		       (unsigned long long)between->max, (unsigned long long)fanin->backlog.min,
		       share_of(&fanin->backlog, 0.5));
		output_distribution_json(&fanin->call);
		puts("}]}");
		return command_flush(STATUS_OK);
	}
	printf("%llu channels that flood, %llu polite calls\n\n",
	       (unsigned long long)fanin->n_channels, (unsigned long long)fanin->n_calls);
	printf("of the flood served before a polite call's turn: p50 %llu, p99 %llu, most %llu; "
	       "bound %llu\n",
	       share_of(between, 0.5), share_of(between, 0.99), (unsigned long long)between->max,
	       bound);
	printf("of the flood waiting when it arrived:            p50 %llu, least %llu\n\n",
	       share_of(&fanin->backlog, 0.5), (unsigned long long)fanin->backlog.min);
	output_distribution_head("");
	output_distribution_text("polite call", &fanin->call);
	if (fanin->options.histogram) {
		puts("\n# served between, requests");
		histogram_print(between, 1, stdout);
		output_histogram("polite call", &fanin->call);
	}
	return command_flush(STATUS_OK);
}

static void deinit(struct fanin *fanin)
{
	if (fanin->shared)
		(void)munmap(fanin->shared, sizeof(*fanin->shared));
	histogram_deinit(&fanin->between);
	histogram_deinit(&fanin->backlog);
	histogram_deinit(&fanin->call);
}

int command_bench_fanin(int argc, char **argv)
{
	struct fanin fanin = {.n_channels = 64, .n_calls = 500};
	const struct option_spec specs[] = {
		{"channels", OPTION_NUMBER, &fanin.n_channels, 1, 4000, NULL},
		{"calls", OPTION_NUMBER, &fanin.n_calls, 1, 1000000, NULL},
		{"broker", OPTION_TEXT, &fanin.options.broker, 0, 0, NULL},
		{"histogram", OPTION_FLAG, &fanin.options.histogram, 0, 0, NULL},
		{"json", OPTION_FLAG, &fanin.options.json, 0, 0, NULL},
	};
	struct ipci_error error = {};
	int status = options_parse("ipc bench fanin", usage, specs, sizeof(specs) / sizeof(*specs),
				   argc, argv);

	if (status >= 0)
		return status;
	if (run(&fanin, &error) < 0) {
		fprintf(stderr, "ipc: %s\n", error.text);
		status = STATUS_FAILED;
	} else {
		status = print(&fanin);
	}
	deinit(&fanin);
	stage_die_as_told();
	return status;
}
