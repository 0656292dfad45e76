// SPDX-License-Identifier: Apache-2.0
/*
 * libyaml's document tree, not libcyaml's schemas: a policy's mappings have keys that are data
 * (workloads, services), and values of either of two types (a uid or a list), neither of which a
 * libcyaml 1.3 schema can state; and its diagnostics do not give the place and the expectation
 * together. Aliases are shared nodes here, so they cost nothing to expand; a document's depth is
 * that of the readers.
 */
#include "yaml-tree.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"

#define FILE_MAX_BYTES (1 << 20)

__attribute__((__format__(__printf__, 4, 0))) static void
fault_at(struct ipci_faults *faults, size_t line, size_t column, const char *format, va_list ap)
{
	struct ipci_fault *fault;

	if (faults->n == IPCI_FAULTS_MAX)
		return;
	fault = &faults->fault[faults->n++];
	fault->line = line;
	fault->column = column;
	(void)vsnprintf(fault->text, sizeof(fault->text), format, ap);
}

void ipci_yaml_fault(struct ipci_yaml *yaml, const yaml_node_t *node, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	fault_at(yaml->faults, node ? node->start_mark.line + 1 : 0,
		 node ? node->start_mark.column + 1 : 0, format, ap);
	va_end(ap);
}

__attribute__((__format__(__printf__, 3, 4))) static void
fault_mark(struct ipci_yaml *yaml, const yaml_mark_t *mark, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	fault_at(yaml->faults, mark->line + 1, mark->column + 1, format, ap);
	va_end(ap);
}

static int parse(struct ipci_yaml *yaml, yaml_parser_t *parser)
{
	yaml_document_t second;

	if (!yaml_parser_load(parser, &yaml->document))
		goto syntax;
	yaml->loaded = true;
	if (!yaml_document_get_root_node(&yaml->document)) {
		ipci_yaml_fault(yaml, NULL, "the file is empty: expected a policy");
		return -EINVAL;
	}
	if (!yaml_parser_load(parser, &second))
		goto syntax;
	if (yaml_document_get_root_node(&second))
		fault_mark(yaml, &second.start_mark, "a second document: expected one policy");
	yaml_document_delete(&second);
	return yaml->faults->n ? -EINVAL : 0;

syntax:
	fault_mark(yaml, &parser->problem_mark, "not YAML: %s%s%s",
		   parser->problem ? parser->problem : "out of memory", parser->context ? " " : "",
		   parser->context ? parser->context : "");
	return -EINVAL;
}

/* Reads the whole file: a FIFO or a growing file must not hold the daemon up. */
static int slurp(struct ipci_yaml *yaml, const char *path, char **ret, size_t *ret_n)
{
	_cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	_cleanup_(freep) char *text = NULL;
	struct stat st;
	size_t n = 0;

	if (fd < 0 || fstat(fd, &st) < 0) {
		int error = -errno;

		ipci_yaml_fault(yaml, NULL, "cannot be read: %s", strerror(-error));
		return error;
	}
	if (!S_ISREG(st.st_mode) || st.st_size > FILE_MAX_BYTES) {
		ipci_yaml_fault(yaml, NULL, "expected a regular file of at most %d MiB",
				FILE_MAX_BYTES >> 20);
		return -EINVAL;
	}
	text = malloc((size_t)st.st_size + 1);
	if (!text)
		return -ENOMEM;
	while (n < (size_t)st.st_size) {
		ssize_t got = read(fd, text + n, (size_t)st.st_size - n);

		if (got < 0) {
			int error = -errno;

			ipci_yaml_fault(yaml, NULL, "cannot be read: %s", strerror(-error));
			return error;
		}
		if (got == 0)
			break;
		n += (size_t)got;
	}
	*ret = TAKE_PTR(text);
	*ret_n = n;
	return 0;
}

int ipci_yaml_load(struct ipci_yaml *yaml, const char *path, struct ipci_faults *faults)
{
	_cleanup_(freep) char *text = NULL;
	yaml_parser_t parser;
	size_t n = 0;
	int r;

	*yaml = (struct ipci_yaml){.faults = faults};
	r = slurp(yaml, path, &text, &n);
	if (r < 0)
		return r;
	if (!yaml_parser_initialize(&parser))
		return -ENOMEM;
	yaml_parser_set_input_string(&parser, (const unsigned char *)text, n);
	r = parse(yaml, &parser);
	yaml_parser_delete(&parser);
	return r;
}

void ipci_yaml_deinit(struct ipci_yaml *yaml)
{
	if (yaml->loaded)
		yaml_document_delete(&yaml->document);
	yaml->loaded = false;
}

static const char *type_name(const yaml_node_t *node)
{
	switch (node->type) {
	case YAML_MAPPING_NODE:
		return "a mapping";
	case YAML_SEQUENCE_NODE:
		return "a list";
	default:
		return "a single value";
	}
}

static const char *raw(const yaml_node_t *node)
{
	return (const char *)node->data.scalar.value;
}

const char *ipci_yaml_text(struct ipci_yaml *yaml, const yaml_node_t *node, const char *expected)
{
	if (node->type != YAML_SCALAR_NODE) {
		ipci_yaml_fault(yaml, node, "expected %s, not %s", expected, type_name(node));
		return NULL;
	}
	if (node->data.scalar.length == 0 || strlen(raw(node)) != node->data.scalar.length) {
		ipci_yaml_fault(yaml, node, "expected %s, not %s", expected,
				node->data.scalar.length ? "a zero byte" : "nothing");
		return NULL;
	}
	return raw(node);
}

/* The earlier pair with the same key, or NULL. */
static yaml_node_t *earlier(struct ipci_yaml *yaml, yaml_node_t *node, const yaml_node_pair_t *pair,
			    const char *key)
{
	for (yaml_node_pair_t *p = node->data.mapping.pairs.start; p < pair; p++) {
		yaml_node_t *other = yaml_document_get_node(&yaml->document, p->key);

		if (other->type == YAML_SCALAR_NODE && strcmp(raw(other), key) == 0)
			return other;
	}
	return NULL;
}

void ipci_yaml_entries(struct ipci_yaml *yaml, yaml_node_t *node, const char *what,
		       void (*entry)(struct ipci_yaml *yaml, yaml_node_t *key, yaml_node_t *value,
				     void *target),
		       void *target)
{
	if (node->type != YAML_MAPPING_NODE) {
		ipci_yaml_fault(yaml, node, "%s: expected a mapping, not %s", what,
				type_name(node));
		return;
	}
	for (yaml_node_pair_t *p = node->data.mapping.pairs.start; p < node->data.mapping.pairs.top;
	     p++) {
		yaml_node_t *key = yaml_document_get_node(&yaml->document, p->key);
		yaml_node_t *value = yaml_document_get_node(&yaml->document, p->value);
		const char *text = ipci_yaml_text(yaml, key, "a key");
		yaml_node_t *first;

		if (!text)
			continue;
		first = earlier(yaml, node, p, text);
		if (first)
			ipci_yaml_fault(yaml, key, "%s: \"%.64s\" a second time, first on line %zu",
					what, text, first->start_mark.line + 1);
		else
			entry(yaml, key, value, target);
	}
}

struct known {
	const char *what;
	const struct ipci_yaml_key *keys;
	void *target;
	uint64_t seen;
};

static void unknown_key(struct ipci_yaml *yaml, yaml_node_t *key, const struct known *known)
{
	char names[160] = "";
	size_t n = 0;

	for (const struct ipci_yaml_key *k = known->keys; k->name && n < sizeof(names); k++)
		n += (size_t)snprintf(names + n, sizeof(names) - n, "%s%s",
				      k == known->keys ? "" : ", ", k->name);
	ipci_yaml_fault(yaml, key, "%s: unknown key \"%.32s\", expected one of %s", known->what,
			raw(key), names);
}

static void known_key(struct ipci_yaml *yaml, yaml_node_t *key, yaml_node_t *value, void *target)
{
	struct known *known = target;

	for (unsigned i = 0; known->keys[i].name; i++)
		if (strcmp(known->keys[i].name, raw(key)) == 0) {
			known->seen |= UINT64_C(1) << i;
			known->keys[i].read(yaml, value, known->target);
			return;
		}
	unknown_key(yaml, key, known);
}

void ipci_yaml_mapping(struct ipci_yaml *yaml, yaml_node_t *node, const char *what,
		       const struct ipci_yaml_key *keys, void *target)
{
	struct known known = {.what = what, .keys = keys, .target = target};

	ipci_yaml_entries(yaml, node, what, known_key, &known);
	if (node->type != YAML_MAPPING_NODE)
		return;
	for (unsigned i = 0; keys[i].name; i++)
		if (keys[i].required && !(known.seen >> i & 1))
			ipci_yaml_fault(yaml, node, "%s: \"%s\" is missing", what, keys[i].name);
}

void ipci_yaml_items(struct ipci_yaml *yaml, yaml_node_t *node, const char *what,
		     void (*item)(struct ipci_yaml *yaml, yaml_node_t *item, void *target),
		     void *target)
{
	if (node->type != YAML_SEQUENCE_NODE) {
		ipci_yaml_fault(yaml, node, "%s: expected a list, not %s", what, type_name(node));
		return;
	}
	for (yaml_node_item_t *i = node->data.sequence.items.start;
	     i < node->data.sequence.items.top; i++)
		item(yaml, yaml_document_get_node(&yaml->document, *i), target);
}

bool ipci_parse_number(const char *text, const char *end, uint64_t *ret)
{
	uint64_t value = 0;

	if (text == end)
		return false;
	for (; text < end; text++) {
		if (*text < '0' || *text > '9')
			return false;
		if (__builtin_mul_overflow(value, UINT64_C(10), &value) ||
		    __builtin_add_overflow(value, (uint64_t)(*text - '0'), &value))
			return false;
	}
	*ret = value;
	return true;
}

bool ipci_yaml_number(struct ipci_yaml *yaml, const yaml_node_t *node, uint64_t min, uint64_t max,
		      uint64_t *ret)
{
	const char *text = ipci_yaml_text(yaml, node, "a number");
	uint64_t value;

	if (!text)
		return false;
	if (!ipci_parse_number(text, text + strlen(text), &value) || value < min || value > max) {
		ipci_yaml_fault(yaml, node, "expected a number from %llu to %llu, not \"%.64s\"",
				(unsigned long long)min, (unsigned long long)max, text);
		return false;
	}
	*ret = value;
	return true;
}

bool ipci_yaml_bytes(struct ipci_yaml *yaml, const yaml_node_t *node, uint64_t min, uint64_t max,
		     uint64_t *ret)
{
	static const char *const units[] = {"KiB", "MiB", "GiB"};
	const char *text = ipci_yaml_text(yaml, node, "an amount of memory, as in 16MiB");
	const char *end;
	unsigned shift = 0;
	uint64_t value;

	if (!text)
		return false;
	end = text + strspn(text, "0123456789");
	for (unsigned i = 0; i < 3; i++)
		if (strcmp(end, units[i]) == 0)
			shift = 10 * (i + 1);
	if ((*end && !shift) || !ipci_parse_number(text, end, &value) || value > max >> shift ||
	    value << shift < min) {
		ipci_yaml_fault(
			yaml, node,
			"expected an amount of memory from %lluKiB to %lluMiB, as in 16MiB, "
			"not \"%.64s\"",
			(unsigned long long)min >> 10, (unsigned long long)max >> 20, text);
		return false;
	}
	*ret = value << shift;
	return true;
}
