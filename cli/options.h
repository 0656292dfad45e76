/* SPDX-License-Identifier: Apache-2.0 */
/* A subcommand's options as a table. */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H

#include <stddef.h>
#include <stdint.h>

#define OPTIONS_MAX 16u

enum option_type {
	OPTION_FLAG,	  /* to an int, set to 1 */
	OPTION_NUMBER,	  /* to a uint64_t, from min to max */
	OPTION_TEXT,	  /* to a const char * */
	OPTION_CHOICE,	  /* to an unsigned int: the index in choices, which NULL ends */
	OPTION_ARGUMENTS, /* no option, and the last: arguments may follow, from argv[optind] on */
};

struct option_spec {
	const char *name; /* without its dashes */
	enum option_type type;
	void *to;
	uint64_t min, max;
	const char *const *choices;
};

/* What every bench takes. */
struct bench_options {
	const char *broker;
	uint64_t n_rounds; /* 0: the bench's own default */
	int json, histogram;
};

#define BENCH_OPTIONS(options)                                                                     \
	{"broker", OPTION_TEXT, &(options)->broker, 0, 0, NULL},                                   \
		{"rounds", OPTION_NUMBER, &(options)->n_rounds, 1, 10000, NULL},                   \
		{"json", OPTION_FLAG, &(options)->json, 0, 0, NULL},                               \
	{                                                                                          \
		"histogram", OPTION_FLAG, &(options)->histogram, 0, 0, NULL                        \
	}

#define BENCH_OPTIONS_HELP                                                                         \
	"  --rounds N       rounds that count\n"                                                   \
	"  --broker PATH    the ipc-broker to start, if not the one that came with this program\n" \
	"  --histogram      print whole distributions too, as HDR histograms are\n"                \
	"  --json           print the result as data\n"

#define BENCH_STATUS_HELP                                                                          \
	"Exit status: 0 well; 1 a failure; 2 a wrong command line; 3 a measurement that is not "   \
	"valid.\n"

/*
 * Fills in what the command line has; --help prints @usage.
 * -1: go on; else the exit status.
 */
int options_parse(const char *command, const char *usage, const struct option_spec *specs, size_t n,
		  int argc, char **argv);

#endif
