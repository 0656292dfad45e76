/* SPDX-License-Identifier: Apache-2.0 */
/* Read, check, name, write; each step relies on what the one before made sure of. */
#include "compile.h"
#include "cleanup.h"
#include "emit.h"

int ipci_compile(const char *file, const char *stem, const void *data, size_t size_bytes,
		 char **ret, struct ipci_error *error)
{
	struct ipci_schema schema;
	struct ipci_out out = {.schema = &schema, .error = error};
	int err;

	err = ipci_bfbs_read(&schema, file, data, size_bytes, error);
	if (!err)
		err = ipci_subset_check(&schema, error);
	if (!err)
		err = ipci_names_assign(&schema, error);
	if (!err) {
		ipci_emit(&out, stem);
		err = ipci_out_finish(&out);
	}
	if (!err)
		*ret = TAKE_PTR(out.text);
	ipci_out_deinit(&out);
	ipci_schema_deinit(&schema);
	return err;
}
