// SPDX-License-Identifier: Apache-2.0
/*
 * A test that fails ends at once, so another process gives the pool back: one that waits for the
 * test's end of a pipe to close, and holds the lock until it has.
 */
#include "huge.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include <criterion/criterion.h>

#define POOL "/sys/kernel/mm/hugepages/hugepages-2048kB/"

static unsigned number_of(const char *path)
{
	FILE *file = fopen(path, "re");
	unsigned n = 0;

	if (!file)
		cr_skip_test("%s: %s", path, strerror(errno));
	if (fscanf(file, "%u", &n) != 1)
		n = 0;
	(void)fclose(file);
	return n;
}

unsigned huge_pages_count(void)
{
	return number_of(POOL "free_hugepages");
}

/* 0 or -errno. */
static int resize(int fd, unsigned n)
{
	char text[16];
	int length = snprintf(text, sizeof(text), "%u\n", n);

	return pwrite(fd, text, (size_t)length, 0) < 0 ? -errno : 0;
}

static void give_back_at_end(int fd, unsigned n_before)
{
	int ends[2];
	pid_t child;
	char byte;

	cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
	child = fork();
	cr_assert_geq(child, 0);
	if (child > 0) {
		(void)close(ends[0]);
		return;
	}
	(void)setsid();
	for (int i = 0; i < 1024; i++)
		if (i != fd && i != ends[0])
			(void)close(i);
	while (read(ends[0], &byte, 1) < 0 && errno == EINTR)
		;
	_exit(resize(fd, n_before) < 0);
}

/* The pool's file, locked; the test's for good. */
static int pool(void)
{
	static int fd = -1;

	if (fd >= 0)
		return fd;
	fd = open(POOL "nr_hugepages", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		fd = open(POOL "nr_hugepages", O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		cr_skip_test(POOL ": %s", strerror(errno));
	(void)flock(fd, LOCK_EX);
	if ((fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDWR)
		give_back_at_end(fd, number_of(POOL "nr_hugepages"));
	return fd;
}

void huge_pages_free(unsigned n)
{
	int fd = pool(), r;
	unsigned n_free = huge_pages_count();

	if (n_free == n)
		return;
	r = resize(fd, number_of(POOL "nr_hugepages") + n - n_free);
	if (r < 0)
		cr_skip_test("%u huge pages are free, %u wanted: " POOL "nr_hugepages: %s", n_free,
			     n, strerror(-r));
	n_free = huge_pages_count();
	if (n_free != n)
		cr_skip_test("%u huge pages could be had of %u", n_free, n);
}
