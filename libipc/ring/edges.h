/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The happens-before edges of the shared memory, by name. ARCHITECTURE.md has the same table.
 *
 *   FRAME   a frame's bytes, before its commit word        release in publish, acquire in peek
 *   SPACE   reads of consumed frames, before `consumed`    release in consume, acquire in reserve
 *   BELL    what was published, before the bell word       release in ring, acquire before arming
 *   STATE   the last frames, before `state`                release in close, acquire in look
 *   SLEEP   "I published, does it sleep?" against "I sleep, did it publish?": a store and a load on
 *           each side, kept apart by a sequentially consistent fence on each side (Dekker's
 *           pattern)
 *   AWAKE   the same, where the peer says that it is awake: it publishes without a fence, and this
 *           side pays for both with one membarrier(2) before it sleeps
 *
 * A build with -DWEAKEN_<edge> drops one, for the tests that must then fail.
 */
#ifndef IPCI_RING_EDGES_H
#define IPCI_RING_EDGES_H

#include <stdatomic.h>
#include <stdbool.h>

#ifdef WEAKEN_FRAME
#define IPCI_FRAME_RELEASE memory_order_relaxed
#define IPCI_FRAME_ACQUIRE memory_order_relaxed
#else
#define IPCI_FRAME_RELEASE memory_order_release
#define IPCI_FRAME_ACQUIRE memory_order_acquire
#endif

#ifdef WEAKEN_SPACE
#define IPCI_SPACE_RELEASE memory_order_relaxed
#define IPCI_SPACE_ACQUIRE memory_order_relaxed
#else
#define IPCI_SPACE_RELEASE memory_order_release
#define IPCI_SPACE_ACQUIRE memory_order_acquire
#endif

#ifdef WEAKEN_BELL
#define IPCI_BELL_RELEASE memory_order_relaxed
#define IPCI_BELL_ACQUIRE memory_order_relaxed
#else
#define IPCI_BELL_RELEASE memory_order_release
#define IPCI_BELL_ACQUIRE memory_order_acquire
#endif

#ifdef WEAKEN_STATE
#define IPCI_STATE_RELEASE memory_order_relaxed
#define IPCI_STATE_ACQUIRE memory_order_relaxed
#else
#define IPCI_STATE_RELEASE memory_order_release
#define IPCI_STATE_ACQUIRE memory_order_acquire
#endif

/* SLEEP: both ends call this between their store and their load. */
static inline void ipci_sleep_fence(void)
{
#ifdef WEAKEN_SLEEP
	atomic_signal_fence(memory_order_seq_cst);
#else
	atomic_thread_fence(memory_order_seq_cst);
#endif
}

/*
 * AWAKE: between a waker's store and its load. Only the compiler is held; what the core turns round
 * the sleeper's membarrier(2) puts right, see signal.h.
 */
static inline void ipci_awake_order(void)
{
	atomic_signal_fence(memory_order_seq_cst);
}

/* AWAKE: does a side that was awake owe a membarrier(2) before it arms? */
static inline bool ipci_awake_owes_barrier(void)
{
#ifdef WEAKEN_AWAKE
	return false;
#else
	return true;
#endif
}

#endif
