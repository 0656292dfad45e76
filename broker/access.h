/* SPDX-License-Identifier: Apache-2.0 */
/* Which local users may open a workload's socket. */
#ifndef IPCI_BROKER_ACCESS_H
#define IPCI_BROKER_ACCESS_H

#include "error.h"
#include "policy.h"

#define IPCI_ACL_USERS_MAX 32u

/*
 * Gives the socket at @path, made by this process, the policy's group and mode, and lets in the
 * policy's uids: with an ACL entry for each that is not our own. Where the file system has no ACLs,
 * root gives the socket to a single uid instead. More uids than IPCI_ACL_USERS_MAX are not listed:
 * the socket is then open to all, and the credentials of who connects decide. Errors: -errno,
 * described.
 */
int ipci_access_grant(const char *path, const struct ipci_policy_workload *workload,
		      struct ipci_error *error);

#endif
