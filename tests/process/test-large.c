// SPDX-License-Identifier: Apache-2.0
/*
 * Rings of many megabytes, up to the largest: messages of half a ring, in place, kept, released in
 * any order, across the seam.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "pair.h"

#define MIB (UINT64_C(1) << 20)
#define RING (64 * MIB)

static struct pair pair;

/* What the machine and the container leave, as far as they say. */
static uint64_t memory_available(void)
{
	FILE *file = fopen("/proc/meminfo", "re");
	uint64_t kib = 0, limit, used;
	char line[128];

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "MemAvailable: %lu", &kib) == 1)
			break;
	if (file)
		fclose(file);
	file = fopen("/sys/fs/cgroup/memory.max", "re");
	if (!file || fscanf(file, "%lu", &limit) != 1)
		limit = UINT64_MAX;
	if (file)
		fclose(file);
	file = fopen("/sys/fs/cgroup/memory.current", "re");
	if (!file || fscanf(file, "%lu", &used) != 1)
		used = 0;
	if (file)
		fclose(file);
	limit = limit > used ? limit - used : 0;
	return kib * 1024 < limit ? kib * 1024 : limit;
}

/* Skips, saying why, unless there is memory for @shared_bytes and as much for everybody else. */
static void need(uint64_t shared_bytes)
{
	uint64_t available = memory_available();
	struct rlimit address_space;

	if (available < 2 * shared_bytes)
		cr_skip_test("%ju MiB of memory wanted, %ju available",
			     (uintmax_t)(2 * shared_bytes / MIB), (uintmax_t)(available / MIB));
	cr_assert_eq(getrlimit(RLIMIT_AS, &address_space), 0);
	if (address_space.rlim_cur < 8 * shared_bytes)
		cr_skip_test("the address space is limited to %ju MiB",
			     (uintmax_t)(address_space.rlim_cur / MIB));
}

static void start(uint64_t client_ring_bytes, uint64_t server_ring_bytes)
{
	need(client_ring_bytes + server_ring_bytes);
	pair_start(&pair, &(struct pair_opts){
				  .client_ring_bytes = client_ring_bytes,
				  .server_ring_bytes = server_ring_bytes,
			  });
}

/* Checks the request in place, and answers with as many bytes of the seed that its user chose. */
static size_t answer_bytes;

static void check_and_answer(struct pair *p, struct ipc_event *event)
{
	uint64_t seed = event->msg.size_bytes % 1000;

	(void)p;
	if (event->kind != IPC_EVENT_REQUEST)
		return;
	if (event->msg.size_bytes > IPC_SNAPSHOT_MAX_BYTES)
		cr_assert_eq(event->msg.flags, IPC_MSG_IN_PLACE | IPC_MSG_LAST);
	cr_assert(filled(event->msg.data, event->msg.size_bytes, seed));
	reply_with(event->call, answer_bytes, answer_bytes % 1000);
}

/* A request and a reply of these sizes; the reply is lent until the client's loop is asked again.
 */
static struct ipc_msg exchange(size_t request_bytes, size_t reply_bytes)
{
	unsigned before = pair.client.n[IPC_EVENT_MESSAGE];

	answer_bytes = reply_bytes;
	(void)send_call(pair.channel, ECHO, request_bytes, request_bytes % 1000, NULL);
	PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_MESSAGE] == before + 1);
	cr_assert_eq(pair.client.last.msg.size_bytes, reply_bytes);
	cr_assert(filled(pair.client.last.msg.data, reply_bytes, reply_bytes % 1000));
	return pair.client.last.msg;
}

Test(large, half_a_ring_goes_both_ways_in_place, .timeout = 120)
{
	const struct ipc_channel_info *info;
	struct ipc_channel_info seen;

	start(RING, RING);
	pair.server.on_event = check_and_answer;
	seen = channel_info(pair.channel);
	info = &seen;
	cr_assert_eq(info->payload_max_bytes, RING / 2 - 256);
	cr_assert_eq(info->receive_max_bytes, RING / 2 - 256);
	cr_assert_eq(info->shared_bytes, 2 * (RING + 4096));
	for (unsigned i = 0; i < 4; i++) {
		struct ipc_msg msg = exchange(info->payload_max_bytes - i % 2,
					      info->receive_max_bytes - i / 2);

		cr_assert_eq(msg.flags, IPC_MSG_IN_PLACE | IPC_MSG_LAST);
	}
	pair_stop(&pair);
}

Test(large, one_byte_more_than_fits_is_refused_and_said_why, .timeout = 60)
{
	struct ipc_call_opts block = {.size = sizeof(block), .flags = IPC_BLOCK};
	struct ipc_room room = {};
	ipc_call *call = NULL;
	uint64_t most;

	start(RING, 4096);
	most = channel_info(pair.channel).payload_max_bytes;
	cr_assert_eq(ipc_begin(pair.channel, ECHO, most + 1, NULL, &call, &room), -EMSGSIZE);
	cr_assert_eq(ipc_begin(pair.channel, ECHO, SIZE_MAX, &block, &call, &room), -EMSGSIZE);
	cr_assert_eq(ipc_begin(pair.channel, ECHO, UINT32_MAX + UINT64_C(1), NULL, &call, &room),
		     -EMSGSIZE);
	cr_assert_not_null(strstr(ipc_loop_error(pair.client.loop), "ring_bytes"), "%s",
			   ipc_loop_error(pair.client.loop));
	cr_assert_not_null(strstr(ipc_loop_error(pair.client.loop), "33554176"), "%s",
			   ipc_loop_error(pair.client.loop));
	cr_assert(!call && !room.data);
	/* The server's ring is the smallest there is. */
	(void)send_call(pair.channel, HOLD, most, 1, NULL);
	PUMP_UNTIL(&pair, pair.server.n[IPC_EVENT_REQUEST] == 1);
	cr_assert_eq(ipc_reserve(pair.server.last.call, 4096 / 2 - 255, 0, &room), -EMSGSIZE);
	cr_assert_not_null(strstr(ipc_loop_error(pair.server.loop), "up to 1792"), "%s",
			   ipc_loop_error(pair.server.loop));
	reply_with(pair.server.last.call, 4096 / 2 - 256, 1);
	PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_MESSAGE] == 1);
	pair_stop(&pair);
}

Test(large, a_message_of_half_a_ring_crosses_its_seam_beside_kept_ones, .timeout = 120)
{
	const size_t part = 15 * MIB;
	struct ipc_msg first, second, third, half;

	start(4096, RING);
	pair.server.on_event = check_and_answer;
	for (unsigned round = 0; round < 5; round++) {
		first = exchange(10, part);
		cr_assert_eq(ipc_keep(&first), 0);
		second = exchange(10, part + 1);
		cr_assert_eq(ipc_keep(&second), 0);
		third = exchange(10, part + 2);
		cr_assert_eq(ipc_keep(&third), -ENOSPC, "45 MiB of 64 would be kept");
		ipc_release(&first);
		/* From 45 MiB on to 77, while from 15 to 30 it is the second's; then 13 MiB on. */
		half = exchange(10, RING / 2 - 256);
		cr_assert(round > 0 ||
			  (const char *)half.data > (const char *)second.data + 15 * MIB);
		cr_assert(filled(second.data, part + 1, (part + 1) % 1000));
		ipc_release(&second);
	}
	pair_stop(&pair);
}

Test(large, kept_messages_are_released_in_any_order, .timeout = 120)
{
	enum { N = 6 };
	const size_t size = 5 * MIB;
	struct ipc_msg kept[N];
	uint64_t seed = 1;

	start(4096, RING);
	pair.server.on_event = check_and_answer;
	for (unsigned round = 0; round < 4; round++) {
		for (unsigned i = 0; i < N; i++) {
			kept[i] = exchange(10 + i, size + i);
			cr_assert_eq(ipc_keep(&kept[i]), 0);
		}
		for (unsigned n = N; n > 0; n--) {
			unsigned i = (unsigned)((seed = seed * 6364136223846793005u + 1) >> 33) % n;
			struct ipc_msg msg = kept[i];

			cr_assert(filled(msg.data, msg.size_bytes, msg.size_bytes % 1000));
			ipc_release(&msg);
			kept[i] = kept[n - 1];
		}
	}
	(void)exchange(10, RING / 2 - 256);
	pair_stop(&pair);
}

Test(large, the_largest_ring_carries_half_a_gigabyte, .timeout = 120)
{
	const uint64_t most = 512 * MIB - 256;

	start(1024 * MIB, 4096);
	pair.server.on_event = check_and_answer;
	cr_assert_eq(channel_info(pair.channel).payload_max_bytes, most);
	(void)exchange(most, 10);
	/* The ring's second half is the next one's; the third comes after the seam. */
	(void)exchange(300 * MIB + 1, 10);
	(void)exchange(most - 1, 10);
	pair_stop(&pair);
}

/* Unmapped away from the loop, a piece at a time: but unmapped. */
Test(large, a_gigabyte_that_is_over_does_not_stay_mapped, .timeout = 120)
{
	struct ipc_channel_info info;
	unsigned long shared = 0;
	char line[256];
	FILE *maps;

	start(1024 * MIB, 4096);
	pair.server.on_event = check_and_answer;
	(void)exchange(64 * MIB, 10);
	info = channel_info(pair.channel);
	cr_assert_geq(info.shared_bytes, 1024 * MIB);
	ipc_channel_free(pair.channel);
	PUMP_UNTIL(&pair, pair.server.n[IPC_EVENT_CHANNEL] == 2);
	/* Both sides live in this process: nothing of it stays mapped. */
	for (uint64_t limit_ns = now_ns() + PATIENCE_NS; now_ns() < limit_ns;) {
		shared = 0;
		maps = fopen("/proc/self/maps", "re");
		cr_assert_not_null(maps);
		while (fgets(line, sizeof(line), maps))
			shared += strstr(line, "ipc-half") != NULL;
		fclose(maps);
		if (shared == 0)
			break;
	}
	cr_assert_eq(shared, 0);
	pair_stop(&pair);
}
