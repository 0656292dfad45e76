/* SPDX-License-Identifier: Apache-2.0 */
/* Reads JSON into a tree: what the benches print, for what draws it. */
#ifndef CLI_JSON_H
#define CLI_JSON_H

#include <stddef.h>

#include "error.h"

enum json_type {
	JSON_NULL,
	JSON_FALSE,
	JSON_TRUE,
	JSON_NUMBER,
	JSON_STRING,
	JSON_ARRAY,
	JSON_OBJECT,
};

struct json {
	enum json_type type;
	double number;
	char *text;	    /* of a string */
	struct json *items; /* of an array or an object */
	char **keys;	    /* of an object, as many as items */
	size_t n_items;
};

/* The one value that @text is. 0; -EINVAL and where it is wrong; -ENOMEM. Free it in either case. */
int json_parse(struct json *ret, const char *text, struct ipci_error *error);
void json_free(struct json *json);

/* What an object has under @key; one that is JSON_NULL if it has none, or is no object. */
const struct json *json_get(const struct json *json, const char *key);
/* Numbers and strings; 0 and "" for what is something else. */
double json_number(const struct json *json);
const char *json_text(const struct json *json);

#endif
