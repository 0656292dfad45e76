/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <string.h>

#include "trace.h"

static const char good[] = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
static const uint8_t good_bytes[IPCI_TRACE_BYTES] = {0x00, 0x0a, 0xf7, 0x65, 0x19, 0x16, 0xcd,
						     0x43, 0xdd, 0x84, 0x48, 0xeb, 0x21, 0x1c,
						     0x80, 0x31, 0x9c, 0xb7, 0xad, 0x6b, 0x71,
						     0x69, 0x20, 0x33, 0x31, 0x01};

static void refuse(const char *text)
{
	uint8_t trace[IPCI_TRACE_BYTES], before[IPCI_TRACE_BYTES];

	memset(trace, 0xa5, sizeof(trace));
	memcpy(before, trace, sizeof(trace));
	cr_assert(!ipci_trace_parse(text, trace), "accepted: %s", text);
	cr_assert_eq(memcmp(trace, before, sizeof(trace)), 0, "written to by: %s", text);
}

/* The good one with one character changed. */
static void refuse_with(unsigned at, char c)
{
	char text[sizeof(good)];

	memcpy(text, good, sizeof(good));
	text[at] = c;
	refuse(text);
}

Test(trace, a_traceparent_becomes_26_bytes, .timeout = 5)
{
	uint8_t trace[IPCI_TRACE_BYTES];

	cr_assert(ipci_trace_parse(good, trace));
	cr_assert_eq(memcmp(trace, good_bytes, sizeof(trace)), 0);
}

Test(trace, the_26_bytes_become_the_same_text, .timeout = 5)
{
	char text[IPCI_TRACE_TEXT_BYTES + 1];

	memset(text, 'x', sizeof(text));
	ipci_trace_format(good_bytes, text);
	cr_assert_str_eq(text, good);
	cr_assert_eq(text[IPCI_TRACE_TEXT_BYTES], 'x');
}

Test(trace, every_byte_goes_there_and_back, .timeout = 5)
{
	uint8_t trace[IPCI_TRACE_BYTES], back[IPCI_TRACE_BYTES];
	char text[IPCI_TRACE_TEXT_BYTES];

	for (unsigned value = 0; value < 256; value++) {
		for (unsigned i = 1; i < IPCI_TRACE_BYTES; i++) {
			memcpy(trace, good_bytes, sizeof(trace));
			trace[i] = (uint8_t)value;
			ipci_trace_format(trace, text);
			cr_assert_eq(strlen(text), IPCI_TRACE_TEXT_BYTES - 1);
			cr_assert(ipci_trace_parse(text, back), "%s", text);
			cr_assert_eq(memcmp(back, trace, sizeof(back)), 0, "%s", text);
		}
	}
}

Test(trace, another_length_is_refused, .timeout = 5)
{
	char text[2 * sizeof(good)];

	for (unsigned n = 0; n < sizeof(good) - 1; n++) {
		memcpy(text, good, n);
		text[n] = '\0';
		refuse(text);
	}
	memcpy(text, good, sizeof(good));
	memcpy(text + sizeof(good) - 1, "-", 2);
	refuse(text);
	memcpy(text + sizeof(good) - 1, "0", 2);
	refuse(text);
	memcpy(text + sizeof(good) - 1, "-what-the-future-will-bring", 28);
	refuse(text);
}

Test(trace, other_characters_are_refused_everywhere, .timeout = 5)
{
	for (unsigned at = 0; at < sizeof(good) - 1; at++) {
		for (unsigned c = 1; c < 256; c++) {
			bool digit = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
			bool dash = at == 2 || at == 35 || at == 52;

			/* Upper case is refused as well: the header's digits are lower case. */
			if (dash ? c != '-' : !digit)
				refuse_with(at, (char)c);
		}
	}
}

Test(trace, other_versions_are_refused, .timeout = 5)
{
	refuse_with(1, '1');
	refuse_with(0, '1');
	refuse("ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
}

Test(trace, ids_of_zeros_are_refused, .timeout = 5)
{
	refuse("00-00000000000000000000000000000000-b7ad6b7169203331-01");
	refuse("00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01");
	refuse("00-00000000000000000000000000000000-0000000000000000-00");
}

Test(trace, a_single_bit_makes_an_id_valid_and_flags_may_be_zero, .timeout = 5)
{
	uint8_t trace[IPCI_TRACE_BYTES];

	cr_assert(
		ipci_trace_parse("00-00000000000000000000000000000001-8000000000000000-00", trace));
	cr_assert_eq(trace[16], 1);
	cr_assert_eq(trace[17], 0x80);
	cr_assert_eq(trace[25], 0);
}
