// SPDX-License-Identifier: Apache-2.0
/*
 * Making halves, and judging those of others.
 *
 * The order of the steps is the security of it. An owner maps read-write before it seals, since
 * nothing can afterwards; and seals before the descriptor leaves, since a writable mapping that
 * someone made before the seal survives it. An importer asks for the seals first, since that
 * question alone is answered at once by every kind of file: a descriptor of a file system that
 * never answers must not get as far as fstat().
 *
 * The importer cannot tell whether somebody else holds a writable mapping from before the seal. It
 * need not: that somebody got it from the owner, and what the owner's side writes is not trusted
 * anyway.
 *
 * A page that is missing from an ordinary half is filled, and charged, where it is read first; a
 * missing huge page raises SIGBUS in whoever reads it if there is none left to fill it with. Both
 * are holes, and the seals keep new ones from being punched. So an importer looks for them once:
 * for pages behind the file's end, which blocks are counted for as well; and huge pages it touches
 * one by one, in a way that fails where reading would raise a signal, and counts blocks again.
 */
#include "half.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

#include "cleanup.h"
#include "dispose.h"

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

#ifndef MFD_HUGETLB
#define MFD_HUGETLB 0x0004U
#endif
#define HUGE_2MB (21U << 26) /* MFD_HUGE_2MB: the size's logarithm */
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

#ifndef SYS_cachestat
#define SYS_cachestat 451
#endif

#define SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE)
#define SEALS_TEXT_BYTES 64

bool ipci_half_ring_bytes_ok(uint64_t ring_bytes)
{
	return ring_bytes >= IPCI_HALF_RING_MIN_BYTES && ring_bytes <= IPCI_HALF_RING_MAX_BYTES &&
	       (ring_bytes & (ring_bytes - 1)) == 0;
}

bool ipci_half_shape_ok(uint64_t ring_bytes, uint32_t page_bytes)
{
	if (page_bytes == 0)
		return ipci_half_ring_bytes_ok(ring_bytes);
	/* Both are powers of two, so the ring is whole pages. */
	return page_bytes == IPCI_HALF_HUGE_PAGE_BYTES && ring_bytes >= page_bytes &&
	       ipci_half_ring_bytes_ok(ring_bytes);
}

static uint32_t ring_offset(uint32_t page_bytes)
{
	return page_bytes ? page_bytes : IPCI_HALF_RING_OFFSET;
}

uint64_t ipci_half_shape_bytes(uint64_t ring_bytes, uint32_t page_bytes)
{
	return ring_offset(page_bytes) + ring_bytes;
}

static int check_geometry(uint64_t ring_bytes, uint32_t page_bytes, struct ipci_error *error)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

	if (!ipci_half_ring_bytes_ok(ring_bytes))
		return ipci_error_set(error, -EINVAL,
				      "a ring of %ju bytes: not a power of two from %ju to %ju",
				      (uintmax_t)ring_bytes, (uintmax_t)IPCI_HALF_RING_MIN_BYTES,
				      (uintmax_t)IPCI_HALF_RING_MAX_BYTES);
	if (!ipci_half_shape_ok(ring_bytes, page_bytes))
		return ipci_error_set(error, -EINVAL,
				      "a ring of %ju bytes on pages of %u: huge pages have %u, and "
				      "a ring is at least one of them",
				      (uintmax_t)ring_bytes, page_bytes, IPCI_HALF_HUGE_PAGE_BYTES);
	/* Both are powers of two, and so is the page. */
	if (ring_offset(page_bytes) < page || ring_bytes < page)
		return ipci_error_set(
			error, -EINVAL,
			"this kernel's pages of %ju bytes cannot map a ring of %ju at %u",
			(uintmax_t)page, (uintmax_t)ring_bytes, ring_offset(page_bytes));
	return 0;
}

static size_t mapping_bytes(uint64_t ring_bytes, uint32_t page_bytes)
{
	return (size_t)(ring_offset(page_bytes) + 2 * ring_bytes);
}

struct region {
	uint8_t *base; /* NULL: none */
	size_t size;
};

static void region_unmap(struct region *region)
{
	int saved = errno;

	if (region->base)
		(void)munmap(region->base, region->size);
	errno = saved;
}

/* Address space, inaccessible, of which the start is aligned to @page_bytes. */
static int reserve(struct region *ret, size_t size, size_t page_bytes)
{
	const size_t slack = page_bytes ? page_bytes - (size_t)sysconf(_SC_PAGESIZE) : 0;
	uint8_t *base = mmap(NULL, size + slack, PROT_NONE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	size_t before;

	if (base == MAP_FAILED)
		return -1;
	before = page_bytes ? -(uintptr_t)base & (page_bytes - 1) : 0;
	if (before)
		(void)munmap(base, before);
	if (slack - before)
		(void)munmap(base + before + size, slack - before);
	*ret = (struct region){.base = base + before, .size = size};
	return 0;
}

static int map_mirrored(struct ipci_half *ret, int fd, uint64_t ring_bytes, uint32_t page_bytes,
			bool own, struct ipci_error *error)
{
	int protection = own ? PROT_READ | PROT_WRITE : PROT_READ;
	/* What is not there is not to be reserved for whoever reads. */
	int flags = MAP_SHARED | MAP_FIXED | (own ? 0 : MAP_NORESERVE);
	size_t size = (size_t)ipci_half_shape_bytes(ring_bytes, page_bytes);
	_cleanup_(region_unmap) struct region region = {0};

	/* The whole of it is reserved first, so that MAP_FIXED replaces nothing but this. */
	if (reserve(&region, mapping_bytes(ring_bytes, page_bytes), page_bytes) < 0)
		return ipci_error_errno(error, "cannot reserve %zu bytes for a half",
					mapping_bytes(ring_bytes, page_bytes));
	if (mmap(region.base, size, protection, flags, fd, 0) == MAP_FAILED)
		return ipci_error_errno(error, "cannot map a half of %zu bytes", size);
	if (mmap(region.base + size, (size_t)ring_bytes, protection, flags, fd,
		 ring_offset(page_bytes)) == MAP_FAILED)
		return ipci_error_errno(error, "cannot map a ring of %ju bytes again",
					(uintmax_t)ring_bytes);
	if (madvise(region.base, region.size, MADV_DONTFORK) < 0)
		return ipci_error_errno(error, "cannot keep a half from being inherited");

	*ret = (struct ipci_half){
		.base = TAKE_PTR(region.base),
		.ring_bytes = ring_bytes,
		.ring_offset = ring_offset(page_bytes),
		.page_bytes = page_bytes,
		.own = own,
	};
	return 0;
}

static int create_memfd(uint32_t page_bytes)
{
	const unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING |
			       (page_bytes ? MFD_HUGETLB | HUGE_2MB : 0);
	int fd = memfd_create("ipc-half", flags | MFD_NOEXEC_SEAL);

	/* Before Linux 6.3 the flag is unknown. */
	if (fd < 0 && errno == EINVAL)
		fd = memfd_create("ipc-half", flags);
	return fd;
}

/* Real memory now, or an error now: not a SIGBUS on first touch. */
static int populate(int fd, uint64_t size)
{
	int r;

	do
		r = fallocate(fd, 0, 0, (off_t)size);
	while (r < 0 && errno == EINTR);
	return r;
}

/* Whatever the kernel calls it, and whichever step it is that fails: there are not enough. */
static int no_huge_pages(uint64_t size, struct ipci_error *error)
{
	return ipci_error_set(error, -ENOMEM,
			      "a half of %ju huge pages of 2 MiB: %m. Raise "
			      "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages, or the "
			      "control group's hugetlb.2MB.max",
			      (uintmax_t)(size / IPCI_HALF_HUGE_PAGE_BYTES));
}

/* A memfd of that size, all of it there. */
static int create_populated(uint64_t size, uint32_t page_bytes, struct ipci_error *error)
{
	_cleanup_(closep) int fd = create_memfd(page_bytes);

	if (fd < 0 && (!page_bytes || errno == EMFILE || errno == ENFILE))
		return ipci_error_errno(error, "cannot create a memfd");
	if (fd < 0)
		return no_huge_pages(size, error);
	if (populate(fd, size) < 0)
		return page_bytes ? no_huge_pages(size, error)
				  : ipci_error_errno(error, "cannot allocate a half of %ju bytes",
						     (uintmax_t)size);
	return TAKE_FD(fd);
}

int ipci_half_make(struct ipci_half *ret, int *ret_fd, uint64_t ring_bytes, uint32_t page_bytes,
		   struct ipci_error *error)
{
	_cleanup_(ipci_half_deinit) struct ipci_half half = {0};
	uint64_t size = ipci_half_shape_bytes(ring_bytes, page_bytes);
	_cleanup_(closep) int fd = -EBADF;
	int r;

	r = check_geometry(ring_bytes, page_bytes, error);
	if (r < 0)
		return r;
	fd = create_populated(size, page_bytes, error);
	if (fd < 0)
		return fd;
	r = map_mirrored(&half, fd, ring_bytes, page_bytes, true, error);
	if (r < 0)
		return r;
	if (fcntl(fd, F_ADD_SEALS, SEALS) < 0) {
		if (errno == EINVAL)
			return ipci_error_set(error, -ENOSYS,
					      "this kernel cannot seal a memfd against writing by "
					      "others (F_SEAL_FUTURE_WRITE)");
		return ipci_error_errno(error, "cannot seal a half");
	}

	*ret = half;
	half.base = NULL;
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static void describe_seals(int seals, char text[static SEALS_TEXT_BYTES])
{
	(void)snprintf(text, SEALS_TEXT_BYTES, "%s%s%s%s", seals & F_SEAL_SHRINK ? " shrink" : "",
		       seals & F_SEAL_GROW ? " grow" : "",
		       seals & F_SEAL_FUTURE_WRITE ? " future-write" : "",
		       seals & F_SEAL_SEAL ? " seal" : "");
}

static int check_seals(int fd, struct ipci_error *error)
{
	int seals = fcntl(fd, F_GET_SEALS);
	char text[SEALS_TEXT_BYTES];

	if (seals < 0)
		return ipci_error_set(error, -EPROTO, "a half that is no memfd: F_GET_SEALS: %m");
	/* cachestat(), which looks for holes, answers for sure only who may write. */
	if ((fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDWR)
		return ipci_error_set(error, -EPROTO, "a half that was opened again, to be read");
	if ((seals & SEALS) != SEALS) {
		describe_seals(SEALS & ~seals, text);
		return ipci_error_set(error, -EPROTO, "a half without the seals%s", text);
	}
	return 0;
}

static int check_file_system(int fd, uint32_t page_bytes, struct ipci_error *error)
{
	struct statfs fs;

	if (fstatfs(fd, &fs) < 0)
		return ipci_error_set(error, -EPROTO,
				      "a half whose file system cannot be told: %m");
	if (fs.f_type == HUGETLBFS_MAGIC && page_bytes == 0)
		return ipci_error_set(error, -EPROTO, "a half of huge pages");
	if (fs.f_type == HUGETLBFS_MAGIC && (uint64_t)fs.f_bsize != page_bytes)
		return ipci_error_set(error, -EPROTO, "a half of huge pages of %jd bytes, not %u",
				      (intmax_t)fs.f_bsize, page_bytes);
	if (fs.f_type == TMPFS_MAGIC && page_bytes)
		return ipci_error_set(error, -EPROTO, "a half without the huge pages agreed on");
	if (fs.f_type != HUGETLBFS_MAGIC && fs.f_type != TMPFS_MAGIC)
		return ipci_error_set(error, -EPROTO, "a half on file system 0x%jx, not on tmpfs",
				      (uintmax_t)fs.f_type);
	return 0;
}

/* Bytes that are allocated for a file; 0 if that cannot be told. */
static uint64_t allocated_bytes(int fd)
{
	struct stat st;

	return fstat(fd, &st) < 0 ? 0 : (uint64_t)st.st_blocks * 512;
}

static int check_size(int fd, uint64_t size, struct ipci_error *error)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return ipci_error_set(error, -EPROTO, "a half whose size cannot be told: %m");
	if ((uint64_t)st.st_size != size)
		return ipci_error_set(error, -EPROTO, "a half of %jd bytes where %ju were agreed",
				      (intmax_t)st.st_size, (uintmax_t)size);
	if ((uint64_t)st.st_blocks * 512 < size)
		return ipci_error_set(error, -EPROTO,
				      "a half with holes: %ju of %ju bytes allocated",
				      (uintmax_t)st.st_blocks * 512, (uintmax_t)size);
	return 0;
}

int ipci_half_check_shape(int fd, uint64_t ring_bytes, uint32_t page_bytes,
			  struct ipci_error *error)
{
	int r;

	if (!ipci_half_shape_ok(ring_bytes, page_bytes))
		return ipci_error_set(error, -EPROTO,
				      "a half with a ring of %ju bytes on pages of %u",
				      (uintmax_t)ring_bytes, page_bytes);
	r = check_seals(fd, error);
	if (r < 0)
		return r;
	r = check_file_system(fd, page_bytes, error);
	if (r < 0)
		return r;
	return check_size(fd, ipci_half_shape_bytes(ring_bytes, page_bytes), error);
}

/* As the kernel reads and writes them (struct cachestat_range, struct cachestat). */
struct cache_range {
	uint64_t offset, size_bytes; /* 0: to the end of what there is */
};

struct cache_counts {
	uint64_t n_cached, n_dirty, n_writeback, n_evicted, n_recently_evicted;
};

/*
 * Blocks count for nothing where some were allocated behind the end: so those are counted, where
 * the kernel can (6.5) and nobody forbids it. Not the pages before the end: there are none behind a
 * half that is what it should be, so this takes no time, and those of a gigabyte would take 28 ms.
 * Not by SEEK_HOLE, which waits for a lock that a writer holds for as long as its own page fault
 * lasts.
 */
static int check_holes(int fd, uint64_t size, struct ipci_error *error)
{
	struct cache_range range = {.offset = size};
	struct cache_counts counts = {0};
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t allocated = allocated_bytes(fd), behind;

	/* Transparent huge pages may reach over the end; what goes further is not worth counting.
	 */
	if (allocated > 2 * size + 512 * page)
		return ipci_error_set(error, -EPROTO,
				      "a half of %ju bytes with %ju allocated for it",
				      (uintmax_t)size, (uintmax_t)allocated);
	if (syscall(SYS_cachestat, fd, &range, &counts, 0) < 0)
		return 0;
	behind = (counts.n_cached + counts.n_evicted) * page;
	if (behind > allocated || allocated - behind < size)
		return ipci_error_set(error, -EPROTO,
				      "a half with holes: %ju bytes of %ju lie behind its end",
				      (uintmax_t)behind, (uintmax_t)allocated);
	return 0;
}

/*
 * Touches each huge page, one by one: where one is missing this fails, and does not raise SIGBUS,
 * or it takes one from the pool, at our charge, which shows. So at most one can be got from us.
 */
static int check_huge_pages(const struct ipci_half *half, int fd, struct ipci_error *error)
{
	const uint64_t size = ipci_half_shape_bytes(half->ring_bytes, half->page_bytes);

	for (uint64_t at = 0; at < size; at += half->page_bytes) {
		if (madvise(half->base + at, half->page_bytes, MADV_POPULATE_READ) < 0) {
			if (errno == EINVAL)
				return ipci_error_set(error, -EOPNOTSUPP,
						      "this kernel cannot tell whether a huge page "
						      "is missing (MADV_POPULATE_READ, 5.14)");
			return ipci_error_set(error, -EPROTO,
					      "a half with holes: no huge page at %ju: %m",
					      (uintmax_t)at);
		}
		if (allocated_bytes(fd) != size)
			return ipci_error_set(error, -EPROTO,
					      "a half with holes: no huge page at %ju",
					      (uintmax_t)at);
	}
	return 0;
}

int ipci_half_import_shape(struct ipci_half *ret, int fd, uint64_t ring_bytes, uint32_t page_bytes,
			   struct ipci_error *error)
{
	_cleanup_(ipci_half_deinit) struct ipci_half half = {0};
	int r = ipci_half_check_shape(fd, ring_bytes, page_bytes, error);

	if (r == 0 && page_bytes == 0)
		r = check_holes(fd, ipci_half_size_bytes(ring_bytes), error);
	if (r == 0)
		r = check_geometry(ring_bytes, page_bytes, error);
	if (r == 0)
		r = map_mirrored(&half, fd, ring_bytes, page_bytes, false, error);
	if (r == 0 && page_bytes)
		r = check_huge_pages(&half, fd, error);
	if (r < 0)
		return r;
	*ret = half;
	half.base = NULL;
	return 0;
}

void ipci_half_deinit(struct ipci_half *half)
{
	ipci_mapping_dispose(half->base,
			     half->base ? mapping_bytes(half->ring_bytes, half->page_bytes) : 0);
	*half = (struct ipci_half){0};
}
