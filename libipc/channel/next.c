/* SPDX-License-Identifier: Apache-2.0 */
#include <sys/epoll.h>

#include "control.h"
#include "futex.h"
#include "hot.h"
#include "post.h"
#include "quick.h"
#include "stream.h"
#include "turn.h"
#include "threads.h"

#define POLL_BATCH 64u
#define LOOKS_PER_CLOCK 64u
#define LAST_LOOKS 16u
#define GLANCES 512u		/* looks at commit words alone, before the clock is asked */
#define GLANCES_BEFORE_REST 32u /* an answer at once would have come */
#define LOOKS_PER_TURN 1024u /* frames worked off without an event before others get their turn */

/* ── one wait of the poller ── */

/* Whom the kernel woke has waited longest. */
static void bell_rang(struct ipc_channel *channel, uint32_t revents)
{
	if (!channel->lost)
		ipci_hot_wake(channel);
	ipci_channel_bell_rang(channel, revents);
}

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
		ipci_hot_wake(source->user);
	} else {
		bell_rang(source->user, revents);
	}
}

int ipci_loop_poll(struct ipc_loop *loop, uint64_t timeout_ns)
{
	struct ipci_ready ready[POLL_BATCH];
	int n = ipci_loop_wait(loop->poller, ready, POLL_BATCH, timeout_ns);

	loop->polled_ns = ipci_now_ns();
	ipci_hot_asked(loop);
	/* From the last on: each that was woken goes first, so the first to be ready is the first. */
	for (int i = n; i-- > 0;) {
		/* A source that another one took away with it is no longer on this poller. */
		if (ready[i].source->loop)
			source_ready(loop, ready[i].source, ready[i].revents);
	}
	if (loop->n_timers)
		ipci_timer_expire(loop, loop->polled_ns);
	ipci_hot_tend(loop);
	ipci_reopen_due(loop, loop->polled_ns);
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
	if (channel->went) {
		event->status = channel->went_error;
		channel->went = false;
		if (channel->at_server) {
			loop->departed = channel;
			loop->departing = true;
		}
	} else {
		channel->came = false;
	}
	if (!channel->came)
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

/* A busy loop's regard for everything that is not in memory. */
static int look_around(struct ipc_loop *loop)
{
	if (!ipci_hot_round_is_over(loop) && ipci_now_ns() - loop->polled_ns < IPCI_POLL_NS)
		return 0;
	return ipci_loop_poll(loop, 0);
}

/* The first's turn is over. An error of the poller shows again where the loop would sleep. */
static void end_turn(struct ipc_loop *loop)
{
	ipci_hot_pass(loop);
	if (loop->turn_events)
		return;
	(void)look_around(loop);
	loop->turn_events = IPCI_TURN_EVENTS;
}

/* One more of the first's frames, or nothing. */
static inline void count_event(struct ipc_loop *loop)
{
	if (__builtin_expect(loop->turn_events == 0, 0))
		end_turn(loop);
	loop->turn_events--;
}

/* One round over all that is in memory: IPCI_LOOK_EVENT, _AGAIN, _NOTHING or -errno. */
static int look(struct ipc_loop *loop, struct ipc_event *event)
{
	int r = look_ready(loop, event);

	for (uint32_t n = loop->n_hot; r == IPCI_LOOK_NOTHING && n && loop->n_hot; n--) {
		r = ipci_look(IPCI_CONTAINER_OF(loop->hot.next, struct ipc_channel, hot_link),
			      event, NULL, NULL);
		if (r == IPCI_LOOK_NOTHING)
			ipci_hot_pass(loop);
		else if (r == IPCI_LOOK_AGAIN)
			count_event(loop);
	}
	return r;
}

/* ── sleep ── */

static int sleep_in_kernel(struct ipc_loop *loop, uint64_t timeout_ns)
{
	int r;

	if (has_ready(loop) || !ipci_hot_cool_all(loop, timeout_ns > 0))
		return timeout_ns == 0 ? ipci_loop_poll(loop, 0) : 0;
	r = ipci_loop_set_deadline(loop->poller, ipci_timer_next_ns(loop));
	if (r < 0)
		return r;
	return ipci_loop_poll(loop, timeout_ns);
}

/*
 * A cold channel's bell is not heard by who sleeps on words. So where one channel is to be slept for
 * like that, all are; where they are too many, none.
 */
static bool warm_up(struct ipc_loop *loop)
{
	unsigned n = 0;

	if (ipci_list_empty(&loop->hot))
		return false;
	for (struct ipci_list *l = loop->channels.next; l != &loop->channels; l = l->next)
		if (++n > IPCI_FUTEX_WAITV_MAX)
			return false;
	for (struct ipci_list *l = loop->channels.next; l != &loop->channels; l = l->next)
		ipci_channel_set_hot(IPCI_CONTAINER_OF(l, struct ipc_channel, link));
	return true;
}

/* Do the hot channels' words, and the posts', say all that these channels wait for? */
static bool can_sleep_on_futex(const struct ipc_loop *loop)
{
	unsigned n = atomic_load_explicit(&loop->posted, memory_order_relaxed) != 0;

	for (struct ipci_list *l = loop->hot.next; l != &loop->hot; l = l->next) {
		const struct ipc_channel *channel = IPCI_CONTAINER_OF(l, struct ipc_channel,
								      hot_link);

		if (channel->stalled || ipci_channel_wants(channel, 0, 1) ||
		    ++n > IPCI_FUTEX_WAITV_MAX)
			return false;
	}
	return n == 1 || ipci_futex_waitv_works();
}

/*
 * One slice on the channels' own words: the shortest way to sleep and be woken, deaf to all else for
 * 20 ms at most. 1 woken, 0 the slice passed or does not apply, -EINTR.
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
	if (!warm_up(loop) || !can_sleep_on_futex(loop))
		return 0;
	ipci_hot_get_drowsy(loop);
	for (struct ipci_list *l = loop->hot.next; l != &loop->hot; l = l->next) {
		struct ipc_channel *channel = IPCI_CONTAINER_OF(l, struct ipc_channel, hot_link);

		ipci_channel_give_back(channel);
		ipci_channel_ring_owed(channel);
		words[n].expected = ipci_bell_frames(channel->tx.peer);
		ipci_channel_arm(channel, IPCI_WANT_FRAMES_FUTEX);
		words[n++].word = &channel->tx.peer->bell_frames;
		quiet = quiet && ipci_channel_is_quiet(channel);
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
	if (r == -EINTR)
		return r;
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

static int wait_once(struct ipc_loop *loop, uint64_t deadline_ns)
{
	uint64_t remaining_ns = ipci_remaining_ns(deadline_ns, ipci_now_ns());
	int r = 0;

	if (loop->wait == IPC_WAIT_FUTEX && remaining_ns)
		r = sleep_on_futex(loop, remaining_ns);
	if (r < 0)
		return r;
	return r ? look_around(loop) : sleep_in_kernel(loop, remaining_ns);
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

		r = look_for(loop, event, last ? 0 : ipci_hot_spin_ns(loop));
		/* Its channel learns how long the wait was, sleep included. */
		if (r == IPCI_LOOK_EVENT && timeout_ns && event->channel)
			ipci_spin_learn(&event->channel->spin, ipci_now_ns() - started_ns);
		if (r < 0 || r == IPCI_LOOK_EVENT)
			return r < 0 ? r : 1;
		r = wait_once(loop, last ? 0 : deadline_ns);
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
 * The first sight: the hot channels' commit words and little else, as often as a peer that answers
 * at once takes, or @once. IPCI_LOOK_EVENT; IPCI_LOOK_AGAIN there is something for look();
 * IPCI_LOOK_NOTHING.
 */
static inline int glance(struct ipc_loop *loop, struct ipc_event *event, bool once)
{
	const unsigned n = once ? 1 : loop->n_hot > 1 ? GLANCES / loop->n_hot + 1 : GLANCES;

	if (!once)
		be_patient(loop);
	for (unsigned i = 0; i < n; i++) {
		uint64_t aside = 0;

		for (struct ipci_list *l = loop->hot.next; l != &loop->hot; l = l->next) {
			struct ipc_channel *channel = IPCI_CONTAINER_OF(l, struct ipc_channel,
									hot_link);

			if (ipci_consumer_ready(&channel->inbox->rx)) {
				/* Who has no frame, but something else, is not passed over. */
				if (aside)
					return IPCI_LOOK_AGAIN;
				if (l != loop->hot.next)
					ipci_hot_put_first(loop, channel);
				return ipci_quick_request(channel, event) ||
						       ipci_quick_message(channel, event)
					       ? IPCI_LOOK_EVENT
					       : IPCI_LOOK_AGAIN;
			}
			aside |= channel->aside;
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
	IPCI_ENTER(loop);
	if (ipci_forked(loop))
		return -ECHILD;
	ipci_turn_begin(loop);
	count_event(loop);
	r = IPCI_LOOK_AGAIN;
	if (!has_ready(loop))
		r = glance(loop, event, !timeout_ns || !loop->spin_max_ns);
	if (__builtin_expect(r == IPCI_LOOK_EVENT, 1))
		return 1;
	r = look(loop, event);
	if (r < 0 || r == IPCI_LOOK_EVENT)
		return r;
	return next_slowly(loop, event, timeout_ns);
}
