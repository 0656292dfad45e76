/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The protocol of sleeping and waking, step by step in one thread: what each call says, and that no
 * order of the steps loses a wake-up. That the steps keep their order between two CPUs is
 * tests/stress.
 */
#include "ring-pair.h"

#define RING 4096u

/* @b sleeps, @a wakes it. */
static uint32_t bell_frames(const struct ring_pair *pair)
{
	return atomic_load(&pair->a.control->bell_frames);
}

static uint32_t bell_space(const struct ring_pair *pair)
{
	return atomic_load(&pair->a.control->bell_space);
}

static void put(struct ring_pair *pair)
{
	uint8_t *at;

	cr_assert_eq(ipci_producer_reserve(&pair->a.tx, 0, 0, &at), 0);
	ipci_producer_commit(&pair->a.tx, IPCI_KIND_EVENT, 0, 1, 0);
}

static void get(struct ring_pair *pair)
{
	struct ipci_view view = {0};

	cr_assert_eq(ipci_consumer_peek(&pair->b.rx, &view), 1);
	ipci_consumer_take(&pair->b.rx, &view);
	(void)ipci_consumer_publish(&pair->b.rx);
}

Test(signal, nobody_asleep_is_not_rung, .timeout = 5)
{
	struct ring_pair pair;

	ring_pair_init(&pair, RING);
	cr_assert_eq(ipci_wake_frames(&pair.a.tx), 0);
	cr_assert_eq(ipci_wake_space(&pair.a.tx), 0);
	cr_assert_eq(bell_frames(&pair), 0);
	cr_assert_eq(bell_space(&pair), 0);
	ring_pair_deinit(&pair);
}

Test(signal, each_sleep_has_an_epoch_of_its_own, .timeout = 5)
{
	struct ipci_sleep sleep = {0};
	struct ring_pair pair;
	uint64_t last = 0;

	ring_pair_init(&pair, RING);
	for (unsigned i = 0; i < 1000; i++) {
		uint64_t waiting;

		ipci_sleep_arm(&sleep, pair.b.control, IPCI_WANT_FRAMES_FUTEX);
		waiting = atomic_load(&pair.b.control->waiting);
		cr_assert_gt(waiting >> IPCI_WANT_BITS, last >> IPCI_WANT_BITS);
		cr_assert_eq(waiting & ((1u << IPCI_WANT_BITS) - 1), IPCI_WANT_FRAMES_FUTEX);
		last = waiting;
		if (i % 3)
			ipci_sleep_disarm(&sleep, pair.b.control);
	}
	ring_pair_deinit(&pair);
}

Test(signal, awake_again_wants_nothing, .timeout = 5)
{
	struct ipci_sleep sleep = {0};
	struct ring_pair pair;

	ring_pair_init(&pair, RING);
	ipci_sleep_arm(&sleep, pair.b.control, IPCI_WANT_FRAMES_BELL | IPCI_WANT_SPACE_BELL);
	cr_assert(sleep.armed);
	ipci_sleep_disarm(&sleep, pair.b.control);
	cr_assert(!sleep.armed);
	cr_assert_eq(atomic_load(&pair.b.control->waiting), 0);
	cr_assert_eq(ipci_wake_frames(&pair.a.tx), 0);
	cr_assert_eq(ipci_wake_space(&pair.a.tx), 0);
	/* A disarm without an arming leaves the word alone. */
	atomic_store(&pair.b.control->waiting, 77);
	ipci_sleep_disarm(&sleep, pair.b.control);
	cr_assert_eq(atomic_load(&pair.b.control->waiting), 77);
	ring_pair_deinit(&pair);
}

Test(signal, who_is_awake_is_not_rung_and_owes_one_membarrier, .timeout = 5)
{
	struct ipci_sleep sleep = {0};
	struct ring_pair pair;

	ring_pair_init(&pair, RING);
	cr_assert(!ipci_sleep_get_drowsy(&sleep, pair.b.control));
	ipci_sleep_stay_awake(&sleep, pair.b.control);
	cr_assert_eq(atomic_load(&pair.b.control->waiting), IPCI_AWAKE);
	cr_assert(ipci_wake_unfenced(&pair.a.tx));
	cr_assert_eq(ipci_wake_frames(&pair.a.tx), 0);
	cr_assert_eq(ipci_wake_space(&pair.a.tx), 0);
	cr_assert(ipci_sleep_get_drowsy(&sleep, pair.b.control));
	cr_assert(!ipci_sleep_get_drowsy(&sleep, pair.b.control));
	cr_assert_eq(atomic_load(&pair.b.control->waiting), 0);
	cr_assert(!ipci_wake_unfenced(&pair.a.tx));
	/* Who is armed is not awake, whatever it consumed. */
	ipci_sleep_arm(&sleep, pair.b.control, IPCI_WANT_FRAMES_FUTEX);
	ipci_sleep_stay_awake(&sleep, pair.b.control);
	cr_assert_eq(ipci_wake_frames(&pair.a.tx), IPCI_WANT_FRAMES_FUTEX);
	cr_assert_eq(bell_frames(&pair), 1);
	ring_pair_deinit(&pair);
}

Test(signal, a_sleep_is_rung_exactly_once, .timeout = 5)
{
	struct ipci_sleep sleep = {0};
	struct ring_pair pair;

	ring_pair_init(&pair, RING);
	for (uint32_t n = 1; n <= 100; n++) {
		ipci_sleep_arm(&sleep, pair.b.control, IPCI_WANT_FRAMES_FUTEX);
		cr_assert_eq(ipci_bell_frames(&pair.a.tx.own[0]), n - 1);
		cr_assert_eq(ipci_wake_frames(&pair.a.tx), IPCI_WANT_FRAMES_FUTEX);
		for (unsigned more = 0; more < 3; more++)
			cr_assert_eq(ipci_wake_frames(&pair.a.tx), 0);
		cr_assert_eq(bell_frames(&pair), n);
		cr_assert_eq(bell_space(&pair), 0);
		if (n % 2)
			ipci_sleep_disarm(&sleep, pair.b.control);
	}
	ring_pair_deinit(&pair);
}

Test(signal, frames_and_space_are_rung_apart_and_as_asked, .timeout = 5)
{
	struct ipci_sleep sleep = {0};
	struct ring_pair pair;
	uint32_t n_frames = 0, n_space = 0;

	ring_pair_init(&pair, RING);
	for (uint32_t want = 0; want < 16; want++) {
		for (unsigned space_first = 0; space_first < 2; space_first++) {
			ipci_sleep_arm(&sleep, pair.b.control, want);
			if (space_first)
				cr_assert_eq(ipci_wake_space(&pair.a.tx), want & IPCI_WANT_SPACE);
			cr_assert_eq(ipci_wake_frames(&pair.a.tx), want & IPCI_WANT_FRAMES);
			if (!space_first)
				cr_assert_eq(ipci_wake_space(&pair.a.tx), want & IPCI_WANT_SPACE);
			n_frames += (want & IPCI_WANT_FRAMES) != 0;
			n_space += (want & IPCI_WANT_SPACE) != 0;
			cr_assert_eq(ipci_wake_frames(&pair.a.tx), 0);
			cr_assert_eq(ipci_wake_space(&pair.a.tx), 0);
			cr_assert_eq(bell_frames(&pair), n_frames);
			cr_assert_eq(bell_space(&pair), n_space);
		}
	}
	ring_pair_deinit(&pair);
}

/* ── every order of the steps ── */

struct sleeper {
	struct ipci_sleep sleep;
	uint32_t bell;
	bool found;	  /* it looked and saw, so it does not sleep */
	bool often_awake; /* it says so after each sleep */
	unsigned n_done;
};

/*
 * One step of the sleeper, over and over: note the bell; get drowsy; arm; look, and unless something is there
 * sleep while the bell is what was noted. In one thread "asleep" is a step that can be taken only
 * once it is over.
 */
static bool sleeper_step(struct ring_pair *pair, struct sleeper *s)
{
	switch (s->n_done % 5) {
	case 0:
		s->bell = ipci_bell_frames(pair->b.tx.peer);
		break;
	case 1:
		(void)ipci_sleep_get_drowsy(&s->sleep, pair->b.control);
		break;
	case 2:
		ipci_sleep_arm(&s->sleep, pair->b.control, IPCI_WANT_FRAMES_FUTEX);
		break;
	case 3:
		s->found = ipci_consumer_ready(&pair->b.rx);
		break;
	default:
		if (!s->found && ipci_bell_frames(pair->b.tx.peer) == s->bell)
			return false;
		ipci_sleep_disarm(&s->sleep, pair->b.control);
		while (ipci_consumer_ready(&pair->b.rx))
			get(pair);
		if (s->often_awake)
			ipci_sleep_stay_awake(&s->sleep, pair->b.control);
	}
	s->n_done++;
	return true;
}

static void waker_step(struct ring_pair *pair, unsigned step)
{
	if (step % 2 == 0)
		put(pair);
	else
		(void)ipci_wake_frames(&pair->a.tx);
}

/* Plays one interleaving: bit i of @order says whose the i-th step is. Steps of one who is asleep
 * are put off. */
static void play(uint32_t order, unsigned n_steps, unsigned n_waker_steps, bool often_awake)
{
	struct sleeper sleeper = {.often_awake = often_awake};
	struct ring_pair pair;
	unsigned n_waker = 0;

	ring_pair_init(&pair, RING);
	if (often_awake)
		ipci_sleep_stay_awake(&sleeper.sleep, pair.b.control);
	for (unsigned i = 0; i < n_steps; i++) {
		if (!(order >> i & 1))
			(void)sleeper_step(&pair, &sleeper);
		else if (n_waker < n_waker_steps)
			waker_step(&pair, n_waker++);
	}
	while (n_waker < n_waker_steps)
		waker_step(&pair, n_waker++);
	/* The waker is done. Asleep with a frame in the ring would be for ever. */
	while (ipci_consumer_ready(&pair.b.rx))
		cr_assert(sleeper_step(&pair, &sleeper), "order %#x loses a wake-up", order);
	cr_assert_eq(pair.b.rx.n_frames, n_waker_steps / 2);
	ring_pair_deinit(&pair);
}

Test(signal, no_order_of_the_steps_loses_a_wake_up, .timeout = 60)
{
	const unsigned n_steps = 13;

	for (uint32_t order = 0; order < 1u << n_steps; order++) {
		play(order, n_steps, 6, false);
		play(order, n_steps, 6, true);
	}
}

Test(signal, state_says_phase_and_reason, .timeout = 5)
{
	struct ring_pair pair;

	ring_pair_init(&pair, RING);
	cr_assert_eq(ipci_state(pair.b.tx.peer), IPCI_PHASE_OPEN);
	ipci_state_set(pair.a.control, IPCI_PHASE_DRAINING, IPCI_REASON_NONE);
	cr_assert_eq(ipci_state(pair.b.tx.peer), 1);
	ipci_state_set(pair.a.control, IPCI_PHASE_CLOSED, IPCI_REASON_POISONED);
	cr_assert_eq(ipci_state(pair.b.tx.peer) & 0xff, IPCI_PHASE_CLOSED);
	cr_assert_eq(ipci_state(pair.b.tx.peer) >> 8, IPCI_REASON_POISONED);
	ring_pair_deinit(&pair);
}
