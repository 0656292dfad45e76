/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Publication in band, as libipc/ring/publish.h and consume.h have it: frames of one line and of
 * two, in room for as much or more, round a ring of a few lines, full at times; rooms that are
 * written to and given up. Right: the consumer finds the frames that were sent, in order, whole,
 * and nothing else, whatever old bytes lie in the ring.
 *
 *   reserve        publish.h:ipci_producer_reserve    push          ipci_producer_push
 *   blank_ahead    ipci_producer_blank_ahead          consumer      consume.h:ipci_consumer_peek,
 *                                                                   _take, _publish
 */
#define N_LINES 4
#define N_FRAMES 5

/* A line begins with what is a commit word if a frame begins there; the rest of it is one word. */
#define FIRST(position) ((position) % N_LINES)
#define REST(position) (N_LINES + (position) % N_LINES)
#define CONSUMED (2 * N_LINES)
#define N_WORDS (2 * N_LINES + 1)

#include "tso.pml"

#define PAYLOAD 1 /* in a frame's second line; looks like a commit word */
#define NOT_BLANK 255

#ifdef WEAKEN_SPARE
#define SPARE 0
#else
#define SPARE 1
#endif
#define FREE (N_LINES - (head - consumed) - SPARE)

inline fill()
{
	store(PRODUCER, REST(head), n + 1);
	if
	:: room == 2 ->
		store(PRODUCER, FIRST(head + 1), PAYLOAD);
		store(PRODUCER, REST(head + 1), n + 1)
	:: else
	fi
}

/* FRAME: weakened, the commit word goes first. */
inline push()
{
#ifndef WEAKEN_NEXT
	if
	:: blank != head + used -> store(PRODUCER, FIRST(head + used), 0)
	:: else
	fi;
#endif
	store(PRODUCER, FIRST(head), used)
}

inline blank_ahead()
{
	blank = NOT_BLANK;
	if
	:: FREE >= used ->
		blank = head + used;
		store(PRODUCER, FIRST(blank), 0)
	:: else
	fi
}

active proctype producer()
{
	byte n, head, consumed, room, used, blank = NOT_BLANK;

	do
	:: n == N_FRAMES -> break
	:: n < N_FRAMES ->
		if
		:: room = 1; used = 1
		:: room = 2; used = 1
		:: room = 2; used = 2
		fi;
		do
		:: FREE >= room -> break
		:: FREE < room && load(CONSUMED) != consumed -> consumed = load(CONSUMED)
		od;
#ifndef WEAKEN_BLANK
		if
		:: blank < head + room -> blank = NOT_BLANK
		:: else
		fi;
#endif
		if
		:: true -> fill() /* and is given up */
		:: true ->
#ifdef WEAKEN_FRAME
			push();
			fill();
#else
			fill();
			push();
#endif
			head = head + used;
			n = n + 1;
			blank_ahead()
		fi
	od
}

/* SPACE: weakened, the place is given back before it was read. */
active proctype consumer()
{
	byte n, tail, told, lines;

	do
	:: n == N_FRAMES -> break
	:: n < N_FRAMES && load(FIRST(tail)) != 0 ->
		lines = load(FIRST(tail));
		assert(lines == 1 || lines == 2);
#ifdef WEAKEN_SPACE
		told = tail + lines;
		store(CONSUMER, CONSUMED, told);
#endif
		assert(load(REST(tail)) == n + 1);
		if
		:: lines == 2 -> assert(load(REST(tail + 1)) == n + 1)
		:: else
		fi;
		tail = tail + lines;
		n = n + 1
	:: told < tail ->
		told = tail;
		store(CONSUMER, CONSUMED, told)
	od;
	assert(load(FIRST(tail)) == 0)
}
