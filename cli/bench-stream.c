// SPDX-License-Identifier: Apache-2.0
/*
 * ipc bench stream and large: messages of a server-streaming call, each written by the server and
 * read by the client to the last byte, beside a bare ring between the same two processes that checks
 * nothing, on memory of the same size, in turns. Large messages are the same with a megabyte each:
 * there the bare ring is two processes that make the same passes over a shared mapping.
 *
 * What is timed is the reader, once the stream runs: a batch is many rings full, and before the
 * first of them some pass untimed. A ratio is of times; of throughputs it is the inverse.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "bare-ring.h"
#include "command.h"
#include "options.h"
#include "output.h"
#include "pair.h"
#include "payload.h"

#define BATCH ECHO_BATCH_MAX	 /* messages that are published at once, where they are */
#define TIMED_BYTES (1u << 20)	 /* of messages, in a batch that is timed … */
#define TIMED_MESSAGES_MAX 2048u /* … but not more messages, … */
#define TIMED_MESSAGES_MIN 8u	 /* … and not fewer */
#define SINGLE_MESSAGES 64u	 /* timed together for the percentiles, where they are small … */
#define SINGLE_BYTES_MIN 16384u	 /* … and one by one where they are larger than this */
#define MESSAGES_IN_A_RING 16u	 /* at least, where nothing else was asked for */
#define RING_BYTES_MIN UINT64_C(65536)
#define SWEEP_ROUNDS 15u

enum part {
	PART_BARE,
	PART_BARE_LATE,
	PART_BARE_CLOSE,
	PART_BARE_IN_BAND,
	PART_BARE_BATCHED,
	PART_BARE_BATCHED_IN_BAND,
	PART_STREAM,
	PART_BATCHED,
	N_PARTS,
};

#define ONE_BY_ONE                                                                                 \
	(1u << PART_BARE | 1u << PART_BARE_LATE | 1u << PART_BARE_CLOSE | 1u << PART_BARE_IN_BAND)
#define BATCHED (1u << PART_BARE_BATCHED | 1u << PART_BARE_BATCHED_IN_BAND)

static const struct rounds_part parts[N_PARTS] = {
	[PART_BARE] = {.name = "bare"},
	[PART_BARE_LATE] = {.name = "bare, late"},
	[PART_BARE_CLOSE] = {.name = "bare, close"},
	[PART_BARE_IN_BAND] = {.name = "bare, in band"},
	[PART_BARE_BATCHED] = {.name = "bare, batched"},
	[PART_BARE_BATCHED_IN_BAND] = {.name = "bare, batched in band"},
	[PART_STREAM] = {.name = "stream", .limits = ONE_BY_ONE},
	[PART_BATCHED] = {.name = "batched", .limits = ONE_BY_ONE | BATCHED},
};

/* Of the bare ones; what a part takes for itself of large messages is not measured. */
static const struct {
	bool late, close, in_band, batched, small_only;
} ways[N_PARTS] = {
	[PART_BARE] = {},
	[PART_BARE_LATE] = {.late = true, .small_only = true},
	/* Its writer keeps as close as credit keeps a stream's. */
	[PART_BARE_CLOSE] = {.late = true, .close = true},
	[PART_BARE_IN_BAND] = {.late = true, .close = true, .in_band = true},
	[PART_BARE_BATCHED] = {.late = true, .batched = true, .small_only = true},
	[PART_BARE_BATCHED_IN_BAND] =
		{.late = true, .close = true, .in_band = true, .batched = true, .small_only = true},
	[PART_STREAM] = {},
	[PART_BATCHED] = {.batched = true, .small_only = true},
};

struct stream {
	struct bench_options options;
	uint64_t bytes, ring_bytes;
	int no_membarrier, sweep;
	bool large; /* it is "large" */
	struct cpus cpus;
	struct bare_ring bare;
	struct pair pair;
	struct rounds rounds;
	struct rounds_part parts[N_PARTS];
	ipc_call *call;	  /* the running stream; NULL: none */
	uint64_t n_left;  /* of its messages */
	uint64_t seed;	  /* of its next message */
	uint64_t n_wakes; /* of both sides, while the rounds ran */
	uint64_t n_messages;
	char why[160]; /* it is not valid; "" it is */
};

static const char usage_stream[] =
	"Usage: ipc bench stream [--bytes N] [--ring-bytes N] [--no-membarrier] [OPTION]...\n"
	"Measures a stream of messages from a server to a client, published one by one and in "
	"batches,\n"
	"beside a bare ring without checks between the same two processes, in turns.\n"
	"\n"
	"  --bytes N        of a message; 64 unless given\n"
	"  --ring-bytes N   of both rings, a power of two; enough for 16 messages unless given\n"
	"  --no-membarrier  nobody is awake, everyone drowsy: each message pays for a "
	"fence\n" BENCH_OPTIONS_HELP "\n" BENCH_STATUS_HELP;

static const char usage_large[] =
	"Usage: ipc bench large [--bytes N] [--ring-bytes N] [--sweep] [OPTION]...\n"
	"Measures large messages, written by a server and read in place by a client, "
	"beside two "
	"bare\n"
	"processes that make the same passes over a shared mapping of the same size, in "
	"turns.\n"
	"\n"
	"  --bytes N        of a message; 1048576 unless given\n"
	"  --ring-bytes N   of both rings, a power of two; enough for 16 messages unless "
	"given\n"
	"  --sweep          sizes from 64 bytes to 1 MiB, a few rounds of "
	"each\n" BENCH_OPTIONS_HELP "\n" BENCH_STATUS_HELP;

/* ── measuring ── */

static unsigned int batch_of(size_t part)
{
	return ways[part].batched ? BATCH : 1;
}

static struct bare_ring_way way_of(const struct stream *stream, size_t part)
{
	return (struct bare_ring_way){
		.window = ways[part].close ? stream->ring_bytes / 4 : stream->ring_bytes,
		.batch = batch_of(part),
		.late = ways[part].late,
		.in_band = ways[part].in_band,
	};
}

static int read_stream(struct stream *stream, uint64_t n)
{
	for (; n; n--) {
		struct ipc_msg msg;
		int r = ipc_receive(stream->call, &msg);

		if (__builtin_expect(r != 0, 0))
			return r == IPC_END ? -EBADMSG : r;
		if (msg.size_bytes != stream->bytes ||
		    payload_sum(msg.data, msg.size_bytes) !=
			    payload_expected(stream->bytes, stream->seed++))
			return -EBADMSG;
		stream->n_left--;
	}
	return 0;
}

/* After its last message a stream ends. */
static int end_stream(struct stream *stream)
{
	struct ipc_msg msg;
	int r = ipc_receive(stream->call, &msg);

	stream->call = NULL;
	return r == IPC_END ? 0 : r == 0 ? -EBADMSG : r;
}

static int work(void *context, size_t part, size_t n, size_t total)
{
	struct stream *stream = context;
	ipc_channel *channel = stream->pair.channels[0];
	struct bare_ring_way way = way_of(stream, part);
	bool bare = part < PART_STREAM;
	struct echo_facts ignored;
	int r;

	if (stage_stop)
		return -EINTR;
	if (bare && n)
		return bare_ring_read(&stream->bare, &way, n, stream->bytes);
	if (bare) {
		bare_ring_begin(&stream->bare);
		return echo_play(channel, (uint32_t)part, (uint32_t)total, &ignored);
	}
	if (n == 0) {
		stream->n_left = total;
		stream->n_messages += total;
		stream->seed = 0;
		return echo_stream(channel, total, stream->bytes, batch_of(part), &stream->call);
	}
	r = read_stream(stream, n);
	return r == 0 && stream->n_left == 0 ? end_stream(stream) : r;
}

/* In the server's process. */
static int play_bare(void *context, uint32_t part, uint32_t n)
{
	struct stream *stream = context;

	struct bare_ring_way way = way_of(stream, part);

	return bare_ring_write(&stream->bare, &way, n, stream->bytes);
}

static uint64_t power_of_two_above(uint64_t n)
{
	uint64_t power = 1;

	while (power < n)
		power *= 2;
	return power;
}

static void plan_rounds(struct stream *stream, struct rounds_plan *plan)
{
	uint64_t messages = TIMED_BYTES / (stream->bytes + 1);
	bool small = stream->bytes <= SINGLE_BYTES_MIN;

	if (messages > TIMED_MESSAGES_MAX)
		messages = TIMED_MESSAGES_MAX;
	if (messages < TIMED_MESSAGES_MIN)
		messages = TIMED_MESSAGES_MIN;
	*plan = (struct rounds_plan){
		.parts = stream->parts,
		.n_parts = N_PARTS,
		.n_rounds = stream->options.n_rounds,
		.n_batches = 8,
		.batch = messages,
		.n_singles = small ? 128 : 32,
		.single = small ? SINGLE_MESSAGES : 1,
		.meet = 2 * messages,
		/* Near 1 half of the rounds are below: there the interval decides. */
		.ratio_min = stream->large ? 0 : ROUNDS_RATIO_MIN,
	};
	if (plan->n_rounds == 0)
		plan->n_rounds = stream->sweep ? SWEEP_ROUNDS : stream->large ? 30 : 100;
	plan->n_warm_up = plan->n_rounds / 10 + 1;
	memcpy(stream->parts, parts, sizeof(parts));
	for (size_t part = 0; part < N_PARTS; part++)
		stream->parts[part].off = stream->large && ways[part].small_only;
}

static int prepare(struct stream *stream, struct ipci_error *error)
{
	struct rounds_plan plan;
	int r;

	if (stream->ring_bytes == 0)
		stream->ring_bytes = power_of_two_above(MESSAGES_IN_A_RING * stream->bytes);
	if (stream->ring_bytes < RING_BYTES_MIN)
		stream->ring_bytes = RING_BYTES_MIN;
	if (stream->bytes > stream->ring_bytes / 8)
		return ipci_error_set(error, -EMSGSIZE,
				      "a ring of %llu bytes is too small for messages of %llu",
				      (unsigned long long)stream->ring_bytes,
				      (unsigned long long)stream->bytes);
	plan_rounds(stream, &plan);
	if (rounds_init(&stream->rounds, &plan) < 0)
		return ipci_error_set(error, -ENOMEM, "out of memory");
	r = bare_ring_init(&stream->bare, stream->ring_bytes, &stage_stop);
	if (r < 0)
		return ipci_error_set(error, r, "cannot share memory: %s", strerror(-r));
	return cpus_choose(&stream->cpus, error);
}

static int connect_both(struct stream *stream, struct ipci_error *error)
{
	const struct pair_plan plan = {
		.broker = stream->options.broker,
		.cpus = stream->cpus,
		.wait = IPC_WAIT_SPIN,
		.loop_flags = stream->no_membarrier ? IPC_LOOP_NO_MEMBARRIER : 0,
		.server = {.ring_bytes = stream->ring_bytes,
			   .play = play_bare,
			   .play_context = stream},
		.n_channels = 1,
	};
	int r = pair_init(&stream->pair, &plan, error);

	return r < 0 ? r : cpus_pin(stream->cpus.client, error);
}

static int measure(struct stream *stream, struct ipci_error *error)
{
	struct echo_facts client, server, client_after, server_after;
	ipc_channel *channel = stream->pair.channels[0];
	int r = echo_play(channel, 0, 0, &server);

	if (r == 0)
		r = echo_facts(channel, &client);
	if (r == 0)
		r = rounds_run(&stream->rounds, work, stream);
	if (r == 0)
		r = echo_facts(channel, &client_after);
	if (r == 0)
		r = echo_play(channel, 0, 0, &server_after);
	if (r == 0)
		stream->n_wakes = client_after.n_wakes - client.n_wakes + server_after.n_wakes -
				  server.n_wakes;
	return echo_error(r, error);
}

static int run(struct stream *stream)
{
	struct ipci_error error = {};
	int r = prepare(stream, &error);

	if (r == 0)
		r = connect_both(stream, &error);
	if (r == 0)
		r = measure(stream, &error);
	if (r < 0)
		stage_explain(&stream->pair.stage, &error);
	pair_deinit(&stream->pair);
	bare_ring_deinit(&stream->bare);
	if (r < 0)
		fprintf(stderr, "ipc: %s\n", error.text);
	else
		output_judge(&stream->rounds, stream->why, sizeof(stream->why));
	return r;
}

/* ── reporting ── */

static double gb_per_s(const struct stream *stream, double ns)
{
	return ns > 0 ? (double)stream->bytes / ns : 0;
}

static double inverse(double value)
{
	return value > 0 ? 1 / value : 0;
}

static double wakes_per_million(const struct stream *stream)
{
	return 1e6 * (double)stream->n_wakes / (double)stream->n_messages;
}

/* As throughput, of each part that has a limit. */
static void print_throughput_json(struct stream *stream)
{
	const char *between = "";

	printf("\"throughput\": [");
	for (size_t part = PART_STREAM; part < N_PARTS; part++) {
		struct rounds_result result;

		if (stream->parts[part].off)
			continue;
		rounds_result(&stream->rounds, part, &result);
		printf("%s{\"name\": \"%s\", \"gb_per_s\": %.4f, \"limit_gb_per_s\": %.4f, "
		       "\"messages_per_s\": %.0f,\n  \"ratio_median\": %.4f, \"ratio_low\": %.4f, "
		       "\"ratio_high\": %.4f}",
		       between, stream->parts[part].name, gb_per_s(stream, result.p50_ns),
		       gb_per_s(stream, result.limit_ns), 1e9 * inverse(result.p50_ns),
		       inverse(result.ratio), inverse(result.ratio_high),
		       inverse(result.ratio_low));
		between = ",\n ";
	}
	printf("]");
}

static void print_json(struct stream *stream)
{
	printf("{\"bench\": \"%s\", \"bytes\": %llu, \"ring_bytes\": %llu, \"client_cpu\": %d, "
	       "\"server_cpu\": %d,\n \"membarrier\": %s, \"wakes_per_million\": %.3f, \"valid\": "
	       "%s,\n ",
	       stream->large ? "large" : "stream", (unsigned long long)stream->bytes,
	       (unsigned long long)stream->ring_bytes, stream->cpus.client, stream->cpus.server,
	       stream->no_membarrier ? "false" : "true", wakes_per_million(stream),
	       stream->why[0] ? "false" : "true");
	print_throughput_json(stream);
	printf(",\n ");
	output_rounds_json(&stream->rounds);
	putchar('}');
}

static void print_text(struct stream *stream)
{
	printf("%llu bytes a message, rings of %llu bytes, %zu rounds, client on CPU %d, server on "
	       "CPU %d\n\n",
	       (unsigned long long)stream->bytes, (unsigned long long)stream->ring_bytes,
	       stream->rounds.n, stream->cpus.client, stream->cpus.server);
	output_rounds_text(&stream->rounds);
	for (size_t part = PART_STREAM; part < N_PARTS; part++) {
		struct rounds_result result;

		if (stream->parts[part].off)
			continue;
		rounds_result(&stream->rounds, part, &result);
		printf("%-14s %.2f GB/s of %.2f: %.3f (%.3f to %.3f); %.1f million messages a "
		       "second\n",
		       stream->parts[part].name, gb_per_s(stream, result.p50_ns),
		       gb_per_s(stream, result.limit_ns), inverse(result.ratio),
		       inverse(result.ratio_high), inverse(result.ratio_low),
		       1e3 * inverse(result.p50_ns));
	}
	printf("%-14s %.1f system calls to wake the other, a million messages\n", "wakes",
	       wakes_per_million(stream));
	if (stream->options.histogram)
		output_histograms(&stream->rounds);
}

static int run_one(struct stream *stream)
{
	int r = run(stream), status = STATUS_FAILED;

	if (r == 0 && stream->options.json) {
		print_json(stream);
		putchar('\n');
	} else if (r == 0) {
		print_text(stream);
	}
	if (r == 0)
		status = output_verdict(stream->why);
	rounds_deinit(&stream->rounds);
	stage_die_as_told();
	return status;
}

/* Each size with rings, processes and a broker of its own. */
static int run_sweep(const struct stream *all)
{
	static const uint64_t sizes[] = {64, 256, 1024, 4096, 16384, 65536, 262144, 1048576};
	const char *before = "{\"bench\": \"sweep\", \"sizes\": [\n";
	char why[sizeof(all->why)] = "";

	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		struct stream stream = *all;
		int r;

		stream.bytes = sizes[i];
		r = run(&stream);
		cpus_release(&stream.cpus);
		if (r == 0 && stream.options.json) {
			fputs(before, stdout);
			print_json(&stream);
			before = ",\n";
		} else if (r == 0) {
			struct rounds_result result;

			rounds_result(&stream.rounds, PART_STREAM, &result);
			printf("%8llu bytes %8.3f GB/s, bare %8.3f GB/s, ratio %.3f\n",
			       (unsigned long long)stream.bytes, gb_per_s(&stream, result.p50_ns),
			       gb_per_s(&stream, result.limit_ns), inverse(result.ratio));
		}
		if (stream.why[0])
			memcpy(why, stream.why, sizeof(why));
		rounds_deinit(&stream.rounds);
		stage_die_as_told();
		if (r < 0)
			return STATUS_FAILED;
	}
	if (all->options.json)
		printf("],\n \"valid\": %s}\n", why[0] ? "false" : "true");
	return output_verdict(why);
}

int command_bench_stream(int argc, char **argv)
{
	struct stream stream = {.bytes = 64};
	const struct option_spec specs[] = {
		{"bytes", OPTION_NUMBER, &stream.bytes, 1, 16384, NULL},
		{"ring-bytes", OPTION_NUMBER, &stream.ring_bytes, RING_BYTES_MIN, 1u << 30, NULL},
		{"no-membarrier", OPTION_FLAG, &stream.no_membarrier, 0, 0, NULL},
		BENCH_OPTIONS(&stream.options),
	};
	int status = options_parse("ipc bench stream", usage_stream, specs,
				   sizeof(specs) / sizeof(*specs), argc, argv);

	return status >= 0 ? status : run_one(&stream);
}

int command_bench_large(int argc, char **argv)
{
	struct stream stream = {.bytes = 1048576, .large = true};
	const struct option_spec specs[] = {
		{"bytes", OPTION_NUMBER, &stream.bytes, 1, 1u << 26, NULL},
		{"ring-bytes", OPTION_NUMBER, &stream.ring_bytes, RING_BYTES_MIN, 1u << 30, NULL},
		{"sweep", OPTION_FLAG, &stream.sweep, 0, 0, NULL},
		BENCH_OPTIONS(&stream.options),
	};
	int status = options_parse("ipc bench large", usage_large, specs,
				   sizeof(specs) / sizeof(*specs), argc, argv);

	if (status >= 0)
		return status;
	return stream.sweep ? run_sweep(&stream) : run_one(&stream);
}
