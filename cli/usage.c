// SPDX-License-Identifier: Apache-2.0
#include "usage.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"

#define PATH_BYTES 64
#define LINE_BYTES 512

static void fclosep(FILE **file)
{
	if (*file)
		(void)fclose(*file);
}

static void closedirp(DIR **dir)
{
	if (*dir)
		(void)closedir(*dir);
}

/* The first number of a thread's schedstat is its time on a CPU. */
static int thread_cpu_ns(pid_t pid, const char *thread, uint64_t *ret)
{
	_cleanup_(fclosep) FILE *file = NULL;
	char path[PATH_BYTES + 32];

	(void)snprintf(path, sizeof(path), "/proc/%d/task/%.20s/schedstat", (int)pid, thread);
	file = fopen(path, "re");
	if (!file)
		return -errno;
	return fscanf(file, "%" SCNu64, ret) == 1 ? 0 : -EIO;
}

int usage_cpu_ns(pid_t pid, uint64_t *ret)
{
	_cleanup_(closedirp) DIR *tasks = NULL;
	char path[PATH_BYTES];
	struct dirent *entry;
	uint64_t sum = 0;

	(void)snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	tasks = opendir(path);
	if (!tasks)
		return -errno;
	while ((entry = readdir(tasks))) {
		uint64_t ns;
		int r;

		if (entry->d_name[0] == '.')
			continue;
		r = thread_cpu_ns(pid, entry->d_name, &ns);
		/* A thread that ended meanwhile. */
		if (r == -ENOENT || r == -ESRCH)
			continue;
		if (r < 0)
			return r;
		sum += ns;
	}
	*ret = sum;
	return 0;
}

int usage_private_bytes(pid_t pid, uint64_t *ret)
{
	_cleanup_(fclosep) FILE *file = NULL;
	char path[PATH_BYTES], line[LINE_BYTES];
	uint64_t kib;

	(void)snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)pid);
	file = fopen(path, "re");
	if (!file)
		return -errno;
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "Anonymous: %" SCNu64 " kB", &kib) == 1) {
			*ret = kib * 1024;
			return 0;
		}
	}
	return -ENODATA;
}

/* ── shared memory ── */

struct mapping {
	uint64_t inode, end; /* of the file, and how far of it is mapped */
	unsigned long device;
	bool half;
};

struct mappings {
	struct mapping *all;
	size_t n, n_max;
};

static int add_mapping(struct mappings *mappings, const struct mapping *mapping)
{
	if (mappings->n == mappings->n_max) {
		size_t n = mappings->n_max ? 2 * mappings->n_max : 1024;
		struct mapping *all = realloc(mappings->all, n * sizeof(*all));

		if (!all)
			return -ENOMEM;
		mappings->all = all;
		mappings->n_max = n;
	}
	mappings->all[mappings->n++] = *mapping;
	return 0;
}

/* A line of /proc/PID/maps. False: nothing that is shared memory. */
static bool read_mapping(const char *line, struct mapping *ret)
{
	unsigned int major_number, minor_number;
	uint64_t from, to, offset;
	char rights[5];
	int at = 0;

	if (sscanf(line, "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %x:%x %" SCNu64 " %n", &from, &to,
		   rights, &offset, &major_number, &minor_number, &ret->inode, &at) < 7 ||
	    rights[3] != 's' || ret->inode == 0)
		return false;
	ret->end = offset + (to - from);
	ret->device = (unsigned long)major_number << 20 | minor_number;
	ret->half = strncmp(line + at, "/memfd:ipc-half", 15) == 0;
	/* The kernel's own queues are nobody's to share with. */
	return strncmp(line + at, "anon_inode:", 11) != 0;
}

static int read_mappings(pid_t pid, struct mappings *mappings)
{
	_cleanup_(fclosep) FILE *file = NULL;
	char path[PATH_BYTES], line[LINE_BYTES];
	int r = 0;

	(void)snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	file = fopen(path, "re");
	if (!file)
		return -errno;
	while (r == 0 && fgets(line, sizeof(line), file)) {
		struct mapping mapping;

		if (read_mapping(line, &mapping))
			r = add_mapping(mappings, &mapping);
	}
	return r;
}

/* By file; of one file's, the one that reaches farthest first. */
static int compare(const void *left, const void *right)
{
	const struct mapping *a = left, *b = right;

	if (a->device != b->device)
		return a->device < b->device ? -1 : 1;
	if (a->inode != b->inode)
		return a->inode < b->inode ? -1 : 1;
	return (a->end < b->end) - (a->end > b->end);
}

int usage_shared_bytes(const pid_t *pids, size_t n, uint64_t *ret_halves, uint64_t *ret_others)
{
	struct mappings mappings = {};
	uint64_t halves = 0, others = 0;
	int r = 0;

	for (size_t i = 0; r == 0 && i < n; i++)
		r = read_mappings(pids[i], &mappings);
	if (r == 0 && mappings.n)
		qsort(mappings.all, mappings.n, sizeof(*mappings.all), compare);
	for (size_t i = 0; r == 0 && i < mappings.n; i++) {
		const struct mapping *mapping = &mappings.all[i];

		if (i && mapping->inode == mapping[-1].inode &&
		    mapping->device == mapping[-1].device)
			continue;
		*(mapping->half ? &halves : &others) += mapping->end;
	}
	free(mappings.all);
	if (r < 0)
		return r;
	*ret_halves = halves;
	*ret_others = others;
	return 0;
}
