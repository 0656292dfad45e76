/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A channel: joined, alive, lost, gone.
 *
 * It is lost once, for one recorded reason: the peer hung up, closed, or did something impossible;
 * the broker took it back; the program freed it. Losing it settles every call on it, tells the
 * peer, and takes the memory away, except what the program still holds: an open room keeps the own
 * half mapped, kept messages keep the peer's.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "bell.h"
#include "control.h"
#include "dispose.h"
#include "futex.h"
#include "membarrier.h"
#include "objects.h"
#include "stream.h"
#include "threads.h"

void ipci_channel_init(struct ipc_channel *channel, struct ipc_loop *loop,
		       const struct ipc_service *service)
{
	*channel = (struct ipc_channel){};
	channel->loop = loop;
	channel->service = service;
	channel->bell = -EBADF;
	ipci_spin_init(&channel->spin, loop->spin_max_ns, loop->wait == IPC_WAIT_SPIN);
	ipci_list_init(&channel->outbox);
	ipci_list_init(&channel->hot_link);
	ipci_list_init(&channel->tended);
	ipci_list_init(&channel->owing);
	ipci_list_init(&channel->ready);
	ipci_list_init(&channel->link);
}

int ipci_channel_alloc(struct ipc_channel **ret, struct ipc_loop *loop,
		       const struct ipc_service *service)
{
	struct ipc_channel *channel = malloc(sizeof(*channel));

	if (!channel)
		return -ENOMEM;
	ipci_channel_init(channel, loop, service);
	ipci_list_append(&loop->channels, &channel->link);
	*ret = channel;
	return 0;
}

static void write_identity(struct ipci_half *own, uint64_t features)
{
	struct ipci_control *control = (struct ipci_control *)(void *)own->base;

	IPCI_CRASH_POINT(IDENTITY);
	control->magic = IPCI_LAYOUT_MAGIC;
	control->version = IPCI_LAYOUT_VERSION;
	control->ring_offset = own->ring_offset;
	control->ring_bytes = own->ring_bytes;
	control->features = features;
}

int ipci_channel_own_half(struct ipc_channel *channel, int *ret_fd, uint64_t ring_bytes,
			  uint32_t flags, struct ipci_error *error)
{
	int r = -ENOMEM;

	if (flags & IPCI_OWN_HUGE_PAGES)
		r = ipci_half_make(&channel->own, ret_fd, ring_bytes, IPCI_HALF_HUGE_PAGE_BYTES,
				   error);
	if (!(flags & IPCI_OWN_HUGE_PAGES) || (r < 0 && flags & IPC_PREFER_HUGE_PAGES))
		r = ipci_half_make(&channel->own, ret_fd, ring_bytes, 0, error);
	if (r == 0)
		write_identity(&channel->own, channel->loop->features);
	return r;
}

int ipci_channel_check_pages(uint32_t flags, uint32_t page_bytes, const char *whose,
			     struct ipci_error *error)
{
	if (page_bytes == 0 || flags & IPC_ALLOW_HUGE_PAGES)
		return 0;
	return ipci_error_set(error, -EOPNOTSUPP,
			      "the %s's ring is of huge pages, which the %s does not allow "
			      "(IPC_ALLOW_HUGE_PAGES)",
			      whose, whose[0] == 'c' ? "server" : "client");
}

/* A call's first life in its slot. */
static void init_call(struct ipc_channel *channel, uint32_t slot)
{
	struct ipc_call *call = &channel->calls[slot];

	call->channel = channel;
	ipci_list_init(&call->ready);
	ipci_list_init(&call->outbox);
	ipci_call_reset(call);
}

/*
 * The slots agreed on. A client that joins again may still have calls of before, ended and not
 * reported: theirs come back when they are free, those beyond today's number never.
 */
static int list_calls(struct ipc_channel *channel, uint32_t max_calls)
{
	const uint32_t n = channel->at_server ? max_calls : channel->max_calls_wanted;

	if (!channel->calls)
		channel->calls = calloc(n, sizeof(struct ipc_call));
	if (!channel->calls)
		return -ENOMEM;
	for (; channel->n_slots < max_calls; channel->n_slots++)
		init_call(channel, channel->n_slots);
	channel->max_calls = max_calls;
	channel->free_calls = NULL;
	channel->n_stray = 0;
	for (uint32_t i = channel->n_slots; i-- > 0;) {
		struct ipc_call *call = &channel->calls[i];

		if (i >= max_calls) {
			channel->n_stray += call->state != IPCI_CALL_FREE;
		} else if (call->state == IPCI_CALL_FREE) {
			call->next_free = channel->free_calls;
			channel->free_calls = call;
		}
	}
	if (channel->n_stray)
		channel->life |= IPCI_LIFE_STRAY;
	return 0;
}

/* The bell is watched by the loop and closed in a forked child. */
static int hang_bell(struct ipc_channel *channel, int bell)
{
	int r = ipci_fork_register(bell);

	if (r < 0)
		return r;
	channel->bell_source = (struct ipci_source){.fd = bell,
						    .events = EPOLLIN | EPOLLRDHUP,
						    .user = channel};
	r = ipci_loop_add(channel->loop->poller, &channel->bell_source);
	if (r < 0) {
		ipci_fork_unregister(bell);
		return r;
	}
	channel->bell = bell;
	return 0;
}

int ipci_channel_join(struct ipc_channel *channel, struct ipci_half *peer, int bell,
		      uint32_t max_calls, uint64_t features)
{
	struct ipci_inbox *inbox = calloc(1, sizeof(*inbox));
	int r = inbox ? list_calls(channel, max_calls) : -ENOMEM;

	if (r == 0)
		r = hang_bell(channel, bell);
	if (r < 0) {
		free(inbox);
		return r;
	}
	*inbox = (struct ipci_inbox){.loop = channel->loop, .channel = channel, .half = *peer};
	*peer = (struct ipci_half){};
	ipci_producer_init(&channel->tx, channel->own.base, inbox->half.base,
			   channel->own.ring_offset, channel->own.ring_bytes);
	ipci_consumer_init(&inbox->rx, channel->own.base, inbox->half.base, inbox->half.ring_offset,
			   inbox->half.ring_bytes);
	channel->inbox = inbox;
	/* Cannot fail: a word needs nothing before it is awaited. */
	channel->word_source = (struct ipci_source){.fd = -EBADF,
						    .word = &channel->tx.peer->bell_frames,
						    .user = channel};
	(void)ipci_loop_add(channel->loop->poller, &channel->word_source);
	channel->may_be_awake = features & channel->loop->features & IPCI_FEATURE_MEMBARRIER;
	ipci_channel_set_hot(channel);
	return 0;
}

/* The peer is told of what was committed when the loop's next turn begins. */
void ipci_channel_owe_wake(struct ipc_channel *channel)
{
	channel->wake_owed = true;
	ipci_list_remove(&channel->owing);
	ipci_list_append(&channel->loop->owing, &channel->owing);
	channel->loop->wakes_due = true;
	ipci_channel_set_hot(channel);
}

void ipci_channel_ready(struct ipc_channel *channel)
{
	ipci_list_remove(&channel->ready);
	ipci_list_append(&channel->loop->ready_channels, &channel->ready);
}

/* Wakes in the way that the peer named; the bell words were bumped. */
static void ring_now(struct ipc_channel *channel, uint32_t how)
{
	struct ipci_control *own = channel->tx.own;
	_Atomic uint32_t *frames = how & IPCI_WANT_FRAMES_FUTEX ? &own->bell_frames : NULL;
	_Atomic uint32_t *space = how & IPCI_WANT_SPACE_FUTEX ? &own->bell_space : NULL;
	const bool by_bell = how & (IPCI_WANT_FRAMES_BELL | IPCI_WANT_SPACE_BELL);
	struct ipc_loop *loop = channel->loop;

	channel->n_wakes++;
	if (loop->batch_wakes || loop->collecting) {
		ipci_loop_wake_later(loop->poller, frames, by_bell ? channel->bell : -EBADF);
		if (space)
			ipci_loop_wake_later(loop->poller, space, -EBADF);
		loop->wakes_due = true;
		return;
	}
	if (frames)
		(void)ipci_futex_wake(frames);
	if (space)
		(void)ipci_futex_wake(space);
	/* A hang-up found here is found again, and dealt with, where the bell is watched. */
	if (by_bell)
		(void)ipci_bell_ring(channel->bell);
}

/*
 * The same within the budget: a peer that says with every message that it sleeps costs no more than
 * that. What is beyond is put off: asked for again at the channel's next look, and at the latest
 * before this loop sleeps or blocks.
 */
void ipci_channel_ring(struct ipc_channel *channel, uint32_t how)
{
	struct ipc_loop *loop = channel->loop;

	if (ipci_budget_take(&channel->wakes, ipci_now_ns(), IPCI_NS_PER_MS, IPCI_WAKES_PER_MS)) {
		ring_now(channel, how);
		return;
	}
	channel->n_wakes_deferred++;
	if (how & IPCI_WANT_FRAMES) {
		channel->tx.rung_frames = IPCI_NOT_RUNG;
		channel->wake_owed = true;
	}
	if (how & IPCI_WANT_SPACE) {
		channel->tx.rung_space = IPCI_NOT_RUNG;
		channel->space_owed = true;
	}
	ipci_list_remove(&channel->owing);
	ipci_list_append(&loop->put_off, &channel->owing);
	loop->wakes_due = true;
	ipci_channel_set_hot(channel);
}

/* Nobody would come back to it: now, whatever was spent. A sleep costs as much as a wake. */
void ipci_channel_ring_owed(struct ipc_channel *channel)
{
	uint32_t how = 0;

	if (channel->wake_owed)
		how |= ipci_wake_frames(&channel->tx);
	if (channel->space_owed)
		how |= ipci_wake_space(&channel->tx);
	channel->wake_owed = channel->space_owed = false;
	if (how)
		ring_now(channel, how);
}

/* Tells the peer how far its ring is free, and wakes it if it waits for that. */
void ipci_channel_give_back(struct ipc_channel *channel)
{
	if (ipci_consumer_publish(&channel->inbox->rx))
		ipci_channel_wake_space(channel);
}

/*
 * Much came without a sleep: the peer is told that it need not fence. That is a membarrier to come,
 * so it is earned by as many messages as it costs, and a peer that knows the number cannot have more
 * of them than the budget has.
 */
void ipci_channel_busy(struct ipc_channel *channel)
{
	struct ipc_loop *loop = channel->loop;
	uint64_t now_ns;

	ipci_channel_give_back(channel);
	if (channel->sleep.awake || !channel->may_be_awake ||
	    channel->inbox->rx.n_frames - channel->frames_at_sleep < IPCI_AWAKE_AFTER_FRAMES)
		return;
	now_ns = ipci_now_ns();
	if ((loop->features & IPCI_FEATURE_MEMBARRIER) &&
	    ipci_budget_take(&channel->awakenings, now_ns, IPCI_NS_PER_MS, 1) &&
	    ipci_budget_take(&loop->awakenings, now_ns, IPCI_NS_PER_MS, IPCI_AWAKENINGS_PER_MS))
		ipci_sleep_stay_awake(&channel->sleep, channel->tx.own);
}

bool ipci_channel_get_drowsy(struct ipc_channel *channel)
{
	const bool owes = ipci_sleep_get_drowsy(&channel->sleep, channel->tx.own);

	channel->frames_at_sleep = channel->inbox->rx.n_frames;
	channel->n_membarriers += owes;
	return owes;
}

/*
 * AWAKE: the peers' fence, made here for all that they published without one. Where a filter that
 * the program installed later refuses it, no side is awake again, and what stands in a core's store
 * buffer is given a thousand times as long as it takes.
 */
void ipci_loop_barrier(struct ipc_loop *loop)
{
	const struct timespec pause = ipci_timespec(IPCI_NS_PER_MS);

	if (ipci_membarrier() == 0)
		return;
	loop->features &= ~IPCI_FEATURE_MEMBARRIER;
	(void)nanosleep(&pause, NULL);
}

void ipci_channel_arm(struct ipc_channel *channel, uint32_t want)
{
	if (ipci_channel_get_drowsy(channel))
		ipci_loop_barrier(channel->loop);
	ipci_sleep_arm(&channel->sleep, channel->tx.own, want);
}

void ipci_channel_ends(struct ipc_channel *channel)
{
	if (channel->ends || !channel->inbox)
		return;
	channel->ends = true;
	channel->drain_end = channel->inbox->rx.tail + channel->inbox->half.ring_bytes;
}

int ipci_channel_check_alive(struct ipc_channel *channel)
{
	if ((ipci_state(channel->tx.peer) & 0xff) == IPCI_PHASE_CLOSED)
		channel->peer_closed = true;
	if (!channel->hung_up && ipci_bell_hung_up(channel->bell))
		channel->hung_up = true;
	if (channel->hung_up || channel->peer_closed)
		ipci_channel_ends(channel);
	if (channel->ends)
		ipci_channel_set_hot(channel);
	return channel->hung_up || channel->peer_closed;
}

/* Takes what the bell brought; @revents as the poller saw them, 0 if it was not asked. */
void ipci_channel_bell_rang(struct ipc_channel *channel, uint32_t revents)
{
	int r = ipci_bell_drain(channel->bell);

	/* One that comes late, for an arming that is over, wakes in vain once. */
	channel->bell_named = false;
	if (r == -EPIPE || revents & (EPOLLHUP | EPOLLERR | EPOLLRDHUP))
		channel->hung_up = true;
	if (r != 0 || revents)
		ipci_channel_set_hot(channel);
	if (r == -EPROTO) {
		ipci_channel_lose(channel, -EPROTO, IPCI_REASON_POISONED,
				  "descriptors came through the bell");
		return;
	}
	if ((ipci_state(channel->tx.peer) & 0xff) == IPCI_PHASE_CLOSED)
		channel->peer_closed = true;
	if (channel->hung_up || channel->peer_closed)
		ipci_channel_ends(channel);
	/* Reported once: a hung-up socket stays ready for ever. */
	if (channel->hung_up && channel->bell_source.loop)
		ipci_loop_remove(channel->loop->poller, &channel->bell_source);
}

/* How a call ends that a lost channel will not answer. */
static int status_of(int code)
{
	switch (code) {
	case -EACCES:
		return IPC_PERMISSION_DENIED;
	case -EPROTO:
		return IPC_INTERNAL;
	default:
		return IPC_UNAVAILABLE;
	}
}

/*
 * From where on the peer took none of our frames: it closed, and said so. A claim, which is checked
 * for being possible and then believed: a liar deceives its own caller alone. A peer that died, or
 * broke the rules, is not believed.
 */
static uint64_t taken_by_peer(const struct ipc_channel *channel, enum ipci_reason reason)
{
	const struct ipci_producer *tx = &channel->tx;
	uint64_t taken;

	if (!channel->inbox || reason == IPCI_REASON_POISONED ||
	    (ipci_state(tx->peer) & 0xff) != IPCI_PHASE_CLOSED)
		return UINT64_MAX;
	taken = ipci_taken(tx->peer);
	return taken > tx->head || taken < tx->peer_consumed || taken % IPCI_LINE_BYTES ? UINT64_MAX
											: taken;
}

static void settle_call(struct ipc_call *call, int code, uint64_t taken, const char *text)
{
	/* Nobody is there any more to be told, or to hold the slot. */
	ipci_list_remove(&call->outbox);
	call->expired = false;
	switch (call->state) {
	case IPCI_CALL_SENT:
		if (!ipci_call_is_over(call))
			ipci_call_end(call, status_of(code),
				      call->position >= taken ? IPC_FATE_NOT_EXECUTED
							      : IPC_FATE_UNKNOWN,
				      text);
		break;
	case IPCI_CALL_ZOMBIE:
	case IPCI_CALL_FAILED:
		ipci_call_free(call);
		break;
	case IPCI_CALL_WAITING:
		ipci_place_leave(call);
		ipci_call_free(call);
		break;
	case IPCI_CALL_SERVED:
	case IPCI_CALL_STREAMING:
		ipci_call_cancel_by_peer(call);
		break;
	default:
		break;
	}
}

static void unhang_bell(struct ipc_channel *channel)
{
	if (channel->bell < 0)
		return;
	if (channel->bell_source.loop)
		ipci_loop_remove(channel->loop->poller, &channel->bell_source);
	ipci_fork_unregister(channel->bell);
	ipci_bell_close(channel->bell);
	channel->bell = -EBADF;
}

/* Says to the peer that nothing more comes, then rings whether or not it sleeps. */
static void say_goodbye(struct ipc_channel *channel, enum ipci_reason reason)
{
	ipci_channel_give_back(channel);
	/* The word and the bell go with the channel. */
	ipci_loop_flush_wakes(channel->loop->poller);
	ipci_taken_set(channel->tx.own, channel->inbox->rx.tail);
	ipci_state_set(channel->tx.own, IPCI_PHASE_CLOSED, reason);
	ipci_bell_bump(&channel->tx.own->bell_frames);
	ipci_bell_bump(&channel->tx.own->bell_space);
	(void)ipci_futex_wake(&channel->tx.own->bell_frames);
	(void)ipci_futex_wake(&channel->tx.own->bell_space);
	(void)ipci_bell_ring(channel->bell);
}

/* Takes away what nobody holds. */
static void unmap(struct ipc_channel *channel)
{
	struct ipci_inbox *inbox = channel->inbox;

	if (inbox) {
		channel->n_received = inbox->rx.n_frames;
		channel->inbox = NULL;
		inbox->channel = NULL;
		ipci_inbox_free_if_idle(inbox);
	}
	if (!channel->room_call)
		ipci_half_deinit(&channel->own);
}

void ipci_channel_lose(struct ipc_channel *channel, int code, enum ipci_reason reason,
		       const char *text)
{
	uint64_t taken;

	if (channel->lost)
		return;
	taken = taken_by_peer(channel, reason);
	channel->lost = true;
	channel->error = code;
	/* What the broker said stands there already. */
	if (text != channel->reason)
		(void)snprintf(channel->reason, sizeof(channel->reason), "%s", text);
	if (code != -EPIPE || reason != IPCI_REASON_FREED)
		(void)ipci_error_set(&channel->loop->error, code, "channel %llu to %s: %s",
				     (unsigned long long)channel->id, channel->peer, text);
	if (channel->inbox) {
		say_goodbye(channel, reason);
		unhang_bell(channel);
		ipci_loop_remove(channel->loop->poller, &channel->word_source);
		ipci_control_tell_closed(channel);
	}
	ipci_channel_set_cold(channel);
	ipci_list_remove(&channel->owing);
	unmap(channel);
	/* Counted as one more, a channel that nobody holds stays until the last call is settled. */
	channel->n_calls++;
	for (uint32_t i = 0; i < channel->n_slots; i++)
		settle_call(&channel->calls[i], code, taken, text);
	channel->n_calls--;
	if (!channel->freed) {
		channel->came = false;
		channel->went = true;
		channel->went_error = code;
		ipci_channel_ready(channel);
		ipci_reopen_plan(channel);
	}
}

static void destroy(struct ipc_channel *channel)
{
	ipci_list_remove(&channel->ready);
	ipci_list_remove(&channel->link);
	ipci_half_deinit(&channel->own);
	for (uint32_t i = 0; i < channel->n_slots; i++)
		ipci_stream_free(&channel->calls[i]);
	ipci_stream_free_pool(channel);
	ipci_reopen_free(channel);
	free(channel->calls);
	free(channel->methods);
	free(channel);
}

/* A channel whose handle is gone goes with the last call that the program holds. */
void ipci_channel_free_if_idle(struct ipc_channel *channel)
{
	if (!channel->room_call) {
		ipci_half_deinit(&channel->own);
		ipci_reopen_room_closed(channel);
	}
	if (channel->freed && channel->lost && channel->n_calls == 0)
		destroy(channel);
}

/*
 * In a forked child only the heap is ours: the halves are not mapped, the sockets closed, the
 * poller the parent's.
 */
static void free_after_fork(struct ipc_channel *channel)
{
	ipci_list_remove(&channel->ready);
	ipci_channel_set_cold(channel);
	ipci_list_remove(&channel->owing);
	ipci_list_remove(&channel->link);
	for (uint32_t i = 0; i < channel->n_slots; i++) {
		free(channel->calls[i].text);
		ipci_stream_free(&channel->calls[i]);
	}
	ipci_stream_free_pool(channel);
	if (channel->inbox) {
		/* What was kept is released later: its bytes are not here, its bookkeeping is. */
		channel->inbox->channel = NULL;
		channel->inbox->half = (struct ipci_half){};
		ipci_inbox_free_if_idle(channel->inbox);
	}
	ipci_reopen_free(channel);
	free(channel->calls);
	free(channel->methods);
	free(channel);
}

/* With its loop: nobody has a handle on anything any more. */
void ipci_channel_discard(struct ipc_channel *channel)
{
	if (ipci_forked(channel->loop)) {
		free_after_fork(channel);
		return;
	}
	channel->freed = true;
	ipci_list_remove(&channel->ready);
	ipci_channel_lose(channel, -EPIPE, IPCI_REASON_FREED, "freed");
	/* Counted as one more, the channel stays until the last call went. */
	channel->n_calls++;
	for (uint32_t i = 0; i < channel->n_slots; i++)
		if (channel->calls[i].state != IPCI_CALL_FREE &&
		    channel->calls[i].state != IPCI_CALL_LATE)
			ipci_call_free(&channel->calls[i]);
	channel->n_calls--;
	ipci_channel_free_if_idle(channel);
}

IPC_PUBLIC void ipc_channel_free(ipc_channel *channel)
{
	if (!channel || channel->freed)
		return;
	IPCI_ENTER(channel->loop);
	/* A client's calls go with it; a server's stay until the program ended each. */
	if (!channel->at_server || ipci_forked(channel->loop)) {
		ipci_channel_discard(channel);
		return;
	}
	channel->freed = true;
	ipci_list_remove(&channel->ready);
	if (channel->loop->departed == channel)
		channel->loop->departed = NULL;
	ipci_channel_lose(channel, -EPIPE, IPCI_REASON_FREED, "freed");
	ipci_channel_free_if_idle(channel);
}

static void fill_info(const struct ipc_channel *channel, struct ipc_channel_info *info)
{
	info->state = channel->inbox				     ? IPC_CHANNEL_OPEN
		      : channel->lost && !ipci_reopen_waits(channel) ? IPC_CHANNEL_CLOSED
								     : IPC_CHANNEL_OPENING;
	info->error = channel->error;
	info->id = channel->id;
	info->max_calls = channel->max_calls;
	info->n_calls = channel->n_calls;
	info->peer = channel->peer;
	info->service = channel->service->name;
	info->reason = channel->reason;
	info->n_wakes = channel->n_wakes;
	info->n_sleeps = channel->n_sleeps;
	info->n_wakes_deferred = channel->n_wakes_deferred;
	info->n_membarriers = channel->n_membarriers;
	info->n_sent = channel->tx.n_frames;
	info->n_received = channel->n_received;
	if (!channel->inbox)
		return;
	info->n_received = channel->inbox->rx.n_frames;
	info->awake = channel->sleep.awake;
	info->peer_awake = ipci_wake_unfenced(&channel->tx);
	info->payload_max_bytes = ipci_payload_max_bytes(channel->own.ring_bytes);
	info->receive_max_bytes = ipci_payload_max_bytes(channel->inbox->half.ring_bytes);
	info->shared_bytes = ipci_half_shape_bytes(channel->own.ring_bytes,
						   channel->own.page_bytes) +
			     ipci_half_shape_bytes(channel->inbox->half.ring_bytes,
						   channel->inbox->half.page_bytes);
	info->page_bytes = channel->own.page_bytes;
	info->peer_page_bytes = channel->inbox->half.page_bytes;
}

IPC_PUBLIC int ipc_channel_info(ipc_channel *channel, struct ipc_channel_info *ret)
{
	struct ipc_channel_info info = {};
	size_t size;

	if (!channel || !ret || ret->size < sizeof(size_t) || ret->size > 4096)
		return -EINVAL;
	IPCI_ENTER(channel->loop);
	if (ipci_forked(channel->loop))
		return -ECHILD;
	size = ret->size;
	fill_info(channel, &info);
	info.size = size;
	memcpy(ret, &info, size < sizeof(info) ? size : sizeof(info));
	return 0;
}
