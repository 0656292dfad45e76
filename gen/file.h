/* SPDX-License-Identifier: Apache-2.0 */
/* Whole files. */
#ifndef IPCI_GEN_FILE_H
#define IPCI_GEN_FILE_H

#include <stddef.h>

#include "error.h"

/*
 * @ret is free()d by the caller; a NUL that is not counted follows the data. -EFBIG above @max_bytes, else what the
 * system says.
 */
int ipci_file_read(const char *path, size_t max_bytes, void **ret, size_t *size_bytes,
		   struct ipci_error *error);

/* Replaces @path at once or not at all. */
int ipci_file_write(const char *path, const char *data, size_t size_bytes,
		    struct ipci_error *error);

#endif
