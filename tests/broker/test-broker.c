// SPDX-License-Identifier: Apache-2.0
/* A real broker, and workloads that do what a library would, one step at a time. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bell.h"
#include "half.h"
#include "rig.h"

#define POLICY                                                                                     \
	"version: 1\n"                                                                             \
	"workloads:\n"                                                                             \
	"  orders:\n"                                                                              \
	"    identity: { uid: $UID }\n"                                                            \
	"    serve: [shop.Orders, shop.Prices]\n"                                                  \
	"  web:\n"                                                                                 \
	"    identity: { uid: $UID }\n"                                                            \
	"    call: { shop.Orders: [Place, Watch], shop.Prices: [\"*\"], shop.Stock: [Place] }\n"   \
	"    limits: { calls_in_flight: 30 }\n"                                                    \
	"  small:\n"                                                                               \
	"    identity: { uid: $UID }\n"                                                            \
	"    call: { shop.Orders: [Place] }\n"                                                     \
	"    limits: { channels: 2, pending_opens: 1, connections: 2, shared_memory: 32KiB }\n"    \
	"  few:\n"                                                                                 \
	"    identity: { uid: $UID }\n"                                                            \
	"    serve: [shop.Stock]\n"                                                                \
	"    limits: { channels: 1 }\n"

static struct rig rig;

static void setup(void)
{
	rig_start(&rig, POLICY);
}

static void teardown(void)
{
	rig_abandon(&rig);
}

TestSuite(broker, .init = setup, .fini = teardown, .timeout = 60);

Test(broker, another_version_of_the_protocol_is_refused_in_words)
{
	int fd = rig_dial(&rig, "web");

	rig_hello(fd, 9);
	rig_expect_result(fd, 1, EPROTO, "version 1 of the protocol, HELLO says 9");
	rig_expect_end(fd);
	rig_stop(&rig);
}

Test(broker, an_open_joins_client_and_server)
{
	int client = rig_join(&rig, "web"), server = rig_join(&rig, "orders");
	struct answer offer, opened;
	ipc_broker_Offer o;
	ipc_broker_Opened d;

	rig_offer_service(server, 5, "shop.Orders");
	rig_open(client, 6, "shop.Orders", "Watch", RIG_SECOND);

	rig_expect(server, &offer, ipc_broker_Kind_Offer);
	o = ipc_broker_Message_offer(offer.message);
	cr_expect(ipc_str_equals(ipc_broker_Offer_service(o), "shop.Orders"));
	cr_expect(ipc_str_equals(ipc_broker_Offer_caller(o), "web"));
	cr_expect_eq(ipc_broker_Offer_serve_serial(o), 5);
	cr_expect_eq(ipc_broker_Offer_ring_bytes(o), RIG_RING_BYTES);
	cr_expect_eq(ipc_broker_Offer_features(o), 5);
	cr_expect_eq(ipc_broker_Offer_max_calls(o), 30,
		     "the client's limit is lower than it asked");
	cr_assert_eq(offer.n_fds, 2);
	cr_expect_neq(offer.serial, 0);

	rig_accept(server, offer.serial);
	rig_expect(client, &opened, ipc_broker_Kind_Opened);
	d = ipc_broker_Message_opened(opened.message);
	cr_expect_eq(opened.serial, 6);
	cr_expect_eq(opened.channel, offer.channel);
	cr_expect(ipc_str_equals(ipc_broker_Opened_server(d), "orders"));
	cr_expect_eq(ipc_broker_Opened_ring_bytes(d), RIG_RING_BYTES);
	cr_expect_eq(ipc_broker_Opened_features(d), 6);
	cr_expect_eq(ipc_broker_Opened_max_calls(d), 30);
	cr_assert_eq(opened.n_fds, 2);

	/* Both have a half that passes every check, and the two ends of one bell. */
	cr_expect_eq(ipci_half_check(offer.fds[0], RIG_RING_BYTES, NULL), 0);
	cr_expect_eq(ipci_half_check(opened.fds[0], RIG_RING_BYTES, NULL), 0);
	cr_expect_eq(ipci_bell_check(offer.fds[1]), 0);
	cr_expect_eq(ipci_bell_check(opened.fds[1]), 0);
	cr_expect_eq(ipci_bell_ring(opened.fds[1]), 0);
	cr_expect_eq(ipci_bell_drain(offer.fds[1]), 1);
	cr_expect_eq(ipci_bell_ring(offer.fds[1]), 0);
	cr_expect_eq(ipci_bell_drain(opened.fds[1]), 1);
	close(opened.fds[1]);
	opened.n_fds = 1;
	rig_expect_nothing(client); /* the broker has closed its copies by now */
	cr_expect(ipci_bell_hung_up(offer.fds[1]), "somebody else keeps the client's end");
	rig_done(&offer);
	rig_done(&opened);
	rig_stop(&rig);
}

Test(broker, no_descriptor_of_a_channel_stays_with_the_broker)
{
	int client = rig_join(&rig, "web"), server = rig_join(&rig, "orders"), before;

	rig_offer_service(server, 5, "shop.Orders");
	before = rig_count_fds(&rig);
	if (before < 0) {
		rig_stop(&rig);
		cr_skip_test("the broker's descriptors are not for this user to see");
	}
	for (int i = 0; i < 8; i++)
		(void)rig_connect(client, server, "shop.Orders", NULL, NULL);
	rig_expect_nothing(client);
	cr_expect_eq(rig_count_fds(&rig), before);
	rig_stop(&rig);
}

Test(broker, a_denial_names_what_was_seen_and_the_missing_rule)
{
	static const char *const two[] = {"Refund", "Cancel", NULL};
	int client = rig_join(&rig, "web"), server = rig_join(&rig, "orders"), half = rig_half();
	struct packet packet;

	rig_open(client, 2, "shop.Secrets", "Read", RIG_SECOND);
	rig_expect_result(client, 2, EACCES,
			  "workload \"web\" may not call shop.Secrets: policy has no rule "
			  "workloads.web.call[\"shop.Secrets\"]");
	rig_open(client, 3, "shop.Orders", "Refund", RIG_SECOND);
	rig_expect_result(
		client, 3, EACCES,
		"workload \"web\" may not call shop.Orders.Refund: policy does not list it in "
		"workloads.web.call[\"shop.Orders\"]");
	rig_write_open(&packet, 4, "shop.Orders", two, RIG_SECOND);
	rig_send(client, &packet, half);
	rig_expect_result(
		client, 4, EACCES,
		"may not call shop.Orders.Refund and the others: policy does not list any of them");
	rig_serve(client, 5, "shop.Orders");
	rig_expect_result(client, 5, EACCES,
			  "workload \"web\" may not serve shop.Orders: policy does not list it in "
			  "workloads.web.serve");
	rig_open(server, 6, "shop.Orders", "Place", RIG_SECOND);
	rig_expect_result(server, 6, EACCES, "workloads.orders.call[\"shop.Orders\"]");
	rig_stop(&rig);
}

Test(broker, only_the_methods_that_policy_allows_are_offered)
{
	static const char *const methods[] = {"Cancel", "Place", "Refund", "Watch", NULL};
	int client = rig_join(&rig, "web"), server = rig_join(&rig, "orders"), half = rig_half();
	struct packet packet;
	struct answer offer;
	ipc_broker_Method_vec vec;

	rig_offer_service(server, 5, "shop.Orders");
	rig_write_open(&packet, 6, "shop.Orders", methods, RIG_SECOND);
	rig_send(client, &packet, half);
	rig_expect(server, &offer, ipc_broker_Kind_Offer);
	vec = ipc_broker_Offer_methods(ipc_broker_Message_offer(offer.message));
	cr_assert_eq(ipc_broker_Method_vec_count(vec), 2);
	cr_expect(ipc_str_equals(ipc_broker_Method_name(ipc_broker_Method_at(vec, 0)), "Place"));
	cr_expect_eq(ipc_broker_Method_id(ipc_broker_Method_at(vec, 0)), 11,
		     "the client's own number");
	cr_expect(ipc_str_equals(ipc_broker_Method_name(ipc_broker_Method_at(vec, 1)), "Watch"));
	cr_expect_eq(ipc_broker_Method_id(ipc_broker_Method_at(vec, 1)), 13);
	rig_done(&offer);
	rig_stop(&rig);
}

Test(broker, a_star_in_the_policy_allows_every_method)
{
	int client = rig_join(&rig, "web"), server = rig_join(&rig, "orders");
	struct answer offer;

	rig_offer_service(server, 5, "shop.Prices");
	rig_open(client, 6, "shop.Prices", "Anything", RIG_SECOND);
	rig_expect(server, &offer, ipc_broker_Kind_Offer);
	rig_done(&offer);
	rig_stop(&rig);
}

Test(broker, an_open_waits_for_a_service_that_comes_later)
{
	int client = rig_join(&rig, "web"), server;
	struct answer offer;

	rig_open(client, 6, "shop.Orders", "Place", 15 * RIG_SECOND);
	rig_expect_nothing(client);
	server = rig_join(&rig, "orders");
	rig_offer_service(server, 5, "shop.Orders");
	rig_expect(server, &offer, ipc_broker_Kind_Offer);
	rig_accept(server, offer.serial);
	rig_done(&offer);
	rig_expect(client, &offer, ipc_broker_Kind_Opened);
	rig_done(&offer);
	rig_stop(&rig);
}

Test(broker, an_open_that_nobody_serves_ends_at_its_deadline)
{
	int client = rig_join(&rig, "web");

	rig_open(client, 6, "shop.Orders", "Place", RIG_SECOND / 50);
	rig_expect_result(client, 6, ETIMEDOUT, "nobody serves shop.Orders");
	rig_stop(&rig);
}

Test(broker, a_server_that_answers_too_late_is_told_so)
{
	int client = rig_join(&rig, "web"), server = rig_join(&rig, "orders");
	struct answer offer, closed;

	rig_offer_service(server, 5, "shop.Orders");
	rig_open(client, 6, "shop.Orders", "Place", RIG_SECOND / 50);
	rig_expect(server, &offer, ipc_broker_Kind_Offer);
	rig_expect_result(client, 6, ETIMEDOUT, "workload \"orders\" did not answer in time");
	rig_accept(server, offer.serial);
	rig_expect(server, &closed, ipc_broker_Kind_Closed);
	cr_expect_eq(closed.channel, offer.channel);
	cr_expect_eq(closed.error, ETIMEDOUT);
	rig_done(&offer);
	rig_expect_nothing(client);
	(void)rig_connect(client, server, "shop.Orders", NULL, NULL);
	rig_stop(&rig);
}

static void reject(int server, uint64_t serial, int error, const char *text)
{
	struct packet packet;

	rig_begin(&packet, ipc_broker_Kind_Reject, serial);
	ipc_broker_Message_set_error(&packet.message, error);
	ipc_broker_Message_set_text_str(&packet.message, text);
	rig_send(server, &packet, -1);
}

Test(broker, a_rejection_reaches_the_client_in_the_servers_words)
{
	int client = rig_join(&rig, "web"), server = rig_join(&rig, "orders");
	struct answer offer;

	rig_offer_service(server, 5, "shop.Orders");
	rig_open(client, 6, "shop.Orders", "Place", RIG_SECOND);
	rig_expect(server, &offer, ipc_broker_Kind_Offer);
	reject(server, offer.serial, EBUSY, "stock-taking");
	rig_expect_result(client, 6, EBUSY, "workload \"orders\" refused: stock-taking");
	rig_done(&offer);
	rig_expect_nothing(server);
	rig_stop(&rig);
}

Test(broker, the_two_sides_must_have_the_same_layout)
{
	int client = rig_join(&rig, "web"), server = rig_join(&rig, "orders"), half = rig_half();
	struct answer offer, closed;
	ipc_broker_Accept_w accept;
	struct packet packet;

	rig_offer_service(server, 5, "shop.Orders");
	rig_open(client, 6, "shop.Orders", "Place", RIG_SECOND);
	rig_expect(server, &offer, ipc_broker_Kind_Offer);
	rig_begin(&packet, ipc_broker_Kind_Accept, offer.serial);
	accept = ipc_broker_Message_new_accept(&packet.message);
	ipc_broker_Accept_set_ring_bytes(&accept, RIG_RING_BYTES);
	ipc_broker_Accept_set_layout(&accept, 999);
	rig_send(server, &packet, half);
	rig_expect_result(client, 6, EPROTO, "layouts differ");
	rig_expect(server, &closed, ipc_broker_Kind_Closed);
	cr_expect_eq(closed.error, EPROTO);
	rig_done(&offer);
	rig_stop(&rig);
}

Test(broker, the_death_of_a_server_is_told_at_every_step_of_an_open)
{
	int client = rig_join(&rig, "web"), server = rig_join(&rig, "orders");
	struct answer answer;
	uint64_t channel;

	/* While it owes an answer. */
	rig_offer_service(server, 5, "shop.Orders");
	rig_open(client, 6, "shop.Orders", "Place", 15 * RIG_SECOND);
	rig_expect(server, &answer, ipc_broker_Kind_Offer);
	rig_done(&answer);
	close(server);
	rig_expect_result(client, 6, EPIPE, "workload \"orders\" has gone");

	/* While it is joined. */
	server = rig_join(&rig, "orders");
	rig_offer_service(server, 5, "shop.Orders");
	channel = rig_connect(client, server, "shop.Orders", NULL, NULL);
	close(server);
	rig_expect(client, &answer, ipc_broker_Kind_Closed);
	cr_expect_eq(answer.channel, channel);
	cr_expect_eq(answer.error, EPIPE);
	cr_expect(strstr(answer.text, "workload \"orders\" has gone"));

	/* And nobody serves it any more. */
	rig_open(client, 7, "shop.Orders", "Place", RIG_SECOND / 50);
	rig_expect_result(client, 7, ETIMEDOUT, "nobody serves");
	rig_stop(&rig);
}

Test(broker, the_death_of_a_client_is_told_at_every_step_of_an_open)
{
	int client = rig_join(&rig, "web"), server = rig_join(&rig, "orders");
	struct answer offer, closed;
	uint64_t channel;

	/* While it waits: nobody hears of it. */
	rig_open(client, 6, "shop.Orders", "Place", 15 * RIG_SECOND);
	rig_expect_nothing(client);
	close(client);
	client = rig_join(&rig, "web");
	rig_offer_service(server, 5, "shop.Orders");
	rig_expect_nothing(server);

	/* While the server owes an answer. */
	rig_open(client, 6, "shop.Orders", "Place", 15 * RIG_SECOND);
	rig_expect(server, &offer, ipc_broker_Kind_Offer);
	close(client);
	client = rig_join(&rig, "web"); /* which is worked off after that end */
	rig_accept(server, offer.serial);
	rig_expect(server, &closed, ipc_broker_Kind_Closed);
	cr_expect_eq(closed.channel, offer.channel);
	rig_done(&offer);

	/* While it is joined. */
	channel = rig_connect(client, server, "shop.Orders", NULL, NULL);
	close(client);
	rig_expect(server, &closed, ipc_broker_Kind_Closed);
	cr_expect_eq(closed.channel, channel);
	cr_expect_eq(closed.error, EPIPE);
	cr_expect(strstr(closed.text, "workload \"web\" has gone"));
	rig_stop(&rig);
}

Test(broker, closing_a_channel_is_told_to_the_other_side_once)
{
	int client = rig_join(&rig, "web"), server = rig_join(&rig, "orders");
	struct answer closed;
	uint64_t channel;

	rig_offer_service(server, 5, "shop.Orders");
	for (int i = 0; i < 2; i++) {
		int by = i ? server : client, other = i ? client : server;

		channel = rig_connect(client, server, "shop.Orders", NULL, NULL);
		rig_close(by, channel);
		rig_expect(other, &closed, ipc_broker_Kind_Closed);
		cr_expect_eq(closed.channel, channel);
		cr_expect_eq(closed.error, 0);
		rig_close(other, channel); /* as if the two had crossed */
		rig_close(by, 123456);
		rig_expect_nothing(other);
		rig_expect_nothing(by);
	}
	rig_stop(&rig);
}

Test(broker, a_channel_is_only_for_its_own_two_sides_to_close)
{
	int client = rig_join(&rig, "web"), server = rig_join(&rig, "orders");
	int stranger = rig_join(&rig, "small");
	uint64_t channel;

	rig_offer_service(server, 5, "shop.Orders");
	channel = rig_connect(client, server, "shop.Orders", NULL, NULL);
	rig_close(stranger, channel);
	rig_expect_nothing(stranger);
	rig_expect_nothing(server);
	rig_expect_nothing(client);
	rig_stop(&rig);
}

Test(broker, a_limit_that_is_reached_is_named_and_given_back)
{
	int client = rig_join(&rig, "small"), server = rig_join(&rig, "orders");
	struct answer closed;
	uint64_t first;

	rig_open(client, 2, "shop.Orders", "Place", 15 * RIG_SECOND);
	rig_open(client, 3, "shop.Orders", "Place", RIG_SECOND);
	rig_expect_result(client, 3, EDQUOT, "workloads.small.limits.pending_opens: holds 1 of 1");
	close(client);
	client = rig_join(&rig, "small");

	rig_offer_service(server, 5, "shop.Orders");
	first = rig_connect(client, server, "shop.Orders", NULL, NULL);
	(void)rig_connect(client, server, "shop.Orders", NULL, NULL);
	rig_open(client, 4, "shop.Orders", "Place", RIG_SECOND);
	rig_expect_result(client, 4, EDQUOT, "workloads.small.limits.channels: holds 2 of 2");
	rig_close(client, first);
	rig_expect(server, &closed, ipc_broker_Kind_Closed);
	(void)rig_connect(client, server, "shop.Orders", NULL, NULL);
	rig_stop(&rig);
}

Test(broker, the_servers_limits_count_too)
{
	int client = rig_join(&rig, "web"), server = rig_join(&rig, "few");

	rig_offer_service(server, 5, "shop.Stock");
	(void)rig_connect(client, server, "shop.Stock", NULL, NULL);
	rig_open(client, 6, "shop.Stock", "Place", RIG_SECOND);
	rig_expect_result(client, 6, EDQUOT, "workloads.few.limits.channels: holds 1 of 1");
	rig_expect_nothing(server);
	rig_stop(&rig);
}

Test(broker, shared_memory_is_charged_for_both_halves)
{
	int client = rig_join(&rig, "small"), server = rig_join(&rig, "orders"), half;
	struct answer offer, closed;
	ipc_broker_Accept_w accept;
	struct ipci_half mapped;
	struct packet packet;

	/* 8 KiB are the client's; of 32 KiB, 24 remain, and the server's half takes 36. */
	rig_offer_service(server, 5, "shop.Orders");
	rig_open(client, 6, "shop.Orders", "Place", RIG_SECOND);
	rig_expect(server, &offer, ipc_broker_Kind_Offer);
	cr_assert_eq(ipci_half_create(&mapped, &half, 32768, NULL), 0);
	rig_begin(&packet, ipc_broker_Kind_Accept, offer.serial);
	accept = ipc_broker_Message_new_accept(&packet.message);
	ipc_broker_Accept_set_ring_bytes(&accept, 32768);
	ipc_broker_Accept_set_layout(&accept, 1);
	rig_send(server, &packet, half);
	rig_expect_result(client, 6, EDQUOT,
			  "workloads.small.limits.shared_memory: holds 8192 of 32768");
	rig_expect(server, &closed, ipc_broker_Kind_Closed);
	cr_expect_eq(closed.error, EDQUOT);
	rig_done(&offer);

	/* Given back: two channels of 16 KiB fit. */
	(void)rig_connect(client, server, "shop.Orders", NULL, NULL);
	(void)rig_connect(client, server, "shop.Orders", NULL, NULL);
	rig_stop(&rig);
}

Test(broker, a_connection_beyond_the_limit_is_told_why)
{
	int first = rig_join(&rig, "small"), second = rig_join(&rig, "small");
	int third = rig_dial(&rig, "small");

	cr_assert_geq(third, 0);
	rig_hello(third, 1);
	rig_expect_result(third, 1, EDQUOT, "workloads.small.limits.connections: holds 2 of 2");
	rig_expect_end(third);
	close(second);
	rig_expect_nothing(first);
	second = rig_join(&rig, "small");
	rig_expect_nothing(second);
	rig_stop(&rig);
}

Test(broker, a_service_that_is_withdrawn_gets_no_more_channels_and_keeps_those_it_has)
{
	int client = rig_join(&rig, "web"), server = rig_join(&rig, "orders");
	struct packet packet;
	struct answer closed;
	uint64_t channel;

	rig_offer_service(server, 5, "shop.Orders");
	channel = rig_connect(client, server, "shop.Orders", NULL, NULL);
	rig_begin(&packet, ipc_broker_Kind_Withdraw, 5);
	rig_send(server, &packet, -1);
	rig_expect_result(server, 5, 0, "");
	rig_open(client, 6, "shop.Orders", "Place", RIG_SECOND / 50);
	rig_expect_result(client, 6, ETIMEDOUT, "nobody serves");
	rig_close(client, channel);
	rig_expect(server, &closed, ipc_broker_Kind_Closed);
	cr_expect_eq(closed.channel, channel);
	rig_stop(&rig);
}

Test(broker, a_connection_serves_a_service_once)
{
	int server = rig_join(&rig, "orders");

	rig_offer_service(server, 5, "shop.Orders");
	rig_serve(server, 6, "shop.Orders");
	rig_expect_result(server, 6, EALREADY, "serves it already");
	rig_stop(&rig);
}

Test(broker, the_server_with_the_fewest_channels_gets_the_next)
{
	int client = rig_join(&rig, "web"), first = rig_join(&rig, "orders");
	int second = rig_join(&rig, "orders");
	struct answer offer;

	rig_offer_service(first, 5, "shop.Orders");
	(void)rig_connect(client, first, "shop.Orders", NULL, NULL);
	rig_offer_service(second, 5, "shop.Orders");
	rig_open(client, 6, "shop.Orders", "Place", RIG_SECOND);
	rig_expect(second, &offer, ipc_broker_Kind_Offer);
	rig_done(&offer);
	rig_stop(&rig);
}

Test(broker, it_ends_cleanly_and_channels_live_on)
{
	int client = rig_join(&rig, "web"), server = rig_join(&rig, "orders"), bells[2];
	struct answer answer;

	rig_offer_service(server, 5, "shop.Orders");
	(void)rig_connect(client, server, "shop.Orders", &bells[0], &bells[1]);
	rig_stop(&rig);
	/* No word of closed channels: the connection just ends. */
	rig_receive(client, &answer);
	cr_expect_eq(answer.kind, -1);
	rig_receive(server, &answer);
	cr_expect_eq(answer.kind, -1);
	cr_expect_eq(ipci_bell_ring(bells[0]), 0);
	cr_expect_eq(ipci_bell_drain(bells[1]), 1);
	cr_expect(!ipci_bell_hung_up(bells[0]) && !ipci_bell_hung_up(bells[1]));
}

Test(broker, one_that_was_killed_can_be_started_again)
{
	int fd = rig_join(&rig, "web");

	rig_kill(&rig);
	rig_expect_end(fd);
	rig_restart(&rig);
	fd = rig_join(&rig, "web");
	rig_expect_nothing(fd);
	rig_stop(&rig);
}

Test(broker, a_second_one_on_the_same_directory_gives_up)
{
	const char *arguments[] = {"--policy", rig.policy, "--sockets", rig.directory, NULL};
	char output[512];
	int fd;

	cr_expect_eq(rig_run(output, sizeof(output), arguments), 1);
	cr_expect(strstr(output, "another broker serves it"), "%s", output);
	fd = rig_join(&rig, "web");
	rig_expect_nothing(fd);
	rig_stop(&rig);
}

Test(broker, checking_a_policy_says_ok_or_what_is_wrong_and_where)
{
	const char *good[] = {"--check", rig.policy, NULL};
	const char *good_json[] = {"--check", rig.policy, "--json", NULL};
	const char *missing[] = {"--check", "/nonexistent", NULL};
	char output[1024];

	cr_expect_eq(rig_run(output, sizeof(output), good), 0);
	cr_expect_str_eq(output, "ok\n");
	cr_expect_eq(rig_run(output, sizeof(output), good_json), 0);
	cr_expect(strstr(output,
			 "\"ok\": true, \"workloads\": [\"orders\", \"web\", \"small\", \"few\"]"),
		  "%s", output);
	cr_expect_eq(rig_run(output, sizeof(output), missing), 2);
	cr_expect(strstr(output, "/nonexistent: cannot be read"), "%s", output);
	rig_stop(&rig);
}

Test(broker_options, a_bad_policy_or_command_line_is_exit_status_2, .timeout = 60)
{
	static const char *const cases[][4] = {
		{"--policy", "/dev/null", NULL},
		{"--json", NULL},
		{"--nonsense", NULL},
		{"argument", NULL},
		{"--ready-fd", "77", NULL},
		{"--ready-fd", "x", NULL},
	};
	char output[512];

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		cr_expect_eq(rig_run(output, sizeof(output), cases[i]), 2, "case %u: %s", i,
			     output);
		cr_expect_neq(output[0], 0, "case %u says nothing", i);
	}
}

Test(broker_options, version_and_help_are_printed, .timeout = 60)
{
	const char *version[] = {"--version", NULL}, *help[] = {"--help", NULL};
	char output[2048];

	cr_expect_eq(rig_run(output, sizeof(output), version), 0);
	cr_expect_eq(strncmp(output, "ipc-broker ", 11), 0);
	cr_expect_eq(rig_run(output, sizeof(output), help), 0);
	cr_expect(strstr(output, "--check"));
}

#define OTHERS                                                                                     \
	"version: 1\n"                                                                             \
	"workloads:\n"                                                                             \
	"  other:\n"                                                                               \
	"    identity: { uid: [4000000000, 4000000002-4000000009] }\n"                             \
	"  caged:\n"                                                                               \
	"    identity: { uid: $UID, cgroup: /no/such-* }\n"

static void setup_others(void)
{
	rig_start(&rig, OTHERS);
}

TestSuite(broker_identity, .init = setup_others, .fini = teardown, .timeout = 60);

Test(broker_identity, who_is_not_the_workload_is_told_what_was_seen)
{
	char seen[64];
	int fd;

	fd = rig_dial(&rig, "other");
	cr_assert_geq(fd, 0);
	rig_hello(fd, 1);
	snprintf(seen, sizeof(seen), "uid is %u, workloads.other.identity.uid allows 4000000000",
		 geteuid());
	rig_expect_result(fd, 1, EACCES, seen);
	rig_expect_end(fd);

	fd = rig_dial(&rig, "caged");
	rig_hello(fd, 1);
	rig_expect_result(fd, 1, EACCES, "workloads.caged.identity.cgroup");
	rig_expect_end(fd);
	rig_stop(&rig);
}

Test(broker_identity, of_many_who_are_not_the_workload_few_may_linger)
{
	struct answer answer;
	int fds[20];

	for (int i = 0; i < 20; i++)
		fds[i] = rig_dial(&rig, "other");
	/* Those that there was no place for were told at once, though they said nothing. */
	rig_expect(fds[19], &answer, ipc_broker_Kind_Result);
	cr_expect_eq(answer.error, EACCES);
	rig_expect_end(fds[19]);
	rig_hello(fds[0], 1);
	rig_expect_result(fds[0], 1, EACCES, "workloads.other.identity.uid");
	rig_stop(&rig);
}
