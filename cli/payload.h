/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Payloads that are written and read to the last byte, and checked in constant time.
 *
 * Word i is the seed plus i; what does not fill a last word is that word's first bytes. So the sum
 * of all words is known beforehand, and a lost, stale or swapped byte shows in it.
 */
#ifndef CLI_PAYLOAD_H
#define CLI_PAYLOAD_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* The bits of a last word of which @bytes are there, as they lie in memory. */
static inline uint64_t payload_tail(uint64_t word, size_t bytes)
{
	uint64_t tail = 0;

	memcpy(&tail, &word, bytes);
	return tail;
}

static inline void payload_write(void *data, size_t bytes, uint64_t seed)
{
	uint8_t *to = data;
	uint64_t word = seed;
	size_t i;

	for (i = 0; i + sizeof(word) <= bytes; i += sizeof(word), word++)
		memcpy(to + i, &word, sizeof(word));
	memcpy(to + i, &word, bytes - i);
}

static inline uint64_t payload_sum(const void *data, size_t bytes)
{
	const uint8_t *from = data;
	uint64_t word, sum = 0;
	size_t i;

	for (i = 0; i + sizeof(word) <= bytes; i += sizeof(word)) {
		memcpy(&word, from + i, sizeof(word));
		sum += word;
	}
	word = 0;
	memcpy(&word, from + i, bytes - i);
	return sum + word;
}

/* What payload_sum() says of what payload_write() wrote. */
static inline uint64_t payload_expected(size_t bytes, uint64_t seed)
{
	uint64_t n = bytes / sizeof(seed);

	return n * seed + n * (n - 1) / 2 + payload_tail(seed + n, bytes % sizeof(seed));
}

#endif
