/* SPDX-License-Identifier: Apache-2.0 */
#include <ipc/status.h>
#include <ipc/version.h>

static const char *const names[] = {
	[IPC_OK] = "OK",
	[IPC_CANCELLED] = "CANCELLED",
	[IPC_UNKNOWN] = "UNKNOWN",
	[IPC_INVALID_ARGUMENT] = "INVALID_ARGUMENT",
	[IPC_DEADLINE_EXCEEDED] = "DEADLINE_EXCEEDED",
	[IPC_NOT_FOUND] = "NOT_FOUND",
	[IPC_ALREADY_EXISTS] = "ALREADY_EXISTS",
	[IPC_PERMISSION_DENIED] = "PERMISSION_DENIED",
	[IPC_RESOURCE_EXHAUSTED] = "RESOURCE_EXHAUSTED",
	[IPC_FAILED_PRECONDITION] = "FAILED_PRECONDITION",
	[IPC_ABORTED] = "ABORTED",
	[IPC_OUT_OF_RANGE] = "OUT_OF_RANGE",
	[IPC_UNIMPLEMENTED] = "UNIMPLEMENTED",
	[IPC_INTERNAL] = "INTERNAL",
	[IPC_UNAVAILABLE] = "UNAVAILABLE",
	[IPC_DATA_LOSS] = "DATA_LOSS",
	[IPC_UNAUTHENTICATED] = "UNAUTHENTICATED",
};

const char *ipc_status_name(int status)
{
	if (status < 0 || status >= (int)(sizeof(names) / sizeof(names[0])))
		return "?";
	return names[status];
}

const char *ipc_version(void)
{
	return IPC_VERSION;
}
