/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A loop that lives in somebody else's: serves test.Hosted, and sleeps nowhere but in its host.
 *
 * Nothing wakes the host but what it hosts: no call has a deadline, and the one caller has one call
 * in flight, so after a wake that was missed there is silence. Each host watches for that.
 */
#ifndef TESTS_HOSTING_GUEST_H
#define TESTS_HOSTING_GUEST_H

#include <stdbool.h>
#include <stdint.h>

#include <ipc/ipc.h>

#define SILENCE_S 20 /* longer than any machine takes for one call */

enum { EXIT_MISSED = 3 };

struct guest {
	ipc_loop *loop;
	uint64_t n_sleeps;   /* of the host, ended by an event of the loop's */
	uint64_t n_requests; /* answered */
	bool came, gone;     /* the caller */
	unsigned n_channels;
};

/* argv: SOCKET WAIT FLAGS, of struct ipc_loop_opts. Says "ready" when it serves. 0 or -errno. */
int guest_start(struct guest *guest, int argc, char **argv);
/*
 * The host woke, or begins: works off all there is. 1 the host may sleep; 0 the caller is gone;
 * -errno.
 */
int guest_pump(struct guest *guest);
/* Says what was counted, and frees; the exit status. */
int guest_end(struct guest *guest, int error);

#endif
