/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Killing one side of a channel between any two stores that the other side sees, over and over, and
 * looking at what the other side, and the broker, make of it.
 *
 *   victim     forked for one cycle; its life is some calls of every kind and an orderly end, of
 *              which it reaches whatever comes before the point where it kills itself
 *   survivor   this process, the same for all cycles; must learn of the death, get an answer to
 *              each of its calls, and hold nothing afterwards
 */
#ifndef TESTS_CRASH_CRASH_H
#define TESTS_CRASH_CRASH_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <ipc/ipc.h>

#include "crash-point.h"

#define SECOND_NS UINT64_C(1000000000)
#define PATIENCE_NS (20 * SECOND_NS) /* what takes longer than this hangs */
#define HOLDS_MAX 4u		     /* calls that a server keeps unanswered */

enum side { CLIENT, SERVER };
enum { ECHO, HOLD, FAIL, STREAM };

extern const struct ipc_service service;

/*
 * What this process sends in a stream. A victim: more than may be on its way in its small ring. A
 * survivor: so many in one go that the victim, which they come to, stays awake for once, and then
 * gives credit.
 */
struct flow {
	unsigned n_items;
	size_t item_bytes;
	uint32_t flags; /* of each but the last */
	uint64_t ring_bytes;
};
extern const struct flow victim_flow, survivor_flow;

/* Shared with the victim. */
struct plan {
	enum ipci_crash_point point; /* IPCI_CRASH_NONE: any of them */
	uint32_t countdown;	     /* dies at this one; 0: never */
	uint64_t died_ns;	     /* 0: it did not */
	uint64_t n_reached[IPCI_N_CRASH_POINTS];
};

/* What one cycle came to. */
struct outcome {
	bool reached;	     /* the victim died where it should */
	uint64_t learned_ns; /* from its death to the first word of it; 0: none was due */
	uint64_t settled_ns; /* and until the last call was answered */
	char fault[160];     /* "": none */
};

uint64_t now_ns(void);
void fill(void *data, size_t size_bytes, uint64_t seed);
bool filled(const void *data, size_t size_bytes, uint64_t seed);

/* Kills this process by and by, as @plan says; NULL: lives. */
void crash_follow(struct plan *plan);
const char *crash_point_name(enum ipci_crash_point point);

/* lives.c: what a victim does; exits with 0 if it came to its end. */
void live_as_client(const char *socket, uint32_t wait) __attribute__((__noreturn__));
void live_as_server(const char *socket, uint32_t wait) __attribute__((__noreturn__));

/* What a server of this service does with a request; the same on either side of life. */
struct holds {
	const struct flow *flow;
	ipc_call *calls[HOLDS_MAX];
	struct ipc_msg kept[HOLDS_MAX];
	unsigned n;
};
/*
 * A client's side of STREAM: sends its items, receives the server's. IPC_END, a status, or -errno;
 * -EBADMSG for items with other bytes. The call has ended.
 */
int stream(ipc_call *call, const struct flow *flow);
/* 0 or -errno. */
int serve_event(struct holds *holds, struct ipc_event *event);

/* survive.c: one cycle. */
void survive_as_server(ipc_loop *loop, struct holds *holds, pid_t victim, const struct plan *plan,
		       struct outcome *ret);
void survive_as_client(ipc_loop *loop, pid_t victim, const struct plan *plan, struct outcome *ret);

#endif
