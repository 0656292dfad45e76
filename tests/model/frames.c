/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Publication in band: frames of several sizes go round the ring's end, over old bytes, one of them in
 * more room than it needs; the consumer spins. FRAME, and the 0 in the next commit word.
 */
#include "model.h"

static const uint32_t sizes[] = {64, 64, 128, 64, 64, 64};
static const uint32_t rooms[] = {64, 64, 128, 64, 256, 64};
#define N_FRAMES (sizeof(sizes) / sizeof(*sizes))

static void setup(void)
{
	model_init(MODEL_RING_BYTES - 128);
}

static void send(void)
{
	for (uint64_t i = 0; i < N_FRAMES; i++)
		MODEL_AWAIT(model_put_short(&a, rooms[i], sizes[i], i));
}

static void receive(void)
{
	for (uint64_t i = 0; i < N_FRAMES; i++)
		MODEL_AWAIT(model_get(&b, i));
	model_check(!model_get(&b, N_FRAMES), "a frame after the last");
}

const struct model_program model_program = {
	.name = "frames",
	.setup = setup,
	.run = {send, receive},
};
