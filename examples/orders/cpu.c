/* SPDX-License-Identifier: Apache-2.0 */
#include "cpu.h"

#include <sched.h>

int cpu_pin(enum cpu_role role)
{
	cpu_set_t allowed, one;
	int chosen = -1;

	if (sched_getaffinity(0, sizeof(allowed), &allowed) < 0 || CPU_COUNT(&allowed) < 2)
		return -1;
	for (size_t cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (CPU_ISSET(cpu, &allowed) && (role == CPU_SERVER || chosen < 0))
			chosen = (int)cpu;
	}
	CPU_ZERO(&one);
	CPU_SET((size_t)chosen, &one);
	return sched_setaffinity(0, sizeof(one), &one) < 0 ? -1 : chosen;
}
