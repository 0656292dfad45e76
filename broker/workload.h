/* SPDX-License-Identifier: Apache-2.0 */
/* A workload while the broker runs: its socket, its connections, and what it holds. */
#ifndef IPCI_BROKER_WORKLOAD_H
#define IPCI_BROKER_WORKLOAD_H

#include "broker.h"
#include "listener.h"
#include "log.h"
#include "quota.h"

struct ipci_workload {
	struct ipci_handler handler; /* of the listener */
	struct ipci_broker *broker;
	const struct ipci_policy_workload *policy;
	struct ipci_listener listener;
	struct ipci_timer pause; /* until the listener is looked at again */
	struct ipci_quota quota;
	struct ipci_log_budget log;
	struct ipci_list peers;
	unsigned n_refused; /* of them, not let in */
	bool strays;	    /* it sent descriptors while too many waited to be closed */
};

/* Listens on @sockets/<name>/broker.sock. -errno, described. */
int ipci_workload_new(struct ipci_workload **ret, struct ipci_broker *broker,
		      const struct ipci_policy_workload *policy, const char *sockets,
		      struct ipci_error *error);

/*
 * It sent descriptors that nobody asked for. Where so many wait to be closed that closing must
 * hang, it is off, and no connection of it is accepted until that is over: the broker would run out
 * of descriptors, and the others with it.
 */
void ipci_workload_note_strays(struct ipci_workload *workload);

/* Its peers must be gone. */
void ipci_workload_free(struct ipci_workload *workload);

static inline const char *ipci_workload_name(const struct ipci_workload *workload)
{
	return workload->policy->name;
}

#define ipci_workload_log(workload, ...)                                                           \
	ipci_log_workload(&(workload)->log, ipci_workload_name(workload), __VA_ARGS__)

#endif
