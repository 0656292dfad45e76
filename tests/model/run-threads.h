/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs a program's two threads as threads, many times over.
 */
#ifndef TESTS_MODEL_RUN_THREADS_H
#define TESTS_MODEL_RUN_THREADS_H

#include <linux/membarrier.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#define N_RUNS 3000u

#define MODEL_AWAIT(condition)                                                                     \
	do {                                                                                       \
		while (!(condition))                                                               \
			(void)sched_yield();                                                       \
	} while (0)

static _Atomic unsigned n_bells[2];

_Noreturn void model_fail(const char *what)
{
	(void)printf("not ok 1 - %s: %s\n", model_program.name, what);
	exit(1);
}

/* Acquire: as the kernel's own look at a futex word. */
void model_sleep_while(const _Atomic uint32_t *word, uint32_t value)
{
	MODEL_AWAIT(atomic_load_explicit(word, memory_order_acquire) != value);
}

/* Who sleeps looks by itself. */
void model_wake(const _Atomic uint32_t *word)
{
	(void)word;
}

void model_bell_ring(unsigned side)
{
	atomic_store(&n_bells[side], 1);
}

void model_bell_drain(unsigned side)
{
	(void)atomic_exchange(&n_bells[side], 0);
}

void model_bell_sleep(unsigned side)
{
	MODEL_AWAIT(atomic_load(&n_bells[side]) != 0);
}

void model_heavy_fence(void)
{
	if (syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) < 0)
		model_fail("membarrier was registered for, and is refused");
}

static void *run_thread(void *arg)
{
	model_program.run[arg != NULL]();
	return NULL;
}

static void run_once(void)
{
	pthread_t threads[2];

	n_bells[0] = n_bells[1] = 0;
	model_program.setup();
	if (pthread_create(&threads[0], NULL, run_thread, NULL) ||
	    pthread_create(&threads[1], NULL, run_thread, &threads))
		model_fail("no threads");
	(void)pthread_join(threads[0], NULL);
	(void)pthread_join(threads[1], NULL);
	if (model_program.finally)
		model_program.finally();
}

int main(void)
{
	/* Hangs are the test runner's to end. */
	(void)syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0);
	(void)printf("1..1\n");
	for (unsigned i = 0; i < N_RUNS; i++)
		run_once();
	(void)printf("ok 1 - %s: right in %u runs\n", model_program.name, N_RUNS);
	return 0;
}

#endif
