/* SPDX-License-Identifier: Apache-2.0 */
/* A workload's listening socket: <sockets>/<workload>/broker.sock. */
#ifndef IPCI_BROKER_LISTENER_H
#define IPCI_BROKER_LISTENER_H

#include <sys/un.h>

#include "error.h"
#include "policy.h"

struct ipci_listener {
	int fd;	       /* -EBADF: closed */
	int directory; /* held, and locked against a second broker */
	char path[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
};

/*
 * Makes the directory where it is missing, takes a dead broker's socket out of the way, listens.
 * Errors: -EADDRINUSE another broker is there; -ENAMETOOLONG; -EPERM somebody else could meddle
 * with the directory; -errno. Each described.
 */
int ipci_listener_init(struct ipci_listener *listener, const char *sockets,
		       const struct ipci_policy_workload *workload, struct ipci_error *error);

/* Stops listening and removes the socket. The directory stays: containers have it mounted. */
void ipci_listener_deinit(struct ipci_listener *listener);

#endif
