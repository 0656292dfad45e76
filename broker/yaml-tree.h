/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A YAML file as a tree whose every node knows its place, and the few shapes that a policy is made
 * of. Reading goes on after a fault, so that an operator sees them together.
 */
#ifndef IPCI_BROKER_YAML_TREE_H
#define IPCI_BROKER_YAML_TREE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <yaml.h>

#define IPCI_FAULTS_MAX 32u

struct ipci_fault {
	size_t line, column; /* from 1; 0: the file as a whole */
	char text[256];
};

struct ipci_faults {
	struct ipci_fault fault[IPCI_FAULTS_MAX];
	unsigned n; /* at most IPCI_FAULTS_MAX; later ones are dropped */
};

struct ipci_yaml {
	yaml_document_t document;
	bool loaded;
	struct ipci_faults *faults;
};

/* One key that a mapping may have, and what reads its value into @target. */
struct ipci_yaml_key {
	const char *name;
	void (*read)(struct ipci_yaml *yaml, yaml_node_t *value, void *target);
	bool required;
};

/* Loads the one document of @path. -errno or -EINVAL, with a fault recorded; deinit in any case. */
int ipci_yaml_load(struct ipci_yaml *yaml, const char *path, struct ipci_faults *faults);
void ipci_yaml_deinit(struct ipci_yaml *yaml);

/* Records a fault at @node; NULL: of the file as a whole. */
__attribute__((__format__(__printf__, 3, 4))) void
ipci_yaml_fault(struct ipci_yaml *yaml, const yaml_node_t *node, const char *format, ...);

/*
 * Reads a mapping with known keys, each at most once. @what names it in faults: "a workload". @keys
 * ends with a NULL name.
 */
void ipci_yaml_mapping(struct ipci_yaml *yaml, yaml_node_t *node, const char *what,
		       const struct ipci_yaml_key *keys, void *target);

/* Reads a mapping whose keys are data, each at most once: @entry sees every one. */
void ipci_yaml_entries(struct ipci_yaml *yaml, yaml_node_t *node, const char *what,
		       void (*entry)(struct ipci_yaml *yaml, yaml_node_t *key, yaml_node_t *value,
				     void *target),
		       void *target);

/* Reads a sequence: @item sees every item. */
void ipci_yaml_items(struct ipci_yaml *yaml, yaml_node_t *node, const char *what,
		     void (*item)(struct ipci_yaml *yaml, yaml_node_t *item, void *target),
		     void *target);

/* A scalar's text, never empty; NULL with a fault that says what was @expected. Lives as long as
 * the document. */
const char *ipci_yaml_text(struct ipci_yaml *yaml, const yaml_node_t *node, const char *expected);

/* An unsigned number within bounds, with a fault where it is not. */
bool ipci_yaml_number(struct ipci_yaml *yaml, const yaml_node_t *node, uint64_t min, uint64_t max,
		      uint64_t *ret);

/* The same for an amount of memory: bytes, or a number of KiB, MiB or GiB. */
bool ipci_yaml_bytes(struct ipci_yaml *yaml, const yaml_node_t *node, uint64_t min, uint64_t max,
		     uint64_t *ret);

/* Digits alone, all of @text up to @end; false also on overflow. */
bool ipci_parse_number(const char *text, const char *end, uint64_t *ret);

#endif
