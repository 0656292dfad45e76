/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Orders as typed calls over libipc: written straight into shared memory, answered into shared
 * memory. The broker is asked once, for the channel.
 */
#include "client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ipc/ipc.h>

#include "orders_fbs.h"

#define CALL_TIMEOUT_NS UINT64_C(5000000000)

struct client {
	ipc_loop *loop;
	ipc_channel *channel;
	size_t room_bytes; /* what the largest order so far took; 0: the default is enough */
};

static void client_close(void *self)
{
	struct client *client = self;

	ipc_channel_free(client->channel);
	ipc_loop_free(client->loop);
	free(client);
}

static int client_open(void **ret, const char *address)
{
	const struct ipc_loop_opts opts = {.size = sizeof(opts), .broker = address};
	struct client *client = calloc(1, sizeof(*client));
	int r;

	if (client == NULL)
		return -ENOMEM;
	r = ipc_loop_new(&client->loop, &opts);
	if (r < 0) {
		(void)fprintf(stderr, "ipc: %s\n", ipc_loop_error(NULL));
		free(client);
		return r;
	}
	r = ipc_open(client->loop, &shop_Orders_service, NULL, &client->channel);
	if (r < 0) {
		(void)fprintf(stderr, "ipc: %s\n", ipc_loop_error(client->loop));
		client_close(client);
		return r;
	}
	*ret = client;
	return 0;
}

static void write_line(shop_Line_w *w, const struct order_line *line)
{
	shop_Line_set_sku(w, line->sku.data, line->sku.size_bytes);
	shop_Line_set_quantity(w, line->quantity);
	shop_Line_set_price(w, (shop_Money){line->price.units, line->price.nanos});
	if (line->n_tags > 0) {
		ipc_str_vec_w tags = shop_Line_new_tags(w, line->n_tags);

		for (uint32_t i = 0; i < line->n_tags; i++)
			ipc_str_set_at(&tags, i, line->tags[i].data, line->tags[i].size_bytes);
	}
}

static void write_order(shop_PlaceOrder_w *w, const struct order *order)
{
	shop_Line_vec_w lines;

	shop_PlaceOrder_set_id(w, order->id);
	shop_PlaceOrder_set_customer(w, order->customer.data, order->customer.size_bytes);
	shop_PlaceOrder_set_priority(w, order->priority);
	if (order->n_coupons > 0)
		shop_PlaceOrder_set_coupons(w, order->coupons, order->n_coupons);
	if (order->note.data != NULL)
		shop_PlaceOrder_set_note(w, order->note.data, order->note.size_bytes);
	lines = shop_PlaceOrder_new_lines(w, order->n_lines);
	for (size_t i = 0; i < order->n_lines; i++) {
		shop_Line_w line = shop_Line_new_at(&lines, i);

		write_line(&line, &order->lines[i]);
	}
}

/* 0 and the reply; a status; -errno. An order that needs more room than any before it is written
 * twice. */
static int call(struct client *client, const struct order *order, struct ipc_msg *msg,
		shop_OrderPlaced *reply)
{
	const struct ipc_call_opts opts = {.size = sizeof(opts), .timeout_ns = CALL_TIMEOUT_NS};

	for (;;) {
		shop_PlaceOrder_w w;
		int r = shop_Orders_Place_begin_sized(client->channel, client->room_bytes, &opts,
						      &w);

		if (r != 0)
			return r;
		write_order(&w, order);
		r = shop_Orders_Place_call(&w, msg, reply);
		if (r != -ENOBUFS || w.writer->needed_bytes <= client->room_bytes)
			return r;
		client->room_bytes = w.writer->needed_bytes;
	}
}

static int client_place(void *self, const struct order *order, struct placed *ret)
{
	shop_OrderPlaced reply;
	struct placed placed;
	struct ipc_msg msg;
	shop_Money total;
	int r;

	r = call(self, order, &msg, &reply);
	if (r != 0)
		return r;
	total = shop_OrderPlaced_total(reply);
	placed = (struct placed){
		.id = shop_OrderPlaced_id(reply),
		.n_lines = shop_OrderPlaced_n_lines(reply),
		.n_items = shop_OrderPlaced_n_items(reply),
		.total = {total.units, total.nanos},
	};
	if (!shop_OrderPlaced_ok(reply)) {
		(void)fprintf(stderr, "ipc: the reply is malformed\n");
		return -EPROTO;
	}
	*ret = placed;
	return 0;
}

static json_t *client_info(void *self)
{
	const struct client *client = self;
	struct ipc_channel_info info = {.size = sizeof(info)};

	if (ipc_channel_info(client->channel, &info) < 0)
		return NULL;
	return json_pack("{s:s, s:I, s:I, s:I}", "peer", info.peer, "shared_bytes",
			 (json_int_t)info.shared_bytes, "sleeps", (json_int_t)info.n_sleeps,
			 "wakes", (json_int_t)info.n_wakes);
}

const struct transport transport_ipc = {client_open, client_place, client_info, client_close};
