// SPDX-License-Identifier: Apache-2.0
/*
 * The library against its broker: any packet, with any descriptors, while an open waits for its
 * answer and a service is offered. The library does not trust the broker with memory.
 */
#include <unistd.h>

#include "fake.h"
#include "packet.h"
#include "target.h"

static void turn(void)
{
	struct ipc_event event;

	for (unsigned i = 0; i < 16 && ipc_loop_next(fake_loop, &event, 0) == 1; i++)
		must(event.kind == IPC_EVENT_CHANNEL);
}

void target_start(void)
{
}

void target_run(const uint8_t *data, size_t n)
{
	struct ipc_open_opts opts = {.size = sizeof(opts),
				     .flags = IPC_OPEN_ASYNC,
				     .ring_bytes = RING_BYTES};
	struct input in = {data, n};
	ipc_channel *channel;

	fake_start(true);
	must(ipc_open(fake_loop, &fake_service, &opts, &channel) == 0);
	while (in.n) {
		/* Hello was 1, the service 2, the open is 3. */
		if (packet_send(fake_socket, &in, 2 + (take_u8(&in) & 1), 1, "fuzz.Service") < 0)
			break;
		turn();
	}
	if (n & 1)
		ipc_channel_free(channel);
	turn();
	fake_stop();
}
