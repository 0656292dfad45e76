// SPDX-License-Identifier: Apache-2.0
/*
 * Thin on purpose: what a word means, and why a sleeper looks again before it sleeps, belongs to
 * the ring layer. FUTEX_PRIVATE_FLAG is never set, since the sleeper and the waker are different
 * processes, with different addresses of one page.
 */
#include "futex.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "clock.h"

#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif

/* As the kernel reads it (struct futex_waitv); headers before Linux 5.16 lack it. */
struct waitv {
	uint64_t val;
	uint64_t uaddr;
	uint32_t flags;
	uint32_t reserved;
};

#define WAITV_32 0x02u

_Static_assert(sizeof(long) == 8, "the futex calls here take a 64-bit struct timespec");

int ipci_futex_wait(const _Atomic uint32_t *word, uint32_t expected, uint64_t deadline_ns)
{
	struct timespec deadline = ipci_timespec(deadline_ns);
	long r = syscall(SYS_futex, word, FUTEX_WAIT_BITSET, expected,
			 deadline_ns == IPCI_NEVER ? NULL : &deadline, NULL,
			 FUTEX_BITSET_MATCH_ANY);

	return r < 0 ? -errno : 0;
}

int ipci_futex_wake(_Atomic uint32_t *word)
{
	long r = syscall(SYS_futex, word, FUTEX_WAKE, IPCI_FUTEX_WAKE_MAX, NULL, NULL, 0);

	return r < 0 ? -errno : (int)r;
}

bool ipci_futex_waitv_works(void)
{
	enum { UNKNOWN, WORKS, REFUSED };
	static _Atomic int known = UNKNOWN;
	/* Relaxed: the answer is a constant of the process, and stands for itself. */
	int answer = atomic_load_explicit(&known, memory_order_relaxed);

	if (answer == UNKNOWN) {
		/* No words: EINVAL from the call itself; anything else is a refusal. */
		long r = syscall(SYS_futex_waitv, NULL, 0, 0, NULL, CLOCK_MONOTONIC);

		answer = r < 0 && errno == EINVAL ? WORKS : REFUSED;
		atomic_store_explicit(&known, answer, memory_order_relaxed);
	}
	return answer == WORKS;
}

int ipci_futex_waitv(const struct ipci_futex_word *words, unsigned n_words, uint64_t deadline_ns)
{
	struct timespec deadline = ipci_timespec(deadline_ns);
	struct waitv waiters[IPCI_FUTEX_WAITV_MAX];
	long r;

	if (n_words == 0 || n_words > IPCI_FUTEX_WAITV_MAX)
		return -EINVAL;
	if (!ipci_futex_waitv_works())
		return -ENOSYS;

	for (unsigned i = 0; i < n_words; i++)
		waiters[i] = (struct waitv){
			.val = words[i].expected,
			.uaddr = (uintptr_t)words[i].word,
			.flags = WAITV_32,
		};
	r = syscall(SYS_futex_waitv, waiters, n_words, 0,
		    deadline_ns == IPCI_NEVER ? NULL : &deadline, CLOCK_MONOTONIC);
	return r < 0 ? -errno : 0;
}
