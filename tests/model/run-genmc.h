/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program as GenMC takes it: one execution's two threads; it finds the others by itself.
 */
#ifndef TESTS_MODEL_RUN_GENMC_H
#define TESTS_MODEL_RUN_GENMC_H

#include <assert.h>
#include <genmc.h>
#include <pthread.h>
#include <stdatomic.h>

#define MODEL_AWAIT(condition) __VERIFIER_assume(condition)

/*
 * As ring.c has them, which makes whole structs, and that is memory set and copied: GenMC does not
 * take those. Nothing here holds frames.
 */
void ipci_producer_init(struct ipci_producer *p, uint8_t *own, const uint8_t *peer,
			uint32_t ring_offset, uint64_t ring_bytes)
{
	p->ring = own + ring_offset;
	p->own = (struct ipci_control *)(void *)own;
	p->peer = (const struct ipci_control *)(const void *)peer;
	p->ring_bytes = ring_bytes;
	p->blank = IPCI_NOT_BLANK;
}

void ipci_consumer_init(struct ipci_consumer *c, uint8_t *own, const uint8_t *peer,
			uint32_t ring_offset, uint64_t ring_bytes)
{
	c->ring = peer + ring_offset;
	c->own = (struct ipci_control *)(void *)own;
	c->peer = (const struct ipci_control *)(const void *)peer;
	c->ring_bytes = ring_bytes;
}

static atomic_uint n_bells[2];

void model_fail(const char *what)
{
	(void)what;
	assert(0);
	for (;;)
		;
}

/* Acquire: as the kernel's own look at a futex word. */
void model_sleep_while(const _Atomic uint32_t *word, uint32_t value)
{
	while (atomic_load_explicit(word, memory_order_acquire) == value)
		;
}

void model_wake(const _Atomic uint32_t *word)
{
	(void)word;
}

void model_bell_ring(unsigned side)
{
	(void)atomic_exchange(&n_bells[side], 1);
}

void model_bell_drain(unsigned side)
{
	(void)atomic_exchange(&n_bells[side], 0);
}

void model_bell_sleep(unsigned side)
{
	while (atomic_load(&n_bells[side]) == 0)
		;
}

/* GenMC takes a compiler's barrier for a fence, and so is this one. */
void model_heavy_fence(void)
{
	atomic_thread_fence(memory_order_seq_cst);
}

static void *run_a(void *arg)
{
	model_program.run[0]();
	return arg;
}

static void *run_b(void *arg)
{
	model_program.run[1]();
	return arg;
}

int main(void)
{
	pthread_t first, second;

	model_program.setup();
	pthread_create(&first, NULL, run_a, NULL);
	pthread_create(&second, NULL, run_b, NULL);
	pthread_join(first, NULL);
	pthread_join(second, NULL);
	if (model_program.finally)
		model_program.finally();
	return 0;
}

#endif
