/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Draining: a server leaves, and breaks no call.
 *
 *   server   WITHDRAW to the broker: it sends nobody more, and who was on the way is rejected
 *            state DRAINING, and one DRAIN frame on each channel
 *            a request that waits, or still comes: UNAVAILABLE, not executed
 *            the last call that its program has ends: IPC_EVENT_DRAINED
 *   client   reads DRAIN: begins no calls here; once it has none left it closes the channel, and
 *            asks the broker for another server
 *
 * Calls are counted as places (overload.c): the drain guards every channel, so that the end of each
 * call is seen, and counts those that are there already. What a client does about it changes
 * nothing for the server: one that goes on calling is refused, one that stays is closed when the
 * program frees the server.
 */
#include "control.h"
#include "threads.h"

static const struct ipci_refusal drains = {IPC_UNAVAILABLE, "the server drains"};

const struct ipci_refusal *ipci_drain_refusal(const struct ipc_server *server)
{
	return server->drains ? &drains : NULL;
}

/* ── server ── */

static void guard(struct ipc_channel *channel)
{
	channel->life |= IPCI_LIFE_GUARDED;
	for (uint32_t i = 0; i < channel->max_calls; i++) {
		struct ipc_call *call = &channel->calls[i];

		if (ipci_call_is_served(call) && !call->placed)
			ipci_place_take(call);
	}
	if (!channel->inbox)
		return;
	ipci_state_set(channel->tx.own, IPCI_PHASE_DRAINING, IPCI_REASON_NONE);
	channel->life |= IPCI_LIFE_DRAIN_OWED;
	(void)ipci_outbox_flush(channel);
	/* A cold channel is armed for frames alone. */
	ipci_channel_set_hot(channel);
}

void ipci_drain_check(struct ipc_server *server)
{
	if (!server->drains || server->drained || server->n_in_flight)
		return;
	server->drained = true;
	server->drained_due = true;
	server->loop->n_rare_ready++;
}

bool ipci_drain_report(struct ipc_loop *loop, struct ipc_event *event)
{
	for (struct ipci_list *l = loop->servers.next; l != &loop->servers; l = l->next) {
		struct ipc_server *server = IPCI_CONTAINER_OF(l, struct ipc_server, link);

		if (!server->drained_due)
			continue;
		ipci_drain_forget(server);
		*event = (struct ipc_event){
			.kind = IPC_EVENT_DRAINED,
			.server = server,
			.user = server->user,
		};
		return true;
	}
	return false;
}

void ipci_drain_forget(struct ipc_server *server)
{
	if (!server->drained_due)
		return;
	server->drained_due = false;
	server->loop->n_rare_ready--;
}

int ipci_drain_send(struct ipc_channel *channel)
{
	uint8_t *room;
	int r = ipci_producer_reserve(&channel->tx, 0, 0, &room);

	if (r < 0)
		return r == -EAGAIN ? 0 : r;
	ipci_producer_commit(&channel->tx, IPCI_KIND_DRAIN, 0, 0, 0);
	channel->life &= (uint8_t)~IPCI_LIFE_DRAIN_OWED;
	return 1;
}

IPC_PUBLIC int ipc_server_drain(ipc_server *server)
{
	struct ipc_loop *loop;

	if (!server)
		return -EINVAL;
	loop = server->loop;
	IPCI_ENTER(loop);
	if (ipci_forked(loop))
		return -ECHILD;
	if (server->drains)
		return 0;
	server->drains = true;
	ipci_serve_withdraw(server);
	ipci_place_clear(server, &drains);
	/* Losing one of them on the way takes none off the list: their program was not told yet. */
	for (struct ipci_list *l = loop->channels.next; l != &loop->channels; l = l->next) {
		struct ipc_channel *channel = IPCI_CONTAINER_OF(l, struct ipc_channel, link);

		if (channel->server == server)
			guard(channel);
	}
	ipci_drain_check(server);
	return 0;
}

/* ── client ── */

const char *ipci_drain_seen(struct ipc_channel *channel, const struct ipci_view *view)
{
	if (view->kind != IPCI_KIND_DRAIN || view->call_id || view->payload_bytes)
		return "a drain that is more than that";
	if (channel->life & IPCI_LIFE_DRAINS)
		return "a second drain";
	channel->life |= IPCI_LIFE_DRAINS;
	channel->free_calls = NULL;
	ipci_channel_set_hot(channel);
	return NULL;
}

bool ipci_drain_leave(struct ipc_channel *channel)
{
	if (!(channel->life & IPCI_LIFE_DRAINS) || channel->n_calls)
		return false;
	ipci_channel_lose(channel, -EPIPE, IPCI_REASON_FREED, "the server drained");
	return true;
}
