/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sleeping and waking, as far as the shared words go; what sleeps and wakes in the kernel is the
 * wait layer's.
 *
 *   sleeper                                   waker
 *     1 v = the peer's bell word                1 publish a frame, or `consumed`
 *     2 waiting = epoch | what (arm)            2 SLEEP fence
 *     3 SLEEP fence                             3 load the peer's `waiting`
 *     4 look again: ring, consumed, state       4 if it wants this: bump the own bell word, wake
 *     5 sleep while the bell word is v
 *     6 waiting = 0 (disarm)
 *
 * Either the waker's 3 sees the sleeper's 2, or the sleeper's 4 sees the waker's 1.
 *
 * The waker's fence costs more than all else that publishing a small message does. So a side that
 * has been looking by itself for a while says so, IPCI_AWAKE in `waiting`, and a waker that reads
 * that is done without a fence. Before it arms, such a side turns drowsy:
 *
 *   sleeper, awake                            waker
 *     0 waiting = 0 (drowsy)                    1 publish
 *     membarrier(GLOBAL_EXPEDITED)              2 AWAKE: load `waiting`; if awake: done
 *     1 .. 6 as above                             SLEEP fence, 3 and 4 as above
 *
 * AWAKE is sound because the membarrier is a full fence on every CPU that runs a thread of the
 * waker's, somewhere between two of its instructions (where none runs, the switch away was one):
 *   - behind the waker's 2: then what it published is visible when the membarrier returns, and the
 *     sleeper's 4 sees it;
 *   - before the waker's 2: then that load sees 0 or later, and the waker goes on with the fence:
 *     SLEEP holds.
 * Both sides must be registered for it: they say so at open, IPCI_FEATURE_MEMBARRIER, or are always
 * drowsy. A side that lies about that, or says awake and sleeps, loses wake-ups of its own.
 *
 * The epoch makes waking exact: a waker rings once for each value of `waiting` that it saw. That is
 * enough, because the sleeper notes v before it says the epoch: a ring for this epoch, even a late
 * one for a frame that was found long ago, makes the word another than v, so the sleep does not
 * begin or ends. Were v noted after arming, such a ring could be in v already, and the next frame
 * would not ring again. Likewise a byte in the bell stays until it is drained, which the sleeper
 * does before it arms again, with a new epoch.
 *
 * Modelled in tests/model/waking.pml and awake.pml; explored as it is by the programs beside them.
 */
#ifndef IPCI_RING_SIGNAL_H
#define IPCI_RING_SIGNAL_H

#include "consume.h"
#include "publish.h"

struct ipci_sleep {
	uint64_t epoch; /* grows with each arming; 56 bits do not come round */
	bool armed;
	bool awake; /* the peer was told, and publishes without a fence */
};

/*
 * Tells the peer that this side looks by itself. Only where both sides are registered for
 * membarrier(2). Relaxed and unfenced: a waker that does not see it yet fences in vain, no more.
 */
static inline void ipci_sleep_stay_awake(struct ipci_sleep *sleep, struct ipci_control *own)
{
	if (sleep->armed || sleep->awake)
		return;
	sleep->awake = true;
	IPCI_CRASH_POINT(AWAKE);
	atomic_store_explicit(&own->waiting, IPCI_AWAKE, memory_order_relaxed);
}

/*
 * Takes that back, before arming. True: the caller calls membarrier(GLOBAL_EXPEDITED) before it
 * arms; one does for all channels that got drowsy before it. AWAKE: pairs with ipci_wake_wanted().
 */
static inline bool ipci_sleep_get_drowsy(struct ipci_sleep *sleep, struct ipci_control *own)
{
	if (!sleep->awake)
		return false;
	sleep->awake = false;
	IPCI_CRASH_POINT(DROWSY);
	/* Relaxed: the membarrier orders it. The owner is the sole writer. */
	atomic_store_explicit(&own->waiting, 0, memory_order_relaxed);
	return ipci_awake_owes_barrier();
}

/*
 * Says what to be woken for, IPCI_WANT_…; then fences, so that the caller's looks again come after.
 * The side is drowsy.
 */
static inline void ipci_sleep_arm(struct ipci_sleep *sleep, struct ipci_control *own, uint32_t want)
{
	assert(!sleep->awake);
	sleep->epoch++;
	sleep->armed = true;
	IPCI_CRASH_POINT(ARM);
	/*
	 * Relaxed: the fence orders it against the looks that follow. The owner is the sole writer.
	 */
	atomic_store_explicit(&own->waiting, sleep->epoch << IPCI_WANT_BITS | want,
			      memory_order_relaxed);
	IPCI_CRASH_POINT(ARMED);
	ipci_sleep_fence();
}

/*
 * Awake again. Relaxed and unfenced: a waker that still sees the old value rings in vain, no more.
 */
static inline void ipci_sleep_disarm(struct ipci_sleep *sleep, struct ipci_control *own)
{
	if (!sleep->armed)
		return;
	sleep->armed = false;
	IPCI_CRASH_POINT(DISARM);
	atomic_store_explicit(&own->waiting, 0, memory_order_relaxed);
}

/*
 * Noted before arming, never after. BELL acquire: what the peer published before it rang is seen
 * after this, and the arming comes after this. Pairs with the release in ipci_bell_bump().
 */
static inline uint32_t ipci_bell_frames(const struct ipci_control *peer)
{
	return atomic_load_explicit(&peer->bell_frames, IPCI_BELL_ACQUIRE);
}

/* BELL release: pairs with ipci_bell_frames() and the futex's own load of the word. */
static inline void ipci_bell_bump(_Atomic uint32_t *word)
{
	IPCI_CRASH_POINT(BELL);
	atomic_fetch_add_explicit(word, 1, IPCI_BELL_RELEASE);
	IPCI_CRASH_POINT(RUNG);
}

/* Does the peer say that it is awake? Relaxed: it is taken at its word, whenever that was. */
static inline bool ipci_wake_unfenced(const struct ipci_producer *p)
{
	return atomic_load_explicit(&p->peer->waiting, memory_order_relaxed) & IPCI_AWAKE;
}

/*
 * What does the peer wait for, after what was just published? 0 toward one that is awake, without a
 * fence. AWAKE: pairs with the membarrier(2) behind ipci_sleep_get_drowsy().
 */
static inline uint64_t ipci_wake_wanted(const struct ipci_producer *p)
{
	ipci_awake_order();
	if (__builtin_expect(ipci_wake_unfenced(p), 1))
		return 0;
	ipci_sleep_fence();
	return atomic_load_explicit(&p->peer->waiting, memory_order_relaxed);
}

/* The value of `waiting` for which nobody was rung: none that wants anything is 0. */
#define IPCI_NOT_RUNG UINT64_C(0)

/*
 * After committing: how does the peer want to be woken for frames? 0: it does not sleep, or was
 * rung already. Else IPCI_WANT_FRAMES_… bits, and the own bell word has been bumped.
 */
static inline uint32_t ipci_wake_frames(struct ipci_producer *p)
{
	const uint64_t waiting = ipci_wake_wanted(p);

	if (!(waiting & IPCI_WANT_FRAMES) || waiting == p->rung_frames)
		return 0;
	p->rung_frames = waiting;
	ipci_bell_bump(&p->own->bell_frames);
	return (uint32_t)waiting & IPCI_WANT_FRAMES;
}

/* After publishing `consumed`: the same for space. */
static inline uint32_t ipci_wake_space(struct ipci_producer *p)
{
	const uint64_t waiting = ipci_wake_wanted(p);

	if (!(waiting & IPCI_WANT_SPACE) || waiting == p->rung_space)
		return 0;
	p->rung_space = waiting;
	ipci_bell_bump(&p->own->bell_space);
	return (uint32_t)waiting & IPCI_WANT_SPACE;
}

/* STATE release: the last frames happen-before it. Pairs with ipci_state(). */
static inline void ipci_state_set(struct ipci_control *own, enum ipci_phase phase,
				  enum ipci_reason reason)
{
	IPCI_CRASH_POINT(STATE);
	atomic_store_explicit(&own->state, (uint32_t)phase | (uint32_t)reason << 8,
			      IPCI_STATE_RELEASE);
	IPCI_CRASH_POINT(CLOSED);
}

/* STATE acquire: frames committed before the state was set are seen after this. */
static inline uint32_t ipci_state(const struct ipci_control *peer)
{
	return atomic_load_explicit(&peer->state, IPCI_STATE_ACQUIRE);
}

/*
 * The last word on what was taken, before the state says closed. Not `consumed`: that stays behind
 * what is still held in place. Relaxed: STATE's release, which follows, orders it.
 */
static inline void ipci_taken_set(struct ipci_control *own, uint64_t position)
{
	IPCI_CRASH_POINT(TAKEN);
	atomic_store_explicit(&own->taken, position, memory_order_relaxed);
}

/* After the state was seen to say closed; a claim. Relaxed: STATE's acquire came before. */
static inline uint64_t ipci_taken(const struct ipci_control *peer)
{
	return atomic_load_explicit(&peer->taken, memory_order_relaxed);
}

#endif
