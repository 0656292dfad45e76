/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The service that is measured. Payloads are plain bytes.
 *
 *   Echo    reads what came, and writes as much
 *   Play    answers, then plays the server's side of something else, a bare one, before it serves on
 *   Stamp   says how long the request took to arrive, and when the answer left
 *   Sum     reads what came, and answers with its sum
 *   Flood   answers with nothing; counted
 *   Polite  answers with the number of Flood served so far
 */
#ifndef CLI_ECHO_H
#define CLI_ECHO_H

#include <stdatomic.h>

#include <ipc/ipc.h>

#include "error.h"
#include "histogram.h"

#define ECHO_SERVICE "ipc.bench.Echo"
#define ECHO_METHODS "Echo, Play, Stamp, Sum, Flood, Polite"

enum echo_method {
	ECHO_ECHO,
	ECHO_PLAY,
	ECHO_STAMP,
	ECHO_SUM,
	ECHO_FLOOD,
	ECHO_POLITE,
	ECHO_N_METHODS,
};

struct echo_server {
	enum ipc_wait wait;
	int cpu;	     /* to stay on */
	uint64_t ring_bytes; /* 0: the default */
	uint32_t max_calls;  /* likewise */
	/* What Play does. NULL: nothing. 0 or -errno. */
	int (*play)(void *context, uint32_t what, uint32_t n);
	void *play_context;
	_Atomic uint64_t
		*n_flood; /* shared: how many Flood were served; NULL: Flood is not called */
};

/* How often the server slept for the channel, and woke the client, in how many calls. */
struct echo_facts {
	uint64_t n_calls, n_sleeps, n_wakes;
};

/*
 * Serves until it fails: runs in the server's process, for stage_start(). @context: struct
 * echo_server.
 */
int echo_serve(const char *socket, void *context);

/* The client's loop; a channel on it. @opts: NULL for the defaults. 0 or -errno and why. */
int echo_connect(const char *socket, enum ipc_wait wait, ipc_loop **ret, struct ipci_error *error);
int echo_open(ipc_loop *loop, const struct ipc_open_opts *opts, ipc_channel **ret,
	      struct ipci_error *error);

/* What the client's own side of the channel knows. */
int echo_facts(ipc_channel *channel, struct echo_facts *ret);

/* One call. 0; -EBADMSG another payload came than was due; -errno; positive: a status. */
int echo_call(ipc_channel *channel, size_t bytes, uint64_t seed);

/* The server plays @n of @what, which the caller begins at once; what the server counted so far. */
int echo_play(ipc_channel *channel, uint32_t what, uint32_t n, struct echo_facts *ret);

/* One call; how long each way took goes to @one_way, in picoseconds. Results as of echo_call(). */
int echo_stamp(ipc_channel *channel, struct histogram *one_way);

/* Words for what a call answered: 0 and @r is 0, or -errno. */
int echo_error(int r, struct ipci_error *error);

#endif
