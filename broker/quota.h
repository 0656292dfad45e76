/* SPDX-License-Identifier: Apache-2.0 */
/* What workloads hold against their limits. A charge is owned by what it pays for, and undoes
 * itself with it. */
#ifndef IPCI_BROKER_QUOTA_H
#define IPCI_BROKER_QUOTA_H

#include <stdint.h>

#include "error.h"
#include "policy.h"

/* One a workload. */
struct ipci_quota {
	const struct ipci_policy_workload *policy;
	uint64_t used[IPCI_N_LIMITS];
};

/* A zeroed one charges nothing. */
struct ipci_charge {
	struct ipci_quota *quota;
	enum ipci_limit limit;
	uint64_t n;
};

/* Fills an unused @charge. -EDQUOT, with what, whose and the limit in @error, and nothing charged.
 */
int ipci_charge_take(struct ipci_charge *charge, struct ipci_quota *quota, enum ipci_limit limit,
		     uint64_t n, struct ipci_error *error);

/* Gives back what was taken, once. */
void ipci_charge_undo(struct ipci_charge *charge);

#endif
