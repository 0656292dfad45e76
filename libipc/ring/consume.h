/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The consuming end of the peer's ring: peek, take, and give the room back.
 *
 *       published        oldest held                     tail
 *   ────────┬────────────────┬─────────────────────────────┬──────────────
 *    the    │ given back, not│ held in place, or behind a  │ not yet looked
 *    peer's │ yet said so    │ frame that is               │ at
 *   ────────┴────────────────┴─────────────────────────────┴──────────────
 *
 * The ring is mapped read-only, and its writer may lie at any moment. Each header word is loaded
 * once into a local, checked against private numbers, then used; the payload is the caller's to
 * copy or to read checked. The cursor is private: nothing that the peer writes moves it but a frame
 * that was found possible.
 */
#ifndef IPCI_RING_CONSUME_H
#define IPCI_RING_CONSUME_H

#include <errno.h>
#include <stdbool.h>

#include "check.h"
#include "crash-point.h"
#include "edges.h"
#include "layout.h"

/* A frame held in place: from position to end, in the order of the ring. */
struct ipci_held {
	uint64_t position;
	bool released;
};

struct ipci_consumer {
	const uint8_t *ring;		 /* the peer's ring, read-only, mapped twice in a row */
	struct ipci_control *own;	 /* own control page: `consumed` is ours to write */
	const struct ipci_control *peer; /* the peer's, read-only */
	uint64_t ring_bytes;
	uint32_t plain_max_bytes; /* payloads up to this are copied, and fit the ring */
	uint64_t tail;		  /* where the next frame begins: the only authority */
	uint64_t published;	  /* what own->consumed says */
	uint64_t n_frames;
	/*
	 * frames held in place, oldest first: a ring buffer of capacity n_held_max, a power of two
	 */
	struct ipci_held *held;
	uint32_t held_first, n_held, n_held_max;
};

/* One frame, as it was loaded. */
struct ipci_view {
	const uint8_t *ext;	/* in the ring: may change under the reader */
	const uint8_t *payload; /* likewise */
	uint64_t call_id;
	uint64_t frame_bytes;
	uint32_t payload_bytes;
	uint32_t kind; /* with its IPCI_EXT_… bits */
	uint32_t method;
};

static inline const struct ipci_frame *ipci_consumer_frame(const struct ipci_consumer *c)
{
	return (const struct ipci_frame *)(const void *)(c->ring + (c->tail & (c->ring_bytes - 1)));
}

/* Is anything there? The cheapest look, for spinning. */
static inline bool ipci_consumer_ready(const struct ipci_consumer *c)
{
	/*
	 * Relaxed: only a hint; ipci_consumer_peek() loads it again, with the acquire that counts.
	 */
	return atomic_load_explicit(&ipci_consumer_frame(c)->commit, memory_order_relaxed) != 0;
}

/*
 * Looks at the next frame without taking it. 1 and *@ret filled; 0 nothing there; -EPROTO a frame
 * that cannot be: too long, or with extensions that nobody agreed on.
 */
static inline int ipci_consumer_peek(const struct ipci_consumer *c, struct ipci_view *ret)
{
	const struct ipci_frame *frame = ipci_consumer_frame(c);
	/* FRAME acquire: pairs with the release in ipci_producer_commit(). */
	const uint32_t commit = atomic_load_explicit(&frame->commit, IPCI_FRAME_ACQUIRE);
	uint32_t kind, ext_bytes;

	if (commit == 0)
		return 0;
	kind = *(const volatile uint16_t *)&frame->kind;
	if (ipci_impossible(kind & ~(uint32_t)(IPCI_KIND_MASK | IPCI_EXT_KNOWN)))
		return -EPROTO;
	if (__builtin_expect(ipci_impossible(commit - 1 > ipci_payload_max_bytes(c->ring_bytes)),
			     0) &&
	    (kind != IPCI_KIND_PADDING || commit - 1 > ipci_padding_max_bytes(c->ring_bytes)))
		return -EPROTO;
	ext_bytes = ipci_ext_bytes(kind);
	ret->kind = kind;
	ret->method = *(const volatile uint16_t *)&frame->method;
	ret->call_id = *(const volatile uint64_t *)&frame->call_id;
	ret->payload_bytes = commit - 1;
	ret->frame_bytes = ipci_frame_bytes(ext_bytes, commit - 1);
	ret->ext = (const uint8_t *)(frame + 1);
	ret->payload = ret->ext + ext_bytes;
	return 1;
}

/*
 * The same for the plain frame that nearly every message is: of that @kind, without extensions, its
 * payload of a size that is copied. False: nothing is there, or something else, and
 * ipci_consumer_peek() decides.
 */
static inline bool ipci_consumer_peek_plain(const struct ipci_consumer *c, uint32_t kind,
					    struct ipci_view *ret)
{
	const struct ipci_frame *frame = ipci_consumer_frame(c);
	/* FRAME acquire: pairs with the release in ipci_producer_push(). */
	const uint32_t commit = atomic_load_explicit(&frame->commit, IPCI_FRAME_ACQUIRE);

	/* 0 wraps round to more than any payload has. */
	if (commit - 1 > c->plain_max_bytes || *(const volatile uint16_t *)&frame->kind != kind)
		return false;
	ret->kind = kind;
	ret->method = *(const volatile uint16_t *)&frame->method;
	ret->call_id = *(const volatile uint64_t *)&frame->call_id;
	ret->payload_bytes = commit - 1;
	ret->frame_bytes = ipci_frame_bytes(0, commit - 1);
	ret->ext = ret->payload = (const uint8_t *)(frame + 1);
	return true;
}

/*
 * Where the peer may write again, once it is told: everything before the oldest frame held in
 * place.
 */
static inline uint64_t ipci_consumer_given_back(const struct ipci_consumer *c)
{
	return c->n_held ? c->held[c->held_first].position : c->tail;
}

/* Takes the frame that was peeked at: its bytes are done with, or were copied. */
static inline void ipci_consumer_take(struct ipci_consumer *c, const struct ipci_view *view)
{
	c->tail += view->frame_bytes;
	c->n_frames += view->kind != IPCI_KIND_PADDING;
}

/* Is a quarter of the ring given back that the peer does not know of? */
static inline bool ipci_consumer_should_publish(const struct ipci_consumer *c)
{
	return ipci_consumer_given_back(c) - c->published >= c->ring_bytes / 4;
}

/* Tells the peer how far its ring is free. True if that was news, and the peer may wait for it. */
static inline bool ipci_consumer_publish(struct ipci_consumer *c)
{
	const uint64_t given_back = ipci_consumer_given_back(c);

	if (given_back == c->published)
		return false;
	/*
	 * SPACE release: our reads of the room happen-before the word. Pairs with
	 * ipci_producer_refresh().
	 */
	IPCI_CRASH_POINT(CONSUMED);
	atomic_store_explicit(&c->own->consumed, given_back, IPCI_SPACE_RELEASE);
	IPCI_CRASH_POINT(GIVEN_BACK);
	c->published = given_back;
	return true;
}

/*
 * Takes the frame that was peeked at and leaves its bytes in the ring until
 * ipci_consumer_release(). 0, or -ENOMEM: nothing was taken.
 */
int ipci_consumer_hold(struct ipci_consumer *c, const struct ipci_view *view);

/*
 * May a frame held at @position stay while more arrive: is half the ring still free of held frames?
 */
static inline bool ipci_consumer_may_keep(const struct ipci_consumer *c)
{
	return c->tail - ipci_consumer_given_back(c) <= c->ring_bytes / 2;
}

/* Gives back a frame held at @position. In any order. */
void ipci_consumer_release(struct ipci_consumer *c, uint64_t position);

/* @own and @peer are whole halves' first bytes. */
void ipci_consumer_init(struct ipci_consumer *c, uint8_t *own, const uint8_t *peer,
			uint32_t ring_offset, uint64_t ring_bytes);
void ipci_consumer_deinit(struct ipci_consumer *c);

/*
 * Copies @bytes that the peer may be rewriting. Each is loaded once; what arrives is private and
 * stays as it is.
 * @dst has room for @bytes rounded up to 16, and so has the source: a frame is whole lines.
 */
static inline void ipci_snapshot(void *restrict dst, const uint8_t *restrict src, uint32_t bytes)
{
	/* Two words at a time; the source is 16-byte aligned, as payloads and extensions are. */
	typedef uint64_t __attribute__((__vector_size__(16), __may_alias__)) pair;
	typedef uint64_t __attribute__((__vector_size__(16), __may_alias__, __aligned__(1)))
	unaligned_pair;
	unaligned_pair *to = dst;
	const volatile pair *from = (const volatile pair *)(const void *)src;

	/*
	 * Volatile: a compiler may not read a word twice, or turn the loop into a copy that does.
	 */
	for (uint32_t i = 0; i < (bytes + 15) / 16; i++)
		to[i] = from[i];
}

/*
 * What a reader may decide on: a copy that is private, in @room. Who trusts its peer would read it
 * where it is.
 */
static inline const uint8_t *ipci_private(uint8_t *room, const uint8_t *payload, uint32_t bytes)
{
#ifdef IPCI_UNCHECKED
	(void)room;
	(void)bytes;
	return payload;
#else
	ipci_snapshot(room, payload, bytes);
	return room;
#endif
}

#endif
