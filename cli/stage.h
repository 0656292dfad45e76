/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a measurement plays: a broker of its own in a temporary directory, with a policy for one
 * client and one server, and a second process that is the server. All of it is gone after
 * stage_deinit(), and, but for the directory, also if this process is killed.
 */
#ifndef CLI_STAGE_H
#define CLI_STAGE_H

#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>

#include "error.h"

#define STAGE_PATH_BYTES 128

struct stage {
	char directory[STAGE_PATH_BYTES]; /* "": none yet */
	char client_socket[STAGE_PATH_BYTES];
	char server_socket[STAGE_PATH_BYTES];
	pid_t broker, server; /* 0: not running */
	bool watching;	      /* signals are */
};

/*
 * The signal that ends the measurement early, 0 for none: SIGINT, SIGTERM or SIGHUP from outside,
 * SIGCHLD when the broker or the server ended by itself.
 */
extern volatile sig_atomic_t stage_stop;

/*
 * Starts the broker: @broker, or, for NULL, the ipc-broker installed or built beside this program,
 * or the one in PATH. Its clients may call @service, every method of it. stage_deinit() is due also
 * after a failure.
 */
int stage_init(struct stage *stage, const char *broker, const char *service,
	       struct ipci_error *error);

/* Runs @serve in a process of its own, which ends with it, or with this one. */
int stage_start_server(struct stage *stage, int (*serve)(const char *socket, void *context),
		       void *context, struct ipci_error *error);

/*
 * To be asked when something failed: if a process of the stage ended by itself, or a signal came,
 * that is the reason, and @error says so instead.
 */
void stage_explain(struct stage *stage, struct ipci_error *error);

void stage_deinit(struct stage *stage);

/* After stage_deinit(): dies of the signal that stopped the measurement, if one did. */
void stage_die_as_told(void);

#endif
