/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SLEEP: "I published, does it sleep?" against "I sleep, did it publish?". ThreadSanitizer knows no
 * fences, so this is a litmus test: two threads on two CPUs do this at the same time, over and
 * over, and each says what it saw. If neither saw the other, a wake-up was lost. That must never
 * happen; and built with -DWEAKEN_SLEEP it must happen within a bounded number of rounds, since
 * every processor that this runs on lets a load overtake an older store.
 *
 * AWAKE: the same, with a sleeper that was awake when the round began, so that the waker need not
 * fence. Built with -DWEAKEN_AWAKE the sleeper leaves out its membarrier(2), and a wake-up is lost.
 */
#include <pthread.h>
#include <stdio.h>

#include "clock.h"
#include "membarrier.h"
#include "stress.h"

#define N_ROUNDS_GOOD 300000u
#define N_ROUNDS_WEAK 20000000u
#define N_SPINS_BEFORE_YIELD 2000u
#define DELAY_MASK 63u
#ifdef WEAKEN_AWAKE
#define DELAY_MASK_AWAKE DELAY_MASK
#else
#define DELAY_MASK_AWAKE 8191u /* some membarriers' time */
#endif

#if defined(WEAKEN_SLEEP) || defined(WEAKEN_AWAKE)
#define N_ROUNDS N_ROUNDS_WEAK
#define LIMIT_NS (100 * IPCI_NS_PER_S)
#define VERDICT(n_lost) ((n_lost) > 0)
#define CLAIM "a wake-up is lost"
#else
#define N_ROUNDS N_ROUNDS_GOOD
#define LIMIT_NS                                                                                   \
	(10 *                                                                                      \
	 IPCI_NS_PER_S) /* where others use the CPUs, a round can take a time slice           \
			      */
#define VERDICT(n_lost) ((n_lost) == 0)
#define CLAIM "no wake-up is lost"
#endif

static struct {
	_Alignas(128) _Atomic uint32_t arrived[2 * 64]; /* two counters, lines apart */
	_Alignas(128) _Atomic uint32_t saw_a;
	_Alignas(128) _Atomic uint32_t saw_b;
	_Alignas(128) _Atomic bool stop;
} meeting;

static struct stress_pair pair;
static uint32_t n_lost, n_rounds, n_both;
static uint64_t deadline_ns;
static int cpus[2];

/* Both threads leave at nearly the same time. */
static void meet(unsigned me)
{
	_Atomic uint32_t *mine = &meeting.arrived[me * 64], *other = &meeting.arrived[!me * 64];
	uint32_t n = atomic_load_explicit(mine, memory_order_relaxed) + 1;

	atomic_store_explicit(mine, n, memory_order_release);
	for (unsigned spins = 0; atomic_load_explicit(other, memory_order_acquire) != n &&
				 atomic_load_explicit(other, memory_order_acquire) != n + 1;)
		if (++spins % N_SPINS_BEFORE_YIELD == 0)
			(void)sched_yield();
}

static void pin(unsigned me)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((size_t)cpus[me], &set);
	(void)sched_setaffinity(0, sizeof(set), &set);
}

/* A direction: what each thread does before the round, at the same time, and after. */
struct direction {
	const char *name;
	void (*before[2])(void);
	bool (*at_once[2])(void);
	void (*after[2])(void);
	void (*between)(void); /* by the second thread, once the first is ready */
	uint64_t delay_mask;
};

static const struct direction *direction;

static void delay(uint64_t *seed)
{
	for (volatile uint64_t n = stress_random(seed) & direction->delay_mask; n; n--)
		;
}

static void must(bool ok)
{
	if (!ok)
		abort();
}

/* What one round asks of each side; true if it saw the other. */
static bool publish_frame(void)
{
	uint8_t *payload;

	must(ipci_producer_reserve(&pair.a.tx, 0, 0, &payload) == 0);
	ipci_producer_commit(&pair.a.tx, IPCI_KIND_EVENT, 0, 0, 0);
	return ipci_wake_frames(&pair.a.tx) != 0;
}

static void get_drowsy(struct stress_side *side)
{
	if (ipci_sleep_get_drowsy(&side->sleep, side->control))
		must(ipci_membarrier() == 0);
}

static bool sleep_for_frames(void)
{
	get_drowsy(&pair.b);
	ipci_sleep_arm(&pair.b.sleep, pair.b.control, IPCI_WANT_FRAMES_FUTEX);
	return ipci_consumer_ready(&pair.b.rx);
}

static bool publish_space(void)
{
	must(ipci_consumer_publish(&pair.b.rx));
	return ipci_wake_space(&pair.b.tx) != 0;
}

static bool sleep_for_space(void)
{
	const uint64_t before = pair.a.tx.peer_consumed;

	get_drowsy(&pair.a);
	ipci_sleep_arm(&pair.a.sleep, pair.a.control, IPCI_WANT_SPACE_FUTEX);
	must(ipci_producer_refresh(&pair.a.tx) == 0);
	return pair.a.tx.peer_consumed != before;
}

/* Before each round for space there is a frame to give back, and nobody looks. */
static void prepare_space_out(void)
{
	uint8_t *payload;

	ipci_sleep_disarm(&pair.a.sleep, pair.a.control);
	must(ipci_producer_reserve(&pair.a.tx, 0, 0, &payload) == 0);
	ipci_producer_commit(&pair.a.tx, IPCI_KIND_EVENT, 0, 0, 0);
}

static void take(void)
{
	struct ipci_view view = {0};

	must(ipci_consumer_peek(&pair.b.rx, &view) == 1);
	ipci_consumer_take(&pair.b.rx, &view);
}

static void settle_frames_in(void)
{
	ipci_sleep_disarm(&pair.b.sleep, pair.b.control);
	take();
	(void)ipci_consumer_publish(&pair.b.rx);
}

static void nothing(void)
{
}

#ifndef WEAKEN_SLEEP
static void stay_awake_for_frames(void)
{
	ipci_sleep_stay_awake(&pair.b.sleep, pair.b.control);
}

static void stay_awake_for_space(void)
{
	prepare_space_out();
	ipci_sleep_stay_awake(&pair.a.sleep, pair.a.control);
}
#endif

static const struct direction directions[] = {
#ifndef WEAKEN_AWAKE
	{"SLEEP, frames",
	 {nothing, nothing},
	 {publish_frame, sleep_for_frames},
	 {nothing, settle_frames_in},
	 nothing,
	 DELAY_MASK},
	{"SLEEP, space",
	 {prepare_space_out, nothing},
	 {sleep_for_space, publish_space},
	 {nothing, nothing},
	 take,
	 DELAY_MASK},
#endif
#ifndef WEAKEN_SLEEP
	{"AWAKE, frames",
	 {nothing, stay_awake_for_frames},
	 {publish_frame, sleep_for_frames},
	 {nothing, settle_frames_in},
	 nothing,
	 DELAY_MASK_AWAKE},
	{"AWAKE, space",
	 {stay_awake_for_space, nothing},
	 {sleep_for_space, publish_space},
	 {nothing, nothing},
	 take,
	 DELAY_MASK_AWAKE},
#endif
};

#define N_DIRECTIONS (sizeof(directions) / sizeof(directions[0]))

static void count(void)
{
	bool a = atomic_load_explicit(&meeting.saw_a, memory_order_relaxed);
	bool b = atomic_load_explicit(&meeting.saw_b, memory_order_relaxed);

	n_rounds++;
	n_lost += !a && !b;
	n_both += a && b;
	/* In the weakened build one is enough, in the good one it is the end as well. */
	if (n_lost || (n_rounds % 256 == 0 && ipci_now_ns() > deadline_ns))
		atomic_store_explicit(&meeting.stop, true, memory_order_relaxed);
}

static void *run(void *arg)
{
	const unsigned me = arg != NULL;
	_Atomic uint32_t *saw = me ? &meeting.saw_b : &meeting.saw_a;
	uint64_t seed = me + 1;

	pin(me);
	for (unsigned i = 0; i < N_ROUNDS; i++) {
		direction->before[me]();
		meet(me);
		if (me)
			direction->between();
		meet(me);
		delay(&seed);
		atomic_store_explicit(saw, direction->at_once[me](), memory_order_relaxed);
		meet(me);
		direction->after[me]();
		if (!me)
			count();
		meet(me);
		if (atomic_load_explicit(&meeting.stop, memory_order_relaxed))
			break;
	}
	return NULL;
}

static bool check(int number, const struct direction *d)
{
	pthread_t threads[2];
	bool ok;

	memset(&meeting, 0, sizeof(meeting));
	n_lost = n_rounds = n_both = 0;
	direction = d;
	deadline_ns = ipci_deadline_ns(LIMIT_NS);
	stress_pair_init(&pair, STRESS_RING_BYTES);
	must(pthread_create(&threads[0], NULL, run, NULL) == 0);
	must(pthread_create(&threads[1], NULL, run, &pair) == 0);
	(void)pthread_join(threads[0], NULL);
	(void)pthread_join(threads[1], NULL);
	stress_pair_deinit(&pair);
	ok = VERDICT(n_lost);
	(void)printf("%s %d - %s: " CLAIM
		     "\n# %u rounds, in %u each saw the other, in %u neither did\n",
		     ok ? "ok" : "not ok", number, d->name, n_rounds, n_both, n_lost);
	return ok;
}

/* The first and the last CPU that this may run on. */
static bool two_cpus(void)
{
	cpu_set_t set;
	int n = 0;

	if (sched_getaffinity(0, sizeof(set), &set) < 0)
		return false;
	for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &set))
			cpus[n++ ? 1 : 0] = (int)cpu;
	return n >= 2;
}

int main(void)
{
	bool ok = true;

	if (!two_cpus()) {
		(void)printf("1..0 # SKIP one CPU only: no two threads run at the same time\n");
		return 0;
	}
#ifndef WEAKEN_SLEEP
	if (!ipci_membarrier_register()) {
		(void)printf("1..0 # SKIP membarrier(2) is refused here\n");
		return 0;
	}
#endif
	(void)printf("1..%zu\n", N_DIRECTIONS);
	for (size_t i = 0; i < N_DIRECTIONS; i++)
		ok = check((int)i + 1, &directions[i]) && ok;
	return ok ? 0 : 1;
}
