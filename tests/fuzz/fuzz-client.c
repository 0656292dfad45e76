// SPDX-License-Identifier: Apache-2.0
/*
 * A client's library against a server that writes anything into its half, at any moment between two
 * calls of the program's. The program uses every function of a client; what it must never see is a
 * crash, a hang, or a handle that is not its own.
 */
#include <string.h>

#include "fake.h"
#include "target.h"

#define CALLS 8u

static ipc_channel *channel;
static ipc_call *calls[CALLS];
static struct ipc_msg kept;

static void forget(const ipc_call *call)
{
	for (unsigned i = 0; i < CALLS; i++)
		if (calls[i] == call)
			calls[i] = NULL;
}

static bool is_ours(const ipc_call *call)
{
	for (unsigned i = 0; i < CALLS; i++)
		if (calls[i] == call)
			return true;
	return false;
}

static void release_kept(void)
{
	if (kept.data)
		ipc_release(&kept);
	kept = (struct ipc_msg){};
}

static void on_event(struct ipc_event *event, uint8_t how)
{
	switch (event->kind) {
	case IPC_EVENT_MESSAGE:
		must(is_ours(event->call) && event->channel == channel);
		target_read(&event->msg);
		if (how & 1 && !kept.data && ipc_keep(&event->msg) == 0)
			kept = event->msg;
		break;
	case IPC_EVENT_END:
		must(is_ours(event->call) && event->status >= 0 && event->status <= 16);
		break;
	case IPC_EVENT_CHANNEL:
	case IPC_EVENT_WRITABLE:
		must(event->channel == channel);
		return;
	default:
		broke("an event that a client gets", __FILE__, __LINE__);
	}
	if (event->last)
		forget(event->call);
}

static void begin(struct input *in)
{
	const uint8_t how = take_u8(in);
	const size_t size_bytes = take_u16(in) % 4096;
	struct ipc_call_opts opts = {.size = sizeof(opts), .timeout_ns = how & 0x10 ? 1 : 0};
	struct ipc_room room;
	ipc_call *call;

	if (calls[how % CALLS])
		return;
	if (ipc_begin(channel, how >> 5 & 3, size_bytes, &opts, &call, &room) < 0)
		return;
	memset(room.data, 0x33, size_bytes);
	if (how & 0x80) {
		ipc_abort(call);
		return;
	}
	if (ipc_commit(call, size_bytes, IPC_LAST | (how & 8 ? IPC_MORE : 0)) < 0) {
		ipc_abort(call);
		return;
	}
	calls[how % CALLS] = call;
}

/* Waits under a deadline that has passed, or soon will. */
static void transact(struct input *in)
{
	struct ipc_call_opts opts = {.size = sizeof(opts), .timeout_ns = 1 + take_u8(in)};
	struct ipc_msg msg;
	struct ipc_room room;
	ipc_call *call;
	int r;

	if (ipc_begin(channel, 0, 16, &opts, &call, &room) < 0)
		return;
	memset(room.data, 0, 16);
	r = ipc_transact(call, 16, &msg);
	must(r <= 16 && r != -EINVAL);
	if (r == 0)
		target_read(&msg);
}

static void use_call(struct input *in)
{
	const uint8_t how = take_u8(in);
	struct ipc_call_info info = {.size = sizeof(info)};
	ipc_call *call = calls[how % CALLS];

	if (!call)
		return;
	must(ipc_call_info(call, &info) == 0);
	if (how & 8) {
		ipc_cancel(call);
		calls[how % CALLS] = NULL;
	}
}

static void act(struct peer *peer, struct input *in)
{
	struct ipc_event event;

	switch (take_u8(in) & 7) {
	case 0:
		begin(in);
		break;
	case 1:
		transact(in);
		break;
	case 2:
		use_call(in);
		break;
	case 3:
		release_kept();
		break;
	case 4:
	case 5:
		if (ipc_loop_next(fake_loop, &event, 0) == 1)
			on_event(&event, take_u8(in));
		break;
	default:
		peer_act(peer, in, true);
	}
}

static void settle(void)
{
	struct ipc_event event;

	for (unsigned i = 0; i < 1000 && ipc_loop_next(fake_loop, &event, 0) == 1; i++)
		on_event(&event, 0);
}

void target_start(void)
{
	fake_start(false);
}

void target_run(const uint8_t *data, size_t n)
{
	struct input in = {data, n};
	struct ipc_channel_info info = {.size = sizeof(info)};
	struct peer peer;

	fake_open(&peer, &channel);
	while (in.n)
		act(&peer, &in);
	settle();
	must(ipc_channel_info(channel, &info) == 0);
	must((info.state == IPC_CHANNEL_CLOSED) == (info.error != 0));
	release_kept();
	ipc_channel_free(channel);
	memset(calls, 0, sizeof(calls));
	fake_close(&peer);
}
