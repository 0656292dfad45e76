/* SPDX-License-Identifier: Apache-2.0 */
/* Writes the header. Each part knows one kind of thing in a schema; all share the variables below.
 */
#ifndef IPCI_GEN_EMIT_H
#define IPCI_GEN_EMIT_H

#include "out.h"

#define IPCI_FIELD_VARS 16

/* The whole header of a schema that was checked and named. @stem: what its include guard ends in.
 */
void ipci_emit(struct ipci_out *out, const char *stem);

/* Comments of the schema above what follows. */
void ipci_emit_doc(struct ipci_out *out, const char *doc, const char *indent);

/* What templates may say of a field of the table or struct @o. */
void ipci_emit_field_vars(struct ipci_out *out, const struct ipci_object *o,
			  const struct ipci_field *f, struct ipci_var vars[IPCI_FIELD_VARS]);

void ipci_emit_struct(struct ipci_out *out, const struct ipci_object *o);
void ipci_emit_table_types(struct ipci_out *out, const struct ipci_object *o);
void ipci_emit_readers(struct ipci_out *out, const struct ipci_object *o);
void ipci_emit_walk(struct ipci_out *out, const struct ipci_object *o);
void ipci_emit_shape(struct ipci_out *out, const struct ipci_object *o);
void ipci_emit_writers(struct ipci_out *out, const struct ipci_object *o);
void ipci_emit_service(struct ipci_out *out, const struct ipci_service *service);

#endif
