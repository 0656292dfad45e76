// SPDX-License-Identifier: Apache-2.0
#include "pair.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/resource.h>

void pair_raise_limits(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
}

static int open_all(struct pair *pair, const struct pair_plan *plan, struct ipci_error *error)
{
	struct ipc_open_opts opens = plan->opens;

	opens.size = sizeof(opens);
	pair->channels = calloc(plan->n_channels, sizeof(*pair->channels));
	if (!pair->channels)
		return ipci_error_set(error, -ENOMEM, "out of memory");
	while (pair->n_channels < plan->n_channels) {
		int r = echo_open(pair->loop, &opens, &pair->channels[pair->n_channels], error);

		if (r == 0 && stage_stop)
			r = ipci_error_set(error, -EINTR, "stopped");
		if (r < 0)
			return r;
		pair->n_channels++;
	}
	return 0;
}

int pair_init(struct pair *pair, const struct pair_plan *plan, struct ipci_error *error)
{
	struct echo_server server = plan->server;
	int r;

	*pair = (struct pair){};
	server.wait = plan->wait;
	server.cpu = plan->cpus.server;
	r = stage_init(&pair->stage, plan->broker, ECHO_SERVICE, ECHO_METHODS, error);
	/* The server's process has a copy of all there is so far; what follows is the client's. */
	if (r == 0)
		r = stage_start(&pair->stage, pair->stage.server_socket, echo_serve, &server,
				error);
	if (r == 0)
		r = echo_connect(pair->stage.client_socket, plan->wait, &pair->loop, error);
	if (r == 0)
		r = open_all(pair, plan, error);
	return r;
}

void pair_deinit(struct pair *pair)
{
	ipc_loop_free(pair->loop);
	free(pair->channels);
	stage_deinit(&pair->stage);
	*pair = (struct pair){};
}
