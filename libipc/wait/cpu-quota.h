/* SPDX-License-Identifier: Apache-2.0 */
/* How much CPU time control groups leave this process, for who would spin. */
#ifndef IPCI_WAIT_CPU_QUOTA_H
#define IPCI_WAIT_CPU_QUOTA_H

#include <limits.h>

/*
 * Whole CPUs' worth of time that the process may use, by the tightest of its group and those above
 * it, in version 2 and 1: 0 is less than one; UINT_MAX without a limit, or where none can be read.
 * @root is "", or where a test keeps files of its own. Some reads: not for the hot path.
 */
unsigned ipci_cpu_quota(const char *root);

#endif
