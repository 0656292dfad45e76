/* SPDX-License-Identifier: Apache-2.0 */
/* That it is a fence for the other side's CPU is tests/stress; here: who may use it, and who not. */
#include <errno.h>
#include <sys/wait.h>
#include <unistd.h>

#include <criterion/criterion.h>
#include <linux/membarrier.h>
#include <seccomp.h>

#include "budget.h"
#include "membarrier.h"

Test(membarrier, is_registered_for_as_often_as_one_likes, .timeout = 5)
{
	if (!ipci_membarrier_register())
		cr_skip("membarrier(2) is refused here");
	cr_assert(ipci_membarrier_register());
	cr_assert_eq(ipci_membarrier(), 0);
}

/* Is it said to work in a process where @command alone is refused? */
static bool works_without(int command)
{
	int status;
	pid_t child = fork();

	if (child == 0) {
		scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);

		if (!filter ||
		    seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(membarrier), 1,
				     SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)command)) < 0 ||
		    seccomp_load(filter) < 0)
			_exit(2);
		_exit(ipci_membarrier_register());
	}
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) < 2);
	return WEXITSTATUS(status);
}

Test(membarrier, is_not_relied_on_where_a_filter_refuses_any_of_it, .timeout = 20)
{
	cr_assert(!works_without(MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED));
	cr_assert(!works_without(MEMBARRIER_CMD_GLOBAL_EXPEDITED));
}

Test(budget, is_as_much_as_it_says_a_period_and_no_more, .timeout = 5)
{
	struct ipci_budget budget = {0};
	unsigned n = 0;

	for (uint64_t now_ns = 5000; now_ns < 6000; now_ns++)
		n += ipci_budget_take(&budget, now_ns, 100, 7);
	cr_assert_eq(n, 10 * 7);
}
