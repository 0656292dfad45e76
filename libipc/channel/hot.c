/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The hot channels: those that are looked at in memory, in a line. The others are cold: armed in
 * the kernel, and at no cost.
 *
 * The first in the line has its turn, IPCI_TURN_EVENTS frames at most, then goes to the end; one
 * that has nothing goes there at once. After a round, and after a millisecond at the latest, the
 * kernel is asked, and whom it woke goes first. So between a frame's arrival and its service each
 * other channel has two turns at most.
 *
 * A channel that had nothing for a millisecond while others are busy cools by itself. They are
 * asked in the order in which they were asked last, a bounded number each millisecond, and all that
 * were awake share one membarrier.
 */
#include "hot.h"

#define COOL_BATCH 64u /* asked each millisecond whether they had nothing */
#define SPIN_ASKED 16u
#define EVENTS_PER_CLOCK 64u
#define OUTBOX_FRAME_MAX_BYTES (sizeof(struct ipci_frame) + IPCI_ERROR_TEXT_MAX + IPCI_LINE_BYTES)

/* ── the line ── */

/* Looked at in memory from now on; whoever was to wake this side need not. */
void ipci_channel_set_hot(struct ipc_channel *channel)
{
	struct ipc_loop *loop = channel->loop;

	if (channel->hot || !channel->inbox)
		return;
	channel->hot = true;
	ipci_sleep_disarm(&channel->sleep, channel->tx.own);
	ipci_list_append(&loop->hot, &channel->hot_link);
	ipci_list_append(&loop->tended, &channel->tended);
	channel->tended_tail = channel->inbox->rx.tail;
	channel->tended_ns = loop->polled_ns;
	loop->n_hot++;
}

void ipci_channel_set_cold(struct ipc_channel *channel)
{
	if (!channel->hot)
		return;
	channel->hot = false;
	ipci_list_remove(&channel->hot_link);
	ipci_list_remove(&channel->tended);
	channel->loop->n_hot--;
}

/* A turn begins, whosoever; one that is over at once where it is time to look at the clock. */
static void begin_turn(struct ipc_loop *loop)
{
	loop->n_served += IPCI_TURN_EVENTS - loop->turn_events;
	loop->turn_events = loop->n_served < loop->clock_at ? IPCI_TURN_EVENTS : 0;
}

void ipci_hot_put_first(struct ipc_loop *loop, struct ipc_channel *channel)
{
	/* Those before it go to the end, in their order: the list's head goes to between. */
	ipci_list_remove(&loop->hot);
	ipci_list_append(&channel->hot_link, &loop->hot);
	begin_turn(loop);
}

void ipci_hot_pass(struct ipc_loop *loop)
{
	struct ipci_list *first = loop->hot.next;

	if (first != loop->hot.prev) {
		ipci_list_remove(first);
		ipci_list_append(&loop->hot, first);
	}
	begin_turn(loop);
}

void ipci_hot_wake(struct ipc_channel *channel)
{
	struct ipc_loop *loop = channel->loop;
	const bool was_hot = channel->hot;

	ipci_channel_set_hot(channel);
	if (was_hot || !channel->hot)
		return;
	ipci_list_remove(&channel->hot_link);
	ipci_list_append(loop->hot.next, &channel->hot_link);
	begin_turn(loop);
}

void ipci_hot_asked(struct ipc_loop *loop)
{
	loop->n_served = 0;
	loop->clock_at = EVENTS_PER_CLOCK;
	loop->turn_events = IPCI_TURN_EVENTS;
}

bool ipci_hot_round_is_over(struct ipc_loop *loop)
{
	const uint32_t round = loop->n_hot * IPCI_TURN_EVENTS;

	loop->clock_at = loop->n_served + EVENTS_PER_CLOCK;
	return loop->n_served >= (round > IPCI_ROUND_EVENTS ? round : IPCI_ROUND_EVENTS);
}

uint64_t ipci_hot_spin_ns(const struct ipc_loop *loop)
{
	uint64_t most_ns = 0;
	unsigned n = 0;

	for (struct ipci_list *l = loop->hot.next; l != &loop->hot && n < SPIN_ASKED; l = l->next) {
		const struct ipc_channel *channel = IPCI_CONTAINER_OF(l, struct ipc_channel,
								      hot_link);

		if (ipci_spin_budget_ns(&channel->spin) > most_ns)
			most_ns = ipci_spin_budget_ns(&channel->spin);
		n++;
	}
	return most_ns;
}

/* ── cooling ── */

/*
 * May the channel's thread sleep? Called after arming: the last look at everything that could have
 * come.
 */
bool ipci_channel_is_quiet(struct ipc_channel *channel)
{
	int room;

	if (channel->wake_owed || channel->space_owed || channel->ends)
		return false;
	if ((ipci_state(channel->tx.peer) & 0xff) == IPCI_PHASE_CLOSED) {
		channel->peer_closed = true;
		ipci_channel_ends(channel);
		return false;
	}
	if (channel->stalled) {
		room = ipci_producer_has_room(&channel->tx, ipci_channel_reply_bytes(channel));
		if (room != 0)
			return false;
	} else if (ipci_consumer_ready(&channel->inbox->rx)) {
		return false;
	}
	if (channel->life & IPCI_LIFE_SHORT &&
	    ipci_producer_has_room(&channel->tx, ipci_channel_reply_bytes(channel)) != 0)
		return false;
	/* While a room is open, what waits for the ring waits for the program. */
	if (!channel->room_call && ipci_outbox_waits(channel) &&
	    ipci_producer_has_room(&channel->tx, OUTBOX_FRAME_MAX_BYTES) != 0)
		return false;
	return ipci_channel_is_writable(channel) == 0;
}

uint32_t ipci_channel_wants(const struct ipc_channel *channel, uint32_t frames, uint32_t space)
{
	bool for_space = channel->stalled || channel->room_wanted ||
			 channel->life & IPCI_LIFE_SHORT || ipci_outbox_waits(channel);

	return (channel->stalled ? 0 : frames) | (for_space ? space : 0);
}

/*
 * How the loop is to be woken for frames: by the peer's bell word where the poller awaits words,
 * else by the bell. The word is noted here, before arming.
 */
static uint32_t await_frames(struct ipc_channel *channel)
{
	struct ipci_loop *poller = channel->loop->poller;

	if (!channel->stalled && ipci_loop_has_words(poller) &&
	    ipci_loop_await(poller, &channel->word_source, ipci_bell_frames(channel->tx.peer)) == 0)
		return IPCI_WANT_FRAMES_FUTEX;
	return IPCI_WANT_FRAMES_BELL;
}

/* Cold: armed in the kernel, out of the line. False if something came meanwhile. */
static bool cool(struct ipc_channel *channel)
{
	uint32_t want;

	ipci_channel_give_back(channel);
	ipci_channel_ring_owed(channel);
	/* Bells of an earlier sleep are spent before the next begins. */
	if (channel->bell_named)
		ipci_channel_bell_rang(channel, 0);
	if (channel->lost)
		return false;
	want = ipci_channel_wants(channel, await_frames(channel), IPCI_WANT_SPACE_BELL);
	channel->bell_named = (want & (IPCI_WANT_FRAMES_BELL | IPCI_WANT_SPACE_BELL)) != 0;
	ipci_channel_arm(channel, want);
	if (!ipci_channel_is_quiet(channel)) {
		ipci_sleep_disarm(&channel->sleep, channel->tx.own);
		return false;
	}
	ipci_channel_set_cold(channel);
	return true;
}

/* One membarrier for all of them. */
void ipci_hot_get_drowsy(struct ipc_loop *loop)
{
	bool owes = false;

	for (struct ipci_list *l = loop->hot.next; l != &loop->hot; l = l->next)
		owes |= ipci_channel_get_drowsy(IPCI_CONTAINER_OF(l, struct ipc_channel, hot_link));
	if (owes)
		ipci_loop_barrier(loop);
}

/* All hot channels to cold ones. False if one of them has something to look at. */
bool ipci_hot_cool_all(struct ipc_loop *loop, bool spun)
{
	ipci_hot_get_drowsy(loop);
	while (!ipci_list_empty(&loop->hot)) {
		struct ipc_channel *channel = IPCI_CONTAINER_OF(loop->hot.next, struct ipc_channel,
								hot_link);

		if (!cool(channel))
			return false;
		if (spun)
			ipci_spin_learn(&channel->spin, IPCI_NEVER);
	}
	return true;
}

/* Nothing since it was asked last, a millisecond ago or more? */
static bool is_idle(struct ipc_channel *channel)
{
	const struct ipc_loop *loop = channel->loop;
	const struct ipci_consumer *rx = &channel->inbox->rx;
	const bool idle = rx->tail == channel->tended_tail && !ipci_consumer_ready(rx) &&
			  !channel->aside && loop->polled_ns - channel->tended_ns >= IPCI_POLL_NS;

	if (!idle && rx->tail != channel->tended_tail) {
		channel->tended_tail = rx->tail;
		channel->tended_ns = loop->polled_ns;
		ipci_channel_busy(channel);
	}
	return idle;
}

void ipci_hot_tend(struct ipc_loop *loop)
{
	struct ipc_channel *idle[COOL_BATCH];
	const uint32_t n_asked = loop->n_hot < COOL_BATCH ? loop->n_hot : COOL_BATCH;
	uint32_t n_idle = 0;
	bool owes = false;

	/*
	 * Alone, it is for the spin to say; and who spins, or sleeps on the channels' words, wants
	 * to look at all of them.
	 */
	if (loop->n_hot < 2 || loop->wait == IPC_WAIT_SPIN || loop->wait == IPC_WAIT_FUTEX ||
	    loop->polled_ns - loop->tended_ns < IPCI_POLL_NS)
		return;
	loop->tended_ns = loop->polled_ns;
	for (uint32_t i = 0; i < n_asked; i++) {
		struct ipc_channel *channel = IPCI_CONTAINER_OF(loop->tended.next,
								struct ipc_channel, tended);

		ipci_list_remove(&channel->tended);
		ipci_list_append(&loop->tended, &channel->tended);
		if (!is_idle(channel))
			continue;
		owes |= ipci_channel_get_drowsy(channel);
		idle[n_idle++] = channel;
	}
	if (owes)
		ipci_loop_barrier(loop);
	for (uint32_t i = 0; i < n_idle; i++)
		(void)cool(idle[i]);
}
