// SPDX-License-Identifier: Apache-2.0
#include "raw.h"

#include <errno.h>
#include <linux/futex.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "payload.h"
#include "rounds.h"

#define SPINS_PER_LOOK (1u << 20)
#define SLICE_NS 100000000 /* longest sleep without a look at whether to stop */

struct raw_lane {
	alignas(128) _Atomic uint32_t number; /* two lines: the neighbour is fetched with it */
	alignas(16) uint8_t payload[];
};

/* Instead of a payload, on the number's line. */
struct stamps {
	uint64_t sent_ns, took_ns;
};

int raw_init(struct raw *raw, size_t payload_bytes, bool blocking, bool stamped,
	     const volatile sig_atomic_t *stop)
{
	size_t bytes = payload_bytes > RAW_LINE_PAYLOAD_BYTES && !stamped ? payload_bytes : 0;
	size_t lane_bytes = (sizeof(struct raw_lane) + bytes + 127) & ~(size_t)127;
	uint8_t *map = mmap(NULL, 2 * lane_bytes, PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (map == MAP_FAILED)
		return -errno;
	*raw = (struct raw){
		.ping = (struct raw_lane *)(void *)map,
		.pong = (struct raw_lane *)(void *)(map + lane_bytes),
		.map_bytes = 2 * lane_bytes,
		.payload_bytes = bytes,
		.blocking = blocking,
		.stamped = stamped,
		.stop = stop,
	};
	return 0;
}

void raw_deinit(struct raw *raw)
{
	if (raw->ping)
		(void)munmap(raw->ping, raw->map_bytes);
	*raw = (struct raw){};
}

static int sleep_for(struct raw *raw, _Atomic uint32_t *word, uint32_t number)
{
	const struct timespec slice = {.tv_nsec = SLICE_NS};

	while (atomic_load_explicit(word, memory_order_acquire) != number) {
		if (*raw->stop)
			return -EINTR;
		if (syscall(SYS_futex, word, FUTEX_WAIT, number - 1, &slice, NULL, 0) == 0)
			raw->n_sleeps++;
	}
	return 0;
}

static int spin_for(struct raw *raw, _Atomic uint32_t *word, uint32_t number)
{
	/* No pause: it would cost the limit what it is to be a limit of. */
	for (uint32_t n = 1; atomic_load_explicit(word, memory_order_acquire) != number; n++)
		if (n % SPINS_PER_LOOK == 0 && *raw->stop)
			return -EINTR;
	return 0;
}

static struct stamps *stamps_of(struct raw_lane *lane)
{
	return (struct stamps *)(void *)lane->payload;
}

static inline void put(const struct raw *raw, struct raw_lane *lane, uint32_t number,
		       uint64_t took_ns)
{
	if (raw->stamped)
		*stamps_of(lane) = (struct stamps){ipci_now_ns(), took_ns};
	if (raw->payload_bytes)
		payload_write(lane->payload, raw->payload_bytes, number);
	atomic_store_explicit(&lane->number, number, memory_order_release);
	if (raw->blocking)
		(void)syscall(SYS_futex, &lane->number, FUTEX_WAKE, 1, NULL, NULL, 0);
}

static inline int get(struct raw *raw, struct raw_lane *lane, uint32_t number, bool late)
{
	int r;

	if (late) {
		ipci_patience_wait(&raw->patience);
		ipci_patience_learn(&raw->patience,
				    atomic_load_explicit(&lane->number, memory_order_acquire) ==
					    number);
	}
	r = raw->blocking ? sleep_for(raw, &lane->number, number)
			  : spin_for(raw, &lane->number, number);

	if (r == 0 && raw->payload_bytes &&
	    payload_sum(lane->payload, raw->payload_bytes) !=
		    payload_expected(raw->payload_bytes, number))
		return -EBADMSG;
	return r;
}

static void add_ns(struct histogram *histogram, uint64_t ns)
{
	if (histogram)
		histogram_add(histogram, ns * ROUNDS_PS_PER_NS);
}

int raw_ping(struct raw *raw, unsigned int n, bool late)
{
	for (; n; n--) {
		int r;

		put(raw, raw->ping, ++raw->number, 0);
		r = get(raw, raw->pong, raw->number, late);
		if (r < 0)
			return r;
		if (raw->stamped) {
			add_ns(raw->one_way, stamps_of(raw->pong)->took_ns);
			add_ns(raw->one_way, ipci_now_ns() - stamps_of(raw->pong)->sent_ns);
		}
	}
	return 0;
}

int raw_echo(struct raw *raw, unsigned int n, bool late)
{
	for (; n; n--) {
		int r = get(raw, raw->ping, ++raw->number, late);

		if (r < 0)
			return r;
		put(raw, raw->pong, raw->number,
		    raw->stamped ? ipci_now_ns() - stamps_of(raw->ping)->sent_ns : 0);
	}
	return 0;
}
