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

/* The first @bytes, 0 to 7, of a word that lies in memory little-endian, as everything of libipc
 * does. */
static inline uint64_t payload_tail(uint64_t word, size_t bytes)
{
	return word & ((UINT64_C(1) << 8 * bytes) - 1);
}

static inline void payload_write(void *data, size_t bytes, uint64_t seed)
{
	uint8_t *to = data;
	uint64_t word = seed;

	for (; bytes >= sizeof(word); bytes -= sizeof(word), to += sizeof(word), word++)
		memcpy(to, &word, sizeof(word));
	for (; bytes; bytes--, word >>= 8)
		*to++ = (uint8_t)word;
}

static inline uint64_t payload_sum(const void *data, size_t bytes)
{
	const uint8_t *from = data;
	uint64_t word, sum = 0;

	for (; bytes >= sizeof(word); bytes -= sizeof(word), from += sizeof(word)) {
		memcpy(&word, from, sizeof(word));
		sum += word;
	}
	for (size_t i = 0; i < bytes; i++)
		sum += (uint64_t)from[i] << 8 * i;
	return sum;
}

/* What payload_sum() says of what payload_write() wrote. */
static inline uint64_t payload_expected(size_t bytes, uint64_t seed)
{
	uint64_t n = bytes / sizeof(seed);

	return n * seed + n * (n - 1) / 2 + payload_tail(seed + n, bytes % sizeof(seed));
}

#endif
