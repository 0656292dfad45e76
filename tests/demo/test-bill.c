/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "bill.h"

static struct placed placed;

static int total_of(const struct bill *bill)
{
	placed = (struct placed){.id = 99};
	return bill_total(bill, &placed);
}

Test(bill, quantity_times_price_is_added_up_over_lines, .timeout = 5)
{
	struct bill bill;

	bill_start(&bill, 7);
	bill_line(&bill, 3, (struct money){1, 500000000});
	bill_line(&bill, 1, (struct money){0, 999999999});
	cr_assert_eq(total_of(&bill), 0);
	cr_assert_eq(placed.id, 7);
	cr_assert_eq(placed.n_lines, 2);
	cr_assert_eq(placed.n_items, 4);
	cr_assert_eq(placed.total.units, 5);
	cr_assert_eq(placed.total.nanos, 499999999);
}

Test(bill, coupons_are_taken_off_but_never_below_nothing, .timeout = 5)
{
	struct bill bill;

	bill_start(&bill, 1);
	bill_line(&bill, 1, (struct money){10, 0});
	bill_coupon(&bill, 250);
	cr_assert_eq(total_of(&bill), 0);
	cr_assert_eq(placed.total.units, 7);
	cr_assert_eq(placed.total.nanos, 500000000);
	bill_coupon(&bill, UINT_MAX);
	cr_assert_eq(total_of(&bill), 0);
	cr_assert_eq(placed.total.units, 0);
	cr_assert_eq(placed.total.nanos, 0);
}

Test(bill, a_sum_that_does_not_fit_is_erange_and_keeps_ret, .timeout = 5)
{
	struct bill bill;

	bill_start(&bill, 1);
	bill_line(&bill, 1, (struct money){INT64_MAX, 999999999});
	cr_assert_eq(total_of(&bill), 0);
	cr_assert_eq(placed.total.units, INT64_MAX);
	bill_line(&bill, 1, (struct money){0, 1});
	cr_assert_eq(total_of(&bill), -ERANGE);
	cr_assert_eq(placed.id, 99);
}

Test(bill, sums_beyond_128_bits_are_erange, .timeout = 5)
{
	struct bill bill;

	bill_start(&bill, 1);
	for (int i = 0; i < 8; i++)
		bill_line(&bill, UINT_MAX, (struct money){INT64_MAX, 999999999});
	bill_coupon(&bill, UINT_MAX);
	cr_assert_eq(total_of(&bill), -ERANGE);
}

Test(bill, what_is_no_order_is_einval, .timeout = 5)
{
	static const struct money bad[] = {{-1, 0}, {0, -1}, {0, 1000000000}};
	struct bill bill;

	bill_start(&bill, 1);
	cr_assert_eq(total_of(&bill), -EINVAL, "no lines");
	bill_line(&bill, 0, (struct money){1, 0});
	cr_assert_eq(total_of(&bill), -EINVAL, "no items");
	for (size_t i = 0; i < 3; i++) {
		bill_start(&bill, 1);
		bill_line(&bill, 1, bad[i]);
		cr_assert_eq(total_of(&bill), -EINVAL, "price %zu", i);
	}
}

Test(bill, control_characters_in_text_are_einval_at_any_place, .timeout = 5)
{
	static const char text[] = "Søren Þórsdóttir, 佐藤 美咲 and the rest of a long name";

	for (size_t i = 0; i < sizeof(text) - 1; i++) {
		char copy[sizeof(text)];
		struct bill bill;

		memcpy(copy, text, sizeof(text));
		bill_start(&bill, 1);
		bill_line(&bill, 1, (struct money){1, 0});
		bill_text(&bill, copy, sizeof(text) - 1);
		cr_assert_eq(total_of(&bill), 0);
		copy[i] = i % 2 == 0 ? '\n' : '\x7f';
		bill_text(&bill, copy, sizeof(text) - 1);
		cr_assert_eq(total_of(&bill), -EINVAL, "at %zu", i);
	}
}

Test(bill, the_first_error_is_the_one_reported, .timeout = 5)
{
	struct bill bill;

	bill_start(&bill, 1);
	bill_text(&bill, "\t", 1);
	for (int i = 0; i < 8; i++)
		bill_line(&bill, UINT_MAX, (struct money){INT64_MAX, 0});
	cr_assert_eq(total_of(&bill), -EINVAL);
}

Test(totals, nanos_carry_into_units, .timeout = 5)
{
	struct totals totals = {0};
	struct totals expected = {2, 2, 10, {3, 400000000}};

	placed = (struct placed){1, 1, 5, {1, 700000000}};
	cr_assert_eq(totals_add(&totals, &placed), 0);
	cr_assert_eq(totals_add(&totals, &placed), 0);
	cr_assert(totals_equal(&totals, &expected));
	expected.money.nanos++;
	cr_assert_not(totals_equal(&totals, &expected));
}

Test(totals, overflow_is_erange_and_adds_nothing, .timeout = 5)
{
	struct totals totals = {.money = {INT64_MAX, 999999999}};
	const struct totals before = totals;

	placed = (struct placed){1, 1, 1, {0, 1}};
	cr_assert_eq(totals_add(&totals, &placed), -ERANGE);
	cr_assert(totals_equal(&totals, &before));
}
