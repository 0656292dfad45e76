// SPDX-License-Identifier: Apache-2.0
// Writing and reading one order: ipc-gen's code beside flatbuffers' own. Ours checks as it reads;
// theirs is measured both ways: trusting its bytes, and verifying them first.
#include <benchmark/benchmark.h>

#include <vector>

#include "order.h"
#include "orders_generated.h"

namespace
{

constexpr size_t ROOM_BYTES = 65536;

size_t theirs_write(flatbuffers::FlatBufferBuilder &builder, unsigned n_lines)
{
	std::vector<flatbuffers::Offset<shop::Line>> lines;
	const shop::Money price(ORDER_PRICE_UNITS, ORDER_PRICE_NANOS);

	builder.Clear();
	lines.reserve(n_lines);
	for (unsigned i = 0; i < n_lines; i++) {
		flatbuffers::Offset<flatbuffers::String> tags[ORDER_TAGS];

		for (auto &tag : tags)
			tag = builder.CreateString(ORDER_TAG, sizeof(ORDER_TAG) - 1);
		auto sku = builder.CreateString(ORDER_SKU, sizeof(ORDER_SKU) - 1);
		auto tag_vector = builder.CreateVector(tags, ORDER_TAGS);
		lines.push_back(shop::CreateLine(builder, sku, i + 2, &price, tag_vector));
	}
	auto customer = builder.CreateString(ORDER_CUSTOMER, sizeof(ORDER_CUSTOMER) - 1);
	auto line_vector = builder.CreateVector(lines);
	builder.Finish(shop::CreatePlaceOrder(builder, ORDER_ID, customer, shop::Priority_Express,
					      line_vector));
	return builder.GetSize();
}

uint64_t theirs_read(const void *data)
{
	const auto *order = flatbuffers::GetRoot<shop::PlaceOrder>(data);
	uint64_t sum = order->id() + order->customer()->size() + order->priority();

	for (const shop::Line *line : *order->lines()) {
		sum += line->sku()->size() + line->quantity();
		sum += static_cast<uint64_t>(line->price()->units()) +
		       static_cast<uint64_t>(line->price()->nanos());
		for (const flatbuffers::String *tag : *line->tags())
			sum += tag->size();
	}
	return sum;
}

uint64_t theirs_read_verified(const void *data, size_t bytes)
{
	flatbuffers::Verifier verifier(static_cast<const uint8_t *>(data), bytes);

	return verifier.VerifyBuffer<shop::PlaceOrder>(nullptr) ? theirs_read(data) : 0;
}

unsigned n_lines(const benchmark::State &state)
{
	return static_cast<unsigned>(state.range(0));
}

// Either side reads what the other wrote, or nothing is worth measuring.
bool agree(unsigned n)
{
	alignas(16) static uint8_t room[ROOM_BYTES];
	flatbuffers::FlatBufferBuilder builder;
	size_t ours = order_write(room, sizeof(room), n), theirs = theirs_write(builder, n);
	uint64_t sum = order_read(room, ours);

	return sum != 0 && theirs_read_verified(room, ours) == sum &&
	       order_read(builder.GetBufferPointer(), theirs) == sum;
}

void write_ipc(benchmark::State &state)
{
	alignas(16) static uint8_t room[ROOM_BYTES];
	size_t bytes = 0;

	if (!agree(n_lines(state)))
		state.SkipWithError("the two do not understand each other");
	for (auto _ : state)
		benchmark::DoNotOptimize(bytes = order_write(room, sizeof(room), n_lines(state)));
	state.counters["bytes"] = static_cast<double>(bytes);
}

void write_flatbuffers(benchmark::State &state)
{
	flatbuffers::FlatBufferBuilder builder(ROOM_BYTES);
	size_t bytes = 0;

	for (auto _ : state)
		benchmark::DoNotOptimize(bytes = theirs_write(builder, n_lines(state)));
	state.counters["bytes"] = static_cast<double>(bytes);
}

void read_ipc(benchmark::State &state)
{
	alignas(16) static uint8_t room[ROOM_BYTES];
	const size_t bytes = order_write(room, sizeof(room), n_lines(state));

	for (auto _ : state)
		benchmark::DoNotOptimize(order_read(room, bytes));
}

void read_flatbuffers(benchmark::State &state)
{
	flatbuffers::FlatBufferBuilder builder;

	theirs_write(builder, n_lines(state));
	for (auto _ : state)
		benchmark::DoNotOptimize(theirs_read(builder.GetBufferPointer()));
}

void read_flatbuffers_verified(benchmark::State &state)
{
	flatbuffers::FlatBufferBuilder builder;
	const size_t bytes = theirs_write(builder, n_lines(state));

	for (auto _ : state)
		benchmark::DoNotOptimize(theirs_read_verified(builder.GetBufferPointer(), bytes));
}

BENCHMARK(write_ipc)->Name("flatbuffers/write/ipc")->Arg(1)->Arg(8)->Arg(64);
BENCHMARK(write_flatbuffers)->Name("flatbuffers/write/flatbuffers")->Arg(1)->Arg(8)->Arg(64);
BENCHMARK(read_ipc)->Name("flatbuffers/read/ipc")->Arg(1)->Arg(8)->Arg(64);
BENCHMARK(read_flatbuffers)->Name("flatbuffers/read/flatbuffers")->Arg(1)->Arg(8)->Arg(64);
BENCHMARK(read_flatbuffers_verified)
	->Name("flatbuffers/read/flatbuffers_verified")
	->Arg(1)
	->Arg(8)
	->Arg(64);

} // namespace

BENCHMARK_MAIN();
