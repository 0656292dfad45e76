/* SPDX-License-Identifier: Apache-2.0 */
#include "raw.h"

#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/mman.h>

#include "clock.h"

#define RAW_SPINS 20000
#define RAW_TIMEOUT_NS (5 * IPCI_NS_PER_S)

/* Each word has one writer, and two lines of its own: neighbouring lines are fetched together. */
struct raw_page {
	_Alignas(128) _Atomic uint64_t after; /* client: the call after which to start */
	_Atomic uint64_t wanted;	      /* client: ping-pongs asked for so far */
	_Alignas(128) _Atomic uint64_t ping;  /* client: the number of the newest */
	_Alignas(128) _Atomic uint64_t pong;  /* server: the same number back */
};

static inline void relax(void)
{
#if defined(__x86_64__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

/* Spins; where the other side may have no CPU to itself, it gets ours now and then. */
static int raw_wait(_Atomic uint64_t *word, uint64_t value)
{
	uint64_t deadline_ns = 0;

	for (unsigned int spins = 1; atomic_load_explicit(word, memory_order_acquire) != value;
	     spins++) {
		relax();
		if (spins % RAW_SPINS != 0)
			continue;
		if (deadline_ns == 0)
			deadline_ns = ipci_deadline_ns(RAW_TIMEOUT_NS);
		else if (ipci_now_ns() > deadline_ns)
			return -ETIMEDOUT;
		(void)sched_yield();
	}
	return 0;
}

int raw_init(struct raw *raw, int fd)
{
	void *page = NULL;

	if (fd >= 0) {
		page = mmap(NULL, sizeof(struct raw_page), PROT_READ | PROT_WRITE, MAP_SHARED, fd,
			    0);
		if (page == MAP_FAILED)
			return -errno;
	}
	*raw = (struct raw){.page = page};
	return 0;
}

void raw_deinit(struct raw *raw)
{
	if (raw->page != NULL)
		(void)munmap(raw->page, sizeof(struct raw_page));
	*raw = (struct raw){0};
}

void raw_call(struct raw *raw, uint64_t n)
{
	raw->n_calls++;
	if (raw->page == NULL || n == 0)
		return;
	/* Relaxed: the call itself releases them. The server may see them early, and waits for the
	 * call. */
	atomic_store_explicit(&raw->page->wanted, raw->n_done + n, memory_order_relaxed);
	atomic_store_explicit(&raw->page->after, raw->n_calls, memory_order_relaxed);
}

int raw_ping(struct raw *raw, struct samples *samples)
{
	uint64_t wanted, start_ns, before_ns, now_ns;
	int r;

	if (raw->page == NULL)
		return 0;
	wanted = atomic_load_explicit(&raw->page->wanted, memory_order_relaxed);
	start_ns = now_ns = ipci_now_ns();
	while (raw->n_done < wanted) {
		before_ns = ipci_now_ns();
		atomic_store_explicit(&raw->page->ping, raw->n_done + 1, memory_order_release);
		r = raw_wait(&raw->page->pong, raw->n_done + 1);
		if (r < 0)
			return r;
		raw->n_done++;
		now_ns = ipci_now_ns();
		if (samples != NULL)
			samples_add(samples, now_ns - before_ns);
	}
	if (samples != NULL)
		samples->elapsed_ns += now_ns - start_ns;
	return 0;
}

int raw_echo(struct raw *raw)
{
	uint64_t wanted;
	int r;

	raw->n_calls++;
	if (raw->page == NULL ||
	    atomic_load_explicit(&raw->page->after, memory_order_relaxed) != raw->n_calls)
		return 0;
	wanted = atomic_load_explicit(&raw->page->wanted, memory_order_relaxed);
	while (raw->n_done < wanted) {
		r = raw_wait(&raw->page->ping, raw->n_done + 1);
		if (r < 0)
			return r;
		raw->n_done++;
		atomic_store_explicit(&raw->page->pong, raw->n_done, memory_order_release);
	}
	return 0;
}
