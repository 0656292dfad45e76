/* SPDX-License-Identifier: Apache-2.0 */
#include "clock.h"

uint64_t ipci_now_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * IPCI_NS_PER_S + (uint64_t)now.tv_nsec;
}

uint64_t ipci_deadline_ns(uint64_t timeout_ns)
{
	uint64_t now = ipci_now_ns();

	return timeout_ns < IPCI_NEVER - now ? now + timeout_ns : IPCI_NEVER;
}

struct timespec ipci_timespec(uint64_t ns)
{
	return (struct timespec){
		.tv_sec = (time_t)(ns / IPCI_NS_PER_S),
		.tv_nsec = (long)(ns % IPCI_NS_PER_S),
	};
}
