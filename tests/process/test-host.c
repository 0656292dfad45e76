// SPDX-License-Identifier: Apache-2.0
/*
 * Loops hosted in somebody else's epoll: what is armed wakes, what is not there does not. And
 * descriptors of the program's own, beside the channels.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "pair.h"

/* ── a client and a server, each in a host of its own ── */

struct host {
	int epoll;
	ipc_loop *loop;
	unsigned n_sleeps;
};

static void host_init(struct host *host, ipc_loop *loop)
{
	struct epoll_event event = {.events = EPOLLIN};

	host->loop = loop;
	host->n_sleeps = 0;
	host->epoll = epoll_create1(EPOLL_CLOEXEC);
	(void)epoll_ctl(host->epoll, EPOLL_CTL_ADD, ipc_loop_fd(loop), &event);
}

/* The next event, and 0; else -errno. Sleeps nowhere but in the host. */
static int host_next(struct host *host, struct ipc_event *event)
{
	struct epoll_event ready;
	int r;

	for (;;) {
		r = ipc_loop_next(host->loop, event, 0);
		if (r != 0)
			return r < 0 ? r : 0;
		host->n_sleeps++;
		r = epoll_wait(host->epoll, &ready, 1, (int)(PATIENCE_NS / MS_NS));
		if (r == 0)
			return -ETIMEDOUT;
		if (r < 0 && errno != EINTR)
			return -errno;
	}
}

static int serve_hosted(const struct world *world, void *arg)
{
	struct ipc_loop_opts opts = {.size = sizeof(opts)};
	struct ipc_event event;
	struct ipc_room room;
	struct host host;
	ipc_server *server;
	ipc_loop *loop;
	int r;

	(void)arg;
	opts.broker = world_socket(world, "shop");
	if (ipc_loop_new(&loop, &opts) < 0 || ipc_serve(loop, &echo_served, NULL, &server) < 0)
		return 1;
	host_init(&host, loop);
	for (;;) {
		r = host_next(&host, &event);
		if (r < 0) {
			fprintf(stderr, "hosted server: %s\n", strerror(-r));
			return 2;
		}
		if (event.kind == IPC_EVENT_CHANNEL && event.status < 0)
			break;
		if (event.kind != IPC_EVENT_REQUEST)
			continue;
		if (ipc_reserve(event.call, event.msg.size_bytes, 0, &room) < 0)
			return 3;
		memcpy(room.data, event.msg.data, event.msg.size_bytes);
		if (ipc_commit(event.call, event.msg.size_bytes, IPC_LAST) < 0)
			return 4;
	}
	ipc_loop_free(loop);
	(void)close(host.epoll);
	return !host.n_sleeps || leaked();
}

static void call_hosted(unsigned n_calls, unsigned n_at_once)
{
	struct ipc_open_opts opts = {.size = sizeof(opts), .timeout_ns = PATIENCE_NS};
	unsigned n_sent = 0, n_answered = 0;
	struct ipc_event event;
	struct world world;
	struct host host;
	ipc_channel *channel;
	pid_t server;
	int r;

	world_start(&world);
	server = spawn(serve_hosted, &world, NULL);
	host_init(&host, world_loop(&world, "web", 0));
	cr_assert_eq(ipc_open(host.loop, &echo_called, &opts, &channel), 0);
	while (n_answered < n_calls) {
		while (n_sent < n_calls && n_sent - n_answered < n_at_once) {
			(void)send_call(channel, ECHO, 8 + n_sent % 64, n_sent, NULL);
			n_sent++;
		}
		r = host_next(&host, &event);
		cr_assert_eq(r, 0, "after %u of %u calls: %s", n_answered, n_calls, strerror(-r));
		cr_assert_eq(event.kind, IPC_EVENT_MESSAGE);
		cr_assert(filled(event.msg.data, event.msg.size_bytes, n_answered));
		n_answered++;
	}
	cr_assert_geq(host.n_sleeps, n_calls / n_at_once / 10,
		      "the host hardly slept: this tested nothing");
	ipc_channel_free(channel);
	ipc_loop_free(host.loop);
	(void)close(host.epoll);
	cr_assert_eq(reap(server), 0);
	world_stop(&world);
}

Test(host, of_a_client_and_a_server_misses_no_wake, .timeout = 60)
{
	call_hosted(30000, 1);
}

Test(host, of_a_pipelined_client_misses_no_wake, .timeout = 60)
{
	call_hosted(30000, 16);
}

Test(host, sleeps_while_there_is_nothing_to_do, .timeout = 30)
{
	struct pair pair;
	struct epoll_event ready;
	struct host hosts[2];

	pair_start(&pair, NULL);
	pair_settle(&pair);
	host_init(&hosts[0], pair.client.loop);
	host_init(&hosts[1], pair.server.loop);
	pair_settle(&pair);
	for (unsigned i = 0; i < 2; i++)
		cr_assert_eq(epoll_wait(hosts[i].epoll, &ready, 1, 50), 0,
			     "armed, and yet readable");
	for (unsigned i = 0; i < 2; i++)
		(void)close(hosts[i].epoll);
	pair_stop(&pair);
}

Test(host, wakes_for_a_deadline, .timeout = 30)
{
	struct ipc_call_opts opts = {.size = sizeof(opts)};
	struct ipc_event event;
	struct pair pair;
	struct host host;
	uint64_t started_ns;

	pair_start(&pair, NULL);
	pair_settle(&pair);
	host_init(&host, pair.client.loop);
	for (unsigned i = 0; i < 20; i++) {
		opts.timeout_ns = (i % 4 + 1) * MS_NS;
		started_ns = now_ns();
		(void)send_call(pair.channel, HOLD, 8, 1, &opts);
		cr_assert_eq(host_next(&host, &event), 0);
		cr_assert_eq(event.kind, IPC_EVENT_END);
		cr_assert_eq(event.status, IPC_DEADLINE_EXCEEDED);
		cr_assert_geq(now_ns() - started_ns, opts.timeout_ns);
	}
	(void)close(host.epoll);
	pair_stop(&pair);
}

static uint64_t cpu_ns(void)
{
	struct rusage usage;

	(void)getrusage(RUSAGE_SELF, &usage);
	return (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * SECOND_NS +
	       (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000;
}

/* A quarter of the time would be a spin; none is a few wakes. */
Test(host, an_idle_loop_uses_no_cpu_in_whatever_way_it_waits, .timeout = 30)
{
	const uint32_t waits[] = {IPC_WAIT_AUTO, IPC_WAIT_SPIN, IPC_WAIT_FUTEX, IPC_WAIT_EPOLL};
	struct ipc_event event;
	struct pair pair;
	uint64_t before_ns;
	int r;

	for (unsigned i = 0; i < 4; i++) {
		pair_start(&pair, &(struct pair_opts){.wait = waits[i]});
		pair.server.on_event = answer_echo;
		(void)send_call(pair.channel, ECHO, 10, 1, NULL);
		PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_MESSAGE] == 1);
		pair_settle(&pair);
		before_ns = cpu_ns();
		/* The kernel's work on an io_uring that was closed interrupts a later
		 * epoll_wait(2), too. */
		do
			r = ipc_loop_next(pair.client.loop, &event, 400 * (int64_t)MS_NS);
		while (r == -EINTR);
		cr_assert_eq(r, 0, "way %u to wait: %d", waits[i], r);
		cr_assert_lt(cpu_ns() - before_ns, 100 * MS_NS, "way %u to wait", waits[i]);
		pair_stop(&pair);
	}
}

/* ── the program's own descriptors ── */

Test(host, watched_descriptors_are_reported_while_they_are_ready, .timeout = 30)
{
	struct ipc_event event;
	struct world world;
	ipc_loop *loop;
	int fds[2], marks[2];
	char byte = 'x';

	world_start(&world);
	loop = world_loop(&world, "web", 0);
	cr_assert_eq(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
	cr_assert_eq(ipc_loop_watch(loop, fds[0], EPOLLIN, &marks[0]), 0);
	cr_assert_eq(ipc_loop_next(loop, &event, 0), 0);
	cr_assert_eq(write(fds[1], &byte, 1), 1);
	for (unsigned i = 0; i < 3; i++) {
		cr_assert_eq(ipc_loop_next(loop, &event, (int64_t)PATIENCE_NS), 1);
		cr_assert_eq(event.kind, IPC_EVENT_FD);
		cr_assert_eq(event.fd, fds[0]);
		cr_assert_eq(event.revents, EPOLLIN);
		cr_assert_eq(event.user, &marks[0]);
	}
	cr_assert_eq(read(fds[0], &byte, 1), 1);
	cr_assert_eq(ipc_loop_next(loop, &event, 0), 0);
	/* Both ends at once, then the events changed, then none. */
	cr_assert_eq(ipc_loop_watch(loop, fds[1], EPOLLOUT, &marks[1]), 0);
	cr_assert_eq(ipc_loop_next(loop, &event, (int64_t)PATIENCE_NS), 1);
	cr_assert(event.fd == fds[1] && event.revents == EPOLLOUT && event.user == &marks[1]);
	cr_assert_eq(ipc_loop_watch(loop, fds[1], EPOLLERR, &marks[1]), 0);
	cr_assert_eq(ipc_loop_next(loop, &event, 0), 0);
	cr_assert_eq(close(fds[0]) | ipc_loop_watch(loop, fds[0], 0, NULL), 0);
	cr_assert_eq(ipc_loop_next(loop, &event, (int64_t)PATIENCE_NS), 1);
	cr_assert_eq(event.fd, fds[1]);
	cr_assert(event.revents & EPOLLERR);
	cr_assert_eq(ipc_loop_watch(loop, fds[1], 0, NULL), 0);
	cr_assert_eq(ipc_loop_next(loop, &event, 0), 0);
	(void)close(fds[1]);
	ipc_loop_free(loop);
	world_stop(&world);
}

Test(host, watching_says_what_it_cannot_do, .timeout = 30)
{
	struct world world;
	ipc_loop *loop;
	int file, pipe_fds[2];

	world_start(&world);
	loop = world_loop(&world, "web", 0);
	file = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	cr_assert_eq(ipc_loop_watch(loop, 900, EPOLLIN, NULL), -EBADF);
	cr_assert_eq(ipc_loop_watch(loop, -1, EPOLLIN, NULL), -EBADF);
	cr_assert_eq(ipc_loop_watch(loop, file, 0, NULL), -ENOENT);
	(void)close(file);
	file = open(world.dir, O_RDONLY | O_CLOEXEC);
	cr_assert_eq(ipc_loop_watch(loop, file, EPOLLIN, NULL), -EPERM);
	(void)close(file);
	cr_assert_eq(pipe2(pipe_fds, O_CLOEXEC), 0);
	cr_assert_eq(ipc_loop_watch(loop, pipe_fds[0], EPOLLIN, NULL), 0);
	/* Still watched when the loop goes. */
	ipc_loop_free(loop);
	(void)close(pipe_fds[0]);
	(void)close(pipe_fds[1]);
	world_stop(&world);
}

/* Channels, posts and descriptors at once: each gets its turn, none starves the others. */
Test(host, everything_gets_its_turn, .timeout = 60)
{
	const uint32_t waits[] = {IPC_WAIT_AUTO, IPC_WAIT_SPIN, IPC_WAIT_FUTEX};
	struct ipc_open_opts opts = {.size = sizeof(opts), .timeout_ns = PATIENCE_NS};
	struct echo_server echo = {};
	struct ipc_event event;
	struct world world;
	ipc_channel *channel;
	ipc_loop *loop;
	pid_t server;
	int counter;

	for (unsigned i = 0; i < 3; i++) {
		unsigned n[N_KINDS] = {};

		world_start(&world);
		server = spawn(serve_echo, &world, &echo);
		loop = world_loop(&world, "web", waits[i]);
		cr_assert_eq(ipc_open(loop, &echo_called, &opts, &channel), 0);
		counter = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
		cr_assert_eq(ipc_loop_watch(loop, counter, EPOLLIN, NULL), 0);
		(void)send_call(channel, ECHO, 8, 1, NULL);
		cr_assert_eq(ipc_loop_post(loop, NULL), 0);
		/* Each event brings about another of its kind; the descriptor is always ready. */
		while (n[IPC_EVENT_MESSAGE] < 300 || n[IPC_EVENT_POST] < 300 ||
		       n[IPC_EVENT_FD] < 20) {
			cr_assert_eq(ipc_loop_next(loop, &event, (int64_t)PATIENCE_NS), 1);
			n[event.kind]++;
			if (event.kind == IPC_EVENT_MESSAGE)
				(void)send_call(channel, ECHO, 8, 1, NULL);
			else if (event.kind == IPC_EVENT_POST && n[IPC_EVENT_POST] < 300)
				cr_assert_eq(ipc_loop_post(loop, NULL), 0);
			cr_assert_lt(n[event.kind], 1000000, "kind %u starves the others",
				     event.kind);
		}
		ipc_loop_free(loop);
		(void)close(counter);
		cr_assert_eq(reap(server), 0);
		world_stop(&world);
	}
}
