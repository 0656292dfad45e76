/* SPDX-License-Identifier: Apache-2.0 */
/* The machine's pool of huge pages, for the time of one test. */
#ifndef TESTS_SUPPORT_HUGE_H
#define TESTS_SUPPORT_HUGE_H

#define HUGE_PAGE_BYTES 0x200000u

/*
 * Makes it so that exactly @n huge pages of 2 MiB are free, or skips the test, saying why not. The
 * pool is as it was again when the test's process has ended, however it does; tests that use it wait
 * for each other. May be called again.
 */
void huge_pages_free(unsigned n);

/* How many are. */
unsigned huge_pages_count(void);

#endif
