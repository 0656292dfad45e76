// SPDX-License-Identifier: Apache-2.0
#include "command.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
