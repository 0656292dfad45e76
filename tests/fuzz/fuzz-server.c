// SPDX-License-Identifier: Apache-2.0
/*
 * A server's library against a client that writes anything into its half. The program answers,
 * fails, defers, keeps, and ends each call exactly once.
 */
#include <string.h>

#include "fake.h"
#include "target.h"

#define CALLS 8u

static ipc_channel *channel;
static bool is_lost;
static ipc_call *deferred[CALLS];
static struct ipc_msg kept;

static void answer(ipc_call *call, uint8_t how, size_t size_bytes)
{
	struct ipc_room room;

	if (how & 1 || ipc_reserve(call, size_bytes, 0, &room) < 0) {
		must(ipc_fail(call, 1 + (how >> 4), how & 2 ? "as the input says" : NULL) == 0);
		return;
	}
	memset(room.data, 0x44, size_bytes);
	if (how & 4) {
		ipc_abort(call);
		must(ipc_fail(call, IPC_ABORTED, NULL) == 0);
	} else if (ipc_commit(call, size_bytes, IPC_LAST | (how & 8 ? IPC_MORE : 0)) < 0) {
		must(ipc_fail(call, IPC_ABORTED, NULL) == 0);
	}
}

static void on_request(struct ipc_event *event, struct input *in)
{
	const uint8_t how = take_u8(in);

	must(event->method < METHODS);
	target_read(&event->msg);
	if (how & 0x40 && !kept.data && ipc_keep(&event->msg) == 0)
		kept = event->msg;
	for (unsigned i = 0; how & 0x80 && i < CALLS; i++) {
		if (!deferred[i]) {
			deferred[i] = event->call;
			return;
		}
	}
	answer(event->call, how, take_u16(in) % 4096);
}

static void on_event(struct ipc_event *event, struct input *in)
{
	switch (event->kind) {
	case IPC_EVENT_REQUEST:
		must(event->channel == channel);
		on_request(event, in);
		break;
	case IPC_EVENT_CHANNEL:
		must(event->channel == channel && event->status < 0);
		is_lost = true;
		break;
	case IPC_EVENT_MESSAGE:
		target_read(&event->msg);
		break;
	case IPC_EVENT_CANCELLED:
	case IPC_EVENT_WRITABLE:
	case IPC_EVENT_END:
		must(event->channel == channel);
		break;
	default:
		broke("an event that a server gets", __FILE__, __LINE__);
	}
}

static void release_kept(void)
{
	if (kept.data)
		ipc_release(&kept);
	kept = (struct ipc_msg){};
}

static void end_deferred(unsigned i, uint8_t how, size_t size_bytes)
{
	ipc_call *call = deferred[i];

	deferred[i] = NULL;
	if (call)
		answer(call, how, size_bytes);
}

static void act(struct peer *peer, struct input *in)
{
	const uint8_t how = take_u8(in);
	struct ipc_event event;

	switch (how & 7) {
	case 0:
		end_deferred(how >> 3 & 7, take_u8(in), take_u16(in) % 4096);
		break;
	case 1:
		release_kept();
		break;
	case 2:
	case 3:
	case 4:
		if (ipc_loop_next(fake_loop, &event, 0) == 1)
			on_event(&event, in);
		break;
	default:
		peer_act(peer, in, false);
	}
}

static void settle(struct input *in)
{
	struct ipc_event event;

	for (unsigned i = 0; i < 1000 && ipc_loop_next(fake_loop, &event, 0) == 1; i++)
		on_event(&event, in);
}

void target_start(void)
{
	fake_start(true);
}

void target_run(const uint8_t *data, size_t n)
{
	struct input in = {data, n};
	struct peer peer;

	fake_offer(&peer, &channel);
	is_lost = false;
	while (in.n)
		act(&peer, &in);
	settle(&in);
	/* The peer dies: the program hears of it, whatever was in the ring. */
	peer_die(&peer);
	for (unsigned i = 0; i < CALLS; i++)
		end_deferred(i, 1, 0);
	for (unsigned i = 0; i < 3 && !is_lost; i++)
		settle(&in);
	must(is_lost);
	release_kept();
	fake_close(&peer);
}
