/* SPDX-License-Identifier: Apache-2.0 */
/* A schema as ipc-gen knows it: what the .bfbs says, then C names and layouts. */
#ifndef IPCI_GEN_SCHEMA_H
#define IPCI_GEN_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arena.h"
#include "error.h"

#define IPCI_FIELDS_MAX 64	    /* of a table: a writer's mask has as many bits */
#define IPCI_ALIGN_MAX 8	    /* what a writer's room and a reader's message promise */
#define IPCI_INLINE_MAX_BYTES 32767 /* of a table or struct: offsets are 16 bits wide */

/* Numbered as in FlatBuffers' reflection. */
enum ipci_base {
	IPCI_NONE = 0,
	IPCI_UTYPE,
	IPCI_BOOL,
	IPCI_BYTE,
	IPCI_UBYTE,
	IPCI_SHORT,
	IPCI_USHORT,
	IPCI_INT,
	IPCI_UINT,
	IPCI_LONG,
	IPCI_ULONG,
	IPCI_FLOAT,
	IPCI_DOUBLE,
	IPCI_STRING,
	IPCI_VECTOR,
	IPCI_OBJECT,
	IPCI_UNION,
	IPCI_ARRAY,
	IPCI_N_BASES,
};

struct ipci_scalar {
	const char *name;    /* in the runtime: "uint32" */
	const char *c_type;  /* "uint32_t" */
	const char *literal; /* wraps a constant: "UINT32_C" */
	uint32_t bytes;
};

struct ipci_type {
	uint32_t base;	  /* enum ipci_base */
	uint32_t element; /* of a vector */
	int32_t index;	  /* of the enum or object; -1 none */
};

struct ipci_field {
	const char *name;
	const char *c_name;  /* with a trailing underscore where the plain name is taken */
	const char *doc;     /* "" or lines, each ended by a newline */
	const char *refused; /* an attribute that is not supported, or NULL */
	struct ipci_type type;
	uint32_t id;
	uint32_t offset; /* a struct's field: in the struct; a table's: in its inline part */
	uint32_t bytes;	 /* inline */
	uint32_t align;	 /* inline */
	int64_t default_integer;
	double default_real;
	bool deprecated, required, optional;
};

struct ipci_object {
	const char *name;
	const char *c_name;
	const char *doc;
	struct ipci_field *fields; /* by id, which for structs is the order of declaration */
	uint32_t n_fields;
	uint32_t align;
	uint32_t bytes;
	bool is_struct;
	bool padded;	  /* a struct with bytes that belong to no field */
	bool forced;	  /* a struct whose alignment was raised */
	uint8_t progress; /* of its layout */
};

struct ipci_value {
	const char *name;
	int64_t value;
};

struct ipci_enum {
	const char *name;
	const char *c_name;
	const char *doc;
	struct ipci_value *values;
	uint32_t n_values;
	uint32_t base;
	bool is_union;
};

struct ipci_rpc {
	const char *name;
	const char *c_name;
	const char *doc;
	const char *id_text;	    /* the id attribute, or NULL */
	const char *streaming;	    /* the streaming attribute, or NULL */
	uint32_t request, response; /* objects */
	uint32_t id;
};

struct ipci_service {
	const char *name;
	const char *c_name;
	const char *doc;
	struct ipci_rpc *calls;
	uint32_t n_calls;
};

struct ipci_schema {
	struct ipci_arena arena;
	const char *file; /* for messages */
	struct ipci_object *objects;
	struct ipci_enum *enums;
	struct ipci_service *services;
	uint32_t *structs; /* objects that are structs, each after those that it holds */
	uint32_t n_objects, n_enums, n_services, n_structs;
	int32_t root;  /* an object, or -1 */
	char ident[5]; /* the file identifier, or "" */
};

extern const struct ipci_scalar ipci_scalars[IPCI_N_BASES];

static inline bool ipci_is_scalar(uint32_t base)
{
	return base >= IPCI_BOOL && base <= IPCI_DOUBLE;
}

static inline bool ipci_is_integer(uint32_t base)
{
	return base >= IPCI_BYTE && base <= IPCI_ULONG;
}

/* Whether @value, as the .bfbs carries it, is one of the type's; ulong's upper half arrives
 * negative. */
bool ipci_in_range(uint32_t base, int64_t value);

/* Zeroes first: ipci_schema_deinit() is right after any result of ipci_bfbs_read(). */
void ipci_schema_deinit(struct ipci_schema *schema);

/* Reads a .bfbs, whatever its bytes are. @data is aligned to 8 bytes; nothing of it is kept.
 * -EINVAL, -ENOMEM. */
int ipci_bfbs_read(struct ipci_schema *schema, const char *file, const void *data,
		   size_t size_bytes, struct ipci_error *error);

/* Refuses what is not supported, lays out structs and tables, and numbers methods. -EINVAL,
 * -ENOMEM. */
int ipci_subset_check(struct ipci_schema *schema, struct ipci_error *error);

/* Gives everything its C name. -EINVAL, -ENOMEM. */
int ipci_names_assign(struct ipci_schema *schema, struct ipci_error *error);

#endif
