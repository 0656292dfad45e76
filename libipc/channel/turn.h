/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A turn: from one receive on a loop to the next, the time for which what was delivered is
 * borrowed.
 */
#ifndef IPCI_CHANNEL_TURN_H
#define IPCI_CHANNEL_TURN_H

#include "objects.h"

void ipci_turn_end_borrow(struct ipc_loop *loop);
void ipci_turn_end_call(struct ipc_loop *loop);
void ipci_turn_settle_fresh(struct ipc_loop *loop);
void ipci_turn_aside(struct ipc_loop *loop);

/* Called first by everything that receives. */
static inline void ipci_turn_begin(struct ipc_loop *loop)
{
	loop->turn++;
	if (__builtin_expect(loop->borrowed || loop->borrowed_parked, 0))
		ipci_turn_end_borrow(loop);
	if (loop->ended)
		ipci_turn_end_call(loop);
	if (loop->fresh)
		ipci_turn_settle_fresh(loop);
	if (__builtin_expect(loop->aside != 0, 0))
		ipci_turn_aside(loop);
}

#endif
