/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An order is read once, front to back, from whatever carries it: FlatBuffers in shared memory or
 * JSON. What was read is handed in here piece by piece, so both servers and the client's own check
 * share every rule, and no order is ever copied for its price. Integers only: a line is at most
 * 2^32 times 2^63 units of 10^9, below 2^126 in nanos, so each product fits 128 bits and only sums
 * need checking.
 */
#include "bill.h"

#include <errno.h>

#define NANOS_PER_UNIT 1000000000
#define NANOS_PER_HUNDREDTH (NANOS_PER_UNIT / 100)

__extension__ typedef __int128 int128;

static void bill_fail(struct bill *bill, int error)
{
	if (bill->error == 0)
		bill->error = error;
}

void bill_start(struct bill *bill, uint64_t id)
{
	*bill = (struct bill){.id = id};
}

void bill_text(struct bill *bill, const char *text, size_t size_bytes)
{
	unsigned int n_control = 0;

	/* Without an early exit, so that the compiler can look at many bytes at once. */
	for (size_t i = 0; i < size_bytes; i++) {
		unsigned char c = (unsigned char)text[i];

		n_control |= (unsigned int)(c < 0x20) | (unsigned int)(c == 0x7f);
	}
	if (n_control != 0)
		bill_fail(bill, -EINVAL);
}

static bool money_ok(struct money price)
{
	return price.units >= 0 && price.nanos >= 0 && price.nanos < NANOS_PER_UNIT;
}

void bill_line(struct bill *bill, uint32_t quantity, struct money price)
{
	int128 nanos;

	if (quantity == 0 || !money_ok(price)) {
		bill_fail(bill, -EINVAL);
		return;
	}
	nanos = quantity * ((int128)price.units * NANOS_PER_UNIT + price.nanos);
	if (__builtin_add_overflow(bill->nanos, nanos, &bill->nanos) ||
	    __builtin_add_overflow(bill->n_items, quantity, &bill->n_items) ||
	    __builtin_add_overflow(bill->n_lines, 1, &bill->n_lines))
		bill_fail(bill, -ERANGE);
}

void bill_coupon(struct bill *bill, uint32_t hundredths)
{
	if (__builtin_add_overflow(bill->off_hundredths, hundredths, &bill->off_hundredths))
		bill_fail(bill, -ERANGE);
}

int bill_total(const struct bill *bill, struct placed *ret)
{
	int128 off = (int128)bill->off_hundredths * NANOS_PER_HUNDREDTH;
	int128 nanos = bill->nanos > off ? bill->nanos - off : 0;

	if (bill->error != 0)
		return bill->error;
	if (bill->n_lines == 0)
		return -EINVAL;
	if (nanos / NANOS_PER_UNIT > INT64_MAX)
		return -ERANGE;
	*ret = (struct placed){
		.id = bill->id,
		.n_lines = bill->n_lines,
		.n_items = bill->n_items,
		.total = {(int64_t)(nanos / NANOS_PER_UNIT), (int32_t)(nanos % NANOS_PER_UNIT)},
	};
	return 0;
}

int totals_add(struct totals *totals, const struct placed *placed)
{
	struct totals sum = *totals;

	sum.money.nanos += placed->total.nanos;
	if (__builtin_add_overflow(sum.n_orders, 1, &sum.n_orders) ||
	    __builtin_add_overflow(sum.n_lines, placed->n_lines, &sum.n_lines) ||
	    __builtin_add_overflow(sum.n_items, placed->n_items, &sum.n_items) ||
	    __builtin_add_overflow(sum.money.units, placed->total.units, &sum.money.units) ||
	    __builtin_add_overflow(sum.money.units, sum.money.nanos / NANOS_PER_UNIT,
				   &sum.money.units))
		return -ERANGE;
	sum.money.nanos %= NANOS_PER_UNIT;
	*totals = sum;
	return 0;
}

static bool money_equal(struct money a, struct money b)
{
	return a.units == b.units && a.nanos == b.nanos;
}

bool totals_equal(const struct totals *a, const struct totals *b)
{
	return a->n_orders == b->n_orders && a->n_lines == b->n_lines && a->n_items == b->n_items &&
	       money_equal(a->money, b->money);
}

bool placed_equal(const struct placed *a, const struct placed *b)
{
	return a->id == b->id && a->n_lines == b->n_lines && a->n_items == b->n_items &&
	       money_equal(a->total, b->total);
}
