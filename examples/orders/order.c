/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Orders as JSON: the client's input, and what travels over HTTP. Text is not copied: an order
 * keeps the JSON value alive that it came from, and points into it. What has no JSON type of its
 * own is checked here: ranges, required fields, names of enumerators.
 */
#include "order.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"

const char *const order_priorities[3] = {"Normal", "Express", "Freight"};

static void filep(FILE **file)
{
	if (*file != NULL)
		(void)fclose(*file);
}

static int get_text(const json_t *json, struct text *ret)
{
	if (!json_is_string(json))
		return -EINVAL;
	*ret = (struct text){json_string_value(json), json_string_length(json)};
	return 0;
}

static int get_integer(const json_t *json, json_int_t max, json_int_t *ret)
{
	if (!json_is_integer(json) || json_integer_value(json) < 0 ||
	    json_integer_value(json) > max)
		return -EINVAL;
	*ret = json_integer_value(json);
	return 0;
}

static int get_money(const json_t *json, struct money *ret)
{
	json_int_t units, nanos;

	if (get_integer(json_object_get(json, "units"), LLONG_MAX, &units) < 0 ||
	    get_integer(json_object_get(json, "nanos"), INT32_MAX, &nanos) < 0)
		return -EINVAL;
	*ret = (struct money){units, (int32_t)nanos};
	return 0;
}

static int get_priority(const json_t *json, uint8_t *ret)
{
	for (uint8_t i = 0; i < 3; i++) {
		if (json_is_string(json) &&
		    strcmp(json_string_value(json), order_priorities[i]) == 0) {
			*ret = i;
			return 0;
		}
	}
	return json == NULL ? 0 : -EINVAL;
}

static int get_line(const json_t *json, struct order_line *line, struct text *tags)
{
	const json_t *quantity = json_object_get(json, "quantity");
	const json_t *price = json_object_get(json, "price");
	const json_t *tag_array = json_object_get(json, "tags");
	json_int_t n = 1;
	size_t i;
	json_t *tag;

	if (get_text(json_object_get(json, "sku"), &line->sku) < 0 ||
	    (quantity != NULL && get_integer(quantity, UINT32_MAX, &n) < 0) ||
	    (price != NULL && get_money(price, &line->price) < 0))
		return -EINVAL;
	line->quantity = (uint32_t)n;
	line->n_tags = (uint32_t)json_array_size(tag_array);
	line->tags = tags;
	json_array_foreach(tag_array, i, tag)
	{
		if (get_text(tag, &tags[i]) < 0)
			return -EINVAL;
	}
	return 0;
}

static int get_lines(struct order *order, const json_t *json)
{
	size_t n_tags = 0;
	size_t i;
	json_t *line;

	if (!json_is_array(json))
		return -EINVAL;
	json_array_foreach(json, i, line) n_tags += json_array_size(json_object_get(line, "tags"));
	order->n_lines = json_array_size(json);
	order->lines = calloc(order->n_lines + 1, sizeof(*order->lines));
	order->tags = calloc(n_tags + 1, sizeof(*order->tags));
	if (order->lines == NULL || order->tags == NULL)
		return -ENOMEM;
	n_tags = 0;
	json_array_foreach(json, i, line)
	{
		if (get_line(line, &order->lines[i], &order->tags[n_tags]) < 0)
			return -EINVAL;
		n_tags += order->lines[i].n_tags;
	}
	return 0;
}

static int get_coupons(struct order *order, const json_t *json)
{
	json_int_t value;
	size_t i;
	json_t *coupon;

	order->n_coupons = json_array_size(json);
	order->coupons = calloc(order->n_coupons + 1, sizeof(*order->coupons));
	if (order->coupons == NULL)
		return -ENOMEM;
	json_array_foreach(json, i, coupon)
	{
		if (get_integer(coupon, UINT32_MAX, &value) < 0)
			return -EINVAL;
		order->coupons[i] = (uint32_t)value;
	}
	return 0;
}

static int order_fill(struct order *order)
{
	const json_t *json = order->json;
	const json_t *note = json_object_get(json, "note");
	json_int_t id = 0;
	int r;

	if (get_integer(json_object_get(json, "id"), LLONG_MAX, &id) < 0 ||
	    get_text(json_object_get(json, "customer"), &order->customer) < 0 ||
	    get_priority(json_object_get(json, "priority"), &order->priority) < 0 ||
	    (note != NULL && get_text(note, &order->note) < 0))
		return -EINVAL;
	order->id = (uint64_t)id;
	r = get_lines(order, json_object_get(json, "lines"));
	return r < 0 ? r : get_coupons(order, json_object_get(json, "coupons"));
}

int order_from_json(struct order *ret, json_t *json)
{
	struct order order = {.json = json};
	int r = order_fill(&order);

	if (r < 0) {
		order_deinit(&order);
		return r;
	}
	*ret = order;
	return 0;
}

void order_deinit(struct order *order)
{
	free(order->lines);
	free(order->coupons);
	free(order->tags);
	json_decref(order->json);
	*order = (struct order){0};
}

static json_t *text_to_json(struct text text)
{
	/* What is sent was parsed as JSON: it is UTF-8 already, and need not be checked again. */
	return json_stringn_nocheck(text.data, text.size_bytes);
}

/* The setters below refuse a NULL value, so one check at the end of each object sees every lack of
 * memory. */
static json_t *line_to_json(const struct order_line *line)
{
	json_t *json = json_object();
	json_t *price = json_object();
	int r = 0;

	r |= json_object_set_new_nocheck(json, "sku", text_to_json(line->sku));
	if (line->quantity != 1)
		r |= json_object_set_new_nocheck(json, "quantity", json_integer(line->quantity));
	r |= json_object_set_new_nocheck(price, "units", json_integer(line->price.units));
	r |= json_object_set_new_nocheck(price, "nanos", json_integer(line->price.nanos));
	r |= json_object_set_new_nocheck(json, "price", price);
	if (line->n_tags > 0) {
		json_t *tags = json_array();

		for (uint32_t i = 0; i < line->n_tags; i++)
			r |= json_array_append_new(tags, text_to_json(line->tags[i]));
		r |= json_object_set_new_nocheck(json, "tags", tags);
	}
	if (r == 0)
		return json;
	json_decref(json);
	return NULL;
}

json_t *order_to_json(const struct order *order)
{
	json_t *json = json_object();
	json_t *lines = json_array();
	int r = 0;

	r |= json_object_set_new_nocheck(json, "id", json_integer((json_int_t)order->id));
	r |= json_object_set_new_nocheck(json, "customer", text_to_json(order->customer));
	if (order->priority != 0)
		r |= json_object_set_new_nocheck(
			json, "priority", json_string_nocheck(order_priorities[order->priority]));
	for (size_t i = 0; i < order->n_lines; i++)
		r |= json_array_append_new(lines, line_to_json(&order->lines[i]));
	r |= json_object_set_new_nocheck(json, "lines", lines);
	if (order->n_coupons > 0) {
		json_t *coupons = json_array();

		for (size_t i = 0; i < order->n_coupons; i++)
			r |= json_array_append_new(coupons, json_integer(order->coupons[i]));
		r |= json_object_set_new_nocheck(json, "coupons", coupons);
	}
	if (order->note.data != NULL)
		r |= json_object_set_new_nocheck(json, "note", text_to_json(order->note));
	if (r == 0)
		return json;
	json_decref(json);
	return NULL;
}

void order_bill(const struct order *order, struct bill *bill)
{
	bill_start(bill, order->id);
	bill_text(bill, order->customer.data, order->customer.size_bytes);
	for (size_t i = 0; i < order->n_lines; i++) {
		const struct order_line *line = &order->lines[i];

		bill_text(bill, line->sku.data, line->sku.size_bytes);
		for (uint32_t j = 0; j < line->n_tags; j++)
			bill_text(bill, line->tags[j].data, line->tags[j].size_bytes);
		bill_line(bill, line->quantity, line->price);
	}
	for (size_t i = 0; i < order->n_coupons; i++)
		bill_coupon(bill, order->coupons[i]);
	bill_text(bill, order->note.data, order->note.size_bytes);
}

static int load_line(const char *path, const char *text, size_t size_bytes, struct order **orders,
		     size_t *n)
{
	struct order *grown = realloc(*orders, (*n + 1) * sizeof(**orders));
	json_error_t error = {.text = "not an order"};
	json_t *json;
	int r;

	if (grown == NULL)
		return -ENOMEM;
	*orders = grown;
	json = json_loadb(text, size_bytes, JSON_REJECT_DUPLICATES, &error);
	r = json == NULL ? -EINVAL : order_from_json(&grown[*n], json);
	if (r < 0) {
		(void)fprintf(stderr, "%s:%zu: %s\n", path, *n + 1,
			      json == NULL ? error.text : "not an order");
		return r;
	}
	(*n)++;
	return 0;
}

int orders_load(const char *path, struct order **ret, size_t *ret_n)
{
	_cleanup_(filep) FILE *file = fopen(path, "re");
	_cleanup_(freep) char *text = NULL;
	struct order *orders = NULL;
	size_t capacity = 0;
	size_t n = 0;
	ssize_t size;
	int r = 0;

	if (file == NULL) {
		r = -errno;
		(void)fprintf(stderr, "%s: %s\n", path, strerror(-r));
		return r;
	}
	while (r == 0 && (size = getline(&text, &capacity, file)) > 0)
		r = load_line(path, text, (size_t)size, &orders, &n);
	if (r == 0 && (ferror(file) || n == 0)) {
		(void)fprintf(stderr, "%s: %s\n", path, n == 0 ? "no orders" : "cannot be read");
		r = -EIO;
	}
	if (r < 0) {
		orders_free(orders, n);
		return r;
	}
	*ret = orders;
	*ret_n = n;
	return 0;
}

void orders_free(struct order *orders, size_t n)
{
	for (size_t i = 0; i < n; i++)
		order_deinit(&orders[i]);
	free(orders);
}
