// SPDX-License-Identifier: Apache-2.0
/*
 * Drives a target without libFuzzer: inputs made from a seed, the same for the same seed with every
 * compiler. No coverage guides it, so it finds less; it runs wherever the tests run.
 *
 *   fuzz-x FILE ...                                       runs each file once
 *   fuzz-x -runs=N [-seed=N] [-max_len=N] [FILE ...]      runs N inputs, made from the files' too
 *
 * With -artifact_prefix=PATH every input is in the file PATHlast before it runs, so that a crash
 * leaves it behind.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "target.h"

#define MAX_BYTES 65536u

static uint8_t bytes[MAX_BYTES];
static uint64_t state;

static char **files;
static size_t n_files;

static size_t load(const char *path)
{
	FILE *file = fopen(path, "rbe");
	size_t n;

	if (!file) {
		perror(path);
		exit(2);
	}
	n = fread(bytes, 1, sizeof(bytes), file);
	(void)fclose(file);
	return n;
}

static uint64_t next_random(void)
{
	/* SplitMix64: a counter and a mixing function, so every seed has its own sequence. */
	uint64_t z = state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

/* Random bytes, a file, or the input before with some of its bytes changed. */
static size_t make(size_t n, size_t max_bytes)
{
	const uint64_t how = next_random();

	if (n_files && how % 8 == 0)
		n = load(files[how / 8 % n_files]);
	else if (n == 0 || (!n_files && how % 4 == 0)) {
		n = 1 + next_random() % (how & 8 ? max_bytes : 64);
		for (size_t i = 0; i < n; i++)
			bytes[i] = (uint8_t)next_random();
		return n;
	}
	if (n == 0)
		return 0;
	for (uint64_t i = 0; i <= (how >> 8) % 8; i++) {
		if (how & 1 << 16 && n < max_bytes)
			bytes[n++] = (uint8_t)next_random();
		bytes[next_random() % n] = (uint8_t)next_random();
	}
	return n;
}

static bool is_option(const char *arg, const char *name, uint64_t *ret)
{
	const size_t n = strlen(name);

	if (strncmp(arg, name, n) != 0)
		return false;
	*ret = strtoull(arg + n, NULL, 10);
	return true;
}

static void note(const char *prefix, size_t n)
{
	char path[512];
	FILE *file;

	(void)snprintf(path, sizeof(path), "%slast", prefix);
	file = fopen(path, "wbe");
	if (!file || fwrite(bytes, 1, n, file) != n)
		perror(path);
	if (file)
		(void)fclose(file);
}

int main(int argc, char **argv)
{
	uint64_t runs = 0, seed = 1, max_bytes = 1024;
	const char *prefix = NULL;
	size_t n = 0;
	int i = 1;

	for (; i < argc && argv[i][0] == '-'; i++) {
		if (strncmp(argv[i], "-artifact_prefix=", 17) == 0)
			prefix = argv[i] + 17;
		else if (!is_option(argv[i], "-runs=", &runs) &&
			 !is_option(argv[i], "-seed=", &seed) &&
			 !is_option(argv[i], "-max_len=", &max_bytes))
			return fprintf(stderr, "%s: unknown option %s\n", argv[0], argv[i]), 2;
	}
	files = argv + i;
	n_files = (size_t)(argc - i);
	if (max_bytes == 0 || max_bytes > MAX_BYTES || (runs == 0 && n_files == 0))
		return fprintf(stderr, "%s: -max_len=1..%u, and -runs=N or files\n", argv[0],
			       MAX_BYTES),
		       2;
	target_start();
	for (size_t f = 0; runs == 0 && f < n_files; f++)
		target_run(bytes, load(files[f]));
	state = seed;
	for (uint64_t run = 0; run < runs; run++) {
		n = make(n, max_bytes);
		if (prefix)
			note(prefix, n);
		target_run(bytes, n);
	}
	printf("%" PRIu64 " inputs, seed %" PRIu64 "\n", runs ? runs : n_files, seed);
	return 0;
}
