// SPDX-License-Identifier: Apache-2.0
#include "wait.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "bell.h"
#include "clock.h"
#include "futex.h"
#include "loop.h"

struct bench_wait {
	struct ipci_loop *loop;
	struct ipci_source source;
	int bells[2]; /* heard here, rung there */
	_Atomic uint32_t words[BENCH_WAIT_WAKES];
};

struct bench_wait *bench_wait_new(bool uring)
{
	struct bench_wait *wait = calloc(1, sizeof(*wait));

	if (!wait)
		return NULL;
	wait->bells[0] = wait->bells[1] = -EBADF;
	if (ipci_loop_new(&wait->loop, uring ? IPCI_LOOP_URING : IPCI_LOOP_EPOLL) < 0 ||
	    ipci_bell_pair(wait->bells) < 0)
		goto fail;
	wait->source = (struct ipci_source){.fd = wait->bells[0], .events = EPOLLIN};
	if (ipci_loop_add(wait->loop, &wait->source) == 0)
		return wait;
fail:
	bench_wait_free(wait);
	return NULL;
}

void bench_wait_free(struct bench_wait *wait)
{
	if (!wait)
		return;
	ipci_loop_free(wait->loop);
	for (int i = 0; i < 2; i++)
		if (wait->bells[i] >= 0)
			ipci_bell_close(wait->bells[i]);
	free(wait);
}

int bench_wait_poll(struct bench_wait *wait)
{
	struct ipci_ready ready;
	int n = ipci_loop_wait(wait->loop, &ready, 1, 0);

	return n > 0 ? -EPROTO : n;
}

int bench_wait_bell(struct bench_wait *wait)
{
	struct ipci_ready ready;
	int r = ipci_bell_ring(wait->bells[1]);

	if (r == 0)
		r = ipci_loop_wait(wait->loop, &ready, 1, IPCI_NEVER);
	if (r != 1)
		return r < 0 ? r : -EPROTO;
	return ipci_bell_drain(wait->bells[0]);
}

int bench_wait_futex_wake(struct bench_wait *wait)
{
	int r = ipci_futex_wake(&wait->words[0]);

	return r < 0 ? r : 0;
}

int bench_wait_wakes(struct bench_wait *wait)
{
	for (int i = 0; i < BENCH_WAIT_WAKES; i++)
		ipci_loop_wake_later(wait->loop, &wait->words[i], -EBADF);
	ipci_loop_flush_wakes(wait->loop);
	return 0;
}
