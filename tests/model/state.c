/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A last frame, then the end, as channel.c's say_goodbye() has it: `state`, then ringing every way,
 * whoever sleeps. The peer sleeps for frames and looks as deliver.c's look_for_end() does: at the
 * ring, at `state`, once more at the ring. STATE.
 */
#include "model.h"

static void setup(void)
{
	model_init(0);
}

static void leave(void)
{
	model_check(model_put(&a, IPCI_LINE_BYTES, 0), "no room in an empty ring");
	model_wake_frames(&a);
	ipci_state_set(a.control, IPCI_PHASE_CLOSED, IPCI_REASON_FREED);
	ipci_bell_bump(&a.control->bell_frames);
	model_wake(&a.control->bell_frames);
}

static bool is_closed(void)
{
	return (ipci_state(b.tx.peer) & 0xff) == IPCI_PHASE_CLOSED;
}

static void stay(void)
{
	uint64_t n = 0;

	for (;;) {
		uint32_t bell;

		if (model_get(&b, n)) {
			n++;
			continue;
		}
		if (is_closed()) {
			if (!model_get(&b, n))
				break;
			n++;
		}
		bell = ipci_bell_frames(b.tx.peer);
		ipci_sleep_arm(&b.sleep, b.control, IPCI_WANT_FRAMES_FUTEX);
		if (!ipci_consumer_ready(&b.rx) && !is_closed())
			model_sleep_while(&b.tx.peer->bell_frames, bell);
		ipci_sleep_disarm(&b.sleep, b.control);
	}
	model_check(n == 1, "the end was seen before the last frame");
}

const struct model_program model_program = {
	.name = "state",
	.setup = setup,
	.run = {leave, stay},
};
