/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From frames to what the program sees. One frame a look, so that the work done for one peer is
 * bounded by whoever looks, and every value in a frame was loaded once, by ipci_consumer_peek().
 *
 * Who waits for one call, or for room, keeps receiving: what belongs to others is queued as a
 * private copy on its call and reported later (parked.c). A server never hands out a request while
 * it has no room for the largest reply, so a handler that answers at once never finds the ring
 * full.
 */
#include <string.h>

#include "deliver.h"
#include "stream.h"

int ipci_poison(struct ipc_channel *channel, const char *text)
{
	ipci_channel_lose(channel, -EPROTO, IPCI_REASON_POISONED, text);
	return IPCI_LOOK_AGAIN;
}

int ipci_deliver(struct ipc_channel *channel, const struct ipci_view *view, struct ipc_msg *msg,
		 uint32_t flags)
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
			ipci_channel_busy(channel);
		msg->data = loop->snapshot->data;
		msg->flags = flags;
		return 0;
	}
	r = ipci_consumer_hold(rx, view);
	if (r < 0)
		return r;
	loop->borrowed = channel->inbox;
	loop->borrowed_position = position;
	msg->data = view->payload;
	msg->flags = flags | IPC_MSG_IN_PLACE;
	return 0;
}

int ipci_skip(struct ipc_channel *channel, const struct ipci_view *view)
{
	ipci_consumer_take(&channel->inbox->rx, view);
	if (ipci_consumer_should_publish(&channel->inbox->rx))
		ipci_channel_busy(channel);
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
		return ipci_poison(channel, "padding with extensions");
	if (rx->n_frames != channel->padding_n_frames)
		channel->padding_bytes = 0;
	channel->padding_n_frames = rx->n_frames;
	channel->padding_bytes += view->frame_bytes;
	if (channel->padding_bytes > IPCI_PADDING_MAX_RINGS * rx->ring_bytes)
		return ipci_poison(channel, "padding without end");
	return ipci_skip(channel, view);
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
	bool waits = false;

	if (why == &ipci_must_wait) {
		waits = ipci_park(call, view, !(view->method & IPCI_REQUEST_OPEN)) == 0;
		why = &no_memory;
	}
	(void)ipci_skip(call->channel, view);
	if (waits)
		ipci_place_await(call);
	else
		ipci_call_fail(call, why->status, true, why->text);
	return IPCI_LOOK_AGAIN;
}

static int check_request(struct ipc_channel *channel, const struct ipci_view *view)
{
	const uint64_t seq = view->call_id >> IPCI_CALL_SLOT_BITS;
	const struct ipc_call *call = ipci_call_by_id(channel, view->call_id);

	if (!call)
		return ipci_poison(channel, "a request in a slot beyond the calls agreed on");
	if (seq <= channel->call_seq)
		return ipci_poison(channel, "a request whose call id does not grow");
	if (call->state != IPCI_CALL_FREE && call->state != IPCI_CALL_LATE)
		return ipci_poison(channel, "a request in a slot whose call has not ended");
	if (view->method & ~(uint32_t)IPCI_REQUEST_KNOWN)
		return ipci_poison(channel, "a request with bits that nobody agreed on");
	return 0;
}

static int take_request(struct ipc_channel *channel, const struct ipci_view *view,
			struct ipc_event *event)
{
	struct ipc_call *call = ipci_call_by_id(channel, view->call_id);
	struct ipc_call *fresh = channel->loop->fresh;
	const bool open = view->method & IPCI_REQUEST_OPEN;
	const struct ipci_refusal *why;
	int method, r;

	r = check_request(channel, view);
	if (r != 0)
		return r;
	/* Nothing is left in the ring for want of room where the program waits inside a call. */
	channel->stalled = false;
	if (event) {
		r = ipci_producer_has_room(&channel->tx, ipci_channel_reply_bytes(channel));
		if (r < 0)
			return ipci_poison(channel, "the peer's `consumed` is impossible");
		channel->stalled = r == 0;
		/* Nobody is left to make room, or to read a reply. */
		if (r == 0)
			return channel->ends ? look_for_end(channel) : IPCI_LOOK_NOTHING;
	}
	/* Nothing more comes of the slot's last call. */
	if (call->state == IPCI_CALL_LATE) {
		ipci_stream_free(call);
		call->state = IPCI_CALL_FREE;
	}
	if (open && !ipci_stream_of(call))
		return -ENOMEM;
	method = channel->methods[view->method & IPCI_REQUEST_METHOD_MASK];
	why = objection(channel, view, method, view->kind & IPCI_EXT_KNOWN && read_ext(call, view));
	/*
	 * Who waits for room or credit takes the request out of the way of what may lie behind it;
	 * the program gets it when it receives.
	 */
	if (!why && !event)
		why = ipci_set_aside(channel, view);
	r = why ? 0 : ipci_deliver(channel, view, &event->msg, open ? 0 : IPC_MSG_LAST);
	if (r < 0) {
		ipci_stream_free(call);
		ipci_call_reset(call);
		return r;
	}
	ipci_call_serve(call, view->call_id, (uint32_t)method);
	if (open)
		call->stream->receives = true;
	if (__builtin_expect(why != NULL, 0)) {
		/* It is not this turn's. */
		channel->loop->fresh = fresh;
		return hold_back(call, view, why);
	}
	if (channel->life & IPCI_LIFE_GUARDED)
		ipci_place_take(call);
	ipci_request_event(call, event);
	event->last = !open;
	return IPCI_LOOK_EVENT;
}

static int take_cancel(struct ipc_channel *channel, const struct ipci_view *view)
{
	struct ipc_call *call = ipci_call_by_id(channel, view->call_id);

	if (!call || view->call_id >> IPCI_CALL_SLOT_BITS > channel->call_seq)
		return ipci_poison(channel, "a cancel for a call that never was");
	/*
	 * A client that gave a call up keeps its slot until the answer came, and tells that once:
	 * the cancel is about the slot's newest call. Else cancels that lead round the ring to one
	 * another would need nobody who writes them.
	 */
	if (call->id != view->call_id || call->given_up_id == view->call_id ||
	    view->payload_bytes || view->kind != IPCI_KIND_CANCEL)
		return ipci_poison(channel, "a cancel that tells nothing");
	call->given_up_id = view->call_id;
	(void)ipci_skip(channel, view);
	/* The answer may have been on its way already. */
	if (ipci_call_is_served(call) || call->state == IPCI_CALL_WAITING)
		ipci_call_cancel_by_peer(call);
	return IPCI_LOOK_AGAIN;
}

/* What belongs to a call's items. */
static int take_of_stream(struct ipc_channel *channel, const struct ipci_view *view,
			  struct ipc_event *event)
{
	struct ipc_call *call = ipci_call_by_id(channel, view->call_id);

	/* The call may be over, which its client did not know yet: then it is the slot's newest. */
	if (!call || call->id != view->call_id || call->state == IPCI_CALL_FREE)
		return ipci_poison(channel, "an item, end or credit of a call that has none");
	if (view->kind & IPCI_EXT_KNOWN)
		return ipci_poison(channel, "an item, end or credit with extensions");
	switch (view->kind) {
	case IPCI_KIND_ITEM:
		return ipci_take_item(call, view, event, NULL, NULL);
	case IPCI_KIND_END:
		return ipci_take_end_at_server(call, view, event);
	default:
		return ipci_take_credit(call, view);
	}
}

static int take_at_server(struct ipc_channel *channel, const struct ipci_view *view,
			  struct ipc_event *event)
{
	switch (view->kind & IPCI_KIND_MASK) {
	case IPCI_KIND_REQUEST:
		return take_request(channel, view, event);
	case IPCI_KIND_CANCEL:
		return take_cancel(channel, view);
	case IPCI_KIND_ITEM:
	case IPCI_KIND_END:
	case IPCI_KIND_CREDIT:
		return take_of_stream(channel, view, event);
	case IPCI_KIND_PADDING:
		return skip_padding(channel, view);
	default:
		return ipci_poison(channel, "a frame of a kind that a client does not send");
	}
}

/* ── client ── */

void ipci_call_set_ended(struct ipc_call *call)
{
	ipci_list_remove(&call->ready);
	if (call->timer)
		ipci_timer_remove(call);
	call->state = IPCI_CALL_ENDED;
	call->channel->loop->ended = call;
}

int ipci_client_event(struct ipc_call *call, struct ipc_event *event, uint32_t kind, bool last)
{
	event->kind = kind;
	event->flags = 0;
	event->server = NULL;
	event->channel = call->channel;
	event->call = call;
	event->user = call->user;
	event->method = call->method;
	event->last = last;
	event->status = last ? call->status : 0;
	event->fd = 0;
	event->revents = 0;
	if (kind != IPC_EVENT_MESSAGE)
		event->msg = (struct ipc_msg){};
	if (last)
		ipci_call_set_ended(call);
	return IPCI_LOOK_EVENT;
}

/*
 * A reply for later. Without memory the call ends with a status: its reply is lost, and said to be.
 */
static int park_reply(struct ipc_call *call, const struct ipci_view *view)
{
	int r = ipci_park(call, view, true);

	(void)ipci_skip(call->channel, view);
	if (r < 0) {
		ipci_call_end(call, IPC_RESOURCE_EXHAUSTED, IPC_FATE_EXECUTED,
			      "no memory for the reply");
		return IPCI_LOOK_AGAIN;
	}
	ipci_timer_remove(call);
	call->stream->has_last = true;
	call->stream->limit_bytes = 0;
	ipci_call_ready(call);
	return IPCI_LOOK_AGAIN;
}

static int take_reply(struct ipc_call *call, const struct ipci_view *view, struct ipc_event *event,
		      struct ipc_call *want, struct ipc_msg *msg)
{
	int r;

	if (call != want && !event)
		return park_reply(call, view);
	r = ipci_deliver(call->channel, view, call == want ? msg : &event->msg, IPC_MSG_LAST);
	if (r < 0)
		return r;
	call->status = IPC_OK;
	call->fate = IPC_FATE_EXECUTED;
	if (call != want)
		return ipci_client_event(call, event, IPC_EVENT_MESSAGE, true);
	ipci_call_set_ended(call);
	return IPCI_LOOK_MESSAGE;
}

/* The call has its status: to who waits for it, or as an event, now or later. */
static int tell_end(struct ipc_call *call, struct ipc_event *event, struct ipc_call *want)
{
	if (call == want) {
		ipci_call_set_ended(call);
		return IPCI_LOOK_ENDED;
	}
	if (!event)
		return IPCI_LOOK_AGAIN;
	ipci_list_remove(&call->ready);
	return ipci_client_event(call, event, IPC_EVENT_END, true);
}

/* A stream's end without a last message. */
static int take_end(struct ipc_call *call, const struct ipci_view *view, struct ipc_event *event,
		    struct ipc_call *want)
{
	if (view->payload_bytes || view->method)
		return ipci_poison(call->channel, "an end with a payload or flags");
	(void)ipci_skip(call->channel, view);
	ipci_call_end(call, IPC_OK, IPC_FATE_EXECUTED, NULL);
	return tell_end(call, event, want);
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
		return ipci_poison(call->channel, "an error with an impossible status or text");
	ipci_snapshot(copy, view->payload, view->payload_bytes);
	copy[view->payload_bytes] = '\0';
	make_printable(copy);
	(void)ipci_skip(call->channel, view);
	ipci_call_end(call, status,
		      view->method & IPCI_STATUS_NOT_EXECUTED ? IPC_FATE_NOT_EXECUTED
							      : IPC_FATE_EXECUTED,
		      (const char *)copy);
	return tell_end(call, event, want);
}

/* What comes for a call that the program has given up. */
static int take_late(struct ipc_call *call, const struct ipci_view *view)
{
	if (view->kind == IPCI_KIND_CREDIT)
		return ipci_take_credit(call, view);
	if (view->kind == IPCI_KIND_ITEM) {
		if (!ipci_stream_of(call))
			return -ENOMEM;
		ipci_stream_drop(call->stream);
		return ipci_take_item(call, view, NULL, NULL, NULL);
	}
	(void)ipci_skip(call->channel, view);
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
	const char *wrong;

	if (kind == IPCI_KIND_PADDING)
		return skip_padding(channel, view);
	if (kind == IPCI_KIND_DRAIN) {
		wrong = ipci_drain_seen(channel, view);
		return wrong ? ipci_poison(channel, wrong) : ipci_skip(channel, view);
	}
	if (kind < IPCI_KIND_REPLY || kind > IPCI_KIND_CREDIT || kind == IPCI_KIND_CANCEL ||
	    view->kind & IPCI_EXT_KNOWN)
		return ipci_poison(channel, "a frame of a kind that a server does not send");
	call = ipci_call_by_id(channel, view->call_id);
	if (!call || call->id != view->call_id)
		return ipci_poison(channel, "an answer to a call that was not made");
	if (call->state == IPCI_CALL_ZOMBIE || (call->state != IPCI_CALL_FREE && call->expired))
		return take_late(call, view);
	if (call->state != IPCI_CALL_SENT || ipci_call_is_over(call))
		return ipci_poison(channel, "an answer to a call that was answered");
	switch (kind) {
	case IPCI_KIND_REPLY:
		return take_reply(call, view, event, want, msg);
	case IPCI_KIND_ITEM:
		return ipci_take_item(call, view, event, want, msg);
	case IPCI_KIND_END:
		return take_end(call, view, event, want);
	case IPCI_KIND_CREDIT:
		return ipci_take_credit(call, view);
	default:
		return take_error(call, view, event, want);
	}
}

/* ── both ── */

int ipci_channel_is_writable(struct ipc_channel *channel)
{
	int call = channel->call_wanted && channel->free_calls ? IPCI_WRITABLE_CALL : 0;
	int room = 0;

	/* An open room holds it back. */
	if (channel->room_call)
		return 0;
	if (channel->room_wanted)
		room = ipci_producer_has_room(&channel->tx, channel->room_wanted);
	return room < 0 ? room : call | (room ? IPCI_WRITABLE_ROOM : 0);
}

static int report_writable(struct ipc_channel *channel, struct ipc_event *event)
{
	int r = event ? ipci_channel_is_writable(channel) : 0;

	if (r < 0)
		return ipci_poison(channel, "the peer's `consumed` is impossible");
	if (r == 0)
		return IPCI_LOOK_NOTHING;
	if (r & IPCI_WRITABLE_ROOM) {
		channel->room_wanted = 0;
		channel->room_short = false;
	}
	if (r & IPCI_WRITABLE_CALL)
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
	if (ipci_outbox_waits(channel) && ipci_outbox_flush(channel) < 0)
		return IPCI_LOOK_AGAIN;
	channel->outbox_used = !ipci_list_empty(&channel->outbox);
	if (ipci_drain_leave(channel))
		return IPCI_LOOK_AGAIN;
	if (channel->life & IPCI_LIFE_SHORT) {
		int r = ipci_producer_has_room(&channel->tx, ipci_channel_reply_bytes(channel));

		if (r < 0)
			return ipci_poison(channel, "the peer's `consumed` is impossible");
		if (r) {
			channel->life &= (uint8_t)~IPCI_LIFE_SHORT;
			ipci_place_next(channel->server);
		}
	}
	if (channel->wake_owed)
		ipci_channel_wake(channel);
	if (channel->space_owed)
		ipci_channel_wake_space(channel);
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
		return ipci_poison(channel,
				   "a frame of impossible length or with unknown extensions");
	if (channel->at_server)
		return take_at_server(channel, &view, event);
	return take_at_client(channel, &view, event, want, msg);
}
