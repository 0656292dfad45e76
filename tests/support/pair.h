/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client and a server in one thread, each with a loop of its own, looked at in turn: nothing
 * happens but what a test lets happen.
 *
 * A turn that finds nothing on either loop sleeps on both loops' fds, as a host would: an event for
 * which neither fd becomes readable is a test that fails.
 */
#ifndef TESTS_SUPPORT_PAIR_H
#define TESTS_SUPPORT_PAIR_H

#include <stdbool.h>

#include "world.h"

#define N_KINDS 10

struct pair;

struct side {
	ipc_loop *loop;
	/* Sees each event; NULL: none is looked at. */
	void (*on_event)(struct pair *pair, struct ipc_event *event);
	unsigned n[N_KINDS]; /* events by kind */
	struct ipc_event last;
};

struct pair {
	struct world world;
	struct side client, server;
	ipc_server *service;
	ipc_channel *channel; /* the client's */
	ipc_channel *served;  /* the server's, from its CHANNEL event; NULL once that was lost */
	void *data;	      /* the test's */
};

struct pair_opts {
	uint32_t wait;
	uint64_t client_ring_bytes, server_ring_bytes;
	uint32_t client_max_calls, server_max_calls;
	uint32_t max_in_flight, max_waiting; /* the server's */
	uint32_t client_flags, server_flags;
	uint32_t client_loop_flags, server_loop_flags;
};

/* Starts a world, serves test.Echo as shop, and opens it as web. NULL: the defaults. */
void pair_start(struct pair *pair, const struct pair_opts *opts);
void pair_stop(struct pair *pair);

/* One event of each loop at most; sleeps, for no longer than @deadline_ns, if there was none. */
void pair_turn(struct pair *pair, uint64_t deadline_ns);
/* Turns until neither loop has anything to do now. */
void pair_settle(struct pair *pair);

/* Turns until the condition holds; fails the test where it does not come to hold. */
#define PUMP_UNTIL(pair, condition)                                                                \
	do {                                                                                       \
		uint64_t _limit_ns = now_ns() + PATIENCE_NS;                                       \
		while (!(condition)) {                                                             \
			cr_assert_lt(now_ns(), _limit_ns, "never came: " #condition);              \
			pair_turn(pair, _limit_ns);                                                \
		}                                                                                  \
	} while (0)

/* Handlers. */
void answer_echo(struct pair *pair,
		 struct ipc_event *event); /* each request with its own payload */

/* The payload of a committed call is fill(@seed). Turns pass while there is no room. */
ipc_call *send_call(ipc_channel *channel, uint32_t method, size_t size_bytes, uint64_t seed,
		    const struct ipc_call_opts *opts);
/* Answers with fill(@seed), likewise. */
void reply_with(ipc_call *call, size_t size_bytes, uint64_t seed);

struct ipc_channel_info channel_info(ipc_channel *channel);
struct ipc_call_info call_info(ipc_call *call);

#endif
