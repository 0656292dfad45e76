// SPDX-License-Identifier: Apache-2.0
#include <ctype.h>
#include <limits.h>
#include <string.h>

#include <criterion/criterion.h>
#include <ipc/status.h>
#include <ipc/version.h>

Test(status, every_status_has_its_own_name, .timeout = 5)
{
	for (int a = IPC_OK; a <= IPC_UNAUTHENTICATED; a++) {
		const char *name = ipc_status_name(a);

		cr_assert_not_null(name);
		for (const char *c = name; *c; c++)
			cr_assert(isupper(*c) || *c == '_', "%s", name);
		for (int b = IPC_OK; b < a; b++)
			cr_assert_str_neq(name, ipc_status_name(b));
	}
	cr_assert_str_eq(ipc_status_name(IPC_UNAVAILABLE), "UNAVAILABLE");
}

Test(status, what_is_no_status_is_named_so, .timeout = 5)
{
	cr_assert_str_eq(ipc_status_name(-1), "?");
	cr_assert_str_eq(ipc_status_name(IPC_UNAUTHENTICATED + 1), "?");
	cr_assert_str_eq(ipc_status_name(INT_MAX), "?");
	cr_assert_str_eq(ipc_status_name(INT_MIN), "?");
}

Test(status, the_library_has_the_headers_version, .timeout = 5)
{
	cr_assert_str_eq(ipc_version(), IPC_VERSION);
}
