// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <string.h>

#include <criterion/criterion.h>

#include "error.h"

Test(error, a_failure_is_recorded_and_returned, .timeout = 5)
{
	struct ipci_error error = {0};

	cr_assert_eq(ipci_error_set(&error, -EPROTO, "%s of %d", "frame", 7), -EPROTO);
	cr_assert_eq(error.code, -EPROTO);
	cr_assert_str_eq(error.text, "frame of 7");
}

Test(error, nobody_need_listen, .timeout = 5)
{
	cr_assert_eq(ipci_error_set(NULL, -EPROTO, "unheard"), -EPROTO);
	errno = ENOMEM;
	cr_assert_eq(ipci_error_errno(NULL, "unheard"), -ENOMEM);
}

Test(error, a_system_calls_failure_has_its_words, .timeout = 5)
{
	struct ipci_error error = {0};

	errno = ENOENT;
	cr_assert_eq(ipci_error_errno(&error, "cannot open %s", "x"), -ENOENT);
	cr_assert_eq(error.code, -ENOENT);
	cr_assert_str_eq(error.text, "cannot open x: No such file or directory");
}

Test(error, what_does_not_fit_is_cut, .timeout = 5)
{
	char text[2 * IPCI_ERROR_TEXT_BYTES];
	struct ipci_error error = {0};

	memset(text, 'a', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	ipci_error_set(&error, -EINVAL, "%s", text);
	cr_assert_eq(strlen(error.text), IPCI_ERROR_TEXT_BYTES - 1);
	errno = EINVAL;
	ipci_error_errno(&error, "%s", text);
	cr_assert_eq(strlen(error.text), IPCI_ERROR_TEXT_BYTES - 1);
}

Test(error, control_characters_of_a_stranger_stay_on_the_line, .timeout = 5)
{
	struct ipci_error error = {0};

	ipci_error_set(&error, -EINVAL, "name %s", "a\nb\x1b[2Jc\x7f\xc3\xa9");
	cr_assert_str_eq(error.text, "name a?b?[2Jc?\xc3\xa9");
}
