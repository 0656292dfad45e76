/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The header's frame, its enums, and what templates say of fields. Order: enums, structs (each
 * after those it holds), every table's types and shape, then functions, so that tables may refer to
 * each other in any way.
 */
#include "emit.h"

#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

void ipci_emit_doc(struct ipci_out *out, const char *doc, const char *indent)
{
	while (*doc) {
		size_t n = strcspn(doc, "\n");

		ipci_out_printf(out, "%s/*%.*s */\n", indent, (int)n, doc);
		doc += n + 1;
	}
}

/* An integer constant of a scalar type. */
static const char *integer(struct ipci_out *out, uint32_t base, int64_t value)
{
	if (base == IPCI_BOOL)
		return value ? "true" : "false";
	if (base == IPCI_ULONG)
		return ipci_out_text(out, "UINT64_C(%" PRIu64 ")", (uint64_t)value);
	/* Its magnitude is no constant of a signed type. */
	if (value == INT64_MIN)
		return "INT64_MIN";
	if (base == IPCI_INT && value == INT32_MIN)
		return "INT32_MIN";
	return ipci_out_text(out, "%s(%" PRId64 ")", ipci_scalars[base].literal, value);
}

static const char *real(struct ipci_out *out, uint32_t base, double value)
{
	const char *suffix = base == IPCI_FLOAT ? "f" : "";
	const char *text;

	if (isnan(value))
		return ipci_out_text(out, "__builtin_nan%s(\"\")", suffix);
	if (base == IPCI_FLOAT)
		value = (double)(float)value;
	if (isinf(value))
		return ipci_out_text(out, "%s__builtin_inf%s()", value < 0 ? "-" : "", suffix);
	text = ipci_out_text(out, "%.*g", base == IPCI_FLOAT ? 9 : 17, value);
	return ipci_out_text(out, "%s%s%s", text, strpbrk(text, ".e") ? "" : ".0", suffix);
}

/* Whether a value differs from the default, bit by bit. */
static const char *present(struct ipci_out *out, const struct ipci_field *f)
{
	float narrow = (float)f->default_real;
	uint32_t bits32;
	uint64_t bits64;

	memcpy(&bits32, &narrow, sizeof(bits32));
	memcpy(&bits64, &f->default_real, sizeof(bits64));
	if (f->type.base == IPCI_FLOAT)
		return ipci_out_text(out, "ipc_float_bits(value) != UINT32_C(%" PRIu32 ")", bits32);
	if (f->type.base == IPCI_DOUBLE)
		return ipci_out_text(out, "ipc_double_bits(value) != UINT64_C(%" PRIu64 ")",
				     bits64);
	return ipci_out_text(out, "value != %s", integer(out, f->type.base, f->default_integer));
}

/* The C type of a scalar or enum. */
static const char *c_type(const struct ipci_schema *schema, uint32_t base, int32_t index)
{
	return index >= 0 ? schema->enums[index].c_name : ipci_scalars[base].c_type;
}

struct field_vars {
	const char *c, *scalar, *otherwise, *present, *type;
	uint32_t size, align;
};

static void scalar_vars(struct ipci_out *out, const struct ipci_field *f, struct field_vars *v)
{
	const bool is_real = f->type.base == IPCI_FLOAT || f->type.base == IPCI_DOUBLE;

	v->c = c_type(out->schema, f->type.base, f->type.index);
	v->scalar = ipci_scalars[f->type.base].name;
	v->otherwise = is_real ? real(out, f->type.base, f->default_real)
			       : integer(out, f->type.base, f->default_integer);
	v->present = present(out, f);
}

static void vector_vars(struct ipci_out *out, const struct ipci_field *f, struct field_vars *v)
{
	const struct ipci_schema *schema = out->schema;

	v->size = v->align = 4;
	if (ipci_is_scalar(f->type.element)) {
		v->c = c_type(schema, f->type.element, f->type.index);
		v->scalar = ipci_scalars[f->type.element].name;
		v->type = ipci_out_text(out, "ipc_%s", v->scalar);
		v->size = v->align = ipci_scalars[f->type.element].bytes;
	} else if (f->type.element == IPCI_STRING) {
		v->type = "ipc_str";
	} else {
		const struct ipci_object *o = &schema->objects[f->type.index];

		v->type = o->c_name;
		if (o->is_struct) {
			v->size = o->bytes;
			v->align = o->align;
		}
	}
}

void ipci_emit_field_vars(struct ipci_out *out, const struct ipci_object *o,
			  const struct ipci_field *f, struct ipci_var vars[IPCI_FIELD_VARS])
{
	struct field_vars v = {"", "", "", "", "", f->bytes, f->align};

	out->subject = ipci_out_text(out, "%s.%s", o->name, f->name);
	if (ipci_is_scalar(f->type.base))
		scalar_vars(out, f, &v);
	else if (f->type.base == IPCI_VECTOR)
		vector_vars(out, f, &v);
	else if (f->type.base == IPCI_OBJECT)
		v.type = out->schema->objects[f->type.index].c_name;
	const struct ipci_var all[IPCI_FIELD_VARS] = {
		{"T", o->c_name},
		{"F", f->c_name},
		{"id", ipci_out_text(out, "%u", f->id)},
		{"offset", ipci_out_text(out, "%u", f->offset)},
		{"bytes", ipci_out_text(out, "%u", f->bytes)},
		{"place",
		 ipci_out_text(out, "ipc_table_%s(t.table, %u, %u, %u)",
			       f->required ? "required" : "field", f->id, f->bytes, f->align)},
		{"field", ipci_out_text(out, "ipc_table_field(t.table, %u, %u, %u)", f->id,
					f->bytes, f->align)},
		{"c", v.c},
		{"scalar", v.scalar},
		{"default", v.otherwise},
		{"present", v.present},
		{"V", v.type},
		{"size", ipci_out_text(out, "%u", v.size)},
		{"align", ipci_out_text(out, "%u",
					v.align < 4 && f->type.base == IPCI_VECTOR ? 4 : v.align)},
		{NULL, NULL},
	};

	memcpy(vars, all, sizeof(all));
}

static void emit_enum(struct ipci_out *out, const struct ipci_enum *e)
{
	const struct ipci_var vars[] = {{"E", e->c_name},
					{"c", ipci_scalars[e->base].c_type},
					{NULL, NULL}};
	bool small = true;

	out->subject = e->name;
	for (uint32_t i = 0; i < e->n_values; i++)
		small &= e->values[i].value >= INT32_MIN && e->values[i].value <= INT32_MAX &&
			 (e->base != IPCI_ULONG || e->values[i].value >= 0);
	ipci_emit_doc(out, e->doc, "");
	ipci_out_put(out, vars, "typedef @c@ $@E@;\n");
	if (small && e->n_values)
		ipci_out_put(out, vars, "\nenum {\n");
	for (uint32_t i = 0; i < e->n_values; i++) {
		const struct ipci_var value[] = {
			{"E", e->c_name},
			{"name", e->values[i].name},
			{"int", ipci_out_text(out, "%" PRId64, e->values[i].value)},
			{"value", integer(out, e->base, e->values[i].value)},
			{NULL, NULL},
		};

		out->subject = ipci_out_text(out, "%s.%s", e->name, e->values[i].name);
		/* Constants of an enum are ints in C. */
		ipci_out_put(out, value,
			     small ? "\t$@E@_@name@ = @int@,\n"
				   : "#define $@E@_@name@ ((@E@)@value@)\n");
	}
	ipci_out_put(out, vars, small && e->n_values ? "};\n\n" : "\n");
}

/* The text of a constant's name; "?" for one that the schema does not have. */
static void emit_enum_name(struct ipci_out *out, const struct ipci_enum *e)
{
	const struct ipci_var vars[] = {{"E", e->c_name}, {NULL, NULL}};

	out->subject = e->name;
	ipci_out_put(out, vars,
		     "static inline const char *$@E@_to_text(@E@ value)\n{\n\tswitch (value) {\n");
	for (uint32_t i = 0; i < e->n_values; i++) {
		bool known = false;

		for (uint32_t j = 0; j < i && !known; j++)
			known = e->values[j].value == e->values[i].value;
		if (!known)
			ipci_out_printf(out, "\tcase %s_%s:\n\t\treturn \"%s\";\n", e->c_name,
					e->values[i].name, e->values[i].name);
	}
	ipci_out_put(out, vars, "\tdefault:\n\t\treturn \"?\";\n\t}\n}\n\n");
}

/* The include guard: the first type's namespace is in it, since file names repeat. */
static const char *guard(struct ipci_out *out, const char *stem)
{
	const struct ipci_schema *schema = out->schema;
	const char *first = schema->n_objects ? schema->objects[0].c_name
			    : schema->n_enums ? schema->enums[0].c_name
					      : "";
	const char *text = ipci_out_text(out, "IPC_GEN_%s_%s_H", first, stem);
	char *c = ipci_arena_printf(&out->schema->arena, "%s", text);

	if (!c)
		return text;
	text = c;
	for (; *c; c++)
		*c = isalnum((unsigned char)*c) ? (char)toupper((unsigned char)*c) : '_';
	return text;
}

static void emit_tables(struct ipci_out *out)
{
	const struct ipci_schema *schema = out->schema;

	for (uint32_t i = 0; i < schema->n_objects; i++)
		if (!schema->objects[i].is_struct)
			ipci_emit_table_types(out, &schema->objects[i]);
	for (uint32_t i = 0; i < schema->n_objects; i++)
		if (!schema->objects[i].is_struct)
			ipci_emit_shape(out, &schema->objects[i]);
	for (uint32_t i = 0; i < schema->n_objects; i++)
		if (!schema->objects[i].is_struct)
			ipci_emit_readers(out, &schema->objects[i]);
	for (uint32_t i = 0; i < schema->n_objects; i++)
		if (!schema->objects[i].is_struct)
			ipci_emit_walk(out, &schema->objects[i]);
	for (uint32_t i = 0; i < schema->n_objects; i++)
		if (!schema->objects[i].is_struct)
			ipci_emit_writers(out, &schema->objects[i]);
}

void ipci_emit(struct ipci_out *out, const char *stem)
{
	const struct ipci_schema *schema = out->schema;
	const char *name = guard(out, stem);

	out->subject = "schema";
	ipci_out_printf(out, "/* Written by ipc-gen; changes belong into the schema. */\n");
	ipci_out_printf(out, "#ifndef %s\n#define %s\n\n", name, name);
	ipci_out_printf(
		out,
		"#include <assert.h>\n#include <stddef.h>\n\n#include <ipc/flatbuffers.h>\n%s\n",
		schema->n_services ? "#include <ipc/ipc.h>\n#include <ipc/stub.h>\n" : "");
	for (uint32_t i = 0; i < schema->n_enums; i++) {
		emit_enum(out, &schema->enums[i]);
		emit_enum_name(out, &schema->enums[i]);
	}
	for (uint32_t i = 0; i < schema->n_structs; i++)
		ipci_emit_struct(out, &schema->objects[schema->structs[i]]);
	emit_tables(out);
	for (uint32_t i = 0; i < schema->n_services; i++)
		ipci_emit_service(out, &schema->services[i]);
	ipci_out_printf(out, "#endif\n");
}
