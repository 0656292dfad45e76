/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "error.h"

__attribute__((__format__(__printf__, 4, 0))) static void
set_text(struct ipci_error *error, int code, const char *suffix, const char *format, va_list args)
{
	size_t used;

	error->code = code;
	if (vsnprintf(error->text, sizeof(error->text), format, args) < 0)
		error->text[0] = '\0';
	used = strlen(error->text);
	if (suffix)
		(void)snprintf(error->text + used, sizeof(error->text) - used, ": %s", suffix);
	/* One line, whatever a peer's name or a path held. */
	for (char *c = error->text; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = '?';
}

int ipci_error_set(struct ipci_error *error, int code, const char *format, ...)
{
	va_list args;

	if (!error)
		return code;
	va_start(args, format);
	set_text(error, code, NULL, format, args);
	va_end(args);
	return code;
}

int ipci_error_errno(struct ipci_error *error, const char *format, ...)
{
	int code = -errno;
	char words[128];
	va_list args;

	if (!error)
		return code;
	va_start(args, format);
	set_text(error, code, strerror_r(-code, words, sizeof(words)), format, args);
	va_end(args);
	return code;
}
