// SPDX-License-Identifier: Apache-2.0
/* A loop in plain epoll. */
#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "guest.h"

static int host(struct guest *guest)
{
	struct epoll_event event = {.events = EPOLLIN};
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	int r = 1;

	if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, ipc_loop_fd(guest->loop), &event) < 0)
		return -errno;
	while (r == 1) {
		r = guest_pump(guest);
		if (r != 1)
			break;
		r = epoll_wait(epoll, &event, 1, guest->came ? SILENCE_S * 1000 : -1);
		if (r < 0)
			r = errno == EINTR ? 1 : -errno;
		else if (r == 0)
			r = -ETIMEDOUT;
	}
	(void)close(epoll);
	return r;
}

int main(int argc, char **argv)
{
	struct guest guest = {};
	int r = guest_start(&guest, argc, argv);

	return guest_end(&guest, r < 0 ? r : host(&guest));
}
