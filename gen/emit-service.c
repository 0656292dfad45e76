/* SPDX-License-Identifier: Apache-2.0 */
/* Stubs: typed calls for clients, dispatch and replies for servers. What they share is in
 * <ipc/stub.h>. */
#include "emit.h"

#include <string.h>

#define CALL_VARS 8

static void call_vars(struct ipci_out *out, const struct ipci_service *service,
		      const struct ipci_rpc *rpc, struct ipci_var vars[CALL_VARS])
{
	const struct ipci_var all[CALL_VARS] = {
		{"S", service->c_name},
		{"m", rpc->name},
		{"h", rpc->c_name},
		{"id", ipci_out_text(out, "%u", rpc->id)},
		{"Q", out->schema->objects[rpc->request].c_name},
		{"P", out->schema->objects[rpc->response].c_name},
		{NULL, NULL},
	};

	out->subject = ipci_out_text(out, "%s.%s", service->name, rpc->name);
	memcpy(vars, all, sizeof(all));
}

static void emit_client(struct ipci_out *out, const struct ipci_var *vars)
{
	ipci_out_put(
		out, vars,
		"/* A call, and its request to fill in. 0, or as ipc_begin(); max_bytes 0 stands "
		"for 4 KiB. */\n"
		"static inline int $@S@_@m@_begin_sized(ipc_channel *channel, size_t max_bytes,\n"
		"\t\t\t\t\tconst struct ipc_call_opts *opts, @Q@_w *w)\n"
		"{\n"
		"\tstruct ipc_writer *writer;\n"
		"\tint r = ipc_stub_begin(channel, @S@_@m@_method, max_bytes, opts, &writer);\n"
		"\n"
		"\tif (r < 0)\n"
		"\t\treturn r;\n"
		"\t*w = @Q@_start(writer);\n"
		"\treturn 0;\n"
		"}\n"
		"\n"
		"static inline int $@S@_@m@_begin(ipc_channel *channel, const struct ipc_call_opts "
		"*opts,\n"
		"\t\t\t\t  @Q@_w *w)\n"
		"{\n"
		"\treturn @S@_@m@_begin_sized(channel, 0, opts, w);\n"
		"}\n"
		"\n"
		"/* Sends the request and waits. As ipc_transact(); a writer's error ended the "
		"call, and nothing was sent. */\n"
		"static inline int $@S@_@m@_call(@Q@_w *w, struct ipc_msg *msg, @P@ *reply)\n"
		"{\n"
		"\tint r = ipc_stub_transact(w->writer, msg);\n"
		"\n"
		"\tif (r == 0)\n"
		"\t\t*reply = @P@_root(msg);\n"
		"\treturn r;\n"
		"}\n"
		"\n"
		"/* Sends the request; the reply comes through ipc_receive() or the loop. An error "
		"ended the call. */\n"
		"static inline int $@S@_@m@_send(@Q@_w *w, ipc_call **call)\n"
		"{\n"
		"\treturn ipc_stub_send(w->writer, call);\n"
		"}\n\n");
}

static void emit_reply(struct ipci_out *out, const struct ipci_var *vars)
{
	ipci_out_put(out, vars,
		     "/* Room for the reply. 0, or as ipc_reserve(): after -EAGAIN, again when the "
		     "channel is writable. */\n"
		     "static inline int $@S@_@m@_reply_begin_sized(ipc_call *call, size_t "
		     "max_bytes, @P@_w *w)\n"
		     "{\n"
		     "\tstruct ipc_writer *writer;\n"
		     "\tint r = ipc_stub_reserve(call, max_bytes, &writer);\n"
		     "\n"
		     "\tif (r < 0)\n"
		     "\t\treturn r;\n"
		     "\t*w = @P@_start(writer);\n"
		     "\treturn 0;\n"
		     "}\n"
		     "\n"
		     "static inline int $@S@_@m@_reply_begin(ipc_call *call, @P@_w *w)\n"
		     "{\n"
		     "\treturn @S@_@m@_reply_begin_sized(call, 0, w);\n"
		     "}\n"
		     "\n"
		     "/* Sends the reply and ends the call. After an error the call is still to be "
		     "ended. */\n"
		     "static inline int $@S@_@m@_reply(@P@_w *w)\n"
		     "{\n"
		     "\treturn ipc_stub_reply(w->writer);\n"
		     "}\n\n");
}

static void emit_handlers(struct ipci_out *out, const struct ipci_service *service,
			  const struct ipci_var *vars)
{
	struct ipci_var call[CALL_VARS];

	ipci_out_put(out, vars,
		     "/*\n"
		     " * A handler returns 0 (it ended the call), IPC_DEFERRED (it keeps the "
		     "call), a status 1..16 to fail the call with, or\n"
		     " * negative for INTERNAL, -EAGAIN for RESOURCE_EXHAUSTED. A NULL handler "
		     "answers UNIMPLEMENTED.\n"
		     " * The request is borrowed from the event.\n"
		     " */\n"
		     "struct $@S@_handlers {\n");
	for (uint32_t i = 0; i < service->n_calls; i++) {
		call_vars(out, service, &service->calls[i], call);
		ipci_emit_doc(out, service->calls[i].doc, "\t");
		ipci_out_put(out, call, "\tint (*@h@)(ipc_call *call, @Q@ request, void *user);\n");
	}
	out->subject = service->name;
	ipci_out_put(out, vars,
		     "\tvoid (*cancelled)(ipc_call *call, void *user);       /* nobody waits for "
		     "it any more: end it */\n"
		     "\tvoid (*writable)(ipc_channel *channel, void *user); /* there is room again "
		     "after -EAGAIN */\n"
		     "};\n\n");
}

static void emit_dispatch(struct ipci_out *out, const struct ipci_service *service,
			  const struct ipci_var *vars)
{
	struct ipci_var call[CALL_VARS];

	ipci_out_put(out, vars,
		     "/*\n"
		     " * Handles a server's event: requests, cancellations, room. The event does "
		     "not say which service it is for: a program\n"
		     " * that serves several gives each dispatch the events of its own server "
		     "(event->server).\n"
		     " * A request of up to 4 KiB is checked as a whole before its handler runs. A "
		     "larger one lies in place and may\n"
		     " * still change: its handler asks @S@'s readers' _ok() after it read what it "
		     "acts on.\n"
		     " *\n"
		     " * Return: false: not a server's event, or not one of these kinds; the event "
		     "is untouched.\n"
		     " */\n"
		     "static inline bool $@S@_dispatch(struct ipc_event *event, const struct "
		     "@S@_handlers *handlers,\n"
		     "\t\t\t\t    void *user)\n"
		     "{\n"
		     "\tint ended = 0, r = IPC_UNIMPLEMENTED;\n"
		     "\n"
		     "\tif (!event->server)\n"
		     "\t\treturn false;\n"
		     "\tif (event->kind == IPC_EVENT_CANCELLED && handlers->cancelled)\n"
		     "\t\thandlers->cancelled(event->call, user);\n"
		     "\tif (event->kind == IPC_EVENT_WRITABLE && handlers->writable)\n"
		     "\t\thandlers->writable(event->channel, user);\n"
		     "\tif (event->kind != IPC_EVENT_REQUEST)\n"
		     "\t\treturn event->kind == IPC_EVENT_CANCELLED || event->kind == "
		     "IPC_EVENT_WRITABLE;\n"
		     "\tipc_call_on_end(event->call, &ended);\n"
		     "\tswitch (event->method) {\n");
	for (uint32_t i = 0; i < service->n_calls; i++) {
		call_vars(out, service, &service->calls[i], call);
		ipci_out_put(out, call,
			     "\tcase @S@_@m@_method: {\n"
			     "\t\t@Q@ request = @Q@_root(&event->msg);\n"
			     "\n"
			     "\t\tif (!handlers->@h@)\n"
			     "\t\t\tbreak;\n"
			     "\t\tif (event->msg.flags & IPC_MSG_IN_PLACE ? @Q@_ok(request) : "
			     "@Q@_verify(request))\n"
			     "\t\t\tr = handlers->@h@(event->call, request, user);\n"
			     "\t\telse\n"
			     "\t\t\tr = IPC_INVALID_ARGUMENT;\n"
			     "\t\tbreak;\n"
			     "\t}\n");
	}
	out->subject = service->name;
	ipci_out_put(out, vars,
		     "\tdefault:\n"
		     "\t\tbreak;\n"
		     "\t}\n"
		     "\tipc_stub_settle(event->call, r, ended);\n"
		     "\treturn true;\n"
		     "}\n\n");
}

void ipci_emit_service(struct ipci_out *out, const struct ipci_service *service)
{
	const struct ipci_var vars[] = {
		{"S", service->c_name},
		{"name", service->name},
		{"n", ipci_out_text(out, "%u", service->n_calls)},
		{NULL, NULL},
	};
	struct ipci_var call[CALL_VARS];

	ipci_out_put(out, vars, "enum {\n");
	for (uint32_t i = 0; i < service->n_calls; i++) {
		call_vars(out, service, &service->calls[i], call);
		ipci_out_put(out, call, "\t$@S@_@m@_method = @id@,\n");
	}
	out->subject = service->name;
	ipci_out_put(out, vars,
		     "};\n"
		     "\n"
		     "static const struct ipc_method $@S@_methods[] = {\n");
	for (uint32_t i = 0; i < service->n_calls; i++) {
		call_vars(out, service, &service->calls[i], call);
		ipci_out_put(out, call, "\t{\"@m@\", @S@_@m@_method, 0, 0},\n");
	}
	out->subject = service->name;
	ipci_out_put(out, vars, "};\n\n");
	ipci_emit_doc(out, service->doc, "");
	ipci_out_put(out, vars,
		     "static const struct ipc_service $@S@_service = {\"@name@\", @S@_methods, "
		     "@n@, 0};\n\n");
	for (uint32_t i = 0; i < service->n_calls; i++) {
		call_vars(out, service, &service->calls[i], call);
		ipci_emit_doc(out, service->calls[i].doc, "");
		emit_client(out, call);
		emit_reply(out, call);
	}
	out->subject = service->name;
	emit_handlers(out, service, vars);
	emit_dispatch(out, service, vars);
}
