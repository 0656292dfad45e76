/* SPDX-License-Identifier: Apache-2.0 */
/* Memory that is given back all at once: what one run of the compiler learns from one schema. */
#ifndef IPCI_GEN_ARENA_H
#define IPCI_GEN_ARENA_H

#include <stddef.h>

struct ipci_arena {
	struct ipci_chunk *chunks;
};

void ipci_arena_deinit(struct ipci_arena *arena);

/* @n zeroed objects of @size bytes, or NULL. */
void *ipci_arena_alloc(struct ipci_arena *arena, size_t n, size_t size);

/* A formatted string, or NULL. */
__attribute__((__format__(__printf__, 2, 3))) char *ipci_arena_printf(struct ipci_arena *arena,
								      const char *format, ...);

#endif
