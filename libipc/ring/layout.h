/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The shared memory: everything that two processes must agree on, and nothing else.
 *
 * A half is a control page and a ring. Its owner is the sole writer of every byte; the importer
 * maps it read-only. Groups that are written at different times lie 128 bytes apart: two cache
 * lines, because the adjacent-line prefetcher pairs them. Little-endian, naturally aligned, 32 or
 * 64 bits each.
 */
#ifndef IPCI_RING_LAYOUT_H
#define IPCI_RING_LAYOUT_H

#include <assert.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define IPCI_LAYOUT_MAGIC UINT64_C(0x010043504942494c) /* "LIBIPC\0\1" in memory */
#define IPCI_LAYOUT_VERSION 1u
#define IPCI_LINE_BYTES 64u
#define IPCI_GROUP_BYTES 128u

/*
 * Feature words: what a side can do, said by both at open. What either lacks is not used; a bit
 * that is not known is ignored.
 */
#define IPCI_FEATURE_MEMBARRIER (UINT64_C(1) << 0) /* registered for GLOBAL_EXPEDITED */

/* What the owner wants to be woken for, and how, in ipci_control.waiting below its epoch. */
enum {
	IPCI_WANT_FRAMES_FUTEX = 1 << 0, /* asleep on the peer's bell_frames */
	IPCI_WANT_FRAMES_BELL = 1 << 1,	 /* asleep in a loop: one byte over the bell socket */
	IPCI_WANT_SPACE_FUTEX = 1 << 2,	 /* asleep on the peer's bell_space */
	IPCI_WANT_SPACE_BELL = 1 << 3,
	IPCI_WANT_FRAMES = IPCI_WANT_FRAMES_FUTEX | IPCI_WANT_FRAMES_BELL,
	IPCI_WANT_SPACE = IPCI_WANT_SPACE_FUTEX | IPCI_WANT_SPACE_BELL,
	IPCI_AWAKE = 1 << 4, /* looks by itself: who publishes need not fence */
	IPCI_WANT_BITS = 8,  /* the epoch begins here; bits 5..7 are zero */
};

/* ipci_control.state: the phase in the low byte, the reason in the next. */
enum ipci_phase {
	IPCI_PHASE_OPEN = 0,
	IPCI_PHASE_DRAINING = 1,
	IPCI_PHASE_CLOSING = 2,
	IPCI_PHASE_CLOSED = 3,
};

enum ipci_reason {
	IPCI_REASON_NONE = 0,
	IPCI_REASON_FREED = 1,	  /* the program freed its handle */
	IPCI_REASON_REVOKED = 2,  /* the broker took the capability back */
	IPCI_REASON_POISONED = 3, /* the peer did something impossible */
};

struct ipci_control {
	/* identity: written once, before the half leaves its owner */
	alignas(IPCI_GROUP_BYTES) uint64_t magic;
	uint32_t version;
	uint32_t ring_offset;
	uint64_t ring_bytes;
	uint64_t features;

	/* how far the owner consumed the *peer's* ring, as a byte position that only grows */
	alignas(IPCI_GROUP_BYTES) _Atomic uint64_t consumed;

	/* IPCI_WANT_… below, an epoch that grows with each sleep above */
	alignas(IPCI_GROUP_BYTES) _Atomic uint64_t waiting;

	/*
	 * bumped by the owner to wake its peer: one for who waits for frames, one for who waits for
	 * space
	 */
	alignas(IPCI_GROUP_BYTES) _Atomic uint32_t bell_frames;
	_Atomic uint32_t bell_space;

	/*
	 * for topics, recording and tools: how far the owner published, and where the oldest
	 * readable frame lies
	 */
	alignas(IPCI_GROUP_BYTES) _Atomic uint64_t produced;
	_Atomic uint64_t oldest_valid;

	/* with state closed: `taken` is how far the owner took frames out of the peer's ring */
	alignas(IPCI_GROUP_BYTES) _Atomic uint32_t state;
	_Atomic uint64_t taken;
};

static_assert(offsetof(struct ipci_control, magic) == 0, "layout");
static_assert(offsetof(struct ipci_control, version) == 8, "layout");
static_assert(offsetof(struct ipci_control, ring_offset) == 12, "layout");
static_assert(offsetof(struct ipci_control, ring_bytes) == 16, "layout");
static_assert(offsetof(struct ipci_control, features) == 24, "layout");
static_assert(offsetof(struct ipci_control, consumed) == 128, "layout");
static_assert(offsetof(struct ipci_control, waiting) == 256, "layout");
static_assert(offsetof(struct ipci_control, bell_frames) == 384, "layout");
static_assert(offsetof(struct ipci_control, bell_space) == 388, "layout");
static_assert(offsetof(struct ipci_control, produced) == 512, "layout");
static_assert(offsetof(struct ipci_control, oldest_valid) == 520, "layout");
static_assert(offsetof(struct ipci_control, state) == 640, "layout");
static_assert(offsetof(struct ipci_control, taken) == 648, "layout");
static_assert(sizeof(struct ipci_control) == 768, "layout");
static_assert(sizeof(_Atomic uint64_t) == 8 && sizeof(_Atomic uint32_t) == 4,
	      "lock-free atomics are plain words");
static_assert(ATOMIC_LLONG_LOCK_FREE == 2 && ATOMIC_INT_LOCK_FREE == 2,
	      "atomics must be lock-free to be shared");

/* A frame starts on a line. Its payload follows the header and the extensions, 16-byte aligned. */
struct ipci_frame {
	_Atomic uint32_t commit; /* 0: nothing here yet; else payload bytes + 1 */
	uint16_t kind;		 /* enum ipci_kind | IPCI_EXT_… */
	uint16_t method;  /* requests: the client's method id, flags above; errors: the status */
	uint64_t call_id; /* IPCI_CALL_SLOT_BITS of slot below a sequence that strictly grows */
};

static_assert(sizeof(struct ipci_frame) == 16, "layout");
static_assert(offsetof(struct ipci_frame, kind) == 4, "layout");
static_assert(offsetof(struct ipci_frame, method) == 6, "layout");
static_assert(offsetof(struct ipci_frame, call_id) == 8, "layout");

enum ipci_kind {
	IPCI_KIND_PADDING = 0, /* skipped by the consumer; as long as the ring allows */
	IPCI_KIND_REQUEST = 1,
	IPCI_KIND_REPLY = 2,
	IPCI_KIND_ERROR = 3, /* status in .method, text as payload */
	IPCI_KIND_CANCEL = 4,
	IPCI_KIND_ITEM = 5,   /* a message of a call; from a client .method may be IPCI_ITEM_LAST */
	IPCI_KIND_END = 6,    /* the sender's last, without a payload; a server's ends the call */
	IPCI_KIND_CREDIT = 7, /* u64: item bytes of the call that the other side may send in all */
	IPCI_KIND_DRAIN = 8,  /* the server takes no new calls; call_id 0, no payload */
	IPCI_KIND_EVENT = 9,  /* topics: not spoken yet */
	IPCI_KIND_MOVED = 10, /* topics: not spoken yet */
	IPCI_KIND_MASK = 0x1f,
};

/* An item's .method from a client: its last. From a server it is 0: a reply is the last. */
#define IPCI_ITEM_LAST 1u

/* An error frame's .method: a status, 1..16; with this bit no handler ever saw the call. */
#define IPCI_STATUS_NOT_EXECUTED 0x100
#define IPCI_STATUS_MASK 0xff

/*
 * Extensions follow the header in this order. A bit that the reader does not know poisons the
 * channel.
 */
enum {
	IPCI_EXT_DEADLINE = 1 << 5, /* 16 bytes: u64 remaining nanoseconds, u64 zero */
	IPCI_EXT_TRACE = 1
			 /*
		 * 32 bytes: W3C traceparent in binary: version, trace id, parent id, flags, zeros
		 */
			 << 6,
	IPCI_EXT_CHECKSUM = 1 << 7,  /* reserved */
	IPCI_EXT_FDS = 1 << 8,	     /* reserved: attached descriptors */
	IPCI_EXT_MEMFD = 1 << 9,     /* reserved: payload in a separate sealed memfd */
	IPCI_EXT_PRIORITY = 1 << 10, /* reserved */
	IPCI_EXT_KNOWN = IPCI_EXT_DEADLINE | IPCI_EXT_TRACE,
};

/*
 * A request frame's .method: the client's method id below, these bits above it; any other bit
 * poisons.
 */
#define IPCI_REQUEST_METHOD_MASK 0x3ff
#define IPCI_REQUEST_OPEN 0x4000    /* the client goes on sending items on this call */
#define IPCI_REQUEST_NO_WAIT 0x8000 /* rather refuse than let it wait for its turn */
#define IPCI_REQUEST_KNOWN (IPCI_REQUEST_METHOD_MASK | IPCI_REQUEST_OPEN | IPCI_REQUEST_NO_WAIT)

#define IPCI_EXT_DEADLINE_BYTES 16u
#define IPCI_EXT_TRACE_BYTES 32u
#define IPCI_EXT_MAX_BYTES (IPCI_EXT_DEADLINE_BYTES + IPCI_EXT_TRACE_BYTES)
#define IPCI_TRACE_BYTES 26u /* version 1, trace id 16, parent id 8, flags 1 */

/*
 * call_id: the caller's slot in the low bits (below the number of calls in flight agreed at open),
 * above it a sequence that grows with each call. A slot is free again when the reply or the error
 * came.
 */
#define IPCI_CALL_SLOT_BITS 16u
#define IPCI_CALL_SLOT_MASK UINT64_C(0xffff)

/*
 * The largest payload: half the ring, so that kept messages (half) and one more (half) fit
 * together.
 */
static inline uint64_t ipci_payload_max_bytes(uint64_t ring_bytes)
{
	return ring_bytes / 2 - 4 * IPCI_LINE_BYTES;
}

/*
 * What a side may have sent of a call's items, as bytes of whole frames, before the first CREDIT;
 * each CREDIT says that much beyond what was taken. Both sides know the sender's ring.
 */
static inline uint64_t ipci_window_bytes(uint64_t ring_bytes)
{
	return ring_bytes / 4;
}

/* A frame of padding: all of the ring but the line to spare. */
static inline uint64_t ipci_padding_max_bytes(uint64_t ring_bytes)
{
	return ring_bytes - IPCI_LINE_BYTES - sizeof(struct ipci_frame);
}

static inline uint64_t ipci_line_up(uint64_t bytes)
{
	return (bytes + IPCI_LINE_BYTES - 1) & ~(uint64_t)(IPCI_LINE_BYTES - 1);
}

static inline uint32_t ipci_ext_bytes(uint32_t kind)
{
	return (kind & IPCI_EXT_DEADLINE ? IPCI_EXT_DEADLINE_BYTES : 0) +
	       (kind & IPCI_EXT_TRACE ? IPCI_EXT_TRACE_BYTES : 0);
}

/*
 * Payloads up to this size are copied, and their frames given back at once: only larger ones are
 * held in place.
 */
#define IPCI_RING_NEVER_HELD_BYTES UINT64_C(4096)

/* A frame's bytes in the ring, whole lines. */
static inline uint64_t ipci_frame_bytes(uint32_t ext_bytes, uint64_t payload_bytes)
{
	return ipci_line_up(sizeof(struct ipci_frame) + ext_bytes + payload_bytes);
}

#endif
