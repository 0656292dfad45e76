/* SPDX-License-Identifier: Apache-2.0 */
/* How a call ended: the gRPC status codes, numbered as in gRPC's doc/statuscodes.md. */
#ifndef IPC_STATUS_H
#define IPC_STATUS_H

#include <ipc/types.h>

IPC_BEGIN_DECLS

enum ipc_status {
	IPC_OK = 0,
	IPC_CANCELLED = 1,
	IPC_UNKNOWN = 2,
	IPC_INVALID_ARGUMENT = 3,
	IPC_DEADLINE_EXCEEDED = 4,
	IPC_NOT_FOUND = 5,
	IPC_ALREADY_EXISTS = 6,
	IPC_PERMISSION_DENIED = 7,
	IPC_RESOURCE_EXHAUSTED = 8,
	IPC_FAILED_PRECONDITION = 9,
	IPC_ABORTED = 10,
	IPC_OUT_OF_RANGE = 11,
	IPC_UNIMPLEMENTED = 12,
	IPC_INTERNAL = 13,
	IPC_UNAVAILABLE = 14,
	IPC_DATA_LOSS = 15,
	IPC_UNAUTHENTICATED = 16,
};

/* Outcomes beside the statuses; the values leave room for more statuses. */
enum {
	IPC_DEFERRED = 101, /* a generated handler's answer: it keeps the call and ends it later */
	IPC_END = 102,	    /* ipc_receive(): the call has ended well, without a last message */
};

/* What is known of a call that did not end well. */
enum ipc_fate {
	IPC_FATE_UNKNOWN = 0,	   /* it may have run, wholly or in part */
	IPC_FATE_NOT_EXECUTED = 1, /* the server never took it */
	IPC_FATE_EXECUTED = 2,	   /* the server ended it */
};

/**
 * ipc_status_name() - a status code's name
 * @status: a value of enum ipc_status
 *
 * Ownership: a static string. Threads: any. Does not block.
 *
 * Return: the name in capitals, "DEADLINE_EXCEEDED" for 4; "?" for a number that is no status.
 */
IPC_PUBLIC const char *ipc_status_name(int status);

IPC_END_DECLS

#endif
