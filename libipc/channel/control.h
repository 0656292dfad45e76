/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The connection to the broker: one packet a message, schemas/broker.fbs. What is in a loop's way
 * here is small and rare; nothing of it lies on the path of a call.
 *
 * Threads: the loop's. Nothing blocks but ipci_control_await() and ipci_control_connect().
 */
#ifndef IPCI_CHANNEL_CONTROL_H
#define IPCI_CHANNEL_CONTROL_H

#include "broker_fbs.h"
#include "cleanup.h"
#include "fdpass.h"
#include "objects.h"

#define IPCI_PROTOCOL_VERSION 1u
#define IPCI_CONTROL_TIMEOUT_NS (5 * IPCI_NS_PER_S)

/* Descriptors that came with a message: the handler takes what it uses, the rest is disposed of. */
struct ipci_fds {
	int fd[IPCI_PACKET_FDS_MAX];
	unsigned n;
};

struct ipci_control_connection {
	int fd;
	bool gone; /* the broker hung up, or broke the protocol; channels live on */
	uint64_t serial;
	/* the one request that somebody waits for */
	uint64_t awaited;
	bool answered;
	int answer; /* 0 or -errno */
	/* channels whose CLOSE found the socket full */
	uint64_t *closes;
	size_t n_closes, n_closes_max;
	char workload[IPCI_NAME_BYTES];
	struct ipc_writer writer;
	alignas(16) uint8_t out[IPCI_PACKET_MAX_BYTES];
	alignas(16) uint8_t in[IPCI_PACKET_MAX_BYTES];
};

/*
 * Starts a message in the connection's buffer, with a serial (0: the next of our own), which is
 * returned.
 */
uint64_t ipci_control_start(struct ipci_control_connection *c, ipc_broker_Message_w *m,
			    ipc_broker_Kind kind, uint64_t serial);
/* Sends what was started, @fds beside it (they stay the caller's). 0 or -errno. */
int ipci_control_send(struct ipc_loop *loop, const int *fds, unsigned n_fds);
/*
 * Waits until the request is answered, working off what else comes: the answer, -ETIMEDOUT or
 * -ENOTCONN.
 */
int ipci_control_await(struct ipc_loop *loop, uint64_t serial, uint64_t deadline_ns);
/* A request was answered: 0, or an error whose words are in loop->error. */
void ipci_control_answer(struct ipc_loop *loop, uint64_t serial, int result);
/* Is the name one that fits where names are kept? */
bool ipci_control_copy_name(char *ret, size_t size, struct ipc_str name);
void ipci_control_set_methods(ipc_broker_Method_vec_w *methods, const struct ipc_service *service);
/* A service as the program gave it: 0 or -EINVAL with words. */
int ipci_service_check(struct ipc_loop *loop, const struct ipc_service *service);
/* Options that size rings and calls, defaults filled in. 0 or -EINVAL. */
int ipci_sizes_check(struct ipc_loop *loop, uint64_t *ring_bytes, uint32_t *max_calls);
/* The same for flags about huge pages, before that. */
int ipci_pages_check(struct ipc_loop *loop, uint32_t flags, uint64_t *ring_bytes);

/* open.c */
void ipci_open_opened(struct ipc_loop *loop, ipc_broker_Message message, struct ipci_fds *fds);
bool ipci_open_failed(struct ipc_loop *loop, uint64_t serial, int error, const char *text);

/* Makes the half and sends OPEN with it. */
int ipci_open_request(struct ipc_channel *channel, const struct ipc_open_opts *opts,
		      uint64_t timeout_ns);
/* An open came to nothing. */
void ipci_open_ended(struct ipc_channel *channel, int error, const char *text);

/* serve.c */
void ipci_serve_withdraw(struct ipc_server *server);
void ipci_serve_offer(struct ipc_loop *loop, ipc_broker_Message message, struct ipci_fds *fds);

#endif
