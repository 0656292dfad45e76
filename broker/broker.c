// SPDX-License-Identifier: Apache-2.0
/* Puts the parts together, and turns the loop: wait, work off what is ready, fire what is due, reap
 * what is doomed. */
#include "broker.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "clock.h"
#include "log.h"
#include "peer.h"
#include "workload.h"

#define BATCH 64u

int ipci_broker_watch(struct ipci_broker *broker, struct ipci_handler *handler, int fd,
		      uint32_t events)
{
	handler->source.fd = fd;
	handler->source.events = events;
	handler->source.user = handler;
	return ipci_loop_add(broker->loop, &handler->source);
}

void ipci_broker_lend_reserve(struct ipci_broker *broker)
{
	closep(&broker->reserve);
	broker->reserve = -EBADF;
}

bool ipci_broker_hold_reserve(struct ipci_broker *broker)
{
	if (broker->reserve < 0)
		broker->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
	return broker->reserve >= 0;
}

void ipci_broker_free(struct ipci_broker *broker)
{
	if (!broker)
		return;
	for (size_t i = 0; i < broker->n_workloads; i++)
		ipci_peers_doom_all(broker->workloads[i]);
	/* All of them are doomed by now: none is told that the others have gone. */
	ipci_peers_reap(broker);
	for (size_t i = 0; i < broker->n_workloads; i++)
		ipci_workload_free(broker->workloads[i]);
	free(broker->workloads);
	if (broker->loop)
		ipci_loop_free(broker->loop);
	closep(&broker->reserve);
	free(broker);
}

static void broker_freep(struct ipci_broker **broker)
{
	ipci_broker_free(*broker);
}

/* No host polls this loop, so it need not find out by itself that it sleeps alone. */
static int make_loop(struct ipci_broker *broker, enum ipci_loop_backend backend)
{
	if (backend == IPCI_LOOP_ANY && ipci_loop_new(&broker->loop, IPCI_LOOP_URING) == 0)
		return 0;
	return ipci_loop_new(&broker->loop, backend == IPCI_LOOP_ANY ? IPCI_LOOP_EPOLL : backend);
}

int ipci_broker_new(struct ipci_broker **ret, const struct ipci_policy *policy, const char *sockets,
		    enum ipci_loop_backend backend, struct ipci_error *error)
{
	_cleanup_(broker_freep) struct ipci_broker *broker = calloc(1, sizeof(*broker));
	int r;

	if (!broker)
		return ipci_error_set(error, -ENOMEM, "out of memory");
	broker->policy = policy;
	ipci_list_init(&broker->timers);
	ipci_list_init(&broker->doomed);
	ipci_list_init(&broker->services);
	for (unsigned i = 0; i < IPCI_CHANNEL_BUCKETS; i++)
		ipci_list_init(&broker->channels[i]);
	broker->reserve = -EBADF;
	if (!ipci_broker_hold_reserve(broker))
		return ipci_error_errno(error, "/dev/null");
	r = make_loop(broker, backend);
	if (r < 0)
		return ipci_error_set(error, r, "cannot make an event loop: %s", strerror(-r));
	broker->workloads = calloc(policy->n_workloads + 1, sizeof(struct ipci_workload *));
	if (!broker->workloads)
		return ipci_error_set(error, -ENOMEM, "out of memory");
	for (size_t i = 0; i < policy->n_workloads; i++) {
		r = ipci_workload_new(&broker->workloads[i], broker, policy->workloads[i],
				      sockets ? sockets : policy->sockets, error);
		if (r < 0)
			return r;
		broker->n_workloads++;
	}
	*ret = TAKE_PTR(broker);
	return 0;
}

static void turn(struct ipci_broker *broker)
{
	struct ipci_ready ready[BATCH];
	int n = ipci_loop_set_deadline(broker->loop, ipci_timers_deadline_ns(&broker->timers));

	if (n == 0)
		n = ipci_loop_wait(broker->loop, ready, BATCH, IPCI_NEVER);
	for (int i = 0; i < n; i++) {
		struct ipci_handler *handler = ready[i].source->user;

		handler->ready(handler, ready[i].revents);
	}
	ipci_timers_fire(&broker->timers, ipci_now_ns());
	ipci_peers_reap(broker);
	if (n < 0 && n != -EINTR) {
		/* Memory pressure passes; a daemon that spins meanwhile makes it worse. */
		ipci_log("cannot wait: %s", strerror(-n));
		(void)poll(NULL, 0, 100);
	}
}

void ipci_broker_run(struct ipci_broker *broker)
{
	while (!broker->stop)
		turn(broker);
}
