/* SPDX-License-Identifier: Apache-2.0 */
/* What the server needs of a transport; both live in the one program. */
#ifndef ORDERS_SERVER_H
#define ORDERS_SERVER_H

#include "bill.h"
#include "raw.h"

struct shop {
	struct totals totals; /* of every order taken */
	struct raw raw;
};

/* Closes an order that was read: 0 and the answer, counted; or the status that refuses it
 * (<ipc/status.h>). */
int shop_take(struct shop *shop, const struct bill *bill, struct placed *ret);

/*
 * Serve until standard input ends. @ready is called once, when calls can come. 0 or -errno, said on
 * stderr. A NULL @address is the transport's usual place.
 */
int serve_ipc(struct shop *shop, const char *address, int (*ready)(void));
int serve_http(struct shop *shop, const char *address, int (*ready)(void));

#endif
