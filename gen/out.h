/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Text that is being generated: templates with @name@ for a variable, and $ before an identifier
 * that is defined there, so that two things that need the same C name are found where they are
 * written. Errors are sticky.
 */
#ifndef IPCI_GEN_OUT_H
#define IPCI_GEN_OUT_H

#include <stddef.h>

#include "schema.h"

struct ipci_var {
	const char *name;
	const char *value;
};

struct ipci_defined {
	const char *name;
	const char *subject;
};

struct ipci_out {
	struct ipci_schema *schema;
	struct ipci_error *error;
	const char *subject; /* what of the schema is being written, for messages */
	char *text;
	size_t n_bytes, capacity;
	struct ipci_defined *defined;
	size_t n_defined, defined_capacity;
	int err;
};

void ipci_out_deinit(struct ipci_out *out);

/* Appends a template, expanded; @vars ends with an empty one. */
void ipci_out_put(struct ipci_out *out, const struct ipci_var *vars, const char *format);

/* Appends formatted text. */
__attribute__((__format__(__printf__, 2, 3))) void ipci_out_printf(struct ipci_out *out,
								   const char *format, ...);

/* A formatted string that lives as long as the schema; "" after an error. */
__attribute__((__format__(__printf__, 2, 3))) const char *ipci_out_text(struct ipci_out *out,
									const char *format, ...);

/* Ends the text: 0, or the first error. -EINVAL where a name is defined twice or is not free in C.
 */
int ipci_out_finish(struct ipci_out *out);

#endif
