/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bell: one end of an AF_UNIX SOCK_SEQPACKET pair that the broker made and keeps no end of. One
 * byte wakes the peer; its hang-up is the peer's death. Nothing that the peer does to its end, or
 * to shared file flags, makes these calls block or raises SIGPIPE.
 */
#ifndef IPCI_WAIT_BELL_H
#define IPCI_WAIT_BELL_H

#include <stdbool.h>

/* Makes a pair (the broker's job, and the tests'): both ends CLOEXEC and non-blocking. 0 or -errno.
 */
int ipci_bell_pair(int ret_fds[2]);

/*
 * Is @fd the kind of socket that a bell must be (SO_DOMAIN, SO_TYPE)? Then lets no descriptors in
 * from now on, where the kernel can (Linux 6.16). 0, or -EPROTO. Cannot block.
 */
int ipci_bell_check(int fd);

/*
 * Sends one byte. 0 also when the peer's queue is full (it has bells enough); -EPIPE the peer hung
 * up; other -errno, like -ENOMEM: not rung.
 */
int ipci_bell_ring(int fd);

/*
 * Takes what is queued, at most a bounded number of bells a call; received fds are closed, off this
 * thread. Returns 1 something was taken, 0 nothing was there, -EPIPE the peer hung up and nothing
 * is queued (or it sent an empty packet, which is no bell), -EPROTO fds came with it.
 */
int ipci_bell_drain(int fd);

/* Did the peer hang up? One poll(2) without waiting. */
bool ipci_bell_hung_up(int fd);

/*
 * Takes @fd, a checked bell: hangs up at once, also where a forked child still holds it, and closes
 * it without blocking: the peer may have left descriptors in its queue that cannot be closed at
 * once.
 */
void ipci_bell_close(int fd);

#endif
