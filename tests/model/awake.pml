/* SPDX-License-Identifier: Apache-2.0 */
/*
 * waking.pml with sides that call themselves awake, so that the other publishes without a fence,
 * and that issue a membarrier(2) before they sleep: signal.h's AWAKE.
 */
#define WITH_AWAKE
#define N_FRAMES 3

#include "waking.pml"
