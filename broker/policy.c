// SPDX-License-Identifier: Apache-2.0
/* What a loaded policy answers. How it is read is policy-read.c's. */
#include "policy.h"

#include <stdlib.h>
#include <string.h>

const char *ipci_limit_name(enum ipci_limit limit)
{
	static const char *const names[IPCI_N_LIMITS] = {
		[IPCI_LIMIT_CHANNELS] = "channels",
		[IPCI_LIMIT_SHARED_MEMORY] = "shared_memory",
		[IPCI_LIMIT_PENDING_OPENS] = "pending_opens",
		[IPCI_LIMIT_CALLS_IN_FLIGHT] = "calls_in_flight",
		[IPCI_LIMIT_CONNECTIONS] = "connections",
	};

	return names[limit];
}

static void strings_free(char **strings, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(strings[i]);
	free(strings);
}

static void workload_free(struct ipci_policy_workload *workload)
{
	for (size_t i = 0; i < workload->n_call; i++) {
		free(workload->call[i].service);
		strings_free(workload->call[i].methods, workload->call[i].n_methods);
	}
	free(workload->call);
	strings_free(workload->serve, workload->n_serve);
	free(workload->cgroup);
	free(workload->name);
	free(workload);
}

void ipci_policy_free(struct ipci_policy *policy)
{
	if (!policy)
		return;
	for (size_t i = 0; i < policy->n_workloads; i++)
		workload_free(policy->workloads[i]);
	free(policy->workloads);
	free(policy->sockets);
	free(policy);
}

bool ipci_policy_has_uid(const struct ipci_policy_workload *workload, uid_t uid)
{
	for (size_t i = 0; i < workload->n_uids; i++)
		if (uid >= workload->uids[i].first && uid <= workload->uids[i].last)
			return true;
	return false;
}

bool ipci_policy_may_serve(const struct ipci_policy_workload *workload, const char *service)
{
	for (size_t i = 0; i < workload->n_serve; i++)
		if (strcmp(workload->serve[i], service) == 0)
			return true;
	return false;
}

const struct ipci_call_rule *ipci_policy_call_rule(const struct ipci_policy_workload *workload,
						   const char *service)
{
	for (size_t i = 0; i < workload->n_call; i++)
		if (strcmp(workload->call[i].service, service) == 0)
			return &workload->call[i];
	return NULL;
}

bool ipci_call_rule_allows(const struct ipci_call_rule *rule, const char *method, size_t n)
{
	if (rule->any_method)
		return true;
	for (size_t i = 0; i < rule->n_methods; i++)
		if (strlen(rule->methods[i]) == n && memcmp(rule->methods[i], method, n) == 0)
			return true;
	return false;
}

static bool is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* A FlatBuffers identifier. */
static bool identifier_ok(const char *name, size_t n)
{
	if (n == 0 || !(is_letter(name[0]) || name[0] == '_'))
		return false;
	for (size_t i = 1; i < n; i++)
		if (!is_letter(name[i]) && !is_digit(name[i]) && name[i] != '_')
			return false;
	return true;
}

bool ipci_method_name_ok(const char *name, size_t n)
{
	return n <= IPCI_METHOD_NAME_MAX && identifier_ok(name, n);
}

bool ipci_service_name_ok(const char *name, size_t n)
{
	if (n > IPCI_SERVICE_NAME_MAX)
		return false;
	for (;;) {
		const char *dot = n ? memchr(name, '.', n) : NULL;
		size_t part = dot ? (size_t)(dot - name) : n;

		if (!identifier_ok(name, part))
			return false;
		if (!dot)
			return true;
		name += part + 1;
		n -= part + 1;
	}
}

/* It names a directory, and stands in log lines. */
bool ipci_workload_name_ok(const char *name, size_t n)
{
	if (n == 0 || n > IPCI_WORKLOAD_NAME_MAX || !(is_letter(name[0]) || is_digit(name[0])))
		return false;
	for (size_t i = 1; i < n; i++)
		if (!is_letter(name[i]) && !is_digit(name[i]) && !strchr("._-", name[i]))
			return false;
	return true;
}
