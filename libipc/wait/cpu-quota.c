/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A quota is time in a period. Where it is spent the whole group stands still until the period
 * ends, which may be a tenth of a second: so who spins away what others in the group need, or it
 * needs itself, is slower by far than one that sleeps.
 *
 * Which groups: /proc/self/cgroup. In a container the path there may be the host's, and the mount
 * shows the container's own group as its root: so what is missing is passed over, and the root is
 * always asked.
 */
#include "cpu-quota.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"

#define TEXT_BYTES 4096u

/* As much of a file as fits, as a string; empty where there is none. */
static void read_text(const char *path, char text[TEXT_BYTES])
{
	_cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t n = fd < 0 ? -1 : read(fd, text, TEXT_BYTES - 1);

	text[n > 0 ? n : 0] = '\0';
}

static void read_file(const char *directory, const char *name, char text[TEXT_BYTES])
{
	char path[2 * TEXT_BYTES];

	(void)snprintf(path, sizeof(path), "%s/%s", directory, name);
	read_text(path, text);
}

/* Both positive, or there is no limit: "max", -1, and whatever is no number. */
static unsigned whole_cpus(const char *quota, const char *period)
{
	const long long time = strtoll(quota, NULL, 10), each = strtoll(period, NULL, 10);

	if (time <= 0 || each <= 0)
		return UINT_MAX;
	return time / each < UINT_MAX ? (unsigned)(time / each) : UINT_MAX;
}

static unsigned quota_v2(const char *directory)
{
	char text[TEXT_BYTES];
	const char *space;

	read_file(directory, "cpu.max", text);
	space = strchr(text, ' ');
	return space ? whole_cpus(text, space) : UINT_MAX;
}

static unsigned quota_v1(const char *directory)
{
	char quota[TEXT_BYTES], period[TEXT_BYTES];

	read_file(directory, "cpu.cfs_quota_us", quota);
	read_file(directory, "cpu.cfs_period_us", period);
	return whole_cpus(quota, period);
}

/* The tightest from the group up to the mount's root. */
static unsigned tightest(const char *root, const char *mount, const char *group,
			 unsigned (*quota)(const char *directory))
{
	char directory[2 * TEXT_BYTES];
	size_t mount_size = (size_t)snprintf(directory, TEXT_BYTES, "%s%s", root, mount);
	unsigned least = UINT_MAX;

	if (mount_size >= TEXT_BYTES)
		return UINT_MAX;
	/* A group beside the namespace's own is none that is seen here. */
	if (!strstr(group, "/.."))
		(void)snprintf(directory + mount_size, TEXT_BYTES, "%s", group);
	for (;;) {
		const unsigned n = quota(directory);
		char *slash = strrchr(directory + mount_size, '/');

		least = n < least ? n : least;
		if (!slash)
			return least;
		*slash = '\0';
	}
}

/* Does the list of controllers have this one? */
static bool has_cpu(const char *list)
{
	for (const char *at = list; (at = strstr(at, "cpu")); at += 3)
		if ((at == list || at[-1] == ',') && (at[3] == ',' || at[3] == '\0'))
			return true;
	return false;
}

/* One line of /proc/self/cgroup: number, controllers, path. */
static unsigned quota_of_line(const char *root, char *line)
{
	static const char *const mounts[][2] = {
		{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"},
		{"/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct"},
	};
	char *controllers = strchr(line, ':');
	char *group = controllers ? strchr(controllers + 1, ':') : NULL;
	unsigned least = UINT_MAX;
	bool v1;

	if (!group)
		return UINT_MAX;
	*group++ = '\0';
	v1 = has_cpu(++controllers);
	if (!v1 && *controllers)
		return UINT_MAX;
	for (unsigned i = 0; i < 2; i++) {
		const unsigned n = tightest(root, mounts[v1][i], group, v1 ? quota_v1 : quota_v2);

		least = n < least ? n : least;
	}
	return least;
}

unsigned ipci_cpu_quota(const char *root)
{
	char path[TEXT_BYTES], text[TEXT_BYTES], *rest = NULL;
	unsigned least = UINT_MAX;

	(void)snprintf(path, sizeof(path), "%s/proc/self/cgroup", root);
	read_text(path, text);
	for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		const unsigned n = quota_of_line(root, line);

		least = n < least ? n : least;
	}
	return least;
}
