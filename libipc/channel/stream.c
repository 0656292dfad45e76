/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Items of a call, and the credit for them.
 *
 * A sender counts what it sent, a receiver what the program took, both as bytes of whole frames.
 * CREDIT says how much may be sent in all: what was taken and a window more. It is told when the
 * program is half a window ahead of what was told, so a stream that flows pays for one CREDIT in
 * half a window; and it goes through the outbox, so that a full ring only delays it.
 *
 * Why nothing gets stuck, ARCHITECTURE.md argues: whoever waits inside a call keeps receiving, and
 * what it receives for others it queues, which the windows bound.
 */
#include <stdlib.h>
#include <string.h>

#include "deliver.h"
#include "quick.h"
#include "stream.h"

#define CREDITS_AT_ONCE 64u

struct ipci_stream *ipci_stream_of(struct ipc_call *call)
{
	struct ipc_channel *channel = call->channel;
	struct ipci_stream *stream = call->stream;

	if (stream)
		return stream;
	stream = channel->free_streams;
	if (stream)
		channel->free_streams = stream->next_free;
	else
		stream = malloc(sizeof(*stream));
	if (!stream)
		return NULL;
	*stream = (struct ipci_stream){
		.credit_bytes = ipci_window_bytes(channel->tx.ring_bytes),
		.granted_bytes = ipci_window_bytes(channel->inbox->rx.ring_bytes),
		.quiet_bytes = ipci_window_bytes(channel->inbox->rx.ring_bytes) / 2,
		.last = &stream->first,
	};
	call->stream = stream;
	return stream;
}

void ipci_stream_free(struct ipc_call *call)
{
	struct ipci_stream *stream = call->stream;

	if (!stream)
		return;
	ipci_unpark_all(call);
	stream->next_free = call->channel->free_streams;
	call->channel->free_streams = stream;
	call->stream = NULL;
}

void ipci_stream_cut(struct ipc_call *call)
{
	struct ipci_stream *stream = call->stream;

	if (!stream)
		return;
	ipci_unpark_all(call);
	stream->limit_bytes = 0;
	ipci_stream_drop(stream);
	stream->end_due = false;
	stream->writable = false;
	stream->wanted_bytes = 0;
	stream->owes_credit = false;
	stream->owes_end = false;
}

bool ipci_stream_leave(struct ipc_call *call)
{
	if (!call->stream || (!call->stream->receives && !call->stream->sent_bytes))
		return false;
	ipci_stream_cut(call);
	return true;
}

void ipci_stream_free_pool(struct ipc_channel *channel)
{
	struct ipci_stream *stream;

	while ((stream = channel->free_streams)) {
		channel->free_streams = stream->next_free;
		free(stream);
	}
}

/* ── sending ── */

/* May this side still send items on the call? */
bool ipci_stream_is_open(const struct ipc_call *call)
{
	if (call->channel->at_server)
		return ipci_call_is_served(call);
	return call->state == IPCI_CALL_SENT && call->stream && call->stream->sends;
}

int ipci_stream_may_send(const struct ipc_call *call, uint64_t bytes, uint32_t flags)
{
	const struct ipc_channel *channel = call->channel;
	const struct ipci_stream *stream = call->stream;

	/* A server's last is a reply: no item, and so without credit. */
	if (channel->at_server && flags & IPC_LAST)
		return 1;
	if (channel->at_server ? call->cancelled : ipci_call_is_over(call))
		return -ECANCELED;
	if (bytes > ipci_window_bytes(channel->tx.ring_bytes))
		return -EMSGSIZE;
	return stream->sent_bytes + bytes <= stream->credit_bytes;
}

bool ipci_stream_is_clogged(const struct ipc_call *call)
{
	const uint64_t window = ipci_window_bytes(call->channel->inbox->rx.ring_bytes);

	return call->stream->parked_bytes >= window / 2;
}

/*
 * CREDIT at the inbox's head is taken by who sends, so that a program which only sends need not
 * receive. It stops at anything else, which is the program's.
 */
static void look_for_credit(struct ipc_channel *channel)
{
	struct ipci_view view;

	for (unsigned n = 0; channel->inbox && n < CREDITS_AT_ONCE; n++) {
		if (ipci_consumer_peek(&channel->inbox->rx, &view) <= 0)
			return;
		if (view.kind != IPCI_KIND_CREDIT && view.kind != IPCI_KIND_PADDING)
			return;
		/* Whatever it is by now: what is no credit would be queued. */
		(void)ipci_look(channel, NULL, NULL, NULL);
	}
}

int ipci_stream_find_credit(struct ipc_call *call, uint64_t bytes, uint32_t flags)
{
	struct ipc_channel *channel = call->channel;
	int r = ipci_stream_may_send(call, bytes, flags);

	if (r < 0)
		return r;
	if (flags & IPC_BLOCK) {
		/* Both at once, and all is well: nothing is looked at. */
		if (r > 0 && ipci_producer_free_bytes(&channel->tx) >= bytes)
			return 1;
		r = ipci_block_for_room(channel,
					channel->at_server && flags & IPC_LAST ? NULL : call, bytes,
					call->deadline_ns);
		return r < 0 ? r : 1;
	}
	if (r > 0)
		return r;
	look_for_credit(channel);
	if (!channel->inbox)
		return ipci_channel_error(channel);
	r = ipci_stream_may_send(call, bytes, flags);
	if (r != 0)
		return r;
	call->stream->wanted_bytes = bytes;
	return -EAGAIN;
}

int ipci_stream_reserve(struct ipc_call *call, size_t max_bytes, uint32_t flags,
			struct ipc_room *room)
{
	struct ipc_channel *channel = call->channel;
	const uint64_t bytes = ipci_frame_bytes(0, max_bytes);
	int r;

	if (!ipci_stream_is_open(call))
		return -EINVAL;
	if (!channel->inbox)
		return ipci_channel_error(channel);
	if (channel->room_call)
		return -EBUSY;
	if (max_bytes > ipci_payload_max_bytes(channel->tx.ring_bytes))
		return ipci_room_too_large(channel, max_bytes);
	r = ipci_stream_find_credit(call, bytes, flags);
	if (r < 0)
		return r;
	return ipci_room_open(call, 0, max_bytes, room);
}

/* A client's first message, after which items follow. */
static int open_stream(struct ipc_call *call, size_t size_bytes, uint32_t flags)
{
	struct ipci_stream *stream = ipci_stream_of(call);
	int r;

	if (!stream)
		return -ENOMEM;
	stream->sends = true;
	call->request_bits |= IPCI_REQUEST_OPEN;
	r = ipci_call_send(call, size_bytes, flags);
	if (r < 0)
		return r;
	stream->limit_bytes = stream->credit_bytes;
	/* Without memory for the timer the deadline is the server's to keep. */
	(void)ipci_timer_add(call);
	return 0;
}

/* The item would go; its call may send it? 0, or why not. */
static int check_item(struct ipc_call *call, uint64_t bytes)
{
	if (bytes > ipci_window_bytes(call->channel->tx.ring_bytes))
		return -EMSGSIZE;
	if (call->state == IPCI_CALL_SERVED) {
		if (!ipci_stream_of(call))
			return -ENOMEM;
		ipci_stream_begin(call);
	}
	/* A room that was reserved for the last message, which needs no credit. */
	return call->stream->sent_bytes + bytes <= call->stream->credit_bytes ? 0 : -EINVAL;
}

int ipci_stream_commit(struct ipc_call *call, size_t size_bytes, uint32_t flags)
{
	struct ipc_channel *channel = call->channel;
	const uint64_t bytes = ipci_frame_bytes(0, size_bytes);
	const bool last = flags & IPC_LAST;
	int r;

	if (channel->room_call != call)
		return -EINVAL;
	if (!channel->inbox)
		return ipci_channel_error(channel);
	if (size_bytes > channel->room_bytes)
		return -EINVAL;
	if (call->state == IPCI_CALL_BEGUN)
		return open_stream(call, size_bytes, flags);
	if (!ipci_stream_is_open(call))
		return -EINVAL;
	r = check_item(call, bytes);
	if (r < 0)
		return r;
	ipci_producer_commit(&channel->tx, IPCI_KIND_ITEM, last ? IPCI_ITEM_LAST : 0, call->id,
			     size_bytes);
	call->stream->sent_bytes += bytes;
	if (last)
		ipci_stream_last_sent(call->stream);
	ipci_room_committed(call, flags);
	return 0;
}

int ipci_stream_end(struct ipc_call *call)
{
	if (!ipci_stream_is_open(call))
		return -EINVAL;
	if (!call->channel->inbox)
		return ipci_channel_error(call->channel);
	ipci_stream_last_sent(call->stream);
	call->stream->owes_end = true;
	ipci_outbox_add(call);
	return 0;
}

static int send_credit(struct ipc_call *call)
{
	struct ipc_channel *channel = call->channel;
	struct ipci_stream *stream = call->stream;
	const uint64_t window = ipci_window_bytes(channel->inbox->rx.ring_bytes);
	uint64_t granted_bytes;
	uint8_t *room;
	int r;

	r = ipci_producer_reserve(&channel->tx, 0, sizeof(granted_bytes), &room);
	if (r < 0)
		return r;
	granted_bytes = ipci_stream_taken(stream) + window;
	stream->granted_bytes = granted_bytes;
	stream->quiet_bytes = granted_bytes - window / 2;
	stream->owes_credit = false;
	IPCI_CRASH_POINT(CREDIT);
	memcpy(room, &granted_bytes, sizeof(granted_bytes));
	ipci_producer_commit(&channel->tx, IPCI_KIND_CREDIT, 0, call->id, sizeof(granted_bytes));
	return 0;
}

static int send_end(struct ipc_call *call)
{
	uint8_t *room;
	int r;

	r = ipci_producer_reserve(&call->channel->tx, 0, 0, &room);
	if (r < 0)
		return r;
	call->stream->owes_end = false;
	ipci_producer_commit(&call->channel->tx, IPCI_KIND_END, 0, call->id, 0);
	return 0;
}

int ipci_stream_send_owed(struct ipc_call *call)
{
	struct ipci_stream *stream = call->stream;
	int r = 0;

	if (stream && stream->owes_credit)
		r = send_credit(call);
	if (r == 0 && stream && stream->owes_end)
		r = send_end(call);
	if (r < 0)
		return r == -EAGAIN ? 0 : r;
	ipci_list_remove(&call->outbox);
	return 1;
}

/* ── receiving ── */

void ipci_stream_grant(struct ipc_call *call)
{
	const struct ipc_channel *channel = call->channel;
	struct ipci_stream *stream = call->stream;

	if (!channel->inbox || stream->granted_bytes - ipci_stream_taken(stream) >
				       ipci_window_bytes(channel->inbox->rx.ring_bytes) / 2)
		return;
	/* Whose sender has ended needs no credit. */
	if (channel->at_server ? !stream->receives : ipci_call_is_over(call))
		return;
	stream->owes_credit = true;
	ipci_outbox_add(call);
}

/* What came cannot be queued. The client's call ends so; a server's program hears of it. */
static void overflow(struct ipc_call *call)
{
	static const char text[] = "no memory for what came while something else was waited for";

	if (!call->channel->at_server) {
		ipci_call_give_up(call, IPC_RESOURCE_EXHAUSTED, text);
	} else if (call->state == IPCI_CALL_WAITING) {
		ipci_call_fail(call, IPC_RESOURCE_EXHAUSTED, true, text);
	} else {
		ipci_stream_drop(call->stream);
		call->stream->end_due = true;
		call->stream->end_status = IPC_RESOURCE_EXHAUSTED;
		ipci_call_ready(call);
	}
}

/* For later. */
static int queue_item(struct ipc_call *call, const struct ipci_view *view, bool last)
{
	int r = ipci_park(call, view, last);

	(void)ipci_skip(call->channel, view);
	if (r < 0)
		overflow(call);
	else
		ipci_call_ready(call);
	return IPCI_LOOK_AGAIN;
}

int ipci_take_item(struct ipc_call *call, const struct ipci_view *view, struct ipc_event *event,
		   struct ipc_call *want, struct ipc_msg *msg)
{
	struct ipc_channel *channel = call->channel;
	const bool last = view->method & IPCI_ITEM_LAST;
	struct ipci_stream *stream = call->stream;
	int r;

	if (view->method & ~(channel->at_server ? IPCI_ITEM_LAST : 0u))
		return ipci_poison(channel, "an item with impossible flags");
	if (channel->at_server && (!stream || !stream->receives))
		return ipci_poison(channel, "an item of a call that its sender had ended");
	stream = ipci_stream_of(call);
	if (!stream)
		return -ENOMEM;
	if (stream->came_bytes + view->frame_bytes > stream->granted_bytes)
		return ipci_poison(channel, "an item beyond the credit for it");
	if (call != want && (!event || call->state == IPCI_CALL_WAITING || stream->first) &&
	    !stream->drops) {
		stream->came_bytes += view->frame_bytes;
		stream->receives = stream->receives && !last;
		return queue_item(call, view, last);
	}
	r = stream->drops ? 0
			  : ipci_deliver(channel, view, call == want ? msg : &event->msg,
					 last ? IPC_MSG_LAST : 0);
	if (r < 0)
		return r;
	stream->came_bytes += view->frame_bytes;
	stream->receives = stream->receives && !last;
	if (stream->drops)
		return ipci_skip(channel, view);
	ipci_stream_grant(call);
	if (call == want)
		return IPCI_LOOK_MESSAGE;
	ipci_item_event(call, event);
	event->last = last;
	return IPCI_LOOK_EVENT;
}

int ipci_take_end_at_server(struct ipc_call *call, const struct ipci_view *view,
			    struct ipc_event *event)
{
	struct ipc_channel *channel = call->channel;
	struct ipci_stream *stream = call->stream;

	if (view->payload_bytes || view->method)
		return ipci_poison(channel, "an end with a payload or flags");
	if (!stream || !stream->receives)
		return ipci_poison(channel, "a second end of a call's items");
	stream->receives = false;
	(void)ipci_skip(channel, view);
	if (stream->drops)
		return IPCI_LOOK_AGAIN;
	stream->end_due = true;
	ipci_call_ready(call);
	/* In order: with nothing else to report of the call, it is reported now. */
	return event && call->state != IPCI_CALL_WAITING ? ipci_report_call(call, event)
							 : IPCI_LOOK_AGAIN;
}

int ipci_take_credit(struct ipc_call *call, const struct ipci_view *view)
{
	struct ipc_channel *channel = call->channel;
	struct ipci_stream *stream = call->stream;
	uint64_t copy[2];

	if (view->payload_bytes != sizeof(uint64_t) || view->method)
		return ipci_poison(channel, "a credit of impossible form");
	if (!stream)
		return ipci_poison(channel, "credit for a call without items");
	ipci_snapshot(copy, view->payload, sizeof(uint64_t));
	/* It grows: credits that lead round the ring to one another would need nobody. */
	if (copy[0] <= stream->credit_bytes || copy[0] % IPCI_LINE_BYTES ||
	    copy[0] > stream->sent_bytes + ipci_window_bytes(channel->tx.ring_bytes))
		return ipci_poison(channel, "a credit that cannot be");
	stream->credit_bytes = copy[0];
	if (stream->limit_bytes)
		stream->limit_bytes = copy[0];
	(void)ipci_skip(channel, view);
	if (stream->wanted_bytes &&
	    stream->sent_bytes + stream->wanted_bytes <= stream->credit_bytes) {
		stream->wanted_bytes = 0;
		stream->writable = true;
		ipci_call_ready(call);
	}
	return IPCI_LOOK_AGAIN;
}
