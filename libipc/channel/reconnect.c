/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reconnecting: a client's channel survives its peer.
 *
 *   OPEN ─peer gone, or drained─▶ waits ─its time comes─▶ OPENING ─OPENED─▶ OPEN
 *                                   ▲                        │
 *                                   └────── came to nothing ─┘   -EACCES, -EPROTO, no broker: CLOSED
 *
 * The loss itself is channel.c's: every call is settled, with its fate, and the program is told
 * (IPC_EVENT_CHANNEL, status < 0). What begins here is that the handle stays: a new half goes out
 * with a new OPEN, which waits at the broker for somebody who serves, and IPC_EVENT_CHANNEL with
 * status 0 says that the channel is there again. Always a new half: the old peer may have the old
 * one mapped, and would read what is meant for its successor.
 *
 * The first try is made at once. A try that came to nothing, or a channel that was lost within two
 * seconds of its opening and had answered nothing, doubles the pause before the next: 0, 10 ms,
 * 20 ms … 1.28 s, 2 s. So a server that accepts and closes for ever costs one open every two seconds;
 * what waits at the broker costs nothing. The pauses are the loop's deadlines: its descriptor shows them, and
 * nothing polls.
 *
 * Nothing here runs inside the loss: a channel that is lost stays lost, for whoever is just at work
 * on it, until the loop next looks around (ipci_reopen_due()).
 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control.h"

#define IPCI_REOPEN_FIRST_NS (10 * IPCI_NS_PER_MS)
#define IPCI_REOPEN_MAX_NS (2 * IPCI_NS_PER_S)

struct ipci_reopen {
	struct ipc_channel *channel;
	struct ipci_list link; /* in loop->reopening, while it waits for its time */
	uint64_t due_ns;       /* IPCI_NEVER: when the program closes its room */
	uint64_t pause_ns;     /* before the next try */
	uint64_t opened_ns;    /* 0: never was */
	struct ipc_open_opts opts;
	char name[IPCI_NAME_BYTES];
};

int ipci_reopen_new(struct ipc_channel *channel, const struct ipc_open_opts *opts)
{
	struct ipci_reopen *reopen = calloc(1, sizeof(*reopen));

	if (!reopen)
		return -ENOMEM;
	reopen->channel = channel;
	ipci_list_init(&reopen->link);
	reopen->opts = *opts;
	/* As long as the broker lets it wait. */
	reopen->opts.timeout_ns = IPC_FOREVER;
	if (opts->name) {
		(void)snprintf(reopen->name, sizeof(reopen->name), "%s", opts->name);
		reopen->opts.name = reopen->name;
	}
	channel->reopen = reopen;
	return 0;
}

void ipci_reopen_free(struct ipc_channel *channel)
{
	if (!channel->reopen)
		return;
	ipci_list_remove(&channel->reopen->link);
	free(channel->reopen);
	channel->reopen = NULL;
}

bool ipci_reopen_waits(const struct ipc_channel *channel)
{
	return channel->reopen && !ipci_list_empty(&channel->reopen->link);
}

void ipci_reopen_opened(struct ipc_channel *channel)
{
	if (channel->reopen)
		channel->reopen->opened_ns = ipci_now_ns();
}

/* ── when ── */

static void wait_until(struct ipci_reopen *reopen, uint64_t due_ns)
{
	struct ipc_loop *loop = reopen->channel->loop;

	reopen->due_ns = due_ns;
	ipci_list_remove(&reopen->link);
	ipci_list_append(&loop->reopening, &reopen->link);
	if (due_ns < loop->reopen_ns)
		loop->reopen_ns = due_ns;
}

/* After the pause, and the next one is longer. With a room open, when the program has closed it. */
static void wait_for_time(struct ipci_reopen *reopen)
{
	uint64_t pause_ns = reopen->pause_ns;

	reopen->pause_ns = pause_ns == 0		       ? IPCI_REOPEN_FIRST_NS
			   : 2 * pause_ns < IPCI_REOPEN_MAX_NS ? 2 * pause_ns
							       : IPCI_REOPEN_MAX_NS;
	wait_until(reopen, reopen->channel->room_call ? IPCI_NEVER : ipci_deadline_ns(pause_ns));
}

static bool is_final(int error)
{
	return error == -EACCES || error == -EPROTO || error == -ENOTCONN;
}

void ipci_reopen_plan(struct ipc_channel *channel)
{
	struct ipci_reopen *reopen = channel->reopen;
	const size_t n = strlen(channel->reason);

	/* One that never was open fails as its open does. */
	if (!reopen || !reopen->opened_ns || channel->freed || is_final(channel->error))
		return;
	if (channel->loop->control->gone) {
		(void)snprintf(channel->reason + n, sizeof(channel->reason) - n, "%s",
			       "; the broker is gone, so it stays closed");
		return;
	}
	if (channel->n_received || ipci_now_ns() - reopen->opened_ns >= IPCI_REOPEN_MAX_NS)
		reopen->pause_ns = 0;
	wait_for_time(reopen);
}

bool ipci_reopen_failed(struct ipc_channel *channel, int error)
{
	if (!channel->reopen || !channel->reopen->opened_ns || is_final(error))
		return false;
	wait_for_time(channel->reopen);
	return true;
}

void ipci_reopen_room_closed(struct ipc_channel *channel)
{
	if (ipci_reopen_waits(channel) && channel->reopen->due_ns == IPCI_NEVER)
		wait_until(channel->reopen, ipci_now_ns());
}

/* ── what ── */

/*
 * As if it had just been allocated, but for what the program has of it: its handle, its calls, and
 * what they and it are owed.
 */
static void renew(struct ipc_channel *channel)
{
	const struct ipc_channel old = *channel;

	ipci_half_deinit(&channel->own);
	free(channel->methods);
	ipci_channel_init(channel, old.loop, old.service);
	channel->link = old.link;
	channel->ready = old.ready;
	channel->user = old.user;
	channel->reopen = old.reopen;
	channel->calls = old.calls;
	channel->n_slots = old.n_slots;
	channel->n_calls = old.n_calls;
	channel->call_seq = old.call_seq;
	channel->max_calls = old.max_calls;
	channel->max_calls_wanted = old.max_calls_wanted;
	channel->flags = old.flags;
	channel->parked_bytes = old.parked_bytes;
	channel->free_streams = old.free_streams;
	channel->spin = old.spin;
	channel->room_wanted = old.room_wanted;
	channel->room_short = old.room_short;
	channel->call_wanted = old.call_wanted;
	channel->error = old.error;
	channel->went = old.went;
	channel->went_error = old.went_error;
	memcpy(channel->peer, old.peer, sizeof(channel->peer));
	memcpy(channel->reason, old.reason, sizeof(channel->reason));
	channel->async = true;
}

static void try_again(struct ipci_reopen *reopen)
{
	struct ipc_channel *channel = reopen->channel;
	int r;

	ipci_list_remove(&reopen->link);
	renew(channel);
	r = ipci_open_request(channel, &reopen->opts, reopen->opts.timeout_ns);
	if (r < 0)
		ipci_open_ended(channel, r, channel->loop->error.text);
}

void ipci_reopen_due(struct ipc_loop *loop, uint64_t now_ns)
{
	struct ipci_list *next;

	if (now_ns < loop->reopen_ns)
		return;
	loop->reopen_ns = IPCI_NEVER;
	/* What fails at once goes to the end of the list, behind `last`, with a later time. */
	for (struct ipci_list *l = loop->reopening.next, *last = loop->reopening.prev;
	     l != &loop->reopening; l = next) {
		struct ipci_reopen *reopen = IPCI_CONTAINER_OF(l, struct ipci_reopen, link);
		const bool done = l == last;

		next = l->next;
		if (reopen->due_ns <= now_ns)
			try_again(reopen);
		else if (reopen->due_ns < loop->reopen_ns)
			loop->reopen_ns = reopen->due_ns;
		if (done)
			break;
	}
}

int ipci_reopen_await(struct ipc_channel *channel, bool block, uint64_t deadline_ns)
{
	struct ipc_loop *loop = channel->loop;

	if (block && loop->wakes_due)
		ipci_loop_send_wakes(loop, true);
	for (;;) {
		const uint64_t now_ns = ipci_now_ns();
		struct pollfd poll_fd = {.fd = ipci_control_fd(loop), .events = POLLIN};
		uint64_t until_ns = deadline_ns < loop->reopen_ns ? deadline_ns : loop->reopen_ns;
		struct timespec timeout;

		ipci_control_process(loop);
		ipci_reopen_due(loop, now_ns);
		if (channel->inbox)
			return 0;
		if (channel->lost && !ipci_reopen_waits(channel))
			return channel->error;
		if (!block)
			return -ENOTCONN;
		if (now_ns >= deadline_ns)
			return -ETIMEDOUT;
		if (until_ns > now_ns + IPCI_RECHECK_NS)
			until_ns = now_ns + IPCI_RECHECK_NS;
		timeout = ipci_timespec(ipci_remaining_ns(until_ns, now_ns));
		if (ppoll(&poll_fd, 1, &timeout, NULL) < 0)
			return -errno;
	}
}
