/* SPDX-License-Identifier: Apache-2.0 */
/* A packet of the control protocol as the input wants it: built well, then damaged or not. */
#ifndef TESTS_FUZZ_PACKET_H
#define TESTS_FUZZ_PACKET_H

#include "input.h"

#include "fdpass.h"

/*
 * Sends one on @socket, with up to three descriptors of several kinds beside it. @serial and
 * @channel are what the other side knows of. 0, or -errno of the sending.
 */
int packet_send(int socket, struct input *in, uint64_t serial, uint64_t channel,
		const char *service);

#endif
