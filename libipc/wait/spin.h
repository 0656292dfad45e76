/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long to spin before sleeping, learned from how long the waits really were.
 *
 * Spinning pays when what is awaited comes sooner than a sleep and a wake cost. So the budget
 * follows twice the usual wait while waits are short, halves with each wait that was longer than
 * the longest spin allowed, and never falls below a floor that costs little beside the sleep that
 * follows: else a wait that was long only because it was slept through would keep it down for ever.
 */
#ifndef IPCI_WAIT_SPIN_H
#define IPCI_WAIT_SPIN_H

#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define IPCI_SPIN_FLOOR_NS UINT64_C(2000)
#define IPCI_SPIN_YIELD_NS UINT64_C(20000)
#define IPCI_SPIN_DEFAULT_MAX_NS UINT64_C(50000)

struct ipci_spin {
	uint64_t max_ns; /* 0: never spin */
	uint64_t budget_ns;
	bool fixed; /* always max_ns: nothing is learned */
};

static inline void ipci_spin_init(struct ipci_spin *spin, uint64_t max_ns, bool fixed)
{
	spin->fixed = fixed;
	spin->max_ns = max_ns;
	spin->budget_ns = max_ns;
}

/* How long to spin now. */
static inline uint64_t ipci_spin_budget_ns(const struct ipci_spin *spin)
{
	return spin->budget_ns;
}

/* The wait took @waited_ns, sleep included. */
static inline void ipci_spin_learn(struct ipci_spin *spin, uint64_t waited_ns)
{
	uint64_t floor = spin->max_ns < IPCI_SPIN_FLOOR_NS ? spin->max_ns : IPCI_SPIN_FLOOR_NS;
	uint64_t want;

	if (spin->fixed)
		return;
	want = waited_ns <= spin->max_ns ? 2 * waited_ns : 0;

	/*
	 * Up at once, down by halves: a spin too short costs a sleep, one too long costs its
	 * length.
	 */
	if (want < spin->budget_ns / 2)
		want = spin->budget_ns / 2;
	if (want > spin->max_ns)
		want = spin->max_ns;
	spin->budget_ns = want > floor ? want : floor;
}

/*
 * How long not to look after a message went out whose answer is awaited, learned from whether the
 * first look was early.
 *
 * A look that is too early costs more than one that is a little late: it takes a copy of the line
 * that the peer is about to write to, and the peer must take that away again, at up to half a round
 * trip. So a first look that finds nothing counts four times as much as one that finds something,
 * which settles where most first looks are just late enough. Under a stream, where something is
 * always there, it falls to nothing.
 */
#define IPCI_PATIENCE_EARLY 4u /* what an early look counts, against one that was late */
#define IPCI_PATIENCE_STEP 64u /* parts of a pause */
#define IPCI_PATIENCE_MAX (16u * IPCI_PATIENCE_STEP)

struct ipci_patience {
	uint32_t parts; /* of a pause */
};

static inline void ipci_patience_learn(struct ipci_patience *patience, bool found)
{
	if (!found)
		patience->parts += patience->parts < IPCI_PATIENCE_MAX ? IPCI_PATIENCE_EARLY : 0;
	else if (patience->parts)
		patience->parts--;
}

/* Tells the core that this is a spin: power, and the sibling's share. */
static inline void ipci_cpu_relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("isb" ::: "memory");
#endif
}

/*
 * Full fence, for speed alone: a core that predicts the end of the wait would look long before it,
 * and what was just published leaves its store buffer sooner. Who has a message to wait for pays
 * nothing for it: it would do nothing else. Toward an awake peer no other fence is on the way.
 */
static inline void ipci_patience_wait(const struct ipci_patience *patience)
{
	uint32_t n = patience->parts / IPCI_PATIENCE_STEP;

	if (!n)
		return;
	atomic_thread_fence(memory_order_seq_cst);
	for (; n; n--)
		ipci_cpu_relax();
}

/*
 * Called now and then during a spin that has lasted @spun_ns: one that is long lets others run. The
 * awaited may have been put on this very CPU, where it would get a turn only when this thread's
 * time slice ends, at each call anew.
 */
static inline void ipci_spin_yield(uint64_t spun_ns)
{
	if (spun_ns >= IPCI_SPIN_YIELD_NS)
		(void)sched_yield();
}

/*
 * CPUs that this thread may run on and that its control groups leave time for, at least 1: with one
 * a spin keeps the awaited from running. @root as in ipci_cpu_quota().
 */
unsigned ipci_spin_cpus(const char *root);

#endif
