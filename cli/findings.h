/* SPDX-License-Identifier: Apache-2.0 */
/* What `ipc doctor` found, one finding a check. */
#ifndef CLI_FINDINGS_H
#define CLI_FINDINGS_H

#include <stdbool.h>

enum finding_state {
	FINDING_OK,
	FINDING_NOTE,	/* good to know */
	FINDING_SLOWER, /* libipc works without, in a slower way */
	FINDING_BAD,	/* libipc does not work */
};

struct finding {
	const char *id;
	enum finding_state state;
	char text[384];	  /* what is so */
	char advice[512]; /* what to change; "" */
};

#define FINDINGS_MAX 32

struct findings {
	struct finding list[FINDINGS_MAX];
	unsigned n;
	/* What later ones need to know of earlier ones. */
	bool has_uring, has_uring_futex, has_waitv;
	unsigned n_cpus;
};

/* Adds one. @advice may be NULL. */
__attribute__((__format__(__printf__, 5, 6))) void
findings_add(struct findings *findings, const char *id, enum finding_state state,
	     const char *advice, const char *format, ...);

/* What the kernel and its settings offer: checks-kernel.c. */
void check_kernel(struct findings *findings);
void check_memory(struct findings *findings);
void check_waiting(struct findings *findings);
/* What this process may use, and whom it can reach: checks-process.c. @broker may be NULL. */
void check_limits(struct findings *findings);
void check_broker(struct findings *findings, const char *broker);
void check_choice(struct findings *findings);

/* The first line of a file, without its end; false where it cannot be read. */
bool findings_read_line(const char *path, char *ret, int size_bytes);
/* The number that a file begins with, or @otherwise. */
long findings_read_number(const char *path, long otherwise);

#endif
