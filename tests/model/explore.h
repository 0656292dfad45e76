/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The explorer's two halves to each other: explore.c chooses, memory.c knows what may be seen.
 */
#ifndef TESTS_MODEL_EXPLORE_H
#define TESTS_MODEL_EXPLORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The thread that runs, 0 or 1; NOBODY while an execution is set up or looked back at. */
#define NOBODY 2u
extern unsigned current;

/* One of @n, each in some execution. */
unsigned choose(unsigned n);

/* Before each operation that the other thread can tell: who goes next? */
void point(void);

/* What thread @t found, for telling states apart. */
void found(unsigned t, uint64_t what);

/* The program is wrong: says so, with the way there. Does not return. */
_Noreturn void wrong(const char *what);

static inline uint64_t mix(uint64_t a, uint64_t b)
{
	a = (a ^ b) * UINT64_C(0x9e3779b97f4a7c15);
	return a ^ a >> 29;
}

/* The memory as it is when an execution begins, and a number for all that threads do not know. */
void memory_init(void);
uint64_t memory_hash(void);
void memory_show_trace(void);

/* This thread sees all that there is. False: it did already. */
bool memory_catch_up(void);

/* The kernel's part: every lock and system call in it. */
void memory_kernel(void);
uint32_t memory_kernel_load(const volatile void *word);
void memory_woken(unsigned t);

#endif
