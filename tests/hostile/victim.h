/* SPDX-License-Identifier: Apache-2.0 */
/* The victim, the honest third, and the peer beside them: what the tests of hostile peers share. */
#ifndef TESTS_HOSTILE_VICTIM_H
#define TESTS_HOSTILE_VICTIM_H

#include <stdatomic.h>

#include "pair.h"
#include "peer.h"

/* The pair's client is the honest third, its server the victim: it answers Echo, and keeps Hold. */
extern struct pair pair;
extern struct peer peer;

/* Of the last channel that the victim's loop lost. */
extern char reason[512];
extern int lost_status;
extern unsigned n_lost;

extern ipc_call *kept[64];
extern unsigned n_kept;

/* The victim's handler. */
void serve_all(struct pair *p, struct ipc_event *event);

/* A world, the pair, and the peer connected to the broker. */
void start(void);
/* And the peer a client of the victim. */
void start_client(void);
/* The honest third is served as ever; everything is freed. */
void stop(void);
void check_honest(void);

/* The victim found it out, and says why, to everybody. */
void expect_poison(const char *why);
void expect_reply(uint64_t call_id, uint32_t kind);

/* The peer is in this thread and on no loop, so nobody sleeps while it is waited for. */
#define AWAIT_PEER(condition)                                                                      \
	do {                                                                                       \
		uint64_t _limit_ns = now_ns() + PATIENCE_NS;                                       \
		while (!(condition)) {                                                             \
			cr_assert_lt(now_ns(), _limit_ns, "never came: " #condition);              \
			pair_turn(&pair, 0);                                                       \
		}                                                                                  \
	} while (0)

/* For threads: they go on until it is set. */
extern atomic_bool ended;
void *pad_for_ever(void *arg);
void *scribble_for_ever(void *arg);

#endif
