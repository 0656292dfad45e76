// SPDX-License-Identifier: Apache-2.0
/*
 * What a peer may do: whatever its half and the bell let it. Half of the acts are nearly right, so
 * that an input gets beyond the first check.
 */
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bell.h"
#include "fake.h"

static struct ipci_control *control_of(const struct peer *peer)
{
	return (struct ipci_control *)(void *)peer->own.base;
}

static struct ipci_frame *frame_at(const struct ipci_half *half, uint64_t position)
{
	return (struct ipci_frame *)(void *)(half->base + half->ring_offset +
					     (position & (half->ring_bytes - 1)));
}

/* A frame at the head, well formed but for what the caller chose. */
static void put(struct peer *peer, uint32_t kind, uint16_t method, uint64_t call_id,
		uint32_t payload_bytes, struct input *in)
{
	struct ipci_frame *frame = frame_at(&peer->own, peer->head);
	uint64_t bytes = ipci_frame_bytes(ipci_ext_bytes(kind), payload_bytes);
	const uint64_t first[2] = {take_u64(in), take_u64(in)};

	if (bytes > RING_BYTES / 2)
		return;
	memset(frame + 1, 0x5a, bytes - sizeof(*frame));
	if (bytes >= 2 * sizeof(*frame))
		memcpy(frame + 1, first, sizeof(first));
	atomic_store(&frame_at(&peer->own, peer->head + bytes)->commit, 0);
	frame->kind = (uint16_t)kind;
	frame->method = method;
	frame->call_id = call_id;
	atomic_store(&frame->commit, payload_bytes + 1);
	peer->head += bytes;
}

/* A frame of the library's, if one is there: what it says is answered or not. */
static bool next_of_other(struct peer *peer, uint64_t *ret_id)
{
	for (;;) {
		const struct ipci_frame *frame = frame_at(&peer->other, peer->tail);
		const uint32_t commit = atomic_load(&frame->commit);

		if (commit == 0 || peer->tail > UINT64_MAX / 2)
			return false;
		peer->tail += ipci_frame_bytes(ipci_ext_bytes(frame->kind), commit - 1);
		*ret_id = frame->call_id;
		if ((frame->kind & IPCI_KIND_MASK) != IPCI_KIND_PADDING)
			return true;
	}
}

static void act_as_server(struct peer *peer, struct input *in)
{
	const uint8_t how = take_u8(in);
	uint64_t id;

	if (!next_of_other(peer, &id))
		return;
	atomic_store(&control_of(peer)->consumed, peer->tail);
	/* Mostly the answer, sometimes another kind of it. */
	put(peer,
	    how & 0x80 ? how & 0x1f
	    : how & 1  ? IPCI_KIND_REPLY
		       : IPCI_KIND_ITEM,
	    how & 0x40 ? take_u16(in) : 0, id, take_u16(in) & 0x7ff, in);
}

static void act_as_client(struct peer *peer, struct input *in)
{
	const uint8_t how = take_u8(in);
	uint64_t id, slot = how & 7;

	while (next_of_other(peer, &id))
		atomic_store(&control_of(peer)->consumed, peer->tail);
	id = (how & 0x40 ? peer->seq : ++peer->seq) << IPCI_CALL_SLOT_BITS | slot;
	put(peer, how & 0x80 ? take_u16(in) & 0x7ff : IPCI_KIND_REQUEST,
	    (uint16_t)(5 + (how >> 3 & 3)), id, take_u16(in) & 0x7ff, in);
}

static void act_on_bell(struct peer *peer, struct input *in)
{
	const uint8_t how = take_u8(in);
	int fd;

	if (peer->bell < 0)
		return;
	switch (how & 7) {
	case 0:
		(void)close(peer->bell);
		peer->bell = -1;
		break;
	case 1:
		(void)shutdown(peer->bell, how >> 3 & 3);
		break;
	case 2:
		fd = memfd_create("fuzz", MFD_CLOEXEC);
		(void)ipci_packet_send(peer->bell, "x", 1, &fd, 1);
		(void)close(fd);
		break;
	case 3:
		(void)send(peer->bell, "many bytes", 10, MSG_DONTWAIT | MSG_NOSIGNAL);
		break;
	default:
		(void)ipci_bell_ring(peer->bell);
	}
}

void peer_act(struct peer *peer, struct input *in, bool as_server)
{
	struct ipci_control *control = control_of(peer);
	const uint8_t act = take_u8(in);
	struct ipci_frame *frame;

	switch (act & 15) {
	case 0:
		atomic_store(&control->consumed, take_u64(in));
		break;
	case 1:
		atomic_store(&control->consumed,
			     atomic_load(&control->consumed) + (uint64_t)take_u8(in) * 64);
		break;
	case 2:
		atomic_store(&control->waiting, take_u64(in));
		break;
	case 3:
		atomic_store(&control->state, take_u32(in));
		break;
	case 4:
		act_on_bell(peer, in);
		break;
	case 5:
		/* Any word of the half. */
		*(volatile uint64_t *)(void *)(peer->own.base +
					       (take_u16(in) * 8u) %
						       (4096 + RING_BYTES)) = take_u64(in);
		break;
	case 6:
		frame = frame_at(&peer->own, peer->head);
		frame->kind = take_u16(in);
		frame->method = take_u16(in);
		frame->call_id = take_u64(in);
		atomic_store(&frame->commit, take_u32(in));
		break;
	case 7:
		put(peer, take_u16(in), take_u16(in), take_u64(in), take_u16(in), in);
		break;
	default:
		if (as_server)
			act_as_server(peer, in);
		else
			act_as_client(peer, in);
	}
}
