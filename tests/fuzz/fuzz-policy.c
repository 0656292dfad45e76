// SPDX-License-Identifier: Apache-2.0
/* A policy file of arbitrary bytes: a policy, or at least one fault with words. */
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "input.h"
#include "policy.h"
#include "target.h"

void target_start(void)
{
}

void target_run(const uint8_t *data, size_t n)
{
	struct ipci_faults faults = {};
	struct ipci_policy *policy = NULL;
	int fd = memfd_create("policy", MFD_CLOEXEC);
	char path[32];
	int r;

	must(fd >= 0 && write(fd, data, n) == (ssize_t)n);
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	r = ipci_policy_load(&policy, path, &faults);
	must(r == 0 ? policy && faults.n == 0 : !policy && faults.n > 0 && faults.fault[0].text[0]);
	ipci_policy_free(policy);
	(void)close(fd);
}
