// SPDX-License-Identifier: Apache-2.0
/*
 * A channel begins with an OPEN and ends with a CLOSE or with the death of either side. Everything
 * that it holds here, charges included, goes with it in ipci_channel_free(), the one place.
 */
#include "channel.h"

#include <errno.h>
#include <stdlib.h>

#include "dispose.h"

static struct ipci_list *bucket(struct ipci_broker *broker, uint64_t id)
{
	return &broker->channels[id % IPCI_CHANNEL_BUCKETS]; /* ids are consecutive */
}

struct ipci_channel *ipci_channel_new(struct ipci_peer *client, uint64_t open_serial)
{
	struct ipci_channel *channel = calloc(1, sizeof(*channel));
	struct ipci_broker *broker = client->workload->broker;

	if (!channel)
		return NULL;
	channel->broker = broker;
	channel->id = ++broker->last_channel;
	channel->state = IPCI_CHANNEL_WAITING;
	channel->client = client;
	channel->open_serial = open_serial;
	channel->half = channel->bell = -EBADF;
	ipci_timer_init(&channel->timer, NULL);
	ipci_list_init(&channel->in_server);
	ipci_list_init(&channel->in_service);
	ipci_list_append(&client->opened, &channel->in_client);
	ipci_list_append(bucket(broker, channel->id), &channel->in_broker);
	return channel;
}

static bool is_offer(const struct ipci_channel *channel)
{
	return channel->state == IPCI_CHANNEL_OFFERED || channel->state == IPCI_CHANNEL_ORPHANED;
}

static void let_go(struct ipci_channel *channel)
{
	for (unsigned i = 0; i < IPCI_N_CHARGES; i++)
		ipci_charge_undo(&channel->charges[i]);
	/* The server has the bell's other end, and may have sent descriptors into this one. */
	ipci_fd_dispose(channel->bell);
	ipci_fd_close(channel->half);
	channel->bell = channel->half = -EBADF;
	ipci_timer_clear(&channel->timer);
	free(channel->request);
	channel->request = NULL;
}

void ipci_channel_free(struct ipci_channel *channel)
{
	let_go(channel);
	ipci_channel_stop_waiting(channel);
	if (channel->server) {
		channel->server->n_served--;
		if (is_offer(channel))
			channel->server->n_offers--;
	}
	ipci_list_remove(&channel->in_client);
	ipci_list_remove(&channel->in_server);
	ipci_list_remove(&channel->in_broker);
	free(channel);
}

struct ipci_channel *ipci_channel_find(struct ipci_broker *broker, uint64_t id)
{
	struct ipci_list *head = bucket(broker, id);

	for (struct ipci_list *at = head->next; at != head; at = at->next) {
		struct ipci_channel *channel = IPCI_CONTAINER_OF(at, struct ipci_channel,
								 in_broker);

		if (channel->id == id)
			return channel;
	}
	return NULL;
}

void ipci_channel_set_server(struct ipci_channel *channel, struct ipci_peer *server)
{
	channel->state = IPCI_CHANNEL_OFFERED;
	channel->server = server;
	server->n_served++;
	server->n_offers++;
	ipci_list_append(&server->served, &channel->in_server);
}

void ipci_channel_join(struct ipci_channel *channel)
{
	ipci_timer_clear(&channel->timer);
	ipci_charge_undo(&channel->charges[IPCI_CHARGE_PENDING]);
	channel->state = IPCI_CHANNEL_JOINED;
	channel->server->n_offers--;
}

void ipci_channel_stop_waiting(struct ipci_channel *channel)
{
	struct ipci_service *service = channel->service;

	if (!service)
		return;
	channel->service = NULL;
	ipci_list_remove(&channel->in_service);
	ipci_service_put(service);
}

void ipci_channel_orphan(struct ipci_channel *channel)
{
	/*
	 * Never offered to another server instead: this one may have mapped the client's half, and
	 * could then read what the client writes to the other.
	 */
	let_go(channel);
	ipci_list_remove(&channel->in_client);
	channel->client = NULL;
	channel->state = IPCI_CHANNEL_ORPHANED;
}

void ipci_channel_end(struct ipci_channel *channel, const struct ipci_peer *by, int code,
		      const char *text)
{
	struct ipci_peer *other = by == channel->client ? channel->server : channel->client;
	struct ipci_packet *out = &channel->broker->out;

	if (ipci_message_closed(out, channel->id, -code, text) == 0)
		ipci_peer_tell(other, out);
	ipci_channel_free(channel);
}
