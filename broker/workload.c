// SPDX-License-Identifier: Apache-2.0
/*
 * Accepting must neither spin nor kill: a full descriptor table would report the listener ready for
 * ever. So a descriptor is kept in reserve, given up to accept the next connection and to drop it;
 * where even that fails, the listener rests for a moment.
 */
#include "workload.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "dispose.h"
#include "peer.h"

#define ACCEPTS_PER_TURN 16u
#define PAUSE_NS (100 * IPCI_NS_PER_MS)
#define STRAYS_MAX 1024u /* descriptors that wait to be closed */

static int accept_one(int fd)
{
	int accepted = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	return accepted < 0 ? -errno : accepted;
}

/* Drops the next connection: it is told at once, and the others are served. */
static int shed(struct ipci_workload *workload)
{
	struct ipci_broker *broker = workload->broker;
	int fd;

	if (broker->reserve < 0)
		return -EMFILE;
	ipci_broker_lend_reserve(broker);
	fd = accept_one(workload->listener.fd);
	if (fd >= 0)
		(void)close(fd);
	(void)ipci_broker_hold_reserve(broker);
	return fd < 0 ? fd : 0;
}

static void rest(struct ipci_workload *workload)
{
	struct ipci_broker *broker = workload->broker;

	(void)ipci_broker_hold_reserve(broker);
	if (ipci_loop_modify(broker->loop, &workload->handler.source, 0) == 0)
		ipci_timer_set(&broker->timers, &workload->pause, ipci_deadline_ns(PAUSE_NS));
}

static void rested(struct ipci_timer *timer)
{
	struct ipci_workload *workload = IPCI_CONTAINER_OF(timer, struct ipci_workload, pause);

	if (ipci_loop_modify(workload->broker->loop, &workload->handler.source, EPOLLIN) < 0)
		ipci_timer_set(&workload->broker->timers, timer, ipci_deadline_ns(PAUSE_NS));
}

static bool too_many_strays(void)
{
	return ipci_dispose_counts().n_queued >= STRAYS_MAX;
}

void ipci_workload_note_strays(struct ipci_workload *workload)
{
	if (!too_many_strays())
		return;
	ipci_workload_log(workload, "is off: it sends descriptors that cannot be closed");
	workload->strays = true;
	ipci_peers_doom_all(workload);
}

static void ready(struct ipci_handler *handler, uint32_t revents)
{
	struct ipci_workload *workload = IPCI_CONTAINER_OF(handler, struct ipci_workload, handler);

	(void)revents;
	workload->strays = workload->strays && too_many_strays();
	if (workload->strays) {
		rest(workload);
		return;
	}
	for (unsigned i = 0; i < ACCEPTS_PER_TURN; i++) {
		int fd = accept_one(workload->listener.fd);

		if (fd >= 0) {
			ipci_peer_admit(workload, fd);
		} else if (fd == -EAGAIN) {
			return;
		} else if (fd == -ECONNABORTED || fd == -EINTR) {
			continue;
		} else {
			ipci_workload_log(workload, "cannot accept a connection, drops it: %s",
					  strerror(-fd));
			if (shed(workload) == 0)
				continue;
			rest(workload);
			return;
		}
	}
}

int ipci_workload_new(struct ipci_workload **ret, struct ipci_broker *broker,
		      const struct ipci_policy_workload *policy, const char *sockets,
		      struct ipci_error *error)
{
	struct ipci_workload *workload = calloc(1, sizeof(*workload));
	int r;

	if (!workload)
		return ipci_error_set(error, -ENOMEM, "out of memory");
	workload->broker = broker;
	workload->policy = policy;
	workload->quota.policy = policy;
	workload->handler.ready = ready;
	ipci_list_init(&workload->peers);
	ipci_timer_init(&workload->pause, rested);
	r = ipci_listener_init(&workload->listener, sockets, policy, error);
	if (r < 0) {
		free(workload);
		return r;
	}
	r = ipci_broker_watch(broker, &workload->handler, workload->listener.fd, EPOLLIN);
	if (r < 0) {
		ipci_listener_deinit(&workload->listener);
		free(workload);
		return ipci_error_set(error, r, "cannot wait for connections: %s", strerror(-r));
	}
	*ret = workload;
	return 0;
}

void ipci_workload_free(struct ipci_workload *workload)
{
	ipci_timer_clear(&workload->pause);
	ipci_loop_remove(workload->broker->loop, &workload->handler.source);
	ipci_listener_deinit(&workload->listener);
	free(workload);
}
