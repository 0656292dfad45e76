/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What was published before the bell rang is there for who has seen the bell alone. BELL.
 */
#include "model.h"

static void setup(void)
{
	model_init(0);
}

static void send(void)
{
	/* Relaxed: it orders nothing, it only makes sure that the frame finds a sleeper. */
	MODEL_AWAIT(atomic_load_explicit(&a.tx.peer->waiting, memory_order_relaxed) != 0);
	model_check(model_put(&a, IPCI_LINE_BYTES, 0), "no room in an empty ring");
	model_wake_frames(&a);
}

static void receive(void)
{
	const uint8_t *payload = (const uint8_t *)(ipci_consumer_frame(&b.rx) + 1);
	uint32_t bell = ipci_bell_frames(b.tx.peer);

	ipci_sleep_arm(&b.sleep, b.control, IPCI_WANT_FRAMES_FUTEX);
	MODEL_AWAIT(ipci_bell_frames(b.tx.peer) != bell);
	/* The commit word was not looked at. */
	model_check_payload(payload, model_payload_bytes(IPCI_LINE_BYTES), 0);
	model_check(model_get(&b, 0), "rung for nothing");
}

const struct model_program model_program = {
	.name = "bell-word",
	.setup = setup,
	.run = {send, receive},
};
