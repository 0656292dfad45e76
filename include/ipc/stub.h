/* SPDX-License-Identifier: Apache-2.0 */
/* What the stubs that ipc-gen writes have in common. Programs call the stubs. */
#ifndef IPC_STUB_H
#define IPC_STUB_H

#include <stdbool.h>

#include <ipc/call.h>
#include <ipc/channel.h>
#include <ipc/event.h>
#include <ipc/flatbuffers.h>

/* Room for a message where the program names no size; less where the channel has less. */
#define IPC_STUB_ROOM_BYTES 4096

/* What the channel can carry at all; only asked for once the default did not fit. */
static inline size_t ipc_stub_most(ipc_channel *channel)
{
	struct ipc_channel_info info;

	memset(&info, 0, sizeof(info));
	info.size = sizeof(info);
	if (ipc_channel_info(channel, &info) < 0 || info.payload_max_bytes > IPC_STUB_ROOM_BYTES)
		return IPC_STUB_ROOM_BYTES;
	return (size_t)info.payload_max_bytes;
}

static inline struct ipc_writer *ipc_stub_writer(ipc_call *call, struct ipc_room room)
{
	struct ipc_writer *writer = ipc_call_writer(call);

	ipc_writer_init(writer, room.data, room.size_bytes);
	writer->call = call;
	return writer;
}

static inline int ipc_stub_begin(ipc_channel *channel, uint32_t method, size_t max_bytes,
				 const struct ipc_call_opts *opts, struct ipc_writer **ret)
{
	struct ipc_room room;
	ipc_call *call;
	int r = ipc_begin(channel, method, max_bytes ? max_bytes : IPC_STUB_ROOM_BYTES, opts, &call,
			  &room);

	if (r == -EMSGSIZE && max_bytes == 0)
		r = ipc_begin(channel, method, ipc_stub_most(channel), opts, &call, &room);
	if (r < 0)
		return r;
	*ret = ipc_stub_writer(call, room);
	return 0;
}

static inline int ipc_stub_reserve(ipc_call *call, size_t max_bytes, struct ipc_writer **ret)
{
	struct ipc_call_info info;
	struct ipc_room room;
	int r = ipc_reserve(call, max_bytes ? max_bytes : IPC_STUB_ROOM_BYTES, 0, &room);

	if (r == -EMSGSIZE && max_bytes == 0) {
		memset(&info, 0, sizeof(info));
		info.size = sizeof(info);
		if (ipc_call_info(call, &info) == 0)
			r = ipc_reserve(call, ipc_stub_most(info.channel), 0, &room);
	}
	if (r < 0)
		return r;
	*ret = ipc_stub_writer(call, room);
	return 0;
}

static inline int ipc_stub_transact(struct ipc_writer *writer, struct ipc_msg *msg)
{
	size_t size_bytes;
	int r = ipc_writer_finish(writer, &size_bytes);

	if (r != 0) {
		ipc_abort(writer->call);
		return r;
	}
	return ipc_transact(writer->call, size_bytes, msg);
}

static inline int ipc_stub_send(struct ipc_writer *writer, ipc_call **ret)
{
	ipc_call *call = writer->call;
	size_t size_bytes;
	int r = ipc_writer_finish(writer, &size_bytes);

	if (r != 0) {
		ipc_abort(call);
		return r;
	}
	r = ipc_commit(call, size_bytes, IPC_LAST);
	if (r < 0) {
		ipc_cancel(call);
		return r;
	}
	*ret = call;
	return 0;
}

static inline int ipc_stub_reply(struct ipc_writer *writer)
{
	size_t size_bytes;
	int r = ipc_writer_finish(writer, &size_bytes);

	if (r != 0) {
		ipc_abort(writer->call);
		return r;
	}
	return ipc_commit(writer->call, size_bytes, IPC_LAST);
}

/* After a handler: whatever it returned, the call has ended or somebody keeps it. */
static inline void ipc_stub_settle(ipc_call *call, int result, int ended)
{
	/* The handle is gone. */
	if (ended)
		return;
	ipc_call_on_end(call, NULL);
	if (result == IPC_DEFERRED)
		return;
	if (result == -EAGAIN)
		(void)ipc_fail(call, IPC_RESOURCE_EXHAUSTED, NULL);
	else if (result >= IPC_CANCELLED && result <= IPC_UNAUTHENTICATED)
		(void)ipc_fail(call, result, NULL);
	else
		(void)ipc_fail(call, IPC_INTERNAL, result ? NULL : "the handler did not answer");
}

#endif
