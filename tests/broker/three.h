/* SPDX-License-Identifier: Apache-2.0 */
/* A broker and three workloads: web and orders, who are honest and joined, and evil, who is not. */
#ifndef TESTS_BROKER_THREE_H
#define TESTS_BROKER_THREE_H

#include <criterion/criterion.h>
#include <sys/socket.h>

#include "rig.h"

#define POLICY                                                                                     \
	"version: 1\n"                                                                             \
	"workloads:\n"                                                                             \
	"  evil:\n"                                                                                \
	"    identity: { uid: $UID }\n"                                                            \
	"    serve: [bad.Service]\n"                                                               \
	"    call: { shop.Orders: [Place] }\n"                                                     \
	"  orders:\n"                                                                              \
	"    identity: { uid: $UID }\n"                                                            \
	"    serve: [shop.Orders]\n"                                                               \
	"  web:\n"                                                                                 \
	"    identity: { uid: $UID }\n"                                                            \
	"    call: { shop.Orders: [Place], bad.Service: [Place] }\n"

static struct rig rig;
static int web, orders, n_fds;

static void setup(void)
{
	rig_start(&rig, POLICY);
	web = rig_join(&rig, "web");
	orders = rig_join(&rig, "orders");
	rig_offer_service(orders, 5, "shop.Orders");
	n_fds = rig_count_fds(&rig);
}

/*
 * The broker closes what came from a stranger on another thread: so the count is waited for.
 * Connections of the test itself must be closed by then.
 */
static void expect_no_more_fds(void)
{
	for (int i = 0; i < 20000 && rig_count_fds(&rig) > n_fds; i++)
		rig_expect_nothing(web);
	cr_expect_leq(rig_count_fds(&rig), n_fds, "the broker keeps descriptors");
}

/* How every test ends: the others are served, nothing was left lying, and the broker ends well. */
static void expect_unharmed(void)
{
	struct answer closed;
	uint64_t channel = rig_connect(web, orders, "shop.Orders", NULL, NULL);

	rig_close(web, channel);
	rig_expect(orders, &closed, ipc_broker_Kind_Closed);
	expect_no_more_fds();
	rig_stop(&rig);
}

static void teardown(void)
{
	rig_abandon(&rig);
}

static void send_bytes(int fd, const void *data, size_t n)
{
	ssize_t sent = send(fd, data, n, MSG_NOSIGNAL);

	cr_assert(sent == (ssize_t)n || errno == EPIPE || errno == ECONNRESET, "%s",
		  strerror(errno));
}

#endif
