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
/* And the peer a server, of which the pair's server is a client: the victim's channel. */
void start_server(void);
extern ipc_channel *victim;
extern unsigned n_ends; /* of the victim's calls, without a reply */
extern int end_status;
/* The request of a call that the victim makes; its frame as it came. */
struct raw_frame get_called(void);
void answer(uint64_t call_id, uint32_t payload_bytes);
/* The victim's @n calls end, and the channel with them; stops. */
void expect_broken(const char *why, unsigned n);

/* What harms both: the victim's channel is pair.served or victim, and has had one right answer. */
enum role { AS_CLIENT, AS_SERVER, N_ROLES };
void start_as(enum role role);
ipc_channel *victims_channel(enum role role);
/* One call, rightly answered. */
void exchange(enum role role);

/*
 * The honest third is served as ever, the victim's loop has nothing to do any more and says so; all
 * is freed.
 */
void stop(void);
void check_honest(void);
void expect_asleep(void);

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
