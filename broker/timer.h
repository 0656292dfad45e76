/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deadlines. A timer embeds in what it ends, so that setting one cannot fail. Kept sorted: nearly
 * every deadline is a constant away from now, so a new one belongs at or near the end.
 */
#ifndef IPCI_BROKER_TIMER_H
#define IPCI_BROKER_TIMER_H

#include <stdint.h>

#include "list.h"

struct ipci_timer {
	struct ipci_list link;
	uint64_t deadline_ns; /* CLOCK_MONOTONIC */
	void (*fire)(struct ipci_timer *timer);
};

void ipci_timer_init(struct ipci_timer *timer, void (*fire)(struct ipci_timer *timer));

/* Sets @timer, anew where it was set already, on the list of all that are set. IPCI_NEVER: clears
 * it. */
void ipci_timer_set(struct ipci_list *timers, struct ipci_timer *timer, uint64_t deadline_ns);
void ipci_timer_clear(struct ipci_timer *timer);

/* The earliest deadline; IPCI_NEVER if there is none. */
uint64_t ipci_timers_deadline_ns(const struct ipci_list *timers);

/* Clears and fires every timer whose deadline is not after @now_ns. What they set waits for the
 * next time. */
void ipci_timers_fire(struct ipci_list *timers, uint64_t now_ns);

#endif
