/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a program under tests/model is, and what it may ask of the tool that runs it.
 */
#ifndef TESTS_MODEL_PROGRAM_H
#define TESTS_MODEL_PROGRAM_H

#include <stdbool.h>
#include <stdint.h>

struct model_program {
	const char *name;
	void (*setup)(void);
	void (*run[2])(void);  /* side a's thread, and side b's */
	void (*finally)(void); /* once both have ended; may be NULL */
	bool has_membarriers;
};

/* A program defines one. Everything it uses is set by setup(), which is called for each execution. */
extern const struct model_program model_program;

/* The program found the code to be wrong. */
_Noreturn void model_fail(const char *what);

/* Sleeps as futex(2) does: if the word has that value, until it is woken. */
void model_sleep_while(const _Atomic uint32_t *word, uint32_t value);
void model_wake(const _Atomic uint32_t *word);

/* A side's end of the bell: what the other rang stays until it is drained. */
void model_bell_ring(unsigned side);
void model_bell_drain(unsigned side);
void model_bell_sleep(unsigned side);

/* membarrier(2): a fence wherever the other thread has its compiler barrier. */
void model_heavy_fence(void);

/* In the explorer, between two tries of a spin. */
void model_pause(void);

#endif
