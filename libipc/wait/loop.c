// SPDX-License-Identifier: Apache-2.0
/*
 * What both backends share: the deadline, fork(), and the change from one to the other.
 *
 * The deadline is a timerfd among the sources, so that the loop's fd shows it to a host. Deadlines
 * mostly move later, as calls are answered in time: then the timer stays as it is, fires early, and
 * only then is set to what the deadline has become. So a deadline that moves with every call costs
 * a system call now and then.
 *
 * io_uring completes a poll on the thread that armed it. While that thread sleeps elsewhere, an
 * event makes the call it sleeps in return EINTR, if it is one that never restarts, like the
 * epoll_wait() of a host; so does the end of a ring, once. No program without signal handlers
 * expects that. So a loop that may choose starts on epoll, and goes over to io_uring when it has
 * seen that it is here that the program sleeps. Waits here make good for the end of a ring.
 *
 * A ring may be refused after it was made: a filter was installed, memory or the kernel's patience
 * ran out. Then the loop becomes epoll at its next wait, and stays that. A host that was given the
 * ring's fd keeps what it has, because that is an epoll around it, in which the new one takes the
 * ring's place. Descriptors are level-triggered and lose nothing on the way. Words cannot be awaited
 * on epoll, so all that were are reported, once: who awaits them looks again anyway.
 *
 * A forked child closes its copies of the loops' fds at once: a ring keeps the files alive that it
 * polls, and so a child that outlives its parent would hide the parent's death from the other ends
 * of its sockets.
 */
#include "loop.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>

#include "backend.h"
#include "bell.h"
#include "cleanup.h"
#include "clock.h"
#include "futex.h"

/* For so long after its end a ring's last work may interrupt a wait. */
#define RING_ENDS_NS (200 * IPCI_NS_PER_MS)

/* Setting up sleeps a few times also where a host takes over afterwards. */
#define SLEEPS_ALONE 16u

static struct {
	pthread_mutex_t lock;
	struct ipci_list loops;
} registry = {PTHREAD_MUTEX_INITIALIZER, {&registry.loops, &registry.loops}};

static pthread_once_t fork_once = PTHREAD_ONCE_INIT;
static int fork_result;

static void before_fork(void)
{
	(void)pthread_mutex_lock(&registry.lock);
}

static void after_fork_in_parent(void)
{
	(void)pthread_mutex_unlock(&registry.lock);
}

static void after_fork_in_child(void)
{
	for (struct ipci_list *l = registry.loops.next; l != &registry.loops; l = l->next) {
		struct ipci_loop *loop = IPCI_CONTAINER_OF(l, struct ipci_loop, link);

		closep(&loop->fd);
		closep(&loop->host_fd);
		loop->fd = loop->host_fd = -EBADF;
		loop->forked = true;
	}
	(void)pthread_mutex_unlock(&registry.lock);
}

static void install_fork_handlers(void)
{
	fork_result = -pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

static void registry_add(struct ipci_loop *loop)
{
	(void)pthread_mutex_lock(&registry.lock);
	ipci_list_append(&registry.loops, &loop->link);
	(void)pthread_mutex_unlock(&registry.lock);
}

static void registry_remove(struct ipci_loop *loop)
{
	(void)pthread_mutex_lock(&registry.lock);
	ipci_list_remove(&loop->link);
	(void)pthread_mutex_unlock(&registry.lock);
}

int ipci_loop_new(struct ipci_loop **ret, enum ipci_loop_backend backend)
{
	_cleanup_(freep) struct ipci_loop *loop = calloc(1, sizeof(*loop));
	_cleanup_(closep) int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	int r;

	(void)pthread_once(&fork_once, install_fork_handlers);
	if (fork_result < 0)
		return fork_result;
	if (!loop)
		return -ENOMEM;
	if (timer < 0)
		return -errno;

	ipci_list_init(&loop->sources);
	loop->host_fd = -EBADF;
	loop->any = backend == IPCI_LOOP_ANY;
	loop->deadline_ns = loop->armed_ns = IPCI_NEVER;
	loop->timer = (struct ipci_source){.fd = timer, .events = EPOLLIN};
	loop->backend = backend == IPCI_LOOP_URING ? &ipci_backend_uring : &ipci_backend_epoll;
	r = loop->backend->open(loop);
	if (r < 0)
		return r;
	r = ipci_loop_add(loop, &loop->timer);
	if (r < 0) {
		loop->backend->close(loop);
		return r;
	}
	(void)TAKE_FD(timer);
	registry_add(loop);
	*ret = TAKE_PTR(loop);
	return 0;
}

void ipci_loop_free(struct ipci_loop *loop)
{
	if (!loop)
		return;
	registry_remove(loop);
	ipci_loop_flush_wakes(loop);
	loop->backend->close(loop);
	closep(&loop->host_fd);
	closep(&loop->timer.fd);
	free(loop);
}

enum ipci_loop_backend ipci_loop_backend(const struct ipci_loop *loop)
{
	return loop->backend->kind;
}

static int set_timer(struct ipci_loop *loop, uint64_t deadline_ns)
{
	struct itimerspec spec = {0};

	/* Zero disarms; whatever passed long ago may be the first nanosecond. */
	if (deadline_ns != IPCI_NEVER)
		spec.it_value = ipci_timespec(deadline_ns > 0 ? deadline_ns : 1);
	if (timerfd_settime(loop->timer.fd, TFD_TIMER_ABSTIME, &spec, NULL) < 0)
		return -errno;
	loop->armed_ns = deadline_ns;
	return 0;
}

/* ── from one backend to the other ── */

static int move_sources(struct ipci_loop *to)
{
	int r = 0;

	for (struct ipci_list *l = to->sources.next; r == 0 && l != &to->sources; l = l->next) {
		struct ipci_source *source = IPCI_CONTAINER_OF(l, struct ipci_source, link);

		to->stranded = to->stranded || source->awaited;
		if (!source->word)
			r = to->backend->add(to, source);
	}
	return r;
}

static int host_control(const struct ipci_loop *loop, int operation, int fd)
{
	struct epoll_event event = {.events = EPOLLIN};

	if (loop->host_fd < 0)
		return 0;
	return epoll_ctl(loop->host_fd, operation, fd, &event) < 0 ? -errno : 0;
}

/* On failure nothing changes. */
static int become(struct ipci_loop *loop, const struct ipci_backend *backend)
{
	struct ipci_loop before = *loop;
	int r;

	loop->backend = backend;
	r = backend->open(loop);
	if (r < 0) {
		loop->backend = before.backend;
		return r;
	}
	r = move_sources(loop);
	if (r == 0)
		r = host_control(loop, EPOLL_CTL_ADD, loop->fd);
	if (r < 0) {
		backend->close(loop);
		loop->backend = before.backend;
		loop->state = before.state;
		loop->fd = before.fd;
		loop->stranded = before.stranded;
		return r;
	}
	(void)host_control(loop, EPOLL_CTL_DEL, before.fd);
	before.backend->close(&before);
	if (before.backend == &ipci_backend_uring)
		loop->ended_ns = ipci_now_ns();
	/* Before a host sleeps, what is to be reported must show in its fd. */
	if (loop->stranded)
		(void)set_timer(loop, 0);
	return 0;
}

/* What a wait of a ring answers that is of no more use. */
static bool fall_back(struct ipci_loop *loop, int error)
{
	if (loop->backend != &ipci_backend_uring || error == -EINTR)
		return false;
	if (become(loop, &ipci_backend_epoll) < 0)
		return false;
	loop->any = false;
	return true;
}

/* A host polls an epoll around the ring, which outlives it. */
static int make_host_fd(struct ipci_loop *loop)
{
	int r;

	loop->host_fd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->host_fd < 0)
		return -errno;
	r = host_control(loop, EPOLL_CTL_ADD, loop->fd);
	if (r < 0) {
		closep(&loop->host_fd);
		loop->host_fd = -EBADF;
	}
	return r;
}

int ipci_loop_fd(struct ipci_loop *loop)
{
	int r;

	if (loop->forked)
		return -EBADF;
	if (loop->any && loop->backend != &ipci_backend_epoll) {
		r = become(loop, &ipci_backend_epoll);
		if (r < 0)
			return r;
	}
	loop->any = false;
	if (loop->backend != &ipci_backend_epoll && loop->host_fd < 0) {
		r = make_host_fd(loop);
		if (r < 0)
			return r;
	}
	return loop->host_fd >= 0 ? loop->host_fd : loop->fd;
}

/* ── sources ── */

int ipci_loop_add(struct ipci_loop *loop, struct ipci_source *source)
{
	int r;

	if (loop->forked)
		return -ECHILD;
	source->awaited = false;
	source->watch = NULL;
	r = source->word ? 0 : loop->backend->add(loop, source);
	if (r < 0)
		return r;
	source->loop = loop;
	ipci_list_append(&loop->sources, &source->link);
	return 0;
}

int ipci_loop_modify(struct ipci_loop *loop, struct ipci_source *source, uint32_t events)
{
	if (loop->forked)
		return -ECHILD;
	return source->events == events ? 0 : loop->backend->modify(loop, source, events);
}

void ipci_loop_remove(struct ipci_loop *loop, struct ipci_source *source)
{
	/* An epoll set is shared with the parent: a child must not take anything out of it. */
	if (source->loop != loop)
		return;
	if (!loop->forked && (!source->word || loop->backend->await))
		loop->backend->remove(loop, source);
	ipci_list_remove(&source->link);
	source->loop = NULL;
}

bool ipci_loop_has_words(const struct ipci_loop *loop)
{
	return loop->backend->has_words && !loop->forked && loop->backend->has_words(loop);
}

int ipci_loop_await(struct ipci_loop *loop, struct ipci_source *source, uint32_t expected)
{
	int r;

	if (loop->forked)
		return -ECHILD;
	if (!ipci_loop_has_words(loop))
		return -EOPNOTSUPP;
	source->expected = expected;
	r = loop->backend->await(loop, source);
	if (r == 0)
		source->awaited = true;
	return r;
}

/* ── wakes ── */

void ipci_wakes_send(struct ipci_loop *loop)
{
	for (unsigned i = 0; i < loop->n_wakes; i++) {
		if (loop->wakes[i].word)
			(void)ipci_futex_wake(loop->wakes[i].word);
		if (loop->wakes[i].fd >= 0)
			(void)ipci_bell_ring(loop->wakes[i].fd);
	}
	loop->n_wakes = 0;
}

void ipci_loop_flush_wakes(struct ipci_loop *loop)
{
	/* In a child they are the parent's. One alone is as cheap by itself. */
	if (loop->forked)
		loop->n_wakes = 0;
	if (loop->n_wakes < 2 || !loop->backend->wake || loop->backend->wake(loop) < 0)
		ipci_wakes_send(loop);
}

void ipci_loop_wake_later(struct ipci_loop *loop, _Atomic uint32_t *word, int fd)
{
	if (loop->n_wakes == IPCI_LOOP_WAKES_MAX)
		ipci_loop_flush_wakes(loop);
	loop->wakes[loop->n_wakes++] = (struct ipci_wake){.word = word, .fd = fd};
}

/* ── the deadline, and the wait ── */

int ipci_loop_set_deadline(struct ipci_loop *loop, uint64_t deadline_ns)
{
	if (loop->forked)
		return -ECHILD;
	loop->deadline_ns = deadline_ns;
	return deadline_ns < loop->armed_ns ? set_timer(loop, deadline_ns) : 0;
}

/* Takes the timer out of what is ready; returns how many sources remain. */
static unsigned without_timer(const struct ipci_loop *loop, struct ipci_ready *ready, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if (ready[i].source != &loop->timer)
			continue;
		memmove(ready + i, ready + i + 1, (n - i - 1) * sizeof(*ready));
		return n - 1;
	}
	return n;
}

/* Reports words that were awaited on the backend that is gone. */
static int report_stranded(struct ipci_loop *loop, struct ipci_ready *ready, unsigned n_ready)
{
	unsigned n = 0;

	for (struct ipci_list *l = loop->sources.next; l != &loop->sources; l = l->next) {
		struct ipci_source *source = IPCI_CONTAINER_OF(l, struct ipci_source, link);

		if (!source->awaited)
			continue;
		if (n == n_ready)
			return (int)n;
		source->awaited = false;
		ready[n++] = (struct ipci_ready){source, EPOLLIN};
	}
	loop->stranded = false;
	return (int)n;
}

/*
 * The kernel cleans up behind a ring on the thread that used it, and that interrupts what the thread
 * sleeps in like a signal would. A signal that comes just then is answered by its handler alone.
 */
static bool is_echo(const struct ipci_loop *loop, int error)
{
	return error == -EINTR && loop->ended_ns && ipci_now_ns() - loop->ended_ns < RING_ENDS_NS;
}

/* One wait of the backend, whichever it comes to be. */
static int wait_once(struct ipci_loop *loop, struct ipci_ready *ready, unsigned n_ready,
		     uint64_t until_ns)
{
	int r;

	do {
		r = 0;
		/* It fired early: see above. */
		if (loop->armed_ns < loop->deadline_ns && loop->armed_ns <= ipci_now_ns())
			r = set_timer(loop, loop->deadline_ns);
		if (r < 0)
			return r;
		if (loop->stranded) {
			r = report_stranded(loop, ready, n_ready);
			if (r > 0)
				return r;
		}
		if (!loop->backend->wake)
			ipci_wakes_send(loop);
		r = loop->backend->wait(loop, ready, n_ready, until_ns);
	} while (r < 0 && (is_echo(loop, r) || fall_back(loop, r)));
	return r;
}

int ipci_loop_wait(struct ipci_loop *loop, struct ipci_ready *ready, unsigned n_ready,
		   uint64_t timeout_ns)
{
	uint64_t until = timeout_ns == 0 ? 0 : ipci_deadline_ns(timeout_ns);

	if (loop->forked)
		return -ECHILD;
	if (n_ready == 0)
		return -EINVAL;
	if (loop->any && timeout_ns > 0 && loop->n_sleeps < SLEEPS_ALONE &&
	    ++loop->n_sleeps == SLEEPS_ALONE)
		(void)become(loop, &ipci_backend_uring);
	for (;;) {
		int r = wait_once(loop, ready, n_ready, until);
		unsigned n;

		if (r < 0)
			return r;
		n = without_timer(loop, ready, (unsigned)r);
		if (n > 0 || r == 0 || loop->deadline_ns <= ipci_now_ns())
			return (int)n;
	}
}
