/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Explores every execution of a program of two threads on the ring's real code, under the C11
 * memory model, and says how many states there were.
 *
 * The program is run from its beginning over and over, each time with other answers to two
 * questions: which thread takes the next step, and which of the values that it may see a load
 * returns (memory.c). The answers form a tree that is searched depth first. Threads are coroutines
 * and do the same when they find the same, so a state is what each found so far, and what lies
 * between them: a state that was met before is not entered again. States are told apart by 64-bit
 * hashes; among a million the odds that two are taken for one are below one in ten million.
 *
 * Wrong are: an assertion, a data race, a write to the peer's half, a thread that sleeps or spins
 * for what nobody is left to do.
 */
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include "explore.h"
#include "program.h"

#define N_CHOICES 4096u
#define STACK_BYTES (256u * 1024)
#define N_STATES_MAX (1u << 24)

unsigned current = NOBODY;

static struct {
	uint8_t made, of;
} trail[N_CHOICES];
static unsigned depth, n_trail, n_replayed;

static struct {
	ucontext_t fresh;
	jmp_buf where;
	bool started, finished;
	bool asleep;
	uintptr_t bed; /* there */
	uint64_t found;
} threads[2];
static char stacks[2][STACK_BYTES] __attribute__((aligned(64)));
static jmp_buf over;

static uint64_t *states;
static size_t n_states, n_slots;
static unsigned long n_executions, n_complete;
static unsigned n_bells[2]; /* bytes in each side's bell */

/* ── states ── */

static bool insert(uint64_t *table, size_t n, uint64_t key)
{
	for (size_t i = key & (n - 1);; i = (i + 1) & (n - 1)) {
		if (table[i] == key)
			return false;
		if (table[i] == 0) {
			table[i] = key;
			return true;
		}
	}
}

static bool is_new(uint64_t key)
{
	key |= !key;
	if (2 * n_states >= n_slots) {
		size_t n = n_slots ? 2 * n_slots : 1u << 16;
		uint64_t *more = calloc(n, sizeof(*more));

		if (!more || n_states > N_STATES_MAX) {
			(void)fprintf(stderr, "too many states\n");
			exit(2);
		}
		for (size_t i = 0; i < n_slots; i++)
			if (states[i])
				(void)insert(more, n, states[i]);
		free(states);
		states = more;
		n_slots = n;
	}
	if (!insert(states, n_slots, key))
		return false;
	n_states++;
	return true;
}

static uint64_t state(void)
{
	uint64_t key = memory_hash();

	for (unsigned t = 0; t < 2; t++) {
		key = mix(key, threads[t].found);
		key = mix(key, (uint64_t)threads[t].started | (uint64_t)threads[t].finished << 1 |
				       (uint64_t)threads[t].asleep << 2 | n_bells[t] << 3);
	}
	return key;
}

void found(unsigned t, uint64_t what)
{
	threads[t].found = mix(threads[t].found, what + 1);
}

/* ── choices ── */

unsigned choose(unsigned n)
{
	if (n == 1)
		return 0;
	if (depth == n_trail) {
		if (n_trail == N_CHOICES || n > UINT8_MAX)
			wrong("an execution of too many choices");
		trail[n_trail].made = 0;
		trail[n_trail++].of = (uint8_t)n;
	}
	return trail[depth++].made;
}

/* The next branch of the tree; false: there is none. */
static bool next_branch(void)
{
	while (n_trail && trail[n_trail - 1].made + 1 == trail[n_trail - 1].of)
		n_trail--;
	if (!n_trail)
		return false;
	trail[n_trail - 1].made++;
	n_replayed = n_trail;
	return true;
}

/* ── threads ── */

_Noreturn void wrong(const char *what)
{
	current = NOBODY;
	(void)printf("not ok 1 - %s: %s\n", model_program.name, what);
	(void)printf("# execution %lu, state %zu\n", n_executions, n_states);
	memory_show_trace();
	exit(1);
}

static bool may_run(unsigned t)
{
	return !threads[t].finished && !threads[t].asleep;
}

static _Noreturn void go_on(unsigned t)
{
	current = t;
	if (!threads[t].started) {
		threads[t].started = true;
		(void)setcontext(&threads[t].fresh);
		abort();
	}
	_longjmp(threads[t].where, 1);
}

/* Who goes next, the caller perhaps; nobody: the execution is complete, or stuck. */
static unsigned next_thread(void)
{
	if (depth >= n_replayed && !is_new(state()))
		_longjmp(over, 1);
	if (may_run(0) && may_run(1))
		return choose(2);
	if (may_run(0) || may_run(1))
		return may_run(1);
	if (!threads[0].finished || !threads[1].finished)
		wrong("a thread sleeps for ever");
	_longjmp(over, 2);
}

void point(void)
{
	const unsigned me = current, next = next_thread();

	if (next != me && _setjmp(threads[me].where) == 0)
		go_on(next);
	found(me, 0);
}

/*
 * What one spins for is the other's to do: if that may go on, in another execution it went on
 * before. If it may not, whatever it did arrives sooner or later; and then there is nothing more.
 */
void model_pause(void)
{
	if (may_run(!current))
		_longjmp(over, 1);
	if (!memory_catch_up())
		wrong("a thread waits for ever");
}

static void run_thread(void)
{
	const unsigned me = current;

	point();
	model_program.run[me]();
	threads[me].finished = true;
	go_on(next_thread());
}

static void prepare(unsigned t)
{
	memset(&threads[t], 0, sizeof(threads[t]));
	(void)getcontext(&threads[t].fresh);
	threads[t].fresh.uc_stack.ss_sp = stacks[t];
	threads[t].fresh.uc_stack.ss_size = sizeof(stacks[t]);
	makecontext(&threads[t].fresh, run_thread, 0);
	n_bells[t] = 0;
}

static void execute(void)
{
	int how;

	depth = 0;
	current = NOBODY;
	prepare(0);
	prepare(1);
	model_program.setup();
	memory_init();
	how = _setjmp(over);
	if (how == 0)
		go_on(0);
	current = NOBODY;
	n_executions++;
	if (how == 2) {
		n_complete++;
		if (model_program.finally)
			model_program.finally();
	}
}

/* ── the kernel ── */

void model_sleep_while(const _Atomic uint32_t *word, uint32_t value)
{
	const unsigned me = current;

	point();
	memory_kernel();
	if (memory_kernel_load((const volatile void *)(uintptr_t)word) != value)
		return;
	threads[me].asleep = true;
	threads[me].bed = (uintptr_t)word;
	point();
}

static void wake(unsigned t, uintptr_t bed)
{
	if (threads[t].asleep && threads[t].bed == bed) {
		threads[t].asleep = false;
		memory_woken(t);
	}
}

void model_wake(const _Atomic uint32_t *word)
{
	point();
	memory_kernel();
	wake(!current, (uintptr_t)word);
}

void model_bell_ring(unsigned side)
{
	point();
	memory_kernel();
	n_bells[side] = 1;
	wake(side, (uintptr_t)&n_bells[side]);
}

void model_bell_drain(unsigned side)
{
	point();
	memory_kernel();
	found(current, n_bells[side]);
	n_bells[side] = 0;
}

void model_bell_sleep(unsigned side)
{
	const unsigned me = current;

	point();
	memory_kernel();
	found(me, n_bells[side]);
	if (n_bells[side])
		return;
	threads[me].asleep = true;
	threads[me].bed = (uintptr_t)&n_bells[side];
	point();
}

_Noreturn void model_fail(const char *what)
{
	wrong(what);
}

int main(void)
{
	(void)printf("1..1\n");
	do
		execute();
	while (next_branch());
	if (n_complete == 0)
		wrong("no execution came to its end");
	(void)printf("ok 1 - %s: right in all of %zu states\n"
		     "# %lu executions, %lu to the end\n",
		     model_program.name, n_states, n_executions, n_complete);
	return 0;
}
