// SPDX-License-Identifier: Apache-2.0
/*
 * What whoever is left must see: the loss of the channel, one answer to each call, and nothing that
 * stays. Nothing here is timed; how long it took is told.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "crash.h"

#define OPEN_NS (5 * SECOND_NS)
#define N_PIPELINED 3u
#define N_CALLS_MAX 1024u /* of one cycle */
#define LARGE 6000u

static void fault(struct outcome *outcome, const char *format, ...)
	__attribute__((__format__(__printf__, 2, 3)));
static void fault(struct outcome *outcome, const char *format, ...)
{
	va_list args;

	if (outcome->fault[0])
		return;
	va_start(args, format);
	(void)vsnprintf(outcome->fault, sizeof(outcome->fault), format, args);
	va_end(args);
}

static void learn(struct outcome *outcome, const struct plan *plan)
{
	uint64_t died_ns = __atomic_load_n(&plan->died_ns, __ATOMIC_ACQUIRE);

	if (died_ns == 0)
		return;
	outcome->settled_ns = now_ns() - died_ns;
	if (outcome->learned_ns == 0)
		outcome->learned_ns = outcome->settled_ns;
}

/* The victim's end: killed, as planned, or its life was over before that. */
static void reap(pid_t victim, const struct plan *plan, struct outcome *outcome)
{
	int status = 0;

	if (waitpid(victim, &status, 0) != victim)
		fault(outcome, "waitpid: %s", strerror(errno));
	outcome->reached = plan->died_ns != 0;
	if (WIFSIGNALED(status) ? WTERMSIG(status) != SIGKILL || !plan->died_ns
				: WEXITSTATUS(status) != 0)
		fault(outcome, "the victim ended with status 0x%x", (unsigned)status);
}

/* ── server ── */

void survive_as_server(ipc_loop *loop, struct holds *holds, pid_t victim, const struct plan *plan,
		       struct outcome *ret)
{
	int pidfd = (int)syscall(SYS_pidfd_open, victim, 0);
	unsigned n_channels = 0;
	bool dead = false;
	struct ipc_event event;
	int r = ipc_loop_watch(loop, pidfd, EPOLLIN, NULL);

	if (r < 0)
		fault(ret, "cannot watch the victim: %s", strerror(-r));
	while (!ret->fault[0] && (!dead || n_channels > 0 || holds->n > 0)) {
		r = ipc_loop_next(loop, &event, (int64_t)PATIENCE_NS);
		if (r == -EINTR)
			continue;
		if (r != 1) {
			fault(ret, "%s: %u channels and %u calls are left, the victim %s",
			      r ? strerror(-r) : "nothing came", n_channels, holds->n,
			      dead ? "is dead" : "lives");
			break;
		}
		if (event.kind == IPC_EVENT_FD) {
			dead = true;
			(void)ipc_loop_watch(loop, pidfd, 0, NULL);
			continue;
		}
		if (event.kind == IPC_EVENT_CHANNEL && event.status == 0) {
			n_channels++;
		} else if (event.kind == IPC_EVENT_CHANNEL) {
			n_channels--;
			learn(ret, plan);
		} else if (event.kind == IPC_EVENT_CANCELLED) {
			learn(ret, plan);
		}
		r = serve_event(holds, &event);
		if (r < 0)
			fault(ret, "event %u: %s", event.kind, strerror(-r));
	}
	reap(victim, plan, ret);
	(void)close(pidfd);
}

/* ── client ── */

struct calls {
	ipc_loop *loop;
	ipc_channel *channel;
	const struct plan *plan;
	struct outcome *outcome;
	unsigned n_sent, n_answered;
	bool answered[N_CALLS_MAX]; /* by its number: none is answered twice */
	bool lost;
};

/* A call came to an end, well or not. */
static void count(struct calls *calls, uintptr_t i, int r)
{
	calls->answered[i] = true;
	calls->n_answered++;
	if (r != 0)
		learn(calls->outcome, calls->plan);
}

static void take(struct calls *calls, const struct ipc_event *event)
{
	const uintptr_t i = (uintptr_t)event->user;

	if (event->kind == IPC_EVENT_CHANNEL) {
		calls->lost = true;
		learn(calls->outcome, calls->plan);
		return;
	}
	if (event->kind != IPC_EVENT_MESSAGE && event->kind != IPC_EVENT_END)
		return;
	if (i >= calls->n_sent || calls->answered[i])
		fault(calls->outcome, "an answer that nobody waits for");
	else
		count(calls, i, event->kind == IPC_EVENT_MESSAGE ? 0 : event->status);
}

/* One event. False: none came. */
static bool pump(struct calls *calls, int64_t timeout_ns)
{
	struct ipc_event event;
	int r;

	do
		r = ipc_loop_next(calls->loop, &event, timeout_ns);
	while (r == -EINTR);
	if (r < 0)
		fault(calls->outcome, "ipc_loop_next: %s", strerror(-r));
	if (r == 1)
		take(calls, &event);
	return r == 1;
}

/* A call with room for its request. False: the channel takes none. */
static bool begin(struct calls *calls, uint32_t method, size_t size_bytes, ipc_call **ret)
{
	struct ipc_call_opts opts = {.size = sizeof(opts),
				     .user = (void *)(uintptr_t)calls->n_sent};
	struct ipc_room room;

	while (!calls->lost && !calls->outcome->fault[0] && calls->n_sent < N_CALLS_MAX) {
		int r = ipc_begin(calls->channel, method, size_bytes, &opts, ret, &room);

		if (r == 0) {
			fill(room.data, size_bytes, size_bytes);
			return true;
		}
		if (r == -EPROTO)
			fault(calls->outcome, "a victim was taken for a liar: %s",
			      ipc_loop_error(calls->loop));
		/* For room, or for the word of the loss that a call has told already. */
		if (!pump(calls, (int64_t)PATIENCE_NS))
			fault(calls->outcome, "ipc_begin: %s, and nothing came", strerror(-r));
	}
	return false;
}

static void transact(struct calls *calls, uint32_t method, size_t size_bytes)
{
	struct ipc_msg msg;
	ipc_call *call;
	int r;

	if (!begin(calls, method, size_bytes, &call))
		return;
	r = ipc_transact(call, size_bytes, &msg);
	if (r < 0) {
		if (r != -EPIPE)
			fault(calls->outcome, "ipc_transact: %s", strerror(-r));
		return;
	}
	if (r == 0 && !filled(msg.data, msg.size_bytes, msg.size_bytes))
		fault(calls->outcome, "a reply with other bytes");
	count(calls, calls->n_sent++, r);
}

static void pipeline(struct calls *calls)
{
	ipc_call *call;

	for (unsigned i = 0; i < N_PIPELINED; i++) {
		size_t size_bytes = i % 2 ? LARGE : 100;

		if (!begin(calls, HOLD, size_bytes, &call))
			return;
		if (ipc_commit(call, size_bytes, IPC_LAST) == 0)
			calls->n_sent++;
		else
			ipc_cancel(call);
	}
	/* The server holds them until then. */
	transact(calls, FAIL, 1);
	while (calls->n_answered < calls->n_sent && !calls->outcome->fault[0])
		if (!pump(calls, (int64_t)PATIENCE_NS))
			fault(calls->outcome, "no answer, and no loss");
}

static void stream_once(struct calls *calls)
{
	ipc_call *call;
	int r;

	if (!begin(calls, STREAM, survivor_flow.item_bytes, &call))
		return;
	r = stream(call, &survivor_flow);
	if (r < 0 && r != -EPIPE)
		fault(calls->outcome, "stream: %s", strerror(-r));
	count(calls, calls->n_sent++, r == IPC_END ? 0 : IPC_UNAVAILABLE);
}

static void drain(struct calls *calls)
{
	while ((!calls->lost || calls->n_answered < calls->n_sent) && !calls->outcome->fault[0])
		if (!pump(calls, (int64_t)PATIENCE_NS))
			fault(calls->outcome, "%u calls of %u answered, the channel is %s",
			      calls->n_answered, calls->n_sent, calls->lost ? "lost" : "not lost");
}

void survive_as_client(ipc_loop *loop, pid_t victim, const struct plan *plan, struct outcome *ret)
{
	struct ipc_open_opts opts = {.size = sizeof(opts),
				     .timeout_ns = OPEN_NS,
				     .ring_bytes = survivor_flow.ring_bytes};
	struct calls calls = {.loop = loop, .plan = plan, .outcome = ret};
	struct ipc_channel_info info = {.size = sizeof(info)};
	int r = ipc_open(loop, &service, &opts, &calls.channel);

	/*
	 * It died over the open, and that was said; or before the broker had its answer, and then the
	 * open waited for another server, as it should.
	 */
	if (r < 0) {
		if (r != -ETIMEDOUT)
			learn(ret, plan);
		reap(victim, plan, ret);
		if (!ret->reached)
			fault(ret, "ipc_open: %s: %s", strerror(-r), ipc_loop_error(loop));
		return;
	}
	while (!calls.lost && !ret->fault[0]) {
		transact(&calls, ECHO, 32);
		transact(&calls, ECHO, LARGE);
		pipeline(&calls);
		stream_once(&calls);
	}
	drain(&calls);
	/* Whether it is opened anew, by itself, is another matter. */
	if (ipc_channel_info(calls.channel, &info) < 0 || info.state == IPC_CHANNEL_OPEN)
		fault(ret, "the channel is still open");
	ipc_channel_free(calls.channel);
	reap(victim, plan, ret);
}
