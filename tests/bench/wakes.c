// SPDX-License-Identifier: Apache-2.0
/*
 * wakes BROKER WAIT: N_CHANNELS calls to a peer that sleeps, from a loop that puts its wakes off, and
 * the turn that sends them; for strace to count the system calls of. The calls, then the turn, stand
 * between getppid()s. WAIT is a number of enum ipc_wait.
 *
 * The peer is a loop of this same process, seen not to be readable: so it sleeps, and what it is
 * woken by is counted with it.
 *
 * Exit status: 0; 1 a failure; 77 that way to wait is refused.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <ipc/ipc.h>

#include "error.h"
#include "stage.h"

#define N_CHANNELS 16u /* as many opens as may be pending */
#define SERVICE "test.Wakes"
#define BOUND 100000u
#define SKIP 77

static const struct ipc_method methods[] = {{.name = "Call", .id = 0}};
static const struct ipc_service service = {.name = SERVICE, .methods = methods, .n_methods = 1};

struct pair {
	ipc_loop *loop, *peer;
	ipc_channel *channels[N_CHANNELS];
	unsigned n_open, n_came, n_requests;
};

static int open_loop(const char *socket, uint32_t wait, uint32_t flags, ipc_loop **ret)
{
	const struct ipc_loop_opts opts = {
		.size = sizeof(opts),
		.wait = wait,
		.flags = flags,
		.broker = socket,
	};

	return ipc_loop_new(ret, &opts);
}

/* All that a loop has to do, until it is armed. */
static int settle(ipc_loop *loop, unsigned *n_channels, unsigned *n_requests)
{
	struct ipc_event event;
	int r;

	while ((r = ipc_loop_next(loop, &event, 0)) != 0) {
		if (r < 0 && r != -EINTR)
			return r;
		if (r == 1 && event.kind == IPC_EVENT_CHANNEL && event.status < 0)
			return event.status;
		*n_channels += r == 1 && event.kind == IPC_EVENT_CHANNEL;
		*n_requests += r == 1 && event.kind == IPC_EVENT_REQUEST;
	}
	return 0;
}

static bool sleeps(ipc_loop *loop)
{
	struct pollfd fd = {.fd = ipc_loop_fd(loop), .events = POLLIN};

	return poll(&fd, 1, 0) == 0;
}

/* Both loops armed, and the peer asleep, with all channels open. */
static int come_to_rest(struct pair *pair)
{
	unsigned none = 0;
	int r = 0;

	for (unsigned i = 0; r == 0 && i < BOUND; i++) {
		r = settle(pair->loop, &pair->n_open, &none);
		if (r == 0)
			r = settle(pair->peer, &pair->n_came, &pair->n_requests);
		if (r == 0 && pair->n_open == N_CHANNELS && pair->n_came == N_CHANNELS &&
		    sleeps(pair->peer))
			return 0;
	}
	return r < 0 ? r : -ETIMEDOUT;
}

static int call(ipc_channel *channel)
{
	struct ipc_room room;
	ipc_call *call;
	int r = ipc_begin(channel, 0, 0, NULL, &call, &room);

	return r < 0 ? r : ipc_commit(call, 0, IPC_LAST);
}

static int measure(struct pair *pair)
{
	struct ipc_event event;
	int r = 0;

	(void)getppid();
	for (unsigned i = 0; r == 0 && i < N_CHANNELS; i++)
		r = call(pair->channels[i]);
	if (r == 0 && !sleeps(pair->peer))
		r = -EALREADY;
	(void)getppid();
	if (r == 0)
		r = ipc_loop_next(pair->loop, &event, 0);
	(void)getppid();
	return r > 0 ? -EPROTO : r;
}

static int run(const struct stage *stage, struct pair *pair)
{
	struct ipc_open_opts opts = {.size = sizeof(opts), .flags = IPC_OPEN_ASYNC};
	struct ipc_channel_info info = {.size = sizeof(info)};
	ipc_server *server;
	unsigned n_wakes = 0;
	int r = open_loop(stage->server_socket, IPC_WAIT_EPOLL, 0, &pair->peer);

	if (r == 0)
		r = ipc_serve(pair->peer, &service, NULL, &server);
	for (unsigned i = 0; r == 0 && i < N_CHANNELS; i++)
		r = ipc_open(pair->loop, &service, &opts, &pair->channels[i]);
	if (r == 0)
		r = come_to_rest(pair);
	if (r == 0)
		r = measure(pair);
	if (r == 0)
		r = come_to_rest(pair);
	if (r == 0 && pair->n_requests != N_CHANNELS)
		r = -EPROTO;
	for (unsigned i = 0; r == 0 && i < N_CHANNELS; i++) {
		r = ipc_channel_info(pair->channels[i], &info);
		n_wakes += (unsigned)info.n_wakes;
	}
	if (r == 0)
		printf("%u wakes\n", n_wakes);
	return r;
}

int main(int argc, char **argv)
{
	struct ipci_error error = {};
	struct stage stage = {};
	struct pair pair = {};
	int r;

	if (argc != 3) {
		fputs("usage: wakes BROKER WAIT\n", stderr);
		return EXIT_FAILURE;
	}
	r = stage_init(&stage, argv[1], SERVICE, "Call", &error);
	if (r == 0) {
		r = open_loop(stage.client_socket, (uint32_t)atoi(argv[2]), IPC_LOOP_BATCH_WAKES,
			      &pair.loop);
		if (r < 0 && atoi(argv[2]) == IPC_WAIT_URING) {
			fprintf(stderr, "io_uring is refused: %s\n", strerror(-r));
			stage_deinit(&stage);
			return SKIP;
		}
		if (r == 0)
			r = run(&stage, &pair);
		if (r < 0)
			(void)ipci_error_set(&error, r, "%s", strerror(-r));
	}
	ipc_loop_free(pair.loop);
	ipc_loop_free(pair.peer);
	stage_deinit(&stage);
	if (r < 0)
		fprintf(stderr, "%s\n", error.text);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
