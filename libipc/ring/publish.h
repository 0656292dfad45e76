/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The producing end of a ring: reserve, write, commit.
 *
 *        consumed (the peer's word)            head            head + reserved
 *   ─────────┬───────────────────────────────────┬──────────────────┬──────────┬─────
 *      free  │ frames that the peer may still read│ the open room    │ 0 commit │ free
 *   ─────────┴───────────────────────────────────┴──────────────────┴──────────┴─────
 *
 * Invariants:
 *   - positions are byte counts that only grow; a position's place is position & mask;
 *   - the commit word at `head` is 0 in memory, so the consumer, who polls it, sees nothing yet;
 *   - before a frame is committed, the commit word behind it is 0: old bytes never look like a
 *     frame, which is why the ring counts as full with one line to spare;
 *   - one room is open at a time, and it is the newest: aborting it is forgetting it.
 *
 * All fields of struct ipci_producer are private memory. One thread at a time.
 * Modelled in tests/model/publication.pml; explored as it is by the programs beside it.
 */
#ifndef IPCI_RING_PUBLISH_H
#define IPCI_RING_PUBLISH_H

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "check.h"
#include "crash-point.h"
#include "edges.h"
#include "layout.h"

#define IPCI_NOT_BLANK UINT64_MAX /* no position: ipci_producer.blank */

struct ipci_producer {
	uint8_t *ring;			 /* own ring, mapped twice in a row */
	struct ipci_control *own;	 /* own control page */
	const struct ipci_control *peer; /* the peer's, read-only */
	uint64_t ring_bytes;
	uint64_t head;		/* where the next frame begins */
	uint64_t peer_consumed; /* the peer's word when it was last loaded and found possible */
	uint64_t reserved;	/* bytes of the open room's frame, 0: none is open */
	uint64_t blank; /* a position beyond head whose commit word is 0 already; IPCI_NOT_BLANK */
	uint64_t rung_frames; /* the peer's `waiting` for which it was last woken, for frames … */
	uint64_t rung_space;  /* … and for space */
	uint64_t n_frames;
};

static inline struct ipci_frame *ipci_producer_frame(const struct ipci_producer *p,
						     uint64_t position)
{
	return (struct ipci_frame *)(void *)(p->ring + (position & (p->ring_bytes - 1)));
}

/*
 * The padding behind a payload shows nothing, not even of this channel's past. @n is less than a
 * line.
 */
static inline void ipci_zero_tail(uint8_t *at, uint32_t n)
{
	/* Constant sizes, so that each is a store or two. */
	for (; n >= 16; n -= 16, at += 16)
		memset(at, 0, 16);
	if (n & 8) {
		memset(at, 0, 8);
		at += 8;
	}
	for (n &= 7; n; n--)
		*at++ = 0;
}

/*
 * Looks again how far the peer consumed. The word is the peer's claim: one load, checked against
 * private positions. 0, or -EPROTO for a claim that cannot be.
 */
static inline int ipci_producer_refresh(struct ipci_producer *p)
{
	/*
	 * SPACE acquire: the peer's reads of a place happen-before our writes there. Pairs with
	 * ipci_consumer_publish().
	 */
	const uint64_t consumed = atomic_load_explicit(&p->peer->consumed, IPCI_SPACE_ACQUIRE);

	if (ipci_impossible(consumed > p->head || consumed < p->peer_consumed ||
			    consumed % IPCI_LINE_BYTES))
		return -EPROTO;
	p->peer_consumed = consumed;
	return 0;
}

/* Bytes that a frame may take now, by what was last seen. */
static inline uint64_t ipci_producer_free_bytes(const struct ipci_producer *p)
{
	return p->ring_bytes - (p->head - p->peer_consumed) - IPCI_LINE_BYTES;
}

/* Is there room for @bytes, looking again if need be? 1, 0 or -EPROTO. */
static inline int ipci_producer_has_room(struct ipci_producer *p, uint64_t bytes)
{
	int r;

	if (ipci_producer_free_bytes(p) >= bytes)
		return 1;
	r = ipci_producer_refresh(p);
	if (r < 0)
		return r;
	return ipci_producer_free_bytes(p) >= bytes;
}

/*
 * Publishes what was written at `head` as a frame of @bytes whole lines, whose commit word is to be
 * @commit.
 */
static inline void ipci_producer_push(struct ipci_producer *p, uint32_t kind, uint32_t method,
				      uint64_t call_id, uint32_t commit, uint64_t bytes)
{
	struct ipci_frame *frame = ipci_producer_frame(p, p->head);

	/*
	 * The next place to look at says "nothing yet". Relaxed: FRAME's release below orders it.
	 */
	if (p->blank != p->head + bytes) {
		IPCI_CRASH_POINT(NEXT);
		atomic_store_explicit(&ipci_producer_frame(p, p->head + bytes)->commit, 0,
				      memory_order_relaxed);
	}
	IPCI_CRASH_POINT(HEADER);
	frame->kind = (uint16_t)kind;
	frame->method = (uint16_t)method;
	IPCI_CRASH_POINT(CALL_ID);
	frame->call_id = call_id;
	/*
	 * FRAME release: header, extensions and payload happen-before the commit word. Pairs with
	 * ipci_consumer_peek().
	 */
	IPCI_CRASH_POINT(COMMIT);
	atomic_store_explicit(&frame->commit, commit, IPCI_FRAME_RELEASE);
	IPCI_CRASH_POINT(COMMITTED);
	p->head += bytes;
}

/* Where the open room begins. */
static inline uint8_t *ipci_producer_room(const struct ipci_producer *p)
{
	return (uint8_t *)(ipci_producer_frame(p, p->head) + 1);
}

/*
 * Opens room of @bytes whole lines: for a frame, or for several in a row. On success *@ret points
 * behind the first one's header. 0; -EAGAIN no room; -EPROTO the peer's `consumed` is impossible.
 */
static inline int ipci_producer_reserve_lines(struct ipci_producer *p, uint64_t bytes,
					      uint8_t **ret)
{
	int r;

	assert(p->reserved == 0);
	r = ipci_producer_has_room(p, bytes);
	if (r <= 0)
		return r < 0 ? r : -EAGAIN;
	p->reserved = bytes;
	/* The room may be written to all over. */
	if (p->blank < p->head + bytes)
		p->blank = IPCI_NOT_BLANK;
	*ret = ipci_producer_room(p);
	return 0;
}

/*
 * Opens room for a frame with @ext_bytes of extensions and up to @payload_bytes of payload.
 * @payload_bytes is at most ipci_payload_max_bytes(). On success *@ret points to the extensions,
 * the payload behind them. Results likewise.
 */
static inline int ipci_producer_reserve(struct ipci_producer *p, uint32_t ext_bytes,
					uint64_t payload_bytes, uint8_t **ret)
{
	assert(payload_bytes <= ipci_payload_max_bytes(p->ring_bytes));
	return ipci_producer_reserve_lines(p, ipci_frame_bytes(ext_bytes, payload_bytes), ret);
}

/*
 * Fetches the line where the next frame will begin, to be written to: the peer, which looks at it,
 * has a copy, and taking that away costs half a round trip. A hint: nothing is changed, whoever's
 * the bytes are.
 */
static inline void ipci_producer_own_next(const struct ipci_producer *p)
{
#if defined(__x86_64__)
	/*
	 * Not __builtin_prefetch(): without -mprfchw that is a prefetch to read. Old cores take it
	 * for a no-op.
	 */
	__asm__ volatile("prefetchw %0" : : "m"(*ipci_producer_frame(p, p->head)));
#else
	__builtin_prefetch(ipci_producer_frame(p, p->head), 1, 3);
#endif
}

/* Forgets the open room. What was written into it is beyond a commit word of 0. */
static inline void ipci_producer_abort(struct ipci_producer *p)
{
	p->reserved = 0;
}

/*
 * Blanks the place behind the next frame already, on the guess that it is as long as the last one:
 * taking a line from the peer's cache costs half a round trip, now beside the peer's work, else
 * between the next frame and its commit word.
 */
static inline void ipci_producer_blank_ahead(struct ipci_producer *p, uint64_t bytes)
{
	p->blank = IPCI_NOT_BLANK;
	if (ipci_producer_free_bytes(p) < bytes)
		return;
	p->blank = p->head + bytes;
	IPCI_CRASH_POINT(AHEAD);
	/* Relaxed: FRAME's release orders it before the next commit. */
	atomic_store_explicit(&ipci_producer_frame(p, p->blank)->commit, 0, memory_order_relaxed);
}

/*
 * Publishes the open room as a frame of @payload_bytes, at most what was reserved: a smaller frame
 * gives the rest back, which is allowed because the room is the newest. The caller filled
 * extensions and payload.
 */
static inline void ipci_producer_publish(struct ipci_producer *p, uint32_t kind, uint32_t method,
					 uint64_t call_id, uint64_t payload_bytes)
{
	const uint64_t used = sizeof(struct ipci_frame) + ipci_ext_bytes(kind) + payload_bytes;
	const uint64_t bytes = ipci_line_up(used);

	IPCI_CRASH_POINT(TAIL);
	ipci_zero_tail((uint8_t *)ipci_producer_frame(p, p->head) + used, (uint32_t)(bytes - used));
	ipci_producer_push(p, kind, method, call_id, (uint32_t)payload_bytes + 1, bytes);
	p->n_frames++;
	/*
	 * Not for a stream's longer frames: there the peer has not come so far, and stores that go
	 * ahead and back cost a third of the throughput.
	 */
	if (kind != IPCI_KIND_ITEM || bytes == IPCI_LINE_BYTES)
		ipci_producer_blank_ahead(p, bytes);
}

/* The same for a room that ipci_producer_reserve() opened. */
static inline void ipci_producer_commit(struct ipci_producer *p, uint32_t kind, uint32_t method,
					uint64_t call_id, uint64_t payload_bytes)
{
	assert(!p->reserved ||
	       ipci_frame_bytes(ipci_ext_bytes(kind), payload_bytes) <= p->reserved);
	p->reserved = 0;
	ipci_producer_publish(p, kind, method, call_id, payload_bytes);
}

/*
 * The request at @position has run out of time where it lies: of its deadline, the first extension,
 * nothing remains now. Only while the place is surely still the request's: it is not written again
 * before the peer was seen to have consumed it. Relaxed: a hint about a frame that was published
 * long ago, whose sole writer is the owner; who has read it already learns of the end by a frame.
 */
static inline void ipci_producer_expire(const struct ipci_producer *p, uint64_t position)
{
	if (position < p->peer_consumed)
		return;
	IPCI_CRASH_POINT(EXPIRE);
	atomic_store_explicit((_Atomic uint64_t *)(void *)(ipci_producer_frame(p, position) + 1), 0,
			      memory_order_relaxed);
}

/* Padding on the way to the next place where a frame may begin, not yet seen by the peer. */
static inline void ipci_producer_put_padding(struct ipci_producer *p, uint64_t position,
					     uint64_t bytes)
{
	struct ipci_frame *frame = ipci_producer_frame(p, position);

	frame->kind = IPCI_KIND_PADDING;
	frame->method = 0;
	frame->call_id = 0;
	/* Relaxed: ordered by the release of the frame that leads here. */
	atomic_store_explicit(&frame->commit, (uint32_t)(bytes - sizeof(*frame)) + 1,
			      memory_order_relaxed);
}

/* Several frames of one call, in places of equal size. */
struct ipci_batch {
	uint64_t call_id;
	uint64_t place_bytes;
	uint32_t kind;
	uint32_t last_kind, last_method; /* of the last one */
};

/*
 * Publishes the open room as @n frames of @sizes bytes of payload; what is left of each place but
 * the last becomes padding. The consumer sees none before the first, so only that is released:
 * one wake-up, and one fence, for all. How many bytes the frames are without padding.
 */
static inline uint64_t ipci_producer_commit_batch(struct ipci_producer *p,
						  const struct ipci_batch *batch,
						  const size_t *sizes, uint32_t n)
{
	const uint64_t first = p->head;
	uint64_t end = 0, sum = 0;

	assert(n == 1 || n * batch->place_bytes <= p->reserved);
	for (uint32_t i = n; i-- > 0;) {
		const bool last = i == n - 1;
		const uint64_t at = first + i * batch->place_bytes;
		const uint64_t used = sizeof(struct ipci_frame) + sizes[i];
		const uint64_t bytes = ipci_line_up(used);
		struct ipci_frame *frame = ipci_producer_frame(p, at);

		sum += bytes;
		IPCI_CRASH_POINT(TAIL);
		ipci_zero_tail((uint8_t *)frame + used, (uint32_t)(bytes - used));
		if (last)
			end = at + bytes;
		else if (bytes < batch->place_bytes)
			ipci_producer_put_padding(p, at + bytes, batch->place_bytes - bytes);
		if (i == 0)
			break;
		IPCI_CRASH_POINT(PLACE);
		frame->kind = (uint16_t)(last ? batch->last_kind : batch->kind);
		frame->method = (uint16_t)(last ? batch->last_method : 0);
		frame->call_id = batch->call_id;
		/* Relaxed: FRAME's release of the first orders it; nobody comes here before. */
		atomic_store_explicit(&frame->commit, (uint32_t)sizes[i] + 1, memory_order_relaxed);
	}
	ipci_producer_push(p, n == 1 ? batch->last_kind : batch->kind,
			   n == 1 ? batch->last_method : 0, batch->call_id, (uint32_t)sizes[0] + 1,
			   end - p->head);
	p->reserved = 0;
	p->n_frames += n;
	ipci_producer_blank_ahead(p, end - first);
	return sum;
}

/*
 * For tools and topics; not on the way of a message. Relaxed: a statistic, whose sole writer is the
 * owner.
 */
static inline void ipci_producer_publish_produced(struct ipci_producer *p)
{
	IPCI_CRASH_POINT(PRODUCED);
	atomic_store_explicit(&p->own->produced, p->head, memory_order_relaxed);
	atomic_store_explicit(&p->own->oldest_valid, p->peer_consumed, memory_order_relaxed);
}

/*
 * @own and @peer are whole halves' first bytes; both rings are agreed and checked. Makes the ring
 * empty.
 */
void ipci_producer_init(struct ipci_producer *p, uint8_t *own, const uint8_t *peer,
			uint32_t ring_offset, uint64_t ring_bytes);

#endif
