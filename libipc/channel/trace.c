/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "trace.h"

/* Where the four fields' bytes begin in the text; the dashes lie between. */
static const struct {
	uint8_t text, bytes, n;
} fields[] = {{0, 0, 1}, {3, 1, 16}, {36, 17, 8}, {53, 25, 1}};

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool all_zero(const uint8_t *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (bytes[i])
			return false;
	return true;
}

bool ipci_trace_parse(const char *text, uint8_t ret[IPCI_TRACE_BYTES])
{
	uint8_t trace[IPCI_TRACE_BYTES];

	if (strnlen(text, IPCI_TRACE_TEXT_BYTES) != IPCI_TRACE_TEXT_BYTES - 1)
		return false;
	if (text[2] != '-' || text[35] != '-' || text[52] != '-')
		return false;
	for (unsigned f = 0; f < 4; f++) {
		for (unsigned i = 0; i < fields[f].n; i++) {
			int high = hex_digit(text[fields[f].text + 2 * i]);
			int low = hex_digit(text[fields[f].text + 2 * i + 1]);

			if (high < 0 || low < 0)
				return false;
			trace[fields[f].bytes + i] = (uint8_t)(high << 4 | low);
		}
	}
	/* Version 00 alone; an all-zero trace id or parent id is invalid. */
	if (trace[0] != 0 || all_zero(trace + 1, 16) || all_zero(trace + 17, 8))
		return false;
	memcpy(ret, trace, sizeof(trace));
	return true;
}

void ipci_trace_format(const uint8_t trace[IPCI_TRACE_BYTES], char ret[IPCI_TRACE_TEXT_BYTES])
{
	static const char digits[] = "0123456789abcdef";

	memset(ret, '-', IPCI_TRACE_TEXT_BYTES - 1);
	ret[IPCI_TRACE_TEXT_BYTES - 1] = '\0';
	for (unsigned f = 0; f < 4; f++) {
		for (unsigned i = 0; i < fields[f].n; i++) {
			ret[fields[f].text + 2 * i] = digits[trace[fields[f].bytes + i] >> 4];
			ret[fields[f].text + 2 * i + 1] = digits[trace[fields[f].bytes + i] & 15];
		}
	}
}
