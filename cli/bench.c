// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <string.h>

#include "command.h"

static const char usage[] =
	"Usage: ipc bench rtt  [OPTION]...\n"
	"       ipc bench open [OPTION]...\n"
	"Measures libipc between two processes and through a broker of its own, "
	"which it starts.\n"
	"\n"
	"  rtt     a call there and back, beside the machine's own limit\n"
	"  open    opening and closing a channel\n"
	"\n"
	"\"ipc bench rtt --help\" and \"ipc bench open --help\" say more.\n";

int command_bench(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	if (strcmp(what, "rtt") == 0)
		return command_bench_rtt(argc - 1, argv + 1);
	if (strcmp(what, "open") == 0)
		return command_bench_open(argc - 1, argv + 1);
	if (strcmp(what, "--help") == 0 || strcmp(what, "help") == 0) {
		fputs(usage, stdout);
		return command_flush(STATUS_OK);
	}
	if (argc > 1)
		fprintf(stderr, "ipc: no bench \"%s\"\n", what);
	else
		fputs("ipc: say which bench: rtt or open\n", stderr);
	return command_usage("ipc bench");
}
