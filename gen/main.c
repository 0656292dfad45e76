/* SPDX-License-Identifier: Apache-2.0 */
/* The command: options, files, exit codes. */
#include "cleanup.h"
#include "compile.h"
#include "file.h"
#include "flatc.h"

#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <ipc/version.h>

#define BFBS_MAX_BYTES (16 << 20)
#define DIRS_MAX 64

enum {
	EXIT_GOOD = 0,
	EXIT_REFUSED = 1,
	EXIT_USAGE = 2,
	EXIT_SYSTEM = 3,
};

struct options {
	const char *input;
	const char *output;
	const char *dirs[DIRS_MAX + 1];
	size_t n_dirs;
};

static const char usage[] =
	"Usage: ipc-gen FILE.fbs|FILE.bfbs [-o OUT.h] [-I DIR]...\n"
	"Compile a FlatBuffers schema to a C header for libipc.\n"
	"\n"
	"  -o, --output OUT.h   the header (default: FILE_fbs.h in the current directory)\n"
	"  -I, --include DIR    where included schemas are; may be given more than once\n"
	"  -h, --help           this text\n"
	"  -V, --version        the version\n"
	"\n"
	"Exit status: 0 written; 1 the schema was refused; 2 wrong usage; 3 the system failed.\n";

static int misused(const char *what, const char *why)
{
	fprintf(stderr, "ipc-gen: %s: %s (see --help)\n", what, why);
	return EXIT_USAGE;
}

static bool ends_in(const char *text, const char *suffix)
{
	size_t n = strlen(text), m = strlen(suffix);

	return n > m && strcmp(text + n - m, suffix) == 0;
}

/* -1: go on; else the exit code. */
static int parse(int argc, char **argv, struct options *options)
{
	static const struct option known[] = {
		{"output", required_argument, NULL, 'o'},
		{"include", required_argument, NULL, 'I'},
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'V'},
		{NULL, 0, NULL, 0},
	};
	int c;

	while ((c = getopt_long(argc, argv, "o:I:hV", known, NULL)) != -1) {
		switch (c) {
		case 'o':
			options->output = optarg;
			break;
		case 'I':
			if (options->n_dirs == DIRS_MAX)
				return misused("-I", "more than 64 directories");
			options->dirs[options->n_dirs++] = optarg;
			break;
		case 'h':
			return fputs(usage, stdout) < 0 ? EXIT_SYSTEM : EXIT_GOOD;
		case 'V':
			return printf("ipc-gen %s\n", IPC_VERSION) < 0 ? EXIT_SYSTEM : EXIT_GOOD;
		default:
			return EXIT_USAGE;
		}
	}
	if (argc - optind != 1)
		return misused("arguments", "one schema wanted");
	options->input = argv[optind];
	if (!ends_in(options->input, ".fbs") && !ends_in(options->input, ".bfbs"))
		return misused(options->input, "neither .fbs nor .bfbs");
	return -1;
}

/* The input's name without directories and extension. */
static char *stem_of(const char *path)
{
	const char *base = strrchr(path, '/');

	base = base ? base + 1 : path;
	return strndup(base, (size_t)(strrchr(base, '.') - base));
}

static int run(const struct options *options, struct ipci_error *error)
{
	_cleanup_(freep) char *stem = stem_of(options->input), *fallback = NULL, *text = NULL;
	_cleanup_(freep) void *data = NULL;
	size_t size_bytes;
	int err;

	if (!stem || asprintf(&fallback, "%s_fbs.h", stem) < 0) {
		fallback = NULL;
		return ipci_error_set(error, -ENOMEM, "%s: out of memory", options->input);
	}
	if (ends_in(options->input, ".bfbs"))
		err = ipci_file_read(options->input, BFBS_MAX_BYTES, &data, &size_bytes, error);
	else
		err = ipci_flatc_run(options->input, options->dirs, &data, &size_bytes, error);
	if (!err)
		err = ipci_compile(options->input, stem, data, size_bytes, &text, error);
	if (err)
		return err;
	return ipci_file_write(options->output ? options->output : fallback, text, strlen(text),
			       error);
}

int main(int argc, char **argv)
{
	struct options options = {0};
	struct ipci_error error = {0};
	int r = parse(argc, argv, &options);

	if (r >= 0)
		return r;
	r = run(&options, &error);
	if (r == 0)
		return EXIT_GOOD;
	fprintf(stderr, "%s\n", error.text);
	return r == -EINVAL || r == -EFBIG ? EXIT_REFUSED : EXIT_SYSTEM;
}
