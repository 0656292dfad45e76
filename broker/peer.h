/* SPDX-License-Identifier: Apache-2.0 */
/* One connection of a workload. What goes wrong with it ends it alone. */
#ifndef IPCI_BROKER_PEER_H
#define IPCI_BROKER_PEER_H

#include "workload.h"

#define IPCI_PEER_QUEUE_MAX 64u	 /* packets that wait for room in the peer's socket, but news */
#define IPCI_PEER_OFFERS_MAX 32u /* offers that a server may leave unanswered */
#define IPCI_PEER_REFUSED_MAX                                                                      \
	8u /* of a workload: connections that are kept to be told why they are refused */

struct ipci_peer {
	struct ipci_handler handler;
	struct ipci_workload *workload;
	struct ipci_list link; /* in workload->peers */
	struct ipci_list doom; /* in broker->doomed */
	uint64_t id;	       /* for the log */
	bool welcome;	       /* it said hello */
	bool doomed;
	struct ipci_error *refusal; /* it is not let in: the answer to its first message */
	struct ipci_timer timer;    /* until it says hello; later: until it is read again */
	struct ipci_charge connection;
	struct ipci_list outgoing;
	unsigned n_outgoing, n_news;	/* the latter among the former */
	struct ipci_list registrations; /* what it serves */
	struct ipci_list opened;	/* channels that it opens or opened */
	struct ipci_list served;	/* channels that it was offered or serves */
	unsigned n_served;
	unsigned n_offers; /* of those, not answered yet */
};

static inline int ipci_peer_fd(const struct ipci_peer *peer)
{
	return peer->handler.source.fd;
}

/* Checks who is at the other end of a fresh connection, and takes @fd in any case. */
void ipci_peer_admit(struct ipci_workload *workload, int fd);

/*
 * Sends @packet, now or when the peer's socket has room; takes @fds. A peer that does not take its
 * packets is doomed. Returns 0; -ETOOMANYREFS the kernel carries no more descriptors for us now;
 * another -errno the peer is doomed.
 */
int ipci_peer_send(struct ipci_peer *peer, const struct ipci_packet *packet, const int *fds,
		   unsigned n_fds);

/*
 * Tells what the peer did not cause, and therefore is not doomed for, however much of it comes at
 * once: that a channel of its ended. There is one such packet a channel, so the quotas bound them.
 */
void ipci_peer_tell(struct ipci_peer *peer, const struct ipci_packet *packet);

/* Answers a request with an error; @code is -errno. */
void ipci_peer_refuse(struct ipci_peer *peer, uint64_t serial, int code, const char *text);

/* Ends the connection at the end of the batch, and says why; @code is -errno. */
void ipci_peer_doom(struct ipci_peer *peer, uint64_t serial, int code, const char *text);

/* Frees those that were doomed; the channels that they had end. */
void ipci_peers_reap(struct ipci_broker *broker);

/* Dooms all without a word: the daemon ends, which is no news to the channels. */
void ipci_peers_doom_all(struct ipci_workload *workload);

#endif
