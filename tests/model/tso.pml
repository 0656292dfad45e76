/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shared words as x86-TSO has them: each side's stores go through a buffer, first in, first out,
 * which reaches memory whenever it likes. Loads read memory: each word has one writer, and no side
 * loads its own, so nothing is forwarded from the buffer.
 *
 * A fence empties the side's own buffer; a membarrier(2) empties both. That memory may see a part
 * of the buffer first needs no step of its own: cache() may have taken that part before.
 *
 * Whatever compilers and weaker machines turn round besides is in the weakened models, written in
 * the wrong order.
 */
#define PRODUCER 0
#define CONSUMER 1
#define N_BUFFERED 4

byte mem[N_WORDS];
chan buffer[2] = [N_BUFFERED] of { byte, byte };
hidden byte at, value; /* only within a d_step, which is undone as a whole */

#define store(me, word, what) buffer[me]!word, what
#define load(word) mem[word]

inline drain(who)
{
	buffer[who]?at, value;
	mem[at] = value
}

inline fence(me)
{
	d_step {
		do
		:: nempty(buffer[me]) -> drain(me)
		:: empty(buffer[me]) -> break
		od
	}
}

inline membarrier()
{
	d_step {
		do
		:: nempty(buffer[PRODUCER]) -> drain(PRODUCER)
		:: nempty(buffer[CONSUMER]) -> drain(CONSUMER)
		:: empty(buffer[PRODUCER]) && empty(buffer[CONSUMER]) -> break
		od
	}
}

/* fetch_add: a locked instruction, so a fence as well. */
inline add_one(me, word)
{
	d_step {
		do
		:: nempty(buffer[me]) -> drain(me)
		:: empty(buffer[me]) -> break
		od;
		mem[word] = mem[word] + 1
	}
}

active [2] proctype cache()
{
end:
	do
	:: d_step {
		drain(_pid)
	}
	od
}
