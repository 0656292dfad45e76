/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What came while the program waited for something else: private copies, queued on their calls, and
 * reported later, each call's in the order in which they came.
 *
 * The memory is bounded. Items: a window a call. Replies: one a call. Requests, at a server that
 * waits for room or credit: one a call. And all of a channel's together IPCI_PARKED_MAX_BYTES, or
 * the peer's ring if that is more: what comes beyond is dropped, and its call is told so, because a
 * receiver that stopped reading instead would never see what it waits for.
 */
#include <stdlib.h>

#include "deliver.h"
#include "stream.h"

#define IPCI_PARKED_MAX_BYTES (UINT64_C(16) << 20)

static uint64_t size_of(const struct ipci_parked *parked)
{
	return sizeof(*parked) + ((parked->size_bytes + 15u) & ~15u);
}

static bool is_too_much(const struct ipc_channel *channel, uint64_t bytes)
{
	const uint64_t ring_bytes = channel->inbox->rx.ring_bytes;

	return channel->parked_bytes + bytes >
	       (ring_bytes > IPCI_PARKED_MAX_BYTES ? ring_bytes : IPCI_PARKED_MAX_BYTES);
}

int ipci_park(struct ipc_call *call, const struct ipci_view *view, bool last)
{
	const bool item = (view->kind & IPCI_KIND_MASK) == IPCI_KIND_ITEM;
	const struct ipci_parked header = {
		.loop = call->channel->loop,
		.size_bytes = view->payload_bytes,
		.item_bytes = item ? (uint32_t)view->frame_bytes : 0,
		.last = last,
	};
	struct ipci_stream *stream = ipci_stream_of(call);
	struct ipci_parked *parked;

	if (!stream)
		return -ENOMEM;
	if (is_too_much(call->channel, size_of(&header)))
		return -ENOSPC;
	parked = malloc(size_of(&header));
	if (!parked)
		return -ENOMEM;
	*parked = header;
	ipci_snapshot(parked->data, view->payload, view->payload_bytes);
	*stream->last = parked;
	stream->last = &parked->next;
	stream->parked_bytes += parked->item_bytes;
	call->channel->parked_bytes += size_of(parked);
	return 0;
}

/* The oldest, out of the queue. */
static struct ipci_parked *take_first(struct ipc_call *call)
{
	struct ipci_stream *stream = call->stream;
	struct ipci_parked *parked = stream->first;

	stream->first = parked->next;
	if (!stream->first)
		stream->last = &stream->first;
	stream->parked_bytes -= parked->item_bytes;
	call->channel->parked_bytes -= size_of(parked);
	return parked;
}

void ipci_unpark(struct ipc_call *call, struct ipc_msg *msg)
{
	struct ipci_parked *parked = take_first(call);
	struct ipc_loop *loop = parked->loop;

	*msg = (struct ipc_msg){
		.data = parked->data,
		.size_bytes = parked->size_bytes,
		.flags = parked->last ? IPC_MSG_LAST : 0,
		.owner = loop,
		.token = loop->turn,
	};
	loop->borrowed_parked = parked;
	if (parked->item_bytes)
		ipci_stream_grant(call);
}

void ipci_unpark_all(struct ipc_call *call)
{
	while (call->stream->first)
		free(take_first(call));
}

void ipci_call_ready(struct ipc_call *call)
{
	/* A request that waits comes first, and what is behind it then. */
	if (call->state == IPCI_CALL_WAITING)
		return;
	ipci_list_remove(&call->ready);
	ipci_list_append(&call->channel->loop->ready_calls, &call->ready);
}

/* ── reporting ── */

static bool has_more(const struct ipc_call *call)
{
	const struct ipci_stream *stream = call->stream;

	return (stream && (stream->first || stream->writable || stream->end_due)) ||
	       (!call->channel->at_server && call->status >= 0);
}

static int server_event(struct ipc_call *call, struct ipc_event *event, uint32_t kind, int status)
{
	*event = (struct ipc_event){
		.kind = kind,
		.server = call->channel->server,
		.channel = call->channel,
		.call = call,
		.user = call->channel->user,
		.msg = event->msg,
		.method = call->method,
		.last = kind != IPC_EVENT_WRITABLE,
		.status = status,
	};
	if (kind == IPC_EVENT_MESSAGE)
		event->last = (event->msg.flags & IPC_MSG_LAST) != 0;
	else
		event->msg = (struct ipc_msg){};
	return IPCI_LOOK_EVENT;
}

static int report_at_server(struct ipc_call *call, struct ipc_event *event)
{
	struct ipci_stream *stream = call->stream;

	if (stream && stream->first) {
		ipci_unpark(call, &event->msg);
		return server_event(call, event, IPC_EVENT_MESSAGE, 0);
	}
	if (stream && stream->end_due) {
		stream->end_due = false;
		return server_event(call, event, IPC_EVENT_END, stream->end_status);
	}
	if (stream && stream->writable) {
		stream->writable = false;
		return server_event(call, event, IPC_EVENT_WRITABLE, 0);
	}
	return server_event(call, event, IPC_EVENT_CANCELLED, IPC_CANCELLED);
}

static int report_at_client(struct ipc_call *call, struct ipc_event *event)
{
	struct ipci_stream *stream = call->stream;

	if (stream && stream->first) {
		const bool last = stream->first->last;

		ipci_unpark(call, &event->msg);
		if (last) {
			call->status = IPC_OK;
			call->fate = IPC_FATE_EXECUTED;
		}
		return ipci_client_event(call, event, IPC_EVENT_MESSAGE, last);
	}
	if (stream && stream->writable && call->status < 0) {
		stream->writable = false;
		return ipci_client_event(call, event, IPC_EVENT_WRITABLE, false);
	}
	return ipci_client_event(call, event, IPC_EVENT_END, true);
}

int ipci_report_call(struct ipc_call *call, struct ipc_event *event)
{
	int r = IPCI_LOOK_EVENT;

	ipci_list_remove(&call->ready);
	if (call->state == IPCI_CALL_WAITING)
		r = ipci_place_deliver(call, event);
	else if (call->channel->at_server)
		(void)report_at_server(call, event);
	else
		(void)report_at_client(call, event);
	if (r == IPCI_LOOK_EVENT && call->state != IPCI_CALL_ENDED && has_more(call))
		ipci_call_ready(call);
	return r;
}
