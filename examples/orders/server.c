/* SPDX-License-Identifier: Apache-2.0 */
/*
 * orders-server: the shop. It takes orders over libipc or over HTTP until its standard input ends.
 * On standard output one line of JSON says that it is ready and what its sandbox is like, and a
 * last one what it took.
 */
#include "server.h"

#include <errno.h>
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <ipc/status.h>

#include "cpu.h"
#include "facts.h"

struct options {
	int (*serve)(struct shop *shop, const char *address, int (*ready)(void));
	const char *address;
	int raw_fd;
};

static json_t *facts;
static int cpu;

int shop_take(struct shop *shop, const struct bill *bill, struct placed *ret)
{
	struct placed placed;
	int r = bill_total(bill, &placed);

	if (r == 0)
		r = totals_add(&shop->totals, &placed);
	if (r < 0)
		return r == -ERANGE ? IPC_OUT_OF_RANGE : IPC_INVALID_ARGUMENT;
	*ret = placed;
	return 0;
}

static int print_line(json_t *json)
{
	int r = json == NULL || json_dumpf(json, stdout, JSON_COMPACT) < 0 || putchar('\n') < 0 ||
		fflush(stdout) != 0;

	json_decref(json);
	return r != 0 ? -EIO : 0;
}

static int on_ready(void)
{
	return print_line(json_pack("{s:O, s:i}", "facts", facts, "cpu", cpu));
}

static int report(const struct totals *totals)
{
	return print_line(json_pack("{s:{s:I, s:I, s:I, s:{s:I, s:I}}}", "totals", "orders",
				    (json_int_t)totals->n_orders, "lines",
				    (json_int_t)totals->n_lines, "items",
				    (json_int_t)totals->n_items, "money", "units",
				    (json_int_t)totals->money.units, "nanos",
				    (json_int_t)totals->money.nanos));
}

static int usage(void)
{
	(void)fprintf(
		stderr,
		"usage: orders-server --transport ipc|http [--raw-fd FD] [--address SOCKET]\n");
	return -EINVAL;
}

static int parse_options(struct options *ret, int argc, char **argv)
{
	static const struct option options[] = {
		{"transport", required_argument, NULL, 't'},
		{"raw-fd", required_argument, NULL, 'r'},
		{"address", required_argument, NULL, 'a'},
		{0},
	};
	char *end = NULL;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 't' && strcmp(optarg, "ipc") == 0)
			ret->serve = serve_ipc;
		else if (c == 't' && strcmp(optarg, "http") == 0)
			ret->serve = serve_http;
		else if (c == 'r' && strtoul(optarg, &end, 10) < 1 << 20 && end != optarg &&
			 *end == '\0')
			ret->raw_fd = atoi(optarg);
		else if (c == 'a')
			ret->address = optarg;
		else
			return usage();
	}
	return optind == argc && ret->serve != NULL ? 0 : usage();
}

int main(int argc, char **argv)
{
	struct options options = {.raw_fd = -1};
	struct shop shop = {0};
	int r;

	if (parse_options(&options, argc, argv) < 0)
		return 2;
	facts = facts_collect();
	cpu = cpu_pin(CPU_SERVER);
	r = raw_init(&shop.raw, options.raw_fd);
	if (r < 0)
		(void)fprintf(stderr, "--raw-fd %d: %s\n", options.raw_fd, strerror(-r));
	if (r == 0)
		r = options.serve(&shop, options.address, on_ready);
	if (r == 0)
		r = report(&shop.totals);
	raw_deinit(&shop.raw);
	json_decref(facts);
	return r == 0 ? 0 : 1;
}
