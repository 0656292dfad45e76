/* SPDX-License-Identifier: Apache-2.0 */
/* The daemon's log: one line an event on standard error, which never holds the daemon up. */
#ifndef IPCI_BROKER_LOG_H
#define IPCI_BROKER_LOG_H

#include <stdint.h>

#define IPCI_LOG_LINES_PER_S 50u

/* How much a workload may still log in this second: a hostile one must not fill the disk, nor hide
 * others. */
struct ipci_log_budget {
	uint64_t second;
	unsigned n_lines, n_dropped;
};

__attribute__((__format__(__printf__, 1, 2))) void ipci_log(const char *format, ...);

/* The same, of a workload: its name goes in front. */
__attribute__((__format__(__printf__, 3, 4))) void
ipci_log_workload(struct ipci_log_budget *budget, const char *workload, const char *format, ...);

#endif
