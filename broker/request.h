/* SPDX-License-Identifier: Apache-2.0 */
/* What a workload may ask for. */
#ifndef IPCI_BROKER_REQUEST_H
#define IPCI_BROKER_REQUEST_H

#include "peer.h"

/*
 * Works off one packet that @peer sent; takes @fd, -EBADF if none came. What the policy or a limit
 * refuses is answered. What no correct library sends dooms the peer.
 */
void ipci_request_handle(struct ipci_peer *peer, const struct ipci_packet *packet, int fd);

#endif
