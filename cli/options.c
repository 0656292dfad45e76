// SPDX-License-Identifier: Apache-2.0
#include "options.h"

#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "command.h"

static int take_choice(const struct option_spec *spec, const char *text)
{
	const char *between = "";

	for (unsigned int i = 0; spec->choices[i]; i++) {
		if (strcmp(spec->choices[i], text) == 0) {
			*(unsigned int *)spec->to = i;
			return 0;
		}
	}
	fprintf(stderr, "ipc: --%s: expected ", spec->name);
	for (unsigned int i = 0; spec->choices[i]; i++) {
		fprintf(stderr, "%s\"%s\"", between, spec->choices[i]);
		between = spec->choices[i + 1] && spec->choices[i + 2] ? ", " : " or ";
	}
	fprintf(stderr, ", not \"%s\"\n", text);
	return -EINVAL;
}

static int take(const struct option_spec *spec, const char *text)
{
	char name[32];

	switch (spec->type) {
	case OPTION_FLAG:
		*(int *)spec->to = 1;
		return 0;
	case OPTION_NUMBER:
		(void)snprintf(name, sizeof(name), "--%s", spec->name);
		return command_number(name, text, spec->min, spec->max, spec->to);
	case OPTION_TEXT:
		*(const char **)spec->to = text;
		return 0;
	case OPTION_CHOICE:
		return take_choice(spec, text);
	case OPTION_ARGUMENTS:
		break;
	}
	return -EINVAL;
}

int options_parse(const char *command, const char *usage, const struct option_spec *specs, size_t n,
		  int argc, char **argv)
{
	struct option known[OPTIONS_MAX + 2] = {};
	int option, r = 0;

	bool arguments = n && specs[n - 1].type == OPTION_ARGUMENTS;

	n -= arguments;
	assert(n <= OPTIONS_MAX);
	for (size_t i = 0; i < n; i++)
		known[i] = (struct option){
			.name = specs[i].name,
			.has_arg = specs[i].type == OPTION_FLAG ? no_argument : required_argument,
			.val = (int)i + 1,
		};
	known[n] = (struct option){.name = "help", .has_arg = no_argument, .val = (int)n + 1};
	while (r == 0 && (option = getopt_long(argc, argv, "", known, NULL)) != -1) {
		if (option == (int)n + 1) {
			fputs(usage, stdout);
			return command_flush(STATUS_OK);
		}
		r = option == '?' ? -EINVAL : take(&specs[option - 1], optarg);
	}
	if (r == 0 && optind < argc && !arguments) {
		fprintf(stderr, "ipc: unexpected argument \"%s\"\n", argv[optind]);
		r = -EINVAL;
	}
	return r < 0 ? command_usage(command) : -1;
}
