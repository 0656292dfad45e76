/* SPDX-License-Identifier: Apache-2.0 */
/* A real ipc-broker on a directory of its own, and workloads that speak its protocol by hand. */
#ifndef TESTS_BROKER_RIG_H
#define TESTS_BROKER_RIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include <ipc/flatbuffers.h>

#include "broker_fbs.h"
#include "fdpass.h"

#define RIG_RING_BYTES UINT64_C(4096)
#define RIG_SECOND UINT64_C(1000000000)

struct rig {
	pid_t pid; /* of the broker; 0: none */
	char directory[40];
	char policy[64];
};

/* What came from the broker; rig_done() closes what came beside it. */
struct answer {
	int kind; /* ipc_broker_Kind; -1: the connection ended */
	uint64_t serial, channel;
	int error;
	char text[600];
	unsigned n_fds;
	int fds[IPCI_PACKET_FDS_MAX];
	struct ipc_msg msg;
	ipc_broker_Message message;
	_Alignas(16) uint8_t data[IPCI_PACKET_MAX_BYTES];
};

/* A packet to be sent. */
struct packet {
	struct ipc_writer writer;
	ipc_broker_Message_w message;
	size_t n;
	_Alignas(16) uint8_t data[IPCI_PACKET_MAX_BYTES];
};

/* "$UID" in @policy becomes this user's uid. */
void rig_start(struct rig *rig, const char *policy);

/* Starts a broker on the same directory and policy, where one ran before. */
void rig_restart(struct rig *rig);

/* Ends the broker with SIGTERM, expects that it ends well and leaves no socket, and removes the
 * directory. */
void rig_stop(struct rig *rig);

/* After a test that failed: nothing is left of it. A test's clean-up cannot fail it, so what is to
 * be found out belongs into the test. */
void rig_abandon(struct rig *rig);

/* Kills it: nothing is tidied up. */
void rig_kill(struct rig *rig);

/* Runs ipc-broker with these arguments, NULL-terminated; its exit status, and the start of what it
 * printed. */
int rig_run(char *output, size_t n, const char *const *arguments);

/* Lets the broker get no descriptor of number @n or above; may be raised again. */
void rig_limit_files(const struct rig *rig, unsigned n);

/* How many descriptors the broker has; -1 where the system does not say. */
int rig_count_fds(const struct rig *rig);

/* Connects without a word. -errno. */
int rig_dial(const struct rig *rig, const char *workload);

/* Connects and says hello. */
int rig_join(const struct rig *rig, const char *workload);

/* Starts a message; rig_send() ends it. */
void rig_begin(struct packet *packet, ipc_broker_Kind kind, uint64_t serial);
int rig_finish(struct packet *packet);
void rig_send(int socket, struct packet *packet, int fd);

/* Waits for the next message or the end of the connection, 20 s at most. */
void rig_receive(int socket, struct answer *answer);
void rig_done(struct answer *answer);

/* Receives, and expects this kind. */
void rig_expect(int socket, struct answer *answer, ipc_broker_Kind kind);

/* Expects the connection's end, after whatever else the broker had to say. */
void rig_expect_end(int socket);

/* Expects a RESULT with this errno (0: well) for this request, whose text contains @text. */
void rig_expect_result(int socket, uint64_t serial, int error, const char *text);

/* That nothing came: asks something that is answered, and expects that answer next. */
void rig_expect_nothing(int socket);

/* The requests of a workload, each with one method unless told. */
void rig_hello(int socket, uint32_t version);
void rig_serve(int socket, uint64_t serial, const char *service);
void rig_write_open(struct packet *packet, uint64_t serial, const char *service,
		    const char *const *methods, uint64_t timeout_ns);
void rig_open(int socket, uint64_t serial, const char *service, const char *method,
	      uint64_t timeout_ns);
void rig_write_accept(struct packet *packet, uint64_t serial);
void rig_accept(int socket, uint64_t serial);
void rig_close(int socket, uint64_t channel);

/* A sealed half's descriptor. */
int rig_half(void);

/* SERVE by @server, done. */
void rig_offer_service(int server, uint64_t serial, const char *service);

/* OPEN, OFFER, ACCEPT, OPENED; returns the channel. Both ends' bells where they are asked for. */
uint64_t rig_connect(int client, int server, const char *service, int *client_bell,
		     int *server_bell);

#endif
