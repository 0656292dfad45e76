/* SPDX-License-Identifier: Apache-2.0 */
/* Tables, written: the fixed inline layout, handles, and one setter a field. */
#include "emit.h"

#include <inttypes.h>
#include <string.h>

void ipci_emit_shape(struct ipci_out *out, const struct ipci_object *o)
{
	const struct ipci_var vars[] = {{"T", o->c_name}, {NULL, NULL}};
	uint64_t required = 0;
	uint32_t next = 0;

	out->subject = o->name;
	ipci_out_put(out, vars, "static const uint16_t $@T@_offsets[] = {");
	for (uint32_t i = 0; i < o->n_fields; i++) {
		const struct ipci_field *f = &o->fields[i];

		if (f->deprecated)
			continue;
		for (; next < f->id; next++)
			ipci_out_printf(out, "0, ");
		next++;
		ipci_out_printf(out, "%u, ", f->offset);
		required |= (uint64_t)f->required << f->id;
	}
	ipci_out_put(out, vars, next ? "};\n" : "0};\n");
	ipci_out_put(out, vars, "static const struct ipc_shape $@T@_shape = {@T@_offsets, ");
	ipci_out_printf(out, "UINT64_C(%" PRIu64 "), %u};\n\n", required, o->bytes);
}

static void emit_vector(struct ipci_out *out, const struct ipci_field *f,
			const struct ipci_var *vars)
{
	const bool scalar = ipci_is_scalar(f->type.element);

	if (scalar)
		ipci_out_put(
			out, vars,
			"static inline void $@T@_set_@F@(@T@_w *w, const @c@ *data, size_t n)\n"
			"{\n"
			"\t(void)ipc_writer_set_vec(w->writer, w->depth, w->serial, @id@, "
			"@offset@, data, n, @size@);\n"
			"}\n"
			"\n"
			"/* Zeroed room for n elements, to fill before the message is finished; "
			"NULL after an error. */\n"
			"static inline @c@ *$@T@_new_@F@(@T@_w *w, size_t n)\n"
			"{\n"
			"\treturn (@c@ *)ipc_writer_set_vec(w->writer, w->depth, w->serial, @id@, "
			"@offset@, NULL, n,\n"
			"\t\t\t\t\t@size@);\n"
			"}\n\n");
	else
		ipci_out_put(out, vars,
			     "static inline @V@_vec_w $@T@_new_@F@(@T@_w *w, size_t n)\n"
			     "{\n"
			     "\t@V@_vec_w v = {ipc_writer_new_vec(w->writer, w->depth, w->serial, "
			     "@id@, @offset@, n,\n"
			     "\t\t\t\t\t@size@, @align@)};\n"
			     "\n"
			     "\treturn v;\n"
			     "}\n\n");
	if (f->type.element == IPCI_OBJECT && out->schema->objects[f->type.index].is_struct)
		ipci_out_put(
			out, vars,
			"static inline void $@T@_set_@F@(@T@_w *w, const @V@ *data, size_t n)\n"
			"{\n"
			"\t@V@_vec_w v = @T@_new_@F@(w, n);\n"
			"\n"
			"\tfor (size_t i = 0; i < n; i++)\n"
			"\t\t@V@_set_at(&v, i, data[i]);\n"
			"}\n\n");
}

static void emit_table(struct ipci_out *out, const struct ipci_object *inner,
		       const struct ipci_var *vars)
{
	ipci_out_put(out, vars,
		     "static inline @V@_w $@T@_new_@F@(@T@_w *w)\n"
		     "{\n"
		     "\t@V@_w t = {w->writer, w->depth + 1, 0};\n"
		     "\n"
		     "\tipc_writer_new_table(w->writer, w->depth, w->serial, @id@, @offset@, "
		     "&@V@_shape, ");
	ipci_out_printf(out, "%u, %u);\n", inner->bytes, inner->align);
	ipci_out_put(out, vars,
		     "\tt.serial = w->writer->serial;\n"
		     "\treturn t;\n"
		     "}\n\n");
}

static void emit_field(struct ipci_out *out, const struct ipci_object *o,
		       const struct ipci_field *f)
{
	struct ipci_var vars[IPCI_FIELD_VARS];

	ipci_emit_field_vars(out, o, f, vars);
	if (ipci_is_scalar(f->type.base))
		ipci_out_put(out, vars,
			     "static inline void $@T@_set_@F@(@T@_w *w, @c@ value)\n"
			     "{\n"
			     "\tuint8_t *at = ipc_writer_field(w->writer, w->depth, w->serial, "
			     "@id@, @offset@,\n"
			     "\t\t\t\t       @present@);\n"
			     "\n"
			     "\tif (at)\n"
			     "\t\tmemcpy(at, &value, @bytes@);\n"
			     "}\n\n");
	else if (f->type.base == IPCI_STRING)
		ipci_out_put(out, vars,
			     "static inline void $@T@_set_@F@(@T@_w *w, const char *data, size_t "
			     "size_bytes)\n"
			     "{\n"
			     "\tipc_writer_set_str(w->writer, w->depth, w->serial, @id@, @offset@, "
			     "data, size_bytes);\n"
			     "}\n"
			     "\n"
			     "static inline void $@T@_set_@F@_str(@T@_w *w, const char *text)\n"
			     "{\n"
			     "\t@T@_set_@F@(w, text, strlen(text));\n"
			     "}\n\n");
	else if (f->type.base == IPCI_VECTOR)
		emit_vector(out, f, vars);
	else if (out->schema->objects[f->type.index].is_struct)
		ipci_out_put(out, vars,
			     "static inline void $@T@_set_@F@(@T@_w *w, @V@ value)\n"
			     "{\n"
			     "\tuint8_t *at = ipc_writer_field(w->writer, w->depth, w->serial, "
			     "@id@, @offset@, true);\n"
			     "\n"
			     "\tif (at)\n"
			     "\t\t@V@_store(at, &value);\n"
			     "}\n\n");
	else
		emit_table(out, &out->schema->objects[f->type.index], vars);
}

void ipci_emit_writers(struct ipci_out *out, const struct ipci_object *o)
{
	const bool is_root = out->schema->root == (int32_t)(o - out->schema->objects);
	const struct ipci_var vars[] = {
		{"T", o->c_name},
		{"bytes", ipci_out_text(out, "%u", o->bytes)},
		{"align", ipci_out_text(out, "%u", o->align)},
		{NULL, NULL},
	};

	out->subject = o->name;
	ipci_out_put(out, vars,
		     "/* Opens the message's root table. */\n"
		     "static inline @T@_w $@T@_start(struct ipc_writer *writer)\n"
		     "{\n");
	if (is_root && out->schema->ident[0])
		ipci_out_printf(out, "\tstatic const char ident[4] = {%d, %d, %d, %d};\n",
				out->schema->ident[0], out->schema->ident[1], out->schema->ident[2],
				out->schema->ident[3]);
	ipci_out_put(out, vars,
		     "\t@T@_w t = {writer, 0, 0};\n"
		     "\n"
		     "\tipc_writer_root(writer, &@T@_shape, @bytes@, @align@, ");
	ipci_out_printf(out, "%s);\n", is_root && out->schema->ident[0] ? "ident" : "NULL");
	ipci_out_put(out, vars,
		     "\tt.serial = writer->serial;\n"
		     "\treturn t;\n"
		     "}\n"
		     "\n"
		     "static inline @T@_w $@T@_new_at(@T@_vec_w *v, size_t i)\n"
		     "{\n"
		     "\t@T@_w t = {v->vec.writer, v->vec.depth + 1, 0};\n"
		     "\n"
		     "\tipc_vec_w_new_table(&v->vec, i, &@T@_shape, @bytes@, @align@);\n"
		     "\tt.serial = v->vec.writer->serial;\n"
		     "\treturn t;\n"
		     "}\n\n");
	for (uint32_t i = 0; i < o->n_fields; i++)
		if (!o->fields[i].deprecated)
			emit_field(out, o, &o->fields[i]);
}
