/* SPDX-License-Identifier: Apache-2.0 */
/* See threads.h; nothing at all in a build without the checks. */
#include "threads.h"

#ifdef IPCI_THREAD_CHECKS

#include <stdio.h>
#include <stdlib.h>

/* Its address is the thread's name. */
static _Thread_local char self;

__attribute__((__noreturn__)) static void die(const char *function)
{
	(void)fprintf(stderr,
		      "libipc: %s() while another thread is in a call on the same loop: a loop and "
		      "all that is on it belong to one thread at a time\n",
		      function);
	abort();
}

struct ipc_loop *ipci_thread_enter(struct ipc_loop *loop, const char *function)
{
	const char *before;

	/* The thread that was inside at the fork is not there in the child. */
	if (ipci_forked(loop))
		return NULL;
	before = atomic_exchange_explicit(&loop->inside, &self, memory_order_relaxed);
	if (before && before != &self)
		die(function);
	return before ? NULL : loop;
}

void ipci_thread_leave(struct ipc_loop **entered)
{
	if (*entered)
		atomic_store_explicit(&(*entered)->inside, NULL, memory_order_relaxed);
}

void ipci_thread_alone(struct ipc_loop *loop, const char *function)
{
	const char *inside = atomic_load_explicit(&loop->inside, memory_order_relaxed);

	if (inside && inside != &self && !ipci_forked(loop))
		die(function);
}

#endif
