// SPDX-License-Identifier: Apache-2.0
/* RFC 8259. Escapes beyond ASCII are refused: nothing that is read here has any. */
#include "json.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 32u

struct parser {
	const char *start, *at;
	unsigned int depth;
};

static const struct json nothing = {.type = JSON_NULL};

static void skip_space(struct parser *parser)
{
	parser->at += strspn(parser->at, " \t\r\n");
}

static bool take(struct parser *parser, const char *word)
{
	size_t n = strlen(word);

	if (strncmp(parser->at, word, n) != 0)
		return false;
	parser->at += n;
	return true;
}

static int parse_escape(struct parser *parser, char *ret)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	const char *found = *parser->at ? strchr(from, *parser->at) : NULL;
	unsigned long code;
	char digits[5] = "";

	if (found) {
		*ret = to[found - from];
		parser->at++;
		return 0;
	}
	if (*parser->at != 'u')
		return -EINVAL;
	memccpy(digits, parser->at + 1, '\0', 4);
	if (strspn(digits, "0123456789abcdefABCDEF") != 4)
		return -EINVAL;
	code = strtoul(digits, NULL, 16);
	if (code == 0 || code > 0x7f)
		return -EINVAL;
	*ret = (char)code;
	parser->at += 5;
	return 0;
}

/* Behind the opening quote, up to and with the closing one. */
static int parse_string(struct parser *parser, char **ret)
{
	/* Escapes only make it shorter. */
	char *text = malloc(strcspn(parser->at, "\n") + 1), *to = text;
	int r = 0;

	if (!text)
		return -ENOMEM;
	while (r == 0 && *parser->at != '"') {
		if ((unsigned char)*parser->at < 0x20) {
			r = -EINVAL;
		} else if (*parser->at == '\\') {
			parser->at++;
			r = parse_escape(parser, to++);
		} else {
			*to++ = *parser->at++;
		}
	}
	if (r < 0) {
		free(text);
		return r;
	}
	parser->at++;
	*to = '\0';
	*ret = text;
	return 0;
}

static int parse_value(struct parser *parser, struct json *ret);

/* One more item, and its key. */
static struct json *grow(struct json *json)
{
	size_t n = json->n_items;
	struct json *items;
	char **keys;

	/* Powers of two: it is full when it has as many as one. */
	if ((n & (n - 1)) == 0) {
		size_t room = n ? 2 * n : 1;

		items = realloc(json->items, room * sizeof(*items));
		if (items)
			json->items = items;
		keys = realloc(json->keys, room * sizeof(*keys));
		if (keys)
			json->keys = keys;
		if (!items || !keys)
			return NULL;
	}
	json->items[n] = nothing;
	json->keys[n] = NULL;
	json->n_items++;
	return &json->items[n];
}

static int parse_item(struct parser *parser, struct json *ret)
{
	struct json *item = grow(ret);

	if (!item)
		return -ENOMEM;
	skip_space(parser);
	if (ret->type == JSON_OBJECT) {
		int r = take(parser, "\"") ? parse_string(parser, &ret->keys[ret->n_items - 1])
					   : -EINVAL;

		if (r < 0)
			return r;
		skip_space(parser);
		if (!take(parser, ":"))
			return -EINVAL;
	}
	return parse_value(parser, item);
}

/* Behind the opening bracket, up to and with the closing one. */
static int parse_items(struct parser *parser, struct json *ret, const char *close)
{
	int r;

	if (++parser->depth > DEPTH_MAX)
		return -EINVAL;
	skip_space(parser);
	if (!take(parser, close)) {
		do {
			r = parse_item(parser, ret);
			if (r < 0)
				return r;
			skip_space(parser);
		} while (take(parser, ","));
		if (!take(parser, close))
			return -EINVAL;
	}
	parser->depth--;
	return 0;
}

static int parse_number(struct parser *parser, struct json *ret)
{
	char *end;

	if (*parser->at != '-' && !isdigit((unsigned char)*parser->at))
		return -EINVAL;
	ret->type = JSON_NUMBER;
	ret->number = strtod(parser->at, &end);
	if (end == parser->at)
		return -EINVAL;
	parser->at = end;
	return 0;
}

static int parse_value(struct parser *parser, struct json *ret)
{
	skip_space(parser);
	if (take(parser, "{")) {
		ret->type = JSON_OBJECT;
		return parse_items(parser, ret, "}");
	}
	if (take(parser, "[")) {
		ret->type = JSON_ARRAY;
		return parse_items(parser, ret, "]");
	}
	if (take(parser, "\"")) {
		ret->type = JSON_STRING;
		return parse_string(parser, &ret->text);
	}
	if (take(parser, "null"))
		return 0;
	if (take(parser, "true")) {
		ret->type = JSON_TRUE;
		return 0;
	}
	if (take(parser, "false")) {
		ret->type = JSON_FALSE;
		return 0;
	}
	return parse_number(parser, ret);
}

int json_parse(struct json *ret, const char *text, struct ipci_error *error)
{
	struct parser parser = {.start = text, .at = text};
	int r;

	*ret = nothing;
	r = parse_value(&parser, ret);
	if (r == 0) {
		skip_space(&parser);
		if (*parser.at)
			r = -EINVAL;
	}
	if (r == -ENOMEM)
		return ipci_error_set(error, r, "out of memory");
	if (r < 0)
		return ipci_error_set(error, r, "no JSON at byte %zu",
				      (size_t)(parser.at - parser.start));
	return 0;
}

void json_free(struct json *json)
{
	for (size_t i = 0; i < json->n_items; i++) {
		json_free(&json->items[i]);
		free(json->keys[i]);
	}
	free(json->items);
	free(json->keys);
	free(json->text);
	*json = nothing;
}

const struct json *json_get(const struct json *json, const char *key)
{
	if (json->type != JSON_OBJECT)
		return &nothing;
	for (size_t i = 0; i < json->n_items; i++)
		if (strcmp(json->keys[i], key) == 0)
			return &json->items[i];
	return &nothing;
}

double json_number(const struct json *json)
{
	return json->type == JSON_NUMBER ? json->number : 0;
}

const char *json_text(const struct json *json)
{
	return json->type == JSON_STRING ? json->text : "";
}
