/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The consumer sleeps for frames on the futex word, several times; the producer rings once for each
 * epoch. SLEEP, FRAME, and the order of noting the bell word and arming.
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
	for (uint64_t i = 0; i < N_FRAMES; i++)
		while (!model_get(&b, i))
			model_sleep_for_frames(&b);
}

const struct model_program model_program = {
	.name = "sleep-frames",
	.setup = setup,
	.run = {send, receive},
};
