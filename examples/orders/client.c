/* SPDX-License-Identifier: Apache-2.0 */
/*
 * orders-client: places every order of a file with the shop, several times over, and checks each
 * answer against its own computation. One JSON object on standard output says what the sandbox is
 * like, what the orders came to and how long each call took, encoding and decoding included. The
 * first pass warms up and is not measured.
 */
#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ipc/status.h>

#include "client.h"
#include "clock.h"
#include "cpu.h"
#include "facts.h"
#include "raw.h"

#define ROUND_ORDERS 200 /* calls between two looks at the raw limit */
#define ROUND_PINGS 200

struct client {
	const struct transport *transport;
	const char *orders_path, *address;
	unsigned long passes;
	int raw_fd;

	void *connection;
	struct order *orders;
	struct placed *expected;
	size_t n_orders;
	struct raw raw;
	struct totals totals; /* of one pass; every pass must come to the same */
	struct samples calls, pings;
};

static int usage(void)
{
	(void)fprintf(stderr, "usage: orders-client --transport ipc|http --orders FILE [--passes "
			      "N] [--raw-fd FD]\n"
			      "                     [--address SOCKET]\n");
	return -EINVAL;
}

static int parse_number(const char *text, unsigned long max, unsigned long *ret)
{
	unsigned long value;
	char *end;

	errno = 0;
	value = strtoul(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0' || value > max)
		return usage();
	*ret = value;
	return 0;
}

static int parse_transport(const char *name, const struct transport **ret)
{
	if (strcmp(name, "ipc") == 0)
		*ret = &transport_ipc;
	else if (strcmp(name, "http") == 0)
		*ret = &transport_http;
	else
		return usage();
	return 0;
}

static int parse_options(struct client *client, int argc, char **argv)
{
	static const struct option options[] = {
		{"transport", required_argument, NULL, 't'},
		{"orders", required_argument, NULL, 'o'},
		{"passes", required_argument, NULL, 'p'},
		{"raw-fd", required_argument, NULL, 'r'},
		{"address", required_argument, NULL, 'a'},
		{0},
	};
	unsigned long fd = 0;
	int c, r = 0;

	while (r == 0 && (c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 't':
			r = parse_transport(optarg, &client->transport);
			break;
		case 'o':
			client->orders_path = optarg;
			break;
		case 'a':
			client->address = optarg;
			break;
		case 'p':
			r = parse_number(optarg, 100000, &client->passes);
			break;
		case 'r':
			r = parse_number(optarg, 1 << 20, &fd);
			client->raw_fd = (int)fd;
			break;
		default:
			r = usage();
		}
	}
	if (r == 0 && (optind != argc || client->transport == NULL || client->orders_path == NULL ||
		       client->passes == 0))
		r = usage();
	return r;
}

/* What each order must cost, so that checking an answer later is a comparison. */
static int expect_all(struct client *client)
{
	client->expected = calloc(client->n_orders, sizeof(*client->expected));
	if (client->expected == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < client->n_orders; i++) {
		struct bill bill;
		int r;

		order_bill(&client->orders[i], &bill);
		r = bill_total(&bill, &client->expected[i]);
		if (r < 0) {
			(void)fprintf(stderr, "%s:%zu: an order that no shop can take\n",
				      client->orders_path, i + 1);
			return r;
		}
	}
	return 0;
}

static int place_one(struct client *client, size_t i, struct totals *totals,
		     struct samples *samples)
{
	struct placed placed = {0};
	uint64_t before_ns, after_ns;
	int r;

	before_ns = ipci_now_ns();
	r = client->transport->place(client->connection, &client->orders[i], &placed);
	after_ns = ipci_now_ns();
	if (r != 0) {
		(void)fprintf(stderr, "order %zu: %s\n", i + 1,
			      r < 0 ? strerror(-r) : ipc_status_name(r));
		return r < 0 ? r : -EREMOTEIO;
	}
	if (!placed_equal(&placed, &client->expected[i])) {
		(void)fprintf(stderr, "order %zu: the shop's answer is wrong\n", i + 1);
		return -EBADMSG;
	}
	if (samples != NULL)
		samples_add(samples, after_ns - before_ns);
	return totals_add(totals, &placed);
}

static int run_round(struct client *client, size_t first, size_t n, struct totals *totals,
		     bool measured)
{
	struct samples *calls = measured ? &client->calls : NULL;
	uint64_t start_ns = ipci_now_ns();
	int r;

	for (size_t i = first; i < first + n; i++) {
		raw_call(&client->raw, i == first + n - 1 ? ROUND_PINGS : 0);
		r = place_one(client, i, totals, calls);
		if (r < 0)
			return r;
	}
	if (calls != NULL)
		calls->elapsed_ns += ipci_now_ns() - start_ns;
	r = raw_ping(&client->raw, measured ? &client->pings : NULL);
	if (r < 0)
		(void)fprintf(stderr, "raw: the server does not answer\n");
	return r;
}

static int run_pass(struct client *client, bool measured)
{
	struct totals totals = {0};
	int r;

	for (size_t i = 0; i < client->n_orders; i += ROUND_ORDERS) {
		size_t n = client->n_orders - i < ROUND_ORDERS ? client->n_orders - i
							       : ROUND_ORDERS;

		r = run_round(client, i, n, &totals, measured);
		if (r < 0)
			return r;
	}
	if (measured && !totals_equal(&totals, &client->totals)) {
		(void)fprintf(stderr, "two passes over the same orders came to different totals\n");
		return -EBADMSG;
	}
	client->totals = totals;
	return 0;
}

static int run(struct client *client)
{
	size_t n_rounds = (client->n_orders + ROUND_ORDERS - 1) / ROUND_ORDERS;
	int r;

	r = samples_init(&client->calls, client->passes * client->n_orders);
	if (r == 0)
		r = samples_init(&client->pings, client->passes * n_rounds * ROUND_PINGS);
	if (r == 0)
		r = client->transport->open(&client->connection, client->address);
	for (unsigned long pass = 0; r == 0 && pass <= client->passes; pass++)
		r = run_pass(client, pass > 0);
	return r;
}

static int report(struct client *client, json_t *facts, int cpu)
{
	const struct totals *totals = &client->totals;
	json_t *json = json_pack(
		"{s:o, s:i, s:I, s:I, s:{s:I, s:I, s:I, s:{s:I, s:I}}, s:o, s:o, s:o}", "facts",
		facts, "cpu", cpu, "orders", (json_int_t)client->n_orders, "passes",
		(json_int_t)client->passes, "totals", "orders", (json_int_t)totals->n_orders,
		"lines", (json_int_t)totals->n_lines, "items", (json_int_t)totals->n_items, "money",
		"units", (json_int_t)totals->money.units, "nanos", (json_int_t)totals->money.nanos,
		"connection", client->transport->info(client->connection), "call",
		samples_to_json(&client->calls), "raw", samples_to_json(&client->pings));
	int r = json == NULL || json_dumpf(json, stdout, JSON_COMPACT) < 0 || putchar('\n') < 0 ||
		fflush(stdout) != 0;

	json_decref(json);
	return r != 0 ? -EIO : 0;
}

int main(int argc, char **argv)
{
	struct client client = {.passes = 10, .raw_fd = -1};
	json_t *facts;
	int cpu, r;

	if (parse_options(&client, argc, argv) < 0)
		return 2;
	facts = facts_collect();
	cpu = cpu_pin(CPU_CLIENT);
	r = raw_init(&client.raw, client.raw_fd);
	if (r < 0)
		(void)fprintf(stderr, "--raw-fd %d: %s\n", client.raw_fd, strerror(-r));
	if (r == 0)
		r = orders_load(client.orders_path, &client.orders, &client.n_orders);
	if (r == 0)
		r = expect_all(&client);
	if (r == 0)
		r = run(&client);
	if (r == 0)
		r = report(&client, json_incref(facts), cpu);
	json_decref(facts);
	if (client.connection != NULL)
		client.transport->close(client.connection);
	raw_deinit(&client.raw);
	samples_deinit(&client.calls);
	samples_deinit(&client.pings);
	orders_free(client.orders, client.n_orders);
	free(client.expected);
	return r == 0 ? 0 : 1;
}
