/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a peer may make this side do in a while: a number of times a period. It bounds cost, it
 * shapes nothing: at a period's border there may be two periods' worth.
 */
#ifndef IPCI_BASE_BUDGET_H
#define IPCI_BASE_BUDGET_H

#include <stdbool.h>
#include <stdint.h>

struct ipci_budget {
	uint64_t since_ns; /* when the period began */
	uint32_t n;	   /* spent in it */
};

/* Once more, if fewer than @max were spent in this period. */
static inline bool ipci_budget_take(struct ipci_budget *budget, uint64_t now_ns, uint64_t period_ns,
				    uint32_t max)
{
	if (now_ns - budget->since_ns >= period_ns) {
		budget->since_ns = now_ns;
		budget->n = 0;
	}
	if (budget->n >= max)
		return false;
	budget->n++;
	return true;
}

#endif
