// SPDX-License-Identifier: Apache-2.0
/* ipc: the command line. Every subcommand is a file of its own. */
#include <stdio.h>
#include <string.h>

#include <ipc/ipc.h>

#include "command.h"

static const char usage[] =
	"Usage: ipc COMMAND [OPTION]...\n"
	"Looks at libipc from the command line.\n"
	"\n"
	"  bench           how fast it is, beside the machine's own limits\n"
	"  doctor          whether libipc works here, how well, and what to change\n"
	"  --version, --help\n"
	"\n"
	"\"ipc COMMAND --help\" says more.\n"
	"\n"
	"Exit status: 0 well; 1 a failure; 2 a wrong command line; 3 a measurement "
	"that is not valid.\n";

int main(int argc, char **argv)
{
	const char *command = argc > 1 ? argv[1] : "";

	if (strcmp(command, "bench") == 0)
		return command_bench(argc - 1, argv + 1);
	if (strcmp(command, "doctor") == 0)
		return command_doctor(argc - 1, argv + 1);
	if (strcmp(command, "--help") == 0 || strcmp(command, "help") == 0) {
		fputs(usage, stdout);
		return command_flush(STATUS_OK);
	}
	if (strcmp(command, "--version") == 0) {
		printf("ipc %s\n", ipc_version());
		return command_flush(STATUS_OK);
	}
	if (argc > 1)
		fprintf(stderr, "ipc: no command \"%s\"\n", command);
	else
		fputs("ipc: a command is needed\n", stderr);
	return command_usage("ipc");
}
