/* SPDX-License-Identifier: Apache-2.0 */
/* What `ipc-broker --check` prints. */
#ifndef IPCI_BROKER_CHECK_H
#define IPCI_BROKER_CHECK_H

#include <stdio.h>

#include "policy.h"

/* One line a fault: FILE:LINE:COLUMN: what was expected. */
void ipci_check_print_faults(FILE *out, const char *path, const struct ipci_faults *faults);

/* The same as data; @policy is NULL where there were faults. */
void ipci_check_print_json(FILE *out, const char *path, const struct ipci_policy *policy,
			   const struct ipci_faults *faults);

#endif
