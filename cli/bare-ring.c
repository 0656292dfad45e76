// SPDX-License-Identifier: Apache-2.0
#include "bare-ring.h"

#include <errno.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cleanup.h"
#include "payload.h"
#include "spin.h"

#define SPINS_PER_LOOK (1u << 20)
#define LINE_BYTES 64u
#define HEADER_BYTES 8u
#define LATE_PAUSES 24 /* about as long as a dozen small records take */
#define PUBLISH_PARTS                                                                              \
	4u /* the reader tells how far it is at each quarter of what may lie between */

struct bare_ring_shared {
	alignas(128) _Atomic uint64_t head; /* two lines: the neighbour is fetched with it */
	alignas(128) _Atomic uint64_t tail;
};

static uint64_t record_bytes(size_t bytes)
{
	return HEADER_BYTES + ((bytes + HEADER_BYTES - 1) & ~(uint64_t)(HEADER_BYTES - 1));
}

/* @bytes of memory, twice in a row. */
static int map_twice(uint64_t bytes, uint8_t **ret)
{
	_cleanup_(closep) int fd = memfd_create("ipc-bench-ring", MFD_CLOEXEC);
	uint8_t *map;

	if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0)
		return -errno;
	map = mmap(NULL, 2 * bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (map == MAP_FAILED)
		return -errno;
	for (int i = 0; i < 2; i++) {
		if (mmap(map + (uint64_t)i * bytes, bytes, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_FIXED | MAP_POPULATE, fd, 0) == MAP_FAILED) {
			int r = -errno;

			(void)munmap(map, 2 * bytes);
			return r;
		}
	}
	*ret = map;
	return 0;
}

int bare_ring_init(struct bare_ring *ring, uint64_t ring_bytes, const volatile sig_atomic_t *stop)
{
	void *shared = mmap(NULL, sizeof(struct bare_ring_shared), PROT_READ | PROT_WRITE,
			    MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	int r;

	if (shared == MAP_FAILED)
		return -errno;
	*ring = (struct bare_ring){.shared = shared, .ring_bytes = ring_bytes, .stop = stop};
	r = map_twice(ring_bytes, &ring->data);
	if (r < 0)
		bare_ring_deinit(ring);
	return r;
}

void bare_ring_deinit(struct bare_ring *ring)
{
	if (ring->data)
		(void)munmap(ring->data, 2 * ring->ring_bytes);
	if (ring->shared)
		(void)munmap(ring->shared, sizeof(*ring->shared));
	*ring = (struct bare_ring){};
}

/* Until the other's word is at least @enough, which is then in *@seen. */
static int wait_for(const struct bare_ring *ring, const _Atomic uint64_t *word, uint64_t enough,
		    uint64_t *seen)
{
	/* No pause: it would cost the limit what it is to be a limit of. */
	for (uint32_t n = 1; (*seen = atomic_load_explicit(word, memory_order_acquire)) < enough;
	     n++)
		if (n % SPINS_PER_LOOK == 0 && *ring->stop)
			return -EINTR;
	return 0;
}

/* Room for @need bytes more. */
static int wait_for_room(struct bare_ring *ring, const struct bare_ring_way *way, uint64_t need)
{
	if (ring->head + need - ring->tail <= way->window)
		return 0;
	return wait_for(ring, &ring->shared->tail, ring->head + need - way->window, &ring->tail);
}

static int write_records(struct bare_ring *ring, const struct bare_ring_way *way, uint64_t n,
			 size_t bytes)
{
	const uint64_t need = record_bytes(bytes), mask = ring->ring_bytes - 1;

	for (uint64_t i = 1; i <= n; i++) {
		uint8_t *record = ring->data + (ring->head & mask);
		uint64_t length = bytes;

		if (ring->head + need - ring->tail > way->window) {
			int r;

			/* The reader may wait for what was not published yet. */
			atomic_store_explicit(&ring->shared->head, ring->head,
					      memory_order_release);
			r = wait_for_room(ring, way, need);
			if (r < 0)
				return r;
		}
		memcpy(record, &length, sizeof(length));
		payload_write(record + HEADER_BYTES, bytes, ring->seed++);
		ring->head += need;
		if (i % way->batch == 0 || i == n)
			atomic_store_explicit(&ring->shared->head, ring->head,
					      memory_order_release);
	}
	return 0;
}

static void publish_tail(struct bare_ring *ring)
{
	atomic_store_explicit(&ring->shared->tail, ring->tail, memory_order_release);
	ring->published = ring->tail;
}

static void look_away(const struct bare_ring_way *way)
{
	for (int i = 0; way->late && i < LATE_PAUSES; i++)
		ipci_cpu_relax();
}

/* Nothing is left of what was seen. The writer may be waiting for room. */
static int wait_for_more(struct bare_ring *ring, const struct bare_ring_way *way)
{
	ring->head = atomic_load_explicit(&ring->shared->head, memory_order_acquire);
	if (ring->head > ring->tail)
		return 0;
	publish_tail(ring);
	look_away(way);
	return wait_for(ring, &ring->shared->head, ring->tail + 1, &ring->head);
}

static int read_records(struct bare_ring *ring, const struct bare_ring_way *way, uint64_t n,
			size_t bytes)
{
	const uint64_t mask = ring->ring_bytes - 1;

	for (; n; n--) {
		const uint8_t *record = ring->data + (ring->tail & mask);
		uint64_t length;

		if (ring->tail == ring->head) {
			int r = wait_for_more(ring, way);

			if (r < 0)
				return r;
		}
		memcpy(&length, record, sizeof(length));
		if (payload_sum(record + HEADER_BYTES, length) !=
		    payload_expected(bytes, ring->seed++))
			return -EBADMSG;
		ring->tail += record_bytes(length);
		if (ring->tail - ring->published >= way->window / PUBLISH_PARTS)
			publish_tail(ring);
	}
	return 0;
}

/* ── in band ── */

struct line {
	_Atomic uint64_t number; /* of the record: what lies here from before has another */
	uint64_t length;
};

static struct line *line_at(const struct bare_ring *ring, uint64_t position)
{
	return (struct line *)(void *)(ring->data + (position & (ring->ring_bytes - 1)));
}

static uint64_t line_bytes(size_t bytes)
{
	return (sizeof(struct line) + bytes + LINE_BYTES - 1) & ~(uint64_t)(LINE_BYTES - 1);
}

/*
 * A record's number is where it lies, and never 0. Payloads may look like one: so a place where a
 * record may begin next is blanked before the record in front of it is published.
 */
static int write_in_band(struct bare_ring *ring, const struct bare_ring_way *way, uint64_t n,
			 size_t bytes)
{
	const uint64_t need = line_bytes(bytes);
	uint64_t first = ring->head;

	for (uint64_t i = 1; i <= n; i++) {
		struct line *line = line_at(ring, ring->head);
		/* One line to spare, for the blank. */
		int r = wait_for_room(ring, way, need + LINE_BYTES);

		if (r < 0)
			return r;
		line->length = bytes;
		payload_write(line + 1, bytes, ring->seed++);
		atomic_store_explicit(&line_at(ring, ring->head + need)->number, 0,
				      memory_order_relaxed);
		/* The batch's first goes last: before, none of the others is looked at. */
		if (ring->head != first)
			atomic_store_explicit(&line->number, ring->head + 1, memory_order_relaxed);
		ring->head += need;
		if (i % way->batch && i < n &&
		    ring->head + need + LINE_BYTES - ring->tail <= way->window)
			continue;
		atomic_store_explicit(&line_at(ring, first)->number, first + 1,
				      memory_order_release);
		first = ring->head;
	}
	return 0;
}

static int read_in_band(struct bare_ring *ring, const struct bare_ring_way *way, uint64_t n,
			size_t bytes)
{
	for (; n; n--) {
		const struct line *line = line_at(ring, ring->tail);
		uint64_t number = ring->tail + 1;

		if (atomic_load_explicit(&line->number, memory_order_acquire) != number) {
			publish_tail(ring);
			look_away(way);
			for (uint32_t looks = 1;
			     atomic_load_explicit(&line->number, memory_order_acquire) != number;
			     looks++)
				if (looks % SPINS_PER_LOOK == 0 && *ring->stop)
					return -EINTR;
		}
		if (payload_sum(line + 1, line->length) != payload_expected(bytes, ring->seed++))
			return -EBADMSG;
		ring->tail += line_bytes(line->length);
		if (ring->tail - ring->published >= way->window / PUBLISH_PARTS)
			publish_tail(ring);
	}
	return 0;
}

static uint64_t line_up(uint64_t position)
{
	return (position + LINE_BYTES - 1) & ~(uint64_t)(LINE_BYTES - 1);
}

int bare_ring_write(struct bare_ring *ring, const struct bare_ring_way *way, uint64_t n,
		    size_t bytes)
{
	int r;

	ring->head = line_up(ring->head);
	r = way->in_band ? write_in_band(ring, way, n, bytes) : write_records(ring, way, n, bytes);
	/* Where the next way begins, nothing is to look like a record. */
	if (r == 0)
		r = wait_for_room(ring, way, 2 * LINE_BYTES);
	if (r == 0)
		atomic_store_explicit(&line_at(ring, line_up(ring->head))->number, 0,
				      memory_order_release);
	return r;
}

void bare_ring_begin(struct bare_ring *ring)
{
	ring->head = ring->tail = line_up(ring->tail);
	publish_tail(ring);
}

int bare_ring_read(struct bare_ring *ring, const struct bare_ring_way *way, uint64_t n,
		   size_t bytes)
{
	return way->in_band ? read_in_band(ring, way, n, bytes) : read_records(ring, way, n, bytes);
}
