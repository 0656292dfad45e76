/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Options structs grow at their end. A caller compiled against an older header passes a shorter
 * one, whose missing part is zero, the default; one compiled against a newer header may use what
 * this library knows and no more.
 */
#include <string.h>

#include "objects.h"

int ipci_opts_copy(void *ret, size_t size, const void *opts)
{
	const unsigned char *bytes = opts;
	size_t given;

	memset(ret, 0, size);
	if (!opts)
		return 0;
	memcpy(&given, opts, sizeof(given));
	if (given < sizeof(size_t) || given > 4096)
		return -EINVAL;
	for (size_t i = size; i < given; i++)
		if (bytes[i])
			return -E2BIG;
	memcpy(ret, opts, given < size ? given : size);
	return 0;
}
