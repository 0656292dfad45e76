/* SPDX-License-Identifier: Apache-2.0 */
/* Sleeping on a word of shared memory: futex(2) and, since Linux 5.16, futex_waitv(2). Always
 * shared futexes. */
#ifndef IPCI_WAIT_FUTEX_H
#define IPCI_WAIT_FUTEX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define IPCI_FUTEX_WAITV_MAX 128u

/*
 * Sleeps while *@word == @expected, until @deadline_ns (CLOCK_MONOTONIC, absolute; IPCI_NEVER for
 * none). The word may lie in a mapping that is read-only here. May return early for no reason.
 * Returns 0 woken; -EAGAIN the word has another value; -ETIMEDOUT; -EINTR.
 */
int ipci_futex_wait(const _Atomic uint32_t *word, uint32_t expected, uint64_t deadline_ns);

/*
 * A word has one sleeper, or two where one is about to go. Whoever maps the word can sleep on it,
 * though, as often as it likes: waking a crowd is work that a peer would choose the size of.
 */
#define IPCI_FUTEX_WAKE_MAX 8

/* Wakes who sleeps on @word, the oldest first, at most IPCI_FUTEX_WAKE_MAX. How many, or -errno. */
int ipci_futex_wake(_Atomic uint32_t *word);

/* True if the kernel has futex_waitv() and does not refuse it; asked once. */
bool ipci_futex_waitv_works(void);

struct ipci_futex_word {
	const _Atomic uint32_t *word;
	uint32_t expected;
};

/*
 * Sleeps until any of up to IPCI_FUTEX_WAITV_MAX words changes or is woken; results as
 * ipci_futex_wait(), and -EINVAL no words or too many; -ENOSYS where ipci_futex_waitv_works() is
 * false.
 */
int ipci_futex_waitv(const struct ipci_futex_word *words, unsigned n_words, uint64_t deadline_ns);

#endif
