/* SPDX-License-Identifier: Apache-2.0 */
#include <sys/epoll.h>

#include "control.h"
#include "futex.h"
#include "post.h"
#include "quick.h"
#include "stream.h"
#include "turn.h"

#define POLL_BATCH 64u
#define LOOKS_PER_CLOCK 64u
#define LAST_LOOKS 16u
#define GLANCES 512u		/* looks at commit words alone, before the clock is asked */
#define GLANCES_BEFORE_REST 32u /* an answer at once would have come */
#define OUTBOX_FRAME_MAX_BYTES (sizeof(struct ipci_frame) + IPCI_ERROR_TEXT_MAX + IPCI_LINE_BYTES)
#define LOOKS_PER_TURN 1024u /* frames worked off without an event before others get their turn */

/* ── one wait of the poller ── */

static void source_ready(struct ipc_loop *loop, struct ipci_source *source, uint32_t revents)
{
	struct ipci_watch *watch;

	if (source == &loop->control_source) {
		ipci_control_process(loop);
	} else if (source == &loop->post_source) {
		ipci_post_drain(loop);
	} else if (source->user == loop) {
		watch = IPCI_CONTAINER_OF(source, struct ipci_watch, source);
		if (!watch->revents)
			loop->n_rare_ready++;
		watch->revents |= revents;
	} else if (source->word) {
		ipci_channel_set_hot(source->user);
	} else {
		ipci_channel_bell_rang(source->user, revents);
	}
}

int ipci_loop_poll(struct ipc_loop *loop, uint64_t timeout_ns)
{
	struct ipci_ready ready[POLL_BATCH];
	int n = ipci_loop_wait(loop->poller, ready, POLL_BATCH, timeout_ns);

	loop->polled_ns = ipci_now_ns();
	loop->n_looks = 0;
	for (int i = 0; i < n; i++) {
		/* A source that an earlier one took away with it is no longer on this poller. */
		if (ready[i].source->loop)
			source_ready(loop, ready[i].source, ready[i].revents);
	}
	if (loop->n_timers)
		ipci_timer_expire(loop, loop->polled_ns);
	return n < 0 ? n : 0;
}

/* ── look ── */

static int report_channel(struct ipc_loop *loop, struct ipc_event *event)
{
	struct ipc_channel *channel = IPCI_CONTAINER_OF(loop->ready_channels.next,
							struct ipc_channel, ready);

	*event = (struct ipc_event){
		.kind = IPC_EVENT_CHANNEL,
		.server = channel->server,
		.channel = channel,
		.user = channel->user,
	};
	if (channel->came) {
		channel->came = false;
	} else {
		event->status = channel->error;
		channel->went = false;
		if (channel->at_server) {
			loop->departed = channel;
			loop->departing = true;
		}
	}
	if (!channel->went)
		ipci_list_remove(&channel->ready);
	return IPCI_LOOK_EVENT;
}

static int report_rare(struct ipc_loop *loop, struct ipc_event *event)
{
	if (ipci_drain_report(loop, event))
		return IPCI_LOOK_EVENT;
	for (struct ipci_list *l = loop->watches.next; l != &loop->watches; l = l->next) {
		struct ipci_watch *watch = IPCI_CONTAINER_OF(l, struct ipci_watch, link);

		if (!watch->revents)
			continue;
		*event = (struct ipc_event){
			.kind = IPC_EVENT_FD,
			.user = watch->user,
			.fd = watch->source.fd,
			.revents = watch->revents,
		};
		watch->revents = 0;
		loop->n_rare_ready--;
		return IPCI_LOOK_EVENT;
	}
	loop->n_rare_ready = 0;
	return IPCI_LOOK_NOTHING;
}

static bool has_ready(struct ipc_loop *loop)
{
	return !ipci_list_empty(&loop->ready_calls) || !ipci_list_empty(&loop->ready_channels) ||
	       atomic_load_explicit(&loop->posted, memory_order_relaxed) == IPCI_POSTED_NOW ||
	       loop->n_rare_ready;
}

/* What has something to report although no frame is there. */
static int look_ready(struct ipc_loop *loop, struct ipc_event *event)
{
	if (!ipci_list_empty(&loop->ready_calls))
		return ipci_report_call(
			IPCI_CONTAINER_OF(loop->ready_calls.next, struct ipc_call, ready), event);
	if (!ipci_list_empty(&loop->ready_channels))
		return report_channel(loop, event);
	if (atomic_load_explicit(&loop->posted, memory_order_relaxed) == IPCI_POSTED_NOW &&
	    ipci_post_take(loop, event))
		return IPCI_LOOK_EVENT;
	if (loop->n_rare_ready)
		return report_rare(loop, event);
	return IPCI_LOOK_NOTHING;
}

/* The hot channel whose turn it is goes to the end of the line, whatever it had. */
static struct ipc_channel *next_hot(struct ipc_loop *loop)
{
	struct ipci_list *first = loop->hot.next;

	if (first->next != &loop->hot) {
		ipci_list_remove(first);
		ipci_list_append(&loop->hot, first);
	}
	return IPCI_CONTAINER_OF(first, struct ipc_channel, hot_link);
}

/* One round over all that is in memory: IPCI_LOOK_EVENT, _AGAIN, _NOTHING or -errno. */
static int look(struct ipc_loop *loop, struct ipc_event *event)
{
	int result = look_ready(loop, event);
	struct ipci_list *last;

	if (result != IPCI_LOOK_NOTHING || ipci_list_empty(&loop->hot))
		return result;
	last = loop->hot.prev;
	for (;;) {
		struct ipc_channel *channel = next_hot(loop);
		bool round = &channel->hot_link == last;
		int r = ipci_look(channel, event, NULL, NULL);

		if (r < 0 || r == IPCI_LOOK_EVENT)
			return r;
		if (r == IPCI_LOOK_AGAIN)
			result = IPCI_LOOK_AGAIN;
		/*
		 * A channel that was lost while it was looked at may be anywhere: the next call
		 * starts anew.
		 */
		if (round || r == IPCI_LOOK_AGAIN || ipci_list_empty(&loop->hot))
			return result;
	}
}

/* A busy loop's regard for everything that is not in memory. */
static int look_around(struct ipc_loop *loop)
{
	if (++loop->n_looks < LOOKS_PER_CLOCK)
		return 0;
	loop->n_looks = 0;
	if (ipci_now_ns() - loop->polled_ns < IPCI_POLL_NS)
		return 0;
	return ipci_loop_poll(loop, 0);
}

/* ── sleep ── */

/*
 * Is there a WRITABLE to report? Exactly what report_writable() asks: else the loop neither reports
 * it nor sleeps.
 */
static bool is_writable(struct ipc_channel *channel)
{
	if (channel->room_call || (!channel->room_wanted && !channel->call_wanted))
		return false;
	if (channel->call_wanted && !channel->free_calls)
		return false;
	return !channel->room_wanted ||
	       ipci_producer_has_room(&channel->tx, channel->room_wanted) != 0;
}

/*
 * May the channel's thread sleep? Called after arming: the last look at everything that could have
 * come.
 */
static bool is_quiet(struct ipc_channel *channel)
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
	return !is_writable(channel);
}

static uint32_t wants(const struct ipc_channel *channel, uint32_t frames, uint32_t space)
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
	want = wants(channel, await_frames(channel), IPCI_WANT_SPACE_BELL);
	channel->bell_named = (want & (IPCI_WANT_FRAMES_BELL | IPCI_WANT_SPACE_BELL)) != 0;
	ipci_channel_arm(channel, want);
	if (!is_quiet(channel)) {
		ipci_sleep_disarm(&channel->sleep, channel->tx.own);
		return false;
	}
	channel->hot = false;
	ipci_list_remove(&channel->hot_link);
	return true;
}

/* One membarrier for all of them. */
static void get_drowsy(struct ipc_loop *loop)
{
	bool owes = false;

	for (struct ipci_list *l = loop->hot.next; l != &loop->hot; l = l->next)
		owes |= ipci_channel_get_drowsy(IPCI_CONTAINER_OF(l, struct ipc_channel, hot_link));
	if (owes)
		ipci_loop_barrier(loop);
}

/* All hot channels to cold ones. False if one of them has something to look at. */
static bool cool_all(struct ipc_loop *loop)
{
	get_drowsy(loop);
	while (!ipci_list_empty(&loop->hot)) {
		if (!cool(IPCI_CONTAINER_OF(loop->hot.next, struct ipc_channel, hot_link)))
			return false;
	}
	return true;
}

static int sleep_in_kernel(struct ipc_loop *loop, uint64_t timeout_ns)
{
	int r;

	if (has_ready(loop) || !cool_all(loop))
		return timeout_ns == 0 ? ipci_loop_poll(loop, 0) : 0;
	r = ipci_loop_set_deadline(loop->poller, ipci_timer_next_ns(loop));
	if (r < 0)
		return r;
	return ipci_loop_poll(loop, timeout_ns);
}

/* Do the hot channels' words, and the posts', say all that these channels wait for? */
static bool can_sleep_on_futex(const struct ipc_loop *loop)
{
	unsigned n = atomic_load_explicit(&loop->posted, memory_order_relaxed) != 0;
	bool any = false;

	for (struct ipci_list *l = loop->hot.next; l != &loop->hot; l = l->next) {
		const struct ipc_channel *channel = IPCI_CONTAINER_OF(l, struct ipc_channel,
								      hot_link);

		if (channel->stalled || wants(channel, 0, 1) || ++n > IPCI_FUTEX_WAITV_MAX)
			return false;
		any = true;
	}
	return any && (n == 1 || ipci_futex_waitv_works());
}

/*
 * One slice on the hot channels' own words: the shortest way to sleep and be woken, deaf to all
 * else for 20 ms at most. 1 woken, 0 the slice passed or does not apply.
 */
static int sleep_on_futex(struct ipc_loop *loop, uint64_t timeout_ns)
{
	struct ipci_futex_word words[IPCI_FUTEX_WAITV_MAX];
	uint64_t timer_ns = ipci_remaining_ns(ipci_timer_next_ns(loop), ipci_now_ns());
	uint64_t slice_ns = timeout_ns < IPCI_RECHECK_NS ? timeout_ns : IPCI_RECHECK_NS;
	unsigned n = 0;
	bool quiet = true;
	int r = -EAGAIN;

	if (timer_ns < slice_ns)
		slice_ns = timer_ns;
	if (!can_sleep_on_futex(loop))
		return 0;
	get_drowsy(loop);
	for (struct ipci_list *l = loop->hot.next; l != &loop->hot; l = l->next) {
		struct ipc_channel *channel = IPCI_CONTAINER_OF(l, struct ipc_channel, hot_link);

		ipci_channel_give_back(channel);
		ipci_channel_ring_owed(channel);
		words[n].expected = ipci_bell_frames(channel->tx.peer);
		ipci_channel_arm(channel, IPCI_WANT_FRAMES_FUTEX);
		words[n++].word = &channel->tx.peer->bell_frames;
		quiet = quiet && is_quiet(channel);
	}
	/* A loop that is posted to listens for that too. */
	if (atomic_load_explicit(&loop->posted, memory_order_relaxed)) {
		words[n].expected = IPCI_POSTED_BEFORE;
		words[n++].word = &loop->posted;
	}
	if (loop->wakes_due)
		ipci_loop_send_wakes(loop, true);
	if (quiet && n == 1)
		r = ipci_futex_wait(words[0].word, words[0].expected, ipci_deadline_ns(slice_ns));
	else if (quiet)
		r = ipci_futex_waitv(words, n, ipci_deadline_ns(slice_ns));
	for (struct ipci_list *l = loop->hot.next; l != &loop->hot; l = l->next) {
		struct ipc_channel *channel = IPCI_CONTAINER_OF(l, struct ipc_channel, hot_link);

		channel->n_sleeps += r == 0;
		ipci_sleep_disarm(&channel->sleep, channel->tx.own);
	}
	return r == 0 || r == -EAGAIN;
}

/* ── next ── */

static void rest(struct ipc_loop *loop)
{
	for (struct ipci_list *l = loop->hot.next; l != &loop->hot; l = l->next)
		ipci_channel_rest(IPCI_CONTAINER_OF(l, struct ipc_channel, hot_link));
}

/* Looks until an event, an empty look after @spin_ns, or as many as one turn may take. */
static int look_for(struct ipc_loop *loop, struct ipc_event *event, uint64_t spin_ns)
{
	uint64_t started_ns = 0, spun_ns;
	unsigned n = 0, n_again = 0;

	for (;;) {
		int r = look(loop, event);

		if (r < 0 || r == IPCI_LOOK_EVENT)
			return r;
		if (r == IPCI_LOOK_AGAIN && ++n_again > LOOKS_PER_TURN)
			return IPCI_LOOK_NOTHING;
		if (++n % LOOKS_PER_CLOCK) {
			if (spin_ns == 0 && r == IPCI_LOOK_NOTHING)
				return r;
			if (n > LOOKS_PER_CLOCK)
				ipci_cpu_relax();
			continue;
		}
		if (ipci_list_empty(&loop->hot) && r == IPCI_LOOK_NOTHING)
			return r;
		if (!started_ns)
			started_ns = ipci_now_ns();
		spun_ns = ipci_now_ns() - started_ns;
		if (r == IPCI_LOOK_NOTHING && spun_ns >= spin_ns)
			return r;
		if (r == IPCI_LOOK_NOTHING) {
			/* A peer that waits for room must not wait for the end of this spin. */
			rest(loop);
			if (loop->wakes_due)
				ipci_loop_send_wakes(loop, false);
			ipci_spin_yield(spun_ns);
		}
		r = look_around(loop);
		if (r < 0 && r != -EINTR)
			return r;
	}
}

static int wait_once(struct ipc_loop *loop, uint64_t started_ns, uint64_t deadline_ns)
{
	uint64_t now_ns = ipci_now_ns();
	uint64_t remaining_ns = ipci_remaining_ns(deadline_ns, now_ns);
	int r;

	if (loop->wait == IPC_WAIT_FUTEX && remaining_ns && sleep_on_futex(loop, remaining_ns))
		return look_around(loop);
	r = sleep_in_kernel(loop, remaining_ns);
	ipci_spin_learn(&loop->spin, loop->polled_ns - started_ns);
	return r;
}

/* The slow half of ipc_loop_next(): nothing was there at first sight. */
static int next_slowly(struct ipc_loop *loop, struct ipc_event *event, int64_t timeout_ns)
{
	uint64_t started_ns = ipci_now_ns();
	uint64_t deadline_ns = timeout_ns < 0 ? IPCI_NEVER : ipci_deadline_ns((uint64_t)timeout_ns);
	unsigned n_last = 0;
	int r;

	for (;;) {
		bool last = timeout_ns == 0 ||
			    (deadline_ns != IPCI_NEVER && ipci_now_ns() >= deadline_ns);

		r = look_for(loop, event, last ? 0 : ipci_spin_budget_ns(&loop->spin));
		if (r == IPCI_LOOK_EVENT)
			ipci_spin_learn(&loop->spin, ipci_now_ns() - started_ns);
		if (r < 0 || r == IPCI_LOOK_EVENT)
			return r < 0 ? r : 1;
		r = wait_once(loop, started_ns, last ? 0 : deadline_ns);
		if (r < 0)
			return r;
		/* Armed, and nothing came: the host may sleep. */
		if (last && ipci_list_empty(&loop->hot) && !has_ready(loop))
			return 0;
		/*
		 * A peer that always has something, never an event: the host gets its turn, and
		 * comes back.
		 */
		if (last && ++n_last == LAST_LOOKS) {
			ipci_post_nudge(loop);
			return 0;
		}
	}
}

/*
 * The one busy channel's next request is not there yet: see ipci_patience. With more channels one
 * of them may be ready.
 */
static inline void be_patient(struct ipc_loop *loop)
{
	struct ipc_channel *channel = IPCI_CONTAINER_OF(loop->hot.next, struct ipc_channel,
							hot_link);

	if (loop->hot.next == &loop->hot || loop->hot.next != loop->hot.prev)
		return;
	ipci_patience_wait(&channel->patience);
	ipci_patience_learn(&channel->patience, ipci_consumer_ready(&channel->inbox->rx));
}

/*
 * The first sight: the hot channels' commit words and little else, @n times over, for as long as a
 * peer that answers at once takes. IPCI_LOOK_EVENT; IPCI_LOOK_AGAIN there is something for look();
 * IPCI_LOOK_NOTHING.
 */
static inline int glance(struct ipc_loop *loop, struct ipc_event *event, unsigned n)
{
	if (n > 1)
		be_patient(loop);
	for (unsigned i = 0; i < n; i++) {
		for (struct ipci_list *l = loop->hot.next; l != &loop->hot; l = l->next) {
			struct ipc_channel *channel = IPCI_CONTAINER_OF(l, struct ipc_channel,
									hot_link);

			if (ipci_consumer_ready(&channel->inbox->rx))
				return l->next == &loop->hot &&
						       (ipci_quick_request(channel, event) ||
							ipci_quick_message(channel, event))
					       ? IPCI_LOOK_EVENT
					       : IPCI_LOOK_AGAIN;
			if (i == GLANCES_BEFORE_REST)
				ipci_channel_rest(channel);
		}
		if (atomic_load_explicit(&loop->posted, memory_order_relaxed) == IPCI_POSTED_NOW)
			return IPCI_LOOK_AGAIN;
	}
	return IPCI_LOOK_NOTHING;
}

IPC_PUBLIC int ipc_loop_next(ipc_loop *loop, struct ipc_event *event, int64_t timeout_ns)
{
	int r;

	if (!loop || !event)
		return -EINVAL;
	if (ipci_forked(loop))
		return -ECHILD;
	ipci_turn_begin(loop);
	(void)look_around(loop);
	r = IPCI_LOOK_AGAIN;
	if (!has_ready(loop))
		r = glance(loop, event, timeout_ns && loop->spin.max_ns ? GLANCES : 1);
	if (__builtin_expect(r == IPCI_LOOK_EVENT, 1))
		return 1;
	r = look(loop, event);
	if (r < 0 || r == IPCI_LOOK_EVENT)
		return r;
	return next_slowly(loop, event, timeout_ns);
}
