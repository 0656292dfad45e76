/* SPDX-License-Identifier: Apache-2.0 */
/* Monotonic time in nanoseconds, and deadlines: absolute times, IPCI_NEVER for none. */
#ifndef IPCI_BASE_CLOCK_H
#define IPCI_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

#define IPCI_NEVER UINT64_MAX
#define IPCI_NS_PER_S UINT64_C(1000000000)
#define IPCI_NS_PER_MS UINT64_C(1000000)
#define IPCI_NS_PER_US UINT64_C(1000)

/* CLOCK_MONOTONIC; cannot fail on Linux. */
uint64_t ipci_now_ns(void);

/* The deadline @timeout_ns from now; never earlier than now, IPCI_NEVER where it would overflow. */
uint64_t ipci_deadline_ns(uint64_t timeout_ns);

/* What remains until @deadline_ns at @now_ns: 0 when it passed, IPCI_NEVER when there is none. */
static inline uint64_t ipci_remaining_ns(uint64_t deadline_ns, uint64_t now_ns)
{
	if (deadline_ns == IPCI_NEVER)
		return IPCI_NEVER;
	return deadline_ns > now_ns ? deadline_ns - now_ns : 0;
}

struct timespec ipci_timespec(uint64_t ns);

#endif
