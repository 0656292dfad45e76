/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames that wait for room without the program: errors and ends of a server's calls, a client's
 * cancels, the credit and the end of a stream. They are linked through their calls, so that nothing
 * is lost for want of memory but an error's text, and go as soon as the ring has room and no room
 * is open: that is the ring's newest place.
 */
#include <string.h>

#include "objects.h"
#include "stream.h"

/* Queues what the call owes, and sends it at once if that can be. */
void ipci_outbox_add(struct ipc_call *call)
{
	struct ipc_channel *channel = call->channel;

	ipci_list_remove(&call->outbox);
	ipci_list_append(&channel->outbox, &call->outbox);
	channel->outbox_used = true;
	/* With a room open the commit sends it. */
	if (!channel->room_call)
		(void)ipci_outbox_flush(channel);
	ipci_channel_set_hot(channel);
}

/* The end of a server's call, with a status or well. 1 sent, 0 no room, -EPROTO. */
static int send_end(struct ipc_channel *channel, struct ipc_call *call)
{
	size_t size_bytes = call->text ? strlen(call->text) : 0;
	uint8_t *room;
	int r;

	r = ipci_producer_reserve(&channel->tx, 0, size_bytes, &room);
	if (r < 0)
		return r == -EAGAIN ? 0 : r;
	IPCI_CRASH_POINT(TEXT);
	if (size_bytes)
		memcpy(room, call->text, size_bytes);
	ipci_producer_commit(&channel->tx, call->status ? IPCI_KIND_ERROR : IPCI_KIND_END,
			     (uint16_t)call->status, call->id, size_bytes);
	ipci_call_free(call);
	return 1;
}

static int send_cancel(struct ipc_channel *channel, struct ipc_call *call)
{
	uint8_t *room;
	int r;

	r = ipci_producer_reserve(&channel->tx, 0, 0, &room);
	if (r < 0)
		return r == -EAGAIN ? 0 : r;
	ipci_list_remove(&call->outbox);
	ipci_producer_commit(&channel->tx, IPCI_KIND_CANCEL, 0, call->id, 0);
	return 1;
}

static int send_one(struct ipc_channel *channel, struct ipc_call *call)
{
	if (call->state == IPCI_CALL_FAILED)
		return send_end(channel, call);
	if (call->state == IPCI_CALL_ZOMBIE || call->expired)
		return send_cancel(channel, call);
	return ipci_stream_send_owed(call);
}

int ipci_outbox_flush(struct ipc_channel *channel)
{
	bool sent = false;
	int r = 1;

	if (!channel->inbox || channel->room_call)
		return 0;
	if (channel->life & IPCI_LIFE_DRAIN_OWED) {
		r = ipci_drain_send(channel);
		sent = r > 0;
	}
	while (r > 0 && !ipci_list_empty(&channel->outbox)) {
		r = send_one(channel,
			     IPCI_CONTAINER_OF(channel->outbox.next, struct ipc_call, outbox));
		sent = sent || r > 0;
	}
	channel->outbox_used = !ipci_list_empty(&channel->outbox);
	if (sent)
		ipci_channel_wake(channel);
	if (r < 0)
		ipci_channel_lose(channel, r, IPCI_REASON_POISONED,
				  "the peer's `consumed` is impossible");
	return r;
}
