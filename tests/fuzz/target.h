/* SPDX-License-Identifier: Apache-2.0 */
/* What a fuzz target is to its driver: libFuzzer where the build has it, else drive.c. */
#ifndef TESTS_FUZZ_TARGET_H
#define TESTS_FUZZ_TARGET_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>

#include <ipc/message.h>

void target_start(void); /* once, before the first input */
void target_run(const uint8_t *data, size_t n);

/* Reads every byte of a message, as a program would. */
static inline void target_read(const struct ipc_msg *msg)
{
	const volatile uint8_t *at = msg->data;

	for (size_t i = 0; i < msg->size_bytes; i++)
		(void)at[i];
}

#endif
