/* SPDX-License-Identifier: Apache-2.0 */
/* The join table: who is, or is about to be, joined to whom. */
#ifndef IPCI_BROKER_CHANNEL_H
#define IPCI_BROKER_CHANNEL_H

#include "peer.h"
#include "service.h"

enum ipci_channel_state {
	IPCI_CHANNEL_WAITING,  /* for somebody to serve it; client, service */
	IPCI_CHANNEL_OFFERED,  /* to a server that has not answered; client, server */
	IPCI_CHANNEL_ORPHANED, /* as before, but the client is not there any more; server */
	IPCI_CHANNEL_JOINED,   /* client, server; no descriptor is left here */
};

/* What a channel may be charged for. */
enum {
	IPCI_CHARGE_PENDING, /* until it is joined */
	IPCI_CHARGE_CLIENT_CHANNEL,
	IPCI_CHARGE_SERVER_CHANNEL,
	IPCI_CHARGE_CLIENT_OWN,	  /* the client's half, to the client */
	IPCI_CHARGE_SERVER_OTHER, /* and to the server */
	IPCI_CHARGE_CLIENT_OTHER, /* the server's half, to the client */
	IPCI_CHARGE_SERVER_OWN,	  /* and to the server */
	IPCI_N_CHARGES,
};

struct ipci_channel {
	struct ipci_broker *broker;
	uint64_t id; /* never reused; also the serial of its OFFER */
	enum ipci_channel_state state;
	struct ipci_peer *client, *server;
	struct ipci_service *service; /* while waiting */
	uint64_t open_serial;
	uint64_t open_deadline_ns;
	uint64_t ring_bytes; /* the client's … */
	uint32_t page_bytes; /* … on pages of that size, 0: the kernel's own */
	uint32_t layout;
	uint32_t max_calls; /* as offered */
	int half;	    /* the client's, until it is offered */
	int bell;	    /* the client's end, until it is joined */
	uint8_t *request;   /* the OPEN, until it is offered */
	size_t request_bytes;
	struct ipci_timer timer;
	struct ipci_charge charges[IPCI_N_CHARGES];
	struct ipci_list in_broker, in_client, in_server, in_service;
};

/* A channel in state WAITING without a service, descriptors or charges. NULL: out of memory. */
struct ipci_channel *ipci_channel_new(struct ipci_peer *client, uint64_t open_serial);

/* Forgets it: tells nobody, undoes its charges, closes what it holds. */
void ipci_channel_free(struct ipci_channel *channel);

/* NULL: there is none. */
struct ipci_channel *ipci_channel_find(struct ipci_broker *broker, uint64_t id);

void ipci_channel_set_server(struct ipci_channel *channel, struct ipci_peer *server);

/* The server answered, and the client was told. */
void ipci_channel_join(struct ipci_channel *channel);

/* The channel goes out of the waiting list of its service, if it is on it. */
void ipci_channel_stop_waiting(struct ipci_channel *channel);

/* The client is not there any more, or was told that its open failed: only the server's answer is
 * awaited. */
void ipci_channel_orphan(struct ipci_channel *channel);

/* Ends a channel on behalf of @by, one of its two sides: the other one is told; @code is 0 or
 * -errno. */
void ipci_channel_end(struct ipci_channel *channel, const struct ipci_peer *by, int code,
		      const char *text);

#endif
