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

struct ipci_half {
	uint8_t *base;	     /* NULL: not mapped. A foreign half is mapped PROT_READ. */
	uint64_t ring_bytes; /* a power of two, a multiple of the page */
	uint32_t ring_offset;
	bool own;
};

/* True for a size that a ring can have. */
bool ipci_half_ring_bytes_ok(uint64_t ring_bytes);

/* The memfd's size for a ring of that size. */
uint64_t ipci_half_size_bytes(uint64_t ring_bytes);

/*
 * Creates an own half, zeroed, populated, mapped read-write and not inherited by fork(); then seals
 * it.
 * @ret_fd is for sending to the broker, then to be closed: nothing here keeps it.
 * Errors: -EINVAL the size; -ENOMEM, -ENOSPC, -EMFILE, -ENFILE; -ENOSYS a kernel without the seals.
 */
int ipci_half_create(struct ipci_half *ret, int *ret_fd, uint64_t ring_bytes,
		     struct ipci_error *error);

/*
 * Everything that can be known of a foreign fd without trusting it, in an order that cannot block:
 * the four seals first (fails at once on what is no memfd), then the file system, the exact size,
 * no holes.
 * @fd stays the caller's. Used alone by the broker, which never maps a half.
 * Errors: -EPROTO, @error says which check failed and what was seen.
 */
int ipci_half_check(int fd, uint64_t ring_bytes, struct ipci_error *error);

/*
 * Checks a foreign half and maps it read-only, not inherited by fork(). @fd stays the caller's
 * (close it after, or give it to ipci_fd_dispose() on failure). Errors: -EPROTO as above; -ENOMEM.
 */
int ipci_half_import(struct ipci_half *ret, int fd, uint64_t ring_bytes, struct ipci_error *error);

/* Unmaps, a large one soon rather than now; a zeroed or already unmapped half is fine. */
void ipci_half_deinit(struct ipci_half *half);

#endif
