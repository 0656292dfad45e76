/* SPDX-License-Identifier: Apache-2.0 */
/* The same order by ipc-gen's code (order.c) and by flatbuffers' own (bench-flatbuffers.cc). */
#ifndef BENCH_ORDER_H
#define BENCH_ORDER_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ORDER_ID 4711u
#define ORDER_CUSTOMER "Ada Lovelace, 12 St James's Square"
#define ORDER_SKU "SKU-0001-BLUE"
#define ORDER_PRICE_UNITS 12
#define ORDER_PRICE_NANOS 990000000
#define ORDER_TAGS 2u
#define ORDER_TAG "fragile"

/* Line @i's quantity is i + 2. The bytes it took; 0: no room. */
size_t order_write(void *room, size_t bytes, unsigned int n_lines);

/* All fields read: numbers and lengths added up. 0: it is malformed. */
uint64_t order_read(const void *data, size_t bytes);

#ifdef __cplusplus
}
#endif

#endif
