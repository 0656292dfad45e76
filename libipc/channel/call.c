/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A call's life, from either side.
 *
 *   client   FREE ─begin─▶ BEGUN ─commit─▶ SENT ─reply, error, loss─▶ ENDED ─next turn─▶ FREE
 *                            │               └─cancel, deadline─▶ ZOMBIE ─reply─▶ FREE
 *                            └─abort─▶ FREE
 *   server   FREE ─request─▶ SERVED ─item─▶ STREAMING ─commit LAST─▶ FREE
 *               └─▶ WAITING ──┘└────────────┴─fail, end─▶ FAILED ─room─▶ FREE
 *
 * One request gets exactly one reply, error or end, so a slot is in use until that came: a
 * cancelled call is a zombie on the client's side, and the server may not see its slot again before
 * it has answered. What the two sides send before, in either direction, are items: stream.c.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "objects.h"
#include "quick.h"
#include "stream.h"
#include "trace.h"
#include "threads.h"

struct ipc_call *ipci_call_by_id(struct ipc_channel *channel, uint64_t id)
{
	uint64_t slot = id & IPCI_CALL_SLOT_MASK;

	return slot < channel->max_calls ? &channel->calls[slot] : NULL;
}

static void tell_end(struct ipc_call *call)
{
	if (call->on_end)
		*call->on_end = 1;
	call->on_end = NULL;
}

/* What a call is before it is one; most of what a new call would set is set here, off its way. */
void ipci_call_reset(struct ipc_call *call)
{
	call->state = IPCI_CALL_FREE;
	call->deadline_ns = IPCI_NEVER;
	call->user = NULL;
	call->status = -1;
	call->fate = IPC_FATE_NOT_EXECUTED;
	call->has_trace = false;
	call->expired = false;
	call->cancelled = false;
	call->told = false;
	call->request_bits = 0;
}

/* A client's slot is free: who waits for one goes on, unless no calls are begun here any more. */
static void slot_freed(struct ipc_channel *channel)
{
	const uint32_t slot = (uint32_t)(channel->free_calls - channel->calls);

	if (channel->life & IPCI_LIFE_STRAY && slot >= channel->max_calls) {
		channel->free_calls = channel->free_calls->next_free;
		if (--channel->n_stray == 0)
			channel->life &= (uint8_t)~IPCI_LIFE_STRAY;
	}
	if (channel->life & IPCI_LIFE_DRAINS)
		channel->free_calls = NULL;
	if (channel->call_wanted || channel->life & IPCI_LIFE_DRAINS)
		ipci_channel_set_hot(channel);
}

/* The call's room, if it is open, goes with it. */
static void forget_room(struct ipc_call *call)
{
	struct ipc_channel *channel = call->channel;

	if (channel->room_call != call)
		return;
	channel->room_call = NULL;
	if (!channel->lost)
		ipci_producer_abort(&channel->tx);
}

static void free_rest(struct ipc_call *call)
{
	struct ipc_channel *channel = call->channel;

	free(call->text);
	call->text = NULL;
	/* What the client sent before it learnt that the call is over is checked like the rest. */
	if (channel->at_server && channel->inbox && ipci_stream_leave(call))
		call->state = IPCI_CALL_LATE;
	else
		ipci_stream_free(call);
}

/* Back to the pool, from any state. */
void ipci_call_free(struct ipc_call *call)
{
	struct ipc_channel *channel = call->channel;

	tell_end(call);
	/* A server's slots are its client's to choose. */
	if (channel->at_server) {
		if (__builtin_expect(channel->aside != 0, 0))
			ipci_place_leave(call);
	} else {
		call->next_free = channel->free_calls;
		channel->free_calls = call;
		if (__builtin_expect(channel->aside != 0, 0))
			slot_freed(channel);
	}
	if (call->timer)
		ipci_timer_remove(call);
	forget_room(call);
	ipci_list_remove(&call->ready);
	ipci_list_remove(&call->outbox);
	if (channel->loop->ended == call)
		channel->loop->ended = NULL;
	if (channel->loop->fresh == call)
		channel->loop->fresh = NULL;
	ipci_call_reset(call);
	if (call->text || call->stream)
		free_rest(call);
	channel->n_calls--;
	if (channel->lost)
		ipci_channel_free_if_idle(channel);
}

/*
 * A client's call was reported, or is cared for no more: free, unless the server still holds its
 * slot.
 */
void ipci_call_done(struct ipc_call *call)
{
	if (!call->expired || !call->channel->inbox) {
		ipci_call_free(call);
		return;
	}
	ipci_list_remove(&call->ready);
	forget_room(call);
	ipci_stream_cut(call);
	call->state = IPCI_CALL_ZOMBIE;
}

/* Its own, or what remains of its parent's. */
static uint64_t deadline_of(const struct ipc_call_opts *opts)
{
	uint64_t deadline_ns = IPCI_NEVER;

	if (opts->timeout_ns && opts->timeout_ns != IPC_FOREVER)
		deadline_ns = ipci_deadline_ns(opts->timeout_ns);
	if (opts->parent && opts->parent->deadline_ns < deadline_ns)
		deadline_ns = opts->parent->deadline_ns;
	return deadline_ns;
}

/* The trace and the deadline that a new call carries. */
static int inherit(struct ipc_call *call, const struct ipc_call_opts *opts)
{
	const struct ipc_call *parent = opts->parent;

	call->deadline_ns = deadline_of(opts);
	if (parent) {
		call->has_trace = parent->has_trace;
		memcpy(call->trace, parent->trace, sizeof(call->trace));
	}
	if (opts->traceparent) {
		if (!ipci_trace_parse(opts->traceparent, call->trace))
			return -EINVAL;
		call->has_trace = true;
	}
	return 0;
}

static uint32_t ext_bits(const struct ipc_call *call)
{
	return (call->deadline_ns != IPCI_NEVER ? IPCI_EXT_DEADLINE : 0u) |
	       (call->has_trace ? IPCI_EXT_TRACE : 0u);
}

int ipci_room_refuse(struct ipc_channel *channel, uint64_t frame_bytes, int why)
{
	if (why == -EAGAIN) {
		channel->room_wanted = frame_bytes;
		channel->room_short = true;
		/* A cold channel is armed for frames alone. */
		ipci_channel_set_hot(channel);
	} else {
		ipci_channel_lose(channel, why, IPCI_REASON_POISONED,
				  "the peer's `consumed` is impossible");
	}
	return why;
}

/* More than any frame of this ring carries, however empty it is. */
int ipci_room_too_large(const struct ipc_channel *channel, size_t max_bytes)
{
	const uint64_t ring_bytes = channel->tx.ring_bytes;

	return ipci_error_set(
		&channel->loop->error, -EMSGSIZE,
		"channel %llu to %s: a message of %zu bytes: this side's ring of %llu "
		"(ring_bytes, at most 1 GiB) carries up to %llu",
		(unsigned long long)channel->id, channel->peer, max_bytes,
		(unsigned long long)ring_bytes,
		(unsigned long long)ipci_payload_max_bytes(ring_bytes));
}

static int begin_check(const struct ipc_channel *channel, uint32_t method, size_t max_bytes)
{
	if (channel->at_server || method >= IPC_METHODS_MAX)
		return -EINVAL;
	if (channel->room_call)
		return -EBUSY;
	if (max_bytes > ipci_payload_max_bytes(channel->tx.ring_bytes))
		return ipci_room_too_large(channel, max_bytes);
	return 0;
}

/* Takes a call from the pool, without room yet. */
static struct ipc_call *call_new(struct ipc_channel *channel, uint32_t method)
{
	struct ipc_call *call = channel->free_calls;

	if (!call)
		return NULL;
	channel->free_calls = call->next_free;
	channel->n_calls++;
	call->state = IPCI_CALL_BEGUN;
	call->method = (uint16_t)method;
	call->id = ++channel->call_seq << IPCI_CALL_SLOT_BITS | (uint64_t)(call - channel->calls);
	return call;
}

static int begin_with_opts(struct ipc_call *call, const struct ipc_call_opts *opts,
			   size_t max_bytes)
{
	struct ipc_channel *channel = call->channel;
	int r;

	call->user = opts->user;
	if (opts->flags & IPC_NO_WAIT)
		call->request_bits = IPCI_REQUEST_NO_WAIT;
	r = inherit(call, opts);
	if (r < 0 || !(opts->flags & IPC_BLOCK))
		return r;
	return ipci_block_for_room(channel, NULL,
				   ipci_frame_bytes(ipci_ext_bytes(ext_bits(call)), max_bytes),
				   call->deadline_ns);
}

/*
 * The channel is not open, or has no call that is free: with IPC_BLOCK waits for both, or until a
 * reply must be received before there can be one.
 */
__attribute__((__noinline__)) static int get_ready(struct ipc_channel *channel,
						   const struct ipc_call_opts *opts)
{
	const bool block = opts && opts->flags & IPC_BLOCK;
	const uint64_t deadline_ns = opts ? deadline_of(opts) : IPCI_NEVER;
	int r = 0;

	if (channel->inbox && !channel->free_calls) {
		if (block)
			r = ipci_block_for_room(channel, NULL, 0, deadline_ns);
		else
			r = channel->life & IPCI_LIFE_DRAINS ? -ENOTCONN : -EAGAIN;
		channel->call_wanted = channel->call_wanted || r == -EAGAIN;
	}
	return channel->inbox ? r : ipci_reopen_await(channel, block, deadline_ns);
}

IPC_PUBLIC int ipc_begin(ipc_channel *channel, uint32_t method, size_t max_bytes,
			 const struct ipc_call_opts *opts, ipc_call **ret, struct ipc_room *room)
{
	struct ipc_call_opts known;
	struct ipc_call *call;
	int r;

	if (!channel || !ret || !room)
		return -EINVAL;
	IPCI_ENTER(channel->loop);
	if (ipci_forked(channel->loop))
		return -ECHILD;
	r = begin_check(channel, method, max_bytes);
	if (r < 0)
		return r;
	if (opts) {
		r = ipci_opts_copy(&known, sizeof(known), opts);
		if (r < 0)
			return r;
		if (known.flags & ~(uint32_t)(IPC_BLOCK | IPC_NO_WAIT) || known.reserved)
			return -EINVAL;
		opts = &known;
	}
	if (__builtin_expect(!channel->inbox || !channel->free_calls, 0)) {
		r = get_ready(channel, opts);
		if (r == 0)
			r = begin_check(channel, method, max_bytes);
		if (r < 0)
			return r;
	}
	call = call_new(channel, method);
	if (!call)
		return -EAGAIN;
	r = opts ? begin_with_opts(call, opts, max_bytes) : 0;
	if (r == 0)
		r = ipci_room_open(call, ipci_ext_bytes(ext_bits(call)), max_bytes, room);
	if (r < 0) {
		ipci_call_free(call);
		return r;
	}
	*ret = call;
	return 0;
}

__attribute__((__noinline__)) static int reserve(struct ipc_call *call, size_t max_bytes,
						 uint32_t flags, struct ipc_room *room)
{
	struct ipc_channel *channel;

	if (!call || !room || flags & ~(uint32_t)(IPC_BLOCK | IPC_LAST))
		return -EINVAL;
	channel = call->channel;
	IPCI_ENTER(channel->loop);
	if (ipci_forked(channel->loop))
		return -ECHILD;
	if (call->state != IPCI_CALL_SERVED)
		return ipci_stream_reserve(call, max_bytes, flags, room);
	if (!channel->inbox)
		return ipci_channel_error(channel);
	if (channel->room_call)
		return -EBUSY;
	if (max_bytes > ipci_payload_max_bytes(channel->tx.ring_bytes))
		return ipci_room_too_large(channel, max_bytes);
	if (flags & IPC_BLOCK) {
		int r = ipci_block_for_room(channel, NULL, ipci_frame_bytes(0, max_bytes),
					    call->deadline_ns);

		if (r < 0)
			return r;
	}
	return ipci_room_open(call, 0, max_bytes, room);
}

IPC_PUBLIC int ipc_reserve(ipc_call *call, size_t max_bytes, uint32_t flags, struct ipc_room *room)
{
	/* By itself: what a function saves on its stack, it stores, and stores are what a stream waits for. */
	if (ipci_quick_reserve(call, max_bytes, flags, room))
		return 0;
	return reserve(call, max_bytes, flags, room);
}

/* Extensions in their fixed order, before the payload. */
static void write_ext(const struct ipc_call *call, uint8_t *ext)
{
	IPCI_CRASH_POINT(EXTENSION);
	if (call->deadline_ns != IPCI_NEVER) {
		uint64_t words[2] = {ipci_remaining_ns(call->deadline_ns, ipci_now_ns()), 0};

		static_assert(sizeof(words) == IPCI_EXT_DEADLINE_BYTES, "layout");
		memcpy(ext, words, sizeof(words));
		ext += sizeof(words);
	}
	if (call->has_trace) {
		memcpy(ext, call->trace, IPCI_TRACE_BYTES);
		memset(ext + IPCI_TRACE_BYTES, 0, IPCI_EXT_TRACE_BYTES - IPCI_TRACE_BYTES);
	}
}

static int commit_request(struct ipc_call *call, size_t size_bytes)
{
	struct ipc_channel *channel = call->channel;
	uint32_t bits = ext_bits(call);

	if (bits)
		write_ext(call, ipci_producer_room(&channel->tx));
	call->position = channel->tx.head;
	ipci_producer_commit(&channel->tx, IPCI_KIND_REQUEST | bits,
			     (uint32_t)call->method | call->request_bits, call->id, size_bytes);
	call->state = IPCI_CALL_SENT;
	call->fate = IPC_FATE_UNKNOWN;
	return 0;
}

/* Checks and publishes; wakes the peer unless IPC_MORE. */
int ipci_call_send(struct ipc_call *call, size_t size_bytes, uint32_t flags)
{
	struct ipc_channel *channel = call->channel;

	if (channel->room_call != call)
		return -EINVAL;
	if (!channel->inbox)
		return ipci_channel_error(channel);
	if (size_bytes > channel->room_bytes)
		return -EINVAL;
	if (channel->at_server)
		ipci_producer_commit(&channel->tx, IPCI_KIND_REPLY, 0, call->id, size_bytes);
	else
		commit_request(call, size_bytes);
	ipci_room_committed(call, flags);
	return 0;
}

static int commit_at_client(struct ipc_call *call, size_t size_bytes, uint32_t flags)
{
	int r;

	if (call->state != IPCI_CALL_BEGUN && call->channel->room_call == call)
		return ipci_stream_commit(call, size_bytes, flags);
	if (call->state != IPCI_CALL_BEGUN)
		return size_bytes == 0 ? ipci_stream_end(call) : -EINVAL;
	r = ipci_call_send(call, size_bytes, flags);
	/* Without memory for the timer the deadline is the server's to keep, and ipc_receive()'s. */
	if (r == 0)
		(void)ipci_timer_add(call);
	return r;
}

/* The server ends its call without a message. */
static int end_at_server(struct ipc_call *call)
{
	if (!ipci_call_is_served(call))
		return -EINVAL;
	if (!call->channel->inbox)
		return ipci_channel_error(call->channel);
	ipci_call_fail(call, IPC_OK, false, NULL);
	return 0;
}

__attribute__((__noinline__)) static int commit(struct ipc_call *call, size_t size_bytes,
						uint32_t flags)
{
	int r;

	if (!call || flags & ~(uint32_t)(IPC_LAST | IPC_MORE))
		return -EINVAL;
	IPCI_ENTER(call->channel->loop);
	if (ipci_forked(call->channel->loop))
		return -ECHILD;
	if (!(flags & IPC_LAST))
		return ipci_stream_commit(call, size_bytes, flags);
	if (!call->channel->at_server)
		return commit_at_client(call, size_bytes, flags);
	r = ipci_call_send(call, size_bytes, flags);
	if (r == -EINVAL && size_bytes == 0 && call->channel->room_call != call)
		return end_at_server(call);
	if (r < 0)
		return r;
	ipci_call_free(call);
	return 0;
}

/* A peer that may sleep, and what had to wait for the room to close. */
__attribute__((__noinline__)) static int wake_after(struct ipc_call *call)
{
	ipci_room_committed(call, 0);
	return 0;
}

IPC_PUBLIC int ipc_commit(ipc_call *call, size_t size_bytes, uint32_t flags)
{
	if (!ipci_quick_commit(call, size_bytes, flags))
		return commit(call, size_bytes, flags);
	if (__builtin_expect(ipci_quick_is_all(call->channel), 1))
		return 0;
	return wake_after(call);
}

IPC_PUBLIC void ipc_abort(ipc_call *call)
{
	struct ipc_channel *channel;

	if (!call || ipci_forked(call->channel->loop))
		return;
	IPCI_ENTER(call->channel->loop);
	channel = call->channel;
	if (channel->room_call != call)
		return;
	channel->room_call = NULL;
	if (!channel->lost) {
		ipci_producer_abort(&channel->tx);
		(void)ipci_outbox_flush(channel);
		/* A WRITABLE that the open room held back has no other cause to come. */
		ipci_channel_set_hot(channel);
	}
	if (call->state == IPCI_CALL_BEGUN)
		ipci_call_free(call);
	else if (channel->lost)
		ipci_channel_free_if_idle(channel);
}

/* A server's call ends with a status; @not_executed says that no handler ever saw it. */
void ipci_call_fail(struct ipc_call *call, int status, bool not_executed, const char *text)
{
	struct ipc_channel *channel = call->channel;

	forget_room(call);
	tell_end(call);
	ipci_place_leave(call);
	if (!channel->inbox) {
		ipci_call_free(call);
		return;
	}
	ipci_timer_remove(call);
	ipci_list_remove(&call->ready);
	ipci_stream_cut(call);
	call->state = IPCI_CALL_FAILED;
	call->status = (int16_t)(status | (not_executed ? IPCI_STATUS_NOT_EXECUTED : 0));
	/* Without memory the status goes without its text. */
	call->text = text && *text ? strndup(text, IPCI_ERROR_TEXT_MAX) : NULL;
	ipci_outbox_add(call);
}

IPC_PUBLIC int ipc_fail(ipc_call *call, int status, const char *text)
{
	if (!call || status < IPC_CANCELLED || status > IPC_UNAUTHENTICATED)
		return -EINVAL;
	IPCI_ENTER(call->channel->loop);
	if (ipci_forked(call->channel->loop))
		return -ECHILD;
	if (!ipci_call_is_served(call))
		return -EINVAL;
	ipci_call_fail(call, status, false, text);
	return 0;
}

/* Nobody waits for a sent call any more: the server is told, the slot waits for its answer. */
static void abandon(struct ipc_call *call)
{
	ipci_timer_remove(call);
	ipci_list_remove(&call->ready);
	forget_room(call);
	ipci_stream_cut(call);
	call->state = IPCI_CALL_ZOMBIE;
	ipci_outbox_add(call);
}

IPC_PUBLIC void ipc_cancel(ipc_call *call)
{
	if (!call || ipci_forked(call->channel->loop) || call->channel->at_server)
		return;
	IPCI_ENTER(call->channel->loop);
	/* A reply that is here already, or a loss, leaves nothing to cancel. */
	if (call->state == IPCI_CALL_BEGUN)
		ipc_abort(call);
	else if (call->state == IPCI_CALL_SENT && !ipci_call_is_over(call) && call->channel->inbox)
		abandon(call);
	else if (call->state != IPCI_CALL_FREE && call->state != IPCI_CALL_ZOMBIE)
		ipci_call_done(call);
}

void ipci_call_end(struct ipc_call *call, int status, enum ipc_fate fate, const char *text)
{
	if (call->status >= 0)
		return;
	ipci_timer_remove(call);
	call->status = (int16_t)status;
	call->fate = (uint8_t)fate;
	if (call->stream)
		call->stream->limit_bytes = 0;
	free(call->text);
	call->text = text && *text ? strndup(text, IPCI_ERROR_TEXT_MAX) : NULL;
	ipci_call_ready(call);
}

/*
 * Server: nobody waits for the call any more. Reported once, and only if its handler kept it; no
 * handler ever sees one that still waited.
 */
void ipci_call_cancel_by_peer(struct ipc_call *call)
{
	if (call->state == IPCI_CALL_WAITING) {
		ipci_call_fail(call, IPC_CANCELLED, true, "cancelled while it waited");
		return;
	}
	call->cancelled = true;
	if (!ipci_call_is_served(call) || call->told)
		return;
	call->told = true;
	ipci_stream_cut(call);
	ipci_call_ready(call);
}

/*
 * Client: the program's handle gets its end now; the slot stays the server's until it answers, and
 * it is told that it need not.
 */
void ipci_call_give_up(struct ipc_call *call, int status, const char *text)
{
	ipci_call_end(call, status, IPC_FATE_UNKNOWN, text);
	call->expired = true;
	if (call->stream)
		ipci_stream_drop(call->stream);
	ipci_outbox_add(call);
}

void ipci_call_expired(struct ipc_call *call)
{
	static const char text[] = "the deadline passed";

	if (call->state == IPCI_CALL_WAITING) {
		ipci_call_fail(call, IPC_DEADLINE_EXCEEDED, true,
			       "the deadline passed while it waited");
		return;
	}
	if (call->channel->at_server) {
		ipci_call_cancel_by_peer(call);
		return;
	}
	if (call->state != IPCI_CALL_SENT || ipci_call_is_over(call))
		return;
	/* A server that has not come so far yet need not begin. */
	if (call->channel->inbox)
		ipci_producer_expire(&call->channel->tx, call->position);
	ipci_call_give_up(call, IPC_DEADLINE_EXCEEDED, text);
}

static void fill_info(struct ipc_call *call, struct ipc_call_info *info)
{
	info->remaining_ns = call->deadline_ns == IPCI_NEVER
				     ? IPC_FOREVER
				     : ipci_remaining_ns(call->deadline_ns, ipci_now_ns());
	info->id = call->id;
	info->channel = call->channel;
	info->caller = call->channel->at_server ? call->channel->peer : "";
	info->error = !call->channel->at_server && call->text ? call->text : "";
	info->method = call->method;
	info->fate = call->fate;
	info->status = call->channel->at_server ? -1 : call->status;
	info->cancelled = call->cancelled;
	if (call->has_trace)
		ipci_trace_format(call->trace, info->traceparent);
}

IPC_PUBLIC int ipc_call_info(ipc_call *call, struct ipc_call_info *ret)
{
	struct ipc_call_info info = {};
	size_t size;

	if (!call || !ret || ret->size < sizeof(size_t) || ret->size > 4096 ||
	    call->state == IPCI_CALL_FREE)
		return -EINVAL;
	IPCI_ENTER(call->channel->loop);
	if (ipci_forked(call->channel->loop))
		return -ECHILD;
	size = ret->size;
	fill_info(call, &info);
	info.size = size;
	memcpy(ret, &info, size < sizeof(info) ? size : sizeof(info));
	return 0;
}

IPC_PUBLIC void *ipc_call_user(ipc_call *call)
{
	if (!call)
		return NULL;
	IPCI_ENTER(call->channel->loop);
	return call->user;
}

IPC_PUBLIC void ipc_call_set_user(ipc_call *call, void *user)
{
	if (!call)
		return;
	IPCI_ENTER(call->channel->loop);
	call->user = user;
}

IPC_PUBLIC struct ipc_writer *ipc_call_writer(ipc_call *call)
{
	IPCI_ENTER(call->channel->loop);
	return &call->channel->writer;
}

IPC_PUBLIC void ipc_call_on_end(ipc_call *call, int *ended)
{
	if (!call)
		return;
	IPCI_ENTER(call->channel->loop);
	call->on_end = ended;
}
