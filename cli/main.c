// SPDX-License-Identifier: Apache-2.0
/* ipc: the command line. Every subcommand is a file of its own. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ipc/ipc.h>

#include "command.h"

static const char usage[] =
	"Usage: ipc COMMAND [OPTION]...\n"
	"Looks at libipc from the command line.\n"
	"\n"
	"  bench rtt       a call there and back, beside the machine's own limit\n"
	"  bench open      opening and closing a channel through a broker\n"
	"  --version, --help\n"
	"\n"
	"\"ipc COMMAND --help\" says more.\n"
	"\n"
	"Exit status: 0 well; 1 a failure; 2 a wrong command line; 3 a measurement "
	"that is not valid.\n";

int command_number(const char *option, const char *text, uint64_t min, uint64_t max, uint64_t *ret)
{
	char *end;
	uint64_t number;

	errno = 0;
	number = strtoull(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || *end || errno || number < min || number > max) {
		fprintf(stderr, "ipc: %s: expected a whole number from %llu to %llu, not \"%s\"\n",
			option, (unsigned long long)min, (unsigned long long)max, text);
		return -EINVAL;
	}
	*ret = number;
	return 0;
}

int command_usage(const char *command)
{
	fprintf(stderr, "Try \"%s --help\".\n", command);
	return STATUS_USAGE;
}

int command_flush(int status)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return status;
	fprintf(stderr, "ipc: cannot write the output: %s\n", strerror(errno));
	return STATUS_FAILED;
}

int main(int argc, char **argv)
{
	const char *command = argc > 1 ? argv[1] : "";

	if (strcmp(command, "bench") == 0)
		return command_bench(argc - 1, argv + 1);
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
