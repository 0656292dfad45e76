/* SPDX-License-Identifier: Apache-2.0 */
/* The heap of calls by deadline, against a plain search. Compiled with timer.c alone, so that
 * expiry ends here. */
#include <string.h>

#include <criterion/criterion.h>

#include "objects.h"

#define N_CALLS 300u

static struct ipc_call *expired[N_CALLS * 4];
static unsigned n_expired;
static void (*on_expired)(struct ipc_call *call);

void ipci_call_expired(struct ipc_call *call)
{
	cr_assert_lt(n_expired, sizeof(expired) / sizeof(expired[0]));
	expired[n_expired++] = call;
	if (on_expired)
		on_expired(call);
}

struct fixture {
	struct ipc_loop loop;
	struct ipc_channel channel;
	struct ipc_call calls[N_CALLS];
	uint64_t seed;
};

static struct fixture f;

static void reset(void)
{
	free(f.loop.timers);
	memset(&f, 0, sizeof(f));
	f.channel.loop = &f.loop;
	f.loop.reopen_ns = IPCI_NEVER;
	for (unsigned i = 0; i < N_CALLS; i++)
		f.calls[i].channel = &f.channel;
	n_expired = 0;
	on_expired = NULL;
}

static void leave(void)
{
	free(f.loop.timers);
}

static uint64_t draw(uint64_t below)
{
	f.seed = f.seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (f.seed >> 33) % below;
}

/* No call before its parent; each knows its place; the first is the soonest of all that are in. */
static void check(void)
{
	uint64_t soonest = IPCI_NEVER;
	unsigned n = 0;

	for (uint32_t i = 0; i < f.loop.n_timers; i++) {
		cr_assert_eq(f.loop.timers[i]->timer, i + 1);
		if (i)
			cr_assert_leq(f.loop.timers[(i - 1) / 2]->deadline_ns,
				      f.loop.timers[i]->deadline_ns);
	}
	for (unsigned i = 0; i < N_CALLS; i++) {
		n += f.calls[i].timer != 0;
		if (f.calls[i].timer && f.calls[i].deadline_ns < soonest)
			soonest = f.calls[i].deadline_ns;
	}
	cr_assert_eq(n, f.loop.n_timers);
	cr_assert_eq(ipci_timer_next_ns(&f.loop), soonest);
}

TestSuite(timer, .init = reset, .fini = leave, .timeout = 10);

Test(timer, without_calls_there_is_no_deadline)
{
	cr_assert_eq(ipci_timer_next_ns(&f.loop), IPCI_NEVER);
	ipci_timer_expire(&f.loop, UINT64_MAX);
	cr_assert_eq(n_expired, 0);
}

Test(timer, a_call_without_deadline_is_not_kept)
{
	f.calls[0].deadline_ns = IPCI_NEVER;
	cr_assert_eq(ipci_timer_add(&f.calls[0]), 0);
	cr_assert_eq(f.loop.n_timers, 0);
	ipci_timer_remove(&f.calls[0]);
	cr_assert_eq(f.loop.n_timers, 0);
}

Test(timer, a_call_is_kept_once)
{
	f.calls[0].deadline_ns = 5;
	cr_assert_eq(ipci_timer_add(&f.calls[0]), 0);
	cr_assert_eq(ipci_timer_add(&f.calls[0]), 0);
	cr_assert_eq(f.loop.n_timers, 1);
	ipci_timer_remove(&f.calls[0]);
	ipci_timer_remove(&f.calls[0]);
	cr_assert_eq(f.loop.n_timers, 0);
	cr_assert_eq(f.calls[0].timer, 0);
}

Test(timer, calls_come_and_go_in_any_order)
{
	for (unsigned step = 0; step < 20000; step++) {
		struct ipc_call *call = &f.calls[draw(N_CALLS)];

		if (call->timer) {
			ipci_timer_remove(call);
			cr_assert_eq(call->timer, 0);
		} else {
			/* Few values, so that many are equal; sometimes many. */
			call->deadline_ns = draw(step % 2 ? 10 : 1000000);
			cr_assert_eq(ipci_timer_add(call), 0);
			cr_assert_neq(call->timer, 0);
		}
		check();
	}
	cr_assert_gt(f.loop.n_timers_max, 64);
}

Test(timer, calls_expire_soonest_first_and_not_before)
{
	uint64_t last = 0, now;

	for (unsigned i = 0; i < N_CALLS; i++) {
		f.calls[i].deadline_ns = 1 + draw(1000);
		cr_assert_eq(ipci_timer_add(&f.calls[i]), 0);
	}
	for (now = 0; now <= 1000; now += 7) {
		unsigned before = n_expired;

		ipci_timer_expire(&f.loop, now);
		for (unsigned i = before; i < n_expired; i++) {
			cr_assert_leq(expired[i]->deadline_ns, now);
			cr_assert_geq(expired[i]->deadline_ns, last);
			cr_assert_eq(expired[i]->timer, 0);
			last = expired[i]->deadline_ns;
		}
		cr_assert_gt(ipci_timer_next_ns(&f.loop), now);
		check();
	}
	ipci_timer_expire(&f.loop, 1000);
	cr_assert_eq(n_expired, N_CALLS);
	cr_assert_eq(f.loop.n_timers, 0);
}

/* An expiry that takes another call out, and puts a third in: what a program does with the event.
 */
static void meddle(struct ipc_call *call)
{
	unsigned i = (unsigned)(call - f.calls);

	if (i % 3 == 0 && i + 1 < N_CALLS)
		ipci_timer_remove(&f.calls[i + 1]);
	if (i % 3 == 1) {
		call->deadline_ns += 1000;
		cr_assert_eq(ipci_timer_add(call), 0);
	}
}

Test(timer, an_expiry_may_change_the_heap)
{
	on_expired = meddle;
	for (unsigned i = 0; i < N_CALLS; i++) {
		f.calls[i].deadline_ns = 1 + draw(1000);
		cr_assert_eq(ipci_timer_add(&f.calls[i]), 0);
	}
	for (uint64_t now = 0; now <= 1000; now += 100) {
		ipci_timer_expire(&f.loop, now);
		check();
	}
	on_expired = NULL;
	ipci_timer_expire(&f.loop, 5000);
	cr_assert_eq(f.loop.n_timers, 0);
}
