// SPDX-License-Identifier: Apache-2.0
/* A server whose io_uring is refused while it serves, by a filter as a container's: nobody notices. */
#include <errno.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>

#include <criterion/criterion.h>

#include "pair.h"

#define N_CALLS 300u
#define N_CHANNELS 4u

static int refuse_uring(int error)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	int r = filter ? seccomp_rule_add(filter, SCMP_ACT_ERRNO((unsigned)error),
					  SCMP_SYS(io_uring_enter), 0)
		       : -ENOMEM;

	if (r == 0)
		r = seccomp_load(filter);
	seccomp_release(filter);
	return r;
}

static int answer(const struct ipc_event *event)
{
	struct ipc_room room;
	int r = ipc_reserve(event->call, event->msg.size_bytes, 0, &room);

	if (r < 0)
		return r;
	memcpy(room.data, event->msg.data, event->msg.size_bytes);
	return ipc_commit(event->call, event->msg.size_bytes, IPC_LAST);
}

/* To be spawned. Half of all calls are served on the ring, the others without. */
static int serve_and_be_refused(const struct world *world, void *error)
{
	struct ipc_loop_opts opts = {
		.size = sizeof(opts),
		.flags = IPC_LOOP_BATCH_WAKES,
		.wait = IPC_WAIT_URING,
		.spin_ns = 1,
	};
	unsigned n_open = 0, n_served = 0;
	struct ipc_event event;
	ipc_server *server;
	ipc_loop *loop;
	int r;

	opts.broker = world_socket(world, "shop");
	if (ipc_loop_new(&loop, &opts) < 0 || ipc_serve(loop, &echo_served, NULL, &server) < 0)
		return 1;
	do {
		r = ipc_loop_next(loop, &event, (int64_t)PATIENCE_NS);
		/* The end of the ring may interrupt. */
		if (r == -EINTR)
			r = 0;
		if (r == 1 && event.kind == IPC_EVENT_CHANNEL) {
			n_open += event.status == 0 ? 1 : -1u;
		} else if (r == 1 && event.kind == IPC_EVENT_REQUEST) {
			if (++n_served == N_CALLS / 2 && refuse_uring(*(int *)error) < 0)
				return 2;
			r = answer(&event);
		}
	} while (r >= 0 && !(n_open == 0 && n_served));
	if (r < 0)
		fprintf(stderr, "server: %s\n", strerror(-r));
	ipc_loop_free(loop);
	return r < 0 ? 3 : n_served != N_CALLS || leaked() ? 4 : 0;
}

static void call(ipc_channel *channel, uint64_t seed)
{
	struct ipc_call_opts opts = {.size = sizeof(opts), .timeout_ns = PATIENCE_NS};
	struct ipc_room room;
	struct ipc_msg msg;
	ipc_call *made;
	int r = ipc_begin(channel, ECHO, 64, &opts, &made, &room);

	cr_assert_eq(r, 0, "%s", strerror(-r));
	fill(room.data, 64, seed);
	r = ipc_transact(made, 64, &msg);
	cr_assert_eq(r, 0, "call %ju: %d", (uintmax_t)seed, r);
	cr_assert(filled(msg.data, msg.size_bytes, seed));
}

static void serve_with(int error)
{
	struct ipc_open_opts opts = {.size = sizeof(opts), .timeout_ns = PATIENCE_NS};
	ipc_channel *channels[N_CHANNELS];
	struct world world;
	ipc_loop *loop;
	pid_t server;

	world_start(&world);
	loop = NULL;
	if (ipc_loop_new(&loop, &(struct ipc_loop_opts){.size = sizeof(struct ipc_loop_opts),
							.wait = IPC_WAIT_URING,
							.broker = world_socket(&world, "web")}) <
	    0) {
		world_stop(&world);
		cr_skip_test("io_uring is refused from the start");
	}
	server = spawn(serve_and_be_refused, &world, &error);
	for (unsigned i = 0; i < N_CHANNELS; i++)
		cr_assert_eq(ipc_open(loop, &echo_called, &opts, &channels[i]), 0);
	for (unsigned i = 0; i < N_CALLS; i++)
		call(channels[i % N_CHANNELS], i);
	ipc_loop_free(loop);
	cr_assert_eq(reap(server), 0);
	world_stop(&world);
}

Test(refused, io_uring_with_eperm_is_given_up_while_calls_go_on, .timeout = 60)
{
	serve_with(EPERM);
}

Test(refused, io_uring_with_enosys_is_given_up_while_calls_go_on, .timeout = 60)
{
	serve_with(ENOSYS);
}

Test(refused, io_uring_without_memory_is_given_up_while_calls_go_on, .timeout = 60)
{
	serve_with(EAGAIN);
}
