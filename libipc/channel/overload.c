/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Overload: how many calls a server's program has at once, and who waits meanwhile.
 *
 * A server with max_in_flight has that many places. A request takes one when it is delivered, and
 * its end gives it to whoever has waited longest, on whichever channel. Who waits was copied out of
 * the ring: other frames of its client, cancels above all, lie behind it. What they may take is
 * bounded in number by max_waiting, and in bytes, for each channel, by its client's own ring; a
 * client that fills the line has spent its own calls on it.
 *
 * Invariants: a call in state WAITING is on server->waiting, without a place, or on
 * loop->ready_calls, with one; it has a payload of its own, and its server is there. As elsewhere no
 * request reaches the program while its channel has no room for the largest answer: it lets others
 * pass, and the peer that makes no room harms itself alone.
 *
 * All of it is off the way of a server without a limit: its channels are not guarded.
 */
#include "stream.h"

const struct ipci_refusal ipci_must_wait = {};

const struct ipci_refusal *ipci_admit(const struct ipc_channel *channel,
				      const struct ipci_view *view)
{
	static const struct ipci_refusal overloaded = {
		IPC_RESOURCE_EXHAUSTED, "the server has as many calls as it takes at once"};
	const struct ipc_server *server = channel->server;

	if (!server)
		return NULL;
	if (server->drains)
		return ipci_drain_refusal(server);
	if (!server->max_in_flight || server->n_in_flight < server->max_in_flight)
		return NULL;
	if (view->method & IPCI_REQUEST_NO_WAIT || server->n_waiting >= server->max_waiting ||
	    channel->waiting_bytes + view->payload_bytes > channel->inbox->half.ring_bytes)
		return &overloaded;
	return &ipci_must_wait;
}

void ipci_place_take(struct ipc_call *call)
{
	if (!call->channel->server)
		return;
	call->placed = true;
	call->channel->server->n_in_flight++;
}

/*
 * A program that waits for room, or credit, on a channel gets no request from it, and the ring
 * must not wait for that.
 */
const struct ipci_refusal *ipci_set_aside(const struct ipc_channel *channel,
					  const struct ipci_view *view)
{
	static const struct ipci_refusal busy = {IPC_RESOURCE_EXHAUSTED,
						 "the server waits, and holds enough already"};

	if (!channel->server ||
	    channel->waiting_bytes + view->payload_bytes > channel->inbox->half.ring_bytes)
		return &busy;
	return &ipci_must_wait;
}

void ipci_place_await(struct ipc_call *call)
{
	struct ipc_server *server = call->channel->server;

	call->state = IPCI_CALL_WAITING;
	call->channel->waiting_bytes += call->stream->first->size_bytes;
	server->n_waiting++;
	ipci_list_append(&server->waiting, &call->ready);
	/* Without memory for the timer its deadline is looked at when its turn comes. */
	(void)ipci_timer_add(call);
	/* There may be a place, and only the program is not there to take it. */
	ipci_place_next(server);
}

/* Its place is the next one's. */
static void give_up_place(struct ipc_call *call)
{
	struct ipc_server *server = call->channel->server;

	call->placed = false;
	if (!server)
		return;
	server->n_in_flight--;
	ipci_place_next(server);
	ipci_drain_check(server);
}

void ipci_place_leave(struct ipc_call *call)
{
	if (call->state == IPCI_CALL_WAITING) {
		call->channel->waiting_bytes -= call->stream->first->size_bytes;
		if (!call->placed)
			call->channel->server->n_waiting--;
		ipci_list_remove(&call->ready);
		/* It has left the line, once. */
		call->state = IPCI_CALL_SERVED;
	}
	if (call->placed)
		give_up_place(call);
}

static bool has_place(const struct ipc_server *server)
{
	return !server->max_in_flight || server->n_in_flight < server->max_in_flight;
}

void ipci_place_next(struct ipc_server *server)
{
	struct ipci_list *next;

	if (!server)
		return;
	for (struct ipci_list *l = server->waiting.next; l != &server->waiting && has_place(server);
	     l = next) {
		struct ipc_call *call = IPCI_CONTAINER_OF(l, struct ipc_call, ready);
		struct ipc_channel *channel = call->channel;

		next = l->next;
		/* Room that cannot be is found, and dealt with, where the channel is looked at. */
		if (ipci_producer_has_room(&channel->tx, ipci_channel_reply_bytes(channel)) <= 0) {
			channel->life |= IPCI_LIFE_SHORT;
			ipci_channel_set_hot(channel);
			continue;
		}
		call->placed = true;
		server->n_in_flight++;
		server->n_waiting--;
		ipci_list_remove(&call->ready);
		ipci_list_append(&server->loop->ready_calls, &call->ready);
	}
}

/* The room for its answer went between its turn's coming and now: the first in line again. */
static int step_back(struct ipc_call *call)
{
	struct ipc_server *server = call->channel->server;

	server->n_waiting++;
	/* Appended to what the list begins with: before all the others. */
	ipci_list_append(server->waiting.next, &call->ready);
	give_up_place(call);
	return IPCI_LOOK_AGAIN;
}

int ipci_place_deliver(struct ipc_call *call, struct ipc_event *event)
{
	struct ipc_channel *channel = call->channel;
	struct ipc_loop *loop = channel->loop;

	if (ipci_producer_has_room(&channel->tx, ipci_channel_reply_bytes(channel)) <= 0)
		return step_back(call);
	if (call->deadline_ns != IPCI_NEVER && call->deadline_ns <= ipci_now_ns()) {
		ipci_timer_remove(call);
		ipci_call_expired(call);
		return IPCI_LOOK_AGAIN;
	}
	channel->waiting_bytes -= call->stream->first->size_bytes;
	call->state = IPCI_CALL_SERVED;
	/* Without a limit nobody counts places. */
	if (!channel->server->max_in_flight)
		give_up_place(call);
	loop->fresh = call;
	ipci_unpark(call, &event->msg);
	ipci_request_event(call, event);
	event->last = (event->msg.flags & IPC_MSG_LAST) != 0;
	return IPCI_LOOK_EVENT;
}

/* The next call of the server's that waits, with a place or without; NULL: none does. */
static struct ipc_call *who_waits(struct ipc_server *server)
{
	struct ipci_list *ready = &server->loop->ready_calls;

	if (!ipci_list_empty(&server->waiting))
		return IPCI_CONTAINER_OF(server->waiting.next, struct ipc_call, ready);
	for (struct ipci_list *l = ready->next; l != ready; l = l->next) {
		struct ipc_call *call = IPCI_CONTAINER_OF(l, struct ipc_call, ready);

		if (call->state == IPCI_CALL_WAITING && call->channel->server == server)
			return call;
	}
	return NULL;
}

void ipci_place_clear(struct ipc_server *server, const struct ipci_refusal *why)
{
	struct ipc_call *call;

	while ((call = who_waits(server)))
		ipci_call_fail(call, why->status, true, why->text);
}
