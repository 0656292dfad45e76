/* SPDX-License-Identifier: Apache-2.0 */
/* A client here and a server in a process of its own, with channels between them, on a stage. */
#ifndef CLI_PAIR_H
#define CLI_PAIR_H

#include "cpus.h"
#include "echo.h"
#include "stage.h"

struct pair {
	struct stage stage;
	const struct echo_ops *echo;
	ipc_loop *loop;
	ipc_channel **channels;
	size_t n_channels;
};

struct pair_plan {
	const char *broker; /* NULL: the one beside this program */
	struct cpus cpus;
	const struct echo_ops *echo; /* NULL: of this program's library */
	enum ipc_wait wait;	     /* both sides */
	uint32_t loop_flags;	     /* likewise */
	struct echo_server server;   /* its wait and its CPU are set from the above */
	struct ipc_open_opts opens;  /* for each channel */
	size_t n_channels;
};

/*
 * Starts the server, and opens the channels. The caller then stays on the client's CPU
 * (cpus_pin()), not before: a loop that is made where there is one CPU does not spin.
 * 0 or -errno and why; pair_deinit() is due also after a failure.
 */
int pair_init(struct pair *pair, const struct pair_plan *plan, struct ipci_error *error);
void pair_deinit(struct pair *pair);

/* @n channels more. @opts: NULL for the defaults. 0 or -errno and why. */
int pair_open(struct pair *pair, const struct ipc_open_opts *opts, size_t n,
	      struct ipci_error *error);

/* As many descriptors as the system lets this process have: thousands of channels take thousands. */
void pair_raise_limits(void);

#endif
