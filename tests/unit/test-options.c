/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include <criterion/criterion.h>

#include "objects.h"

/* What this library knows, what an older header knew, and what a newer one will. */
struct known {
	size_t size;
	uint32_t flags, limit;
	uint64_t timeout_ns;
};

struct older {
	size_t size;
	uint32_t flags;
};

struct newer {
	struct known known;
	uint64_t more[4];
};

Test(options, none_are_the_defaults, .timeout = 5)
{
	struct known opts, zero = {0};

	memset(&opts, 0xff, sizeof(opts));
	cr_assert_eq(ipci_opts_copy(&opts, sizeof(opts), NULL), 0);
	cr_assert_eq(memcmp(&opts, &zero, sizeof(opts)), 0);
}

Test(options, of_the_same_size_are_copied, .timeout = 5)
{
	struct known opts, given = {sizeof(given), 1, 2, 3};

	cr_assert_eq(ipci_opts_copy(&opts, sizeof(opts), &given), 0);
	cr_assert_eq(memcmp(&opts, &given, sizeof(opts)), 0);
}

Test(options, of_an_older_header_are_completed_with_defaults, .timeout = 5)
{
	struct known opts;
	struct older *given = calloc(1, sizeof(*given)); /* nothing behind it may be read */

	cr_assert_not_null(given);
	given->size = sizeof(*given);
	given->flags = 7;
	memset(&opts, 0xff, sizeof(opts));
	cr_assert_eq(ipci_opts_copy(&opts, sizeof(opts), given), 0);
	cr_assert_eq(opts.flags, 7);
	cr_assert_eq(opts.timeout_ns, 0);
	free(given);
}

Test(options, of_every_size_set_what_they_hold_and_no_more, .timeout = 5)
{
	for (size_t size = sizeof(size_t); size <= sizeof(struct known); size++) {
		unsigned char *given = malloc(size);
		struct known opts;

		cr_assert_not_null(given);
		memset(given, 0xee, size);
		memcpy(given, &size, sizeof(size));
		memset(&opts, 0xff, sizeof(opts));
		cr_assert_eq(ipci_opts_copy(&opts, sizeof(opts), given), 0);
		cr_assert_eq(memcmp(&opts, given, size), 0);
		for (size_t i = size; i < sizeof(opts); i++)
			cr_assert_eq(((unsigned char *)&opts)[i], 0);
		free(given);
	}
}

Test(options, of_a_newer_header_may_use_what_is_known, .timeout = 5)
{
	struct known opts;
	struct newer given = {.known = {sizeof(given), 1, 2, 3}};

	cr_assert_eq(ipci_opts_copy(&opts, sizeof(opts), &given), 0);
	cr_assert_eq(opts.flags, 1);
	cr_assert_eq(opts.limit, 2);
	cr_assert_eq(opts.timeout_ns, 3);
}

Test(options, of_a_newer_header_may_not_use_what_is_unknown, .timeout = 5)
{
	for (size_t i = 0; i < sizeof(uint64_t[4]); i++) {
		struct newer given = {.known = {.size = sizeof(given)}};
		struct known opts;

		((unsigned char *)given.more)[i] = 1;
		cr_assert_eq(ipci_opts_copy(&opts, sizeof(opts), &given), -E2BIG, "byte %zu", i);
	}
}

Test(options, without_a_plausible_size_are_refused, .timeout = 5)
{
	static const size_t sizes[] = {0, 1, sizeof(size_t) - 1, 4097, SIZE_MAX};
	struct known opts, given = {0};

	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		given.size = sizes[i];
		cr_assert_eq(ipci_opts_copy(&opts, sizeof(opts), &given), -EINVAL, "%zu", sizes[i]);
	}
}

Test(options, of_a_page_are_the_largest, .timeout = 5)
{
	static union {
		size_t size;
		unsigned char bytes[4096];
	} given;
	struct known opts;

	given.size = sizeof(given);
	cr_assert_eq(ipci_opts_copy(&opts, sizeof(opts), &given), 0);
	given.bytes[4095] = 1;
	cr_assert_eq(ipci_opts_copy(&opts, sizeof(opts), &given), -E2BIG);
}
