/* SPDX-License-Identifier: Apache-2.0 */
/* FlatBuffers' own compiler, as the front end. */
#ifndef IPCI_GEN_FLATC_H
#define IPCI_GEN_FLATC_H

#include <stddef.h>

#include "error.h"

/*
 * Compiles the schema at @path into a .bfbs in memory, looking for what it includes in
 * @include_dirs, which ends with NULL. flatc's own messages go to stderr. @ret is free()d by the
 * caller. -EINVAL flatc refused the schema; -ENOENT there is no flatc; else what the system says.
 */
int ipci_flatc_run(const char *path, const char *const *include_dirs, void **ret,
		   size_t *size_bytes, struct ipci_error *error);

#endif
