/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A real broker for one test: its own directory, policy and sockets.
 *
 * Workloads, all of this user:
 *   shop      serves test.Echo and test.Other, calls test.Mirror
 *   web       calls Echo, Hold and Missing of test.Echo, and all of test.Other and test.Mirror;
 * serves test.Mirror stranger  may do nothing
 *
 * What is started here dies with the test, also when the test fails.
 */
#ifndef TESTS_SUPPORT_WORLD_H
#define TESTS_SUPPORT_WORLD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include <ipc/ipc.h>

#define SECOND_NS UINT64_C(1000000000)
#define MS_NS UINT64_C(1000000)
#define PATIENCE_NS (20 * SECOND_NS) /* what takes longer than this hangs */

struct world {
	char dir[64];
	pid_t broker; /* 0: not running */
};

void world_start(struct world *world);
void world_stop(struct world *world);
/* SIGKILL, and gone when this returns. */
void world_kill_broker(struct world *world);

/* A loop of that workload; @wait is an enum ipc_wait. Fails the test if it cannot be. */
ipc_loop *world_loop(const struct world *world, const char *workload, uint32_t wait);
/* The same with IPC_LOOP_… flags. */
ipc_loop *world_loop_with(const struct world *world, const char *workload, uint32_t wait,
			  uint32_t flags);
/* The workload's socket, in a static buffer. */
const char *world_socket(const struct world *world, const char *workload);

/* test.Echo as its clients number it, and as its server does: no method has the same number. */
enum { ECHO = 7, HOLD = 3, SECRET = 5, MISSING = 1000 };
enum { SERVED_ECHO = 2, SERVED_HOLD = 700, SERVED_SECRET = 0 };
extern const struct ipc_service echo_called, echo_served;
/* The same at both ends: Get is 0. */
extern const struct ipc_service other_service, mirror_service;

/*
 * Forks a process that runs @run(world, arg) and exits with what that returns. It must not touch
 * what the parent made with libipc.
 */
pid_t spawn(int (*run)(const struct world *world, void *arg), const struct world *world, void *arg);
/*
 * To be spawned: serves test.Echo as shop until its first client is gone. Echo answers with the
 * request; Hold with fill(n, n), where n is the uint64_t in the request. Both refuse with
 * OUT_OF_RANGE what does not fit.
 */
struct echo_server {
	uint32_t wait, max_calls;
	uint64_t ring_bytes;
};
int serve_echo(const struct world *world, void *echo_server);
/* SIGKILL and wait. */
void slay(pid_t pid);
/* Waits for it to end by itself, and says with which status; 1000 + signal if one ended it. */
int reap(pid_t pid);

/*
 * Under AddressSanitizer: is there memory that nobody points to? Says which on standard error. world_stop() asks, and so
 * should who is spawned, when it has freed all it had.
 */
bool leaked(void);

uint64_t now_ns(void);

/* Bytes that depend on all three, so that misplaced and old ones show. */
void fill(void *data, size_t size_bytes, uint64_t seed);
/* True if they are what fill() wrote. */
int filled(const void *data, size_t size_bytes, uint64_t seed);

#endif
