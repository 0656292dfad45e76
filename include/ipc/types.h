/* SPDX-License-Identifier: Apache-2.0 */
/* What every other header shares: the opaque handles, linkage, and the flags of single calls. */
#ifndef IPC_TYPES_H
#define IPC_TYPES_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
#define IPC_BEGIN_DECLS extern "C" {
#define IPC_END_DECLS }
#else
#define IPC_BEGIN_DECLS
#define IPC_END_DECLS
#endif

/*
 * The library is built with hidden visibility; what a header declares with IPC_PUBLIC is exported.
 */
#define IPC_PUBLIC __attribute__((__visibility__("default")))

typedef struct ipc_loop ipc_loop;     /* the broker connection and all that one thread waits for */
typedef struct ipc_server ipc_server; /* one service offered */
typedef struct ipc_channel ipc_channel; /* one service reached, or one client served */
typedef struct ipc_call ipc_call;	/* one call, seen from either side; pooled by its channel */

/* Flags of ipc_commit(), ipc_reserve() and ipc_begin(). */
enum {
	IPC_LAST = 1 << 0,  /* this is my last message of the call */
	IPC_MORE = 1 << 1,  /* more follows at once: the peer is woken later */
	IPC_BLOCK = 1 << 2, /* wait for room, under the call's deadline */
	/* ipc_begin(): a server that is busy to its limit refuses the call, it does not queue it */
	IPC_NO_WAIT = 1 << 3,
};

/*
 * Flags of ipc_open() and ipc_serve(): huge pages, of 2 MiB. A ring is at least one of them, and that
 * is its default size then; one more holds what lies before it. Each is mapped by one entry where
 * ordinary pages take 512: worth it for rings of many megabytes.
 */
enum {
	/* This side's ring lies in huge pages, or the open fails. The peer must allow it. */
	IPC_HUGE_PAGES = 1 << 4,
	/* … or, where there are none left for it, or a client does not allow them, in ordinary ones */
	IPC_PREFER_HUGE_PAGES = 1 << 5,
	/* The peer's ring may lie in huge pages: at most one is taken from this side's pool for that. */
	IPC_ALLOW_HUGE_PAGES = 1 << 6,
};

/* Of ipc_reserve_batch(): rooms at once. */
#define IPC_BATCH_MAX 4096

/* A timeout that never passes; 0 means the default of the call in question. */
#define IPC_FOREVER UINT64_MAX

#endif
