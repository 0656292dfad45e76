/* SPDX-License-Identifier: Apache-2.0 */
/*
 * membarrier(2), GLOBAL_EXPEDITED: a full fence on every CPU that runs a thread of any registered
 * process. A side that was awake pays it once before it sleeps, so that its peer pays no fence a
 * message: see signal.h.
 */
#ifndef IPCI_WAIT_MEMBARRIER_H
#define IPCI_WAIT_MEMBARRIER_H

#include <stdbool.h>

/*
 * Registers this process; again is cheap. False before Linux 4.16, or where a filter refuses it.
 * With several threads running the first time takes some milliseconds.
 */
bool ipci_membarrier_register(void);

/* Some microseconds. 0, or -errno where it is refused by now. */
int ipci_membarrier(void);

#endif
