// SPDX-License-Identifier: Apache-2.0
/*
 * Two processes for tests that look at them from outside, each on a CPU of its own.
 *
 *   busy spin BROKER          N_STRETCHES stretches of STRETCH_CALLS calls, for strace to count the
 *                             system calls of. Each side says getppid() at the ends of a stretch.
 *   busy idle BROKER WAIT     a call, nothing for a second, a call; prints what the second cost
 *                             either side. WAIT is a number of enum ipc_wait.
 *
 * Exit status: 0; 1 a failure; 77 there is one CPU only.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "cpus.h"
#include "echo.h"
#include "stage.h"

#define N_STRETCHES 100
#define STRETCH_CALLS 1000
#define IDLE_NS 1000000000
#define SKIP 77

enum {
	METHOD_ECHO = 0,
	METHOD_MARK = 1, /* here: a mark, answered with what the server cost so far */
};

static const struct ipc_method methods[] = {
	{.name = "Echo", .id = METHOD_ECHO},
	{.name = "Play", .id = METHOD_MARK},
};

static const struct ipc_service service = {.name = ECHO_SERVICE,
					   .methods = methods,
					   .n_methods = 2};

struct side {
	enum ipc_wait wait;
	int cpu;
};

struct cost {
	int64_t cpu_us, n_switches;
};

static struct cost cost_so_far(void)
{
	struct rusage usage;

	(void)getrusage(RUSAGE_SELF, &usage);
	return (struct cost){
		.cpu_us = (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 +
			  usage.ru_utime.tv_usec + usage.ru_stime.tv_usec,
		/* Sleeps alone: a spin that yields on a busy machine is switched away from as often. */
		.n_switches = usage.ru_nvcsw,
	};
}

static int answer(const struct ipc_event *event)
{
	bool mark = event->method == METHOD_MARK;
	size_t bytes = mark ? sizeof(struct cost) : event->msg.size_bytes;
	struct ipc_room room;
	struct cost cost;
	int r = ipc_reserve(event->call, bytes, 0, &room);

	if (r < 0)
		return r;
	if (mark) {
		(void)getppid();
		cost = cost_so_far();
	}
	memcpy(room.data, mark ? (const void *)&cost : event->msg.data, bytes);
	return ipc_commit(event->call, bytes, IPC_LAST);
}

static int serve(const char *socket, void *context)
{
	const struct side *side = context;
	const struct ipc_loop_opts opts = {.size = sizeof(opts),
					   .wait = side->wait,
					   .broker = socket};
	struct ipc_event event;
	ipc_server *server;
	ipc_loop *loop;
	int r = cpus_pin(side->cpu, NULL);

	if (r == 0)
		r = ipc_loop_new(&loop, &opts);
	if (r == 0)
		r = ipc_serve(loop, &service, NULL, &server);
	while (r >= 0) {
		r = ipc_loop_next(loop, &event, -1);
		if (r == 1 && event.kind == IPC_EVENT_REQUEST)
			r = answer(&event);
	}
	return r;
}

static int call(ipc_channel *channel, uint32_t method, struct cost *ret)
{
	struct ipc_room room;
	struct ipc_msg msg;
	ipc_call *call;
	int r = ipc_begin(channel, method, sizeof(*ret), NULL, &call, &room);

	if (r < 0)
		return r;
	memset(room.data, 0, sizeof(*ret));
	r = ipc_transact(call, sizeof(*ret), &msg);
	if (r == 0 && msg.size_bytes != sizeof(*ret))
		r = -EBADMSG;
	if (r == 0)
		memcpy(ret, msg.data, sizeof(*ret));
	return r;
}

static int spin(ipc_channel *channel)
{
	struct cost ignored;
	int r = 0;

	for (int stretch = 0; r == 0 && stretch < N_STRETCHES; stretch++) {
		r = call(channel, METHOD_MARK, &ignored);
		(void)getppid();
		for (int i = 0; r == 0 && i < STRETCH_CALLS; i++)
			r = call(channel, METHOD_ECHO, &ignored);
		(void)getppid();
		if (r == 0)
			r = call(channel, METHOD_MARK, &ignored);
	}
	return r;
}

static int idle(ipc_loop *loop, ipc_channel *channel)
{
	struct cost server_before, server_after, before, after;
	struct ipc_event event;
	int r = call(channel, METHOD_MARK, &server_before);

	if (r != 0)
		return r;
	before = cost_so_far();
	r = ipc_loop_next(loop, &event, IDLE_NS);
	after = cost_so_far();
	if (r != 0)
		return r < 0 ? r : -EPROTO;
	r = call(channel, METHOD_MARK, &server_after);
	if (r == 0)
		printf("client %" PRId64 " us %" PRId64 " switches, server %" PRId64 " us %" PRId64
		       " switches\n",
		       after.cpu_us - before.cpu_us, after.n_switches - before.n_switches,
		       server_after.cpu_us - server_before.cpu_us,
		       server_after.n_switches - server_before.n_switches);
	return r;
}

static int run(int argc, char **argv, struct stage *stage, struct ipci_error *error)
{
	bool spinning = strcmp(argv[1], "spin") == 0;
	enum ipc_wait wait = argc > 3 ? (enum ipc_wait)atoi(argv[3]) : IPC_WAIT_SPIN;
	ipc_channel *channel;
	ipc_loop *loop = NULL;
	struct cpus cpus;
	struct side server;
	int r = cpus_choose(&cpus, error);

	if (r < 0)
		return r;
	server = (struct side){wait, cpus.server};
	r = stage_init(stage, argv[2], ECHO_SERVICE, "Echo, Play", error);
	if (r == 0)
		r = stage_start(stage, stage->server_socket, serve, &server, error);
	if (r == 0)
		r = cpus_pin(cpus.client, error);
	if (r == 0)
		r = echo_connect(stage->client_socket, wait, 0, &loop, error);
	if (r == 0)
		r = echo_open(loop, NULL, &channel, error);
	if (r == 0) {
		r = spinning ? spin(channel) : idle(loop, channel);
		if (r != 0)
			r = ipci_error_set(error, r < 0 ? r : -EREMOTEIO, "a call failed: %d", r);
	}
	if (r < 0 && r != -ENODEV)
		stage_explain(stage, error);
	ipc_loop_free(loop);
	return r;
}

int main(int argc, char **argv)
{
	struct ipci_error error = {};
	struct stage stage = {};
	int r;

	if (argc < 3) {
		fputs("usage: busy spin|idle BROKER [WAIT]\n", stderr);
		return EXIT_FAILURE;
	}
	r = run(argc, argv, &stage, &error);
	stage_deinit(&stage);
	if (r < 0)
		fprintf(stderr, "%s\n", error.text);
	if (r == -ENODEV)
		return SKIP;
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
