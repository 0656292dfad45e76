/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The consumer calls itself awake, so the producer publishes without a fence; before each sleep it
 * turns drowsy, at the price of a membarrier(2). AWAKE, and SLEEP behind it.
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
		ipci_sleep_stay_awake(&b.sleep, b.control);
		while (!model_get(&b, i))
			model_sleep_for_frames(&b);
	}
}

const struct model_program model_program = {
	.name = "awake",
	.setup = setup,
	.run = {send, receive},
	.has_membarriers = true,
};
