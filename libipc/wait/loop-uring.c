// SPDX-License-Identifier: Apache-2.0
/*
 * The loop on io_uring: one one-shot poll in flight for each source, armed again by the wait after
 * the one that reported it, together with everything else that this wait submits. So a wait is one
 * system call, and one that need not sleep and has nothing to arm is none.
 *
 * A source's watch is in one of four places:
 *
 *     todo ──wait──▶ in flight ──completion during a wait: reported──▶ todo
 *       ▲               │
 *       └──next wait────┴──completion that came before a wait──▶ queue
 *
 * Level-triggered means that a report is true when the wait begins. So a completion that is older
 * than the wait is no report; it only puts its source first in line to be armed again, and what is
 * still ready then completes at once. The queue keeps that bounded: a wait asks again about as many
 * sources as it could report.
 *
 * The ring's fd is readable while completions wait in it. While sources are on todo or in the
 * queue, the last completion is held: seen, but not given back until the next wait. So the fd stays
 * readable until a wait has found nothing more.
 *
 * A word's watch is a futex wait. It is reported once, and then lies idle, in none of the four, until
 * the word is awaited again. One that is in flight still, when its word is awaited anew, serves as
 * it is: whatever value it was begun with, it is queued in the kernel and completes at the next
 * wake, or it has completed. Where it is armed again it is with the newest expected value, so that
 * a wake that came between is seen in the word.
 *
 * Collected wakes go out with what a wait submits.
 *
 * A removed source's watch lives on, without its source, until the completion that the kernel owes
 * it has come: late ones find nobody. Nothing here depends on which thread submitted; when that
 * thread has ended, the kernel completes its polls with ECANCELED as they trigger, and they are
 * armed anew by whoever waits now.
 */
#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "backend.h"
#include "cleanup.h"
#include "clock.h"
#include "futex.h"
#include "uring-futex.h"

#define SQ_ENTRIES 64u
#define CQ_ENTRIES 1024u /* beyond them the kernel keeps completions itself (NODROP) */
#define SUBMIT_TRIES 16
#define FEATURES (IORING_FEAT_NODROP | IORING_FEAT_EXT_ARG)

struct watch {
	struct ipci_list
		link; /* on todo, on the queue, or on neither: in flight, or an idle word */
	struct ipci_list all;
	struct ipci_source *source; /* NULL: removed */
	bool in_flight;		    /* the kernel owes a completion */
	bool is_word;		    /* a futex wait, not a poll */
	int proxy;		    /* an epoll fd that is polled instead, or -EBADF */
};

struct uring {
	struct io_uring ring;
	struct ipci_list todo;	/* to be armed; or, removed while in flight, to be cancelled */
	struct ipci_list queue; /* completed before a wait, oldest first */
	struct ipci_list all;
	unsigned n_held; /* 0 or 1 completions seen and not given back */
	unsigned n_lost; /* completions the kernel had no memory for, as far as made good */
	int error;	 /* why a completion could not be understood */
	bool has_words;	 /* futex waits work */
	bool skips;	 /* what succeeds can go without a completion */
	/* For the first such wait; here, since it may be in flight until the ring goes. */
	_Atomic uint32_t first_word;
};

static struct watch *watch_of_link(struct ipci_list *link)
{
	return IPCI_CONTAINER_OF(link, struct watch, link);
}

static struct watch *watch_new(struct uring *u, struct ipci_source *source)
{
	struct watch *watch = calloc(1, sizeof(*watch));

	if (!watch)
		return NULL;
	watch->source = source;
	watch->is_word = source->word != NULL;
	watch->proxy = -EBADF;
	ipci_list_append(&u->todo, &watch->link);
	ipci_list_append(&u->all, &watch->all);
	return watch;
}

static void watch_free(struct watch *watch)
{
	ipci_list_remove(&watch->link);
	ipci_list_remove(&watch->all);
	closep(&watch->proxy);
	free(watch);
}

static void move_to(struct ipci_list *list, struct watch *watch)
{
	ipci_list_remove(&watch->link);
	ipci_list_append(list, &watch->link);
}

/*
 * A poll always ends with EPOLLRDHUP too, asked for or not. Where nothing else was there, arming it
 * again would go round for ever; so from now on it is epoll that watches this source, and the ring
 * watches epoll.
 */
static int use_proxy(struct watch *watch)
{
	struct epoll_event event = {.events = watch->source->events};
	_cleanup_(closep) int proxy = epoll_create1(EPOLL_CLOEXEC);

	if (proxy < 0 || epoll_ctl(proxy, EPOLL_CTL_ADD, watch->source->fd, &event) < 0)
		return -errno;
	watch->proxy = TAKE_FD(proxy);
	return 0;
}

/* What a completion says about its source: events, 0 for nothing yet, or -errno where it cannot
 * say. */
static int result(struct watch *watch, int res)
{
	struct epoll_event event;
	int revents;

	if (res == -ECANCELED)
		return 0;
	if (res < 0)
		return res == -ENOMEM ? res : EPOLLERR;
	if (watch->proxy >= 0)
		return epoll_wait(watch->proxy, &event, 1, 0) > 0 ? (int)event.events : 0;
	revents = res & (int)(watch->source->events | EPOLLERR | EPOLLHUP);
	return revents ? revents : use_proxy(watch);
}

/* The same of a word. Where the kernel cannot, nothing awaits a word any more. */
static int word_result(struct uring *u, int res)
{
	if (res == -ECANCELED)
		return 0;
	if (res != 0 && res != -EAGAIN)
		u->has_words = false;
	return EPOLLIN;
}

/* One completion. True if it is a report, written to *ready; @ready is NULL where nothing is
 * reported. */
static bool complete(struct uring *u, const struct io_uring_cqe *cqe, struct ipci_ready *ready)
{
	struct watch *watch = io_uring_cqe_get_data(cqe);
	int r;

	if (!watch) /* a cancellation's own, or a wake's */
		return false;
	watch->in_flight = false;
	if (!watch->source) {
		watch_free(watch);
		return false;
	}
	r = watch->is_word ? word_result(u, cqe->res) : result(watch, cqe->res);
	if (r < 0)
		u->error = r;
	if (r <= 0 || !ready || !watch->is_word)
		move_to(r > 0 && !ready ? &u->queue : &u->todo, watch);
	if (r <= 0 || !ready)
		return false;
	watch->source->awaited = false;
	*ready = (struct ipci_ready){watch->source, (uint32_t)r};
	return true;
}

/* Takes in all completions that are there; reports up to @n_ready and queues the others. */
static unsigned collect(struct uring *u, struct ipci_ready *ready, unsigned n_ready)
{
	unsigned n = 0;

	for (;;) {
		unsigned head, n_seen = 0;
		struct io_uring_cqe *cqe;

		io_uring_for_each_cqe(&u->ring, head, cqe)
		{
			if (n_seen++ >= u->n_held)
				n += complete(u, cqe, n < n_ready ? &ready[n] : NULL);
		}
		if (n_seen == u->n_held)
			return n;
		io_uring_cq_advance(&u->ring, n_seen - 1);
		u->n_held = 1;
		if (!io_uring_cq_has_overflow(&u->ring) || io_uring_get_events(&u->ring) < 0)
			return n;
	}
}

static void release_held(struct uring *u)
{
	io_uring_cq_advance(&u->ring, u->n_held);
	u->n_held = 0;
}

/* Hands to the kernel what has been prepared. */
static int submit(struct uring *u)
{
	for (int i = 0; i < SUBMIT_TRIES && io_uring_sq_ready(&u->ring) > 0; i++) {
		int r = io_uring_submit(&u->ring);

		/* Completions must be taken in first, say kernels before 5.19. */
		if (r == -EBUSY)
			(void)collect(u, NULL, 0);
		else if (r < 0 && r != -EINTR)
			return r == -EAGAIN ? -ENOMEM : r;
	}
	return io_uring_sq_ready(&u->ring) > 0 ? -ENOMEM : 0;
}

/* Sees to it that one more submission can be prepared. May collect, and so free watches of removed
 * sources. */
static int make_room(struct uring *u)
{
	return io_uring_sq_space_left(&u->ring) > 0 ? 0 : submit(u);
}

/* Prepares, in room that was made, the arming of a watch, or the cancelling of one whose source was
 * removed. */
static int prepare(struct uring *u, struct watch *watch)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);

	if (!sqe)
		return -ENOMEM;
	ipci_list_remove(&watch->link);
	if (!watch->source) {
		io_uring_prep_cancel(sqe, watch, 0);
		io_uring_sqe_set_data(sqe, NULL);
		return 0;
	}
	if (watch->is_word)
		ipci_prep_futex_wait(sqe, watch->source->word, watch->source->expected);
	else if (watch->proxy >= 0)
		io_uring_prep_poll_add(sqe, watch->proxy, EPOLLIN);
	else
		io_uring_prep_poll_add(sqe, watch->source->fd, watch->source->events);
	io_uring_sqe_set_data(sqe, watch);
	watch->in_flight = true;
	return 0;
}

static int prepare_first(struct uring *u, struct ipci_list *list)
{
	int r = make_room(u);

	/* Making room may have emptied the list. */
	if (r < 0 || ipci_list_empty(list))
		return r;
	return prepare(u, watch_of_link(list->next));
}

/* First those that waited longest, as many as can be reported, then whatever is new or was reported
 * last time. */
static int prepare_all(struct uring *u, unsigned n_ready)
{
	int r = 0;

	for (; r == 0 && n_ready > 0 && !ipci_list_empty(&u->queue); n_ready--)
		r = prepare_first(u, &u->queue);
	while (r == 0 && !ipci_list_empty(&u->todo))
		r = prepare_first(u, &u->todo);
	return r;
}

/* ── wakes ── */

static int prepare_wake(struct uring *u, const struct ipci_wake *wake)
{
	struct io_uring_sqe *sqe;
	int r = make_room(u);

	if (r < 0)
		return r;
	sqe = io_uring_get_sqe(&u->ring);
	if (!sqe)
		return -ENOMEM;
	if (wake->word)
		ipci_prep_futex_wake(sqe, wake->word);
	else
		io_uring_prep_send(sqe, wake->fd, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
	io_uring_sqe_set_data(sqe, NULL);
	if (u->skips)
		sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;
	return 0;
}

/* Those of words go the direct way where this kernel's rings know no futexes. */
static int prepare_wakes(struct uring *u, const struct ipci_loop *loop)
{
	int r = 0;

	for (unsigned i = 0; r == 0 && i < loop->n_wakes; i++) {
		struct ipci_wake bell = {.fd = loop->wakes[i].fd};
		struct ipci_wake word = {.word = loop->wakes[i].word, .fd = -EBADF};

		if (word.word && u->has_words)
			r = prepare_wake(u, &word);
		else if (word.word)
			(void)ipci_futex_wake(loop->wakes[i].word);
		if (r == 0 && bell.fd >= 0)
			r = prepare_wake(u, &bell);
	}
	return r;
}

/*
 * After prepare_wakes() and a submission: all went, or the rest is taken back, since what a wake
 * names does not stay until a later one. Nothing else is lost: its own waits are the kernel's or
 * ours to submit again.
 */
static int settle_wakes(struct uring *u, struct ipci_loop *loop)
{
	const struct io_uring_sq *sq = &u->ring.sq;
	unsigned n_left = io_uring_sq_ready(&u->ring), n_taken_back = 0;

	for (unsigned i = sq->sqe_tail - n_left; i != sq->sqe_tail; i++) {
		struct io_uring_sqe *sqe = &sq->sqes[i & sq->ring_mask];

		if (sqe->opcode != IORING_OP_SEND && sqe->opcode != IPCI_OP_FUTEX_WAKE)
			continue;
		io_uring_prep_nop(sqe);
		io_uring_sqe_set_data(sqe, NULL);
		n_taken_back++;
	}
	if (n_taken_back)
		return -ENOMEM;
	loop->n_wakes = 0;
	return 0;
}

static int uring_wake(struct ipci_loop *loop)
{
	struct uring *u = loop->state;
	int r = prepare_wakes(u, loop);
	int settled;

	if (r == 0)
		r = submit(u);
	settled = settle_wakes(u, loop);
	return r < 0 ? r : settled;
}

/*
 * The kernel had no memory to keep a completion, and nobody knows whose it was. So every source
 * gets a new watch; the old ones are cancelled, and those that are owed nothing any more stay until
 * the loop goes.
 */
static int make_good(struct uring *u)
{
	unsigned n_lost = *u->ring.cq.koverflow;

	if (n_lost == u->n_lost)
		return 0;
	for (struct ipci_list *l = u->all.next, *next; l != &u->all; l = next) {
		struct watch *old = IPCI_CONTAINER_OF(l, struct watch, all);
		struct watch *watch;

		next = l->next;
		if (!old->source || !old->in_flight)
			continue;
		watch = watch_new(u, old->source);
		if (!watch)
			return -ENOMEM;
		old->source->watch = watch;
		old->source = NULL;
		move_to(&u->todo, old);
	}
	u->n_lost = n_lost;
	return 0;
}

/* Sleeps for a completion, as long as it takes. Submitting and sleeping is one call. */
static int sleep_for_ever(struct uring *u)
{
	int r = io_uring_submit_and_wait(&u->ring, 1);

	if (r == -EAGAIN)
		return -ENOMEM;
	/* Collecting, or making good, comes next. */
	if (r == -EBUSY || r == -EBADR)
		return 0;
	/* A signal after something was submitted: the kernel then reports that instead. */
	if (r >= 0 && io_uring_sq_ready(&u->ring) == 0 && io_uring_cq_ready(&u->ring) == 0)
		return -EINTR;
	return r < 0 ? r : 0;
}

static int enter(struct uring *u, uint64_t remaining_ns)
{
	struct __kernel_timespec timeout = {
		.tv_sec = (long long)(remaining_ns / IPCI_NS_PER_S),
		.tv_nsec = (long long)(remaining_ns % IPCI_NS_PER_S),
	};
	struct io_uring_cqe *cqe;
	int r;

	if (remaining_ns == IPCI_NEVER) {
		release_held(u);
		return sleep_for_ever(u);
	}
	r = submit(u);
	if (r < 0)
		return r;
	release_held(u);
	if (remaining_ns == 0 || io_uring_cq_ready(&u->ring) > 0)
		return 0;
	/* On its own, since liburing would sleep on after a signal that met the submission. */
	r = io_uring_wait_cqes(&u->ring, &cqe, 1, &timeout, NULL);
	return r == -ETIME || r == -EBADR || r > 0 ? 0 : r;
}

static int uring_wait(struct ipci_loop *loop, struct ipci_ready *ready, unsigned n_ready,
		      uint64_t until_ns)
{
	struct uring *u = loop->state;

	u->error = 0;
	for (;;) {
		uint64_t remaining = until_ns > 0 ? ipci_remaining_ns(until_ns, ipci_now_ns()) : 0;
		unsigned n;
		int r;

		(void)collect(u, NULL, 0);
		r = make_good(u);
		if (r == 0 && loop->n_wakes)
			r = prepare_wakes(u, loop);
		if (r == 0)
			r = prepare_all(u, n_ready);
		if (r == 0)
			r = enter(u, ipci_list_empty(&u->queue) ? remaining : 0);
		if (loop->n_wakes && settle_wakes(u, loop) < 0)
			ipci_wakes_send(loop);
		if (r < 0)
			return r;
		n = collect(u, ready, n_ready);
		if (n > 0)
			return (int)n;
		if (u->error < 0)
			return u->error;
		if (remaining == 0 && ipci_list_empty(&u->queue) && ipci_list_empty(&u->todo)) {
			release_held(u);
			return 0;
		}
	}
}

static int uring_add(struct ipci_loop *loop, struct ipci_source *source)
{
	struct uring *u = loop->state;
	struct epoll_event event = {.events = source->events};
	struct watch *watch;

	/* One that is not awaited has no watch yet. */
	if (source->word)
		return 0;
	/*
	 * io_uring finds every file ready that cannot be polled; epoll knows. It looks at the file
	 * before it finds out that a ring is no epoll.
	 */
	if (epoll_ctl(u->ring.ring_fd, EPOLL_CTL_ADD, source->fd, &event) < 0 && errno != EINVAL)
		return -errno;
	watch = watch_new(u, source);
	if (!watch)
		return -ENOMEM;
	source->watch = watch;
	return 0;
}

static int uring_modify(struct ipci_loop *loop, struct ipci_source *source, uint32_t events)
{
	struct uring *u = loop->state;
	struct watch *old = source->watch;
	struct watch *watch;

	if (old->in_flight) {
		watch = watch_new(u, source);
		if (!watch)
			return -ENOMEM;
		source->watch = watch;
		old->source = NULL;
		ipci_list_append(&u->todo, &old->link);
	} else {
		closep(&old->proxy);
		old->proxy = -EBADF;
	}
	source->events = events;
	return 0;
}

static bool uring_has_words(const struct ipci_loop *loop)
{
	const struct uring *u = loop->state;

	return u->has_words;
}

static int uring_await(struct ipci_loop *loop, struct ipci_source *source)
{
	struct uring *u = loop->state;
	struct watch *watch = source->watch;

	if (!watch) {
		source->watch = watch_new(u, source);
		return source->watch ? 0 : -ENOMEM;
	}
	/* In flight it serves as it is; in the queue its turn comes; else it is idle. */
	if (!watch->in_flight && ipci_list_empty(&watch->link))
		ipci_list_append(&u->todo, &watch->link);
	return 0;
}

static void uring_remove(struct ipci_loop *loop, struct ipci_source *source)
{
	struct uring *u = loop->state;
	struct watch *watch = source->watch;
	int r;

	if (!watch)
		return;
	r = make_room(u);
	/* Its completion may be here already. */
	(void)collect(u, NULL, 0);
	source->watch = NULL;
	watch->source = NULL;
	if (!watch->in_flight) {
		watch_free(watch);
		return;
	}
	/* At once, since a poll in flight keeps the file open, and the memory of a word may be
	 * unmapped next; where that fails, the next wait tries again. */
	ipci_list_append(&u->todo, &watch->link);
	if (r == 0 && prepare(u, watch) == 0)
		(void)submit(u);
}

static int submit_one(struct io_uring *ring)
{
	int r = io_uring_submit(ring);

	return r < 0 ? r : r == 1 ? 0 : -ENOSYS;
}

/* Takes the next completion, which is there or comes at once. Its result, or -ENOSYS. */
static int next_result(struct io_uring *ring)
{
	struct __kernel_timespec timeout = {.tv_sec = 1};
	struct io_uring_cqe *cqe;
	int r = -EINTR;

	for (int i = 0; i < SUBMIT_TRIES && r == -EINTR; i++)
		r = io_uring_wait_cqe_timeout(ring, &cqe, &timeout);
	if (r < 0)
		return -ENOSYS;
	r = cqe->res;
	io_uring_cqe_seen(ring, cqe);
	return r;
}

/* Can it be entered too? A filter may let a ring be made and then refuse its use. */
static int prove(struct io_uring *ring)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	int r;

	if (!sqe)
		return -ENOSPC;
	io_uring_prep_nop(sqe);
	io_uring_sqe_set_data(sqe, NULL);
	r = io_uring_submit(ring);
	return r < 0 ? r : next_result(ring);
}

/* A futex wait that waits, and a wake that ends it: a kernel before 6.7 knows neither. */
static bool prove_words(struct uring *u)
{
	struct io_uring *ring = &u->ring;
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	int woken, waited;

	if (!sqe)
		return false;
	ipci_prep_futex_wait(sqe, &u->first_word, 0);
	io_uring_sqe_set_data(sqe, NULL);
	if (submit_one(ring) < 0 || io_uring_cq_ready(ring) > 0)
		return false;
	sqe = io_uring_get_sqe(ring);
	if (!sqe)
		return false;
	ipci_prep_futex_wake(sqe, &u->first_word);
	io_uring_sqe_set_data(sqe, NULL);
	if (submit_one(ring) < 0)
		return false;
	/* In either order. */
	woken = next_result(ring);
	waited = next_result(ring);
	return woken >= 0 && waited >= 0 && woken + waited == 1;
}

static int uring_open(struct ipci_loop *loop)
{
	struct io_uring_params params = {
		.flags = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP,
		.cq_entries = CQ_ENTRIES,
	};
	_cleanup_(freep) struct uring *u = calloc(1, sizeof(*u));
	int r;

	if (!u)
		return -ENOMEM;
	r = io_uring_queue_init_params(SQ_ENTRIES, &u->ring, &params);
	if (r < 0)
		return r;
	r = (params.features & FEATURES) == FEATURES ? io_uring_ring_dontfork(&u->ring) : -ENOSYS;
	if (r == 0)
		r = prove(&u->ring);
	if (r < 0) {
		io_uring_queue_exit(&u->ring);
		return r;
	}
	u->has_words = prove_words(u);
	u->skips = (params.features & IORING_FEAT_CQE_SKIP) != 0;
	ipci_list_init(&u->todo);
	ipci_list_init(&u->queue);
	ipci_list_init(&u->all);
	loop->fd = u->ring.ring_fd;
	loop->state = TAKE_PTR(u);
	return 0;
}

static void uring_close(struct ipci_loop *loop)
{
	struct uring *u = loop->state;

	/* In a forked child the ring was never mapped, and is closed. */
	if (!loop->forked)
		io_uring_queue_exit(&u->ring);
	while (!ipci_list_empty(&u->all))
		watch_free(IPCI_CONTAINER_OF(u->all.next, struct watch, all));
	free(u);
}

const struct ipci_backend ipci_backend_uring = {
	.kind = IPCI_LOOP_URING,
	.open = uring_open,
	.close = uring_close,
	.add = uring_add,
	.modify = uring_modify,
	.remove = uring_remove,
	.wait = uring_wait,
	.has_words = uring_has_words,
	.await = uring_await,
	.wake = uring_wake,
};
