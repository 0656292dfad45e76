/* SPDX-License-Identifier: Apache-2.0 */
#include <sched.h>

#include <criterion/criterion.h>

#include "spin.h"

#define MAX IPCI_SPIN_DEFAULT_MAX_NS

Test(spin, begins_with_the_longest_spin, .timeout = 5)
{
	struct ipci_spin spin;

	ipci_spin_init(&spin, MAX, false);
	cr_assert_eq(ipci_spin_budget_ns(&spin), MAX);
}

Test(spin, never_spins_where_the_longest_is_zero, .timeout = 5)
{
	struct ipci_spin spin;

	ipci_spin_init(&spin, 0, false);
	for (uint64_t waited_ns = 0; waited_ns < 4 * MAX; waited_ns += 999) {
		ipci_spin_learn(&spin, waited_ns);
		cr_assert_eq(ipci_spin_budget_ns(&spin), 0);
	}
}

Test(spin, settles_at_twice_a_short_wait, .timeout = 5)
{
	struct ipci_spin spin;

	ipci_spin_init(&spin, MAX, false);
	for (unsigned i = 0; i < 20; i++)
		ipci_spin_learn(&spin, 3000);
	cr_assert_eq(ipci_spin_budget_ns(&spin), 6000);
}

Test(spin, halves_with_each_long_wait_down_to_the_floor, .timeout = 5)
{
	struct ipci_spin spin;
	uint64_t budget_ns = MAX;

	ipci_spin_init(&spin, MAX, false);
	for (unsigned i = 0; i < 20; i++) {
		ipci_spin_learn(&spin, MAX + 1);
		budget_ns /= 2;
		cr_assert_eq(ipci_spin_budget_ns(&spin),
			     budget_ns > IPCI_SPIN_FLOOR_NS ? budget_ns : IPCI_SPIN_FLOOR_NS);
		budget_ns = ipci_spin_budget_ns(&spin);
	}
	cr_assert_eq(budget_ns, IPCI_SPIN_FLOOR_NS);
}

Test(spin, rises_at_once_when_waits_are_short_again, .timeout = 5)
{
	struct ipci_spin spin;

	ipci_spin_init(&spin, MAX, false);
	for (unsigned i = 0; i < 20; i++)
		ipci_spin_learn(&spin, UINT64_MAX);
	ipci_spin_learn(&spin, 10000);
	cr_assert_eq(ipci_spin_budget_ns(&spin), 20000);
	ipci_spin_learn(&spin, MAX);
	cr_assert_eq(ipci_spin_budget_ns(&spin), MAX);
}

Test(spin, a_single_short_wait_takes_half_at_most, .timeout = 5)
{
	struct ipci_spin spin;

	ipci_spin_init(&spin, MAX, false);
	ipci_spin_learn(&spin, 1);
	cr_assert_eq(ipci_spin_budget_ns(&spin), MAX / 2);
}

Test(spin, learns_nothing_where_it_is_fixed, .timeout = 5)
{
	struct ipci_spin spin;

	ipci_spin_init(&spin, 12345, true);
	for (unsigned shift = 0; shift < 64; shift++) {
		ipci_spin_learn(&spin, UINT64_C(1) << shift);
		cr_assert_eq(ipci_spin_budget_ns(&spin), 12345);
	}
}

Test(spin, stays_between_the_floor_and_the_longest, .timeout = 5)
{
	static const uint64_t maxima[] = {
		1, 100, IPCI_SPIN_FLOOR_NS, IPCI_SPIN_FLOOR_NS + 1, MAX, UINT64_MAX / 4};

	for (unsigned m = 0; m < sizeof(maxima) / sizeof(maxima[0]); m++) {
		uint64_t floor_ns = maxima[m] < IPCI_SPIN_FLOOR_NS ? maxima[m] : IPCI_SPIN_FLOOR_NS;
		struct ipci_spin spin;

		ipci_spin_init(&spin, maxima[m], false);
		for (unsigned shift = 0; shift < 64; shift++) {
			ipci_spin_learn(&spin, UINT64_C(1) << (shift * 37 % 64));
			cr_assert_leq(ipci_spin_budget_ns(&spin), maxima[m]);
			cr_assert_geq(ipci_spin_budget_ns(&spin), floor_ns);
		}
	}
}

Test(spin, counts_the_cpus_that_the_thread_may_use, .timeout = 5)
{
	unsigned n = ipci_spin_cpus("/nonexistent");
	cpu_set_t all, one;

	cr_assert_geq(n, 1);
	cr_assert_eq(sched_getaffinity(0, sizeof(all), &all), 0);
	CPU_ZERO(&one);
	for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (CPU_ISSET(cpu, &all)) {
			CPU_SET(cpu, &one);
			break;
		}
	}
	cr_assert_eq(sched_setaffinity(0, sizeof(one), &one), 0);
	cr_assert_eq(ipci_spin_cpus("/nonexistent"), 1);
}

/* ── patience ── */

static void learn(struct ipci_patience *patience, unsigned n, bool found)
{
	for (; n; n--)
		ipci_patience_learn(patience, found);
}

Test(patience, grows_with_early_looks_up_to_its_bound, .timeout = 5)
{
	struct ipci_patience patience = {0};

	learn(&patience, 1, false);
	cr_assert_eq(patience.parts, IPCI_PATIENCE_EARLY);
	learn(&patience, 100000, false);
	cr_assert_geq(patience.parts, IPCI_PATIENCE_MAX);
	cr_assert_lt(patience.parts, IPCI_PATIENCE_MAX + IPCI_PATIENCE_EARLY);
	ipci_patience_wait(&patience);
}

Test(patience, a_stream_has_none, .timeout = 5)
{
	struct ipci_patience patience = {0};

	learn(&patience, 100000, false);
	learn(&patience, IPCI_PATIENCE_MAX + IPCI_PATIENCE_EARLY, true);
	cr_assert_eq(patience.parts, 0);
	learn(&patience, 1, true);
	cr_assert_eq(patience.parts, 0);
}

Test(patience, settles_where_most_first_looks_find_something, .timeout = 5)
{
	/* The answer takes five pauses and a half. */
	const uint32_t answer = 5 * IPCI_PATIENCE_STEP + IPCI_PATIENCE_STEP / 2;
	struct ipci_patience patience = {0};
	unsigned n_found = 0;

	for (unsigned i = 0; i < 20000; i++) {
		bool found = patience.parts >= answer;

		n_found += i >= 10000 && found;
		ipci_patience_learn(&patience, found);
	}
	cr_assert_lt(patience.parts, answer + IPCI_PATIENCE_EARLY);
	cr_assert_gt(patience.parts + IPCI_PATIENCE_EARLY, answer);
	cr_assert_gt(n_found, 7500);
	cr_assert_lt(n_found, 8500);
}
