// SPDX-License-Identifier: Apache-2.0
/* Halves of huge pages: what an owner makes, and what an importer lets in. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "dispose.h"
#include "half.h"
#include "huge.h"

#define PAGE IPCI_HALF_HUGE_PAGE_BYTES
#define RING_BYTES ((uint64_t)2 * PAGE)
#define HALF_BYTES ((off_t)(PAGE + RING_BYTES))
#define HALF_PAGES 3u
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL)
#define MFD_HUGE (0x0004U | 21U << 26)

TestSuite(huge, .timeout = 60);

static struct ipci_half own, seen;
static struct ipci_error error;
static int fd;

static void create_and_import(void)
{
	huge_pages_free(HALF_PAGES);
	cr_assert_eq(ipci_half_make(&own, &fd, RING_BYTES, PAGE, &error), 0, "%s", error.text);
	cr_assert_eq(ipci_half_import_shape(&seen, fd, RING_BYTES, PAGE, &error), 0, "%s",
		     error.text);
}

static void deinit(void)
{
	ipci_half_deinit(&own);
	ipci_half_deinit(&seen);
	(void)close(fd);
	while (ipci_dispose_counts().n_large > 0)
		sched_yield();
}

Test(huge, a_half_is_aligned_mirrored_populated_and_of_the_exact_size)
{
	struct stat st;

	create_and_import();
	cr_assert_eq(huge_pages_count(), 0, "importing takes none");
	cr_assert_eq((uintptr_t)own.base % PAGE, 0);
	cr_assert_eq((uintptr_t)seen.base % PAGE, 0);
	cr_assert_eq(own.ring_offset, PAGE);
	cr_assert_eq(seen.page_bytes, PAGE);
	cr_assert_eq(fstat(fd, &st), 0);
	cr_assert_eq(st.st_size, HALF_BYTES);
	cr_assert_eq(st.st_blocks * 512, HALF_BYTES);
	cr_assert_eq(fcntl(fd, F_GET_SEALS) & SEALS, SEALS);
	memcpy(own.base + own.ring_offset + RING_BYTES - 4, "abcdefgh", 8);
	cr_assert_eq(memcmp(seen.base + seen.ring_offset, "efgh", 4), 0);
	cr_assert_eq(memcmp(seen.base + seen.ring_offset + RING_BYTES - 4, "abcdefgh", 8), 0);
	own.base[own.ring_offset + 2 * RING_BYTES - 1] = 'z';
	cr_assert_eq(seen.base[seen.ring_offset + RING_BYTES - 1], 'z');
	deinit();
	cr_assert_eq(huge_pages_count(), HALF_PAGES);
}

Test(huge, who_imports_a_half_can_only_read_it)
{
	create_and_import();
	cr_assert_eq(mmap(NULL, (size_t)HALF_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0),
		     MAP_FAILED);
	cr_assert_lt(mprotect(seen.base, PAGE, PROT_READ | PROT_WRITE), 0);
	cr_assert_lt(madvise(seen.base, PAGE, MADV_REMOVE), 0);
	cr_assert_lt(pwrite(fd, "x", 1, 0), 0);
	/* Nor does the owner take a page away that is read here. */
	cr_assert_lt(madvise(own.base, PAGE, MADV_REMOVE), 0);
	cr_assert_lt(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE), 0);
	cr_assert_lt(ftruncate(fd, PAGE), 0);
	deinit();
}

Test(huge, a_ring_is_whole_huge_pages)
{
	cr_assert_not(ipci_half_shape_ok(PAGE / 2, PAGE));
	cr_assert(ipci_half_shape_ok(PAGE, PAGE));
	cr_assert(ipci_half_shape_ok(UINT64_C(1) << 30, PAGE));
	cr_assert_not(ipci_half_shape_ok(UINT64_C(1) << 31, PAGE));
	cr_assert_not(ipci_half_shape_ok(UINT64_C(1) << 30, 4096));
	cr_assert_not(ipci_half_shape_ok(UINT64_C(1) << 30, 1u << 30));
	cr_assert_eq(ipci_half_make(&own, &fd, 65536, PAGE, &error), -EINVAL);
	cr_assert_not_null(strstr(error.text, "huge pages"), "%s", error.text);
}

Test(huge, without_huge_pages_the_error_says_what_to_do)
{
	huge_pages_free(HALF_PAGES - 1);
	fd = 77;
	cr_assert_eq(ipci_half_make(&own, &fd, RING_BYTES, PAGE, &error), -ENOMEM);
	cr_assert_not_null(strstr(error.text, "nr_hugepages"), "%s", error.text);
	cr_assert_not_null(strstr(error.text, "3 huge pages"), "%s", error.text);
	cr_assert_eq(fd, 77);
	cr_assert_null(own.base);
	cr_assert_eq(huge_pages_count(), HALF_PAGES - 1, "none was kept");
}

/* Takes @forged. */
static void assert_refused(int forged, uint64_t ring_bytes, uint32_t page_bytes, const char *words)
{
	error.text[0] = '\0';
	cr_assert_geq(forged, 0, "%s", strerror(errno));
	cr_assert_eq(ipci_half_import_shape(&seen, forged, ring_bytes, page_bytes, &error), -EPROTO,
		     "%s", error.text);
	cr_assert_not_null(strstr(error.text, words), "\"%s\" lacks \"%s\"", error.text, words);
	cr_assert_null(seen.base);
	cr_assert_eq(close(forged), 0);
	while (ipci_dispose_counts().n_large > 0)
		sched_yield();
}

/* Memory that a peer says is a half: @n pages from the start, and @n_behind behind the end. */
static int forge(unsigned n, unsigned n_behind)
{
	int forged = memfd_create("ipc-half", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGE);

	cr_assert_geq(forged, 0, "%s", strerror(errno));
	cr_assert_eq(ftruncate(forged, HALF_BYTES), 0);
	if (n)
		cr_assert_eq(fallocate(forged, 0, 0, (off_t)n * PAGE), 0);
	if (n_behind)
		cr_assert_eq(fallocate(forged, FALLOC_FL_KEEP_SIZE, HALF_BYTES + PAGE,
				       (off_t)n_behind * PAGE),
			     0);
	cr_assert_eq(fcntl(forged, F_ADD_SEALS, SEALS), 0);
	return forged;
}

Test(huge, holes_are_refused)
{
	huge_pages_free(HALF_PAGES - 1);
	assert_refused(forge(HALF_PAGES - 1, 0), RING_BYTES, PAGE, "holes");
	assert_refused(forge(0, 0), RING_BYTES, PAGE, "holes");
}

Test(huge, a_hole_that_nothing_can_fill_raises_no_signal)
{
	huge_pages_free(HALF_PAGES);
	assert_refused(forge(HALF_PAGES - 1, 1), RING_BYTES, PAGE, "no huge page at 4194304");
	assert_refused(forge(0, HALF_PAGES), RING_BYTES, PAGE, "no huge page at 0");
}

Test(huge, of_holes_that_could_be_filled_one_is)
{
	int forged, copy;

	huge_pages_free(2 * HALF_PAGES);
	forged = forge(0, HALF_PAGES);
	copy = fcntl(forged, F_DUPFD_CLOEXEC, 0);
	assert_refused(forged, RING_BYTES, PAGE, "no huge page at 0");
	cr_assert_eq(huge_pages_count(), HALF_PAGES - 1);
	ipci_fd_close(copy);
	cr_assert_eq(huge_pages_count(), 2 * HALF_PAGES);
}

Test(huge, pages_other_than_agreed_are_refused)
{
	struct ipci_half plain;
	int copy;

	create_and_import();
	ipci_half_deinit(&seen);
	copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	assert_refused(copy, RING_BYTES, 0, "a half of huge pages");
	copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	assert_refused(copy, PAGE, PAGE, "bytes where");
	deinit();
	cr_assert_eq(ipci_half_create(&plain, &fd, RING_BYTES, &error), 0);
	ipci_half_deinit(&plain);
	assert_refused(fd, RING_BYTES, PAGE, "without the huge pages agreed on");
}
