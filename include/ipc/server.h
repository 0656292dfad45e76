/* SPDX-License-Identifier: Apache-2.0 */
/* Offering a service. */
#ifndef IPC_SERVER_H
#define IPC_SERVER_H

#include <ipc/service.h>
#include <ipc/types.h>

IPC_BEGIN_DECLS

struct ipc_serve_opts {
	size_t size;	    /* sizeof(struct ipc_serve_opts) */
	uint32_t flags;	    /* IPC_HUGE_PAGES and the like */
	uint32_t max_calls; /* calls in flight a channel; 0: 256; at most 65535 */
	const char *name;   /* of this instance, in the broker's log; NULL: none */
	/*
	 * this side's ring on each channel, a power of two from 4 KiB to 1 GiB, allocated on the
	 * loop when a client comes; 0: 64 KiB
	 */
	uint64_t ring_bytes;
	void *user; /* comes back in this server's events */
	/*
	 * Calls that the program has at once, over all channels; 0: as many as the channels allow.
	 * A request beyond them waits for its turn, first come, first served, under its deadline;
	 * or its caller is told RESOURCE_EXHAUSTED, not executed: one that said IPC_NO_WAIT at
	 * once, others when max_waiting requests wait, or as many bytes of one client as its ring
	 * has. The copies that wait are private memory: up to the client's ring a channel, beside
	 * what ipc_receive() says of streams.
	 *
	 * No client has a share of its own: one can hold all places, with max_calls as many as
	 * this, and a call on which it streams holds its place until the server ends it, however
	 * slowly the client goes on. Where clients do not trust each other: a lower max_calls, and
	 * a server that fails calls which take too long.
	 */
	uint32_t max_in_flight;
	uint32_t max_waiting; /* 0: as many as max_in_flight */
};

/**
 * ipc_serve() - offer a service
 * @loop:    a loop
 * @service: from the generated header; must outlive the server
 * @opts:    NULL for the defaults
 * @ret:     set on success; ipc_server_free()
 *
 * Calls arrive as IPC_EVENT_REQUEST on the loop.
 * Threads: the loop's. Blocks until the broker answers, for at most 5 s.
 *
 * Return: 0; -EACCES no policy rule lets this workload serve it (ipc_loop_error() names the rule);
 *         -EINVAL; -E2BIG; -EALREADY this loop serves it; -ETIMEDOUT; -ENOTCONN the broker is gone;
 *         -ENOMEM;
 *         -ECHILD after fork().
 */
IPC_PUBLIC int ipc_serve(ipc_loop *loop, const struct ipc_service *service,
			 const struct ipc_serve_opts *opts, ipc_server **ret);

/**
 * ipc_server_drain() - take no new calls, and be told when the last one has ended
 * @server: a server; one that drains already stays as it is
 *
 * The service is withdrawn: new clients go to other instances, or wait for one. Calls that the
 * program has go on to their end, streams included. A request that waits for its turn, or still
 * comes, is answered UNAVAILABLE, not executed. Clients of this library begin no more calls on
 * their channels, close them when the last was answered, and reconnect.
 *
 * IPC_EVENT_DRAINED comes once, when no call is left, at once if there is none; then
 * ipc_server_free() breaks nothing. Calls that never end are the program's to fail.
 * Threads: the loop's. Does not block.
 *
 * Return: 0; -EINVAL; -ECHILD after fork().
 */
IPC_PUBLIC int ipc_server_drain(ipc_server *server);

/**
 * ipc_server_free() - withdraw the service and close its channels
 * @server: NULL does nothing
 *
 * Calls in flight end with UNAVAILABLE at their callers. Threads: the loop's. Does not block.
 */
IPC_PUBLIC void ipc_server_free(ipc_server *server);

IPC_END_DECLS

#endif
