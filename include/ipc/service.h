/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a schema says of a service: its name and its methods. ipc-gen writes one for each
 * rpc_service.
 */
#ifndef IPC_SERVICE_H
#define IPC_SERVICE_H

#include <ipc/types.h>

/* Methods a service may have, and one more than the highest method id. */
#define IPC_METHODS_MAX 1024

struct ipc_method {
	const char *name; /* as policy names it: "Place" */
	/* this side's number for it, 0..IPC_METHODS_MAX - 1; matched by name at open */
	uint16_t id;
	uint16_t flags; /* 0; streaming's flags will live here */
	uint32_t reserved;
};

struct ipc_service {
	const char *name; /* "shop.Orders" */
	const struct ipc_method *methods;
	uint32_t n_methods;
	uint32_t reserved;
};

#endif
