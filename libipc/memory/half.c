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

uint64_t ipci_half_size_bytes(uint64_t ring_bytes)
{
	return IPCI_HALF_RING_OFFSET + ring_bytes;
}

static int check_geometry(uint64_t ring_bytes, struct ipci_error *error)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

	if (!ipci_half_ring_bytes_ok(ring_bytes))
		return ipci_error_set(error, -EINVAL,
				      "a ring of %ju bytes: not a power of two from %ju to %ju",
				      (uintmax_t)ring_bytes, (uintmax_t)IPCI_HALF_RING_MIN_BYTES,
				      (uintmax_t)IPCI_HALF_RING_MAX_BYTES);
	/* Both are powers of two, and so is the page. */
	if (IPCI_HALF_RING_OFFSET < page || ring_bytes < page)
		return ipci_error_set(
			error, -EINVAL,
			"this kernel's pages of %ju bytes cannot map a ring of %ju at %u",
			(uintmax_t)page, (uintmax_t)ring_bytes, IPCI_HALF_RING_OFFSET);
	return 0;
}

static size_t mapping_bytes(uint64_t ring_bytes)
{
	return (size_t)(IPCI_HALF_RING_OFFSET + 2 * ring_bytes);
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

static int map_mirrored(struct ipci_half *ret, int fd, uint64_t ring_bytes, bool own,
			struct ipci_error *error)
{
	int protection = own ? PROT_READ | PROT_WRITE : PROT_READ;
	size_t size = (size_t)ipci_half_size_bytes(ring_bytes);
	_cleanup_(region_unmap) struct region region = {.size = mapping_bytes(ring_bytes)};
	void *base;

	/* The whole of it is reserved first, so that MAP_FIXED replaces nothing but this. */
	base = mmap(NULL, region.size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
		    0);
	if (base == MAP_FAILED)
		return ipci_error_errno(error, "cannot reserve %zu bytes for a half", region.size);
	region.base = base;

	if (mmap(region.base, size, protection, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED)
		return ipci_error_errno(error, "cannot map a half of %zu bytes", size);
	if (mmap(region.base + size, (size_t)ring_bytes, protection, MAP_SHARED | MAP_FIXED, fd,
		 IPCI_HALF_RING_OFFSET) == MAP_FAILED)
		return ipci_error_errno(error, "cannot map a ring of %ju bytes again",
					(uintmax_t)ring_bytes);
	if (madvise(region.base, region.size, MADV_DONTFORK) < 0)
		return ipci_error_errno(error, "cannot keep a half from being inherited");

	*ret = (struct ipci_half){
		.base = TAKE_PTR(region.base),
		.ring_bytes = ring_bytes,
		.ring_offset = IPCI_HALF_RING_OFFSET,
		.own = own,
	};
	return 0;
}

static int create_memfd(void)
{
	int fd = memfd_create("ipc-half", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);

	/* Before Linux 6.3 the flag is unknown. */
	if (fd < 0 && errno == EINVAL)
		fd = memfd_create("ipc-half", MFD_CLOEXEC | MFD_ALLOW_SEALING);
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

int ipci_half_create(struct ipci_half *ret, int *ret_fd, uint64_t ring_bytes,
		     struct ipci_error *error)
{
	_cleanup_(ipci_half_deinit) struct ipci_half half = {0};
	uint64_t size = ipci_half_size_bytes(ring_bytes);
	_cleanup_(closep) int fd = -EBADF;
	int r;

	r = check_geometry(ring_bytes, error);
	if (r < 0)
		return r;
	fd = create_memfd();
	if (fd < 0)
		return ipci_error_errno(error, "cannot create a memfd");
	if (populate(fd, size) < 0)
		return ipci_error_errno(error, "cannot allocate a half of %ju bytes",
					(uintmax_t)size);
	r = map_mirrored(&half, fd, ring_bytes, true, error);
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
	if ((seals & SEALS) != SEALS) {
		describe_seals(SEALS & ~seals, text);
		return ipci_error_set(error, -EPROTO, "a half without the seals%s", text);
	}
	return 0;
}

static int check_file_system(int fd, struct ipci_error *error)
{
	struct statfs fs;

	if (fstatfs(fd, &fs) < 0)
		return ipci_error_set(error, -EPROTO,
				      "a half whose file system cannot be told: %m");
	/* Huge pages are refused: one that is missing raises SIGBUS in whoever reads it. */
	if (fs.f_type == HUGETLBFS_MAGIC)
		return ipci_error_set(error, -EPROTO, "a half of huge pages");
	if (fs.f_type != TMPFS_MAGIC)
		return ipci_error_set(error, -EPROTO, "a half on file system 0x%jx, not on tmpfs",
				      (uintmax_t)fs.f_type);
	return 0;
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

/* As the kernel reads and writes them (struct cachestat_range, struct cachestat). */
struct cache_range {
	uint64_t offset, size_bytes;
};

struct cache_counts {
	uint64_t n_cached, n_dirty, n_writeback, n_evicted, n_recently_evicted;
};

/*
 * A hole would be filled, and charged, where it is read first; the seals keep new ones from being
 * punched. Blocks count for nothing where some were allocated behind the end, so the pages before
 * it are counted, where the kernel can (6.5) and nobody forbids it. Not by SEEK_HOLE, which waits
 * for a lock that a writer holds for as long as its own page fault lasts; and cachestat() answers
 * for sure only where the descriptor may write.
 */
static int check_holes(int fd, uint64_t size, struct ipci_error *error)
{
	struct cache_range range = {.size_bytes = size};
	struct cache_counts counts = {0};
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

	if ((fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDWR)
		return ipci_error_set(error, -EPROTO, "a half that was opened again, to be read");
	if (syscall(SYS_cachestat, fd, &range, &counts, 0) < 0)
		return 0;
	if ((counts.n_cached + counts.n_evicted) * page < size)
		return ipci_error_set(error, -EPROTO, "a half with holes: %ju of %ju bytes there",
				      (uintmax_t)((counts.n_cached + counts.n_evicted) * page),
				      (uintmax_t)size);
	return 0;
}

int ipci_half_check(int fd, uint64_t ring_bytes, struct ipci_error *error)
{
	int r;

	if (!ipci_half_ring_bytes_ok(ring_bytes))
		return ipci_error_set(error, -EPROTO, "a half with a ring of %ju bytes",
				      (uintmax_t)ring_bytes);
	r = check_seals(fd, error);
	if (r < 0)
		return r;
	r = check_file_system(fd, error);
	if (r < 0)
		return r;
	r = check_size(fd, ipci_half_size_bytes(ring_bytes), error);
	if (r < 0)
		return r;
	return check_holes(fd, ipci_half_size_bytes(ring_bytes), error);
}

int ipci_half_import(struct ipci_half *ret, int fd, uint64_t ring_bytes, struct ipci_error *error)
{
	int r = ipci_half_check(fd, ring_bytes, error);

	if (r < 0)
		return r;
	r = check_geometry(ring_bytes, error);
	if (r < 0)
		return r;
	return map_mirrored(ret, fd, ring_bytes, false, error);
}

void ipci_half_deinit(struct ipci_half *half)
{
	ipci_mapping_dispose(half->base, half->base ? mapping_bytes(half->ring_bytes) : 0);
	*half = (struct ipci_half){0};
}
