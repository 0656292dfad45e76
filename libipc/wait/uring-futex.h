/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Futex operations on io_uring (Linux 6.7), as the kernel reads them: liburing has names for them
 * from 2.5 on.
 */
#ifndef IPCI_WAIT_URING_FUTEX_H
#define IPCI_WAIT_URING_FUTEX_H

#include <liburing.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

#include "futex.h"

#define IPCI_OP_FUTEX_WAIT 51
#define IPCI_OP_FUTEX_WAKE 52
#define IPCI_FUTEX2_32_SHARED 0x02 /* FUTEX2_SIZE_U32; FUTEX2_PRIVATE is another bit */

static inline void ipci_prep_futex(struct io_uring_sqe *sqe, uint8_t opcode,
				   const _Atomic uint32_t *word, uint32_t value)
{
	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = opcode;
	sqe->fd = IPCI_FUTEX2_32_SHARED;
	sqe->addr = (uintptr_t)word;
	sqe->addr2 = value;
	sqe->addr3 = FUTEX_BITSET_MATCH_ANY;
}

/* Completes with 0 when woken, -EAGAIN when the word has another value already. */
static inline void ipci_prep_futex_wait(struct io_uring_sqe *sqe, const _Atomic uint32_t *word,
					uint32_t expected)
{
	ipci_prep_futex(sqe, IPCI_OP_FUTEX_WAIT, word, expected);
}

/* Wakes as ipci_futex_wake() does; completes with how many. */
static inline void ipci_prep_futex_wake(struct io_uring_sqe *sqe, const _Atomic uint32_t *word)
{
	ipci_prep_futex(sqe, IPCI_OP_FUTEX_WAKE, word, IPCI_FUTEX_WAKE_MAX);
}

#endif
