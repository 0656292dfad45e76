/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The policy: who is who, who may serve what, who may call what, and how much each may hold.
 * Immutable once loaded. What it does not allow is denied.
 */
#ifndef IPCI_BROKER_POLICY_H
#define IPCI_BROKER_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "yaml-tree.h"

#define IPCI_SERVICE_NAME_MAX 255u
#define IPCI_METHOD_NAME_MAX 127u
#define IPCI_WORKLOAD_NAME_MAX 63u
#define IPCI_POLICY_UIDS_MAX 64u /* ranges a workload */

/* What a workload may hold at once. */
enum ipci_limit {
	IPCI_LIMIT_CHANNELS,	    /* open, either side's */
	IPCI_LIMIT_SHARED_MEMORY,   /* bytes of both halves of those */
	IPCI_LIMIT_PENDING_OPENS,   /* opens that nobody has answered yet */
	IPCI_LIMIT_CALLS_IN_FLIGHT, /* a channel; enforced by the two sides' libraries */
	IPCI_LIMIT_CONNECTIONS,	    /* to the broker */
	IPCI_N_LIMITS,
};

/* As the policy file spells it: "pending_opens". */
const char *ipci_limit_name(enum ipci_limit limit);

enum ipci_admin {
	IPCI_ADMIN_STATUS = 1 << 0,
	IPCI_ADMIN_AUDIT = 1 << 1,
	IPCI_ADMIN_REVOKE = 1 << 2,
	IPCI_ADMIN_DRAIN = 1 << 3,
};

struct ipci_uid_range {
	uid_t first, last;
};

/* workloads.<name>.call.<service> */
struct ipci_call_rule {
	char *service;
	char **methods;
	size_t n_methods;
	bool any_method;
};

struct ipci_policy_workload {
	char *name; /* owned, as all strings here */
	struct ipci_uid_range uids[IPCI_POLICY_UIDS_MAX];
	size_t n_uids;
	char *cgroup; /* a glob; NULL: any */
	char **serve;
	size_t n_serve;
	struct ipci_call_rule *call;
	size_t n_call;
	uint64_t limits[IPCI_N_LIMITS];
	mode_t socket_mode;
	gid_t socket_group; /* (gid_t)-1: the broker's own */
	unsigned admin;	    /* enum ipci_admin */
};

struct ipci_policy {
	char *sockets;
	uint64_t defaults[IPCI_N_LIMITS];
	struct ipci_policy_workload **workloads; /* in the file's order */
	size_t n_workloads;
};

/* Reads and checks @path. -EINVAL or -errno with at least one fault recorded; -ENOMEM. */
int ipci_policy_load(struct ipci_policy **ret, const char *path, struct ipci_faults *faults);
void ipci_policy_free(struct ipci_policy *policy);

bool ipci_policy_has_uid(const struct ipci_policy_workload *workload, uid_t uid);
bool ipci_policy_may_serve(const struct ipci_policy_workload *workload, const char *service);

/* NULL: the workload may not call the service at all. */
const struct ipci_call_rule *ipci_policy_call_rule(const struct ipci_policy_workload *workload,
						   const char *service);
bool ipci_call_rule_allows(const struct ipci_call_rule *rule, const char *method, size_t n);

/* Names as the policy may contain them: "shop.Orders", "Place", "web-1". */
bool ipci_service_name_ok(const char *name, size_t n);
bool ipci_method_name_ok(const char *name, size_t n);
bool ipci_workload_name_ok(const char *name, size_t n);

#endif
