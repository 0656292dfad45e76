/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A full ring: the producer sleeps for space in its bell, several times, as transact.c's
 * sleep_for_room() does; the consumer spins. SLEEP the other way, SPACE.
 */
#include "model.h"

#define N_FRAMES 5u
#define FRAME_BYTES 256u /* three fill the ring */

static void setup(void)
{
	model_init(0);
}

static void send(void)
{
	for (uint64_t i = 0; i < N_FRAMES; i++) {
		while (!model_put(&a, FRAME_BYTES, i)) {
			model_bell_drain(0);
			ipci_sleep_arm(&a.sleep, a.control, IPCI_WANT_SPACE_BELL);
			if (ipci_producer_has_room(&a.tx, FRAME_BYTES) == 0)
				model_bell_sleep(0);
			ipci_sleep_disarm(&a.sleep, a.control);
		}
	}
}

static void receive(void)
{
	for (uint64_t i = 0; i < N_FRAMES; i++) {
		MODEL_AWAIT(model_get(&b, i));
		model_give_back(&b);
	}
}

const struct model_program model_program = {
	.name = "sleep-space",
	.setup = setup,
	.run = {send, receive},
};
