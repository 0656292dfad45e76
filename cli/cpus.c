// SPDX-License-Identifier: Apache-2.0
#include "cpus.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"

#define SIBLINGS_BYTES 64

/* The hardware threads of the CPU's core, in the kernel's words; "" where it does not say. */
static void siblings(int cpu, char text[SIBLINGS_BYTES])
{
	_cleanup_(closep) int fd = -EBADF;
	char path[96];
	ssize_t n;

	(void)snprintf(path, sizeof(path),
		       "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? 0 : read(fd, text, SIBLINGS_BYTES - 1);
	text[n > 0 ? n : 0] = '\0';
}

static bool share_a_core(int a, int b)
{
	char of_a[SIBLINGS_BYTES], of_b[SIBLINGS_BYTES];

	siblings(a, of_a);
	siblings(b, of_b);
	return of_a[0] && strcmp(of_a, of_b) == 0;
}

int cpus_choose(struct cpus *ret, struct ipci_error *error)
{
	int first = -1, second = -1;
	cpu_set_t allowed;

	if (sched_getaffinity(0, sizeof(allowed), &allowed) < 0)
		return ipci_error_errno(error, "cannot tell the CPUs of this process");
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET((size_t)cpu, &allowed))
			continue;
		if (first < 0) {
			first = cpu;
		} else if (!share_a_core(first, cpu)) {
			second = cpu;
			break;
		} else if (second < 0) {
			second = cpu;
		}
	}
	if (second < 0)
		return ipci_error_set(error, -ENODEV,
				      "two CPUs are needed, one for each process, and this one may "
				      "use only one");
	*ret = (struct cpus){.client = first, .server = second, .allowed = allowed};
	return 0;
}

int cpus_pin(int cpu, struct ipci_error *error)
{
	cpu_set_t one;

	CPU_ZERO(&one);
	CPU_SET((size_t)cpu, &one);
	if (sched_setaffinity(0, sizeof(one), &one) < 0)
		return ipci_error_errno(error, "cannot stay on CPU %d", cpu);
	return 0;
}

void cpus_release(const struct cpus *cpus)
{
	/* Nothing was chosen: nothing was changed. */
	if (CPU_COUNT(&cpus->allowed))
		(void)sched_setaffinity(0, sizeof(cpus->allowed), &cpus->allowed);
}
