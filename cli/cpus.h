/* SPDX-License-Identifier: Apache-2.0 */
/* Which two CPUs a measurement uses, and staying on one. */
#ifndef CLI_CPUS_H
#define CLI_CPUS_H

#include <sched.h>

#include "error.h"

struct cpus {
	int client, server;
	cpu_set_t allowed; /* before this process stayed on one */
};

/*
 * Two of the CPUs that this process may run on: the first, and the first after it that is no
 * hardware thread of the same core, if there is one. 0; -ENODEV: there is only one.
 */
int cpus_choose(struct cpus *ret, struct ipci_error *error);

/* 0 or -errno. */
int cpus_pin(int cpu, struct ipci_error *error);

/* Where it may run is again what it was when the CPUs were chosen. */
void cpus_release(const struct cpus *cpus);

#endif
