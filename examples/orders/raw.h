/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine's own limit: a number that goes from one CPU to another and back through a page that
 * both processes map, with no library, no payload and no check. Taken between the calls of the same
 * two processes, since the CPUs of a virtual machine move: two figures compare only if they come
 * from the same moments.
 */
#ifndef ORDERS_RAW_H
#define ORDERS_RAW_H

#include <stdint.h>

#include "samples.h"

struct raw_page;

struct raw {
	struct raw_page *page; /* NULL: not asked for */
	uint64_t n_calls;      /* made, or answered */
	uint64_t n_done;       /* ping-pongs */
};

/* Maps the memfd that the launcher handed down; a negative @fd makes a raw whose other calls do
 * nothing. 0 or -errno. */
int raw_init(struct raw *raw, int fd);
void raw_deinit(struct raw *raw);

/* Client: before each call. A @n above 0 asks for so many ping-pongs once that call is answered. */
void raw_call(struct raw *raw, uint64_t n);

/* Client: after the call that asked. 0, or -ETIMEDOUT: the server does not answer. */
int raw_ping(struct raw *raw, struct samples *samples);

/* Server: after each reply; one load where nothing was asked. 0, or -ETIMEDOUT: the client stopped
 * half-way. */
int raw_echo(struct raw *raw);

#endif
