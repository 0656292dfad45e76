/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the programs here are made of: two sides, a and b, with a half each in plain memory, and the
 * ring's real code, all in one file, as checkers want it. Each is run by
 *
 *   explore.c   with -DMODEL_EXPLORE: every execution, under the C11 memory model
 *   genmc       with -DMODEL_GENMC: the same, by a checker of other people's
 *   threads     with neither: many times over, plain and under ThreadSanitizer
 *
 * The rings are not mapped twice, so frames must not straddle the end: their sizes are powers of
 * two, and each starts at a multiple of its size.
 */
#ifndef TESTS_MODEL_MODEL_H
#define TESTS_MODEL_MODEL_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "program.h"

#include "signal.h"

#ifndef MODEL_GENMC
#include "ring.c"
#endif

#ifdef MODEL_EXPLORE
/* Spinning until then. What is tried must change nothing unless it succeeds. */
#define MODEL_AWAIT(condition)                                                                     \
	do {                                                                                       \
		while (!(condition))                                                               \
			model_pause();                                                             \
	} while (0)
#elif defined(MODEL_GENMC)
#include "run-genmc.h"
#else
#include "run-threads.h"
#endif

_Alignas(128) uint8_t model_halves[2][MODEL_HALF_BYTES];

struct model_side {
	struct ipci_control *control;
	struct ipci_producer tx;
	struct ipci_consumer rx;
	struct ipci_sleep sleep;
	/* Not on the stack: what is there in a loop's body, GenMC takes for freed in the next round. */
	struct ipci_view view;
	uint8_t *room;
};

static struct model_side a, b;

static inline void model_side_init(struct model_side *side, unsigned me)
{
	uint8_t *own = model_halves[me], *peer = model_halves[!me];

#ifndef MODEL_GENMC /* which has one execution, and sees no memory set but word by word */
	memset(own, 0, MODEL_RING_OFFSET);
	/* What looks least like nothing, for who looks where he should not. */
	memset(own + MODEL_RING_OFFSET, 1, MODEL_RING_BYTES);
	side->sleep = (struct ipci_sleep){0};
#endif
	side->control = (struct ipci_control *)(void *)own;
	ipci_producer_init(&side->tx, own, peer, MODEL_RING_OFFSET, MODEL_RING_BYTES);
	ipci_consumer_init(&side->rx, own, peer, MODEL_RING_OFFSET, MODEL_RING_BYTES);
}

/* As if @from had sent that many bytes already, and @to had taken and told all of them. */
static inline void model_begin_at(struct model_side *from, struct model_side *to, uint64_t position)
{
	from->tx.head = from->tx.peer_consumed = position;
	to->rx.tail = to->rx.published = position;
	atomic_store_explicit(&to->control->consumed, position, memory_order_relaxed);
	atomic_store_explicit(&ipci_producer_frame(&from->tx, position)->commit, 0,
			      memory_order_relaxed);
}

static inline void model_init(uint64_t position)
{
	model_side_init(&a, 0);
	model_side_init(&b, 1);
	model_begin_at(&a, &b, position);
	model_begin_at(&b, &a, position);
}

static inline void model_check(bool right, const char *what)
{
	if (!right)
		model_fail(what);
}

static inline uint64_t model_payload_bytes(uint64_t frame_bytes)
{
	return frame_bytes - sizeof(struct ipci_frame);
}

/*
 * A frame in room for a larger one, which is written all over. Of the payload both ends count, as
 * plain words.
 */
static inline bool model_put_short(struct model_side *side, uint32_t room_bytes,
				   uint32_t frame_bytes, uint64_t value)
{
	const uint64_t n = model_payload_bytes(frame_bytes);
	uint64_t *words;
	int r = ipci_producer_reserve(&side->tx, 0, model_payload_bytes(room_bytes), &side->room);

	model_check(r == 0 || r == -EAGAIN, "the consumer's progress is impossible");
	if (r < 0)
		return false;
	words = (uint64_t *)(void *)side->room;
	for (uint64_t i = n / 8; i < model_payload_bytes(room_bytes) / 8; i++)
		words[i] = UINT64_MAX;
	words[0] = value;
	words[n / 8 - 1] = ~value;
	ipci_producer_commit(&side->tx, IPCI_KIND_EVENT, 0, value, n);
	return true;
}

static inline bool model_put(struct model_side *side, uint32_t frame_bytes, uint64_t value)
{
	return model_put_short(side, frame_bytes, frame_bytes, value);
}

static inline void model_check_payload(const uint8_t *payload, uint64_t n, uint64_t value)
{
	model_check(((const uint64_t *)(const void *)payload)[0] == value &&
			    ((const uint64_t *)(const void *)payload)[n / 8 - 1] == ~value,
		    "a payload that was not sent");
}

/* False: nothing there. Else it is frame @value. */
static inline bool model_get(struct model_side *side, uint64_t value)
{
	struct ipci_view *view = &side->view;
	int r = ipci_consumer_peek(&side->rx, view);

	model_check(r >= 0, "a frame that cannot be");
	if (r == 0)
		return false;
	model_check(view->call_id == value, "a frame that was not sent");
	model_check_payload(view->payload, view->payload_bytes, value);
	ipci_consumer_take(&side->rx, view);
	return true;
}

/* ── how the library's layers above sleep and wake ── */

/* As channel.c's ipci_channel_arm(). */
static inline void model_arm(struct model_side *side, uint32_t want)
{
	if (ipci_sleep_get_drowsy(&side->sleep, side->control))
		model_heavy_fence();
	ipci_sleep_arm(&side->sleep, side->control, want);
}

/* As transact.c's sleep_for_frames(). */
static inline void model_sleep_for_frames(struct model_side *side)
{
	uint32_t bell = ipci_bell_frames(side->tx.peer);

	model_arm(side, IPCI_WANT_FRAMES_FUTEX);
	if (!ipci_consumer_ready(&side->rx))
		model_sleep_while(&side->tx.peer->bell_frames, bell);
	ipci_sleep_disarm(&side->sleep, side->control);
}

/* As channel.c's ipci_channel_ring(). */
static inline void model_ring(struct model_side *side, uint32_t how, const _Atomic uint32_t *word)
{
	if (how & (IPCI_WANT_FRAMES_FUTEX | IPCI_WANT_SPACE_FUTEX))
		model_wake(word);
	if (how & (IPCI_WANT_FRAMES_BELL | IPCI_WANT_SPACE_BELL))
		model_bell_ring(side == &a);
}

static inline void model_wake_frames(struct model_side *side)
{
	uint32_t how = ipci_wake_frames(&side->tx);

	if (how)
		model_ring(side, how, &side->control->bell_frames);
}

/* As channel.c's ipci_channel_give_back(). */
static inline void model_give_back(struct model_side *side)
{
	uint32_t how;

	if (!ipci_consumer_publish(&side->rx))
		return;
	how = ipci_wake_space(&side->tx);
	if (how)
		model_ring(side, how, &side->control->bell_space);
}

#ifdef MODEL_EXPLORE
void model_name(char *name, size_t bytes, uint32_t offset)
{
	static const struct {
		uint32_t offset;
		const char *name;
	} words[] = {
		{offsetof(struct ipci_control, consumed), "consumed"},
		{offsetof(struct ipci_control, waiting), "waiting"},
		{offsetof(struct ipci_control, bell_frames), "bell_frames"},
		{offsetof(struct ipci_control, bell_space), "bell_space"},
		{offsetof(struct ipci_control, state), "state"},
	};
	const char side = model_owner(offset) ? 'b' : 'a';

	offset %= MODEL_HALF_BYTES;
	if (offset >= MODEL_RING_OFFSET)
		(void)snprintf(name, bytes, "%c.ring[%u]", side, offset - MODEL_RING_OFFSET);
	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
		if (offset == words[i].offset)
			(void)snprintf(name, bytes, "%c.%s", side, words[i].name);
}
#endif

#endif
