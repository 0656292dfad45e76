/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Waiting on one channel, inside a call: for a reply, or for room.
 *
 * For a reply: spin, then sleep on the peer's bell_frames word, one futex(2) at a time, 20 ms at
 * most, after which the hang-up and the broker are looked at. For room: the bell socket, which
 * tells of frames, room and the hang-up at once, since who waits for room keeps receiving.
 */
#include <poll.h>

#include "bell.h"
#include "control.h"
#include "futex.h"
#include "quick.h"
#include "turn.h"
#include "threads.h"

#define LOOKS_PER_CLOCK 64u
#define GLANCES 512u
#define GLANCES_BEFORE_REST 32u
#define LOOKS_FOR_ITEM 2u
#define PAUSES_PER_LOOK 12u

static uint64_t earlier(uint64_t a_ns, uint64_t b_ns)
{
	return a_ns < b_ns ? a_ns : b_ns;
}

/* Neither frames nor their end: may this thread sleep for frames? Asked after arming. */
static bool no_frames(struct ipc_channel *channel)
{
	if (ipci_consumer_ready(&channel->inbox->rx))
		return false;
	/* Found at the end of an earlier sleep, ahead of the frames that were still there. */
	if (channel->hung_up || channel->closed_by_broker)
		return false;
	if ((ipci_state(channel->tx.peer) & 0xff) != IPCI_PHASE_CLOSED)
		return true;
	channel->peer_closed = true;
	ipci_channel_ends(channel);
	return false;
}

/* Sleeps until a frame may be there, for at most 20 ms. 0 or -EINTR. */
static int sleep_for_frames(struct ipc_channel *channel, uint64_t deadline_ns)
{
	uint32_t bell;
	int r = 0;

	ipci_channel_give_back(channel);
	if (channel->loop->wakes_due)
		ipci_loop_send_wakes(channel->loop, true);
	bell = ipci_bell_frames(channel->tx.peer);
	ipci_channel_arm(channel, IPCI_WANT_FRAMES_FUTEX);
	if (no_frames(channel)) {
		r = ipci_futex_wait(&channel->tx.peer->bell_frames, bell,
				    earlier(deadline_ns, ipci_deadline_ns(IPCI_RECHECK_NS)));
		channel->n_sleeps += r == 0;
	}
	ipci_sleep_disarm(&channel->sleep, channel->tx.own);
	if (r != -ETIMEDOUT)
		return r == -EINTR ? r : 0;
	(void)ipci_channel_check_alive(channel);
	ipci_control_process(channel->loop);
	return 0;
}

/* Looks at the commit word until something is there or @spin_ns passed. True if something is. */
static bool spin_for_frames(const struct ipc_channel *channel, uint64_t started_ns,
			    uint64_t spin_ns)
{
	const struct ipci_consumer *rx = &channel->inbox->rx;

	for (;;) {
		uint64_t spun_ns;

		for (unsigned i = 0; i < LOOKS_PER_CLOCK; i++) {
			if (ipci_consumer_ready(rx))
				return true;
			ipci_cpu_relax();
		}
		spun_ns = ipci_now_ns() - started_ns;
		if (spun_ns >= spin_ns)
			return false;
		ipci_spin_yield(spun_ns);
	}
}

/* Nothing was there at first sight: spins, then sleeps once. 0 look again, -ETIMEDOUT, -EINTR. */
static int wait_for_frames(struct ipc_channel *channel, uint64_t deadline_ns)
{
	uint64_t started_ns = ipci_now_ns();
	uint64_t spin_ns = ipci_spin_budget_ns(&channel->spin);
	int r;

	if (started_ns >= deadline_ns)
		return -ETIMEDOUT;
	if (spin_ns &&
	    spin_for_frames(channel, started_ns, earlier(spin_ns, deadline_ns - started_ns))) {
		ipci_spin_learn(&channel->spin, ipci_now_ns() - started_ns);
		return 0;
	}
	/* Who spun for long has heard nothing of a hang-up either. */
	if (spin_ns >= IPCI_NS_PER_MS && ipci_channel_check_alive(channel))
		return 0;
	r = sleep_for_frames(channel, deadline_ns);
	if (spin_ns)
		ipci_spin_learn(&channel->spin, ipci_now_ns() - started_ns);
	return r;
}

/* The first sight: long enough for a peer that answers at once, and without a look at the clock. */
static bool glance(struct ipc_channel *channel)
{
	const struct ipci_consumer *rx = &channel->inbox->rx;

	if (!channel->spin.max_ns)
		return ipci_consumer_ready(rx);
	for (unsigned n = 0; n < GLANCES; n++) {
		if (ipci_consumer_ready(rx))
			return true;
		if (n == GLANCES_BEFORE_REST)
			ipci_channel_rest(channel);
	}
	return false;
}

/*
 * A request just went out: its reply is not there yet, and looking for it too early would only
 * delay it.
 */
static void be_patient(struct ipc_channel *channel)
{
	/* What waited behind the request may have found the peer out, and the channel be lost. */
	if (!channel->spin.max_ns || !channel->inbox)
		return;
	ipci_patience_wait(&channel->patience);
	ipci_patience_learn(&channel->patience, ipci_consumer_ready(&channel->inbox->rx));
}

static int give_up(struct ipc_call *call)
{
	ipci_call_expired(call);
	ipci_call_set_ended(call);
	return IPC_DEADLINE_EXCEEDED;
}

/* Credit that the awaited needs cannot go out while a room is open: it is the ring's newest place. */
static bool is_in_the_way(const struct ipc_call *call)
{
	return call->channel->room_call && call->stream && call->stream->owes_credit;
}

/*
 * A peer that always has something, never what is awaited, keeps this side neither beyond its
 * deadline nor from seeing that it ended, nor from what the broker says of the channel. 0 look on,
 * or -ETIMEDOUT.
 */
static int look_up(struct ipc_channel *channel, uint64_t deadline_ns, uint64_t *looked_up_ns)
{
	const uint64_t now_ns = ipci_now_ns();

	if (now_ns >= deadline_ns)
		return -ETIMEDOUT;
	if (now_ns - *looked_up_ns >= IPCI_RECHECK_NS) {
		*looked_up_ns = now_ns;
		if (channel->inbox)
			(void)ipci_channel_check_alive(channel);
		ipci_control_process(channel->loop);
	}
	return 0;
}

/* Waits for the one call. 0 and *@msg, a status, -EINTR, -ENOMEM. */
static int wait_for_call(struct ipc_call *call, struct ipc_msg *msg)
{
	struct ipc_channel *channel = call->channel;
	uint64_t looked_up_ns = 0;
	unsigned n = 0;
	int r;

	if (channel->wake_owed)
		ipci_channel_wake(channel);
	for (;;) {
		/* Lost, or expired while the loop was looked at. */
		if (call->status >= 0) {
			ipci_call_set_ended(call);
			return ipci_call_outcome(call);
		}
		if (glance(channel)) {
			if (__builtin_expect(ipci_quick_reply(call, msg), 1))
				return IPC_OK;
			r = 0;
		} else if (is_in_the_way(call)) {
			return -EBUSY;
		} else {
			r = wait_for_frames(channel, call->deadline_ns);
		}
		if (r == 0 && ++n % LOOKS_PER_CLOCK == 0)
			r = look_up(channel, call->deadline_ns, &looked_up_ns);
		if (r == -ETIMEDOUT)
			return give_up(call);
		if (r < 0)
			return r;
		if (!channel->inbox)
			continue;
		r = ipci_look(channel, NULL, call, msg);
		if (__builtin_expect(r == IPCI_LOOK_MESSAGE, 1))
			return IPC_OK;
		if (r == IPCI_LOOK_ENDED)
			return ipci_call_outcome(call);
		if (r < 0)
			return r;
	}
}

/* The last of several messages: what the peer sends next is received like any other. */
static int transact_stream(struct ipc_call *call, size_t size_bytes, struct ipc_msg *msg)
{
	int r;

	if (call->channel->at_server)
		return -EINVAL;
	r = ipci_stream_commit(call, size_bytes, IPC_LAST);
	return r < 0 ? r : ipc_receive(call, msg);
}

IPC_PUBLIC int ipc_transact(ipc_call *call, size_t size_bytes, struct ipc_msg *msg)
{
	int r;

	if (!call || !msg)
		return -EINVAL;
	IPCI_ENTER(call->channel->loop);
	if (ipci_forked(call->channel->loop))
		return -ECHILD;
	if (call->state != IPCI_CALL_BEGUN)
		return transact_stream(call, size_bytes, msg);
	r = ipci_call_send(call, size_bytes, IPC_LAST);
	if (r == -EINVAL)
		return r;
	if (r < 0) {
		ipci_call_free(call);
		return r;
	}
	ipci_turn_begin(call->channel->loop);
	ipci_channel_set_hot(call->channel);
	be_patient(call->channel);
	r = wait_for_call(call, msg);
	if (call->state == IPCI_CALL_SENT)
		(void)ipci_timer_add(call);
	return r;
}

/*
 * A stream's next item is not there: its sender is at it. Looking now and then lets it write several
 * in peace: each look takes away the line that it writes to.
 */
static bool await_item(struct ipc_call *call, struct ipc_msg *msg)
{
	if (!call->channel->spin.max_ns || !call->channel->inbox ||
	    ipci_consumer_ready(&call->channel->inbox->rx))
		return false;
	for (unsigned n = 0; n < LOOKS_FOR_ITEM; n++) {
		for (unsigned k = 0; k < PAUSES_PER_LOOK; k++)
			ipci_cpu_relax();
		if (ipci_quick_item(call, msg))
			return true;
	}
	return false;
}

/* The oldest of what came while the program waited for something else. */
static int receive_parked(struct ipc_call *call, struct ipc_msg *msg)
{
	const bool last = call->stream->first->last;

	ipci_unpark(call, msg);
	if (last) {
		call->status = IPC_OK;
		call->fate = IPC_FATE_EXECUTED;
		ipci_call_set_ended(call);
	} else if (!call->stream->first && !call->stream->writable && call->status < 0) {
		ipci_list_remove(&call->ready);
	}
	return 0;
}

IPC_PUBLIC int ipc_receive(ipc_call *call, struct ipc_msg *msg)
{
	if (!call || !msg)
		return -EINVAL;
	IPCI_ENTER(call->channel->loop);
	if (ipci_forked(call->channel->loop))
		return -ECHILD;
	if (call->state != IPCI_CALL_SENT)
		return -EINVAL;
	ipci_turn_begin(call->channel->loop);
	if (call->stream) {
		if (call->stream->first)
			return receive_parked(call, msg);
		if (ipci_quick_item(call, msg))
			return 0;
		if (await_item(call, msg))
			return 0;
	}
	ipci_channel_set_hot(call->channel);
	return wait_for_call(call, msg);
}

/* ── room ── */

/* 1 there is what was waited for; 0 not yet; -errno. */
static int has_what_is_wanted(struct ipc_channel *channel, const struct ipc_call *stream,
			      uint64_t frame_bytes)
{
	int r;

	if (!channel->inbox)
		return channel->error;
	if (frame_bytes == 0)
		return channel->free_calls != NULL;
	if (stream) {
		r = ipci_stream_may_send(stream, frame_bytes, 0);
		if (r != 1)
			return r;
	}
	r = ipci_producer_has_room(&channel->tx, frame_bytes);
	if (r < 0)
		ipci_channel_lose(channel, r, IPCI_REASON_POISONED,
				  "the peer's `consumed` is impossible");
	return r;
}

/* Asleep until the peer rings for frames or room, or the broker has something to say. */
static int sleep_for_room(struct ipc_channel *channel, const struct ipc_call *stream,
			  uint64_t frame_bytes, uint64_t deadline_ns)
{
	struct pollfd fds[] = {
		{.fd = channel->bell, .events = POLLIN},
		{.fd = ipci_control_fd(channel->loop), .events = POLLIN},
	};
	uint64_t now_ns = ipci_now_ns();
	uint64_t slice_ns = earlier(ipci_remaining_ns(deadline_ns, now_ns), IPCI_RECHECK_NS);
	struct timespec slice = ipci_timespec(slice_ns);
	int r = 0;

	if (slice_ns == 0)
		return -ETIMEDOUT;
	ipci_channel_give_back(channel);
	if (channel->loop->wakes_due)
		ipci_loop_send_wakes(channel->loop, true);
	(void)ipci_bell_drain(channel->bell);
	channel->bell_named = true;
	ipci_channel_arm(channel, IPCI_WANT_FRAMES_BELL | IPCI_WANT_SPACE_BELL);
	if (has_what_is_wanted(channel, stream, frame_bytes) == 0 && no_frames(channel)) {
		channel->n_sleeps++;
		r = ppoll(fds, 2, &slice, NULL) < 0 ? -errno : 0;
	}
	if (!channel->inbox)
		return 0;
	ipci_sleep_disarm(&channel->sleep, channel->tx.own);
	(void)ipci_channel_check_alive(channel);
	if (fds[1].revents)
		ipci_control_process(channel->loop);
	return r;
}

/* The peer makes room, or gives credit, as soon as it answers a call: not each wait is a sleep. */
static bool may_spin_on(struct ipc_channel *channel, uint64_t *started_ns)
{
	uint64_t now_ns = ipci_now_ns();

	if (!*started_ns) {
		*started_ns = now_ns;
		/* What it waits for may be what was consumed here and not told. */
		ipci_channel_give_back(channel);
	}
	if (now_ns - *started_ns >= ipci_spin_budget_ns(&channel->spin))
		return false;
	ipci_spin_yield(now_ns - *started_ns);
	return true;
}

/* Must the program receive before what is waited for can come? */
static bool must_receive(const struct ipc_channel *channel, const struct ipc_call *stream,
			 uint64_t frame_bytes)
{
	/* The peer may wait for credit itself before it takes what would bring this side's. */
	if (stream && ipci_stream_is_clogged(stream))
		return ipci_stream_may_send(stream, frame_bytes, 0) == 0;
	if (frame_bytes || channel->free_calls)
		return false;
	/* One that was received is free as soon as the next is. */
	if (channel->loop->ended && channel->loop->ended->channel == channel)
		return true;
	/* A call whose end waits for the program is in use until it was received. */
	for (struct ipci_list *l = channel->loop->ready_calls.next;
	     l != &channel->loop->ready_calls; l = l->next) {
		struct ipc_call *call = IPCI_CONTAINER_OF(l, struct ipc_call, ready);

		if (call->channel == channel && ipci_call_is_over(call))
			return true;
	}
	return false;
}

int ipci_block_for_room(struct ipc_channel *channel, struct ipc_call *stream, uint64_t frame_bytes,
			uint64_t deadline_ns)
{
	uint64_t looked_up_ns = 0, started_ns = 0;
	unsigned n = 0;
	int r;

	ipci_channel_set_hot(channel);
	for (;;) {
		r = has_what_is_wanted(channel, stream, frame_bytes);
		if (r != 0 && started_ns && channel->spin.max_ns)
			ipci_spin_learn(&channel->spin, ipci_now_ns() - started_ns);
		if (r != 0)
			return r < 0 ? r : 0;
		r = ipci_look(channel, NULL, NULL, NULL);
		if (r < 0)
			return r;
		/* Lost: there is nothing to wait for, and nothing to look at. */
		if (!channel->inbox)
			continue;
		if (must_receive(channel, stream, frame_bytes)) {
			if (stream)
				stream->stream->wanted_bytes = frame_bytes;
			return -EAGAIN;
		}
		if ((r == IPCI_LOOK_AGAIN || channel->spin.max_ns) && ++n % LOOKS_PER_CLOCK) {
			ipci_cpu_relax();
			continue;
		}
		if (r == IPCI_LOOK_AGAIN && look_up(channel, deadline_ns, &looked_up_ns) == 0)
			continue;
		if (may_spin_on(channel, &started_ns))
			continue;
		r = sleep_for_room(channel, stream, frame_bytes, deadline_ns);
		if (r < 0)
			return r;
	}
}
