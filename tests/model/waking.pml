/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Waking, as libipc/ring/signal.h has it: a producer that sleeps for space and a consumer that
 * sleeps for frames, until the producer closes. Right: nobody sleeps for ever (an invalid end
 * state), and every frame is taken before the end is.
 *
 *   arm            signal.h:ipci_sleep_arm       sleep_here       transact.c:sleep_for_frames
 *   disarm         signal.h:ipci_sleep_disarm    wake             signal.h:ipci_wake_frames, _space
 *   goodbye        channel.c:say_goodbye         look for the end deliver.c:look_for_end
 *   get_drowsy     signal.h:ipci_sleep_get_drowsy, channel.c:ipci_loop_barrier (awake.pml)
 *
 * In band a frame is its own commit word; here all of them are one word, how many were committed,
 * since no more than one is looked at. publication.pml has them one by one.
 */
#ifndef N_FRAMES
#define N_FRAMES 3
#endif
#define N_ROOM 1 /* frames that the ring has room for */

#define COMMITTED 0 /* the producer's half */
#define BELL_FRAMES 1
#define WAITING_SPACE 2
#define STATE 3
#define CONSUMED 4 /* the consumer's half */
#define BELL_SPACE 5
#define WAITING_FRAMES 6
#define N_WORDS 7

#include "tso.pml"

#define WANT 1
#define AWAKE 2
#define EPOCH 4

bool asleep[2];

/* SLEEP: between a store and a load, on both sides. */
inline sleep_fence(me)
{
#ifdef WEAKEN_SLEEP
	skip
#else
	fence(me)
#endif
}

inline get_drowsy(me, waiting)
{
#ifdef WITH_AWAKE
	if
	:: awake ->
		awake = false;
		store(me, waiting, 0);
#ifndef WEAKEN_AWAKE
		membarrier()
#endif
	:: else
	fi
#else
	skip
#endif
}

/* Whenever it likes. */
inline may_stay_awake(me, waiting)
{
#ifdef WITH_AWAKE
	if
	:: !awake -> awake = true; store(me, waiting, AWAKE)
	:: true
	fi
#else
	skip
#endif
}

inline arm(me, waiting)
{
#ifndef WEAKEN_EPOCH
	epoch = epoch + 1;
#endif
	store(me, waiting, epoch * EPOCH + WANT);
	sleep_fence(me)
}

/*
 * BELL: the word is noted before arming. Acquire is what keeps it there; without, it is loaded
 * later.
 */
#ifdef WEAKEN_BELL
#define note_before(word) skip
#define note_after(word) bell = load(word)
#else
#define note_before(word) bell = load(word)
#define note_after(word) skip
#endif

/* The futex: asleep if the word is still what was noted, compared in the kernel. */
inline sleep_here(me, word, found)
{
	if
	:: found
	:: !(found) ->
		atomic {
			if
			:: load(word) == bell -> asleep[me] = true
			:: else
			fi
		}
		!asleep[me]
	fi
}

inline disarm(me, waiting)
{
	store(me, waiting, 0)
}

inline ring(me, other, word)
{
	add_one(me, word);
	asleep[other] = false
}

inline wake_if(me, other, word)
{
	if
	:: (seen & WANT) && seen != rung -> rung = seen; ring(me, other, word)
	:: else
	fi
}

inline wake(me, other, waiting, word)
{
#ifdef WITH_AWAKE
#ifdef WEAKEN_ORDER
	skip; /* was loaded before the store, below */
#else
	seen = load(waiting);
#endif
	if
	:: seen == AWAKE
	:: else ->
		sleep_fence(me);
		seen = load(waiting);
		wake_if(me, other, word)
	fi
#else
	sleep_fence(me);
	seen = load(waiting);
	wake_if(me, other, word)
#endif
}

inline give_back()
{
	if
	:: told != n ->
		told = n;
		store(CONSUMER, CONSUMED, n);
		wake(CONSUMER, PRODUCER, WAITING_SPACE, BELL_SPACE)
	:: else
	fi
}

active proctype producer()
{
	byte n, epoch, bell, seen, rung;
	bool awake;

	do
	:: n == N_FRAMES -> break
	:: n < N_FRAMES && n - load(CONSUMED) < N_ROOM ->
		may_stay_awake(PRODUCER, WAITING_SPACE);
		n = n + 1;
#ifdef WEAKEN_STATE
		if
		:: n == N_FRAMES -> store(PRODUCER, STATE, 1)
		:: else
		fi;
#endif
#ifdef WEAKEN_ORDER
		seen = load(WAITING_FRAMES);
#endif
		store(PRODUCER, COMMITTED, n);
		wake(PRODUCER, CONSUMER, WAITING_FRAMES, BELL_FRAMES)
	:: n < N_FRAMES && n - load(CONSUMED) >= N_ROOM ->
		note_before(BELL_SPACE);
		get_drowsy(PRODUCER, WAITING_SPACE);
		arm(PRODUCER, WAITING_SPACE);
		note_after(BELL_SPACE);
#ifdef WEAKEN_LOOK
		sleep_here(PRODUCER, BELL_SPACE, false);
#else
		sleep_here(PRODUCER, BELL_SPACE, n - load(CONSUMED) < N_ROOM);
#endif
		disarm(PRODUCER, WAITING_SPACE)
	od;
	store(PRODUCER, STATE, 1);
	ring(PRODUCER, CONSUMER, BELL_FRAMES)
}

active proctype consumer()
{
	byte n, told, epoch, bell, seen, rung;
	bool awake;

	do
	:: load(COMMITTED) > n ->
		may_stay_awake(CONSUMER, WAITING_FRAMES);
		n = n + 1;
		if
		:: give_back() /* at once, or only before it sleeps */
		:: true
		fi
	:: load(COMMITTED) == n ->
		give_back();
		if
		:: load(STATE) ->
			if
			:: load(COMMITTED) == n -> break
			:: else
			fi
		:: else ->
			note_before(BELL_FRAMES);
			get_drowsy(CONSUMER, WAITING_FRAMES);
			arm(CONSUMER, WAITING_FRAMES);
			note_after(BELL_FRAMES);
#ifdef WEAKEN_LOOK
			sleep_here(CONSUMER, BELL_FRAMES, false);
#else
			sleep_here(CONSUMER, BELL_FRAMES, load(COMMITTED) > n || load(STATE));
#endif
			disarm(CONSUMER, WAITING_FRAMES)
		fi
	od;
	assert(n == N_FRAMES)
}
