/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One scenario an edge: two threads whose plain accesses nothing orders but that edge. Built with
 * ThreadSanitizer, once as it is, where it must find nothing, and once an edge with
 * -DWEAKEN_<edge>, where it must report a race. Run by watch.c, with the scenario's name.
 *
 *   stream   FRAME and SPACE: frames of all sizes through a small ring, payloads written and read
 * in place bell     BELL: what was published before the ring is read after the bell alone, commit
 * word unseen state    STATE: the last frames are read after the state alone sleep    all of it
 * together, both sides sleeping for frames and for space; a lost wake-up ends it as a failure
 */
#include <pthread.h>
#include <stdio.h>

#include "clock.h"
#include "stress.h"

#define N_STREAM 30000u
#define N_BELL 3000u
#define N_STATE_ROUNDS 100u
#define N_SLEEP 30000u
/* Far beyond any wait on a loaded machine: only a wait without an end reaches it. */
#define STUCK_NS (60 * IPCI_NS_PER_S)

static struct stress_pair pair;

static void fail(const char *what)
{
	(void)fprintf(stderr, "edges: %s\n", what);
	exit(1);
}

static void run_both(void *(*a)(void *), void *(*b)(void *))
{
	pthread_t threads[2];

	if (pthread_create(&threads[0], NULL, a, &pair.a) ||
	    pthread_create(&threads[1], NULL, b, &pair.b))
		fail("no threads");
	(void)pthread_join(threads[0], NULL);
	(void)pthread_join(threads[1], NULL);
}

static uint32_t payload_bytes(uint64_t frame_bytes)
{
	return (uint32_t)(frame_bytes - sizeof(struct ipci_frame));
}

/* 0 or -EAGAIN. */
static int put(struct stress_side *side, uint32_t frame_bytes, uint64_t value)
{
	uint8_t *payload;
	int r = ipci_producer_reserve(&side->tx, 0, payload_bytes(frame_bytes), &payload);

	if (r == -EAGAIN)
		return r;
	if (r < 0)
		fail("the peer's progress is impossible");
	stress_fill(payload, payload_bytes(frame_bytes), value);
	ipci_producer_commit(&side->tx, IPCI_KIND_EVENT, 0, value, payload_bytes(frame_bytes));
	return 0;
}

/* True if there was a frame, which must be that one. Padding is passed over. */
static bool get(struct stress_side *side, uint64_t value)
{
	struct ipci_view view;
	int r = ipci_consumer_peek(&side->rx, &view);

	if (r == 1 && view.kind == IPCI_KIND_PADDING) {
		ipci_consumer_take(&side->rx, &view);
		r = ipci_consumer_peek(&side->rx, &view);
	}
	if (r == 0)
		return false;
	if (r < 0 || view.call_id != value ||
	    !stress_filled(view.payload, view.payload_bytes, value))
		fail("a frame that was not sent");
	ipci_consumer_take(&side->rx, &view);
	return true;
}

/* ── stream ── */

/* Waits until all is consumed. */
static void drain(struct stress_side *side)
{
	while (side->tx.peer_consumed != side->tx.head) {
		if (ipci_producer_refresh(&side->tx) < 0)
			fail("the peer's progress is impossible");
		(void)sched_yield();
	}
}

static void *stream_out(void *arg)
{
	struct stress_side *side = arg;
	uint64_t seed = 1;

	for (uint64_t i = 0; i < N_STREAM; i++) {
		uint32_t bytes = stress_frame_bytes(&side->tx, &seed);

		while (put(side, bytes, i) == -EAGAIN)
			(void)sched_yield();
		/* By turns as much as goes in, and little at a time. */
		if (i / 1024 % 2 && i % 8 == 0)
			drain(side);
	}
	return NULL;
}

static void *stream_in(void *arg)
{
	struct stress_side *side = arg;

	for (uint64_t i = 0; i < N_STREAM; i++) {
		while (!get(side, i)) {
			(void)ipci_consumer_publish(&side->rx);
			(void)sched_yield();
		}
		if (ipci_consumer_should_publish(&side->rx))
			(void)ipci_consumer_publish(&side->rx);
	}
	return NULL;
}

/* ── bell ── */

static void *bell_out(void *arg)
{
	struct stress_side *side = arg;
	uint64_t seen = 0, waiting;

	for (uint64_t i = 0; i < N_BELL; i++) {
		/* Relaxed: it orders nothing, it only makes sure that each frame finds a sleeper.
		 */
		while ((waiting = atomic_load_explicit(&side->tx.peer->waiting,
						       memory_order_relaxed)) == seen)
			(void)sched_yield();
		seen = waiting;
		while (put(side, IPCI_LINE_BYTES, i) == -EAGAIN)
			(void)sched_yield();
		if (ipci_wake_frames(&side->tx) != IPCI_WANT_FRAMES_FUTEX)
			fail("a sleeper was not rung");
	}
	return NULL;
}

static void *bell_in(void *arg)
{
	struct stress_side *side = arg;

	for (uint64_t i = 0; i < N_BELL; i++) {
		uint32_t bell = ipci_bell_frames(side->tx.peer);
		const uint8_t *payload = (const uint8_t *)(ipci_consumer_frame(&side->rx) + 1);

		ipci_sleep_arm(&side->sleep, side->control, IPCI_WANT_FRAMES_FUTEX);
		while (ipci_bell_frames(side->tx.peer) == bell)
			(void)sched_yield();
		/* The commit word was not looked at: nothing but the bell says that the payload is
		 * there. */
		if (!stress_filled(payload, payload_bytes(IPCI_LINE_BYTES), i) || !get(side, i))
			fail("rung for nothing");
		(void)ipci_consumer_publish(&side->rx);
	}
	return NULL;
}

/* ── state ── */

#define N_LAST 8u

static void *state_out(void *arg)
{
	struct stress_side *side = arg;

	for (uint64_t i = 0; i < N_LAST; i++)
		if (put(side, IPCI_LINE_BYTES, i) < 0)
			fail("no room in an empty ring");
	ipci_state_set(side->control, IPCI_PHASE_CLOSED, IPCI_REASON_FREED);
	return NULL;
}

static void *state_in(void *arg)
{
	struct stress_side *side = arg;

	while ((ipci_state(side->tx.peer) & 0xff) != IPCI_PHASE_CLOSED)
		(void)sched_yield();
	for (uint64_t i = 0; i < N_LAST; i++) {
		const uint8_t *payload = (const uint8_t *)(ipci_consumer_frame(&side->rx) + 1);

		if (!stress_filled(payload, payload_bytes(IPCI_LINE_BYTES), i) || !get(side, i))
			fail("closed before the last frames were there");
	}
	if (get(side, N_LAST))
		fail("a frame after the last");
	return NULL;
}

/* ── sleep ── */

static void sleep_while(const _Atomic uint32_t *word, uint32_t value)
{
	uint64_t deadline_ns = ipci_deadline_ns(STUCK_NS);

	/* Acquire: as the kernel's own look at a futex word. */
	while (atomic_load_explicit(word, memory_order_acquire) == value) {
		if (ipci_now_ns() > deadline_ns)
			fail("a wake-up was lost");
		(void)sched_yield();
	}
}

static uint32_t bell_space(const struct ipci_control *peer)
{
	return atomic_load_explicit(&peer->bell_space, memory_order_acquire);
}

static void *sleep_out(void *arg)
{
	struct stress_side *side = arg;
	uint64_t seed = 2;

	for (uint64_t i = 0; i < N_SLEEP; i++) {
		uint32_t bytes = stress_frame_bytes(&side->tx, &seed);

		while (put(side, bytes, i) == -EAGAIN) {
			uint32_t bell = bell_space(side->tx.peer);

			ipci_sleep_arm(&side->sleep, side->control, IPCI_WANT_SPACE_FUTEX);
			if (ipci_producer_has_room(&side->tx, bytes) == 0)
				sleep_while(&side->tx.peer->bell_space, bell);
			ipci_sleep_disarm(&side->sleep, side->control);
		}
		(void)ipci_wake_frames(&side->tx);
		/* Pauses of all lengths, so that the other runs dry, or full. */
		for (uint64_t pause = stress_random(&seed) % 64; pause > 60; pause--)
			(void)sched_yield();
	}
	return NULL;
}

static void give_back(struct stress_side *side)
{
	if (ipci_consumer_publish(&side->rx))
		(void)ipci_wake_space(&side->tx);
}

static void *sleep_in(void *arg)
{
	struct stress_side *side = arg;
	uint64_t seed = 3;

	for (uint64_t i = 0; i < N_SLEEP; i++) {
		while (!get(side, i)) {
			uint32_t bell = ipci_bell_frames(side->tx.peer);

			give_back(side);
			ipci_sleep_arm(&side->sleep, side->control, IPCI_WANT_FRAMES_FUTEX);
			if (!ipci_consumer_ready(&side->rx))
				sleep_while(&side->tx.peer->bell_frames, bell);
			ipci_sleep_disarm(&side->sleep, side->control);
		}
		if (ipci_consumer_should_publish(&side->rx))
			give_back(side);
		for (uint64_t pause = stress_random(&seed) % 64; pause > 60; pause--)
			(void)sched_yield();
	}
	give_back(side);
	return NULL;
}

static void scenario(void *(*a)(void *), void *(*b)(void *), size_t ring_bytes, unsigned n_rounds)
{
	for (unsigned round = 0; round < n_rounds; round++) {
		stress_pair_init(&pair, ring_bytes);
		run_both(a, b);
		stress_pair_deinit(&pair);
	}
}

int main(int argc, char **argv)
{
	const char *name = argc == 2 ? argv[1] : "";

	if (strcmp(name, "stream") == 0)
		scenario(stream_out, stream_in, STRESS_RING_BYTES, 1);
	else if (strcmp(name, "large") == 0)
		scenario(stream_out, stream_in, STRESS_LARGE_RING_BYTES, 1);
	else if (strcmp(name, "bell") == 0)
		scenario(bell_out, bell_in, STRESS_RING_BYTES, 1);
	else if (strcmp(name, "state") == 0)
		scenario(state_out, state_in, STRESS_RING_BYTES, N_STATE_ROUNDS);
	else if (strcmp(name, "sleep") == 0)
		scenario(sleep_out, sleep_in, STRESS_RING_BYTES, 1);
	else
		fail("stream, large, bell, state or sleep?");
	return 0;
}
