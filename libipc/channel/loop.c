/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The loop as an object: made, asked for its descriptor and its last error, given descriptors of the
 * program's own to watch, freed. What it does all day is in next.c.
 */
#include <stdlib.h>
#include <string.h>

#include "control.h"
#include "membarrier.h"
#include "post.h"
#include "cpu-quota.h"
#include "turn.h"
#include "threads.h"

/* The last failed ipc_loop_new() of this thread, which left no loop to ask. */
static _Thread_local struct ipci_error new_error;

IPC_PUBLIC int ipc_loop_fd(ipc_loop *loop)
{
	if (!loop)
		return -EINVAL;
	return ipci_forked(loop) ? -ECHILD : ipci_loop_fd(loop->poller);
}

static struct ipci_watch *find_watch(struct ipc_loop *loop, int fd)
{
	for (struct ipci_list *l = loop->watches.next; l != &loop->watches; l = l->next) {
		struct ipci_watch *watch = IPCI_CONTAINER_OF(l, struct ipci_watch, link);

		if (watch->source.fd == fd)
			return watch;
	}
	return NULL;
}

static void unwatch(struct ipc_loop *loop, struct ipci_watch *watch)
{
	if (watch->revents)
		loop->n_rare_ready--;
	ipci_loop_remove(loop->poller, &watch->source);
	ipci_list_remove(&watch->link);
	free(watch);
}

IPC_PUBLIC int ipc_loop_watch(ipc_loop *loop, int fd, uint32_t events, void *user)
{
	struct ipci_watch *watch;
	int r;

	if (!loop)
		return -EINVAL;
	if (fd < 0)
		return -EBADF;
	IPCI_ENTER(loop);
	if (ipci_forked(loop))
		return -ECHILD;
	watch = find_watch(loop, fd);
	if (!events) {
		if (watch)
			unwatch(loop, watch);
		return watch ? 0 : -ENOENT;
	}
	if (watch) {
		watch->user = user;
		return ipci_loop_modify(loop->poller, &watch->source, events);
	}
	watch = calloc(1, sizeof(*watch));
	if (!watch)
		return -ENOMEM;
	watch->source = (struct ipci_source){.fd = fd, .events = events, .user = loop};
	watch->user = user;
	r = ipci_loop_add(loop->poller, &watch->source);
	if (r < 0) {
		free(watch);
		return r;
	}
	ipci_list_append(&loop->watches, &watch->link);
	return 0;
}

/*
 * Those that IPC_MORE kept back join those that were collected, and all go out together; @sleeps:
 * so do those that were beyond a budget.
 */
void ipci_loop_send_wakes(struct ipc_loop *loop, bool sleeps)
{
	loop->collecting = true;
	while (!ipci_list_empty(&loop->owing)) {
		struct ipc_channel *channel = IPCI_CONTAINER_OF(loop->owing.next,
								struct ipc_channel, owing);

		ipci_list_remove(&channel->owing);
		if (channel->wake_owed)
			ipci_channel_wake(channel);
		/* It was put off for room before, and is in one list at a time. */
		if (channel->space_owed) {
			ipci_list_remove(&channel->owing);
			ipci_list_append(&loop->put_off, &channel->owing);
		}
	}
	while (sleeps && !ipci_list_empty(&loop->put_off)) {
		struct ipc_channel *channel = IPCI_CONTAINER_OF(loop->put_off.next,
								struct ipc_channel, owing);

		ipci_list_remove(&channel->owing);
		ipci_channel_ring_owed(channel);
	}
	loop->collecting = false;
	loop->wakes_due = !ipci_list_empty(&loop->put_off);
	ipci_loop_flush_wakes(loop->poller);
}

IPC_PUBLIC const char *ipc_loop_error(ipc_loop *loop)
{
	return loop ? loop->error.text : new_error.text;
}

static int wait_from_name(const char *name, enum ipc_wait *ret)
{
	static const char *const names[] = {"auto", "spin", "futex", "epoll", "uring"};

	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(name, names[i]) == 0) {
			*ret = (enum ipc_wait)i;
			return 0;
		}
	}
	return -EINVAL;
}

/* The options, else the environment, decide how this loop waits. */
static int choose_wait(struct ipc_loop *loop, const struct ipc_loop_opts *opts)
{
	const char *name = getenv("IPC_WAIT");
	long n_cpus;

	if (opts->wait > IPC_WAIT_URING ||
	    opts->flags & ~(uint32_t)(IPC_LOOP_BATCH_WAKES | IPC_LOOP_NO_MEMBARRIER) || opts->token)
		return ipci_error_set(&new_error, -EINVAL,
				      "ipc_loop_opts: an unknown flag or way to wait, or a token");
	loop->batch_wakes = (opts->flags & IPC_LOOP_BATCH_WAKES) != 0;
	loop->wait = (enum ipc_wait)opts->wait;
	if (loop->wait == IPC_WAIT_AUTO && name && *name && wait_from_name(name, &loop->wait) < 0)
		return ipci_error_set(&new_error, -EINVAL,
				      "IPC_WAIT=%s: expected auto, spin, futex, epoll or uring",
				      name);
	loop->spin_max_ns = opts->spin_ns ? opts->spin_ns : IPCI_SPIN_DEFAULT_MAX_NS;
	if (loop->wait == IPC_WAIT_SPIN)
		loop->spin_max_ns = IPCI_RECHECK_NS;
	/*
	 * With one CPU, spinning only keeps the other side from running. A thread that is pinned to
	 * one of several may have its peer on another: who knows so says IPC_WAIT_SPIN. Less than a
	 * CPU's time is spun away before its period ends, and then the whole group stands still.
	 */
	if (loop->wait == IPC_WAIT_SPIN)
		n_cpus = ipci_cpu_quota("") > 0 ? sysconf(_SC_NPROCESSORS_ONLN) : 0;
	else
		n_cpus = ipci_spin_cpus("");
	if (loop->wait == IPC_WAIT_FUTEX || n_cpus < 2)
		loop->spin_max_ns = 0;
	return 0;
}

static int start_poller(struct ipc_loop *loop)
{
	enum ipci_loop_backend backend = loop->wait == IPC_WAIT_EPOLL	? IPCI_LOOP_EPOLL
					 : loop->wait == IPC_WAIT_URING ? IPCI_LOOP_URING
									: IPCI_LOOP_ANY;
	int r = ipci_loop_new(&loop->poller, backend);

	if (r < 0)
		return ipci_error_set(&new_error, r, "cannot set up %s: %s",
				      backend == IPCI_LOOP_URING ? "io_uring" : "the event loop",
				      strerror(-r));
	r = ipci_post_init(loop);
	if (r < 0)
		return ipci_error_set(&new_error, r, "cannot set up the loop's eventfd: %s",
				      strerror(-r));
	return 0;
}

static void init_lists(struct ipc_loop *loop)
{
	ipci_list_init(&loop->owing);
	ipci_list_init(&loop->put_off);
	ipci_list_init(&loop->hot);
	ipci_list_init(&loop->tended);
	ipci_list_init(&loop->channels);
	ipci_list_init(&loop->servers);
	ipci_list_init(&loop->reopening);
	loop->reopen_ns = IPCI_NEVER;
	ipci_list_init(&loop->watches);
	ipci_list_init(&loop->ready_calls);
	ipci_list_init(&loop->ready_channels);
	loop->post_fd = -EBADF;
	loop->fork_generation = ipci_fork_count;
}

IPC_PUBLIC int ipc_loop_new(ipc_loop **ret, const struct ipc_loop_opts *opts)
{
	struct ipc_loop_opts known;
	struct ipc_loop *loop;
	int r;

	if (!ret)
		return -EINVAL;
	r = ipci_opts_copy(&known, sizeof(known), opts);
	if (r < 0)
		return ipci_error_set(&new_error, r, "ipc_loop_opts: %s",
				      r == -E2BIG ? "something that this library does not know"
						  : "bad size");
	loop = calloc(1, sizeof(*loop));
	if (!loop)
		return ipci_error_set(&new_error, -ENOMEM, "out of memory");
	init_lists(loop);
	if (!(known.flags & IPC_LOOP_NO_MEMBARRIER) && ipci_membarrier_register())
		loop->features |= IPCI_FEATURE_MEMBARRIER;
	r = choose_wait(loop, &known);
	if (r == 0)
		r = start_poller(loop);
	if (r == 0) {
		r = ipci_control_connect(loop, known.broker);
		if (r < 0)
			new_error = loop->error;
	}
	if (r < 0) {
		ipc_loop_free(loop);
		return r;
	}
	*ret = loop;
	return 0;
}

void ipci_loop_free_rest(struct ipc_loop *loop)
{
	ipci_snapshot_free_all(loop);
	free(loop);
}

IPC_PUBLIC void ipc_loop_free(ipc_loop *loop)
{
	if (!loop)
		return;
	IPCI_ALONE(loop);
	if (!ipci_forked(loop))
		ipci_turn_begin(loop);
	while (!ipci_list_empty(&loop->servers))
		ipc_server_free(IPCI_CONTAINER_OF(loop->servers.next, struct ipc_server, link));
	while (!ipci_list_empty(&loop->channels))
		ipci_channel_discard(
			IPCI_CONTAINER_OF(loop->channels.next, struct ipc_channel, link));
	if (ipci_forked(loop))
		ipci_turn_end_borrow(loop);
	while (!ipci_list_empty(&loop->watches)) {
		struct ipci_watch *watch = IPCI_CONTAINER_OF(loop->watches.next, struct ipci_watch,
							     link);

		ipci_list_remove(&watch->link);
		if (!ipci_forked(loop))
			ipci_loop_remove(loop->poller, &watch->source);
		free(watch);
	}
	ipci_control_free(loop);
	ipci_post_deinit(loop);
	ipci_loop_free(loop->poller);
	free(loop->timers);
	loop->timers = NULL;
	loop->dead = true;
	if (loop->n_kept == 0)
		ipci_loop_free_rest(loop);
}
