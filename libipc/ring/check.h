/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The checks that are there because a peer may lie, as far as they are on every message's way: one
 * name for all of them (and ipci_private() for the copy of a payload), so that bench-checks can measure what they cost, beside a build without
 * (-DIPCI_UNCHECKED), which trusts its peer, is linked by nothing else, and is never installed.
 */
#ifndef IPCI_RING_CHECK_H
#define IPCI_RING_CHECK_H

#include <stdbool.h>

/* Did the peer say what cannot be? */
static inline bool ipci_impossible(bool found)
{
#ifdef IPCI_UNCHECKED
	(void)found;
	return false;
#else
	return found;
#endif
}

#endif
