/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Several items at once. Their rooms lie in places of equal size, one behind the other, and are
 * one room as far as the channel is concerned; they are published with one release, one fence and
 * one look at whether the peer sleeps. As many are opened as there is credit and room for.
 */
#include "stream.h"
#include "threads.h"

static int check_reserve(const struct ipc_call *call, size_t max_bytes)
{
	const struct ipc_channel *channel = call->channel;

	if (!ipci_stream_is_open(call))
		return -EINVAL;
	if (!channel->inbox)
		return ipci_channel_error(channel);
	if (channel->room_call)
		return -EBUSY;
	if (max_bytes > ipci_payload_max_bytes(channel->tx.ring_bytes))
		return ipci_room_too_large(channel, max_bytes);
	return 0;
}

/* How many places of @bytes fit into what there is of credit and room; the first does. */
static uint32_t count_places(const struct ipc_call *call, uint64_t bytes, uint32_t n)
{
	const struct ipci_stream *stream = call->stream;
	const uint64_t credit_bytes = stream->credit_bytes - stream->sent_bytes;
	uint64_t fit_bytes = ipci_producer_free_bytes(&call->channel->tx);

	if (fit_bytes > credit_bytes)
		fit_bytes = credit_bytes;
	if (n * bytes <= fit_bytes)
		return n;
	return fit_bytes < bytes ? 1 : (uint32_t)(fit_bytes / bytes);
}

static int open_rooms(struct ipc_call *call, size_t max_bytes, uint32_t n, struct ipc_room *rooms)
{
	struct ipc_channel *channel = call->channel;
	const uint64_t bytes = ipci_frame_bytes(0, max_bytes);
	uint8_t *at;
	int r = ipci_producer_has_room(&channel->tx, n * bytes);

	/* Less may do; what there is was looked at anew. */
	if (r >= 0) {
		n = count_places(call, bytes, n);
		r = ipci_producer_reserve_lines(&channel->tx, n * bytes, &at);
	}
	if (r < 0)
		return ipci_room_refuse(channel, bytes, r);
	channel->room_call = call;
	channel->room_bytes = max_bytes;
	for (uint32_t i = 0; i < n; i++)
		rooms[i] = (struct ipc_room){.data = at + i * bytes, .size_bytes = max_bytes};
	return (int)n;
}

IPC_PUBLIC int ipc_reserve_batch(ipc_call *call, size_t max_bytes, uint32_t n, uint32_t flags,
				 struct ipc_room *rooms)
{
	int r;

	if (!call || !rooms || n == 0 || n > IPC_BATCH_MAX || flags & ~(uint32_t)IPC_BLOCK)
		return -EINVAL;
	IPCI_ENTER(call->channel->loop);
	if (ipci_forked(call->channel->loop))
		return -ECHILD;
	r = check_reserve(call, max_bytes);
	if (r < 0)
		return r;
	if (!ipci_stream_of(call))
		return -ENOMEM;
	r = ipci_stream_find_credit(call, ipci_frame_bytes(0, max_bytes), flags);
	if (r < 0)
		return r;
	return open_rooms(call, max_bytes, n, rooms);
}

/* How many frames the open room has places for: one, where it was no batch's. */
static uint64_t places(const struct ipc_channel *channel)
{
	const uint64_t n = channel->tx.reserved / ipci_frame_bytes(0, channel->room_bytes);

	return n ? n : 1;
}

static int check_commit(const struct ipc_call *call, const size_t *sizes_bytes, uint32_t n)
{
	const struct ipc_channel *channel = call->channel;

	if (channel->room_call != call)
		return -EINVAL;
	if (!channel->inbox)
		return ipci_channel_error(channel);
	if (!ipci_stream_is_open(call) || !call->stream || n > places(channel))
		return -EINVAL;
	for (uint32_t i = 0; i < n; i++)
		if (sizes_bytes[i] > channel->room_bytes)
			return -EINVAL;
	return 0;
}

/* What is last at a server is a reply, and the call's end. */
static void publish(struct ipc_call *call, const size_t *sizes_bytes, uint32_t n, bool last)
{
	struct ipc_channel *channel = call->channel;
	struct ipci_stream *stream = call->stream;
	const bool reply = last && channel->at_server;
	const struct ipci_batch batch = {
		.call_id = call->id,
		.place_bytes = ipci_frame_bytes(0, channel->room_bytes),
		.kind = IPCI_KIND_ITEM,
		.last_kind = reply ? IPCI_KIND_REPLY : IPCI_KIND_ITEM,
		.last_method = last && !reply ? IPCI_ITEM_LAST : 0,
	};

	stream->sent_bytes += ipci_producer_commit_batch(&channel->tx, &batch, sizes_bytes, n);
	if (last)
		ipci_stream_last_sent(stream);
	else if (channel->at_server)
		ipci_stream_begin(call);
}

IPC_PUBLIC int ipc_commit_batch(ipc_call *call, const size_t *sizes_bytes, uint32_t n,
				uint32_t flags)
{
	const bool last = flags & IPC_LAST;
	int r;

	if (!call || !sizes_bytes || n == 0 || flags & ~(uint32_t)(IPC_LAST | IPC_MORE))
		return -EINVAL;
	IPCI_ENTER(call->channel->loop);
	if (ipci_forked(call->channel->loop))
		return -ECHILD;
	r = check_commit(call, sizes_bytes, n);
	if (r < 0)
		return r;
	publish(call, sizes_bytes, n, last);
	ipci_room_committed(call, flags);
	if (last && call->channel->at_server)
		ipci_call_free(call);
	return 0;
}
