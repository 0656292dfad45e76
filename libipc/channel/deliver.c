/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From frames to what the program sees. One frame a look, so that the work done for one peer is
 * bounded by whoever looks, and every value in a frame was loaded once, by ipci_consumer_peek().
 *
 * Who waits for one call, or for room, keeps receiving: what belongs to others is parked as a
 * private copy on its call and reported later. A server never takes a request while it has no room
 * for the largest reply, so a handler that answers at once never finds the ring full.
 */
#include <stdlib.h>
#include <string.h>

#include "objects.h"

static int poison(struct ipc_channel *channel, const char *text)
{
	ipci_channel_lose(channel, -EPROTO, IPCI_REASON_POISONED, text);
	return IPCI_LOOK_AGAIN;
}

/*
 * The frame's payload becomes @msg: a snapshot, or in place. Takes the frame. 0 or -ENOMEM, nothing
 * taken.
 */
static int deliver(struct ipc_channel *channel, const struct ipci_view *view, struct ipc_msg *msg)
{
	struct ipc_loop *loop = channel->loop;
	struct ipci_consumer *rx = &channel->inbox->rx;
	const uint64_t position = rx->tail;
	int r;

	msg->size_bytes = view->payload_bytes;
	msg->bad = 0;
	msg->owner = loop;
	msg->token = loop->turn;
	if (__builtin_expect(view->payload_bytes <= IPC_SNAPSHOT_MAX_BYTES, 1)) {
		if (__builtin_expect(!loop->snapshot, 0) && ipci_snapshot_prepare(loop) < 0)
			return -ENOMEM;
		ipci_snapshot(loop->snapshot->data, view->payload, view->payload_bytes);
		ipci_consumer_take(rx, view);
		if (__builtin_expect(ipci_consumer_should_publish(rx), 0))
			ipci_channel_give_back(channel);
		msg->data = loop->snapshot->data;
		msg->flags = 0;
		return 0;
	}
	r = ipci_consumer_hold(rx, view);
	if (r < 0)
		return r;
	loop->borrowed = channel->inbox;
	loop->borrowed_position = position;
	msg->data = view->payload;
	msg->flags = IPC_MSG_IN_PLACE;
	return 0;
}

/* Takes a frame whose payload nobody wants. */
static int skip(struct ipc_channel *channel, const struct ipci_view *view)
{
	ipci_consumer_take(&channel->inbox->rx, view);
	if (ipci_consumer_should_publish(&channel->inbox->rx))
		ipci_channel_give_back(channel);
	return IPCI_LOOK_AGAIN;
}

/*
 * Padding comes with a frame behind it. Without one it would cost the peer nothing: frames that lead
 * round the ring to one another need nobody who writes them.
 */
static int skip_padding(struct ipc_channel *channel, const struct ipci_view *view)
{
	const struct ipci_consumer *rx = &channel->inbox->rx;

	if (view->kind != IPCI_KIND_PADDING)
		return poison(channel, "padding with extensions");
	if (rx->n_frames != channel->padding_n_frames)
		channel->padding_bytes = 0;
	channel->padding_n_frames = rx->n_frames;
	channel->padding_bytes += view->frame_bytes;
	if (channel->padding_bytes > IPCI_PADDING_MAX_RINGS * rx->ring_bytes)
		return poison(channel, "padding without end");
	return skip(channel, view);
}

/*
 * Nothing in the ring: is it the end? The flags were set before this look, so the ring is drained.
 */
static int look_for_end(struct ipc_channel *channel)
{
	if (channel->closed_by_broker) {
		ipci_channel_lose(channel, channel->error_by_broker, IPCI_REASON_REVOKED,
				  channel->reason);
		return IPCI_LOOK_AGAIN;
	}
	if (channel->peer_closed) {
		const uint32_t reason = ipci_state(channel->tx.peer) >> 8;

		ipci_channel_lose(channel, reason == IPCI_REASON_POISONED ? -EPROTO : -EPIPE,
				  IPCI_REASON_NONE,
				  reason == IPCI_REASON_POISONED
					  ? "the peer reports a breach of the protocol"
					  : "the peer closed the channel");
		return IPCI_LOOK_AGAIN;
	}
	if (channel->hung_up) {
		ipci_channel_lose(channel, -EPIPE, IPCI_REASON_NONE, "the peer hung up");
		return IPCI_LOOK_AGAIN;
	}
	return IPCI_LOOK_NOTHING;
}

/* ── server ── */

/* Deadline and trace, each word loaded once. True if no time remains. */
__attribute__((__noinline__)) static bool read_ext(struct ipc_call *call,
						   const struct ipci_view *view)
{
	const uint8_t *ext = view->ext;
	bool late = false;

	if (view->kind & IPCI_EXT_DEADLINE) {
		const uint64_t remaining_ns = *(const volatile uint64_t *)(const void *)ext;

		call->deadline_ns = ipci_deadline_ns(remaining_ns);
		late = remaining_ns == 0;
		ext += IPCI_EXT_DEADLINE_BYTES;
	}
	if (view->kind & IPCI_EXT_TRACE) {
		call->has_trace = true;
		uint8_t copy[IPCI_EXT_TRACE_BYTES];

		ipci_snapshot(copy, ext, sizeof(copy));
		memcpy(call->trace, copy, sizeof(call->trace));
	}
	return late;
}

/* Why the program does not get a request, or not yet. NULL: it does. */
static const struct ipci_refusal *objection(const struct ipc_channel *channel,
					    const struct ipci_view *view, int method, bool late)
{
	static const struct ipci_refusal unimplemented = {IPC_UNIMPLEMENTED,
							  "the server has no such method"};
	static const struct ipci_refusal forbidden = {IPC_PERMISSION_DENIED,
						      "no policy rule allows this method"};
	static const struct ipci_refusal expired = {IPC_DEADLINE_EXCEEDED,
						    "the deadline had passed when it came"};

	if (method < 0)
		return method == IPCI_METHOD_UNIMPLEMENTED ? &unimplemented : &forbidden;
	if (late)
		return &expired;
	return channel->life ? ipci_admit(channel, view) : NULL;
}

/* A request that the program does not get, or not yet: no handler has seen it. */
static int hold_back(struct ipc_call *call, const struct ipci_view *view,
		     const struct ipci_refusal *why)
{
	static const struct ipci_refusal no_memory = {IPC_RESOURCE_EXHAUSTED,
						      "the server is out of memory"};
	struct ipci_parked *parked = NULL;

	if (why == &ipci_must_wait) {
		parked = ipci_parked_new(call->channel->loop, view);
		why = &no_memory;
	}
	(void)skip(call->channel, view);
	if (parked)
		ipci_place_await(call, parked);
	else
		ipci_call_fail(call, why->status, true, why->text);
	return IPCI_LOOK_AGAIN;
}

static int take_request(struct ipc_channel *channel, const struct ipci_view *view,
			struct ipc_event *event)
{
	const uint64_t seq = view->call_id >> IPCI_CALL_SLOT_BITS;
	struct ipc_call *call = ipci_call_by_id(channel, view->call_id);
	const struct ipci_refusal *why;
	int method, r;

	if (view->method & ~(uint32_t)IPCI_REQUEST_KNOWN)
		return poison(channel, "a request with bits that nobody agreed on");
	if (!call)
		return poison(channel, "a request in a slot beyond the calls agreed on");
	if (seq <= channel->call_seq)
		return poison(channel, "a request whose call id does not grow");
	if (call->state != IPCI_CALL_FREE)
		return poison(channel, "a request in a slot whose call has not ended");
	/* Who waits for room takes no requests, and no room comes from a peer that has gone. */
	if (!event)
		return channel->ends ? look_for_end(channel) : IPCI_LOOK_NOTHING;
	r = ipci_producer_has_room(&channel->tx, ipci_channel_reply_bytes(channel));
	if (r < 0)
		return poison(channel, "the peer's `consumed` is impossible");
	channel->stalled = r == 0;
	/* Nobody is left to make room, or to read a reply. */
	if (r == 0 && channel->ends)
		return look_for_end(channel);
	if (r == 0)
		return IPCI_LOOK_NOTHING;
	method = channel->methods[view->method & IPCI_REQUEST_METHOD_MASK];
	why = objection(channel, view, method, view->kind & IPCI_EXT_KNOWN && read_ext(call, view));
	if (__builtin_expect(why != NULL, 0)) {
		ipci_call_serve(call, view->call_id, (uint32_t)method);
		return hold_back(call, view, why);
	}
	r = deliver(channel, view, &event->msg);
	if (r < 0) {
		ipci_call_reset(call);
		return r;
	}
	ipci_call_serve(call, view->call_id, (uint32_t)method);
	if (channel->life & IPCI_LIFE_GUARDED)
		ipci_place_take(call);
	ipci_request_event(call, event);
	return IPCI_LOOK_EVENT;
}

static int take_cancel(struct ipc_channel *channel, const struct ipci_view *view)
{
	struct ipc_call *call = ipci_call_by_id(channel, view->call_id);

	if (!call || view->call_id >> IPCI_CALL_SLOT_BITS > channel->call_seq)
		return poison(channel, "a cancel for a call that never was");
	/*
	 * A client that gave a call up keeps its slot until the answer came, and tells that once:
	 * the cancel is about the slot's newest call. Else cancels that lead round the ring to one
	 * another would need nobody who writes them.
	 */
	if (call->id != view->call_id || call->given_up_id == view->call_id ||
	    view->payload_bytes || view->kind != IPCI_KIND_CANCEL)
		return poison(channel, "a cancel that tells nothing");
	call->given_up_id = view->call_id;
	(void)skip(channel, view);
	/* The answer may have been on its way already. */
	if (call->state == IPCI_CALL_SERVED || call->state == IPCI_CALL_WAITING)
		ipci_call_cancel_by_peer(call);
	return IPCI_LOOK_AGAIN;
}

static int take_at_server(struct ipc_channel *channel, const struct ipci_view *view,
			  struct ipc_event *event)
{
	switch (view->kind & IPCI_KIND_MASK) {
	case IPCI_KIND_REQUEST:
		return take_request(channel, view, event);
	case IPCI_KIND_CANCEL:
		return take_cancel(channel, view);
	case IPCI_KIND_PADDING:
		return skip_padding(channel, view);
	default:
		return poison(channel, "a frame of a kind that a client does not send");
	}
}

/* ── client ── */

struct ipci_parked *ipci_parked_new(struct ipc_loop *loop, const struct ipci_view *view)
{
	struct ipci_parked *parked = malloc(sizeof(*parked) + ((view->payload_bytes + 15u) & ~15u));

	if (!parked)
		return NULL;
	parked->loop = loop;
	parked->size_bytes = view->payload_bytes;
	ipci_snapshot(parked->data, view->payload, view->payload_bytes);
	return parked;
}

/*
 * A copy for later. Without memory the call ends with a status: its reply is lost, and said to be.
 */
static void park(struct ipc_call *call, const struct ipci_view *view)
{
	struct ipc_loop *loop = call->channel->loop;
	struct ipci_parked *parked = ipci_parked_new(loop, view);

	if (!parked) {
		ipci_call_end(call, IPC_RESOURCE_EXHAUSTED, IPC_FATE_EXECUTED,
			      "no memory for the reply");
		return;
	}
	ipci_timer_remove(call);
	call->parked = parked;
	ipci_list_remove(&call->ready);
	ipci_list_append(&loop->ready_calls, &call->ready);
}

/* The call was reported: its info stays until the turn ends. */
static void set_ended(struct ipc_call *call)
{
	if (call->timer)
		ipci_timer_remove(call);
	call->state = IPCI_CALL_ENDED;
	call->channel->loop->ended = call;
}

static int fill_client_event(struct ipc_call *call, struct ipc_event *event, uint32_t kind)
{
	event->kind = kind;
	event->flags = 0;
	event->server = NULL;
	event->channel = call->channel;
	event->call = call;
	event->user = call->user;
	event->method = call->method;
	event->last = 1;
	event->status = call->status;
	if (kind == IPC_EVENT_END)
		event->msg = (struct ipc_msg){};
	set_ended(call);
	return IPCI_LOOK_EVENT;
}

static int take_reply(struct ipc_call *call, const struct ipci_view *view, struct ipc_event *event,
		      struct ipc_call *want, struct ipc_msg *msg)
{
	int r;

	if (call != want && !event) {
		park(call, view);
		return skip(call->channel, view);
	}
	r = deliver(call->channel, view, call == want ? msg : &event->msg);
	if (r < 0)
		return r;
	call->status = IPC_OK;
	call->fate = IPC_FATE_EXECUTED;
	if (call != want)
		return fill_client_event(call, event, IPC_EVENT_MESSAGE);
	set_ended(call);
	return IPCI_LOOK_ENDED;
}

/* For a person's terminal or log, whatever the peer put there: no control characters. */
static void make_printable(uint8_t *text)
{
	for (; *text; text++) {
		bool is_c1 = text[0] == 0xc2 && (text[1] & 0xe0) == 0x80;

		if (is_c1)
			text[1] = '?';
		if (*text < 0x20 || *text == 0x7f || is_c1)
			*text = '?';
	}
}

__attribute__((__noinline__)) static int take_error(struct ipc_call *call,
						    const struct ipci_view *view,
						    struct ipc_event *event, struct ipc_call *want)
{
	const int status = (int)(view->method & IPCI_STATUS_MASK);
	uint8_t copy[IPCI_ERROR_TEXT_MAX + 1 + 15];

	if (view->payload_bytes > IPCI_ERROR_TEXT_MAX || status < IPC_CANCELLED ||
	    status > IPC_UNAUTHENTICATED ||
	    view->method & ~(uint32_t)(IPCI_STATUS_MASK | IPCI_STATUS_NOT_EXECUTED))
		return poison(call->channel, "an error with an impossible status or text");
	ipci_snapshot(copy, view->payload, view->payload_bytes);
	copy[view->payload_bytes] = '\0';
	make_printable(copy);
	(void)skip(call->channel, view);
	ipci_call_end(call, status,
		      view->method & IPCI_STATUS_NOT_EXECUTED ? IPC_FATE_NOT_EXECUTED
							      : IPC_FATE_EXECUTED,
		      (const char *)copy);
	if (call == want) {
		ipci_list_remove(&call->ready);
		set_ended(call);
		return IPCI_LOOK_ENDED;
	}
	if (!event)
		return IPCI_LOOK_AGAIN;
	ipci_list_remove(&call->ready);
	return fill_client_event(call, event, IPC_EVENT_END);
}

/* The answer to a call that the program has given up. */
static int take_late(struct ipc_call *call, const struct ipci_view *view)
{
	(void)skip(call->channel, view);
	ipci_list_remove(&call->outbox);
	call->expired = false;
	if (call->state == IPCI_CALL_ZOMBIE)
		ipci_call_free(call);
	return IPCI_LOOK_AGAIN;
}

static int take_at_client(struct ipc_channel *channel, const struct ipci_view *view,
			  struct ipc_event *event, struct ipc_call *want, struct ipc_msg *msg)
{
	const uint32_t kind = view->kind & IPCI_KIND_MASK;
	struct ipc_call *call;

	if (kind == IPCI_KIND_PADDING)
		return skip_padding(channel, view);
	if ((kind != IPCI_KIND_REPLY && kind != IPCI_KIND_ERROR) || view->kind & IPCI_EXT_KNOWN)
		return poison(channel, "a frame of a kind that a server does not send");
	call = ipci_call_by_id(channel, view->call_id);
	if (!call || call->id != view->call_id)
		return poison(channel, "an answer to a call that was not made");
	if (call->state == IPCI_CALL_ZOMBIE || (call->state != IPCI_CALL_FREE && call->expired))
		return take_late(call, view);
	if (call->state != IPCI_CALL_SENT || call->parked || call->status >= 0)
		return poison(channel, "an answer to a call that was answered");
	if (kind == IPCI_KIND_REPLY)
		return take_reply(call, view, event, want, msg);
	return take_error(call, view, event, want);
}

/* ── both ── */

static int report_writable(struct ipc_channel *channel, struct ipc_event *event)
{
	int r = 1;

	if (!event || (!channel->room_wanted && !channel->call_wanted))
		return IPCI_LOOK_NOTHING;
	if (channel->call_wanted && !channel->free_calls)
		return IPCI_LOOK_NOTHING;
	if (channel->room_wanted)
		r = ipci_producer_has_room(&channel->tx, channel->room_wanted);
	if (r < 0)
		return poison(channel, "the peer's `consumed` is impossible");
	if (r == 0 || channel->room_call)
		return IPCI_LOOK_NOTHING;
	channel->room_wanted = 0;
	channel->room_short = false;
	channel->call_wanted = false;
	*event = (struct ipc_event){
		.kind = IPC_EVENT_WRITABLE,
		.server = channel->server,
		.channel = channel,
		.user = channel->user,
	};
	return IPCI_LOOK_EVENT;
}

/* What is rare, before a frame is looked for. */
static int look_aside(struct ipc_channel *channel, struct ipc_event *event)
{
	if (!ipci_list_empty(&channel->outbox) && ipci_outbox_flush(channel) < 0)
		return IPCI_LOOK_AGAIN;
	channel->outbox_used = !ipci_list_empty(&channel->outbox);
	if (channel->life & IPCI_LIFE_SHORT) {
		int r = ipci_producer_has_room(&channel->tx, ipci_channel_reply_bytes(channel));

		if (r < 0)
			return poison(channel, "the peer's `consumed` is impossible");
		if (r) {
			channel->life &= (uint8_t)~IPCI_LIFE_SHORT;
			ipci_place_next(channel->server);
		}
	}
	if (channel->wake_owed)
		ipci_channel_wake(channel);
	/*
	 * What the broker revoked is not read any more; nor is what came after the end was seen: a
	 * peer that closed or hung up has its half still, and may go on writing into it for ever.
	 */
	if (channel->ends &&
	    (channel->error_by_broker == -EACCES || channel->inbox->rx.tail >= channel->drain_end))
		return look_for_end(channel);
	return report_writable(channel, event);
}

int ipci_look(struct ipc_channel *channel, struct ipc_event *event, struct ipc_call *want,
	      struct ipc_msg *msg)
{
	struct ipci_view view;
	int r;

	if (__builtin_expect(channel->aside != 0, 0)) {
		r = look_aside(channel, event);
		if (r != IPCI_LOOK_NOTHING)
			return r;
	}
	r = ipci_consumer_peek(&channel->inbox->rx, &view);
	if (r == 0) {
		/*
		 * The request that waited for room may have been taken back: its frame is the
		 * peer's to write.
		 */
		channel->stalled = false;
		return look_for_end(channel);
	}
	if (r < 0)
		return poison(channel, "a frame of impossible length or with unknown extensions");
	if (channel->at_server)
		return take_at_server(channel, &view, event);
	return take_at_client(channel, &view, event, want, msg);
}

int ipci_report_call(struct ipc_call *call, struct ipc_event *event)
{
	ipci_list_remove(&call->ready);
	if (call->state == IPCI_CALL_WAITING)
		return ipci_place_deliver(call, event);
	if (call->channel->at_server) {
		*event = (struct ipc_event){
			.kind = IPC_EVENT_CANCELLED,
			.server = call->channel->server,
			.channel = call->channel,
			.call = call,
			.user = call->channel->user,
			.method = call->method,
			.last = 1,
			.status = IPC_CANCELLED,
		};
		return IPCI_LOOK_EVENT;
	}
	if (!call->parked)
		return fill_client_event(call, event, IPC_EVENT_END);
	ipci_take_parked(call, &event->msg);
	return fill_client_event(call, event, IPC_EVENT_MESSAGE);
}

void ipci_take_parked(struct ipc_call *call, struct ipc_msg *msg)
{
	struct ipc_loop *loop = call->channel->loop;

	*msg = (struct ipc_msg){
		.data = call->parked->data,
		.size_bytes = call->parked->size_bytes,
		.owner = loop,
		.token = loop->turn,
	};
	loop->borrowed_parked = call->parked;
	call->parked = NULL;
	call->status = IPC_OK;
	call->fate = IPC_FATE_EXECUTED;
}

void ipci_call_set_ended(struct ipc_call *call)
{
	ipci_list_remove(&call->ready);
	set_ended(call);
}
