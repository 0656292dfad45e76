// SPDX-License-Identifier: Apache-2.0
#include "order.h"

#include "orders_fbs.h"

static void write_line(shop_Line_w *line, unsigned int i)
{
	ipc_str_vec_w tags;

	shop_Line_set_sku(line, ORDER_SKU, sizeof(ORDER_SKU) - 1);
	shop_Line_set_quantity(line, i + 2);
	shop_Line_set_price(line, (shop_Money){ORDER_PRICE_UNITS, ORDER_PRICE_NANOS});
	tags = shop_Line_new_tags(line, ORDER_TAGS);
	for (unsigned int tag = 0; tag < ORDER_TAGS; tag++)
		ipc_str_set_at(&tags, tag, ORDER_TAG, sizeof(ORDER_TAG) - 1);
}

size_t order_write(void *room, size_t bytes, unsigned int n_lines)
{
	static struct ipc_writer writer;
	shop_PlaceOrder_w order;
	shop_Line_vec_w lines;
	size_t used = 0;

	ipc_writer_init(&writer, room, bytes);
	order = shop_PlaceOrder_start(&writer);
	shop_PlaceOrder_set_id(&order, ORDER_ID);
	shop_PlaceOrder_set_customer(&order, ORDER_CUSTOMER, sizeof(ORDER_CUSTOMER) - 1);
	shop_PlaceOrder_set_priority(&order, shop_Priority_Express);
	lines = shop_PlaceOrder_new_lines(&order, n_lines);
	for (unsigned int i = 0; i < n_lines; i++) {
		shop_Line_w line = shop_Line_new_at(&lines, i);

		write_line(&line, i);
	}
	return ipc_writer_finish(&writer, &used) < 0 ? 0 : used;
}

static uint64_t read_line(shop_Line line)
{
	ipc_str_vec tags = shop_Line_tags(line);
	shop_Money price = shop_Line_price(line);
	uint64_t sum = shop_Line_sku(line).size_bytes + shop_Line_quantity(line);

	sum += (uint64_t)price.units + (uint64_t)price.nanos;
	for (size_t i = 0; i < ipc_str_vec_count(tags); i++)
		sum += ipc_str_at(tags, i).size_bytes;
	return sum;
}

uint64_t order_read(const void *data, size_t bytes)
{
	struct ipc_msg msg = ipc_msg_from(data, bytes);
	shop_PlaceOrder order = shop_PlaceOrder_root(&msg);
	shop_Line_vec lines = shop_PlaceOrder_lines(order);
	uint64_t sum = shop_PlaceOrder_id(order) + shop_PlaceOrder_customer(order).size_bytes +
		       shop_PlaceOrder_priority(order);

	for (size_t i = 0; i < shop_Line_vec_count(lines); i++)
		sum += read_line(shop_Line_at(lines, i));
	return shop_PlaceOrder_ok(order) ? sum : 0;
}
