// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <string.h>

#include "command.h"

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *what;
} benches[] = {
	{"rtt", command_bench_rtt, "a call there and back, beside the machine's own limit"},
	{"wake", command_bench_wake, "the same asleep, and how long it takes to wake somebody"},
	{"stream", command_bench_stream, "a stream of small messages, beside a bare ring"},
	{"large", command_bench_large, "a stream of large messages, beside a bare mapping"},
	{"many", command_bench_many, "a call over one channel of a server that has thousands"},
	{"fanin", command_bench_fanin, "a polite client beside one that floods"},
	{"idle", command_bench_idle, "channels that nobody uses"},
	{"open", command_bench_open, "opening and closing a channel"},
	{"report", command_bench_report, "a picture of what they measured"},
};
#define N_BENCHES (sizeof(benches) / sizeof(*benches))

static void print_usage(void)
{
	puts("Usage: ipc bench BENCH [OPTION]...\n"
	     "Measures libipc between processes and through a broker of its own, which it "
	     "starts.\n");
	for (size_t i = 0; i < N_BENCHES; i++)
		printf("  %-8s%s\n", benches[i].name, benches[i].what);
	puts("\n\"ipc bench BENCH --help\" says more.");
}

int command_bench(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	for (size_t i = 0; i < N_BENCHES; i++)
		if (strcmp(what, benches[i].name) == 0)
			return benches[i].run(argc - 1, argv + 1);
	if (strcmp(what, "--help") == 0 || strcmp(what, "help") == 0) {
		print_usage();
		return command_flush(STATUS_OK);
	}
	if (argc > 1)
		fprintf(stderr, "ipc: no bench \"%s\"\n", what);
	else
		fputs("ipc: say which bench\n", stderr);
	return command_usage("ipc bench");
}
