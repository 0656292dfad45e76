/* SPDX-License-Identifier: Apache-2.0 */
/* One allocation a chunk, in a list: schemas are small, and a sanitizer sees every overrun this
 * way. */
#include "arena.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

struct ipci_chunk {
	struct ipci_chunk *next;
	max_align_t data[];
};

void ipci_arena_deinit(struct ipci_arena *arena)
{
	while (arena->chunks) {
		struct ipci_chunk *chunk = arena->chunks;

		arena->chunks = chunk->next;
		free(chunk);
	}
}

void *ipci_arena_alloc(struct ipci_arena *arena, size_t n, size_t size)
{
	struct ipci_chunk *chunk;
	size_t bytes;

	if (__builtin_mul_overflow(n, size, &bytes) ||
	    __builtin_add_overflow(bytes, sizeof(*chunk), &bytes))
		return NULL;
	chunk = calloc(1, bytes);
	if (!chunk)
		return NULL;
	chunk->next = arena->chunks;
	arena->chunks = chunk;
	return chunk->data;
}

char *ipci_arena_printf(struct ipci_arena *arena, const char *format, ...)
{
	va_list args, again;
	char *text = NULL;
	int n;

	va_start(args, format);
	va_copy(again, args);
	n = vsnprintf(NULL, 0, format, args);
	if (n >= 0)
		text = ipci_arena_alloc(arena, (size_t)n + 1, 1);
	if (text)
		(void)vsnprintf(text, (size_t)n + 1, format, again);
	va_end(again);
	va_end(args);
	return text;
}
