/* SPDX-License-Identifier: Apache-2.0 */
/* What a test's child asks for and answers; and a system call that is refused from now on. */
#ifndef IPCI_TESTS_LOOP_CHILD_H
#define IPCI_TESTS_LOOP_CHILD_H

#include <errno.h>
#include <seccomp.h>
#include <sys/wait.h>
#include <unistd.h>

#include <criterion/criterion.h>

/* Says the line. */
#define CHILD_ASSERT(condition)                                                                    \
	do {                                                                                       \
		if (!(condition))                                                                  \
			_exit(__LINE__ % 255 + 1);                                                 \
	} while (0)

static inline void assert_child_succeeds(pid_t child)
{
	int status;

	cr_assert_gt(child, 0);
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %#x", status);
}

/* For this thread, for good, and with that error. 0 or -errno. */
static inline int refuse(int syscall_number, int error)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
	int r = filter ? seccomp_rule_add(filter, SCMP_ACT_ERRNO((unsigned)error), syscall_number,
					  0)
		       : -ENOMEM;

	if (r == 0)
		r = seccomp_load(filter);
	seccomp_release(filter);
	return r;
}

#endif
