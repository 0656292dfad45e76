/* SPDX-License-Identifier: Apache-2.0 */
/*
 * C names. Types are their dotted names with underscores. Whatever hangs on a type's name cannot be
 * a keyword; a struct's member, a handler and an accessor that would take the name of one of its
 * table's own functions get a trailing underscore. What still clashes is found when it is written
 * (out.c).
 */
#include "names.h"
#include "schema.h"

#include <errno.h>
#include <string.h>

static const char *const reserved[] = {
	"NULL",
	"EOF",
	"_Alignas",
	"_Alignof",
	"_Atomic",
	"_Bool",
	"_Complex",
	"_Generic",
	"_Imaginary",
	"_Noreturn",
	"_Static_assert",
	"_Thread_local",
	"alignas",
	"alignof",
	"and",
	"and_eq",
	"asm",
	"assert",
	"auto",
	"bitand",
	"bitor",
	"bool",
	"break",
	"case",
	"catch",
	"char",
	"char16_t",
	"char32_t",
	"char8_t",
	"class",
	"co_await",
	"co_return",
	"co_yield",
	"compl",
	"concept",
	"const",
	"const_cast",
	"consteval",
	"constexpr",
	"constinit",
	"continue",
	"decltype",
	"default",
	"delete",
	"do",
	"double",
	"dynamic_cast",
	"else",
	"enum",
	"errno",
	"explicit",
	"export",
	"extern",
	"false",
	"float",
	"for",
	"friend",
	"goto",
	"i386",
	"if",
	"inline",
	"int",
	"linux",
	"long",
	"main",
	"mutable",
	"namespace",
	"new",
	"noexcept",
	"not",
	"not_eq",
	"nullptr",
	"offsetof",
	"operator",
	"or",
	"or_eq",
	"private",
	"protected",
	"public",
	"register",
	"reinterpret_cast",
	"requires",
	"restrict",
	"return",
	"short",
	"signed",
	"sizeof",
	"static",
	"static_assert",
	"static_cast",
	"stderr",
	"stdin",
	"stdout",
	"struct",
	"switch",
	"template",
	"this",
	"thread_local",
	"throw",
	"true",
	"try",
	"typedef",
	"typeid",
	"typename",
	"typeof",
	"union",
	"unix",
	"unsigned",
	"using",
	"virtual",
	"void",
	"volatile",
	"wchar_t",
	"while",
	"xor",
	"xor_eq",
};

/* What follows a table's name in the names of its own functions and data. */
static const char *const table_names[] = {
	"at",  "has_identifier", "msg",	  "new_at", "offsets", "ok",   "root", "shape", "start",
	"vec", "vec_count",	 "vec_w", "verify", "w",       "walk",
};

/* Members of a service's handlers that are no methods. */
static const char *const handler_names[] = {"cancelled", "writable"};

/* What follows ipc_ in the names of libipc. */
static const char *const library_names[] = {
	"abort",   "begin",   "bool",	"call",	    "cancel", "channel", "commit", "double",
	"event",   "fail",    "fate",	"float",    "follow", "int8",	 "int16",  "int32",
	"int64",   "keep",    "load",	"loop",	    "method", "msg",	 "open",   "receive",
	"release", "reserve", "room",	"serve",    "server", "service", "shape",  "status",
	"str",	   "stub",    "table",	"transact", "uint8",  "uint16",	 "uint32", "uint64",
	"vec",	   "version", "vtable", "wait",	    "walk",   "writer",
};

#define N_OF(array) (sizeof(array) / sizeof(*(array)))

static bool is_one_of(const char *name, const char *const *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(name, list[i]) == 0)
			return true;
	return false;
}

bool ipci_name_is_reserved(const char *name)
{
	return is_one_of(name, reserved, N_OF(reserved));
}

/* @name, or @name_ where it is taken. */
static const char *escape(struct ipci_schema *schema, const char *name, const char *const *list,
			  size_t n)
{
	return is_one_of(name, list, n) ? ipci_arena_printf(&schema->arena, "%s_", name) : name;
}

static int type_name(struct ipci_schema *schema, const char *name, const char **ret,
		     struct ipci_error *error)
{
	char *c_name = ipci_arena_printf(&schema->arena, "%s", name);

	if (!c_name)
		return ipci_error_set(error, -ENOMEM, "%s: out of memory", schema->file);
	*ret = c_name;
	if (strncmp(name, "ipc.", 4) == 0) {
		char noun[64] = "";
		size_t n = strcspn(name + 4, "._");

		if (n < sizeof(noun))
			memcpy(noun, name + 4, n);
		if (!strchr(name + 4, '.') || is_one_of(noun, library_names, N_OF(library_names)))
			return ipci_error_set(error, -EINVAL,
					      "%s: %s: this namespace is libipc's own",
					      schema->file, name);
	}
	for (char *c = c_name; *c; c++)
		if (*c == '.')
			*c = '_';
	return 0;
}

static int name_fields(struct ipci_schema *schema, struct ipci_object *o, struct ipci_error *error)
{
	for (uint32_t i = 0; i < o->n_fields; i++) {
		struct ipci_field *f = &o->fields[i];

		f->c_name = o->is_struct ? escape(schema, f->name, reserved, N_OF(reserved))
					 : escape(schema, f->name, table_names, N_OF(table_names));
		if (!f->c_name)
			return ipci_error_set(error, -ENOMEM, "%s: out of memory", schema->file);
		for (uint32_t j = 0; o->is_struct && j < i; j++)
			if (strcmp(f->c_name, o->fields[j].c_name) == 0)
				return ipci_error_set(error, -EINVAL,
						      "%s: %s.%s: its name in C is also %s's",
						      schema->file, o->name, f->name,
						      o->fields[j].name);
	}
	return 0;
}

static int name_calls(struct ipci_schema *schema, struct ipci_service *service,
		      struct ipci_error *error)
{
	for (uint32_t i = 0; i < service->n_calls; i++) {
		struct ipci_rpc *rpc = &service->calls[i];

		rpc->c_name = escape(schema, rpc->name, handler_names, N_OF(handler_names));
		if (rpc->c_name == rpc->name)
			rpc->c_name = escape(schema, rpc->name, reserved, N_OF(reserved));
		if (!rpc->c_name)
			return ipci_error_set(error, -ENOMEM, "%s: out of memory", schema->file);
		for (uint32_t j = 0; j < i; j++)
			if (strcmp(rpc->c_name, service->calls[j].c_name) == 0)
				return ipci_error_set(error, -EINVAL,
						      "%s: %s.%s: its name in C is also %s's",
						      schema->file, service->name, rpc->name,
						      service->calls[j].name);
	}
	return 0;
}

int ipci_names_assign(struct ipci_schema *schema, struct ipci_error *error)
{
	int err = 0;

	for (uint32_t i = 0; !err && i < schema->n_enums; i++)
		err = type_name(schema, schema->enums[i].name, &schema->enums[i].c_name, error);
	for (uint32_t i = 0; !err && i < schema->n_objects; i++) {
		struct ipci_object *o = &schema->objects[i];

		err = type_name(schema, o->name, &o->c_name, error);
		if (!err)
			err = name_fields(schema, o, error);
	}
	for (uint32_t i = 0; !err && i < schema->n_services; i++) {
		struct ipci_service *service = &schema->services[i];

		err = type_name(schema, service->name, &service->c_name, error);
		if (!err)
			err = name_calls(schema, service, error);
	}
	return err;
}
