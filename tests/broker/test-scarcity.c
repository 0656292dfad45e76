// SPDX-License-Identifier: Apache-2.0
/* The broker with its table of descriptors full: newcomers are dropped or wait, others are served. */
#include <errno.h>
#include <unistd.h>

#include "three.h"

TestSuite(scarcity, .init = setup, .fini = teardown, .timeout = 100);

/* Connects and says hello, and takes the answer, whatever it is. */
static int try_to_join(struct answer *answer)
{
	int fd = rig_dial(&rig, "evil");
	struct packet packet;
	ipc_broker_Hello_w hello;

	cr_assert_geq(fd, 0);
	rig_begin(&packet, ipc_broker_Kind_Hello, 1);
	hello = ipc_broker_Message_new_hello(&packet.message);
	ipc_broker_Hello_set_version(&hello, 1);
	cr_assert_eq(rig_finish(&packet), 0);
	send_bytes(fd, packet.data, packet.n); /* it may be off already */
	rig_receive(fd, answer);
	return fd;
}

/* With its table nearly full: it ends connections, in words while it can, and never itself. */
Test(scarcity, without_descriptors_the_broker_drops_newcomers_and_serves_the_others)
{
	struct answer answer;
	int evil[64], n = 0;

	rig_limit_files(&rig, 24);
	do {
		cr_assert_lt(n, 64, "nobody was dropped");
		evil[n] = try_to_join(&answer);
	} while (answer.kind == ipc_broker_Kind_Welcome && ++n);
	cr_expect(answer.kind == -1 || answer.error == EMFILE, "%s", answer.text);
	cr_expect_gt(n, 1);
	close(evil[n]);
	rig_expect_nothing(web);
	for (int i = 0; i < n; i++)
		close(evil[i]);
	rig_limit_files(&rig, 1000);
	expect_unharmed();
}

/* Joins as "evil" until nobody more is let in: the broker's table is full. How many came in. */
static int fill_table(int evil[static 64])
{
	struct answer answer;
	int n = 0;

	rig_limit_files(&rig, 24);
	do {
		cr_assert_lt(n, 64, "nobody was dropped");
		evil[n] = try_to_join(&answer);
	} while (answer.kind == ipc_broker_Kind_Welcome && ++n);
	close(evil[n]);
	cr_assert_gt(n, 1);
	return n;
}

/* A client is not to lose its connection, and all that hangs on it, because others filled the
 * table. */
Test(scarcity, without_descriptors_an_open_is_refused_and_its_connection_goes_on)
{
	int evil[64], n = fill_table(evil);

	for (uint64_t serial = 100; serial < 110; serial++) {
		rig_open(web, serial, "shop.Orders", "Place", RIG_SECOND);
		rig_expect_result(web, serial, EMFILE, "");
		/* One that would wait is not let in by the reserve's place. */
		rig_open(web, serial + 100, "bad.Service", "Place", 15 * RIG_SECOND);
		rig_expect_result(web, serial + 100, EMFILE, "no descriptors left");
	}
	rig_expect_nothing(web);
	rig_expect_nothing(orders);
	for (int i = 0; i < n; i++)
		close(evil[i]);
	rig_limit_files(&rig, 1000);
	expect_unharmed();
}

Test(scarcity, without_descriptors_an_offer_can_still_be_accepted)
{
	struct answer offer, opened, closed;
	int evil[64], n;

	rig_open(web, 9, "shop.Orders", "Place", 15 * RIG_SECOND);
	rig_expect(orders, &offer, ipc_broker_Kind_Offer);
	n = fill_table(evil);
	rig_accept(orders, offer.serial);
	rig_done(&offer);
	rig_expect(web, &opened, ipc_broker_Kind_Opened);
	cr_expect_eq(opened.n_fds, 2);
	rig_done(&opened);
	for (int i = 0; i < n; i++)
		close(evil[i]);
	rig_limit_files(&rig, 1000);
	rig_close(web, opened.channel);
	rig_expect(orders, &closed, ipc_broker_Kind_Closed);
	expect_unharmed();
}

/* With its table over-full not even the descriptor in reserve helps: the newcomer waits, and the
 * loop does not spin. */
Test(scarcity, without_any_descriptor_newcomers_wait_until_there_are_some)
{
	int evil = rig_join(&rig, "evil"), late;
	struct answer answer;

	rig_limit_files(&rig, 3);
	late = rig_dial(&rig, "evil");
	cr_assert_geq(late, 0);
	rig_hello(late, 1);
	rig_expect_nothing(web);
	/* So does who sends a descriptor. */
	rig_open(evil, 2, "shop.Orders", "Place", 15 * RIG_SECOND);
	rig_expect_nothing(web);
	rig_expect_nothing(orders);
	rig_limit_files(&rig, 1000);
	rig_expect(late, &answer, ipc_broker_Kind_Welcome);
	close(late);
	rig_expect(orders, &answer, ipc_broker_Kind_Offer);
	rig_accept(orders, answer.serial);
	rig_done(&answer);
	rig_expect(evil, &answer, ipc_broker_Kind_Opened);
	rig_done(&answer);
	close(evil);
	rig_expect(orders, &answer, ipc_broker_Kind_Closed);
	rig_expect_nothing(web);
	expect_unharmed();
}
