/* SPDX-License-Identifier: Apache-2.0 */
/* Whether who connected to a workload's socket is that workload, by what the kernel says of it. */
#ifndef IPCI_BROKER_IDENTITY_H
#define IPCI_BROKER_IDENTITY_H

#include "error.h"
#include "policy.h"

/*
 * Checks the peer of @socket against the workload's identity rules. Does not block.
 * Errors: -EACCES, with what was seen and the rule that it does not meet in @error.
 */
int ipci_identity_check(int socket, const struct ipci_policy_workload *workload,
			struct ipci_error *error);

/*
 * Does a process in cgroup @path belong to @glob? It does in a cgroup that matches, and in those
 * below it: a container may make more of its own. A * does not reach across a /.
 */
bool ipci_identity_cgroup_matches(const char *glob, const char *path);

#endif
