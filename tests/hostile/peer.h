/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A peer without libipc: it speaks the control protocol by hand and writes into its half whatever a
 * test wants. A real library is at the other end of the channel.
 *
 * peer_connect(), then as a client peer_ask() and, once the server had its turn, peer_joined(); or
 * as a server peer_offer() and peer_accept(). All of it in the test's own thread: the packets of a
 * socket wait.
 */
#ifndef TESTS_HOSTILE_PEER_H
#define TESTS_HOSTILE_PEER_H

#include "broker_fbs.h"
#include "fdpass.h"
#include "half.h"
#include "layout.h"
#include "world.h"

#define RING UINT64_C(8192)

struct peer {
	int socket, bell;
	int other_fd; /* the other's half */
	struct ipci_half own, other;
	uint64_t head, tail; /* of the own ring, and of the other's */
	uint64_t seq;
	uint64_t channel;
	uint32_t max_calls;
};

/* What peers say of themselves when they open or accept: feature words. 0, unless a test says more. */
extern uint64_t peer_claims;

/* ── the control protocol ── */

void peer_connect(struct peer *peer, const char *path);
void peer_close(struct peer *peer);

/* The next packet of that kind, other kinds skipped; waits for it. *@fds gets what came beside it.
 */
ipc_broker_Message peer_await(int socket, ipc_broker_Kind kind, int fds[IPCI_PACKET_FDS_MAX],
			      unsigned *n_fds);

/* As a client of test.Echo: asks, and once the answer is there, joins. */
void peer_ask(struct peer *peer);
/* With a half that is there already, or that is none. */
void peer_ask_with(const struct peer *peer, int half, uint64_t ring_bytes, uint64_t timeout_ns);
void peer_joined(struct peer *peer);

/* As the server of test.Mirror: offers it, and accepts the first who comes. */
void peer_offer(struct peer *peer);
void peer_accept(struct peer *peer);
void peer_accept_with(struct peer *peer, int half);
/* A half of the peer's, its descriptor; it is not mapped where @peer is NULL. */
int peer_half(struct peer *peer);

/* ── the own half ── */

static inline struct ipci_control *peer_control(const struct peer *peer)
{
	return (struct ipci_control *)(void *)peer->own.base;
}

static inline const struct ipci_control *other_control(const struct peer *peer)
{
	return (const struct ipci_control *)(const void *)peer->other.base;
}

struct raw_frame {
	uint32_t commit; /* as it is written: payload bytes + 1 where all is well */
	uint32_t kind, method;
	uint64_t call_id;
	uint64_t frame_bytes; /* 0: what commit and kind say */
};

/* Writes a frame at the head and moves on, room or not; then rings. */
void peer_put(struct peer *peer, struct raw_frame frame, uint8_t filler);
/* A well-formed request, in the slot given; its id. Echo, unless @method says otherwise. */
uint64_t peer_request(struct peer *peer, uint32_t slot, uint32_t method, uint32_t payload_bytes);
/* A frame from the other's ring, if one is there; tells it that it was read. */
bool peer_take(struct peer *peer, struct raw_frame *ret);
void peer_ring(const struct peer *peer);

/* Has the other side called this channel broken? */
bool peer_is_poisoned(const struct peer *peer);

#endif
