// SPDX-License-Identifier: Apache-2.0
/*
 * ipc bench report: a picture of what the other benches printed with --json, or, without files, of
 * what they print now: each is run as a process of its own, its output read as a file's.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "chart.h"
#include "cleanup.h"
#include "command.h"
#include "json.h"
#include "options.h"

#define CHARTS_MAX 12u
#define FILE_MAX_BYTES (16 << 20)
#define ARGUMENTS_MAX 12u

struct report {
	const char *output, *broker;
	uint64_t n_rounds;
	struct chart charts[CHARTS_MAX];
	size_t n_charts;
};

static const char usage[] =
	"Usage: ipc bench report [--output FILE] [--rounds N] [--broker PATH] [FILE]...\n"
	"Draws latency distributions, and throughput by message size, as SVG. Of the FILEs, which "
	"other\n"
	"benches printed with --json; without any of benches that it runs for it, which takes "
	"about "
	"a\n"
	"minute.\n"
	"\n"
	"  --output FILE    where to; standard output unless given\n"
	"  --rounds N       rounds of each bench that it runs\n"
	"  --broker PATH    the ipc-broker to start, if not the one that came with this program\n"
	"\n"
	"Exit status: 0 well; 1 a failure; 2 a wrong command line.\n";

/* ── charts from data ── */

static struct chart *new_chart(struct report *report)
{
	return report->n_charts < CHARTS_MAX ? &report->charts[report->n_charts++] : NULL;
}

/* A distribution's percentiles, but for the last: 100 % lies infinitely far to the right. */
static int add_distribution(struct chart *chart, const struct json *distribution, const char *name,
			    bool limit)
{
	const struct json *percentiles = json_get(distribution, "percentiles");
	struct chart_series *series = chart_add(chart, name, limit);
	int r = 0;

	for (size_t i = 0; series && r == 0 && i < percentiles->n_items; i++) {
		const struct json *pair = &percentiles->items[i];

		if (pair->n_items == 2 && json_number(&pair->items[0]) < 100)
			r = chart_add_point(series, 1 / (1 - json_number(&pair->items[0]) / 100),
					    json_number(&pair->items[1]));
	}
	return r;
}

/* A part that has a limit, beside it. */
static int chart_part(struct report *report, const struct json *part, const char *title,
		      const char *limit_name)
{
	struct chart *chart = new_chart(report);
	int r;

	if (!chart)
		return 0;
	*chart = (struct chart){.x = CHART_PERCENTILES, .y = CHART_NS};
	(void)snprintf(chart->title, sizeof(chart->title), "%s", title);
	(void)snprintf(chart->note, sizeof(chart->note), "share of messages that took no longer");
	r = add_distribution(chart, json_get(part, "limit"), limit_name, true);
	return r < 0 ? r : add_distribution(chart, part, "libipc", false);
}

static int chart_calls(struct report *report, const struct json *data)
{
	const struct json *parts = json_get(data, "parts");
	bool wake = strcmp(json_text(json_get(data, "bench")), "wake") == 0;
	bool spin = strcmp(json_text(json_get(data, "wait")), "spin") == 0;
	char title[CHART_TEXT_BYTES];

	if (parts->n_items == 0)
		return -EINVAL;
	(void)snprintf(title, sizeof(title), "Round trip, %.0f bytes, both sides %s",
		       json_number(json_get(data, "bytes")), spin && !wake ? "spinning" : "asleep");
	return chart_part(report, &parts->items[parts->n_items - 1], title,
			  spin && !wake ? "bare cache lines" : "bare futexes");
}

static int chart_one_way(struct report *report, const struct json *data)
{
	const struct json *one_way = json_get(data, "one_way");
	struct chart *chart;
	int r;

	if (one_way->n_items != 2)
		return -EINVAL;
	chart = new_chart(report);
	if (!chart)
		return 0;
	*chart = (struct chart){.x = CHART_PERCENTILES,
				.y = CHART_NS,
				.title = "Waking a side that sleeps, one way",
				.note = "share of messages that took no longer"};
	r = add_distribution(chart, &one_way->items[0], "bare futexes", true);
	return r < 0 ? r : add_distribution(chart, &one_way->items[1], "libipc", false);
}

static int chart_sweep(struct report *report, const struct json *data)
{
	const struct json *sizes = json_get(data, "sizes");
	struct chart *chart = new_chart(report);
	struct chart_series *bare, *libipc;
	int r = 0;

	if (!chart)
		return 0;
	*chart = (struct chart){.x = CHART_BYTES,
				.y = CHART_GB_PER_S,
				.markers = true,
				.title = "A stream, written and read, by message size",
				.note = "bytes a message"};
	bare = chart_add(chart, "bare ring without checks", true);
	libipc = chart_add(chart, "libipc", false);
	for (size_t i = 0; r == 0 && i < sizes->n_items; i++) {
		const struct json *size = &sizes->items[i], *all = json_get(size, "throughput");
		double bytes = json_number(json_get(size, "bytes"));

		if (all->n_items == 0)
			return -EINVAL;
		r = chart_add_point(bare, bytes,
				    json_number(json_get(&all->items[0], "limit_gb_per_s")));
		if (r == 0)
			r = chart_add_point(libipc, bytes,
					    json_number(json_get(&all->items[0], "gb_per_s")));
	}
	return r;
}

static int chart_many(struct report *report, const struct json *data)
{
	const struct json *parts = json_get(data, "parts");
	struct chart *chart = new_chart(report);
	struct chart_series *p50, *p99;
	int r = 0;

	if (!chart)
		return 0;
	*chart = (struct chart){.x = CHART_COUNT,
				.y = CHART_NS,
				.markers = true,
				.title = "A call over one of a server's channels",
				.note = "channels that the server holds"};
	p50 = chart_add(chart, "p50", false);
	p99 = chart_add(chart, "p99", false);
	for (size_t i = 0; r == 0 && i < parts->n_items; i++) {
		const struct json *part = &parts->items[i];
		double n_channels = 0;

		if (sscanf(json_text(json_get(part, "name")), "1 of %lf", &n_channels) != 1)
			return -EINVAL;
		r = chart_add_point(p50, n_channels, json_number(json_get(part, "p50_ns")));
		if (r == 0)
			r = chart_add_point(p99, n_channels, json_number(json_get(part, "p99_ns")));
	}
	return r;
}

static int chart_data(struct report *report, const struct json *data, const char *from,
		      struct ipci_error *error)
{
	const char *bench = json_text(json_get(data, "bench"));
	int r;

	if (strcmp(bench, "rtt") == 0) {
		r = chart_calls(report, data);
	} else if (strcmp(bench, "wake") == 0) {
		r = chart_calls(report, data);
		if (r == 0)
			r = chart_one_way(report, data);
	} else if (strcmp(bench, "sweep") == 0) {
		r = chart_sweep(report, data);
	} else if (strcmp(bench, "many") == 0) {
		r = chart_many(report, data);
	} else {
		return ipci_error_set(error, -EINVAL,
				      "%s: nothing to draw: it is of none of rtt, wake, many, and "
				      "large --sweep",
				      from);
	}
	if (r < 0)
		return ipci_error_set(error, r, "%s: %s", from,
				      r == -ENOMEM ? "out of memory"
						   : "not what that bench prints with --json");
	return 0;
}

/* ── data ── */

static int read_data(struct report *report, int fd, const char *from, struct ipci_error *error)
{
	_cleanup_(freep) char *text = NULL;
	struct ipci_error why = {};
	struct json json;
	struct stat st;
	ssize_t n = 0;
	int r;

	if (fstat(fd, &st) < 0)
		return ipci_error_errno(error, "%s", from);
	if (!S_ISREG(st.st_mode) || st.st_size > FILE_MAX_BYTES)
		return ipci_error_set(error, -EINVAL, "%s: not a file of at most %d bytes", from,
				      FILE_MAX_BYTES);
	text = calloc(1, (size_t)st.st_size + 1);
	if (text)
		n = pread(fd, text, (size_t)st.st_size, 0);
	if (!text || n < 0)
		return ipci_error_errno(error, "%s: cannot read it", from);
	r = json_parse(&json, text, &why);
	r = r < 0 ? ipci_error_set(error, r, "%s: %s", from, why.text)
		  : chart_data(report, &json, from, error);
	json_free(&json);
	return r;
}

static int read_file(struct report *report, const char *path, struct ipci_error *error)
{
	_cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	return fd < 0 ? ipci_error_errno(error, "%s", path) : read_data(report, fd, path, error);
}

/* This program as another bench, its output to @fd. Its exit status, or -errno. */
static int run_program(char *const argv[], int fd)
{
	pid_t self = getpid(), pid = fork();
	int status;

	if (pid < 0)
		return -errno;
	if (pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0);
		if (getppid() != self || dup2(fd, STDOUT_FILENO) < 0)
			_exit(STATUS_FAILED);
		(void)execv("/proc/self/exe", argv);
		_exit(STATUS_FAILED);
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : STATUS_FAILED;
}

static int run_bench(struct report *report, const char *const *words, struct ipci_error *error)
{
	_cleanup_(closep) int fd = memfd_create("ipc-bench-report", MFD_CLOEXEC);
	char storage[ARGUMENTS_MAX][256], *argv[ARGUMENTS_MAX + 1];
	char number[24];
	size_t n = 0;
	int status;

	const char *const more[] = {report->n_rounds ? "--rounds" : NULL, number,
				    report->broker ? "--broker" : NULL, report->broker};

	if (fd < 0)
		return ipci_error_errno(error, "no memory for the output of a bench");
	(void)snprintf(number, sizeof(number), "%llu", (unsigned long long)report->n_rounds);
	for (; words[n]; n++)
		(void)snprintf(storage[n], sizeof(storage[n]), "%s", words[n]);
	for (size_t i = 0; i < 4; i += 2) {
		if (!more[i])
			continue;
		(void)snprintf(storage[n++], sizeof(*storage), "%s", more[i]);
		(void)snprintf(storage[n++], sizeof(*storage), "%s", more[i + 1]);
	}
	for (size_t i = 0; i < n; i++)
		argv[i] = storage[i];
	argv[n] = NULL;
	fprintf(stderr, "ipc bench report: %s %s\n", words[2], words[3]);
	status = run_program(argv, fd);
	if (status != STATUS_OK && status != STATUS_INVALID)
		return ipci_error_set(error, -EREMOTEIO, "ipc bench %s failed", words[2]);
	return read_data(report, fd, words[2], error);
}

static int run_all(struct report *report, struct ipci_error *error)
{
	static const char *const all[][8] = {
		{"ipc", "bench", "rtt", "--bytes=32", "--json", NULL},
		{"ipc", "bench", "large", "--sweep", "--json", NULL},
		{"ipc", "bench", "wake", "--json", NULL},
		{"ipc", "bench", "many", "--json", NULL},
	};
	int r = 0;

	for (size_t i = 0; r == 0 && i < sizeof(all) / sizeof(*all); i++)
		r = run_bench(report, all[i], error);
	return r;
}

static int write_picture(const struct report *report, struct ipci_error *error)
{
	FILE *file = report->output ? fopen(report->output, "we") : stdout;
	bool failed;

	if (!file)
		return ipci_error_errno(error, "%s: cannot write it", report->output);
	chart_print(report->charts, report->n_charts, "libipc between two processes", file);
	failed = fflush(file) != 0 || ferror(file);
	if (report->output)
		failed = fclose(file) != 0 || failed;
	return failed ? ipci_error_errno(error, "cannot write the picture") : 0;
}

int command_bench_report(int argc, char **argv)
{
	struct report report = {};
	const struct option_spec specs[] = {
		{"output", OPTION_TEXT, &report.output, 0, 0, NULL},
		{"rounds", OPTION_NUMBER, &report.n_rounds, 1, 10000, NULL},
		{"broker", OPTION_TEXT, &report.broker, 0, 0, NULL},
		{NULL, OPTION_ARGUMENTS, NULL, 0, 0, NULL},
	};
	struct ipci_error error = {};
	int status = options_parse("ipc bench report", usage, specs, sizeof(specs) / sizeof(*specs),
				   argc, argv),
	    r = 0;

	if (status >= 0)
		return status;
	if (optind == argc)
		r = run_all(&report, &error);
	for (int i = optind; r == 0 && i < argc; i++)
		r = read_file(&report, argv[i], &error);
	if (r == 0)
		r = write_picture(&report, &error);
	if (r < 0)
		fprintf(stderr, "ipc: %s\n", error.text);
	for (size_t i = 0; i < report.n_charts; i++)
		chart_deinit(&report.charts[i]);
	return r < 0 ? STATUS_FAILED : STATUS_OK;
}
