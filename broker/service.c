// SPDX-License-Identifier: Apache-2.0
/* Plain lists: what a policy names is few, and a registration or an open is rare beside a call. */
#include "service.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct ipci_service *ipci_service_get(struct ipci_broker *broker, const char *name)
{
	struct ipci_service *service;

	for (struct ipci_list *at = broker->services.next; at != &broker->services; at = at->next) {
		service = IPCI_CONTAINER_OF(at, struct ipci_service, link);
		if (strcmp(service->name, name) == 0)
			return service;
	}
	service = malloc(sizeof(*service) + strlen(name) + 1);
	if (!service)
		return NULL;
	ipci_list_init(&service->registrations);
	ipci_list_init(&service->waiting);
	strcpy(service->name, name);
	ipci_list_append(&broker->services, &service->link);
	return service;
}

void ipci_service_put(struct ipci_service *service)
{
	if (!ipci_list_empty(&service->registrations) || !ipci_list_empty(&service->waiting))
		return;
	ipci_list_remove(&service->link);
	free(service);
}

int ipci_registration_new(struct ipci_service *service, struct ipci_peer *peer, uint64_t serial)
{
	struct ipci_registration *registration;

	for (struct ipci_list *at = peer->registrations.next; at != &peer->registrations;
	     at = at->next)
		if (IPCI_CONTAINER_OF(at, struct ipci_registration, in_peer)->service == service)
			return -EALREADY;
	registration = malloc(sizeof(*registration));
	if (!registration)
		return -ENOMEM;
	registration->service = service;
	registration->peer = peer;
	registration->serial = serial;
	ipci_list_append(&service->registrations, &registration->in_service);
	ipci_list_append(&peer->registrations, &registration->in_peer);
	return 0;
}

void ipci_registration_free(struct ipci_registration *registration)
{
	ipci_list_remove(&registration->in_service);
	ipci_list_remove(&registration->in_peer);
	ipci_service_put(registration->service);
	free(registration);
}

struct ipci_registration *ipci_registration_find(struct ipci_peer *peer, uint64_t serial)
{
	for (struct ipci_list *at = peer->registrations.next; at != &peer->registrations;
	     at = at->next) {
		struct ipci_registration *registration = IPCI_CONTAINER_OF(at,
									   struct ipci_registration,
									   in_peer);

		if (registration->serial == serial)
			return registration;
	}
	return NULL;
}

struct ipci_registration *ipci_service_choose(struct ipci_service *service,
					      const struct ipci_peer *client)
{
	struct ipci_registration *best = NULL;

	for (struct ipci_list *at = service->registrations.next; at != &service->registrations;
	     at = at->next) {
		struct ipci_registration *registration = IPCI_CONTAINER_OF(at,
									   struct ipci_registration,
									   in_service);
		const struct ipci_peer *peer = registration->peer;

		/* A channel joins two connections: one end each. */
		if (peer == client || peer->doomed || peer->n_offers >= IPCI_PEER_OFFERS_MAX)
			continue;
		if (!best || peer->n_served < best->peer->n_served)
			best = registration;
	}
	return best;
}
