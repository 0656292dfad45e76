/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Registered with every loop, not once a process: whether a forked child inherits it is then no
 * question, and a kernel that is asked again answers at once.
 */
#include "membarrier.h"

#include <errno.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

bool ipci_membarrier_register(void)
{
	/* A filter may know the one command and not the other. */
	return syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, 0, 0) == 0 &&
	       ipci_membarrier() == 0;
}

int ipci_membarrier(void)
{
	return syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0, 0) < 0 ? -errno : 0;
}
