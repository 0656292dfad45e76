/* SPDX-License-Identifier: Apache-2.0 */
/* hello-server: greets whoever calls, until a signal comes. */
#include <stdio.h>

#include "hello_fbs.h"

static int on_greet(ipc_call *call, hello_Request request, void *user)
{
	struct ipc_str name = hello_Request_name(request);
	hello_Reply_w reply;
	char text[128];
	int r;

	(void)user;
	if (name.size_bytes > 100)
		return IPC_INVALID_ARGUMENT;
	(void)snprintf(text, sizeof(text), "hello, %.*s", (int)name.size_bytes, name.data);
	r = hello_Greeter_Greet_reply_begin(call, &reply);
	if (r != 0)
		return r;
	hello_Reply_set_text_str(&reply, text);
	return hello_Greeter_Greet_reply(&reply);
}

int main(void)
{
	static const struct hello_Greeter_handlers handlers = {.Greet = on_greet};
	struct ipc_event event;
	ipc_server *server;
	ipc_loop *loop = NULL;

	if (ipc_loop_new(&loop, NULL) < 0 ||
	    ipc_serve(loop, &hello_Greeter_service, NULL, &server) < 0) {
		(void)fprintf(stderr, "hello-server: %s\n", ipc_loop_error(loop));
		ipc_loop_free(loop);
		return 1;
	}
	while (ipc_loop_next(loop, &event, -1) == 1)
		(void)hello_Greeter_dispatch(&event, &handlers, NULL);
	ipc_loop_free(loop);
	return 0;
}
