// SPDX-License-Identifier: Apache-2.0
/*
 * Descriptors from a stranger who claims that they are halves. Each kind is refused at the check
 * that is meant for it, without blocking; and of a genuine half nothing but reading is possible,
 * however the descriptor is turned.
 *
 * What an importer cannot find out is whether somebody maps the half writable since before it was
 * sealed. It need not be: only the owner's side can have made that mapping, and the owner may write
 * anyway.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "cleanup.h"
#include "half.h"

#define RING_BYTES UINT64_C(65536)
#define HALF_BYTES ((off_t)(IPCI_HALF_RING_OFFSET + RING_BYTES))
#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL)

TestSuite(fds, .timeout = 20);

/* Takes @fd. It must be refused by check and import alike, with @words in the reason. */
static void assert_refused(int fd, const char *words)
{
	struct ipci_half half = {.ring_bytes = 77};
	struct ipci_error error = {0};

	cr_assert_geq(fd, 0, "%s", strerror(errno));
	cr_assert_eq(ipci_half_check(fd, RING_BYTES, &error), -EPROTO, "%s", words);
	cr_assert_eq(error.code, -EPROTO);
	cr_assert_not_null(strstr(error.text, words), "\"%s\" lacks \"%s\"", error.text, words);
	cr_assert_eq(ipci_half_check(fd, RING_BYTES, NULL), -EPROTO);
	cr_assert_eq(ipci_half_import(&half, fd, RING_BYTES, &error), -EPROTO);
	cr_assert_null(half.base);
	cr_assert_eq(half.ring_bytes, 77);
	/* Refused, and still the caller's. */
	cr_assert_eq(close(fd), 0);
}

/* Takes @fd. What the broker, which reads nothing, need not find out, who maps it does. */
static void assert_not_imported(int fd, uint64_t ring_bytes, uint32_t page_bytes, const char *words)
{
	struct ipci_half half = {.ring_bytes = 77};
	struct ipci_error error = {0};

	cr_assert_eq(ipci_half_check_shape(fd, ring_bytes, page_bytes, &error), 0, "%s",
		     error.text);
	cr_assert_eq(ipci_half_import_shape(&half, fd, ring_bytes, page_bytes, &error), -EPROTO);
	cr_assert_not_null(strstr(error.text, words), "\"%s\" lacks \"%s\"", error.text, words);
	cr_assert_null(half.base);
	cr_assert_eq(half.ring_bytes, 77);
	cr_assert_eq(close(fd), 0);
}

/* A memfd as a peer may make it. */
static int forge(off_t size, unsigned flags, int seals)
{
	int fd = memfd_create("ipc-half", MFD_CLOEXEC | MFD_ALLOW_SEALING | flags);

	cr_assert_geq(fd, 0);
	cr_assert_eq(ftruncate(fd, size), 0);
	cr_assert_eq(fallocate(fd, 0, 0, size), 0);
	cr_assert_eq(fcntl(fd, F_ADD_SEALS, seals), 0);
	return fd;
}

Test(fds, a_forged_half_with_everything_right_is_accepted)
{
	struct ipci_half half;
	int fd = forge(HALF_BYTES, 0, SEALS);

	cr_assert_eq(ipci_half_import(&half, fd, RING_BYTES, NULL), 0);
	ipci_half_deinit(&half);
	close(fd);
}

Test(fds, each_missing_seal_is_named)
{
	assert_refused(forge(HALF_BYTES, 0, SEALS & ~F_SEAL_SHRINK), "without the seals shrink");
	assert_refused(forge(HALF_BYTES, 0, SEALS & ~F_SEAL_GROW), "without the seals grow");
	assert_refused(forge(HALF_BYTES, 0, SEALS & ~F_SEAL_FUTURE_WRITE),
		       "without the seals future-write");
	assert_refused(forge(HALF_BYTES, 0, SEALS & ~F_SEAL_SEAL), "without the seals seal");
	assert_refused(forge(HALF_BYTES, 0, 0), "without the seals shrink grow future-write seal");
	/* Sealed against every write is not what was agreed on either. */
	assert_refused(forge(HALF_BYTES, 0,
			     F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL),
		       "future-write");
}

Test(fds, a_memfd_that_cannot_be_sealed_is_refused)
{
	int fd = memfd_create("ipc-half", MFD_CLOEXEC);

	cr_assert_eq(ftruncate(fd, HALF_BYTES), 0);
	assert_refused(fd, "without the seals");
}

Test(fds, any_other_size_is_refused)
{
	static const off_t sizes[] = {0,
				      1,
				      4096,
				      (off_t)RING_BYTES,
				      HALF_BYTES - 4096,
				      HALF_BYTES - 1,
				      HALF_BYTES + 1,
				      HALF_BYTES + 4096,
				      2 * HALF_BYTES};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		int fd = memfd_create("ipc-half", MFD_CLOEXEC | MFD_ALLOW_SEALING);

		cr_assert_eq(ftruncate(fd, sizes[i]), 0);
		if (sizes[i] > 0)
			cr_assert_eq(fallocate(fd, 0, 0, sizes[i]), 0);
		cr_assert_eq(fcntl(fd, F_ADD_SEALS, SEALS), 0);
		assert_refused(fd, "bytes where 69632 were agreed");
	}
}

Test(fds, a_size_that_no_ring_has_is_refused)
{
	static const uint64_t sizes[] = {0, 1, 4095, 65535, 3 * UINT64_C(65536), UINT64_MAX};
	int fd = forge(HALF_BYTES, 0, SEALS);

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct ipci_half half = {0};

		cr_assert_eq(ipci_half_check(fd, sizes[i], NULL), -EPROTO);
		cr_assert_eq(ipci_half_import(&half, fd, sizes[i], NULL), -EPROTO);
		cr_assert_null(half.base);
	}
	close(fd);
}

Test(fds, holes_are_refused)
{
	int fd = memfd_create("ipc-half", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	/* All of it a hole. */
	cr_assert_eq(ftruncate(fd, HALF_BYTES), 0);
	cr_assert_eq(fcntl(fd, F_ADD_SEALS, SEALS), 0);
	assert_refused(fd, "holes");
	/* One page, punched just before sealing. */
	fd = forge(HALF_BYTES, 0, F_SEAL_SHRINK);
	cr_assert_eq(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 8192, 4096), 0);
	cr_assert_eq(fcntl(fd, F_ADD_SEALS, SEALS), 0);
	assert_refused(fd, "holes");
}

static bool kernel_counts_pages(void)
{
	struct {
		uint64_t words[7];
	} range_and_counts = {{0}};

	return syscall(451, -1, &range_and_counts, &range_and_counts.words[2], 0) < 0 &&
	       errno == EBADF;
}

Test(fds, holes_are_refused_also_where_as_much_was_allocated_behind_the_end)
{
	int fd = memfd_create("ipc-half", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	struct stat st;

	if (!kernel_counts_pages())
		cr_skip_test("no cachestat(2), which tells: Linux 6.5");
	cr_assert_eq(ftruncate(fd, HALF_BYTES), 0);
	cr_assert_eq(fallocate(fd, FALLOC_FL_KEEP_SIZE, HALF_BYTES, HALF_BYTES), 0);
	cr_assert_eq(fcntl(fd, F_ADD_SEALS, SEALS), 0);
	cr_assert_eq(fstat(fd, &st), 0);
	cr_assert_geq((off_t)st.st_blocks * 512, HALF_BYTES, "not the case that is meant");
	assert_not_imported(fd, RING_BYTES, 0, "holes");
}

Test(fds, more_memory_than_agreed_is_refused)
{
	int fd = memfd_create("ipc-half", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	cr_assert_eq(ftruncate(fd, HALF_BYTES), 0);
	cr_assert_eq(fallocate(fd, 0, 0, HALF_BYTES), 0);
	cr_assert_eq(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 1024 * HALF_BYTES), 0);
	cr_assert_eq(fcntl(fd, F_ADD_SEALS, SEALS), 0);
	assert_not_imported(fd, RING_BYTES, 0, "allocated for it");
}

Test(fds, a_half_that_was_opened_again_to_be_read_is_refused)
{
	int fd = forge(HALF_BYTES, 0, SEALS);
	char path[64];

	/* Of such a one the kernel may not count the pages. */
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	assert_refused(open(path, O_RDONLY | O_CLOEXEC), "opened again");
	close(fd);
}

Test(fds, a_sealed_half_takes_no_more_holes)
{
	int fd = memfd_create("ipc-half", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	void *map;

	cr_assert_eq(ftruncate(fd, HALF_BYTES), 0);
	cr_assert_eq(fallocate(fd, 0, 0, HALF_BYTES), 0);
	map = mmap(NULL, (size_t)HALF_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	cr_assert_neq(map, MAP_FAILED);
	cr_assert_eq(fcntl(fd, F_ADD_SEALS, SEALS), 0);
	cr_assert_lt(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), 0);
	/* Nor through the owner's own mapping. */
	cr_assert_lt(madvise(map, 4096, MADV_REMOVE), 0);
	cr_assert_eq(ipci_half_check(fd, RING_BYTES, NULL), 0);
	munmap(map, (size_t)HALF_BYTES);
	close(fd);
}

Test(fds, what_is_no_memfd_is_refused_by_the_first_question)
{
	char path[] = "/var/tmp/ipc-test-fds-XXXXXX";
	int fds[2], file = mkostemp(path, O_CLOEXEC);

	cr_assert_geq(file, 0);
	cr_assert_eq(ftruncate(file, HALF_BYTES), 0);
	unlink(path);
	assert_refused(file, "a half "); /* its words depend on what /var/tmp is on */
	assert_refused(open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC), "a half ");
	assert_refused(open("/proc/self/maps", O_RDONLY | O_CLOEXEC), "no memfd");
	assert_refused(open("/dev/zero", O_RDWR | O_CLOEXEC), "no memfd");
	assert_refused(eventfd(0, EFD_CLOEXEC), "no memfd");
	assert_refused(epoll_create1(EPOLL_CLOEXEC), "no memfd");
	assert_refused(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC), "no memfd");
	cr_assert_eq(pipe2(fds, O_CLOEXEC), 0);
	assert_refused(fds[0], "no memfd");
	assert_refused(fds[1], "no memfd");
	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	assert_refused(fds[0], "no memfd");
	assert_refused(fds[1], "no memfd");
}

Test(fds, a_path_only_descriptor_is_refused)
{
	char path[64];
	int fd = forge(HALF_BYTES, 0, SEALS);

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	assert_refused(open(path, O_PATH | O_CLOEXEC), "no memfd");
	close(fd);
	cr_assert_eq(ipci_half_check(-1, RING_BYTES, NULL), -EPROTO);
	cr_assert_eq(ipci_half_check(fd, RING_BYTES, NULL), -EPROTO);
}

Test(fds, a_file_on_tmpfs_is_refused)
{
	char name[64];
	int fd;

	(void)snprintf(name, sizeof(name), "/ipc-test-fds-%d", getpid());
	fd = shm_open(name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		cr_skip_test("no /dev/shm: %s", strerror(errno));
	shm_unlink(name);
	cr_assert_eq(ftruncate(fd, HALF_BYTES), 0);
	cr_assert_eq(fallocate(fd, 0, 0, HALF_BYTES), 0);
	assert_refused(fd, "without the seals");
}

Test(fds, a_memfd_of_huge_pages_is_refused)
{
	int fd = memfd_create("ipc-half", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB);

	if (fd < 0)
		cr_skip_test("no huge pages: %s", strerror(errno));
	cr_assert_eq(ftruncate(fd, 2 << 20), 0);
	if (fcntl(fd, F_ADD_SEALS, SEALS) < 0)
		cr_skip_test("huge pages without seals: %s", strerror(errno));
	/* Whether or not there are any: the file system tells. */
	assert_refused(fd, "huge pages");
}

/* A genuine half, as its importer has it. */
static struct ipci_half own, seen;
static int half_fd;

static void import_genuine(void)
{
	cr_assert_eq(ipci_half_create(&own, &half_fd, RING_BYTES, NULL), 0);
	cr_assert_eq(ipci_half_import(&seen, half_fd, RING_BYTES, NULL), 0);
}

static void assert_unwritable(int fd)
{
	void *map;

	cr_assert_lt(pwrite(fd, "x", 1, 0), 0);
	cr_assert_eq(errno, EPERM);
	cr_assert_lt(pwrite(fd, "x", 1, HALF_BYTES), 0);
	map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	cr_assert_eq(map, MAP_FAILED);
	cr_assert_lt(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), 0);
	cr_assert_lt(fallocate(fd, FALLOC_FL_ZERO_RANGE, 0, 4096), 0);
	cr_assert_lt(fallocate(fd, 0, 0, HALF_BYTES + 4096), 0);
	cr_assert_lt(ftruncate(fd, 0), 0);
	cr_assert_lt(ftruncate(fd, HALF_BYTES - 1), 0);
	cr_assert_lt(ftruncate(fd, HALF_BYTES + 1), 0);
	cr_assert_lt(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), 0);
}

Test(fds, an_importer_cannot_write_through_the_descriptor, .init = import_genuine)
{
	assert_unwritable(half_fd);
	cr_assert_eq(own.base[0], 0);
}

Test(fds, an_importer_cannot_write_by_opening_it_again, .init = import_genuine)
{
	char path[64];
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", half_fd);
	(void)fchmod(half_fd, 0777);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd >= 0)
		assert_unwritable(fd);
	cr_assert_lt(open(path, O_RDWR | O_TRUNC | O_CLOEXEC), 0);
	cr_assert_eq(own.base[0], 0);
}

Test(fds, an_importer_cannot_make_its_mapping_writable, .init = import_genuine)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	for (size_t at = 0; at < own.ring_offset + 2 * RING_BYTES; at += page) {
		cr_assert_lt(mprotect(seen.base + at, page, PROT_READ | PROT_WRITE), 0);
		cr_assert_eq(errno, EACCES);
	}
	cr_assert_lt(madvise(seen.base, page, MADV_REMOVE), 0);
}

Test(fds, a_write_into_a_private_copy_reaches_nobody, .init = import_genuine)
{
	uint8_t *copy = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, half_fd, 0);

	cr_assert_neq(copy, MAP_FAILED);
	copy[0] = 1;
	cr_assert_eq(own.base[0], 0);
	cr_assert_eq(seen.base[0], 0);
}

Test(fds, a_mapping_from_before_the_seal_stays_writable_and_is_its_owners_affair)
{
	int fd = memfd_create("ipc-half", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	struct ipci_half half;
	uint8_t *early;

	cr_assert_eq(ftruncate(fd, HALF_BYTES), 0);
	cr_assert_eq(fallocate(fd, 0, 0, HALF_BYTES), 0);
	early = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
	cr_assert_neq(early, MAP_FAILED);
	cr_assert_eq(fcntl(fd, F_ADD_SEALS, SEALS), 0);
	cr_assert_eq(ipci_half_import(&half, fd, RING_BYTES, NULL), 0);
	/* This is why an owner seals before the descriptor leaves. */
	cr_assert_eq(mprotect(early, 4096, PROT_READ | PROT_WRITE), 0);
	early[7] = 42;
	cr_assert_eq(half.base[7], 42);
	ipci_half_deinit(&half);
	close(fd);
}

Test(fds, no_check_leaks_a_descriptor_or_a_mapping)
{
	for (int i = 0; i < 200; i++) {
		int before = dup(0);

		close(before);
		assert_refused(forge(HALF_BYTES + 4096, 0, SEALS), "bytes");
		assert_refused(forge(HALF_BYTES, 0, 0), "seals");
		cr_assert_eq(dup(0), before);
		close(before);
	}
}
