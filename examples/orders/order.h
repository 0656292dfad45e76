/* SPDX-License-Identifier: Apache-2.0 */
/* An order in memory, as orders.fbs has it, and its JSON. */
#ifndef ORDERS_ORDER_H
#define ORDERS_ORDER_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "bill.h"

struct text {
	const char *data; /* NULL: absent */
	size_t size_bytes;
};

struct order_line {
	struct text sku;
	struct money price;
	uint32_t quantity;
	uint32_t n_tags;
	const struct text *tags;
};

struct order {
	uint64_t id;
	struct text customer;
	struct text note;
	struct order_line *lines;
	uint32_t *coupons;
	struct text *tags; /* of all lines */
	size_t n_lines, n_coupons;
	uint8_t priority;
	json_t *json; /* owns all text */
};

extern const char *const order_priorities[3];

/* Takes the reference to @json, whatever happens. 0, or -EINVAL: not an order; -ENOMEM. */
int order_from_json(struct order *ret, json_t *json);
void order_deinit(struct order *order);

/* A new reference, or NULL without memory. */
json_t *order_to_json(const struct order *order);

void order_bill(const struct order *order, struct bill *bill);

/* One order a line. On failure says why on stderr. */
int orders_load(const char *path, struct order **ret, size_t *ret_n);
void orders_free(struct order *orders, size_t n);

#endif
