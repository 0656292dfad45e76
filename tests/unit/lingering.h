/* SPDX-License-Identifier: Apache-2.0 */
/* Sockets whose close() blocks: TCP, with data that nobody reads and a linger time beyond any
 * test's time-out. */
#ifndef IPCI_TESTS_LINGERING_H
#define IPCI_TESTS_LINGERING_H

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include <criterion/criterion.h>

/* Once the listener is closed, what hangs on its connections goes on. */
static inline int lingering_listen(void)
{
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in address = {.sin_family = AF_INET,
				      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

	if (bind(listener, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(listener, 16) < 0)
		cr_skip_test("no TCP on the loopback: %s", strerror(errno));
	return listener;
}

static inline int lingering_connect(int listener)
{
	static const char data[1 << 16];
	struct linger linger = {.l_onoff = 1, .l_linger = 10000};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_in address;
	socklen_t size = sizeof(address);

	if (getsockname(listener, (struct sockaddr *)&address, &size) < 0 ||
	    connect(fd, (struct sockaddr *)&address, size) < 0)
		cr_skip_test("no TCP on the loopback: %s", strerror(errno));
	while (send(fd, data, sizeof(data), MSG_DONTWAIT) > 0)
		;
	cr_assert_eq(setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger)), 0);
	return fd;
}

#endif
