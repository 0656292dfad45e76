/* SPDX-License-Identifier: Apache-2.0 */
/* The compiler proper: a binary schema in, a header out, nothing but memory in between. */
#ifndef IPCI_GEN_COMPILE_H
#define IPCI_GEN_COMPILE_H

#include <stddef.h>

#include "error.h"

/*
 * @file: for messages; @stem: what the include guard ends in; @data: the .bfbs, whatever its bytes
 * are, aligned to 8.
 * @ret is the header's text, free()d by the caller. -EINVAL it was refused; -ENOMEM.
 */
int ipci_compile(const char *file, const char *stem, const void *data, size_t size_bytes,
		 char **ret, struct ipci_error *error);

#endif
