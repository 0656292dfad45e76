/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The consumer sleeps for frames in its bell, as a loop does (next.c's cool()): what rang before is
 * drained before it arms. SLEEP with a byte that stays instead of a word that moves on.
 */
#include "model.h"

#define N_FRAMES 2u

static void setup(void)
{
	model_init(0);
}

static void send(void)
{
	for (uint64_t i = 0; i < N_FRAMES; i++) {
		model_check(model_put(&a, IPCI_LINE_BYTES, i), "no room in an empty ring");
		model_wake_frames(&a);
	}
}

static void receive(void)
{
	for (uint64_t i = 0; i < N_FRAMES; i++) {
		while (!model_get(&b, i)) {
			model_bell_drain(1);
			ipci_sleep_arm(&b.sleep, b.control, IPCI_WANT_FRAMES_BELL);
			if (!ipci_consumer_ready(&b.rx))
				model_bell_sleep(1);
			ipci_sleep_disarm(&b.sleep, b.control);
		}
	}
}

const struct model_program model_program = {
	.name = "sleep-bell",
	.setup = setup,
	.run = {send, receive},
};
