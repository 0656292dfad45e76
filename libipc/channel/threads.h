/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A loop and everything on it belong to any thread, one at a time. In a build with
 * -Dthread_checks=true each public call takes the loop for its thread, with one atomic exchange, and
 * gives it back at its end; who finds it taken by another thread ends the program and says in which
 * function. Without that the checks are nothing.
 *
 * What is not caught: two threads that happen never to be inside at the same time. The exchange
 * orders nothing that a program may rely on.
 */
#ifndef IPCI_CHANNEL_THREADS_H
#define IPCI_CHANNEL_THREADS_H

#include "objects.h"

#ifdef IPCI_THREAD_CHECKS

#include "cleanup.h"

/* NULL, or what it is called in a call inside another: the outer one gives it back. */
struct ipc_loop *ipci_thread_enter(struct ipc_loop *loop, const char *function);
void ipci_thread_leave(struct ipc_loop **entered);
/* For calls that may free the loop: nobody else is inside now. */
void ipci_thread_alone(struct ipc_loop *loop, const char *function);

#define IPCI_ENTER(loop)                                                                           \
	_cleanup_(ipci_thread_leave) __attribute__((                                               \
		__unused__)) struct ipc_loop *ipci_entered = ipci_thread_enter(loop, __func__)
#define IPCI_ALONE(loop) ipci_thread_alone(loop, __func__)

#else

#define IPCI_ENTER(loop) ((void)0)
#define IPCI_ALONE(loop) ((void)0)

#endif

#endif
