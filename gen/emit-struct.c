/* SPDX-License-Identifier: Apache-2.0 */
/* Structs: a plain C struct of the same layout, copied in and out field by field. */
#include "emit.h"

#include <string.h>

static const char *member_type(struct ipci_out *out, const struct ipci_field *f)
{
	if (f->type.base == IPCI_OBJECT)
		return out->schema->objects[f->type.index].c_name;
	if (f->type.index >= 0)
		return out->schema->enums[f->type.index].c_name;
	return ipci_scalars[f->type.base].c_type;
}

static void emit_type(struct ipci_out *out, const struct ipci_object *o,
		      const struct ipci_var *vars)
{
	ipci_emit_doc(out, o->doc, "");
	ipci_out_put(out, vars, "typedef struct $@T@ {\n");
	for (uint32_t i = 0; i < o->n_fields; i++) {
		const struct ipci_field *f = &o->fields[i];

		ipci_emit_doc(out, f->doc, "\t");
		ipci_out_printf(out, "\t%s %s;\n", member_type(out, f), f->c_name);
	}
	ipci_out_put(out, vars,
		     o->forced ? "} __attribute__((__aligned__(@align@))) @T@;\n\n" : "} @T@;\n\n");
	ipci_out_put(
		out, vars,
		"static_assert(sizeof(@T@) == @bytes@, \"@T@ is laid out as in FlatBuffers\");\n");
	for (uint32_t i = 0; i < o->n_fields; i++)
		ipci_out_printf(out, "static_assert(offsetof(%s, %s) == %u, \"%s.%s\");\n",
				o->c_name, o->fields[i].c_name, o->fields[i].offset, o->name,
				o->fields[i].name);
}

static void emit_load(struct ipci_out *out, const struct ipci_object *o,
		      const struct ipci_var *vars)
{
	ipci_out_put(out, vars,
		     "\n/* Zeroes where at is 0. */\n"
		     "static inline @T@ $@T@_load(const struct ipc_msg *msg, uint32_t at)\n"
		     "{\n"
		     "\t@T@ v;\n"
		     "\n"
		     "\tmemset(&v, 0, sizeof(v));\n"
		     "\tif (!at)\n"
		     "\t\treturn v;\n");
	for (uint32_t i = 0; i < o->n_fields; i++) {
		const struct ipci_field *f = &o->fields[i];

		if (f->type.base == IPCI_OBJECT)
			ipci_out_printf(out, "\tv.%s = %s_load(msg, at + %u);\n", f->c_name,
					member_type(out, f), f->offset);
		else
			ipci_out_printf(out, "\tv.%s = ipc_load_%s(msg, at + %u);\n", f->c_name,
					ipci_scalars[f->type.base].name, f->offset);
	}
	ipci_out_put(out, vars, "\treturn v;\n}\n\n");
}

/* Field by field where the struct has padding, so that none of the caller's memory leaks through
 * it. */
static void emit_store(struct ipci_out *out, const struct ipci_object *o,
		       const struct ipci_var *vars)
{
	ipci_out_put(out, vars,
		     "static inline void $@T@_store(uint8_t *at, const @T@ *v)\n"
		     "{\n");
	if (!o->padded) {
		ipci_out_put(out, vars, "\tmemcpy(at, v, @bytes@);\n}\n\n");
		return;
	}
	ipci_out_put(out, vars, "\tmemset(at, 0, @bytes@);\n");
	for (uint32_t i = 0; i < o->n_fields; i++) {
		const struct ipci_field *f = &o->fields[i];

		if (f->type.base == IPCI_OBJECT)
			ipci_out_printf(out, "\t%s_store(at + %u, &v->%s);\n", member_type(out, f),
					f->offset, f->c_name);
		else
			ipci_out_printf(out, "\tmemcpy(at + %u, &v->%s, %u);\n", f->offset,
					f->c_name, f->bytes);
	}
	ipci_out_put(out, vars, "}\n\n");
}

void ipci_emit_struct(struct ipci_out *out, const struct ipci_object *o)
{
	const struct ipci_var vars[] = {
		{"T", o->c_name},
		{"bytes", ipci_out_text(out, "%u", o->bytes)},
		{"align", ipci_out_text(out, "%u", o->align)},
		{NULL, NULL},
	};

	out->subject = o->name;
	emit_type(out, o, vars);
	emit_load(out, o, vars);
	emit_store(out, o, vars);
	ipci_out_put(out, vars,
		     "typedef struct $@T@_vec {\n"
		     "\tstruct ipc_vec vec;\n"
		     "} @T@_vec;\n"
		     "\n"
		     "typedef struct $@T@_vec_w {\n"
		     "\tstruct ipc_vec_w vec;\n"
		     "} @T@_vec_w;\n"
		     "\n"
		     "static inline size_t $@T@_vec_count(@T@_vec v)\n"
		     "{\n"
		     "\treturn v.vec.count;\n"
		     "}\n"
		     "\n"
		     "static inline @T@ $@T@_at(@T@_vec v, size_t i)\n"
		     "{\n"
		     "\treturn @T@_load(v.vec.msg, ipc_vec_element(v.vec, i, @bytes@));\n"
		     "}\n"
		     "\n"
		     "static inline void $@T@_set_at(@T@_vec_w *v, size_t i, @T@ value)\n"
		     "{\n"
		     "\tif (ipc_vec_w_next(&v->vec, i) && !v->vec.writer->error)\n"
		     "\t\t@T@_store(v->vec.writer->room + v->vec.pos + i * @bytes@, &value);\n"
		     "}\n\n");
}
