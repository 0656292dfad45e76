/* SPDX-License-Identifier: Apache-2.0 */
/* An errno with its words: where a failure is described once, at its origin. */
#ifndef IPCI_BASE_ERROR_H
#define IPCI_BASE_ERROR_H

#include <stdbool.h>

#define IPCI_ERROR_TEXT_BYTES 512

struct ipci_error {
	int code; /* 0 or -errno */
	char text[IPCI_ERROR_TEXT_BYTES];
};

/*
 * Records a failure: one line, no newline, cut where it does not fit. A NULL @error records
 * nothing. Returns @code, so that a failure is one statement: return ipci_error_set(error, -EINVAL,
 * "…");
 */
__attribute__((__format__(__printf__, 3, 4))) int ipci_error_set(struct ipci_error *error, int code,
								 const char *format, ...);

/* The same for a failed system call: appends errno's words. Returns -errno. */
__attribute__((__format__(__printf__, 2, 3))) int ipci_error_errno(struct ipci_error *error,
								   const char *format, ...);

#endif
