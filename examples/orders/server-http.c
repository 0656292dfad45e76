/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The shop over HTTP/1.1: one epoll thread on a Unix socket, connections kept alive, a header and
 * body that leave in one segment. The daemon's thread alone touches the shop while it runs.
 */
#include "server.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <ipc/status.h>

#include "cleanup.h"
#include "order.h"

#define BODY_MAX_BYTES (1 << 20)

struct body {
	size_t size_bytes;
	size_t capacity;
	char *data;
};

static void bodyp(struct body **body)
{
	if (*body != NULL)
		free((*body)->data);
	free(*body);
}

static int body_add(struct body *body, const char *data, size_t size_bytes)
{
	if (size_bytes > BODY_MAX_BYTES - body->size_bytes)
		return -EMSGSIZE;
	if (body->size_bytes + size_bytes > body->capacity) {
		size_t capacity = body->size_bytes + size_bytes;
		char *grown = realloc(body->data, capacity);

		if (grown == NULL)
			return -ENOMEM;
		body->data = grown;
		body->capacity = capacity;
	}
	memcpy(body->data + body->size_bytes, data, size_bytes);
	body->size_bytes += size_bytes;
	return 0;
}

/* 0 and the reply's text, for the caller to free; or a status. */
static int place(struct shop *shop, const struct body *body, char **ret)
{
	json_error_t error;
	json_t *json = json_loadb(body->data, body->size_bytes, 0, &error);
	struct placed placed;
	struct order order;
	struct bill bill;
	int r;

	if (json == NULL || order_from_json(&order, json) < 0)
		return IPC_INVALID_ARGUMENT;
	order_bill(&order, &bill);
	order_deinit(&order);
	r = shop_take(shop, &bill, &placed);
	if (r != 0)
		return r;
	json = json_pack("{s:I, s:I, s:I, s:{s:I, s:I}}", "id", (json_int_t)placed.id, "n_lines",
			 (json_int_t)placed.n_lines, "n_items", (json_int_t)placed.n_items, "total",
			 "units", (json_int_t)placed.total.units, "nanos",
			 (json_int_t)placed.total.nanos);
	*ret = json_dumps(json, JSON_COMPACT);
	json_decref(json);
	return *ret != NULL ? 0 : IPC_RESOURCE_EXHAUSTED;
}

static enum MHD_Result reply(struct MHD_Connection *connection, unsigned int code, char *text)
{
	struct MHD_Response *response;
	enum MHD_Result result;

	response = text != NULL ? MHD_create_response_from_buffer(strlen(text), text,
								  MHD_RESPMEM_MUST_FREE)
				: MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
	if (response == NULL) {
		free(text);
		return MHD_NO;
	}
	if (text != NULL)
		(void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE,
					      "application/json");
	result = MHD_queue_response(connection, code, response);
	MHD_destroy_response(response);
	return result;
}

static enum MHD_Result on_request(void *user, struct MHD_Connection *connection, const char *url,
				  const char *method, const char *version, const char *data,
				  size_t *size_bytes, void **state)
{
	struct body *body = *state;
	char *text = NULL;
	int status;

	(void)version;
	if (body == NULL) { /* the headers came; the body follows */
		*state = calloc(1, sizeof(*body));
		return *state != NULL ? MHD_YES : MHD_NO;
	}
	if (*size_bytes > 0) {
		if (body_add(body, data, *size_bytes) < 0)
			return MHD_NO;
		*size_bytes = 0;
		return MHD_YES;
	}
	if (strcmp(url, "/orders") != 0)
		return reply(connection, MHD_HTTP_NOT_FOUND, NULL);
	if (strcmp(method, MHD_HTTP_METHOD_POST) != 0)
		return reply(connection, MHD_HTTP_METHOD_NOT_ALLOWED, NULL);
	status = place(user, body, &text);
	return reply(connection,
		     status == 0		      ? MHD_HTTP_OK
		     : status == IPC_INVALID_ARGUMENT ? MHD_HTTP_BAD_REQUEST
		     : status == IPC_OUT_OF_RANGE     ? MHD_HTTP_UNPROCESSABLE_CONTENT
						      : MHD_HTTP_INTERNAL_SERVER_ERROR,
		     text);
}

static void on_completed(void *user, struct MHD_Connection *connection, void **state,
			 enum MHD_RequestTerminationCode code)
{
	_cleanup_(bodyp) struct body *body = TAKE_PTR(*state);

	(void)user;
	(void)connection;
	(void)code;
	(void)body;
}

static int listen_at(const char *path, int *ret)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	_cleanup_(closep) int fd = -EBADF;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	memcpy(address.sun_path, path, strlen(path));
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(fd, 16) < 0)
		return -errno;
	*ret = TAKE_FD(fd);
	return 0;
}

static int wait_for_end(int fd)
{
	char byte;
	ssize_t n;

	do
		n = read(fd, &byte, 1);
	while (n > 0 || (n < 0 && errno == EINTR));
	return n < 0 ? -errno : 0;
}

int serve_http(struct shop *shop, const char *address, int (*ready)(void))
{
	const char *path = address != NULL ? address : "/run/http/shop.sock";
	struct MHD_Daemon *daemon;
	int fd = -EBADF;
	int r;

	r = listen_at(path, &fd);
	if (r < 0) {
		(void)fprintf(stderr, "http: %s: %s\n", path, strerror(-r));
		return r;
	}
	daemon = MHD_start_daemon(MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_ERROR_LOG, 0, NULL, NULL,
				  on_request, shop, MHD_OPTION_LISTEN_SOCKET, fd,
				  MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL,
				  MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)(128 * 1024),
				  MHD_OPTION_END);
	if (daemon == NULL) {
		(void)fprintf(stderr, "http: the daemon does not start\n");
		(void)close(fd);
		(void)unlink(path);
		return -EIO;
	}
	r = ready();
	if (r == 0)
		r = wait_for_end(STDIN_FILENO);
	MHD_stop_daemon(daemon); /* closes the listening socket */
	(void)unlink(path);
	return r;
}
