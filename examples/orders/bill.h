/* SPDX-License-Identifier: Apache-2.0 */
/* What an order costs: the shop's own logic, which knows nothing of how the order came. */
#ifndef ORDERS_BILL_H
#define ORDERS_BILL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct money {
	int64_t units;
	int32_t nanos; /* 0..999'999'999 */
};

/* The answer to an order that was placed. */
struct placed {
	uint64_t id;
	uint32_t n_lines;
	uint64_t n_items;
	struct money total;
};

/* An order being added up. Errors are sticky: bill_total() reports the first. */
struct bill {
	uint64_t id;
	uint64_t n_items;
	__extension__ __int128 nanos;
	uint64_t off_hundredths;
	uint32_t n_lines;
	int error;
};

void bill_start(struct bill *bill, uint64_t id);

/* Text that will be printed on a label: -EINVAL if it holds control characters. */
void bill_text(struct bill *bill, const char *text, size_t size_bytes);

/* One line: -EINVAL for no items, a negative price or impossible nanos; -ERANGE where the sum
 * overflows. */
void bill_line(struct bill *bill, uint32_t quantity, struct money price);

/* A coupon of @hundredths of a unit. All coupons together take off at most what the lines add up
 * to. */
void bill_coupon(struct bill *bill, uint32_t hundredths);

/* 0 and the answer; -EINVAL, -ERANGE as above, -EINVAL also for an order without lines. */
int bill_total(const struct bill *bill, struct placed *ret);

/* Totals of many orders, for comparing: 0, or -ERANGE and nothing added. */
struct totals {
	uint64_t n_orders;
	uint64_t n_lines;
	uint64_t n_items;
	struct money money;
};

int totals_add(struct totals *totals, const struct placed *placed);
bool totals_equal(const struct totals *a, const struct totals *b);
bool placed_equal(const struct placed *a, const struct placed *b);

#endif
