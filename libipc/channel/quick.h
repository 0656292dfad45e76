/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way of nearly every message: a small request or reply, alone, on a channel with nothing else
 * to do.
 *
 * What deliver.c does for every frame is done here for the plain ones, with the same checks in the
 * same order, but in one piece that a compiler can keep in registers: on a round trip of 100 ns
 * each 50 instructions show. Whatever is not plain is left untouched for ipci_look(), which
 * decides.
 */
#ifndef IPCI_CHANNEL_QUICK_H
#define IPCI_CHANNEL_QUICK_H

#include "stream.h"

/* A plain frame of that kind, on a channel where nothing else asks for attention. */
static inline bool ipci_quick_peek(const struct ipc_channel *channel, uint32_t kind,
				   struct ipci_view *view)
{
	return !channel->aside && channel->loop->snapshot &&
	       ipci_consumer_peek_plain(&channel->inbox->rx, kind, view);
}

/* The payload of a plain frame, copied; the frame is taken. */
static inline void ipci_quick_copy(struct ipc_channel *channel, const struct ipci_view *view,
				   struct ipc_msg *msg, uint32_t flags)
{
	struct ipc_loop *loop = channel->loop;
	struct ipci_consumer *rx = &channel->inbox->rx;
	const uint8_t *data = ipci_private(loop->snapshot->data, view->payload,
					   view->payload_bytes);

	ipci_consumer_take(rx, view);
	if (__builtin_expect(ipci_consumer_should_publish(rx), 0))
		ipci_channel_busy(channel);
	*msg = (struct ipc_msg){
		.data = data,
		.size_bytes = view->payload_bytes,
		.flags = flags,
		.owner = loop,
		.token = loop->turn,
	};
}

static inline void ipci_quick_take(struct ipc_channel *channel, const struct ipci_view *view,
				   struct ipc_msg *msg)
{
	/* The answer, or the next request, is written soon. */
	ipci_producer_own_next(&channel->tx);
	ipci_quick_copy(channel, view, msg, IPC_MSG_LAST);
}

/* The reply that is waited for. False: whatever is there is for ipci_look(). */
static inline bool ipci_quick_reply(struct ipc_call *call, struct ipc_msg *msg)
{
	struct ipc_channel *channel = call->channel;
	struct ipci_view view;

	if (!ipci_quick_peek(channel, IPCI_KIND_REPLY, &view))
		return false;
	/* Its timer, if it has one, is deliver.c's to remove. */
	if (view.call_id != call->id || call->state != IPCI_CALL_SENT || call->timer)
		return false;
	ipci_quick_take(channel, &view, msg);
	call->status = IPC_OK;
	call->fate = IPC_FATE_EXECUTED;
	call->state = IPCI_CALL_ENDED;
	channel->loop->ended = call;
	return true;
}

/* A server's new request. False: whatever is there is for ipci_look(). */
static inline bool ipci_quick_request(struct ipc_channel *channel, struct ipc_event *event)
{
	struct ipci_view view;
	struct ipc_call *call;
	int method;

	if (!channel->at_server || !ipci_quick_peek(channel, IPCI_KIND_REQUEST, &view))
		return false;
	if (ipci_impossible((view.call_id & IPCI_CALL_SLOT_MASK) >= channel->max_calls))
		return false;
	call = &channel->calls[view.call_id & IPCI_CALL_SLOT_MASK];
	if (ipci_impossible(view.call_id >> IPCI_CALL_SLOT_BITS <= channel->call_seq ||
			    call->state != IPCI_CALL_FREE) ||
	    view.method >= channel->n_methods)
		return false;
	method = channel->methods[view.method];
	if (method < 0 || ipci_producer_free_bytes(&channel->tx) < channel->tx.ring_bytes / 2)
		return false;
	ipci_quick_take(channel, &view, &event->msg);
	channel->stalled = false;
	ipci_call_serve(call, view.call_id, (uint32_t)method);
	ipci_request_event(call, event);
	return true;
}

#ifdef IPCI_THREAD_CHECKS
#define IPCI_QUICK_STREAMS 0 /* each public call is to be seen */
#else
#define IPCI_QUICK_STREAMS 1
#endif

/*
 * A stream's items one by one: each is two calls, and what they store decides. The lines of the ring
 * are in the peer's cache; until one is taken from there, all stores behind it wait in a queue of
 * some sixty. So the two functions below store little, call nothing and save no registers.
 */

/* Room for one more item, where there is credit and room. False: nothing was done. */
static inline bool ipci_quick_reserve(struct ipc_call *call, size_t max_bytes, uint32_t flags,
				      struct ipc_room *room)
{
	const uint64_t bytes = ipci_frame_bytes(0, max_bytes);
	struct ipc_channel *channel;
	struct ipci_producer *tx;

	/* What has a limit is open, and so is its channel, unless that was lost. */
	if (!IPCI_QUICK_STREAMS || !call || !room || !call->stream ||
	    flags & ~(uint32_t)(IPC_BLOCK | IPC_LAST) || max_bytes > IPC_SNAPSHOT_MAX_BYTES)
		return false;
	channel = call->channel;
	tx = &channel->tx;
	if (call->stream->sent_bytes + bytes > call->stream->limit_bytes || channel->room_call ||
	    channel->lost || ipci_producer_free_bytes(tx) < bytes || ipci_forked(channel->loop))
		return false;
	if (tx->blank < tx->head + bytes)
		tx->blank = IPCI_NOT_BLANK;
	channel->room_call = call;
	channel->room_bytes = max_bytes;
	room->data = ipci_producer_frame(tx, tx->head) + 1;
	room->size_bytes = max_bytes;
	return true;
}

/* An item like the one before it. False: nothing was done. */
static inline bool ipci_quick_commit(struct ipc_call *call, size_t size_bytes, uint32_t flags)
{
	const uint64_t bytes = ipci_frame_bytes(0, size_bytes);
	struct ipc_channel *channel;

	if (!IPCI_QUICK_STREAMS || !call || flags || !call->stream)
		return false;
	channel = call->channel;
	if (channel->room_call != call || size_bytes > channel->room_bytes ||
	    call->stream->sent_bytes + bytes > call->stream->limit_bytes || channel->lost ||
	    ipci_forked(channel->loop))
		return false;
	ipci_producer_publish(&channel->tx, IPCI_KIND_ITEM, 0, call->id, size_bytes);
	if (__builtin_expect(channel->tx.reserved != 0, 0))
		channel->tx.reserved = 0;
	call->stream->sent_bytes += bytes;
	channel->room_call = NULL;
	return true;
}

/* Behind a quick commit: is that all, or is something left to do? */
static inline bool ipci_quick_is_all(const struct ipc_channel *channel)
{
	ipci_awake_order();
	return ipci_wake_unfenced(&channel->tx) && !channel->aside && !ipci_outbox_waits(channel);
}

/* An item of a call that has a stream. */
static inline bool ipci_quick_take_item(struct ipc_call *call, const struct ipci_view *view,
					struct ipc_msg *msg)
{
	struct ipci_stream *stream = call->stream;
	const uint64_t came_bytes = stream->came_bytes + view->frame_bytes;

	if (came_bytes >= stream->quiet_bytes || stream->first)
		return false;
	stream->came_bytes = came_bytes;
	ipci_quick_copy(call->channel, view, msg, 0);
	return true;
}

/* The next item of a call that is waited for, and has a stream. False: ipci_look() decides. */
static inline bool ipci_quick_item(struct ipc_call *call, struct ipc_msg *msg)
{
	struct ipc_channel *channel = call->channel;
	struct ipci_view view;

	if (call->status >= 0 || !channel->inbox ||
	    !ipci_quick_peek(channel, IPCI_KIND_ITEM, &view) || view.call_id != call->id ||
	    view.method != 0)
		return false;
	return ipci_quick_take_item(call, &view, msg);
}

/* Any call's next item, as an event; not its sender's last. False: ipci_look() decides. */
static inline bool ipci_quick_message(struct ipc_channel *channel, struct ipc_event *event)
{
	struct ipci_view view;
	struct ipc_call *call;

	if (!ipci_quick_peek(channel, IPCI_KIND_ITEM, &view) || view.method != 0 ||
	    (view.call_id & IPCI_CALL_SLOT_MASK) >= channel->max_calls)
		return false;
	call = &channel->calls[view.call_id & IPCI_CALL_SLOT_MASK];
	if (call->id != view.call_id || !call->stream)
		return false;
	if (channel->at_server
		    ? !ipci_call_is_served(call) || !call->stream->receives || call->stream->drops
		    : call->state != IPCI_CALL_SENT || ipci_call_is_over(call))
		return false;
	if (!ipci_quick_take_item(call, &view, &event->msg))
		return false;
	ipci_item_event(call, event);
	return true;
}

#endif
