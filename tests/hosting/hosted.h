/* SPDX-License-Identifier: Apache-2.0 */
/* What host and caller agree on. host-asyncio has it too. */
#ifndef TESTS_HOSTING_HOSTED_H
#define TESTS_HOSTING_HOSTED_H

#include <ipc/service.h>

/* The request is a round alone. */
struct hosted_tick {
	uint64_t round;
	uint64_t n_sleeps; /* of the host so far */
};

static const struct ipc_method hosted_methods[] = {{.name = "Tick", .id = 0}};
static const struct ipc_service hosted_service = {
	.name = "test.Hosted",
	.methods = hosted_methods,
	.n_methods = 1,
};

#endif
