/* SPDX-License-Identifier: Apache-2.0 */
/* One message with everything in it, written and read back; shared by the tests of the generated
 * code. */
#ifndef TEST_GEN_EVERY_H
#define TEST_GEN_EVERY_H

#include "every_fbs.h"

#define EVERY_MAX_BYTES 8192

/* Writes the message; as ipc_writer_finish(). */
int every_write(struct ipc_writer *w, void *room, size_t bytes, size_t *size_bytes);

/* NULL if the message says what every_write() wrote, else what does not. */
const char *every_check(struct ipc_msg *msg);

/* Reads every field of whatever the message is, without asking what it says. */
void every_read(struct ipc_msg *msg);

#endif
