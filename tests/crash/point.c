// SPDX-License-Identifier: Apache-2.0
#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "crash.h"

static struct plan *followed;

void crash_follow(struct plan *plan)
{
	followed = plan;
}

void ipci_crash_point(enum ipci_crash_point point)
{
	struct plan *plan = followed;

	if (!plan)
		return;
	plan->n_reached[point]++;
	if ((plan->point != IPCI_CRASH_NONE && plan->point != point) || plan->countdown == 0 ||
	    --plan->countdown > 0)
		return;
	__atomic_store_n(&plan->died_ns, now_ns(), __ATOMIC_RELEASE);
	(void)kill(getpid(), SIGKILL);
	for (;;)
		(void)pause();
}

#define POINT_NAME(name, next) [IPCI_CRASH_##name] = next,
const char *crash_point_name(enum ipci_crash_point point)
{
	static const char *const names[] = {IPCI_CRASH_POINTS_LIST(POINT_NAME)};

	return names[point];
}

uint64_t now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec;
}

static uint8_t byte_of(uint64_t seed, size_t i)
{
	return (uint8_t)(seed * 31 + i * 7 + (i >> 8) + 1);
}

void fill(void *data, size_t size_bytes, uint64_t seed)
{
	uint8_t *bytes = data;

	for (size_t i = 0; i < size_bytes; i++) {
		if (i == size_bytes / 2)
			IPCI_CRASH_POINT(PAYLOAD);
		bytes[i] = byte_of(seed, i);
	}
}

bool filled(const void *data, size_t size_bytes, uint64_t seed)
{
	const uint8_t *bytes = data;

	for (size_t i = 0; i < size_bytes; i++)
		if (bytes[i] != byte_of(seed, i))
			return false;
	return true;
}
