/* SPDX-License-Identifier: Apache-2.0 */
/* The registry: who serves what now, and which opens wait for someone to. */
#ifndef IPCI_BROKER_SERVICE_H
#define IPCI_BROKER_SERVICE_H

#include "peer.h"

/* Exists while somebody serves it or waits for it. */
struct ipci_service {
	struct ipci_list link; /* in broker->services */
	struct ipci_list registrations;
	struct ipci_list waiting; /* channels, in the order in which they were opened */
	char name[];
};

/* One SERVE of one connection. */
struct ipci_registration {
	struct ipci_service *service;
	struct ipci_peer *peer;
	uint64_t serial;
	struct ipci_list in_service, in_peer;
};

/* Finds or makes. NULL: out of memory. */
struct ipci_service *ipci_service_get(struct ipci_broker *broker, const char *name);

/* Frees it if it is of no use any more. */
void ipci_service_put(struct ipci_service *service);

/* 0; -EALREADY the connection serves it; -ENOMEM. */
int ipci_registration_new(struct ipci_service *service, struct ipci_peer *peer, uint64_t serial);
void ipci_registration_free(struct ipci_registration *registration);
struct ipci_registration *ipci_registration_find(struct ipci_peer *peer, uint64_t serial);

/* Who gets the next channel: the one with the fewest that can take an offer, but never @client.
 * NULL: nobody. */
struct ipci_registration *ipci_service_choose(struct ipci_service *service,
					      const struct ipci_peer *client);

#endif
