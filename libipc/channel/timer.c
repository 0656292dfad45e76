/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls by deadline: a binary heap, each call knowing its place, so that leaving costs no search. A
 * call that is waited for synchronously is not in it, nor is a server's call that its handler ends
 * at once.
 */
#include <assert.h>
#include <stdlib.h>

#include "objects.h"

static void put(struct ipc_loop *loop, uint32_t i, struct ipc_call *call)
{
	loop->timers[i] = call;
	call->timer = i + 1;
}

static void sift_up(struct ipc_loop *loop, uint32_t i, struct ipc_call *call)
{
	while (i > 0) {
		uint32_t parent = (i - 1) / 2;

		if (loop->timers[parent]->deadline_ns <= call->deadline_ns)
			break;
		put(loop, i, loop->timers[parent]);
		i = parent;
	}
	put(loop, i, call);
}

static void sift_down(struct ipc_loop *loop, uint32_t i, struct ipc_call *call)
{
	for (;;) {
		uint32_t child = 2 * i + 1;

		if (child >= loop->n_timers)
			break;
		if (child + 1 < loop->n_timers &&
		    loop->timers[child + 1]->deadline_ns < loop->timers[child]->deadline_ns)
			child++;
		if (call->deadline_ns <= loop->timers[child]->deadline_ns)
			break;
		put(loop, i, loop->timers[child]);
		i = child;
	}
	put(loop, i, call);
}

int ipci_timer_add(struct ipc_call *call)
{
	struct ipc_loop *loop = call->channel->loop;

	if (call->deadline_ns == IPCI_NEVER || call->timer)
		return 0;
	if (loop->n_timers == loop->n_timers_max) {
		uint32_t n = loop->n_timers_max ? 2 * loop->n_timers_max : 64;
		struct ipc_call **bigger = realloc(loop->timers, n * sizeof(struct ipc_call *));

		if (!bigger)
			return -ENOMEM;
		loop->timers = bigger;
		loop->n_timers_max = n;
	}
	sift_up(loop, loop->n_timers++, call);
	return 0;
}

void ipci_timer_remove(struct ipc_call *call)
{
	struct ipc_loop *loop = call->channel->loop;
	uint32_t i = call->timer - 1;
	struct ipc_call *last;

	if (!call->timer)
		return;
	assert(loop->timers[i] == call);
	call->timer = 0;
	last = loop->timers[--loop->n_timers];
	if (last == call)
		return;
	if (i > 0 && last->deadline_ns < loop->timers[(i - 1) / 2]->deadline_ns)
		sift_up(loop, i, last);
	else
		sift_down(loop, i, last);
}

uint64_t ipci_timer_next_ns(const struct ipc_loop *loop)
{
	const uint64_t call_ns = loop->n_timers ? loop->timers[0]->deadline_ns : IPCI_NEVER;

	return call_ns < loop->reopen_ns ? call_ns : loop->reopen_ns;
}

void ipci_timer_expire(struct ipc_loop *loop, uint64_t now_ns)
{
	while (loop->n_timers && loop->timers[0]->deadline_ns <= now_ns) {
		struct ipc_call *call = loop->timers[0];

		ipci_timer_remove(call);
		ipci_call_expired(call);
	}
}
