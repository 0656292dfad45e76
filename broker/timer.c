// SPDX-License-Identifier: Apache-2.0
/* One sorted list. Equal deadlines keep the order in which they were set. */
#include "timer.h"

#include "clock.h"

#define TIMER(at) IPCI_CONTAINER_OF(at, struct ipci_timer, link)

void ipci_timer_init(struct ipci_timer *timer, void (*fire)(struct ipci_timer *timer))
{
	ipci_list_init(&timer->link);
	timer->fire = fire;
}

void ipci_timer_set(struct ipci_list *timers, struct ipci_timer *timer, uint64_t deadline_ns)
{
	struct ipci_list *after;

	ipci_timer_clear(timer);
	if (deadline_ns == IPCI_NEVER)
		return;
	after = timers->prev;
	while (after != timers && TIMER(after)->deadline_ns > deadline_ns)
		after = after->prev;
	timer->deadline_ns = deadline_ns;
	ipci_list_append(after->next, &timer->link); /* that is: right behind "after" */
}

void ipci_timer_clear(struct ipci_timer *timer)
{
	ipci_list_remove(&timer->link);
}

uint64_t ipci_timers_deadline_ns(const struct ipci_list *timers)
{
	return ipci_list_empty(timers) ? IPCI_NEVER : TIMER(timers->next)->deadline_ns;
}

void ipci_timers_fire(struct ipci_list *timers, uint64_t now_ns)
{
	struct ipci_list due;

	/* Moved aside first: one that fires may clear others, or set some to a time that has
	 * passed. */
	ipci_list_init(&due);
	while (ipci_timers_deadline_ns(timers) <= now_ns) {
		struct ipci_list *first = timers->next;

		ipci_list_remove(first);
		ipci_list_append(&due, first);
	}
	while (!ipci_list_empty(&due)) {
		struct ipci_timer *timer = TIMER(due.next);

		ipci_timer_clear(timer);
		timer->fire(timer);
	}
}
