/* SPDX-License-Identifier: Apache-2.0 */
/* A program as a user would write it, in what C17 and C++17 share: the library answers, and answers as documented. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <ipc/ipc.h>

int main(int argc, char **argv)
{
	struct ipc_loop_opts opts;
	ipc_loop *loop = NULL;
	int r;

	if (argc != 2 || strcmp(ipc_version(), argv[1]) != 0) {
		(void)fprintf(stderr, "the library is version %s\n", ipc_version());
		return 1;
	}
	memset(&opts, 0, sizeof(opts));
	opts.size = sizeof(opts);
	opts.broker = "/nowhere/broker.sock";
	r = ipc_loop_new(&loop, &opts);
	if (r != -ENOENT || loop != NULL) {
		(void)fprintf(stderr, "no broker: ipc_loop_new() answers %d\n", r);
		return 1;
	}
	if (strcmp(ipc_status_name(IPC_UNAVAILABLE), "UNAVAILABLE") != 0 || *ipc_loop_error(NULL) == '\0') {
		(void)fprintf(stderr, "a name or an error text is missing\n");
		return 1;
	}
	return 0;
}
