/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a call has beyond one message each way: its items, the credit for them, and the queue of
 * what came while the program waited for something else.
 *
 * Each direction of a call has a window: what its sender may have sent, as bytes of whole frames,
 * is at most a quarter of its ring ahead of what the receiving program took. So an item that the
 * program does not take costs its receiver private memory, at most a window a call, and never room
 * in the ring that others' frames need.
 */
#ifndef IPCI_CHANNEL_STREAM_H
#define IPCI_CHANNEL_STREAM_H

#include "objects.h"

struct ipci_stream {
	struct ipci_stream *next_free;

	/* what this side sends */
	uint64_t sent_bytes;   /* items, as whole frames */
	uint64_t credit_bytes; /* how much of that the peer takes in all */
	uint64_t limit_bytes;  /* the same, and 0 where no more items go out: the quick path's */
	uint64_t wanted_bytes; /* 0, or the frame for which WRITABLE is owed */
	bool sends;	       /* client: its last is still to be sent */
	bool writable;	       /* there is credit for wanted_bytes: WRITABLE is due */
	bool owes_end, owes_credit; /* in the outbox */

	/* what the peer sends */
	bool receives;		/* server: the client's last has not come */
	bool drops;		/* nobody is there for what still comes */
	bool end_due;		/* server: the client has ended its side, which is to be reported */
	uint8_t end_status;	/* … as this: IPC_OK, or why the rest was dropped */
	bool has_last;		/* the queue ends with the peer's last message */
	uint64_t came_bytes;	/* items, as whole frames */
	uint64_t granted_bytes; /* how much the peer was told that it may send in all */
	uint64_t quiet_bytes;	/* up to here what comes needs neither credit nor a closer look */

	/* what came and was not taken by the program yet, oldest first */
	struct ipci_parked *first, **last;
	uint64_t parked_bytes; /* of came_bytes */
};

/* The call's stream, made if it has none; NULL without memory. */
struct ipci_stream *ipci_stream_of(struct ipc_call *call);
/* The call's stream and its queue, back to the channel. */
void ipci_stream_free(struct ipc_call *call);
/* Nobody waits for the call's items: what came is forgotten, and what still comes dropped. */
void ipci_stream_cut(struct ipc_call *call);
/* Server: the call is over. May more come of its stream? Then it stays, to be checked by. */
bool ipci_stream_leave(struct ipc_call *call);
/* With the channel, once its calls have none. */
void ipci_stream_free_pool(struct ipc_channel *channel);

/* ── sending ── */

/* May this side still send items on the call? */
bool ipci_stream_is_open(const struct ipc_call *call);
/* May a frame of @bytes go out on the call? 1; 0 not yet; -EMSGSIZE never; -ECANCELED no more. */
int ipci_stream_may_send(const struct ipc_call *call, uint64_t bytes, uint32_t flags);
/* May the call's sender wait for credit, or does the peer wait for this side to receive? */
bool ipci_stream_is_clogged(const struct ipc_call *call);
/*
 * For a frame of @bytes on a call with a stream. 1 there is credit; -EAGAIN there is none now, and
 * WRITABLE is owed; or why there will be none. With IPC_BLOCK in @flags waits for credit and room.
 */
int ipci_stream_find_credit(struct ipc_call *call, uint64_t bytes, uint32_t flags);
int ipci_stream_reserve(struct ipc_call *call, size_t max_bytes, uint32_t flags,
			struct ipc_room *room);
int ipci_stream_commit(struct ipc_call *call, size_t size_bytes, uint32_t flags);
/* Client: its side ends, without a message. */
int ipci_stream_end(struct ipc_call *call);
/* What the outbox owes for a stream. 1 sent, 0 no room, -EPROTO. */
int ipci_stream_send_owed(struct ipc_call *call);

/* A server's first item goes out. */
static inline void ipci_stream_begin(struct ipc_call *call)
{
	call->state = IPCI_CALL_STREAMING;
	if (!call->cancelled)
		call->stream->limit_bytes = call->stream->credit_bytes;
}

/* No item follows. */
static inline void ipci_stream_last_sent(struct ipci_stream *stream)
{
	stream->sends = false;
	stream->limit_bytes = 0;
}

/* What still comes is counted and forgotten. */
static inline void ipci_stream_drop(struct ipci_stream *stream)
{
	stream->drops = true;
	stream->quiet_bytes = 0;
}

/* ── receiving ── */

int ipci_take_item(struct ipc_call *call, const struct ipci_view *view, struct ipc_event *event,
		   struct ipc_call *want, struct ipc_msg *msg);
int ipci_take_end_at_server(struct ipc_call *call, const struct ipci_view *view,
			    struct ipc_event *event);
int ipci_take_credit(struct ipc_call *call, const struct ipci_view *view);

/* The program has caught up by half a window: the peer is told. */
void ipci_stream_grant(struct ipc_call *call);

/* How far the program has taken what came. */
static inline uint64_t ipci_stream_taken(const struct ipci_stream *stream)
{
	return stream->came_bytes - stream->parked_bytes;
}

/* All of the event but its message; more follow. */
static inline void ipci_item_event(struct ipc_call *call, struct ipc_event *event)
{
	struct ipc_channel *channel = call->channel;

	event->kind = IPC_EVENT_MESSAGE;
	event->flags = 0;
	event->server = channel->server;
	event->channel = channel;
	event->call = call;
	event->user = channel->at_server ? channel->user : call->user;
	event->method = call->method;
	event->last = 0;
	event->status = 0;
	event->fd = 0;
	event->revents = 0;
}

/* ── parked.c: the queue ── */

/* A copy for later; takes no frame. 0; -ENOSPC too much is queued; -ENOMEM. */
int ipci_park(struct ipc_call *call, const struct ipci_view *view, bool last);
/* The oldest of the call's queue becomes @msg, for the turn. */
void ipci_unpark(struct ipc_call *call, struct ipc_msg *msg);
/* Forgets the queue. */
void ipci_unpark_all(struct ipc_call *call);
/* The event for a call on loop->ready_calls; begins no turn. IPCI_LOOK_EVENT, or _AGAIN: none yet. */
int ipci_report_call(struct ipc_call *call, struct ipc_event *event);
/* The call has something to report. */
void ipci_call_ready(struct ipc_call *call);

/* Has a client's call an end that the program was not told of? */
static inline bool ipci_call_is_over(const struct ipc_call *call)
{
	return call->status >= 0 || (call->stream && call->stream->has_last);
}

#endif
