/* SPDX-License-Identifier: Apache-2.0 */
/* The shop over libipc: one loop, one handler. Standard input is watched beside the channels; its
 * end is the shop's. */
#include "server.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <ipc/ipc.h>

#include "orders_fbs.h"

/*
 * Offsets in a message may lead to the same bytes again and again. An order may make the shop read
 * as many bytes as four of its own size, which is plenty for those who share strings on purpose.
 */
struct reading {
	struct bill bill;
	uint64_t budget_bytes;
};

static bool read_text(struct reading *reading, struct ipc_str text)
{
	uint64_t bytes = sizeof(uint32_t) + text.size_bytes;

	if (bytes > reading->budget_bytes)
		return false;
	reading->budget_bytes -= bytes;
	bill_text(&reading->bill, text.data, text.size_bytes);
	return true;
}

static bool read_line(struct reading *reading, shop_Line line)
{
	ipc_str_vec tags = shop_Line_tags(line);
	shop_Money price = shop_Line_price(line);

	if (!read_text(reading, shop_Line_sku(line)))
		return false;
	for (size_t i = 0; i < ipc_str_vec_count(tags); i++) {
		if (!read_text(reading, ipc_str_at(tags, i)))
			return false;
	}
	bill_line(&reading->bill, shop_Line_quantity(line),
		  (struct money){price.units, price.nanos});
	return true;
}

static bool read_order(struct reading *reading, shop_PlaceOrder order)
{
	shop_Line_vec lines = shop_PlaceOrder_lines(order);
	ipc_uint32_vec coupons = shop_PlaceOrder_coupons(order);

	reading->budget_bytes = 4 * (uint64_t)shop_PlaceOrder_msg(order)->size_bytes;
	bill_start(&reading->bill, shop_PlaceOrder_id(order));
	if (!read_text(reading, shop_PlaceOrder_customer(order)))
		return false;
	for (size_t i = 0; i < shop_Line_vec_count(lines); i++) {
		if (!read_line(reading, shop_Line_at(lines, i)))
			return false;
	}
	for (size_t i = 0; i < ipc_uint32_vec_count(coupons); i++)
		bill_coupon(&reading->bill, ipc_uint32_at(coupons, i));
	return read_text(reading, shop_PlaceOrder_note(order)) && shop_PlaceOrder_ok(order) &&
	       shop_PlaceOrder_priority(order) <= shop_Priority_Freight;
}

static int on_place(ipc_call *call, shop_PlaceOrder order, void *user)
{
	struct reading reading;
	struct placed placed;
	shop_OrderPlaced_w w;
	int r;

	if (!read_order(&reading, order))
		return IPC_INVALID_ARGUMENT;
	r = shop_take(user, &reading.bill, &placed);
	if (r != 0)
		return r;
	r = shop_Orders_Place_reply_begin(call, &w);
	if (r != 0)
		return r;
	shop_OrderPlaced_set_id(&w, placed.id);
	shop_OrderPlaced_set_n_lines(&w, placed.n_lines);
	shop_OrderPlaced_set_n_items(&w, placed.n_items);
	shop_OrderPlaced_set_total(&w, (shop_Money){placed.total.units, placed.total.nanos});
	return shop_Orders_Place_reply(&w);
}

/* Serves until standard input ends. What is written there is nobody's business, and skipped. */
static int serve(ipc_loop *loop, struct shop *shop)
{
	static const struct shop_Orders_handlers handlers = {.Place = on_place};
	struct ipc_event event;
	char skipped[64];
	int r;

	for (;;) {
		r = ipc_loop_next(loop, &event, -1);
		if (r < 0 && r != -EINTR)
			return r;
		if (r != 1)
			continue;
		if (event.kind == IPC_EVENT_FD && read(STDIN_FILENO, skipped, sizeof(skipped)) <= 0)
			return 0;
		if (!shop_Orders_dispatch(&event, &handlers, shop) ||
		    event.kind != IPC_EVENT_REQUEST)
			continue;
		r = raw_echo(&shop->raw);
		if (r < 0)
			return r;
	}
}

int serve_ipc(struct shop *shop, const char *address, int (*ready)(void))
{
	const struct ipc_loop_opts opts = {.size = sizeof(opts), .broker = address};
	ipc_server *server = NULL;
	ipc_loop *loop = NULL;
	int r;

	r = ipc_loop_new(&loop, &opts);
	if (r < 0) {
		(void)fprintf(stderr, "ipc: %s\n", ipc_loop_error(NULL));
		return r;
	}
	r = ipc_serve(loop, &shop_Orders_service, NULL, &server);
	if (r == 0)
		r = ipc_loop_watch(loop, STDIN_FILENO, EPOLLIN, NULL);
	if (r == 0)
		r = ready();
	if (r == 0)
		r = serve(loop, shop);
	if (r < 0)
		(void)fprintf(stderr, "ipc: %s (%s)\n", strerror(-r), ipc_loop_error(loop));
	ipc_server_free(server);
	ipc_loop_free(loop);
	return r;
}
