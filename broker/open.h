/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From OPEN to OPENED: OPEN waits for a server, is offered to one, and is answered. The client
 * hears of it exactly once: OPENED, or a RESULT that says why not.
 */
#ifndef IPCI_BROKER_OPEN_H
#define IPCI_BROKER_OPEN_H

#include "channel.h"

/*
 * A client's OPEN with its half. A refused open is answered here.
 * Errors: -EPROTO no correct library sends this, described.
 */
int ipci_open_begin(struct ipci_peer *client, struct ipci_request *request,
		    struct ipci_error *error);

/* A server's ACCEPT with its half, or its REJECT. Errors: -EPROTO as above. */
int ipci_open_accept(struct ipci_peer *server, struct ipci_request *request,
		     struct ipci_error *error);
int ipci_open_reject(struct ipci_peer *server, struct ipci_request *request,
		     struct ipci_error *error);

/* Offers what waits for the service, as far as there are servers for it. */
void ipci_open_offer_waiting(struct ipci_service *service);

/* The open failed: tells the client. The channel is freed, or remembered until its server has
 * answered. */
void ipci_open_fail(struct ipci_channel *channel, int code, const char *text);

#endif
