/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The service that is measured: Echo reads what came and writes as much; Raw answers, then plays
 * the server's side of raw ping-pongs before it serves on. Payloads are plain bytes.
 */
#ifndef CLI_ECHO_H
#define CLI_ECHO_H

#include <ipc/ipc.h>

#include "error.h"
#include "raw.h"

#define ECHO_SERVICE "ipc.bench.Echo"

struct echo_server {
	enum ipc_wait wait;
	int cpu;	 /* to stay on */
	struct raw *raw; /* NULL: Raw is never called */
};

/* How often the server slept for the channel, and woke the client, in how many calls. */
struct echo_facts {
	uint64_t n_calls, n_sleeps, n_wakes;
};

/* Serves until it fails: runs in the server's process, for stage_start_server(). @context: struct
 * echo_server. */
int echo_serve(const char *socket, void *context);

/* The client's loop; a channel on it. 0 or -errno and why. */
int echo_connect(const char *socket, enum ipc_wait wait, ipc_loop **ret, struct ipci_error *error);
int echo_open(ipc_loop *loop, ipc_channel **ret, struct ipci_error *error);

/* What the client's own side of the channel knows. */
int echo_facts(ipc_channel *channel, struct echo_facts *ret);

/* One call. 0; -EBADMSG another payload came than was due; -errno; positive: a status. */
int echo_call(ipc_channel *channel, size_t bytes, uint64_t seed);

/* Or-ed to a number of raw ping-pongs: look for them late. */
#define ECHO_RAW_LATE 0x80000000u

/* Asks for @n raw ping-pongs, which the caller begins at once; what the server counted so far. */
int echo_raw(ipc_channel *channel, uint32_t n, struct echo_facts *ret);

#endif
