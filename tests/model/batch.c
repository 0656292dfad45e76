/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Frames published in batches, round the ring's end: shorter ones than their places, with padding
 * between. FRAME of the first orders all of them.
 */
#include "model.h"

#define N_BATCHES 4u
#define N_A_BATCH 2u
#define PLACE_BYTES 128u

static void setup(void)
{
	model_init(MODEL_RING_BYTES - PLACE_BYTES);
}

static uint32_t frame_bytes(uint64_t value)
{
	return value % 3 != 1 ? IPCI_LINE_BYTES : PLACE_BYTES;
}

static void fill(uint8_t *place, uint64_t value)
{
	uint64_t *words = (uint64_t *)(void *)(place + sizeof(struct ipci_frame));

	words[0] = value;
	words[model_payload_bytes(frame_bytes(value)) / 8 - 1] = ~value;
}

/* The ring is there once: a place at its end is followed by one at its start. */
static bool put_batch(uint64_t value)
{
	const struct ipci_batch batch = {
		.call_id = 0,
		.place_bytes = PLACE_BYTES,
		.kind = IPCI_KIND_ITEM,
		.last_kind = IPCI_KIND_ITEM,
	};
	size_t sizes[N_A_BATCH];
	int r = ipci_producer_reserve(&a.tx, 0, model_payload_bytes(N_A_BATCH * PLACE_BYTES),
				      &a.room);

	model_check(r == 0 || r == -EAGAIN, "the consumer's progress is impossible");
	if (r < 0)
		return false;
	for (uint64_t i = 0; i < N_A_BATCH; i++) {
		sizes[i] = model_payload_bytes(frame_bytes(value + i));
		fill((uint8_t *)ipci_producer_frame(&a.tx, a.tx.head + i * PLACE_BYTES), value + i);
	}
	(void)ipci_producer_commit_batch(&a.tx, &batch, sizes, N_A_BATCH);
	return true;
}

static void send(void)
{
	for (uint64_t i = 0; i < N_BATCHES; i++)
		MODEL_AWAIT(put_batch(i * N_A_BATCH));
}

static bool get_item(uint64_t value)
{
	struct ipci_view *view = &b.view;

	while (ipci_consumer_peek(&b.rx, view) == 1) {
		ipci_consumer_take(&b.rx, view);
		if (view->kind == IPCI_KIND_PADDING)
			continue;
		model_check(view->payload_bytes == model_payload_bytes(frame_bytes(value)),
			    "a frame that was not sent");
		model_check_payload(view->payload, view->payload_bytes, value);
		(void)ipci_consumer_publish(&b.rx);
		return true;
	}
	return false;
}

static void receive(void)
{
	for (uint64_t i = 0; i < N_BATCHES * N_A_BATCH; i++)
		MODEL_AWAIT(get_item(i));
}

const struct model_program model_program = {
	.name = "batch",
	.setup = setup,
	.run = {send, receive},
};
