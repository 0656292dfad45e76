// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>

#include "clock.h"

Test(clock, time_never_goes_back, .timeout = 5)
{
	uint64_t last = ipci_now_ns();

	cr_assert_gt(last, 0);
	for (int i = 0; i < 1000; i++) {
		uint64_t now = ipci_now_ns();

		cr_assert_geq(now, last);
		last = now;
	}
}

Test(clock, a_deadline_lies_a_timeout_ahead, .timeout = 5)
{
	uint64_t before = ipci_now_ns(), deadline = ipci_deadline_ns(5000);

	cr_assert_geq(deadline, before + 5000);
	cr_assert_leq(deadline, ipci_now_ns() + 5000);
}

Test(clock, a_deadline_that_would_overflow_is_never, .timeout = 5)
{
	cr_assert_eq(ipci_deadline_ns(IPCI_NEVER), IPCI_NEVER);
	cr_assert_eq(ipci_deadline_ns(IPCI_NEVER - 1), IPCI_NEVER);
	cr_assert_lt(ipci_deadline_ns(IPCI_NEVER / 2), IPCI_NEVER);
}

Test(clock, what_remains_is_never_negative_and_endless_without_a_deadline, .timeout = 5)
{
	cr_assert_eq(ipci_remaining_ns(100, 40), 60);
	cr_assert_eq(ipci_remaining_ns(100, 100), 0);
	cr_assert_eq(ipci_remaining_ns(100, 101), 0);
	cr_assert_eq(ipci_remaining_ns(0, IPCI_NEVER), 0);
	cr_assert_eq(ipci_remaining_ns(IPCI_NEVER, 7), IPCI_NEVER);
}

Test(clock, a_timespec_splits_at_the_second, .timeout = 5)
{
	struct timespec time = ipci_timespec(3 * IPCI_NS_PER_S + 999999999);

	cr_assert_eq(time.tv_sec, 3);
	cr_assert_eq(time.tv_nsec, 999999999);
	time = ipci_timespec(0);
	cr_assert_eq(time.tv_sec, 0);
	cr_assert_eq(time.tv_nsec, 0);
}
