/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Judges a schema that was read: what is not supported is refused, with file, type and reason; what
 * is gets its layout and method numbers. After this, indices, ids and sizes can be relied on.
 *
 * A table's inline part: four bytes for the vtable's offset, then the fields, widest first. The
 * table is placed such that what follows the four bytes is aligned, so there is no padding inside.
 */
#include "schema.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ipc/service.h>

enum { UNTOUCHED = 0, UNDERWAY, DONE };

struct check {
	struct ipci_schema *schema;
	struct ipci_error *error;
};

__attribute__((__format__(__printf__, 3, 4))) static int refuse(struct check *c, const char *what,
								const char *format, ...);

static int refuse(struct check *c, const char *what, const char *format, ...)
{
	char why[256];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(why, sizeof(why), format, args);
	va_end(args);
	return ipci_error_set(c->error, -EINVAL, "%s: %s: %s", c->schema->file, what, why);
}

static int refuse_field(struct check *c, const struct ipci_object *o, const struct ipci_field *f,
			const char *why)
{
	return ipci_error_set(c->error, -EINVAL, "%s: %s.%s: %s", c->schema->file, o->name, f->name,
			      why);
}

/* A scalar that may name an enum. */
static const char *bad_scalar(const struct ipci_schema *schema, uint32_t base, int32_t index)
{
	if (index < -1 || (index >= 0 && (uint32_t)index >= schema->n_enums))
		return "malformed binary schema: no such enum";
	if (index >= 0 && (schema->enums[index].is_union || schema->enums[index].base != base))
		return "malformed binary schema: not the enum's type";
	return NULL;
}

static const char *bad_object(const struct ipci_schema *schema, int32_t index)
{
	if (index < 0 || (uint32_t)index >= schema->n_objects)
		return "malformed binary schema: no such type";
	return NULL;
}

static const char *bad_vector(const struct ipci_schema *schema, const struct ipci_type *type)
{
	if (ipci_is_scalar(type->element))
		return bad_scalar(schema, type->element, type->index);
	switch (type->element) {
	case IPCI_STRING:
		return NULL;
	case IPCI_OBJECT:
		return bad_object(schema, type->index);
	case IPCI_UTYPE:
	case IPCI_UNION:
		return "vectors of unions are not supported";
	default:
		return "this kind of vector is not supported";
	}
}

/* Why a table's field cannot be compiled, or NULL. */
static const char *bad_field(const struct ipci_schema *schema, const struct ipci_field *f)
{
	if (f->refused && strcmp(f->refused, "nested_flatbuffer") == 0)
		return "nested_flatbuffer is not supported";
	if (f->refused && strcmp(f->refused, "flexbuffer") == 0)
		return "flexbuffer is not supported";
	if (f->refused)
		return "force_align is not supported on fields";
	if (ipci_is_scalar(f->type.base)) {
		if (f->optional)
			return "optional scalars are not supported";
		if (!ipci_in_range(f->type.base, f->default_integer))
			return "malformed binary schema: the default is out of range";
		return bad_scalar(schema, f->type.base, f->type.index);
	}
	switch (f->type.base) {
	case IPCI_STRING:
		return NULL;
	case IPCI_VECTOR:
		return bad_vector(schema, &f->type);
	case IPCI_OBJECT:
		return bad_object(schema, f->type.index);
	case IPCI_UTYPE:
	case IPCI_UNION:
		return "unions are not supported";
	case IPCI_ARRAY:
		return "fixed-length arrays are not supported";
	default:
		return "malformed binary schema: unknown type";
	}
}

static const char *bad_member(const struct ipci_schema *schema, const struct ipci_field *f)
{
	if (f->type.base == IPCI_ARRAY)
		return "fixed-length arrays are not supported";
	if (!ipci_is_scalar(f->type.base) && f->type.base != IPCI_OBJECT)
		return "malformed binary schema: not a struct's field";
	return bad_field(schema, f);
}

static int by_id(const void *a, const void *b)
{
	const struct ipci_field *x = a, *y = b;

	return x->id < y->id ? -1 : x->id > y->id;
}

static int layout_struct(struct check *c, struct ipci_object *o);

static int layout_member(struct check *c, struct ipci_object *o, struct ipci_field *f)
{
	const char *why = bad_member(c->schema, f);
	struct ipci_object *inner;
	int err;

	if (why)
		return refuse_field(c, o, f, why);
	if (f->type.base != IPCI_OBJECT) {
		f->bytes = f->align = ipci_scalars[f->type.base].bytes;
		return 0;
	}
	inner = &c->schema->objects[f->type.index];
	if (!inner->is_struct)
		return refuse_field(c, o, f, "malformed binary schema: a table inside a struct");
	err = layout_struct(c, inner);
	f->bytes = inner->bytes;
	f->align = inner->align;
	o->padded |= inner->padded;
	return err;
}

/* Computes what C will make of the struct, and wants the binary schema to say the same. */
static int layout_struct(struct check *c, struct ipci_object *o)
{
	uint32_t end = 0, align = 1;
	int err;

	if (o->progress == DONE)
		return 0;
	if (o->progress == UNDERWAY || o->n_fields == 0)
		return refuse(c, o->name, "malformed binary schema: a struct without an end");
	o->progress = UNDERWAY;
	if (o->align > IPCI_ALIGN_MAX)
		return refuse(c, o->name, "alignment above %d is not supported", IPCI_ALIGN_MAX);
	for (uint32_t i = 0; i < o->n_fields; i++) {
		struct ipci_field *f = &o->fields[i];

		err = layout_member(c, o, f);
		if (err)
			return err;
		o->padded |= (end & (f->align - 1)) != 0;
		end = (end + f->align - 1) & ~(f->align - 1);
		align = f->align > align ? f->align : align;
		if (f->offset != end || f->id != i)
			return refuse_field(c, o, f, "malformed binary schema: offset");
		end += f->bytes;
		if (end > IPCI_INLINE_MAX_BYTES)
			return refuse(c, o->name, "larger than %d bytes", IPCI_INLINE_MAX_BYTES);
	}
	if (o->align < align || (o->align & (o->align - 1)))
		return refuse(c, o->name, "malformed binary schema: alignment");
	o->forced = o->align > align;
	o->padded |= (end & (o->align - 1)) != 0;
	if (o->bytes != ((end + o->align - 1) & ~(o->align - 1)))
		return refuse(c, o->name, "malformed binary schema: size");
	o->progress = DONE;
	c->schema->structs[c->schema->n_structs++] = (uint32_t)(o - c->schema->objects);
	return 0;
}

static void size_field(const struct ipci_schema *schema, struct ipci_field *f)
{
	f->bytes = f->align = 4;
	if (ipci_is_scalar(f->type.base)) {
		f->bytes = f->align = ipci_scalars[f->type.base].bytes;
	} else if (f->type.base == IPCI_OBJECT && schema->objects[f->type.index].is_struct) {
		f->bytes = schema->objects[f->type.index].bytes;
		f->align = schema->objects[f->type.index].align;
	}
}

static int layout_table(struct check *c, struct ipci_object *o)
{
	o->bytes = o->align = 4;
	for (uint32_t i = 0; i < o->n_fields; i++) {
		struct ipci_field *f = &o->fields[i];
		const char *why = f->deprecated ? NULL : bad_field(c->schema, f);

		if (f->id >= IPCI_FIELDS_MAX)
			return refuse(c, o->name, "more than %d fields", IPCI_FIELDS_MAX);
		if (i && f->id == f[-1].id)
			why = "malformed binary schema: its id is another field's";
		if (f->offset != 4 + 2 * f->id)
			why = "malformed binary schema: offset";
		if (why)
			return refuse_field(c, o, f, why);
		if (!f->deprecated)
			size_field(c->schema, f);
	}
	for (uint32_t align = IPCI_ALIGN_MAX; align; align /= 2) {
		for (uint32_t i = 0; i < o->n_fields; i++) {
			struct ipci_field *f = &o->fields[i];

			if (f->deprecated || f->align != align)
				continue;
			o->align = align > o->align ? align : o->align;
			f->offset = o->bytes;
			o->bytes += f->bytes;
			if (o->bytes > IPCI_INLINE_MAX_BYTES)
				return refuse(c, o->name, "larger than %d bytes",
					      IPCI_INLINE_MAX_BYTES);
		}
	}
	return 0;
}

static int check_enum(struct check *c, const struct ipci_enum *e)
{
	if (e->is_union)
		return refuse(c, e->name, "unions are not supported");
	if (!ipci_is_integer(e->base))
		return refuse(c, e->name, "malformed binary schema: not an integer");
	for (uint32_t i = 0; i < e->n_values; i++)
		if (!ipci_in_range(e->base, e->values[i].value))
			return refuse(c, e->name, "malformed binary schema: %s is out of range",
				      e->values[i].name);
	return 0;
}

static int number_call(struct check *c, const struct ipci_service *service, uint32_t i)
{
	struct ipci_rpc *rpc = &service->calls[i];
	char *end = NULL;
	long id = (long)i;

	if (rpc->id_text) {
		errno = 0;
		id = strtol(rpc->id_text, &end, 10);
		if (errno || end == rpc->id_text || *end || id < 0 || id >= IPC_METHODS_MAX)
			return refuse(c, service->name, "%s: a method's id is 0 to %d", rpc->name,
				      IPC_METHODS_MAX - 1);
	}
	rpc->id = (uint32_t)id;
	if (rpc->streaming && strcmp(rpc->streaming, "none") != 0)
		return refuse(c, service->name, "%s: streaming is not supported", rpc->name);
	if (c->schema->objects[rpc->request].is_struct ||
	    c->schema->objects[rpc->response].is_struct)
		return refuse(c, service->name, "%s: malformed binary schema: not a table",
			      rpc->name);
	for (uint32_t j = 0; j < i; j++)
		if (service->calls[j].id == rpc->id)
			return refuse(c, service->name, "%s: its id %u is also %s's", rpc->name,
				      rpc->id, service->calls[j].name);
	return 0;
}

static int check_objects(struct check *c)
{
	struct ipci_schema *schema = c->schema;
	int err = 0;

	schema->structs = ipci_arena_alloc(&schema->arena, schema->n_objects,
					   sizeof(*schema->structs));
	if (!schema->structs)
		return ipci_error_set(c->error, -ENOMEM, "%s: out of memory", schema->file);
	for (uint32_t i = 0; i < schema->n_objects; i++)
		if (schema->objects[i].n_fields)
			qsort(schema->objects[i].fields, schema->objects[i].n_fields,
			      sizeof(*schema->objects[i].fields), by_id);
	for (uint32_t i = 0; !err && i < schema->n_objects; i++)
		if (schema->objects[i].is_struct)
			err = layout_struct(c, &schema->objects[i]);
	for (uint32_t i = 0; !err && i < schema->n_objects; i++)
		if (!schema->objects[i].is_struct)
			err = layout_table(c, &schema->objects[i]);
	return err;
}

int ipci_subset_check(struct ipci_schema *schema, struct ipci_error *error)
{
	struct check c = {schema, error};
	int err = 0;

	for (uint32_t i = 0; !err && i < schema->n_enums; i++)
		err = check_enum(&c, &schema->enums[i]);
	if (!err)
		err = check_objects(&c);
	if (!err && schema->root >= 0 && schema->objects[schema->root].is_struct)
		err = refuse(&c, "root_type", "malformed binary schema: not a table");
	for (uint32_t i = 0; !err && i < schema->n_services; i++) {
		const struct ipci_service *service = &schema->services[i];

		if (service->n_calls == 0)
			err = refuse(&c, service->name,
				     "a service without methods is not supported");
		for (uint32_t j = 0; !err && j < service->n_calls; j++)
			err = number_call(&c, service, j);
	}
	return err;
}
