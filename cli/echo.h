/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The service that is measured. Payloads are plain bytes.
 *
 *   Echo    reads what came, and writes as much
 *   Play    answers, then plays the server's side of something else, a bare one, before it serves on
 *   Stamp   says how long the request took to arrive, and when the answer left
 *   Stream  sends as many messages as it was asked for, and ends without another
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
#define ECHO_METHODS "Echo, Play, Stamp, Stream, Flood, Polite"

enum echo_method {
	ECHO_ECHO,
	ECHO_PLAY,
	ECHO_STAMP,
	ECHO_STREAM,
	ECHO_FLOOD,
	ECHO_POLITE,
	ECHO_N_METHODS,
};

struct echo_server {
	enum ipc_wait wait;
	uint32_t loop_flags; /* IPC_LOOP_… */
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

/*
 * The client's loop, with IPC_LOOP_… flags; a channel on it. @opts: NULL for the defaults. 0 or
 * -errno and why.
 */
int echo_connect(const char *socket, enum ipc_wait wait, uint32_t flags, ipc_loop **ret,
		 struct ipci_error *error);
int echo_open(ipc_loop *loop, const struct ipc_open_opts *opts, ipc_channel **ret,
	      struct ipci_error *error);

/* The parts of the above that a pair needs, for one library of several. */
struct echo_ops {
	int (*serve)(const char *socket, void *context);
	int (*connect)(const char *socket, enum ipc_wait wait, uint32_t flags, ipc_loop **ret,
		       struct ipci_error *error);
	int (*open)(ipc_loop *loop, const struct ipc_open_opts *opts, ipc_channel **ret,
		    struct ipci_error *error);
	int (*call)(ipc_channel *channel, size_t bytes, uint64_t seed);
	void (*free)(ipc_loop *loop);
};
extern const struct echo_ops echo_ops;

/* What the client's own side of the channel knows. */
int echo_facts(ipc_channel *channel, struct echo_facts *ret);

/* One call. 0; -EBADMSG another payload came than was due; -errno; positive: a status. */
int echo_call(ipc_channel *channel, size_t bytes, uint64_t seed);

/* The server plays @n of @what, which the caller begins at once; what the server counted so far. */
int echo_play(ipc_channel *channel, uint32_t what, uint32_t n, struct echo_facts *ret);

/* One call; how long each way took goes to @one_way, in picoseconds. Results as of echo_call(). */
int echo_stamp(ipc_channel *channel, struct histogram *one_way);

#define ECHO_BATCH_MAX 32u

/*
 * A stream of @n messages of @bytes each, published up to @batch at a time, which the caller receives:
 * message i is payload_write() with seed i, from 0, and IPC_END comes after the last.
 */
int echo_stream(ipc_channel *channel, uint64_t n, uint64_t bytes, uint32_t batch, ipc_call **ret);

/* Words for what a call answered: 0 and @r is 0, or -errno. */
int echo_error(int r, struct ipci_error *error);

#endif
