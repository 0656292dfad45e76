/* SPDX-License-Identifier: Apache-2.0 */
/* What a process costs, as /proc has it. */
#ifndef CLI_USAGE_H
#define CLI_USAGE_H

#include <stdint.h>
#include <sys/types.h>

/* CPU time of all threads of a process so far. 0 or -errno. */
int usage_cpu_ns(pid_t pid, uint64_t *ret);

/* Private memory of a process that is in use: anonymous pages. 0 or -errno. */
int usage_private_bytes(pid_t pid, uint64_t *ret);

/*
 * Shared memory that any of @n processes has mapped: each file once, as far as it is mapped.
 * @ret_halves: of libipc's halves, @ret_others: all else. 0 or -errno.
 */
int usage_shared_bytes(const pid_t *pids, size_t n, uint64_t *ret_halves, uint64_t *ret_others);

#endif
