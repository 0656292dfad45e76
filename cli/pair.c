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

int pair_open(struct pair *pair, const struct ipc_open_opts *opts, size_t n,
	      struct ipci_error *error)
{
	size_t all = pair->n_channels + n;
	ipc_channel **channels = realloc(pair->channels, all * sizeof(*channels));
	int r = 0;

	if (!channels)
		return ipci_error_set(error, -ENOMEM, "out of memory");
	pair->channels = channels;
	while (r == 0 && pair->n_channels < all) {
		r = pair->echo->open(pair->loop, opts, &channels[pair->n_channels], error);
		if (r == 0 && stage_stop)
			r = ipci_error_set(error, -EINTR, "stopped");
		if (r == 0)
			pair->n_channels++;
	}
	return r;
}

int pair_init(struct pair *pair, const struct pair_plan *plan, struct ipci_error *error)
{
	struct echo_server server = plan->server;
	struct ipc_open_opts opens = plan->opens;
	int r;

	*pair = (struct pair){.echo = plan->echo ? plan->echo : &echo_ops};
	server.wait = plan->wait;
	server.loop_flags = plan->loop_flags;
	server.cpu = plan->cpus.server;
	opens.size = sizeof(opens);
	r = stage_init(&pair->stage, plan->broker, ECHO_SERVICE, ECHO_METHODS, error);
	/* The server's process has a copy of all there is so far; what follows is the client's. */
	if (r == 0)
		r = stage_start(&pair->stage, pair->stage.server_socket, pair->echo->serve, &server,
				error);
	if (r == 0)
		r = pair->echo->connect(pair->stage.client_socket, plan->wait, plan->loop_flags,
					&pair->loop, error);
	if (r == 0 && plan->n_channels)
		r = pair_open(pair, &opens, plan->n_channels, error);
	return r;
}

void pair_deinit(struct pair *pair)
{
	if (pair->loop)
		pair->echo->free(pair->loop);
	free(pair->channels);
	stage_deinit(&pair->stage);
	*pair = (struct pair){};
}
