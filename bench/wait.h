/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Waiting and waking, one system call each, by one thread. A shim, since the layer's headers are C
 * with atomics, which C++ does not read.
 */
#ifndef BENCH_WAIT_H
#define BENCH_WAIT_H

#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

struct bench_wait;

/* @uring: on io_uring, else on epoll. NULL: refused. */
struct bench_wait *bench_wait_new(bool uring);
void bench_wait_free(struct bench_wait *wait);

/* Looks for what is ready among one armed bell that is silent. 0 or -errno. */
int bench_wait_poll(struct bench_wait *wait);
/* Rings it, learns of that, drains it. */
int bench_wait_bell(struct bench_wait *wait);
/* Wakes a futex on which nobody sleeps. */
int bench_wait_futex_wake(struct bench_wait *wait);
/* So many wakes, collected, and sent together. */
#define BENCH_WAIT_WAKES 16
int bench_wait_wakes(struct bench_wait *wait);

#ifdef __cplusplus
}
#endif

#endif
