// SPDX-License-Identifier: Apache-2.0
#include <benchmark/benchmark.h>

#include <unistd.h>

extern "C" {
#include "half.h"
}

namespace
{

void create(benchmark::State &state)
{
	const uint64_t ring_bytes = static_cast<uint64_t>(state.range(0));

	for (auto _ : state) {
		ipci_half half = {};
		int fd;

		if (ipci_half_create(&half, &fd, ring_bytes, nullptr) < 0) {
			state.SkipWithError("no half");
			break;
		}
		close(fd);
		ipci_half_deinit(&half);
	}
}

void import(benchmark::State &state)
{
	const uint64_t ring_bytes = static_cast<uint64_t>(state.range(0));
	ipci_half half = {};
	int fd;

	if (ipci_half_create(&half, &fd, ring_bytes, nullptr) < 0) {
		state.SkipWithError("no half");
		return;
	}
	for (auto _ : state) {
		ipci_half seen = {};

		if (ipci_half_import(&seen, fd, ring_bytes, nullptr) < 0) {
			state.SkipWithError("not importable");
			break;
		}
		ipci_half_deinit(&seen);
	}
	close(fd);
	ipci_half_deinit(&half);
}

BENCHMARK(create)->Name("memory/half_create/populated")->Arg(65536)->Arg(1 << 20);
BENCHMARK(import)->Name("memory/half_import/checked")->Arg(65536)->Arg(1 << 20);

} // namespace

BENCHMARK_MAIN();
