/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Orders as JSON over HTTP/1.1, at its best: one connection kept alive, no Expect: 100-continue, a
 * request and a reply of one segment each, and a Unix socket in place of TCP, which is faster than
 * loopback and is what two sandboxes without a network can share.
 */
#include "client.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ipc/status.h>

#include "cleanup.h"

#define HTTP_TIMEOUT_MS 5000L
#define REPLY_MAX_BYTES 4096

struct http {
	CURL *curl;
	struct curl_slist *headers;
	long n_connections;
	size_t reply_bytes;
	char reply[REPLY_MAX_BYTES];
	char error[CURL_ERROR_SIZE];
};

static size_t http_on_body(char *data, size_t size, size_t n, void *user)
{
	struct http *http = user;

	if (size * n > sizeof(http->reply) - http->reply_bytes)
		return 0;
	memcpy(http->reply + http->reply_bytes, data, size * n);
	http->reply_bytes += size * n;
	return size * n;
}

static void http_close(void *self)
{
	struct http *http = self;

	if (http == NULL)
		return;
	curl_easy_cleanup(http->curl);
	curl_slist_free_all(http->headers);
	free(http);
	curl_global_cleanup();
}

static bool http_set_up(struct http *http, const char *socket_path)
{
	static const char *const headers[] = {"Content-Type: application/json",
					      "Expect:", "Accept:"};
	CURL *curl = http->curl;

	for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
		struct curl_slist *grown = curl_slist_append(http->headers, headers[i]);

		if (grown == NULL)
			return false;
		http->headers = grown;
	}
	return curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, socket_path) == CURLE_OK &&
	       curl_easy_setopt(curl, CURLOPT_URL, "http://shop/orders") == CURLE_OK &&
	       curl_easy_setopt(curl, CURLOPT_PROXY, "") == CURLE_OK &&
	       curl_easy_setopt(curl, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) ==
		       CURLE_OK &&
	       curl_easy_setopt(curl, CURLOPT_HTTPHEADER, http->headers) == CURLE_OK &&
	       curl_easy_setopt(curl, CURLOPT_TCP_NODELAY, 1L) == CURLE_OK &&
	       curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
	       curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, HTTP_TIMEOUT_MS) == CURLE_OK &&
	       curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, http->error) == CURLE_OK &&
	       curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, http_on_body) == CURLE_OK &&
	       curl_easy_setopt(curl, CURLOPT_WRITEDATA, http) == CURLE_OK;
}

static int http_open(void **ret, const char *address)
{
	struct http *http;

	/* No TLS library is started: nothing here uses one. */
	if (curl_global_init(CURL_GLOBAL_NOTHING) != CURLE_OK)
		return -ENOMEM;
	http = calloc(1, sizeof(*http));
	if (http == NULL) {
		curl_global_cleanup();
		return -ENOMEM;
	}
	http->curl = curl_easy_init();
	if (http->curl == NULL ||
	    !http_set_up(http, address != NULL ? address : "/run/http/shop.sock")) {
		http_close(http);
		return -ENOMEM;
	}
	*ret = http;
	return 0;
}

static int placed_from_json(struct http *http, struct placed *ret)
{
	json_error_t error;
	json_t *json = json_loadb(http->reply, http->reply_bytes, 0, &error);
	json_int_t id, n_lines, n_items, units, nanos;
	int r;

	r = json_unpack(json, "{s:I, s:I, s:I, s:{s:I, s:I}}", "id", &id, "n_lines", &n_lines,
			"n_items", &n_items, "total", "units", &units, "nanos", &nanos);
	json_decref(json);
	if (r < 0) {
		(void)fprintf(stderr, "http: the reply is no answer to an order\n");
		return -EPROTO;
	}
	*ret = (struct placed){
		.id = (uint64_t)id,
		.n_lines = (uint32_t)n_lines,
		.n_items = (uint64_t)n_items,
		.total = {units, (int32_t)nanos},
	};
	return 0;
}

static int http_post(struct http *http, const char *body, size_t size_bytes, long *ret_code)
{
	long n_connections = 0;
	CURLcode code;

	http->reply_bytes = 0;
	(void)curl_easy_setopt(http->curl, CURLOPT_POSTFIELDSIZE, (long)size_bytes);
	(void)curl_easy_setopt(http->curl, CURLOPT_POSTFIELDS, body);
	code = curl_easy_perform(http->curl);
	if (code != CURLE_OK) {
		(void)fprintf(stderr, "http: %s\n",
			      http->error[0] != '\0' ? http->error : curl_easy_strerror(code));
		return code == CURLE_OPERATION_TIMEDOUT ? -ETIMEDOUT : -EIO;
	}
	(void)curl_easy_getinfo(http->curl, CURLINFO_NUM_CONNECTS, &n_connections);
	(void)curl_easy_getinfo(http->curl, CURLINFO_RESPONSE_CODE, ret_code);
	http->n_connections += n_connections;
	return 0;
}

static int http_place(void *self, const struct order *order, struct placed *ret)
{
	struct http *http = self;
	json_t *json = order_to_json(order);
	_cleanup_(freep) char *body = json_dumps(json, JSON_COMPACT);
	long code = 0;
	int r;

	json_decref(json);
	if (body == NULL)
		return -ENOMEM;
	r = http_post(http, body, strlen(body), &code);
	if (r < 0)
		return r;
	if (code == 200)
		return placed_from_json(http, ret);
	return code == 400 ? IPC_INVALID_ARGUMENT : code == 422 ? IPC_OUT_OF_RANGE : IPC_INTERNAL;
}

static json_t *http_info(void *self)
{
	const struct http *http = self;

	return json_pack("{s:I}", "connections", (json_int_t)http->n_connections);
}

const struct transport transport_http = {http_open, http_place, http_info, http_close};
