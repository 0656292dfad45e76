/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages that were received: lent for a turn, or kept.
 *
 * A small payload was copied into loop->snapshot. Lending it is free: the next turn overwrites it.
 * Keeping it takes the whole snapshot out of the loop, which draws another from its pool. A large
 * payload stays in the peer's ring and is held there, for the turn or until released; an inbox
 * outlives its channel as long as something is held.
 *
 * What a message handle says is checked against the loop's turn, so that a stale one is an error,
 * not a surprise.
 */
#include <stdlib.h>
#include <string.h>

#include "turn.h"
#include "threads.h"

#define POOL_MAX 16u /* snapshots that wait for use beside the current one */

static struct ipci_snapshot *snapshot_new(struct ipc_loop *loop)
{
	struct ipci_snapshot *snapshot = loop->snapshot_pool;

	if (snapshot) {
		loop->snapshot_pool = snapshot->next;
		return snapshot;
	}
	snapshot = aligned_alloc(alignof(struct ipci_snapshot), sizeof(*snapshot));
	if (snapshot)
		snapshot->loop = loop;
	return snapshot;
}

int ipci_snapshot_prepare(struct ipc_loop *loop)
{
	if (!loop->snapshot)
		loop->snapshot = snapshot_new(loop);
	return loop->snapshot ? 0 : -ENOMEM;
}

static void snapshot_give_back(struct ipci_snapshot *snapshot)
{
	struct ipc_loop *loop = snapshot->loop;
	unsigned n = 0;

	for (struct ipci_snapshot *s = loop->snapshot_pool; s; s = s->next)
		n++;
	if (n >= POOL_MAX) {
		free(snapshot);
		return;
	}
	snapshot->next = loop->snapshot_pool;
	loop->snapshot_pool = snapshot;
}

void ipci_snapshot_free_all(struct ipc_loop *loop)
{
	struct ipci_snapshot *snapshot;

	free(loop->snapshot);
	while ((snapshot = loop->snapshot_pool)) {
		loop->snapshot_pool = snapshot->next;
		free(snapshot);
	}
}

void ipci_inbox_free_if_idle(struct ipci_inbox *inbox)
{
	if (inbox->channel || inbox->rx.n_held || inbox->loop->borrowed == inbox)
		return;
	ipci_consumer_deinit(&inbox->rx);
	ipci_half_deinit(&inbox->half);
	free(inbox);
}

/*
 * Room that a released message held: the peer learns of it soon, or now: if nothing stays
 * outstanding, and where the channel is cold, which has told all on its way to sleep and is not asked
 * again before something comes.
 */
static void inbox_release(struct ipci_inbox *inbox, uint64_t position)
{
	ipci_consumer_release(&inbox->rx, position);
	if (!inbox->channel) {
		ipci_inbox_free_if_idle(inbox);
		return;
	}
	if (inbox->rx.n_held == 0 || !inbox->channel->hot ||
	    ipci_consumer_should_publish(&inbox->rx))
		ipci_channel_give_back(inbox->channel);
}

void ipci_turn_end_borrow(struct ipc_loop *loop)
{
	struct ipci_inbox *inbox = loop->borrowed;

	loop->borrowed = NULL;
	if (inbox)
		inbox_release(inbox, loop->borrowed_position);
	free(loop->borrowed_parked);
	loop->borrowed_parked = NULL;
}

void ipci_turn_end_call(struct ipc_loop *loop)
{
	struct ipc_call *call = loop->ended;

	loop->ended = NULL;
	ipci_call_done(call);
}

/* A request that its handler did not end at once now lives on, under its deadline. */
void ipci_turn_settle_fresh(struct ipc_loop *loop)
{
	struct ipc_call *call = loop->fresh;

	loop->fresh = NULL;
	if (!ipci_call_is_served(call))
		return;
	/* Without memory for the timer the call only loses its CANCELLED event. */
	(void)ipci_timer_add(call);
}

/* A served channel whose loss was reported is the library's again. */
static void end_channel(struct ipc_loop *loop)
{
	struct ipc_channel *channel = loop->departed;

	loop->departed = NULL;
	channel->freed = true;
	ipci_channel_free_if_idle(channel);
}

void ipci_turn_aside(struct ipc_loop *loop)
{
	if (loop->departed)
		end_channel(loop);
	loop->departing = false;
	if (loop->wakes_due)
		ipci_loop_send_wakes(loop, false);
}

static int keep_parked(struct ipc_loop *loop, struct ipc_msg *msg)
{
	/* A parked reply is private memory already; it moves from the turn to its keeper. */
	msg->owner = loop->borrowed_parked;
	loop->borrowed_parked = NULL;
	return 0;
}

static int keep_snapshot(struct ipc_loop *loop, struct ipc_msg *msg)
{
	struct ipci_snapshot *kept = loop->snapshot;

	loop->snapshot = NULL;
	if (ipci_snapshot_prepare(loop) < 0) {
		loop->snapshot = kept;
		return -ENOMEM;
	}
	msg->owner = kept;
	return 0;
}

static int keep_in_place(struct ipc_loop *loop, struct ipc_msg *msg)
{
	if (!ipci_consumer_may_keep(&loop->borrowed->rx))
		return -ENOSPC;
	msg->owner = loop->borrowed;
	msg->token = loop->borrowed_position;
	loop->borrowed = NULL;
	return 0;
}

static int keep(struct ipc_loop *loop, struct ipc_msg *msg)
{
	if (msg->flags & IPC_MSG_IN_PLACE)
		return loop->borrowed ? keep_in_place(loop, msg) : -EINVAL;
	if (loop->borrowed_parked && msg->data == loop->borrowed_parked->data)
		return keep_parked(loop, msg);
	return loop->snapshot && msg->data == loop->snapshot->data ? keep_snapshot(loop, msg)
								   : -EINVAL;
}

IPC_PUBLIC int ipc_keep(struct ipc_msg *msg)
{
	struct ipc_loop *loop;
	int r;

	if (!msg || !msg->owner)
		return -EINVAL;
	if (msg->flags & IPC_MSG_KEPT)
		return -EALREADY;
	loop = msg->owner;
	IPCI_ENTER(loop);
	if (ipci_forked(loop))
		return -ECHILD;
	if (msg->token != loop->turn)
		return -EINVAL;
	r = keep(loop, msg);
	if (r < 0)
		return r;
	msg->flags |= IPC_MSG_KEPT;
	loop->n_kept++;
	return 0;
}

#ifdef IPCI_THREAD_CHECKS
static struct ipc_loop *loop_of(const struct ipc_msg *msg)
{
	if (msg->flags & IPC_MSG_IN_PLACE)
		return ((struct ipci_inbox *)msg->owner)->loop;
	if (msg->data == ((struct ipci_parked *)msg->owner)->data)
		return ((struct ipci_parked *)msg->owner)->loop;
	return ((struct ipci_snapshot *)msg->owner)->loop;
}
#endif

/* Which of the three a kept message is shows in where its bytes lie. */
static struct ipc_loop *release(struct ipc_msg *msg)
{
	struct ipci_snapshot *snapshot = msg->owner;
	struct ipci_parked *parked = msg->owner;
	struct ipci_inbox *inbox = msg->owner;
	struct ipc_loop *loop;

	if (msg->flags & IPC_MSG_IN_PLACE) {
		loop = inbox->loop;
		/* In a forked child there is no ring to give back. */
		if (ipci_forked(loop) && inbox->channel)
			ipci_consumer_release(&inbox->rx, msg->token);
		else
			inbox_release(inbox, msg->token);
	} else if (msg->data == parked->data) {
		loop = parked->loop;
		free(parked);
	} else {
		loop = snapshot->loop;
		snapshot_give_back(snapshot);
	}
	return loop;
}

IPC_PUBLIC void ipc_release(struct ipc_msg *msg)
{
	struct ipc_loop *loop;

	if (!msg || !(msg->flags & IPC_MSG_KEPT))
		return;
	IPCI_ALONE(loop_of(msg));
	loop = release(msg);
	*msg = (struct ipc_msg){};
	if (--loop->n_kept == 0 && loop->dead)
		ipci_loop_free_rest(loop);
}
