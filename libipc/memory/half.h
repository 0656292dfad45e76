/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A half: one sealed memfd, a control page and a ring, written by its owner alone.
 *
 * The owner creates, seals and maps it read-write; whoever else gets the fd can only read, because
 * the kernel refuses every other way once F_SEAL_FUTURE_WRITE is set. The ring is mapped twice in a
 * row, so a frame never wraps:
 *
 *   base                base + ring_offset      + ring_bytes          + 2 * ring_bytes
 *   | control page      | ring                  | the same ring again |
 */
#ifndef IPCI_MEMORY_HALF_H
#define IPCI_MEMORY_HALF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "error.h"

#define IPCI_HALF_RING_OFFSET                                                                      \
	4096u /* the only offset agreed on so far; negotiated, so it may grow */
#define IPCI_HALF_RING_MIN_BYTES UINT64_C(4096)
#define IPCI_HALF_RING_MAX_BYTES (UINT64_C(1) << 30)

/*
 * Huge pages, where the owner asks for them and the importer allows it: of this size, which every
 * architecture has. The ring then starts at one, and is whole ones. Elsewhere page_bytes is 0: the
 * kernel's own pages.
 */
#define IPCI_HALF_HUGE_PAGE_BYTES 0x200000u

struct ipci_half {
	uint8_t *base;	     /* NULL: not mapped. A foreign half is mapped PROT_READ. */
	uint64_t ring_bytes; /* a power of two, a multiple of the page */
	uint32_t ring_offset;
	uint32_t page_bytes; /* 0, or IPCI_HALF_HUGE_PAGE_BYTES */
	bool own;
};

/* True for a size that a ring can have. */
bool ipci_half_ring_bytes_ok(uint64_t ring_bytes);
/* The same, on pages of that size. */
bool ipci_half_shape_ok(uint64_t ring_bytes, uint32_t page_bytes);

/* The memfd's size for a ring of that size. */
uint64_t ipci_half_shape_bytes(uint64_t ring_bytes, uint32_t page_bytes);

/*
 * Creates an own half, zeroed, populated, mapped read-write and not inherited by fork(); then seals
 * it.
 * @ret_fd is for sending to the broker, then to be closed: nothing here keeps it.
 * Errors: -EINVAL the size; -ENOMEM, -ENOSPC, -EMFILE, -ENFILE; -ENOSYS a kernel without the seals.
 * Without enough huge pages, or without a kernel that knows them: -ENOMEM, @error says what to do.
 */
int ipci_half_make(struct ipci_half *ret, int *ret_fd, uint64_t ring_bytes, uint32_t page_bytes,
		   struct ipci_error *error);

/*
 * What can be known of a foreign fd without trusting it, without mapping it, and in no time, in an
 * order that cannot block: the four seals first (fails at once on what is no memfd), then the file
 * system, the exact size, as many blocks. Holes may hide behind blocks past the end: they harm who
 * reads.
 * @fd stays the caller's. Used alone by the broker, which never maps a half.
 * Errors: -EPROTO, @error says which check failed and what was seen.
 */
int ipci_half_check_shape(int fd, uint64_t ring_bytes, uint32_t page_bytes,
			  struct ipci_error *error);

/*
 * Checks a foreign half, for holes as well, and maps it read-only, not inherited by fork(). @fd
 * stays the caller's (close it after, or give it to ipci_fd_dispose() on failure).
 * Errors: -EPROTO as above; -ENOMEM; -EOPNOTSUPP huge pages on a kernel that cannot tell whether
 * one is missing (before 5.14).
 */
int ipci_half_import_shape(struct ipci_half *ret, int fd, uint64_t ring_bytes, uint32_t page_bytes,
			   struct ipci_error *error);

/* The same on the kernel's own pages. */
static inline uint64_t ipci_half_size_bytes(uint64_t ring_bytes)
{
	return ipci_half_shape_bytes(ring_bytes, 0);
}

static inline int ipci_half_create(struct ipci_half *ret, int *ret_fd, uint64_t ring_bytes,
				   struct ipci_error *error)
{
	return ipci_half_make(ret, ret_fd, ring_bytes, 0, error);
}

static inline int ipci_half_check(int fd, uint64_t ring_bytes, struct ipci_error *error)
{
	return ipci_half_check_shape(fd, ring_bytes, 0, error);
}

static inline int ipci_half_import(struct ipci_half *ret, int fd, uint64_t ring_bytes,
				   struct ipci_error *error)
{
	return ipci_half_import_shape(ret, fd, ring_bytes, 0, error);
}

/* Unmaps, a large one soon rather than now; a zeroed or already unmapped half is fine. */
void ipci_half_deinit(struct ipci_half *half);

#endif
