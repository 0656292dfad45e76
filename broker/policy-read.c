// SPDX-License-Identifier: Apache-2.0
/*
 * From the YAML tree to struct ipci_policy: one small reader a key. A reader records faults and
 * goes on; a policy with any fault is not used. Only running out of memory stops at once, and is a
 * fault as well.
 */
#include "policy.h"

#include <errno.h>
#include <grp.h>
#include <string.h>

#include "cleanup.h"

#define PATH_MAX_BYTES 80u /* leaves room for a workload's name in a socket address */

static const struct {
	uint64_t standard, min, max;
} bounds[IPCI_N_LIMITS] = {
	[IPCI_LIMIT_CHANNELS] = {64, 1, 1 << 20},
	[IPCI_LIMIT_SHARED_MEMORY] = {UINT64_C(16) << 20, 4096, UINT64_C(1) << 40},
	[IPCI_LIMIT_PENDING_OPENS] = {16, 1, 1 << 12},
	[IPCI_LIMIT_CALLS_IN_FLIGHT] = {256, 1, 65535},
	[IPCI_LIMIT_CONNECTIONS] = {64, 1, 1 << 16},
};

/* Room for one more element at the end of an array, zeroed; NULL with a fault when memory is out.
 */
static void *grow(struct ipci_yaml *yaml, void *array, size_t *n, size_t element_bytes)
{
	void **pointer = array;
	void *grown = reallocarray(*pointer, *n + 1, element_bytes);

	if (!grown) {
		ipci_yaml_fault(yaml, NULL, "out of memory");
		return NULL;
	}
	*pointer = grown;
	return memset((char *)grown + element_bytes * (*n)++, 0, element_bytes);
}

static char *copy(struct ipci_yaml *yaml, const char *text)
{
	char *copied = text ? strdup(text) : NULL;

	if (text && !copied)
		ipci_yaml_fault(yaml, NULL, "out of memory");
	return copied;
}

/* An element is only added whole, so that no reader of the policy meets a NULL string. */
static void append_string(struct ipci_yaml *yaml, char ***strings, size_t *n, const char *text)
{
	_cleanup_(freep) char *copied = copy(yaml, text);
	char **slot;

	if (!copied)
		return;
	slot = grow(yaml, strings, n, sizeof(**strings));
	if (slot)
		*slot = TAKE_PTR(copied);
}

static void read_version(struct ipci_yaml *yaml, yaml_node_t *node, void *target)
{
	uint64_t version;

	(void)target;
	(void)ipci_yaml_number(yaml, node, 1, 1, &version);
}

static void read_sockets(struct ipci_yaml *yaml, yaml_node_t *node, void *target)
{
	struct ipci_policy *policy = target;
	const char *text = ipci_yaml_text(yaml, node, "a directory");

	if (!text)
		return;
	if (text[0] != '/' || strlen(text) > PATH_MAX_BYTES) {
		ipci_yaml_fault(yaml, node,
				"expected an absolute path of at most %u bytes, not \"%.100s\"",
				PATH_MAX_BYTES, text);
		return;
	}
	policy->sockets = copy(yaml, text);
}

static void read_limit(struct ipci_yaml *yaml, yaml_node_t *node, uint64_t *limits,
		       enum ipci_limit limit)
{
	bool (*read)(struct ipci_yaml *, const yaml_node_t *, uint64_t, uint64_t,
		     uint64_t *) = limit == IPCI_LIMIT_SHARED_MEMORY ? ipci_yaml_bytes
								     : ipci_yaml_number;

	(void)read(yaml, node, bounds[limit].min, bounds[limit].max, &limits[limit]);
}

static void read_channels(struct ipci_yaml *yaml, yaml_node_t *node, void *target)
{
	read_limit(yaml, node, target, IPCI_LIMIT_CHANNELS);
}

static void read_shared_memory(struct ipci_yaml *yaml, yaml_node_t *node, void *target)
{
	read_limit(yaml, node, target, IPCI_LIMIT_SHARED_MEMORY);
}

static void read_pending_opens(struct ipci_yaml *yaml, yaml_node_t *node, void *target)
{
	read_limit(yaml, node, target, IPCI_LIMIT_PENDING_OPENS);
}

static void read_calls_in_flight(struct ipci_yaml *yaml, yaml_node_t *node, void *target)
{
	read_limit(yaml, node, target, IPCI_LIMIT_CALLS_IN_FLIGHT);
}

static void read_connections(struct ipci_yaml *yaml, yaml_node_t *node, void *target)
{
	read_limit(yaml, node, target, IPCI_LIMIT_CONNECTIONS);
}

static void read_limits(struct ipci_yaml *yaml, yaml_node_t *node, uint64_t *limits)
{
	static const struct ipci_yaml_key keys[] = {
		{"channels", read_channels},	       {"shared_memory", read_shared_memory},
		{"pending_opens", read_pending_opens}, {"calls_in_flight", read_calls_in_flight},
		{"connections", read_connections},     {NULL},
	};

	ipci_yaml_mapping(yaml, node, "limits", keys, limits);
}

static void read_default_limits(struct ipci_yaml *yaml, yaml_node_t *node, void *target)
{
	struct ipci_policy *policy = target;

	read_limits(yaml, node, policy->defaults);
}

static void read_defaults(struct ipci_yaml *yaml, yaml_node_t *node, void *target)
{
	static const struct ipci_yaml_key keys[] = {{"limits", read_default_limits}, {NULL}};

	ipci_yaml_mapping(yaml, node, "defaults", keys, target);
}

static void read_workload_limits(struct ipci_yaml *yaml, yaml_node_t *node, void *target)
{
	struct ipci_policy_workload *workload = target;

	read_limits(yaml, node, workload->limits);
}

static bool parse_uid(const char *text, const char *end, uid_t *ret)
{
	uint64_t value;

	/* The highest number means "no user" to every call that takes a uid. */
	if (!ipci_parse_number(text, end, &value) || value >= UINT32_MAX)
		return false;
	*ret = (uid_t)value;
	return true;
}

static void read_uid_range(struct ipci_yaml *yaml, yaml_node_t *node, void *target)
{
	struct ipci_policy_workload *workload = target;
	const char *text = ipci_yaml_text(yaml, node, "a uid, or a range as in 1000-1999");
	struct ipci_uid_range range;
	const char *end, *dash;

	if (!text)
		return;
	end = text + strlen(text);
	dash = strchr(text, '-');
	if (!parse_uid(text, dash ? dash : end, &range.first) ||
	    !parse_uid(dash ? dash + 1 : text, end, &range.last) || range.first > range.last) {
		ipci_yaml_fault(yaml, node,
				"expected a uid, or a range as in 1000-1999, not \"%.64s\"", text);
		return;
	}
	if (workload->n_uids == IPCI_POLICY_UIDS_MAX) {
		ipci_yaml_fault(yaml, node, "expected at most %u uids and ranges",
				IPCI_POLICY_UIDS_MAX);
		return;
	}
	workload->uids[workload->n_uids++] = range;
}

static void read_uid(struct ipci_yaml *yaml, yaml_node_t *node, void *target)
{
	struct ipci_policy_workload *workload = target;

	if (node->type == YAML_SEQUENCE_NODE) {
		ipci_yaml_items(yaml, node, "uid", read_uid_range, target);
		if (workload->n_uids == 0)
			ipci_yaml_fault(yaml, node, "uid: expected at least one");
	} else {
		read_uid_range(yaml, node, target);
	}
}

static void read_cgroup(struct ipci_yaml *yaml, yaml_node_t *node, void *target)
{
	struct ipci_policy_workload *workload = target;
	const char *text = ipci_yaml_text(yaml, node, "a cgroup path, with * ? [] as in a shell");

	if (text && text[0] != '/')
		ipci_yaml_fault(yaml, node,
				"cgroup: expected a path that begins with /, not \"%.64s\"", text);
	else
		workload->cgroup = copy(yaml, text);
}

static void read_identity(struct ipci_yaml *yaml, yaml_node_t *node, void *target)
{
	static const struct ipci_yaml_key keys[] = {
		{"uid", read_uid, true},
		{"cgroup", read_cgroup},
		{NULL},
	};

	ipci_yaml_mapping(yaml, node, "identity", keys, target);
}

/* A service's name, or NULL with a fault. */
static const char *service_name(struct ipci_yaml *yaml, yaml_node_t *node)
{
	const char *text = ipci_yaml_text(yaml, node, "a service, as in shop.Orders");

	if (text && !ipci_service_name_ok(text, strlen(text))) {
		ipci_yaml_fault(yaml, node, "expected a service, as in shop.Orders, not \"%.64s\"",
				text);
		return NULL;
	}
	return text;
}

static void read_served(struct ipci_yaml *yaml, yaml_node_t *node, void *target)
{
	struct ipci_policy_workload *workload = target;
	const char *name = service_name(yaml, node);

	if (name && ipci_policy_may_serve(workload, name))
		ipci_yaml_fault(yaml, node, "serve: \"%.64s\" a second time", name);
	else
		append_string(yaml, &workload->serve, &workload->n_serve, name);
}

static void read_serve(struct ipci_yaml *yaml, yaml_node_t *node, void *target)
{
	ipci_yaml_items(yaml, node, "serve", read_served, target);
}

static void read_method(struct ipci_yaml *yaml, yaml_node_t *node, void *target)
{
	struct ipci_call_rule *rule = target;
	const char *text = ipci_yaml_text(yaml, node, "a method, as in Place, or \"*\" for all");

	if (!text)
		return;
	if (strcmp(text, "*") == 0) {
		rule->any_method = true;
		return;
	}
	if (!ipci_method_name_ok(text, strlen(text))) {
		ipci_yaml_fault(yaml, node,
				"expected a method, as in Place, or \"*\" for all, not \"%.64s\"",
				text);
		return;
	}
	for (size_t i = 0; i < rule->n_methods; i++)
		if (strcmp(rule->methods[i], text) == 0) {
			ipci_yaml_fault(yaml, node, "method \"%.64s\" a second time", text);
			return;
		}
	append_string(yaml, &rule->methods, &rule->n_methods, text);
}

static void read_call_rule(struct ipci_yaml *yaml, yaml_node_t *key, yaml_node_t *value,
			   void *target)
{
	struct ipci_policy_workload *workload = target;
	const char *name = service_name(yaml, key);
	_cleanup_(freep) char *copied = copy(yaml, name);
	struct ipci_call_rule *rule;

	if (!copied)
		return;
	rule = grow(yaml, &workload->call, &workload->n_call, sizeof(*rule));
	if (!rule)
		return;
	rule->service = TAKE_PTR(copied);
	ipci_yaml_items(yaml, value, "the methods of a service", read_method, rule);
}

static void read_call(struct ipci_yaml *yaml, yaml_node_t *node, void *target)
{
	ipci_yaml_entries(yaml, node, "call", read_call_rule, target);
}

static void read_group(struct ipci_yaml *yaml, yaml_node_t *node, void *target)
{
	struct ipci_policy_workload *workload = target;
	const char *text = ipci_yaml_text(yaml, node, "a group");
	const struct group *group;
	uint64_t gid;

	if (!text)
		return;
	if (ipci_parse_number(text, text + strlen(text), &gid) && gid < UINT32_MAX) {
		workload->socket_group = (gid_t)gid;
		return;
	}
	group = getgrnam(text);
	if (group)
		workload->socket_group = group->gr_gid;
	else
		ipci_yaml_fault(yaml, node, "expected a group of this machine, not \"%.64s\"",
				text);
}

static void read_mode(struct ipci_yaml *yaml, yaml_node_t *node, void *target)
{
	struct ipci_policy_workload *workload = target;
	const char *text = ipci_yaml_text(yaml, node, "a mode, as in 0660");
	mode_t mode = 0;

	if (!text)
		return;
	for (const char *p = text; *p; p++) {
		if (*p < '0' || *p > '7' || mode > 0777 / 8) {
			ipci_yaml_fault(
				yaml, node,
				"expected a mode from 0000 to 0777, as in 0660, not \"%.64s\"",
				text);
			return;
		}
		mode = mode * 8 + (mode_t)(*p - '0');
	}
	workload->socket_mode = mode;
}

static void read_socket(struct ipci_yaml *yaml, yaml_node_t *node, void *target)
{
	static const struct ipci_yaml_key keys[] = {
		{"group", read_group},
		{"mode", read_mode},
		{NULL},
	};

	ipci_yaml_mapping(yaml, node, "socket", keys, target);
}

static void read_admin_right(struct ipci_yaml *yaml, yaml_node_t *node, void *target)
{
	static const char *const rights[] = {"status", "audit", "revoke", "drain"};
	struct ipci_policy_workload *workload = target;
	const char *text = ipci_yaml_text(yaml, node, "status, audit, revoke or drain");

	if (!text)
		return;
	for (unsigned i = 0; i < sizeof(rights) / sizeof(rights[0]); i++)
		if (strcmp(rights[i], text) == 0) {
			workload->admin |= 1u << i;
			return;
		}
	ipci_yaml_fault(yaml, node, "admin: expected status, audit, revoke or drain, not \"%.64s\"",
			text);
}

static void read_admin(struct ipci_yaml *yaml, yaml_node_t *node, void *target)
{
	ipci_yaml_items(yaml, node, "admin", read_admin_right, target);
}

static void read_workload(struct ipci_yaml *yaml, yaml_node_t *key, yaml_node_t *value,
			  void *target)
{
	static const struct ipci_yaml_key keys[] = {
		{"identity", read_identity, true},
		{"serve", read_serve},
		{"call", read_call},
		{"limits", read_workload_limits},
		{"socket", read_socket},
		{"admin", read_admin},
		{NULL},
	};
	struct ipci_policy *policy = target;
	const char *name = (const char *)key->data.scalar.value;
	struct ipci_policy_workload *workload, **slot;
	char what[IPCI_WORKLOAD_NAME_MAX + 16];

	if (!ipci_workload_name_ok(name, strlen(name))) {
		ipci_yaml_fault(
			yaml, key,
			"expected a workload's name (letters, digits, . _ -; at most %u), not "
			"\"%.100s\"",
			IPCI_WORKLOAD_NAME_MAX, name);
		return;
	}
	slot = grow(yaml, &policy->workloads, &policy->n_workloads, sizeof(*slot));
	if (!slot)
		return;
	workload = *slot = calloc(1, sizeof(*workload));
	if (!workload) {
		policy->n_workloads--;
		ipci_yaml_fault(yaml, NULL, "out of memory");
		return;
	}
	workload->socket_mode = 0600;
	workload->socket_group = (gid_t)-1;
	workload->name = copy(yaml, name);
	(void)snprintf(what, sizeof(what), "workload \"%s\"", name);
	ipci_yaml_mapping(yaml, value, what, keys, workload);
}

static void read_workloads(struct ipci_yaml *yaml, yaml_node_t *node, void *target)
{
	ipci_yaml_entries(yaml, node, "workloads", read_workload, target);
}

static void read_policy(struct ipci_yaml *yaml, struct ipci_policy *policy)
{
	static const struct ipci_yaml_key keys[] = {
		{"version", read_version, true},
		{"sockets", read_sockets},
		{"defaults", read_defaults},
		{"workloads", read_workloads, true},
		{NULL},
	};

	for (unsigned i = 0; i < IPCI_N_LIMITS; i++)
		policy->defaults[i] = bounds[i].standard;
	ipci_yaml_mapping(yaml, yaml_document_get_root_node(&yaml->document), "a policy", keys,
			  policy);
	if (!policy->sockets)
		policy->sockets = copy(yaml, "/run/ipc");

	/* Only now are the defaults known, wherever in the file they stood. No limit may be 0, so 0
	 * is "not set". */
	for (size_t w = 0; w < policy->n_workloads; w++)
		for (unsigned i = 0; i < IPCI_N_LIMITS; i++)
			if (policy->workloads[w]->limits[i] == 0)
				policy->workloads[w]->limits[i] = policy->defaults[i];
}

static void policy_freep(struct ipci_policy **policy)
{
	ipci_policy_free(*policy);
}

int ipci_policy_load(struct ipci_policy **ret, const char *path, struct ipci_faults *faults)
{
	_cleanup_(policy_freep) struct ipci_policy *policy = calloc(1, sizeof(*policy));
	_cleanup_(ipci_yaml_deinit) struct ipci_yaml yaml = {0};
	int r;

	if (!policy)
		return -ENOMEM;
	r = ipci_yaml_load(&yaml, path, faults);
	if (r < 0)
		return r;
	read_policy(&yaml, policy);
	if (faults->n > 0)
		return -EINVAL;
	*ret = TAKE_PTR(policy);
	return 0;
}
