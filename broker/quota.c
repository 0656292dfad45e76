// SPDX-License-Identifier: Apache-2.0
/* Plain counters: the broker has one thread. used <= limit holds always. */
#include "quota.h"

#include <assert.h>
#include <errno.h>

int ipci_charge_take(struct ipci_charge *charge, struct ipci_quota *quota, enum ipci_limit limit,
		     uint64_t n, struct ipci_error *error)
{
	const struct ipci_policy_workload *policy = quota->policy;
	uint64_t *used = &quota->used[limit], max = policy->limits[limit];

	assert(!charge->quota);
	if (n > max - *used)
		return ipci_error_set(error, -EDQUOT,
				      "workload \"%s\" would exceed workloads.%s.limits.%s: holds "
				      "%llu of %llu, wants %llu more",
				      policy->name, policy->name, ipci_limit_name(limit),
				      (unsigned long long)*used, (unsigned long long)max,
				      (unsigned long long)n);
	*used += n;
	*charge = (struct ipci_charge){.quota = quota, .limit = limit, .n = n};
	return 0;
}

void ipci_charge_undo(struct ipci_charge *charge)
{
	if (!charge->quota)
		return;
	assert(charge->quota->used[charge->limit] >= charge->n);
	charge->quota->used[charge->limit] -= charge->n;
	*charge = (struct ipci_charge){0};
}
