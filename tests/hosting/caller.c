// SPDX-License-Identifier: Apache-2.0
/*
 * caller SOCKET WAIT FLAGS SLEEPS: calls one at a time, over several channels in no order, until the
 * host has slept that often. Sleeps in its loop, without bound, so that a wake that the host owes and
 * does not give is silence too. A random pause before each call lets it fall on every moment of the
 * host's way to sleep.
 *
 * Exit status: 0; 1 a failure; 4 the host hardly slept.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ipc/ipc.h>

#include "hosted.h"

#define N_CHANNELS 3
#define PAUSE_MIN 256u
#define PAUSE_MAX 1000000u
#define CALLS_A_SLEEP 8u

struct caller {
	ipc_loop *loop;
	ipc_channel *channels[N_CHANNELS];
	uint64_t random;
	uint64_t pause;
};

static uint64_t next_random(struct caller *caller)
{
	caller->random ^= caller->random << 13;
	caller->random ^= caller->random >> 7;
	caller->random ^= caller->random << 17;
	return caller->random;
}

static int start(struct caller *caller, char **argv)
{
	struct ipc_loop_opts opts = {.size = sizeof(opts), .spin_ns = 1};
	int r;

	opts.broker = argv[1];
	opts.wait = (uint32_t)atoi(argv[2]);
	opts.flags = (uint32_t)atoi(argv[3]);
	r = ipc_loop_new(&caller->loop, &opts);
	for (unsigned i = 0; r == 0 && i < N_CHANNELS; i++)
		r = ipc_open(caller->loop, &hosted_service, NULL, &caller->channels[i]);
	return r;
}

static int send_round(ipc_channel *channel, uint64_t round)
{
	struct ipc_room room;
	ipc_call *call;
	int r = ipc_begin(channel, 0, sizeof(round), NULL, &call, &room);

	if (r < 0)
		return r;
	memcpy(room.data, &round, sizeof(round));
	return ipc_commit(call, sizeof(round), IPC_LAST);
}

/* How often the host has slept, when the reply has come. */
static int take_reply(struct caller *caller, uint64_t round, uint64_t *ret)
{
	struct hosted_tick tick;
	struct ipc_event event;
	int r;

	do
		r = ipc_loop_next(caller->loop, &event, -1);
	while (r == -EINTR);
	if (r < 0)
		return r;
	if (event.kind != IPC_EVENT_MESSAGE || event.msg.size_bytes != sizeof(tick))
		return event.status < 0 ? event.status : -EBADMSG;
	memcpy(&tick, event.msg.data, sizeof(tick));
	*ret = tick.n_sleeps;
	return tick.round == round ? 0 : -EBADMSG;
}

/* Long enough that the host mostly sleeps, and hardly longer: so calls fall on its way to sleep. */
static void learn(struct caller *caller, bool slept)
{
	if (slept)
		caller->pause -= caller->pause / 64;
	else
		caller->pause += caller->pause / 8;
	if (caller->pause < PAUSE_MIN)
		caller->pause = PAUSE_MIN;
	if (caller->pause > PAUSE_MAX)
		caller->pause = PAUSE_MAX;
}

static void pause_a_while(struct caller *caller)
{
	for (volatile uint64_t n = next_random(caller) % caller->pause; n; n = n - 1)
		;
}

static int call_until(struct caller *caller, uint64_t n_wanted)
{
	uint64_t n_sleeps = 0, n_before;
	int r = 0;

	for (uint64_t round = 0; r == 0 && n_sleeps < n_wanted; round++) {
		if (round > CALLS_A_SLEEP * n_wanted)
			return -ERANGE;
		pause_a_while(caller);
		r = send_round(caller->channels[next_random(caller) % N_CHANNELS], round);
		n_before = n_sleeps;
		if (r == 0)
			r = take_reply(caller, round, &n_sleeps);
		learn(caller, n_sleeps != n_before);
	}
	return r;
}

int main(int argc, char **argv)
{
	struct caller caller = {.random = UINT64_C(0x9e3779b97f4a7c15), .pause = PAUSE_MIN};
	int r;

	if (argc != 5) {
		fputs("usage: caller SOCKET WAIT FLAGS SLEEPS\n", stderr);
		return EXIT_FAILURE;
	}
	r = start(&caller, argv);
	if (r == 0)
		r = call_until(&caller, strtoull(argv[4], NULL, 10));
	if (r == -ERANGE)
		fputs("the host hardly slept: this tested nothing\n", stderr);
	else if (r < 0)
		fprintf(stderr, "%s: %s\n", strerror(-r), ipc_loop_error(caller.loop));
	ipc_loop_free(caller.loop);
	return r == -ERANGE ? 4 : r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
