/* SPDX-License-Identifier: Apache-2.0 */
/* hello-client [NAME]: one call, and what came of it. */
#include <stdio.h>
#include <string.h>

#include "hello_fbs.h"

static int greet(ipc_channel *channel, const char *name)
{
	hello_Request_w request;
	hello_Reply reply;
	struct ipc_msg msg;
	struct ipc_str text;
	int r = hello_Greeter_Greet_begin(channel, NULL, &request);

	if (r != 0)
		return r;
	hello_Request_set_name_str(&request, name);
	r = hello_Greeter_Greet_call(&request, &msg, &reply);
	if (r != 0)
		return r;
	text = hello_Reply_text(reply);
	(void)printf("%.*s\n", (int)text.size_bytes, text.data);
	return 0;
}

int main(int argc, char **argv)
{
	ipc_channel *channel;
	ipc_loop *loop = NULL;
	int r;

	if (ipc_loop_new(&loop, NULL) < 0 ||
	    ipc_open(loop, &hello_Greeter_service, NULL, &channel) < 0) {
		(void)fprintf(stderr, "hello-client: %s\n", ipc_loop_error(loop));
		ipc_loop_free(loop);
		return 1;
	}
	r = greet(channel, argc > 1 ? argv[1] : "world");
	if (r != 0)
		(void)fprintf(stderr, "hello-client: %s\n",
			      r > 0 ? ipc_status_name(r) : strerror(-r));
	ipc_loop_free(loop);
	return r == 0 ? 0 : 1;
}
