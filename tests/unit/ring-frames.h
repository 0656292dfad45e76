/* SPDX-License-Identifier: Apache-2.0 */
/* Frames whose every byte is known, sent from @a to @b of a pair and checked. */
#ifndef TESTS_UNIT_RING_FRAMES_H
#define TESTS_UNIT_RING_FRAMES_H

#include <string.h>

#include "ring-pair.h"

#define RING 4096u
#define LINE IPCI_LINE_BYTES
#define PAYLOAD_MAX (RING / 2 - 4 * LINE)
#define N_LINES (RING / LINE)

/* What byte @i of the payload, or extension, of call @id is. */
static inline uint8_t pattern(uint64_t id, uint64_t i)
{
	return (uint8_t)(id * 31 + i * 7 + (i >> 8) + 1);
}

static inline void fill(uint8_t *at, uint64_t n, uint64_t id)
{
	for (uint64_t i = 0; i < n; i++)
		at[i] = pattern(id, i);
}

static inline bool filled(const uint8_t *at, uint64_t n, uint64_t id)
{
	for (uint64_t i = 0; i < n; i++)
		if (at[i] != pattern(id, i))
			return false;
	return true;
}

/* Publishes @bytes of payload, of which room for @room was reserved. */
static inline int put_shrunk(struct ring_pair *pair, uint32_t kind, uint64_t room, uint64_t bytes,
			     uint64_t id)
{
	const uint32_t ext_bytes = ipci_ext_bytes(kind);
	uint8_t *at;
	int r = ipci_producer_reserve(&pair->a.tx, ext_bytes, room, &at);

	if (r < 0)
		return r;
	fill(at, ext_bytes, ~id);
	fill(at + ext_bytes, bytes, id);
	ipci_producer_commit(&pair->a.tx, kind, (uint16_t)(id ^ 0x5a5a), id, bytes);
	return 0;
}

static inline int put(struct ring_pair *pair, uint64_t bytes, uint64_t id)
{
	return put_shrunk(pair, IPCI_KIND_REQUEST, bytes, bytes, id);
}

/* Looks at the next frame, which must be that one, whole. */
static inline struct ipci_view expect(struct ring_pair *pair, uint32_t kind, uint64_t bytes,
				      uint64_t id)
{
	const uint32_t ext_bytes = ipci_ext_bytes(kind);
	const uint8_t *behind, *end;
	struct ipci_view view;

	cr_assert_eq(ipci_consumer_peek(&pair->b.rx, &view), 1);
	cr_assert_eq(view.kind, kind);
	cr_assert_eq(view.method, (uint16_t)(id ^ 0x5a5a));
	cr_assert_eq(view.call_id, id);
	cr_assert_eq(view.payload_bytes, bytes);
	cr_assert_eq(view.frame_bytes, ipci_frame_bytes(ext_bytes, bytes));
	cr_assert_eq(view.payload - view.ext, ext_bytes);
	cr_assert_eq((uintptr_t)view.payload % 16, 0);
	cr_assert(filled(view.ext, ext_bytes, ~id), "extensions of %u bytes", ext_bytes);
	cr_assert(filled(view.payload, bytes, id), "payload of %ju bytes", (uintmax_t)bytes);
	end = view.ext - sizeof(struct ipci_frame) + view.frame_bytes;
	for (behind = view.payload + bytes; behind < end; behind++)
		cr_assert_eq(*behind, 0, "padding is not zeroed");
	return view;
}

/* … and takes it, and says so. */
static inline void get(struct ring_pair *pair, uint32_t kind, uint64_t bytes, uint64_t id)
{
	struct ipci_view view = expect(pair, kind, bytes, id);

	ipci_consumer_take(&pair->b.rx, &view);
	cr_assert(ipci_consumer_publish(&pair->b.rx));
}

static inline void expect_nothing(struct ring_pair *pair)
{
	struct ipci_view view, before;

	memset(&view, 0xa5, sizeof(view));
	before = view;
	cr_assert_eq(ipci_consumer_peek(&pair->b.rx, &view), 0);
	cr_assert_eq(memcmp(&view, &before, sizeof(view)), 0);
	cr_assert(!ipci_consumer_ready(&pair->b.rx));
}

/* Carries empty frames until the next one starts at that line. */
static inline void advance_to(struct ring_pair *pair, uint64_t line)
{
	while (pair->a.tx.head / LINE % N_LINES != line) {
		cr_assert_eq(put(pair, 0, 1), 0);
		get(pair, IPCI_KIND_REQUEST, 0, 1);
	}
}

#endif
