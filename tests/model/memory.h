/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory that a program under tests/model shares: two halves, one behind the other.
 */
#ifndef TESTS_MODEL_MEMORY_H
#define TESTS_MODEL_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#define MODEL_RING_OFFSET 768u
#define MODEL_RING_BYTES 1024u /* the smallest that has room for payloads */
#define MODEL_HALF_BYTES (MODEL_RING_OFFSET + MODEL_RING_BYTES)
#define MODEL_SHARED_BYTES (2 * MODEL_HALF_BYTES)

extern uint8_t model_halves[2][MODEL_HALF_BYTES];

static inline uint64_t model_offset(const volatile void *at)
{
	return (uint64_t)((uintptr_t)at - (uintptr_t)model_halves);
}

static inline unsigned model_owner(uint32_t offset)
{
	return offset / MODEL_HALF_BYTES;
}

/* What lies there, for people. */
void model_name(char *name, size_t bytes, uint32_t offset);

#endif
