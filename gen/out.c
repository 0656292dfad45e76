/* SPDX-License-Identifier: Apache-2.0 */
/* The text of the header, kept in memory until it is whole; and the C names that it defines. */
#include "out.h"
#include "names.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void ipci_out_deinit(struct ipci_out *out)
{
	free(out->text);
	free(out->defined);
	out->text = NULL;
	out->defined = NULL;
}

static void no_memory(struct ipci_out *out)
{
	if (!out->err)
		out->err = ipci_error_set(out->error, -ENOMEM, "%s: out of memory",
					  out->schema->file);
}

static void append(struct ipci_out *out, const char *data, size_t n)
{
	if (out->err)
		return;
	if (out->n_bytes + n + 1 > out->capacity) {
		size_t capacity = 2 * (out->n_bytes + n + 1);
		char *text = realloc(out->text, capacity);

		if (!text) {
			no_memory(out);
			return;
		}
		out->text = text;
		out->capacity = capacity;
	}
	memcpy(out->text + out->n_bytes, data, n);
	out->n_bytes += n;
	out->text[out->n_bytes] = '\0';
}

static void define(struct ipci_out *out, const char *name, size_t n)
{
	if (out->err)
		return;
	if (out->n_defined == out->defined_capacity) {
		size_t capacity = 2 * out->defined_capacity + 64;
		struct ipci_defined *defined = realloc(out->defined, capacity * sizeof(*defined));

		if (!defined) {
			no_memory(out);
			return;
		}
		out->defined = defined;
		out->defined_capacity = capacity;
	}
	out->defined[out->n_defined].name = ipci_out_text(out, "%.*s", (int)n, name);
	out->defined[out->n_defined].subject = out->subject;
	out->n_defined++;
}

/* Appends one @name@ or one plain run of @format; returns what follows it. */
static const char *put_part(struct ipci_out *out, const struct ipci_var *vars, const char *format)
{
	size_t n = strcspn(format, "@$");
	const char *end;

	if (*format != '@') {
		append(out, format, n);
		return format + n;
	}
	end = strchr(format + 1, '@');
	for (const struct ipci_var *var = vars; end && var->name; var++) {
		n = (size_t)(end - format - 1);
		if (strlen(var->name) == n && memcmp(var->name, format + 1, n) == 0) {
			append(out, var->value, strlen(var->value));
			return end + 1;
		}
	}
	abort(); /* a template of ours names a variable that it was not given */
}

static bool in_identifier(char c)
{
	return isalnum((unsigned char)c) || c == '_';
}

void ipci_out_put(struct ipci_out *out, const struct ipci_var *vars, const char *format)
{
	while (*format) {
		size_t from = out->n_bytes, n = 0;
		bool defines = *format == '$';

		format += defines;
		if (!defines) {
			format = put_part(out, vars, format);
			continue;
		}
		/* The identifier may be put together from several parts, and ends within one. */
		while (*format && *format != '$' && (*format == '@' || in_identifier(*format)))
			format = put_part(out, vars, format);
		if (out->err)
			return;
		while (in_identifier(out->text[from + n]))
			n++;
		define(out, out->text + from, n);
	}
}

void ipci_out_printf(struct ipci_out *out, const char *format, ...)
{
	va_list args;
	char *text = NULL;
	int n;

	va_start(args, format);
	n = vasprintf(&text, format, args);
	va_end(args);
	if (n < 0) {
		no_memory(out);
		return;
	}
	append(out, text, (size_t)n);
	free(text);
}

const char *ipci_out_text(struct ipci_out *out, const char *format, ...)
{
	const char *ret = NULL;
	va_list args;
	char *text = NULL;
	int n;

	va_start(args, format);
	n = vasprintf(&text, format, args);
	va_end(args);
	if (n >= 0) {
		ret = ipci_arena_printf(&out->schema->arena, "%s", text);
		free(text);
	}
	if (!ret)
		no_memory(out);
	return ret ? ret : "";
}

static int by_name(const void *a, const void *b)
{
	const struct ipci_defined *x = a, *y = b;

	return strcmp(x->name, y->name);
}

int ipci_out_finish(struct ipci_out *out)
{
	if (out->err)
		return out->err;
	/* An empty schema defines nothing. */
	if (out->n_defined)
		qsort(out->defined, out->n_defined, sizeof(*out->defined), by_name);
	for (size_t i = 0; i < out->n_defined; i++) {
		const struct ipci_defined *d = &out->defined[i];

		if (ipci_name_is_reserved(d->name))
			return ipci_error_set(out->error, -EINVAL,
					      "%s: %s: the name %s is not free in C",
					      out->schema->file, d->subject, d->name);
		if (i && strcmp(d->name, d[-1].name) == 0)
			return ipci_error_set(out->error, -EINVAL,
					      "%s: %s: it needs the C name %s, and so does %s",
					      out->schema->file, d->subject, d->name,
					      d[-1].subject);
	}
	return 0;
}
