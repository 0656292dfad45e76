// SPDX-License-Identifier: Apache-2.0
/*
 * Generated readers over arbitrary bytes: every field is read, and the whole is walked. Whatever the
 * walk calls good, a second walk does too.
 */
#include <stdlib.h>
#include <string.h>

#include "every.h"
#include "input.h"
#include "target.h"

void target_start(void)
{
}

void target_run(const uint8_t *data, size_t n)
{
	struct ipc_msg msg;
	void *copy = NULL;
	bool good;

	must(posix_memalign(&copy, 16, n ? n : 1) == 0);
	memcpy(copy, data, n);
	msg = ipc_msg_from(copy, n);
	good = test_every_Root_verify(test_every_Root_root(&msg));
	msg = ipc_msg_from(copy, n);
	every_read(&msg);
	msg = ipc_msg_from(copy, n);
	must(test_every_Root_verify(test_every_Root_root(&msg)) == good);
	free(copy);
}
