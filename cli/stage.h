/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a measurement plays: a broker of its own in a temporary directory, with a policy for one
 * client and one server, and processes beside this one that are the server or more clients. All of
 * it is gone after stage_deinit(), and, but for the directory, also if this process is killed.
 */
#ifndef CLI_STAGE_H
#define CLI_STAGE_H

#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>

#include "error.h"

#define STAGE_PATH_BYTES 128
#define STAGE_CHILDREN_MAX 4u
#define STAGE_BOUND_S 900u /* a measurement that is not done by then is stopped */

struct stage {
	char directory[STAGE_PATH_BYTES]; /* "": none yet */
	char client_socket[STAGE_PATH_BYTES];
	char server_socket[STAGE_PATH_BYTES];
	pid_t broker; /* 0: not running */
	pid_t children[STAGE_CHILDREN_MAX];
	bool watching; /* signals are */
};

/*
 * The signal that ends the measurement early, 0 for none: SIGINT, SIGTERM or SIGHUP from outside,
 * SIGCHLD when the broker or another child ended by itself, SIGALRM when it took too long.
 */
extern volatile sig_atomic_t stage_stop;

/*
 * Starts the broker: @broker, or, for NULL, the ipc-broker installed or built beside this program,
 * or the one in PATH. Its clients may call @methods ("Echo, Raw") of @service, over thousands of
 * channels. Where there are several stages, all are up before the first is taken down.
 * stage_deinit() is due also after a failure.
 */
int stage_init(struct stage *stage, const char *broker, const char *service, const char *methods,
	       struct ipci_error *error);

/*
 * Runs @run in a process of its own, which ends with it, or with this one. @socket: the stage's
 * server_socket or client_socket.
 */
int stage_start(struct stage *stage, const char *socket,
		int (*run)(const char *socket, void *context), void *context,
		struct ipci_error *error);

/*
 * To be asked when something failed: if a process of the stage ended by itself, or a signal came,
 * that is the reason, and @error says so instead.
 */
void stage_explain(struct stage *stage, struct ipci_error *error);

void stage_deinit(struct stage *stage);

/* After stage_deinit(): dies of the signal that stopped the measurement, if one did. */
void stage_die_as_told(void);

#endif
