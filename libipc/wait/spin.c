/* SPDX-License-Identifier: Apache-2.0 */
#include <sched.h>
#include <unistd.h>

#include "cpu-quota.h"
#include "spin.h"

static unsigned affinity(void)
{
	cpu_set_t set;
	int n;

	if (sched_getaffinity(0, sizeof(set), &set) == 0)
		return (unsigned)CPU_COUNT(&set);
	/* More CPUs than a cpu_set_t holds. */
	n = (int)sysconf(_SC_NPROCESSORS_ONLN);
	return n > 0 ? (unsigned)n : 1;
}

unsigned ipci_spin_cpus(const char *root)
{
	const unsigned n = affinity(), quota = ipci_cpu_quota(root);

	/* Of a CPU and a half one spins away the whole, and leaves too little to who is awaited. */
	if (quota == 0)
		return 1;
	return quota < n ? quota : n;
}
