/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads a binary schema (FlatBuffers' own reflection.fbs, identifier BFBS) with the checked readers
 * that generated code uses. Nothing in the file is believed: names must be identifiers, indices
 * must exist, and what is read is bounded by the file's size however its offsets fan out. What the
 * schema means is not judged here, but in subset.c.
 */
#include "schema.h"

#include <errno.h>
#include <string.h>

#include <ipc/flatbuffers.h>

/* Far above any schema; they bound what a hostile file makes us allocate and compare. */
#define NAME_MAX_BYTES 200
#define TYPES_MAX 4096
#define FIELDS_MAX 1024
#define VALUES_MAX 65536
#define CALLS_MAX 1024

/* Field ids of reflection.fbs. */
enum {
	SCHEMA_OBJECTS = 0,
	SCHEMA_ENUMS = 1,
	SCHEMA_FILE_IDENT = 2,
	SCHEMA_ROOT_TABLE = 4,
	SCHEMA_SERVICES = 5,
	OBJECT_NAME = 0,
	OBJECT_FIELDS = 1,
	OBJECT_IS_STRUCT = 2,
	OBJECT_MINALIGN = 3,
	OBJECT_BYTESIZE = 4,
	OBJECT_DOCUMENTATION = 6,
	FIELD_NAME = 0,
	FIELD_TYPE = 1,
	FIELD_ID = 2,
	FIELD_OFFSET = 3,
	FIELD_DEFAULT_INTEGER = 4,
	FIELD_DEFAULT_REAL = 5,
	FIELD_DEPRECATED = 6,
	FIELD_REQUIRED = 7,
	FIELD_ATTRIBUTES = 9,
	FIELD_DOCUMENTATION = 10,
	FIELD_OPTIONAL = 11,
	TYPE_BASE = 0,
	TYPE_ELEMENT = 1,
	TYPE_INDEX = 2,
	ENUM_NAME = 0,
	ENUM_VALUES = 1,
	ENUM_IS_UNION = 2,
	ENUM_UNDERLYING_TYPE = 3,
	ENUM_DOCUMENTATION = 5,
	VALUE_NAME = 0,
	VALUE_VALUE = 1,
	SERVICE_NAME = 0,
	SERVICE_CALLS = 1,
	SERVICE_DOCUMENTATION = 3,
	RPC_NAME = 0,
	RPC_REQUEST = 1,
	RPC_RESPONSE = 2,
	RPC_ATTRIBUTES = 3,
	RPC_DOCUMENTATION = 4,
	PAIR_KEY = 0,
	PAIR_VALUE = 1,
};

struct reader {
	struct ipci_schema *schema;
	struct ipci_error *error;
	struct ipc_msg msg;
	struct ipc_walk walk; /* what may still be read */
};

static int refuse(struct reader *r, const char *what, const char *why)
{
	return ipci_error_set(r->error, -EINVAL, "%s: %s: %s", r->schema->file, what, why);
}

static int no_memory(struct reader *r)
{
	return ipci_error_set(r->error, -ENOMEM, "%s: out of memory", r->schema->file);
}

static struct ipc_str get_str(struct ipc_table t, uint32_t id)
{
	return ipc_follow_str(t.msg, ipc_table_field(t, id, 4, 4));
}

static bool get_bool(struct ipc_table t, uint32_t id)
{
	uint32_t at = ipc_table_field(t, id, 1, 1);

	return at && ipc_load_bool(t.msg, at);
}

static uint32_t get_u8(struct ipc_table t, uint32_t id)
{
	uint32_t at = ipc_table_field(t, id, 1, 1);

	return at ? ipc_load_uint8(t.msg, at) : 0;
}

static uint32_t get_u16(struct ipc_table t, uint32_t id)
{
	uint32_t at = ipc_table_field(t, id, 2, 2);

	return at ? ipc_load_uint16(t.msg, at) : 0;
}

static int32_t get_i32(struct ipc_table t, uint32_t id, int32_t otherwise)
{
	uint32_t at = ipc_table_field(t, id, 4, 4);

	return at ? ipc_load_int32(t.msg, at) : otherwise;
}

static int64_t get_i64(struct ipc_table t, uint32_t id)
{
	uint32_t at = ipc_table_field(t, id, 8, 8);

	return at ? ipc_load_int64(t.msg, at) : 0;
}

static double get_double(struct ipc_table t, uint32_t id)
{
	uint32_t at = ipc_table_field(t, id, 8, 8);

	return at ? ipc_load_double(t.msg, at) : 0;
}

static struct ipc_table get_table(struct ipc_table t, uint32_t id)
{
	return ipc_follow_table(t.msg, ipc_table_field(t, id, 4, 4));
}

/* A vector of offsets. */
static struct ipc_vec get_vec(struct ipc_table t, uint32_t id)
{
	return ipc_follow_vec(t.msg, ipc_table_field(t, id, 4, 4), 4, 4);
}

/* The table @i of a vector; an empty one once the walk's allowance is spent. */
static struct ipc_table table_at(struct reader *r, struct ipc_vec v, uint32_t i)
{
	if (!ipc_walk_node(&r->walk, &r->msg))
		return ipc_table_none(&r->msg);
	return ipc_follow_table(v.msg, ipc_vec_element(v, i, 4));
}

static bool is_identifier(struct ipc_str s, bool dotted)
{
	bool start = true;

	for (size_t i = 0; i < s.size_bytes; i++) {
		char c = s.data[i];

		if (c == '.' && dotted && !start) {
			start = true;
			continue;
		}
		if (!(c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
		      (c >= '0' && c <= '9' && !start)))
			return false;
		start = false;
	}
	return !start && s.size_bytes <= NAME_MAX_BYTES;
}

/* A name, checked, because it becomes C. */
static int read_name(struct reader *r, struct ipc_table t, bool dotted, const char **ret)
{
	struct ipc_str s = get_str(t, 0);

	if (r->msg.bad || !is_identifier(s, dotted))
		return refuse(r, "malformed binary schema", "a name is no identifier");
	*ret = ipci_arena_printf(&r->schema->arena, "%.*s", (int)s.size_bytes, s.data);
	return *ret ? 0 : no_memory(r);
}

/* Comments, made fit for a C comment: printable, and neither opening nor closing one. */
static int read_doc(struct reader *r, struct ipc_table t, uint32_t id, const char **ret)
{
	struct ipc_vec lines = get_vec(t, id);
	size_t n = 1;
	char *text;

	for (uint32_t i = 0; i < lines.count && ipc_walk_node(&r->walk, &r->msg); i++)
		n += ipc_follow_str(&r->msg, ipc_vec_element(lines, i, 4)).size_bytes + 1;
	if (r->msg.bad || n > r->msg.size_bytes)
		return refuse(r, "malformed binary schema", "documentation");
	text = ipci_arena_alloc(&r->schema->arena, n, 1);
	if (!text)
		return no_memory(r);
	*ret = text;
	for (uint32_t i = 0; i < lines.count; i++) {
		struct ipc_str s = ipc_follow_str(&r->msg, ipc_vec_element(lines, i, 4));

		for (size_t j = 0; j < s.size_bytes; j++) {
			unsigned char c = (unsigned char)s.data[j];

			if (c == '/' && ((j && s.data[j - 1] == '*') ||
					 (j + 1 < s.size_bytes && s.data[j + 1] == '*')))
				c = '|';
			*text++ = (char)(c < ' ' || c == 0x7f || c == '\\' ? ' ' : c);
		}
		*text++ = '\n';
	}
	return 0;
}

/* The value of an attribute as a C string; NULL where it is absent. */
static int read_attribute(struct reader *r, struct ipc_table t, uint32_t id, const char *key,
			  const char **ret)
{
	struct ipc_vec pairs = get_vec(t, id);

	for (uint32_t i = 0; i < pairs.count; i++) {
		struct ipc_table pair = table_at(r, pairs, i);
		struct ipc_str value = get_str(pair, PAIR_VALUE);

		if (!ipc_str_equals(get_str(pair, PAIR_KEY), key))
			continue;
		if (value.size_bytes > NAME_MAX_BYTES)
			return refuse(r, key, "the attribute's value is too long");
		*ret = ipci_arena_printf(&r->schema->arena, "%.*s", (int)value.size_bytes,
					 value.data);
		return *ret ? 0 : no_memory(r);
	}
	return 0;
}

static int read_field(struct reader *r, struct ipc_table t, struct ipci_field *field)
{
	static const char *const refused[] = {"nested_flatbuffer", "flexbuffer", "force_align"};
	struct ipc_table type = get_table(t, FIELD_TYPE);
	int err;

	err = read_name(r, t, false, &field->name);
	if (!err)
		err = read_doc(r, t, FIELD_DOCUMENTATION, &field->doc);
	for (size_t i = 0; !err && i < sizeof(refused) / sizeof(*refused); i++) {
		const char *value = NULL;

		err = read_attribute(r, t, FIELD_ATTRIBUTES, refused[i], &value);
		if (value)
			field->refused = refused[i];
	}
	if (err)
		return err;
	field->type.base = get_u8(type, TYPE_BASE);
	field->type.element = get_u8(type, TYPE_ELEMENT);
	field->type.index = get_i32(type, TYPE_INDEX, -1);
	field->id = get_u16(t, FIELD_ID);
	field->offset = get_u16(t, FIELD_OFFSET);
	field->default_integer = get_i64(t, FIELD_DEFAULT_INTEGER);
	field->default_real = get_double(t, FIELD_DEFAULT_REAL);
	field->deprecated = get_bool(t, FIELD_DEPRECATED);
	field->required = get_bool(t, FIELD_REQUIRED);
	field->optional = get_bool(t, FIELD_OPTIONAL);
	return 0;
}

static int read_object(struct reader *r, struct ipc_table t, struct ipci_object *object)
{
	struct ipc_vec fields = get_vec(t, OBJECT_FIELDS);
	int err;

	err = read_name(r, t, true, &object->name);
	if (!err)
		err = read_doc(r, t, OBJECT_DOCUMENTATION, &object->doc);
	if (err)
		return err;
	object->is_struct = get_bool(t, OBJECT_IS_STRUCT);
	object->align = (uint32_t)get_i32(t, OBJECT_MINALIGN, 0);
	object->bytes = (uint32_t)get_i32(t, OBJECT_BYTESIZE, 0);
	if (fields.count > FIELDS_MAX)
		return refuse(r, object->name, "too many fields");
	object->fields = ipci_arena_alloc(&r->schema->arena, fields.count, sizeof(*object->fields));
	if (!object->fields)
		return no_memory(r);
	object->n_fields = fields.count;
	for (uint32_t i = 0; !err && i < fields.count; i++)
		err = read_field(r, table_at(r, fields, i), &object->fields[i]);
	return err;
}

static int read_enum(struct reader *r, struct ipc_table t, struct ipci_enum *e)
{
	struct ipc_vec values = get_vec(t, ENUM_VALUES);
	int err;

	err = read_name(r, t, true, &e->name);
	if (!err)
		err = read_doc(r, t, ENUM_DOCUMENTATION, &e->doc);
	if (err)
		return err;
	e->is_union = get_bool(t, ENUM_IS_UNION);
	e->base = get_u8(get_table(t, ENUM_UNDERLYING_TYPE), TYPE_BASE);
	if (values.count > VALUES_MAX)
		return refuse(r, e->name, "too many values");
	e->values = ipci_arena_alloc(&r->schema->arena, values.count, sizeof(*e->values));
	if (!e->values)
		return no_memory(r);
	e->n_values = values.count;
	for (uint32_t i = 0; !err && i < values.count; i++) {
		struct ipc_table value = table_at(r, values, i);

		err = read_name(r, value, false, &e->values[i].name);
		e->values[i].value = get_i64(value, VALUE_VALUE);
	}
	return err;
}

static int find_object(struct reader *r, struct ipc_table t, uint32_t *ret)
{
	const struct ipci_schema *schema = r->schema;
	const struct ipc_str name = get_str(t, OBJECT_NAME);

	for (uint32_t i = 0; i < schema->n_objects; i++) {
		if (ipc_str_equals(name, schema->objects[i].name)) {
			*ret = i;
			return 0;
		}
	}
	return refuse(r, "malformed binary schema", "it speaks of a type that it does not hold");
}

static int read_rpc(struct reader *r, struct ipc_table t, struct ipci_rpc *rpc)
{
	int err;

	err = read_name(r, t, false, &rpc->name);
	if (!err)
		err = read_doc(r, t, RPC_DOCUMENTATION, &rpc->doc);
	if (!err)
		err = read_attribute(r, t, RPC_ATTRIBUTES, "id", &rpc->id_text);
	if (!err)
		err = read_attribute(r, t, RPC_ATTRIBUTES, "streaming", &rpc->streaming);
	if (!err)
		err = find_object(r, get_table(t, RPC_REQUEST), &rpc->request);
	if (!err)
		err = find_object(r, get_table(t, RPC_RESPONSE), &rpc->response);
	return err;
}

static int read_service(struct reader *r, struct ipc_table t, struct ipci_service *service)
{
	struct ipc_vec calls = get_vec(t, SERVICE_CALLS);
	int err;

	err = read_name(r, t, true, &service->name);
	if (!err)
		err = read_doc(r, t, SERVICE_DOCUMENTATION, &service->doc);
	if (err)
		return err;
	if (calls.count > CALLS_MAX)
		return refuse(r, service->name, "more than 1024 methods");
	service->calls = ipci_arena_alloc(&r->schema->arena, calls.count, sizeof(*service->calls));
	if (!service->calls)
		return no_memory(r);
	service->n_calls = calls.count;
	for (uint32_t i = 0; !err && i < calls.count; i++)
		err = read_rpc(r, table_at(r, calls, i), &service->calls[i]);
	return err;
}

static int read_root(struct reader *r, struct ipc_table t)
{
	struct ipc_str ident = get_str(t, SCHEMA_FILE_IDENT);
	uint32_t root;
	int err;

	r->schema->root = -1;
	if (ident.size_bytes != 0 && ident.size_bytes != 4)
		return refuse(r, "malformed binary schema", "file identifier");
	memcpy(r->schema->ident, ident.data, ident.size_bytes);
	if (!ipc_table_field(t, SCHEMA_ROOT_TABLE, 4, 4))
		return 0;
	err = find_object(r, get_table(t, SCHEMA_ROOT_TABLE), &root);
	if (!err)
		r->schema->root = (int32_t)root;
	return err;
}

static int read_schema(struct reader *r, struct ipc_table t)
{
	struct ipc_vec objects = get_vec(t, SCHEMA_OBJECTS), enums = get_vec(t, SCHEMA_ENUMS);
	struct ipc_vec services = get_vec(t, SCHEMA_SERVICES);
	struct ipci_schema *schema = r->schema;
	int err = 0;

	if (objects.count > TYPES_MAX || enums.count > TYPES_MAX || services.count > TYPES_MAX)
		return refuse(r, "schema", "more than 4096 types");
	schema->objects = ipci_arena_alloc(&schema->arena, objects.count, sizeof(*schema->objects));
	schema->enums = ipci_arena_alloc(&schema->arena, enums.count, sizeof(*schema->enums));
	schema->services = ipci_arena_alloc(&schema->arena, services.count,
					    sizeof(*schema->services));
	if (!schema->objects || !schema->enums || !schema->services)
		return no_memory(r);
	for (uint32_t i = 0; !err && i < objects.count; i++, schema->n_objects++)
		err = read_object(r, table_at(r, objects, i), &schema->objects[i]);
	for (uint32_t i = 0; !err && i < enums.count; i++, schema->n_enums++)
		err = read_enum(r, table_at(r, enums, i), &schema->enums[i]);
	for (uint32_t i = 0; !err && i < services.count; i++, schema->n_services++)
		err = read_service(r, table_at(r, services, i), &schema->services[i]);
	return err ? err : read_root(r, t);
}

int ipci_bfbs_read(struct ipci_schema *schema, const char *file, const void *data,
		   size_t size_bytes, struct ipci_error *error)
{
	struct reader r = {.schema = schema, .error = error, .msg = ipc_msg_from(data, size_bytes)};
	struct ipc_table root;
	int err;

	memset(schema, 0, sizeof(*schema));
	schema->file = file;
	if (size_bytes < 8 || memcmp((const char *)data + 4, "BFBS", 4) != 0)
		return refuse(&r, "not a binary schema", "the identifier BFBS is missing");
	r.walk = ipc_walk_init(&r.msg);
	root = ipc_table_root(&r.msg);
	err = read_schema(&r, root);
	if (!err && r.msg.bad)
		err = refuse(&r, "malformed binary schema", "an offset leads nowhere");
	return err;
}
