/* SPDX-License-Identifier: Apache-2.0 */
/* Tables, read: handles, one accessor a field, and the walk that reads all of it. */
#include "emit.h"

#include <string.h>

void ipci_emit_table_types(struct ipci_out *out, const struct ipci_object *o)
{
	const struct ipci_var vars[] = {{"T", o->c_name}, {NULL, NULL}};

	out->subject = o->name;
	ipci_emit_doc(out, o->doc, "");
	ipci_out_put(out, vars,
		     "typedef struct $@T@ {\n"
		     "\tstruct ipc_table table;\n"
		     "} @T@;\n"
		     "\n"
		     "typedef struct $@T@_vec {\n"
		     "\tstruct ipc_vec vec;\n"
		     "} @T@_vec;\n"
		     "\n"
		     "typedef struct $@T@_w {\n"
		     "\tstruct ipc_writer *writer;\n"
		     "\tuint32_t depth;\n"
		     "\tuint32_t serial;\n"
		     "} @T@_w;\n"
		     "\n"
		     "typedef struct $@T@_vec_w {\n"
		     "\tstruct ipc_vec_w vec;\n"
		     "} @T@_vec_w;\n\n");
}

static void emit_field(struct ipci_out *out, const struct ipci_object *o,
		       const struct ipci_field *f)
{
	struct ipci_var vars[IPCI_FIELD_VARS];

	ipci_emit_field_vars(out, o, f, vars);
	ipci_out_put(out, vars,
		     "static inline bool $@T@_has_@F@(@T@ t)\n"
		     "{\n"
		     "\treturn @field@ != 0;\n"
		     "}\n\n");
	ipci_emit_doc(out, f->doc, "");
	if (ipci_is_scalar(f->type.base))
		ipci_out_put(out, vars,
			     "static inline @c@ $@T@_@F@(@T@ t)\n"
			     "{\n"
			     "\tuint32_t at = @field@;\n"
			     "\n"
			     "\treturn at ? ipc_load_@scalar@(t.table.msg, at) : (@c@)@default@;\n"
			     "}\n\n");
	else if (f->type.base == IPCI_STRING)
		ipci_out_put(out, vars,
			     "static inline struct ipc_str $@T@_@F@(@T@ t)\n"
			     "{\n"
			     "\treturn ipc_follow_str(t.table.msg, @place@);\n"
			     "}\n\n");
	else if (f->type.base == IPCI_VECTOR)
		ipci_out_put(
			out, vars,
			"static inline @V@_vec $@T@_@F@(@T@ t)\n"
			"{\n"
			"\t@V@_vec v = {ipc_follow_vec(t.table.msg, @place@, @size@, @align@)};\n"
			"\n"
			"\treturn v;\n"
			"}\n\n");
	else if (out->schema->objects[f->type.index].is_struct)
		ipci_out_put(out, vars,
			     "static inline @V@ $@T@_@F@(@T@ t)\n"
			     "{\n"
			     "\treturn @V@_load(t.table.msg, @place@);\n"
			     "}\n\n");
	else
		ipci_out_put(out, vars,
			     "static inline @V@ $@T@_@F@(@T@ t)\n"
			     "{\n"
			     "\t@V@ v = {ipc_follow_table(t.table.msg, @place@)};\n"
			     "\n"
			     "\treturn v;\n"
			     "}\n\n");
}

static void emit_ident(struct ipci_out *out, const struct ipci_object *o)
{
	uint32_t ident;
	const struct ipci_var vars[] = {{"T", o->c_name}, {NULL, NULL}};

	memcpy(&ident, out->schema->ident, sizeof(ident));
	ipci_out_put(out, vars,
		     "static inline bool $@T@_has_identifier(const struct ipc_msg *msg)\n"
		     "{\n");
	ipci_out_printf(
		out,
		"\treturn msg->size_bytes >= 8 && ipc_load_uint32(msg, 4) == UINT32_C(%u);\n}\n\n",
		ident);
}

void ipci_emit_readers(struct ipci_out *out, const struct ipci_object *o)
{
	const struct ipci_var vars[] = {{"T", o->c_name}, {NULL, NULL}};

	out->subject = o->name;
	ipci_out_put(out, vars,
		     "static inline @T@ $@T@_root(struct ipc_msg *msg)\n"
		     "{\n"
		     "\t@T@ t = {ipc_table_root(msg)};\n"
		     "\n"
		     "\treturn t;\n"
		     "}\n"
		     "\n"
		     "/* Whether all that was read of the message so far was well-formed. */\n"
		     "static inline bool $@T@_ok(@T@ t)\n"
		     "{\n"
		     "\treturn !t.table.msg->bad;\n"
		     "}\n"
		     "\n"
		     "static inline struct ipc_msg *$@T@_msg(@T@ t)\n"
		     "{\n"
		     "\treturn t.table.msg;\n"
		     "}\n"
		     "\n"
		     "static inline size_t $@T@_vec_count(@T@_vec v)\n"
		     "{\n"
		     "\treturn v.vec.count;\n"
		     "}\n"
		     "\n"
		     "static inline @T@ $@T@_at(@T@_vec v, size_t i)\n"
		     "{\n"
		     "\t@T@ t = {ipc_follow_table(v.vec.msg, ipc_vec_element(v.vec, i, 4))};\n"
		     "\n"
		     "\treturn t;\n"
		     "}\n\n");
	if (out->schema->ident[0] && out->schema->root == (int32_t)(o - out->schema->objects))
		emit_ident(out, o);
	for (uint32_t i = 0; i < o->n_fields; i++)
		if (!o->fields[i].deprecated)
			emit_field(out, o, &o->fields[i]);
	out->subject = o->name;
	ipci_out_put(out, vars, "static inline void $@T@_walk(@T@ t, struct ipc_walk *walk);\n\n");
}

static void walk_field(struct ipci_out *out, const struct ipci_object *o,
		       const struct ipci_field *f)
{
	struct ipci_var vars[IPCI_FIELD_VARS];
	const struct ipci_object *inner = NULL;

	ipci_emit_field_vars(out, o, f, vars);
	if (f->type.index >= 0 && (f->type.base == IPCI_OBJECT || f->type.element == IPCI_OBJECT))
		inner = &out->schema->objects[f->type.index];
	if (inner && inner->is_struct)
		inner = NULL;
	if (f->type.base == IPCI_VECTOR && inner)
		ipci_out_put(out, vars,
			     "\tfor (@V@_vec v = @T@_@F@(t); i < v.vec.count && "
			     "ipc_walk_node(walk, v.vec.msg); i++)\n"
			     "\t\t@V@_walk(@V@_at(v, i), walk);\n"
			     "\ti = 0;\n");
	else if (f->type.base == IPCI_VECTOR && f->type.element == IPCI_STRING)
		ipci_out_put(out, vars, "\tipc_walk_strs(walk, @T@_@F@(t));\n");
	else if (inner)
		ipci_out_put(out, vars, "\t@V@_walk(@T@_@F@(t), walk);\n");
	else
		ipci_out_put(out, vars, "\t(void)@T@_@F@(t);\n");
}

void ipci_emit_walk(struct ipci_out *out, const struct ipci_object *o)
{
	const struct ipci_var vars[] = {{"T", o->c_name}, {NULL, NULL}};

	out->subject = o->name;
	ipci_out_put(out, vars,
		     "static inline void @T@_walk(@T@ t, struct ipc_walk *walk)\n"
		     "{\n"
		     "\tsize_t i = 0;\n"
		     "\n"
		     "\tif (!ipc_walk_enter(walk, t.table))\n"
		     "\t\treturn;\n");
	for (uint32_t i = 0; i < o->n_fields; i++)
		if (!o->fields[i].deprecated)
			walk_field(out, o, &o->fields[i]);
	out->subject = o->name;
	ipci_out_put(out, vars,
		     "\t(void)i;\n"
		     "\twalk->depth--;\n"
		     "}\n"
		     "\n"
		     "/* Reads all of it: whether the whole message is well-formed. Means little "
		     "for one that may change. */\n"
		     "static inline bool $@T@_verify(@T@ t)\n"
		     "{\n"
		     "\tstruct ipc_walk walk = ipc_walk_init(t.table.msg);\n"
		     "\n"
		     "\t@T@_walk(t, &walk);\n"
		     "\treturn @T@_ok(t);\n"
		     "}\n\n");
}
