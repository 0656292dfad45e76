/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A full ring: the producer spins until the consumer has told what it consumed, and writes over it.
 * SPACE.
 */
#include "model.h"

#define N_FRAMES 6u
#define FRAME_BYTES 256u /* three fill the ring */

static void setup(void)
{
	model_init(0);
}

static void send(void)
{
	for (uint64_t i = 0; i < N_FRAMES; i++)
		MODEL_AWAIT(model_put(&a, FRAME_BYTES, i));
}

static void receive(void)
{
	for (uint64_t i = 0; i < N_FRAMES; i++) {
		MODEL_AWAIT(model_get(&b, i));
		(void)ipci_consumer_publish(&b.rx);
	}
}

const struct model_program model_program = {
	.name = "full",
	.setup = setup,
	.run = {send, receive},
};
