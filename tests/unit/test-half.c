// SPDX-License-Identifier: Apache-2.0
/* What a half is when all is well; what is refused is in tests/hostile/test-fds.c. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "dispose.h"
#include "half.h"

#define RING_BYTES UINT64_C(65536)

TestSuite(half, .timeout = 30);

static struct ipci_half own, seen;
static int fd;

static void create_and_import(uint64_t ring_bytes)
{
	struct ipci_error error = {0};

	cr_assert_eq(ipci_half_create(&own, &fd, ring_bytes, &error), 0, "%s", error.text);
	cr_assert_eq(ipci_half_import(&seen, fd, ring_bytes, &error), 0, "%s", error.text);
}

static void deinit(void)
{
	ipci_half_deinit(&own);
	ipci_half_deinit(&seen);
	close(fd);
}

Test(half, a_ring_is_a_power_of_two_within_bounds)
{
	cr_assert_not(ipci_half_ring_bytes_ok(0));
	cr_assert_not(ipci_half_ring_bytes_ok(2048));
	cr_assert(ipci_half_ring_bytes_ok(4096));
	cr_assert_not(ipci_half_ring_bytes_ok(4097));
	cr_assert_not(ipci_half_ring_bytes_ok(12288));
	cr_assert(ipci_half_ring_bytes_ok(UINT64_C(1) << 30));
	cr_assert_not(ipci_half_ring_bytes_ok(UINT64_C(1) << 31));
	cr_assert_not(ipci_half_ring_bytes_ok(UINT64_C(1) << 63));
	cr_assert_not(ipci_half_ring_bytes_ok(UINT64_MAX));
}

Test(half, a_new_half_is_zeroed_sealed_populated_and_of_the_exact_size)
{
	struct stat st;
	int seals;

	create_and_import(RING_BYTES);
	cr_assert(own.own);
	cr_assert_not(seen.own);
	cr_assert_eq(own.ring_bytes, RING_BYTES);
	cr_assert_eq(own.ring_offset, IPCI_HALF_RING_OFFSET);
	cr_assert_eq(fstat(fd, &st), 0);
	cr_assert_eq(st.st_size, (off_t)ipci_half_size_bytes(RING_BYTES));
	cr_assert_geq(st.st_blocks * 512, st.st_size);
	seals = fcntl(fd, F_GET_SEALS);
	cr_assert_eq(seals & (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE),
		     F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE);
	cr_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	for (size_t i = 0; i < own.ring_offset + 2 * RING_BYTES; i++)
		cr_assert_eq(seen.base[i], 0);
	deinit();
}

Test(half, what_the_owner_writes_the_importer_sees)
{
	create_and_import(RING_BYTES);
	for (size_t i = 0; i < own.ring_offset + RING_BYTES; i++)
		own.base[i] = (uint8_t)(i * 7 + i / 256);
	for (size_t i = 0; i < own.ring_offset + RING_BYTES; i++)
		cr_assert_eq(seen.base[i], (uint8_t)(i * 7 + i / 256));
	deinit();
}

static void assert_mirrored(uint64_t ring_bytes)
{
	uint8_t *ring, *view;

	create_and_import(ring_bytes);
	ring = own.base + own.ring_offset;
	view = seen.base + seen.ring_offset;
	/* Across the seam, from either side of it. */
	memcpy(ring + ring_bytes - 4, "abcdefgh", 8);
	cr_assert_eq(memcmp(ring, "efgh", 4), 0);
	cr_assert_eq(memcmp(view, "efgh", 4), 0);
	cr_assert_eq(memcmp(view + ring_bytes - 4, "abcdefgh", 8), 0);
	memcpy(ring, "EFGH", 4);
	cr_assert_eq(memcmp(ring + ring_bytes - 4, "abcdEFGH", 8), 0);
	ring[2 * ring_bytes - 1] = 'z';
	cr_assert_eq(view[ring_bytes - 1], 'z');
	/* The control page is no part of the mirror. */
	cr_assert_eq(own.base[0], 0);
	deinit();
}

Test(half, the_ring_is_mapped_twice_in_a_row)
{
	for (uint64_t ring_bytes = (uint64_t)sysconf(_SC_PAGESIZE); ring_bytes <= UINT64_C(1) << 24;
	     ring_bytes *= 4)
		assert_mirrored(ring_bytes);
}

Test(half, a_size_that_no_ring_has_is_refused_and_nothing_written)
{
	struct ipci_half half = {.ring_bytes = 77};
	struct ipci_error error = {0};
	int none = 77;

	cr_assert_eq(ipci_half_create(&half, &none, 5000, &error), -EINVAL);
	cr_assert_not_null(strstr(error.text, "5000"));
	cr_assert_eq(ipci_half_create(&half, &none, 0, NULL), -EINVAL);
	cr_assert_eq(ipci_half_create(&half, &none, UINT64_C(1) << 40, NULL), -EINVAL);
	cr_assert_eq(none, 77);
	cr_assert_eq(half.ring_bytes, 77);
	cr_assert_null(half.base);
}

static size_t n_mappings(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	size_t n = 0;
	char line[512];

	cr_assert_not_null(maps);
	while (fgets(line, sizeof(line), maps))
		n += strstr(line, "ipc-half") != NULL;
	fclose(maps);
	return n;
}

Test(half, deinit_leaves_no_mapping_and_may_be_repeated)
{
	cr_assert_eq(n_mappings(), 0);
	create_and_import(RING_BYTES);
	cr_assert_geq(n_mappings(), 4);
	deinit();
	cr_assert_eq(n_mappings(), 0);
	cr_assert_null(own.base);
	ipci_half_deinit(&own);
}

Test(half, a_large_one_is_unmapped_soon_and_whole)
{
	const uint64_t large[] = {UINT64_C(1) << 23, UINT64_C(1) << 24, UINT64_C(1) << 26};

	for (size_t i = 0; i < sizeof(large) / sizeof(large[0]); i++) {
		create_and_import(large[i]);
		deinit();
		while (ipci_dispose_counts().n_large > 0)
			sched_yield();
		cr_assert_eq(n_mappings(), 0);
	}
}

Test(half, without_descriptors_nothing_is_made)
{
	struct rlimit limit = {0, 0}, before;
	struct ipci_half half = {0};
	struct ipci_error error = {0};
	int none = 77;

	getrlimit(RLIMIT_NOFILE, &before);
	limit.rlim_max = before.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	cr_assert_eq(ipci_half_create(&half, &none, RING_BYTES, &error), -EMFILE);
	setrlimit(RLIMIT_NOFILE, &before);
	cr_assert_eq(none, 77);
	cr_assert_null(half.base);
	cr_assert_not_null(strstr(error.text, "memfd"), "%s", error.text);
}

static int result_with_address_space(uint64_t bytes)
{
	struct rlimit before, limit;
	struct ipci_half half = {0};
	struct ipci_error error = {0};
	int r;

	getrlimit(RLIMIT_AS, &before);
	limit = (struct rlimit){bytes, before.rlim_max};
	setrlimit(RLIMIT_AS, &limit);
	r = ipci_half_import(&half, fd, own.ring_bytes, &error);
	setrlimit(RLIMIT_AS, &before);
	if (r < 0)
		cr_assert_null(half.base);
	ipci_half_deinit(&half);
	return r;
}

Test(half, without_address_space_nothing_stays_mapped)
{
	create_and_import(UINT64_C(1) << 21);
	ipci_half_deinit(&seen);
	cr_assert_eq(result_with_address_space(1 << 20), -ENOMEM);
	cr_assert_eq(n_mappings(), 2);
	cr_assert_eq(result_with_address_space(RLIM_INFINITY), 0);
	cr_assert_eq(n_mappings(), 2);
	deinit();
}

static sigjmp_buf fault;

static void on_fault(int signal)
{
	(void)signal;
	siglongjmp(fault, 1);
}

/* 0 it could be read, 1 it faulted. */
static int reading_faults(const volatile uint8_t *address)
{
	struct sigaction action = {.sa_handler = on_fault};

	sigaction(SIGSEGV, &action, NULL);
	if (sigsetjmp(fault, 1))
		return 1;
	(void)*address;
	return 0;
}

Test(half, a_forked_child_has_neither_half)
{
	int status;
	pid_t child;

	create_and_import(RING_BYTES);
	cr_assert_not(reading_faults(own.base));
	cr_assert_not(reading_faults(seen.base));
	child = fork();
	if (child == 0)
		_exit(!reading_faults(own.base) || !reading_faults(own.base + own.ring_offset) ||
		      !reading_faults(own.base + own.ring_offset + RING_BYTES) ||
		      !reading_faults(seen.base) ||
		      !reading_faults(seen.base + seen.ring_offset + RING_BYTES));
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert_eq(status, 0);
	deinit();
}

Test(half, a_write_through_the_importers_mapping_faults)
{
	int status;
	pid_t child = fork();

	if (child == 0) {
		signal(SIGSEGV, SIG_DFL);
		if (ipci_half_create(&own, &fd, RING_BYTES, NULL) == 0 &&
		    ipci_half_import(&seen, fd, RING_BYTES, NULL) == 0)
			*(volatile uint8_t *)seen.base = 1;
		_exit(0);
	}
	cr_assert_eq(waitpid(child, &status, 0), child);
	/* A sanitizer reports the fault by exiting. */
	cr_assert(!WIFEXITED(status) || WEXITSTATUS(status) != 0);
}

Test(half, the_broker_can_check_without_mapping)
{
	create_and_import(RING_BYTES);
	cr_assert_eq(ipci_half_check(fd, RING_BYTES, NULL), 0);
	cr_assert_eq(ipci_half_check(fd, 2 * RING_BYTES, NULL), -EPROTO);
	deinit();
}
