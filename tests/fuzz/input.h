/* SPDX-License-Identifier: Apache-2.0 */
/* The input of a run, eaten from its front; 0 for ever at its end. And what must hold for any. */
#ifndef TESTS_FUZZ_INPUT_H
#define TESTS_FUZZ_INPUT_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct input {
	const uint8_t *at;
	size_t n;
};

static inline uint64_t take_bytes(struct input *in, size_t n)
{
	uint64_t value = 0;

	if (in->n < n) {
		in->n = 0;
		return 0;
	}
	memcpy(&value, in->at, n);
	in->at += n;
	in->n -= n;
	return value;
}

static inline uint8_t take_u8(struct input *in)
{
	return (uint8_t)take_bytes(in, 1);
}

static inline uint16_t take_u16(struct input *in)
{
	return (uint16_t)take_bytes(in, 2);
}

static inline uint32_t take_u32(struct input *in)
{
	return (uint32_t)take_bytes(in, 4);
}

static inline uint64_t take_u64(struct input *in)
{
	return take_bytes(in, 8);
}

_Noreturn static inline void broke(const char *condition, const char *file, int line)
{
	fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, condition);
	abort();
}

#define must(condition) ((condition) ? (void)0 : broke(#condition, __FILE__, __LINE__))

#endif
