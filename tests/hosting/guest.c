// SPDX-License-Identifier: Apache-2.0
#include "guest.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hosted.h"

int guest_start(struct guest *guest, int argc, char **argv)
{
	struct ipc_loop_opts opts = {.size = sizeof(opts)};
	ipc_server *server;
	int r;

	if (argc != 4)
		return -EINVAL;
	opts.broker = argv[1];
	opts.wait = (uint32_t)atoi(argv[2]);
	opts.flags = (uint32_t)atoi(argv[3]);
	r = ipc_loop_new(&guest->loop, &opts);
	if (r < 0)
		return r;
	r = ipc_serve(guest->loop, &hosted_service, NULL, &server);
	if (r == 0 && (puts("ready") < 0 || fflush(stdout) != 0))
		r = -EIO;
	return r;
}

static int answer(struct guest *guest, const struct ipc_event *event)
{
	struct hosted_tick tick = {.n_sleeps = guest->n_sleeps};
	struct ipc_room room;
	int r;

	if (event->msg.size_bytes != sizeof(tick.round))
		return -EBADMSG;
	memcpy(&tick.round, event->msg.data, sizeof(tick.round));
	r = ipc_reserve(event->call, sizeof(tick), 0, &room);
	if (r < 0)
		return r;
	memcpy(room.data, &tick, sizeof(tick));
	guest->n_requests++;
	return ipc_commit(event->call, sizeof(tick), IPC_LAST);
}

static int take(struct guest *guest, const struct ipc_event *event)
{
	if (event->kind == IPC_EVENT_REQUEST)
		return answer(guest, event);
	if (event->kind != IPC_EVENT_CHANNEL)
		return -EPROTO;
	guest->n_channels += event->status == 0 ? 1 : -1u;
	guest->came = true;
	guest->gone = guest->n_channels == 0;
	return 0;
}

int guest_pump(struct guest *guest)
{
	struct ipc_event event;
	bool first = true;
	int r;

	while (!guest->gone) {
		r = ipc_loop_next(guest->loop, &event, 0);
		if (r == 0)
			return 1;
		if (r == 1) {
			guest->n_sleeps += first && guest->came;
			first = false;
			r = take(guest, &event);
		}
		if (r < 0 && r != -EINTR)
			return r;
	}
	return 0;
}

int guest_end(struct guest *guest, int error)
{
	if (error == -ETIMEDOUT)
		fprintf(stderr, "missed: silence after %" PRIu64 " sleeps\n", guest->n_sleeps);
	else if (error < 0)
		fprintf(stderr, "%s: %s\n", strerror(-error), ipc_loop_error(guest->loop));
	printf("%" PRIu64 " %" PRIu64 "\n", guest->n_sleeps, guest->n_requests);
	ipc_loop_free(guest->loop);
	return error == -ETIMEDOUT ? EXIT_MISSED : error < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
