// SPDX-License-Identifier: Apache-2.0
/* Rings in huge pages: asked for by their owner, allowed by their importer, and refused otherwise. */
#include <errno.h>
#include <string.h>

#include <criterion/criterion.h>

#include "huge.h"
#include "pair.h"

TestSuite(huge_pages, .timeout = 60);

static struct pair pair;

static void echo(size_t size_bytes)
{
	unsigned before = pair.client.n[IPC_EVENT_MESSAGE];

	(void)send_call(pair.channel, ECHO, size_bytes, size_bytes % 1000, NULL);
	PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_MESSAGE] == before + 1);
	cr_assert(filled(pair.client.last.msg.data, size_bytes, size_bytes % 1000));
}

static void start(uint32_t client_flags, uint64_t client_ring_bytes, uint32_t server_flags,
		  uint64_t server_ring_bytes)
{
	pair_start(&pair, &(struct pair_opts){
				  .client_flags = client_flags,
				  .server_flags = server_flags,
				  .client_ring_bytes = client_ring_bytes,
				  .server_ring_bytes = server_ring_bytes,
			  });
	pair.server.on_event = answer_echo;
}

Test(huge_pages, both_rings_lie_in_them_and_carry_half_of_themselves)
{
	struct ipc_channel_info info;

	/* 4 + 1 and, by default, 1 + 1. */
	huge_pages_free(7);
	start(IPC_HUGE_PAGES | IPC_ALLOW_HUGE_PAGES, 4 * HUGE_PAGE_BYTES,
	      IPC_HUGE_PAGES | IPC_ALLOW_HUGE_PAGES, 0);
	cr_assert_eq(huge_pages_count(), 0);
	info = channel_info(pair.channel);
	cr_assert_eq(info.page_bytes, HUGE_PAGE_BYTES);
	cr_assert_eq(info.peer_page_bytes, HUGE_PAGE_BYTES);
	cr_assert_eq(info.payload_max_bytes, 2 * HUGE_PAGE_BYTES - 256);
	cr_assert_eq(info.receive_max_bytes, HUGE_PAGE_BYTES / 2 - 256);
	cr_assert_eq(info.shared_bytes, 7 * HUGE_PAGE_BYTES);
	/* Round both rings, more than once. */
	for (unsigned i = 0; i < 40; i++)
		echo(info.receive_max_bytes - i * 1000);
	pair.server.on_event = NULL;
	(void)send_call(pair.channel, ECHO, info.payload_max_bytes, 5, NULL);
	PUMP_UNTIL(&pair, pair.server.n[IPC_EVENT_REQUEST] == 41);
	cr_assert(filled(pair.server.last.msg.data, info.payload_max_bytes, 5));
	pair_stop(&pair);
	cr_assert_eq(huge_pages_count(), 7);
}

Test(huge_pages, one_side_s_ring_lies_in_them)
{
	huge_pages_free(2);
	start(IPC_HUGE_PAGES, 0, IPC_ALLOW_HUGE_PAGES, 0);
	cr_assert_eq(channel_info(pair.channel).page_bytes, HUGE_PAGE_BYTES);
	cr_assert_eq(channel_info(pair.channel).peer_page_bytes, 0);
	echo(100);
	echo(10000);
	pair_stop(&pair);
	start(IPC_ALLOW_HUGE_PAGES, 0, IPC_PREFER_HUGE_PAGES, 0);
	cr_assert_eq(channel_info(pair.channel).page_bytes, 0);
	cr_assert_eq(channel_info(pair.channel).peer_page_bytes, HUGE_PAGE_BYTES);
	echo(10000);
	pair_stop(&pair);
}

/* An open with these flags, beside the pair's own, fails with that. */
static void assert_refused(uint32_t flags, int error, const char *words)
{
	struct ipc_open_opts opts = {.size = sizeof(opts), .flags = flags | IPC_OPEN_ASYNC};
	unsigned before = pair.client.n[IPC_EVENT_CHANNEL];
	ipc_channel *channel;

	cr_assert_eq(ipc_open(pair.client.loop, &echo_called, &opts, &channel), 0, "%s",
		     ipc_loop_error(pair.client.loop));
	PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_CHANNEL] == before + 1);
	cr_assert_eq(pair.client.last.status, error);
	cr_assert_not_null(strstr(ipc_loop_error(pair.client.loop), words), "%s",
			   ipc_loop_error(pair.client.loop));
	ipc_channel_free(channel);
	echo(100);
}

Test(huge_pages, a_server_that_does_not_allow_them_says_so)
{
	huge_pages_free(2);
	start(0, 0, 0, 0);
	assert_refused(IPC_HUGE_PAGES, -EOPNOTSUPP, "the server does not allow");
	pair_stop(&pair);
}

Test(huge_pages, a_client_that_does_not_allow_them_is_told_so)
{
	huge_pages_free(2);
	start(IPC_ALLOW_HUGE_PAGES, 0, IPC_HUGE_PAGES, 0);
	assert_refused(0, -EOPNOTSUPP, "the client does not allow");
	pair_stop(&pair);
}

Test(huge_pages, a_server_that_only_prefers_them_does_without)
{
	huge_pages_free(2);
	start(0, 0, IPC_PREFER_HUGE_PAGES, 0);
	cr_assert_eq(channel_info(pair.channel).peer_page_bytes, 0);
	cr_assert_eq(channel_info(pair.channel).receive_max_bytes, HUGE_PAGE_BYTES / 2 - 256);
	echo(10000);
	pair_stop(&pair);
}

Test(huge_pages, where_there_are_none_only_who_prefers_them_goes_on)
{
	struct ipc_open_opts opts = {.size = sizeof(opts), .flags = IPC_HUGE_PAGES};
	ipc_channel *channel = NULL;

	huge_pages_free(0);
	start(IPC_PREFER_HUGE_PAGES | IPC_ALLOW_HUGE_PAGES, 0,
	      IPC_PREFER_HUGE_PAGES | IPC_ALLOW_HUGE_PAGES, 0);
	cr_assert_eq(channel_info(pair.channel).page_bytes, 0);
	cr_assert_eq(channel_info(pair.channel).peer_page_bytes, 0);
	echo(10000);
	cr_assert_eq(ipc_open(pair.client.loop, &echo_called, &opts, &channel), -ENOMEM);
	cr_assert_not_null(strstr(ipc_loop_error(pair.client.loop), "nr_hugepages"), "%s",
			   ipc_loop_error(pair.client.loop));
	cr_assert_null(channel);
	pair_stop(&pair);
}

Test(huge_pages, a_ring_smaller_than_one_is_refused)
{
	struct ipc_open_opts open = {.size = sizeof(open),
				     .flags = IPC_HUGE_PAGES,
				     .ring_bytes = 65536};
	struct ipc_serve_opts serve = {.size = sizeof(serve),
				       .flags = IPC_PREFER_HUGE_PAGES,
				       .ring_bytes = 65536};
	ipc_channel *channel;
	ipc_server *server;

	start(0, 0, 0, 0);
	cr_assert_eq(ipc_open(pair.client.loop, &echo_called, &open, &channel), -EINVAL);
	cr_assert_not_null(strstr(ipc_loop_error(pair.client.loop), "huge pages"));
	cr_assert_eq(ipc_serve(pair.server.loop, &other_service, &serve, &server), -EINVAL);
	open.flags = 1u << 31;
	cr_assert_eq(ipc_open(pair.client.loop, &echo_called, &open, &channel), -EINVAL);
	serve.flags = 1u << 31;
	cr_assert_eq(ipc_serve(pair.server.loop, &other_service, &serve, &server), -EINVAL);
	pair_stop(&pair);
}
