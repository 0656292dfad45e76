/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine's own limit: ping-pong between two processes over memory that both may write, with no
 * library, no check and no second process's trust to keep.
 *
 * A lane a direction, each with one writer: a number on a line of its own, and the payload behind
 * it, where the number's own line has no room for it (see RAW_LINE_PAYLOAD_BYTES). Spinning is a
 * tight loop of loads, at once, or late: after a pause that is learned as the library learns its
 * own (libipc/wait/spin.h), since a look that is too early takes the line from the writer; blocking
 * is FUTEX_WAIT and FUTEX_WAKE on the number, and no spin at all.
 */
#ifndef CLI_RAW_H
#define CLI_RAW_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A payload up to this size shares a line with what announces it: it costs the machine nothing. */
#define RAW_LINE_PAYLOAD_BYTES 48u

#include "histogram.h"
#include "spin.h"

struct raw_lane;

struct raw {
	struct ipci_patience patience; /* this side's */
	struct raw_lane *ping, *pong;  /* the client's and the server's, in one mapping */
	size_t map_bytes;
	size_t payload_bytes; /* moved beside the number; 0: the number alone */
	bool blocking;
	bool stamped; /* each side says when it wrote, and how long the other's took to come */
	struct histogram *one_way; /* the client's, stamped: where both ways go, in picoseconds */
	uint32_t number;	   /* of the last ping-pong */
	uint64_t n_sleeps;	   /* this side's */
	const volatile sig_atomic_t *stop; /* nonzero: give up waiting */
};

/* Maps the lanes, to be inherited by fork(). Stamped ones carry no payload. 0 or -errno. */
int raw_init(struct raw *raw, size_t payload_bytes, bool blocking, bool stamped,
	     const volatile sig_atomic_t *stop);
void raw_deinit(struct raw *raw);

/* The client's side of @n ping-pongs: 0, -EINTR it was told to stop, -EBADMSG a byte was lost. */
int raw_ping(struct raw *raw, unsigned int n, bool late);

/* The server's side of @n ping-pongs; results likewise. */
int raw_echo(struct raw *raw, unsigned int n, bool late);

#endif
