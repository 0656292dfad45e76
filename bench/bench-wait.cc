// SPDX-License-Identifier: Apache-2.0
#include <benchmark/benchmark.h>

#include "wait.h"

namespace
{

using Step = int (*)(bench_wait *);

void steps(benchmark::State &state, Step step, bool uring, int per_step)
{
	bench_wait *wait = bench_wait_new(uring);

	if (!wait) {
		state.SkipWithError("refused here");
		return;
	}
	for (auto _ : state) {
		if (step(wait) < 0) {
			state.SkipWithError("it failed");
			break;
		}
	}
	state.SetItemsProcessed(state.iterations() * per_step);
	bench_wait_free(wait);
}

BENCHMARK_CAPTURE(steps, poll_uring, bench_wait_poll, true, 1)->Name("wait/poll/uring");
BENCHMARK_CAPTURE(steps, poll_epoll, bench_wait_poll, false, 1)->Name("wait/poll/epoll");
BENCHMARK_CAPTURE(steps, bell_uring, bench_wait_bell, true, 1)->Name("wait/bell/uring");
BENCHMARK_CAPTURE(steps, bell_epoll, bench_wait_bell, false, 1)->Name("wait/bell/epoll");
BENCHMARK_CAPTURE(steps, futex_wake, bench_wait_futex_wake, false, 1)->Name("wait/futex_wake");
BENCHMARK_CAPTURE(steps, wakes_uring, bench_wait_wakes, true, BENCH_WAIT_WAKES)
	->Name("wait/wakes/uring");
BENCHMARK_CAPTURE(steps, wakes_epoll, bench_wait_wakes, false, BENCH_WAIT_WAKES)
	->Name("wait/wakes/epoll");

} // namespace

BENCHMARK_MAIN();
