/* SPDX-License-Identifier: Apache-2.0 */
/* What the broker says. Each function fills one packet: 0, or -EMSGSIZE where it does not fit. */
#ifndef IPCI_BROKER_MESSAGE_H
#define IPCI_BROKER_MESSAGE_H

#include <stdalign.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker_fbs.h"
#include "fdpass.h"
#include "policy.h"

#define IPCI_BROKER_PROTOCOL 1u
#define IPCI_ERRNO_MAX 4095

struct ipci_packet {
	size_t n;
	alignas(16) uint8_t data[IPCI_PACKET_MAX_BYTES];
};

int ipci_message_welcome(struct ipci_packet *packet, uint64_t serial, const char *workload);

/* @error: 0 or a positive errno. */
int ipci_message_result(struct ipci_packet *packet, uint64_t serial, int error, const char *text);
int ipci_message_closed(struct ipci_packet *packet, uint64_t channel, int error, const char *text);

struct ipci_offer {
	uint64_t channel;
	uint64_t serve_serial;
	const char *service;
	const char *caller;
	const struct ipci_call_rule
		*rule; /* of the caller's methods, only those that it allows are offered */
	uint32_t max_calls;
	ipc_broker_Open open; /* the caller's; the rest is from there */
};

int ipci_message_offer(struct ipci_packet *packet, const struct ipci_offer *offer);

struct ipci_opened {
	uint64_t serial;
	uint64_t channel;
	const char *server;
	uint64_t ring_bytes;
	uint64_t features;
	uint32_t layout;
	uint32_t max_calls;
	uint32_t page_bytes;
};

int ipci_message_opened(struct ipci_packet *packet, const struct ipci_opened *opened);

/* A message that came, and what came beside it: its handler takes @fd, or leaves it to be disposed
 * of. */
struct ipci_request {
	struct ipc_msg *msg;
	ipc_broker_Message message;
	uint64_t serial;
	int fd; /* -EBADF: none */
};

/* A service's name, copied; false if it is none. */
bool ipci_message_service(struct ipc_str name, char ret[static IPCI_SERVICE_NAME_MAX + 1]);

/* How many of the methods @rule allows. */
size_t ipci_message_count_allowed(ipc_broker_Method_vec methods, const struct ipci_call_rule *rule);

#endif
