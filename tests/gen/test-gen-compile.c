/* SPDX-License-Identifier: Apache-2.0 */
/* The compiler over binary schemas that flatc made, whole and spoilt. meson says where they are. */
#include "cleanup.h"
#include "compile.h"
#include "file.h"
#include "flatc.h"

#include <criterion/criterion.h>
#include <stdint.h>
#include <string.h>

static const char *const schemas[] = {TEST_EVERY, TEST_BROKER, TEST_ORDERS};
#define N_SCHEMAS (sizeof(schemas) / sizeof(*schemas))

static void load(size_t i, void **ret, size_t *size_bytes)
{
	static const char *const dirs[] = {TEST_INCLUDE, NULL};
	struct ipci_error error = {0};

	cr_assert_eq(ipci_flatc_run(schemas[i], dirs, ret, size_bytes, &error), 0, "%s",
		     error.text);
}

/* Compiles spoilt bytes: 1 where they still make a header. */
static size_t try(const void *data, size_t n)
{
	/* Exactly as large, for the sanitizer. */
	_cleanup_(freep) void *exact = malloc(n ? n : 1);
	_cleanup_(freep) char *text = NULL;
	struct ipci_error error = {0};
	int err;

	cr_assert_not_null(exact);
	memcpy(exact, data, n);
	err = ipci_compile("spoilt.bfbs", "spoilt", exact, n, &text, &error);
	cr_assert(err == 0 || err == -EINVAL);
	if (err) {
		cr_assert_null(text);
		cr_assert_eq(strncmp(error.text, "spoilt.bfbs: ", 13), 0, "%s", error.text);
	}
	return err == 0;
}

Test(gen_compile, the_same_schema_gives_the_same_header, .timeout = 30)
{
	for (size_t i = 0; i < N_SCHEMAS; i++) {
		_cleanup_(freep) void *data = NULL, *again = NULL;
		_cleanup_(freep) char *first = NULL, *second = NULL;
		size_t n, m;

		load(i, &data, &n);
		load(i, &again, &m);
		cr_assert_eq(ipci_compile("a.bfbs", "a", data, n, &first, NULL), 0);
		cr_assert_eq(ipci_compile("b.bfbs", "a", again, m, &second, NULL), 0);
		cr_assert_str_eq(first, second);
	}
}

Test(gen_compile, every_prefix_of_a_schema_is_refused, .timeout = 60)
{
	for (size_t i = 0; i < N_SCHEMAS; i++) {
		_cleanup_(freep) void *data = NULL;
		size_t n, n_good = 0;

		load(i, &data, &n);
		for (size_t m = 0; m < n - 4; m += 1 + m / 64)
			n_good += try(data, m);
		cr_assert_eq(n_good, 0);
	}
}

Test(gen_compile, spoilt_schemas_are_refused_or_compiled_but_never_crash, .timeout = 120)
{
	uint64_t state = 88172645463325252;
	size_t n_good = 0, n_tried = 0;

	for (size_t i = 0; i < N_SCHEMAS; i++) {
		_cleanup_(freep) unsigned char *bytes = NULL;
		_cleanup_(freep) void *data = NULL;
		size_t n;

		load(i, &data, &n);
		bytes = malloc(n);
		cr_assert_not_null(bytes);
		for (int round = 0; round < 1500; round++, n_tried++) {
			memcpy(bytes, data, n);
			for (unsigned int k = 0; k <= state % 3; k++) {
				state = state * 6364136223846793005 + 1442695040888963407;
				bytes[(state >> 32) % n] = (unsigned char)(state >> 24);
			}
			n_good += try(bytes, n);
		}
	}
	/* Some changes hit text or padding, most hit what matters. */
	cr_assert(n_good > 0 && n_good < n_tried);
}
