/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The limit of a stream: a ring between two processes that trust each other, one that writes and one
 * that reads, and that check nothing. Records of any length, each behind its length and rounded up
 * to whole words; positions that only grow, each written by one side and cached by the other, which
 * looks again only when what it knows is used up; the memory mapped twice in a row, so that no
 * record wraps. Both sides spin.
 *
 * In band: the same with a word at each record's start that says that it is there, instead of a
 * position that the reader looks at; records begin on cache lines. Two cores that are far apart
 * then move each line once.
 */
#ifndef CLI_BARE_RING_H
#define CLI_BARE_RING_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bare_ring_shared;

/* How it is used: the same on both sides, and whatever comes next. */
struct bare_ring_way {
	uint64_t window;    /* the writer is never more bytes ahead: all of the ring, or less */
	unsigned int batch; /* records that are published at once */
	bool late; /* a reader who finds nothing looks away: looks take lines from the writer */
	bool in_band;
};

struct bare_ring {
	struct bare_ring_shared *shared;
	uint8_t *data; /* ring_bytes of it, twice */
	uint64_t ring_bytes;
	uint64_t head, tail; /* this side's own, and what it last saw of the other's */
	uint64_t published;  /* the reader's tail, as the writer may see it */
	uint64_t seed;	     /* of the next payload, on both sides */
	const volatile sig_atomic_t *stop; /* nonzero: give up waiting */
};

/* Maps it, to be inherited by fork(). @ring_bytes: a power of two, pages. 0 or -errno. */
int bare_ring_init(struct bare_ring *ring, uint64_t ring_bytes, const volatile sig_atomic_t *stop);
void bare_ring_deinit(struct bare_ring *ring);

/* The reader's, once it has read everything, and before the writer writes more. */
void bare_ring_begin(struct bare_ring *ring);

/*
 * @n payloads of @bytes, written, and read by the other side. A record takes at most half of the
 * window. 0, -EINTR it was told to stop, -EBADMSG a byte was lost.
 */
int bare_ring_write(struct bare_ring *ring, const struct bare_ring_way *way, uint64_t n,
		    size_t bytes);
int bare_ring_read(struct bare_ring *ring, const struct bare_ring_way *way, uint64_t n,
		   size_t bytes);

#endif
