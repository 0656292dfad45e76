// SPDX-License-Identifier: Apache-2.0
#include <benchmark/benchmark.h>

#include <cstring>
#include <vector>

#include "ring.h"

namespace
{

using Through = int (*)(bench_ring *, const void *, void *, size_t);

void publish_consume(benchmark::State &state, Through through, int per_iteration)
{
	const size_t bytes = static_cast<size_t>(state.range(0));
	std::vector<char> from(bytes + 16, 'x'), to(bytes + 16);
	bench_ring *ring = bench_ring_new();

	if (!ring) {
		state.SkipWithError("no memory for the ring");
		return;
	}
	for (auto _ : state) {
		if (through(ring, from.data(), to.data(), bytes) != 0) {
			state.SkipWithError("a frame got lost");
			break;
		}
		benchmark::ClobberMemory();
	}
	if (std::memcmp(from.data(), to.data(), bytes) != 0)
		state.SkipWithError("a frame came out changed");
	state.SetItemsProcessed(state.iterations() * per_iteration);
	state.SetBytesProcessed(state.iterations() * per_iteration * state.range(0));
	bench_ring_free(ring);
}

BENCHMARK_CAPTURE(publish_consume, checked, bench_ring_checked, 1)
	->Name("ring/publish_consume/checked")
	->Arg(32)
	->Arg(240)
	->Arg(4096);
BENCHMARK_CAPTURE(publish_consume, bare, bench_ring_bare, 1)
	->Name("ring/publish_consume/bare")
	->Arg(32)
	->Arg(240)
	->Arg(4096);
BENCHMARK_CAPTURE(publish_consume, batch, bench_ring_batch, BENCH_RING_BATCH)
	->Name("ring/publish_consume/batch")
	->Arg(32)
	->Arg(64)
	->Arg(240);

} // namespace

BENCHMARK_MAIN();
