/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A real library on a loop, and everything around it in the fuzzer's hands: the broker at the other
 * end of the control socket, and the peer that owns the other half of a channel. One thread, so that
 * an input does the same each time.
 */
#ifndef TESTS_FUZZ_FAKE_H
#define TESTS_FUZZ_FAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <ipc/ipc.h>

#include "broker_fbs.h"
#include "fdpass.h"
#include "half.h"
#include "input.h"
#include "layout.h"

#define RING_BYTES UINT64_C(8192)
#define METHODS 3u /* of the service, by id from 0 */

/* The library's side, for the life of the process. */
extern ipc_loop *fake_loop;
extern const struct ipc_service fake_service;

/* Makes the loop; @serve: and offers the service on it. fake_stop() takes it away. */
void fake_start(bool serve);
void fake_stop(void);

/* The broker's end of the control socket. */
extern int fake_socket;

/* The next packet from the library, of that kind, others skipped; false: none is there. */
bool fake_take(ipc_broker_Kind kind, ipc_broker_Message *ret, int fds[IPCI_PACKET_FDS_MAX],
	       unsigned *n_fds);
/* Takes whatever is there, and closes what came with it. */
void fake_drain(void);

/* The peer: its own half, the library's half, and an end of the bell. */
struct peer {
	struct ipci_half own, other;
	int bell;
	uint64_t channel;
	uint64_t head, tail;
	uint64_t seq;
};

/* A channel between the peer and the library: as its server, as its client. */
void fake_open(struct peer *peer, ipc_channel **ret);
void fake_offer(struct peer *peer, ipc_channel **ret);
void fake_close(struct peer *peer);

/* One thing that a peer may do to its half or to the bell, as the input says. */
void peer_act(struct peer *peer, struct input *in, bool as_server);
/* Its process is gone, as the bell says. */
void peer_die(struct peer *peer);

#endif
