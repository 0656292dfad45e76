/* SPDX-License-Identifier: Apache-2.0 */
/* What the client needs of a transport; both live in the one program. */
#ifndef ORDERS_CLIENT_H
#define ORDERS_CLIENT_H

#include <jansson.h>

#include "order.h"

struct transport {
	/* Reaches the server at @address, NULL: the transport's usual place. Says on stderr what
	 * failed. */
	int (*open)(void **ret, const char *address);

	/*
	 * Places one order: encode, call, decode. 0; 1..16: the shop refused it (a status as in
	 * <ipc/status.h>); -errno, said on stderr.
	 */
	int (*place)(void *self, const struct order *order, struct placed *ret);

	/* What is known of the connection, a new object. */
	json_t *(*info)(void *self);

	void (*close)(void *self);
};

extern const struct transport transport_ipc;
extern const struct transport transport_http;

#endif
