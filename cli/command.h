/* SPDX-License-Identifier: Apache-2.0 */
/* The subcommands, and what they answer the shell. */
#ifndef CLI_COMMAND_H
#define CLI_COMMAND_H

#include <stdint.h>

enum command_status {
	STATUS_OK = 0,
	STATUS_FAILED = 1,
	STATUS_USAGE = 2,
	STATUS_INVALID = 3, /* it ran, but what was measured is not what was meant */
};

/* argv[0] is the subcommand's name. */
int command_bench(int argc, char **argv);
int command_bench_rtt(int argc, char **argv);
int command_bench_wake(int argc, char **argv);
int command_bench_stream(int argc, char **argv);
int command_bench_large(int argc, char **argv);
int command_bench_many(int argc, char **argv);
int command_bench_fanin(int argc, char **argv);
int command_bench_idle(int argc, char **argv);
int command_bench_open(int argc, char **argv);
int command_bench_report(int argc, char **argv);
int command_doctor(int argc, char **argv);

/* A whole number from @min to @max. 0, or -EINVAL after a line on stderr that names @option. */
int command_number(const char *option, const char *text, uint64_t min, uint64_t max, uint64_t *ret);

/* STATUS_USAGE, after a line on stderr that points to --help. */
int command_usage(const char *command);

/* Everything printed went out: @status, else STATUS_FAILED. */
int command_flush(int status);

#endif
