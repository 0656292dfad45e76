// SPDX-License-Identifier: Apache-2.0
/* Making loops, servers and channels: options, refusals, and what is said about them. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "pair.h"

static struct world world;

static void assert_says(const char *text, const char *what)
{
	cr_assert(strstr(text, what), "\"%s\" does not say \"%s\"", text, what);
	cr_assert_null(strchr(text, '\n'));
}

static int open_loop(struct ipc_loop_opts opts, ipc_loop **ret)
{
	opts.size = sizeof(opts);
	if (!opts.broker)
		opts.broker = world_socket(&world, "web");
	return ipc_loop_new(ret, &opts);
}

Test(open, a_loop_refuses_options_that_it_does_not_know, .timeout = 30)
{
	struct {
		struct ipc_loop_opts opts;
		uint64_t more;
	} longer = {.opts.size = sizeof(longer)};
	struct ipc_loop_opts opts = {.size = 4};
	ipc_loop *loop = NULL;

	world_start(&world);
	cr_assert_eq(ipc_loop_new(NULL, NULL), -EINVAL);
	cr_assert_eq(ipc_loop_new(&loop, &opts), -EINVAL);
	assert_says(ipc_loop_error(NULL), "size");
	cr_assert_eq(open_loop((struct ipc_loop_opts){.flags = 1 << 2}, &loop), -EINVAL);
	cr_assert_eq(open_loop((struct ipc_loop_opts){.wait = 99}, &loop), -EINVAL);
	cr_assert_eq(open_loop((struct ipc_loop_opts){.token = "x"}, &loop), -EINVAL);
	longer.opts.broker = world_socket(&world, "web");
	longer.more = 1;
	cr_assert_eq(ipc_loop_new(&loop, &longer.opts), -E2BIG);
	cr_assert_null(loop);
	longer.more = 0;
	cr_assert_eq(ipc_loop_new(&loop, &longer.opts), 0);
	ipc_loop_free(loop);
	ipc_loop_free(NULL);
	world_stop(&world);
}

Test(open, a_shorter_struct_means_defaults_for_the_rest, .timeout = 30)
{
	struct ipc_loop_opts opts = {.size = offsetof(struct ipc_loop_opts, token),
				     .token = "not looked at"};
	struct ipc_event event;
	ipc_loop *loop;

	world_start(&world);
	opts.broker = world_socket(&world, "web");
	cr_assert_eq(ipc_loop_new(&loop, &opts), 0);
	cr_assert_str_eq(ipc_loop_error(loop), "");
	cr_assert_eq(ipc_loop_next(loop, &event, 0), 0);
	ipc_loop_free(loop);
	world_stop(&world);
}

Test(open, the_environment_names_the_broker_and_the_way_to_wait, .timeout = 30)
{
	ipc_loop *loop = NULL;

	world_start(&world);
	(void)setenv("IPC_BROKER", world_socket(&world, "web"), 1);
	cr_assert_eq(ipc_loop_new(&loop, NULL), 0, "%s", ipc_loop_error(NULL));
	ipc_loop_free(loop);
	loop = NULL;
	(void)setenv("IPC_WAIT", "napping", 1);
	cr_assert_eq(ipc_loop_new(&loop, NULL), -EINVAL);
	assert_says(ipc_loop_error(NULL), "napping");
	cr_assert_null(loop);
	(void)setenv("IPC_WAIT", "", 1);
	cr_assert_eq(ipc_loop_new(&loop, NULL), 0);
	ipc_loop_free(loop);
	world_stop(&world);
}

Test(open, a_broker_that_is_not_there_is_told_from_one_that_does_not_listen, .timeout = 30)
{
	char long_path[200];
	ipc_loop *loop = NULL;
	int r;

	world_start(&world);
	cr_assert_eq(open_loop((struct ipc_loop_opts){.broker = "/nowhere/broker.sock"}, &loop),
		     -ENOENT);
	assert_says(ipc_loop_error(NULL), "/nowhere/broker.sock");
	memset(long_path, 'x', sizeof(long_path) - 1);
	long_path[sizeof(long_path) - 1] = '\0';
	cr_assert_eq(open_loop((struct ipc_loop_opts){.broker = long_path}, &loop), -EINVAL);
	world_kill_broker(&world);
	/* With io_uring the kernel closes what a dead process polled a few milliseconds later. */
	while ((r = open_loop((struct ipc_loop_opts){}, &loop)) != -ECONNREFUSED)
		cr_assert_eq(r, -ECONNRESET, "%s", strerror(-r));
	cr_assert_null(loop);
	world_stop(&world);
}

/* Listens as a broker would, and answers whoever comes with @answer, or hangs up. */
static int impostor(const struct world *w, void *answer)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	char buffer[512];
	int fd, peer;

	(void)strcat(strcpy(address.sun_path, w->dir), "/impostor");
	fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 1) < 0)
		return 1;
	peer = accept(fd, NULL, NULL);
	if (recv(peer, buffer, sizeof(buffer), 0) <= 0)
		return 2;
	if (answer)
		(void)send(peer, answer, strlen(answer), 0);
	(void)close(peer);
	return 0;
}

static int meet_impostor(const char *answer)
{
	ipc_loop *loop = NULL;
	char path[100];
	pid_t pid;
	int r;

	world_start(&world);
	(void)strcat(strcpy(path, world.dir), "/impostor");
	pid = spawn(impostor, &world, (void *)(uintptr_t)answer);
	do
		r = open_loop((struct ipc_loop_opts){.broker = path}, &loop);
	while (r == -ENOENT || r == -ECONNREFUSED);
	cr_assert_null(loop);
	cr_assert_eq(reap(pid), 0);
	world_stop(&world);
	return r;
}

Test(open, what_does_not_speak_the_protocol_is_no_broker, .timeout = 30)
{
	cr_assert_eq(meet_impostor("hello to you"), -EPROTO);
}

Test(open, a_broker_that_hangs_up_at_once_is_gone, .timeout = 30)
{
	cr_assert_lt(meet_impostor(NULL), 0);
}

Test(open, without_io_uring_a_loop_that_insists_on_it_says_so, .timeout = 30)
{
	ipc_loop *loop = NULL;
	int r;

	world_start(&world);
	r = open_loop((struct ipc_loop_opts){.wait = IPC_WAIT_URING}, &loop);
	if (r < 0)
		assert_says(ipc_loop_error(NULL), "io_uring");
	else
		ipc_loop_free(loop);
	world_stop(&world);
}

/* ── serving ── */

static int serve_with(ipc_loop *loop, struct ipc_serve_opts opts)
{
	ipc_server *server = NULL;
	int r;

	opts.size = sizeof(opts);
	r = ipc_serve(loop, &echo_served, &opts, &server);
	cr_assert_eq(r < 0, server == NULL);
	ipc_server_free(server);
	return r;
}

static const char *long_name(void)
{
	static char name[200];

	memset(name, 'n', sizeof(name) - 1);
	return name;
}

Test(open, a_server_refuses_options_that_cannot_be, .timeout = 30)
{
	struct {
		struct ipc_serve_opts opts;
		uint64_t more;
	} longer = {.opts.size = sizeof(longer), .more = 1};
	ipc_server *server = NULL;
	ipc_loop *loop;

	world_start(&world);
	loop = world_loop(&world, "shop", 0);
	cr_assert_eq(serve_with(loop, (struct ipc_serve_opts){.flags = 1}), -EINVAL);
	cr_assert_eq(serve_with(loop, (struct ipc_serve_opts){.ring_bytes = 5000}), -EINVAL);
	cr_assert_eq(serve_with(loop, (struct ipc_serve_opts){.ring_bytes = 2048}), -EINVAL);
	cr_assert_eq(serve_with(loop, (struct ipc_serve_opts){.ring_bytes = UINT64_C(1) << 40}),
		     -EINVAL);
	assert_says(ipc_loop_error(loop), "ring_bytes");
	cr_assert_eq(serve_with(loop, (struct ipc_serve_opts){.max_calls = 65536}), -EINVAL);
	assert_says(ipc_loop_error(loop), "max_calls");
	cr_assert_eq(serve_with(loop, (struct ipc_serve_opts){.name = long_name()}), -EINVAL);
	cr_assert_eq(ipc_serve(loop, &echo_served, &longer.opts, &server), -E2BIG);
	cr_assert_eq(ipc_serve(NULL, &echo_served, NULL, &server), -EINVAL);
	cr_assert_eq(ipc_serve(loop, NULL, NULL, &server), -EINVAL);
	cr_assert_eq(ipc_serve(loop, &echo_served, NULL, NULL), -EINVAL);
	cr_assert_null(server);
	ipc_server_free(NULL);
	cr_assert_eq(
		serve_with(loop, (struct ipc_serve_opts){.max_calls = 65535, .name = "shop-1"}), 0);
	cr_assert_eq(serve_with(loop, (struct ipc_serve_opts){.ring_bytes = 4096}), 0);
	ipc_loop_free(loop);
	world_stop(&world);
}

Test(open, a_service_that_cannot_be_is_refused, .timeout = 30)
{
	struct ipc_method method = {"Get", 0, 0, 0};
	struct ipc_service service = {"test.Other", &method, 1, 0};
	struct ipc_service bad[] = {service, service, service, service, service};
	ipc_server *server = NULL;
	ipc_channel *channel = NULL;
	ipc_loop *loop;

	bad[0].name = NULL;
	bad[1].name = "";
	bad[2].name = long_name();
	bad[3].n_methods = 0;
	bad[4].n_methods = IPC_METHODS_MAX + 1;
	world_start(&world);
	loop = world_loop(&world, "shop", 0);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		cr_assert_eq(ipc_serve(loop, &bad[i], NULL, &server), -EINVAL);
		cr_assert_eq(ipc_open(loop, &bad[i], NULL, &channel), -EINVAL);
	}
	method.id = IPC_METHODS_MAX;
	cr_assert_eq(ipc_serve(loop, &service, NULL, &server), -EINVAL);
	method = (struct ipc_method){NULL, 0, 0, 0};
	cr_assert_eq(ipc_serve(loop, &service, NULL, &server), -EINVAL);
	method = (struct ipc_method){"Get", 0, 1, 0};
	cr_assert_eq(ipc_serve(loop, &service, NULL, &server), -EINVAL);
	cr_assert(!server && !channel);
	ipc_loop_free(loop);
	world_stop(&world);
}

Test(open, who_may_not_serve_is_told_which_rule_is_missing, .timeout = 30)
{
	ipc_server *server = NULL;
	ipc_loop *loop;

	world_start(&world);
	loop = world_loop(&world, "web", 0);
	cr_assert_eq(ipc_serve(loop, &echo_served, NULL, &server), -EACCES);
	cr_assert_null(server);
	assert_says(ipc_loop_error(loop), "web");
	assert_says(ipc_loop_error(loop), "test.Echo");
	/* The loop is none the worse. */
	cr_assert_eq(ipc_serve(loop, &mirror_service, NULL, &server), 0);
	ipc_loop_free(loop);
	world_stop(&world);
}

/* ── opening ── */

static int open_with(ipc_loop *loop, struct ipc_open_opts opts)
{
	ipc_channel *channel = NULL;
	int r;

	opts.size = sizeof(opts);
	r = ipc_open(loop, &echo_called, &opts, &channel);
	cr_assert_eq(r < 0, channel == NULL);
	ipc_channel_free(channel);
	return r;
}

Test(open, an_open_refuses_options_that_cannot_be, .timeout = 30)
{
	struct {
		struct ipc_open_opts opts;
		uint64_t more;
	} longer = {.opts.size = sizeof(longer), .more = 1};
	ipc_channel *channel = NULL;
	ipc_loop *loop;

	world_start(&world);
	loop = world_loop(&world, "web", 0);
	cr_assert_eq(open_with(loop, (struct ipc_open_opts){.flags = 1u << 31}), -EINVAL);
	cr_assert_eq(open_with(loop, (struct ipc_open_opts){.token = "t"}), -EINVAL);
	cr_assert_eq(open_with(loop, (struct ipc_open_opts){.ring_bytes = 100}), -EINVAL);
	cr_assert_eq(open_with(loop, (struct ipc_open_opts){.ring_bytes = 12288}), -EINVAL);
	cr_assert_eq(open_with(loop, (struct ipc_open_opts){.max_calls = 65536}), -EINVAL);
	cr_assert_eq(open_with(loop, (struct ipc_open_opts){.name = long_name()}), -EINVAL);
	cr_assert_eq(ipc_open(loop, &echo_called, &longer.opts, &channel), -E2BIG);
	cr_assert_eq(ipc_open(NULL, &echo_called, NULL, &channel), -EINVAL);
	cr_assert_eq(ipc_open(loop, NULL, NULL, &channel), -EINVAL);
	cr_assert_eq(ipc_open(loop, &echo_called, NULL, NULL), -EINVAL);
	cr_assert_null(channel);
	ipc_channel_free(NULL);
	ipc_loop_free(loop);
	world_stop(&world);
}

Test(open, nobody_serves_is_a_timeout_in_words, .timeout = 30)
{
	uint64_t started_ns;
	ipc_loop *loop;

	world_start(&world);
	loop = world_loop(&world, "web", 0);
	started_ns = now_ns();
	cr_assert_eq(open_with(loop, (struct ipc_open_opts){.timeout_ns = 30 * MS_NS}), -ETIMEDOUT);
	cr_assert_geq(now_ns() - started_ns, 30 * MS_NS);
	assert_says(ipc_loop_error(loop), "nobody serves test.Echo");
	ipc_loop_free(loop);
	world_stop(&world);
}

Test(open, a_stranger_is_denied_and_told_which_rule_is_missing, .timeout = 30)
{
	ipc_loop *loop;

	world_start(&world);
	loop = world_loop(&world, "stranger", 0);
	cr_assert_eq(open_with(loop, (struct ipc_open_opts){}), -EACCES);
	assert_says(ipc_loop_error(loop), "stranger");
	assert_says(ipc_loop_error(loop), "test.Echo");
	ipc_loop_free(loop);
	world_stop(&world);
}

Test(open, an_open_waits_for_a_service_that_comes_up_later, .timeout = 30)
{
	struct echo_server echo = {};
	struct ipc_open_opts opts = {.size = sizeof(opts),
				     .flags = IPC_OPEN_ASYNC,
				     .timeout_ns = PATIENCE_NS};
	struct ipc_event event;
	struct ipc_room room = {};
	ipc_channel *channel;
	ipc_call *call = NULL;
	ipc_loop *loop;
	pid_t server;

	world_start(&world);
	loop = world_loop(&world, "web", 0);
	cr_assert_eq(ipc_open(loop, &echo_called, &opts, &channel), 0);
	cr_assert_eq(channel_info(channel).state, IPC_CHANNEL_OPENING);
	cr_assert_eq(ipc_begin(channel, ECHO, 4, NULL, &call, &room), -ENOTCONN);
	cr_assert(!call && !room.data);
	cr_assert_eq(ipc_loop_next(loop, &event, 0), 0);
	server = spawn(serve_echo, &world, &echo);
	cr_assert_eq(ipc_loop_next(loop, &event, (int64_t)PATIENCE_NS), 1);
	cr_assert_eq(event.kind, IPC_EVENT_CHANNEL);
	cr_assert_eq(event.status, 0);
	cr_assert_eq(event.channel, channel);
	cr_assert_eq(channel_info(channel).state, IPC_CHANNEL_OPEN);
	ipc_loop_free(loop);
	cr_assert_eq(reap(server), 0);
	world_stop(&world);
}

Test(open, an_asynchronous_open_that_fails_is_an_event, .timeout = 30)
{
	struct ipc_open_opts opts = {.size = sizeof(opts),
				     .flags = IPC_OPEN_ASYNC,
				     .timeout_ns = 20 * MS_NS};
	const char *const workloads[] = {"stranger", "web"};
	const int expected[] = {-EACCES, -ETIMEDOUT};
	struct ipc_event event;
	struct ipc_room room;
	ipc_channel *channel;
	ipc_call *call;
	ipc_loop *loop;

	world_start(&world);
	for (int i = 0; i < 2; i++) {
		loop = world_loop(&world, workloads[i], 0);
		opts.user = &room;
		cr_assert_eq(ipc_open(loop, &echo_called, &opts, &channel), 0);
		cr_assert_eq(ipc_loop_next(loop, &event, (int64_t)PATIENCE_NS), 1);
		cr_assert_eq(event.kind, IPC_EVENT_CHANNEL);
		cr_assert_eq(event.status, expected[i]);
		cr_assert_eq(event.channel, channel);
		cr_assert_eq(event.user, &room);
		cr_assert_eq(channel_info(channel).state, IPC_CHANNEL_CLOSED);
		cr_assert_eq(channel_info(channel).error, expected[i]);
		assert_says(channel_info(channel).reason, "test.Echo");
		cr_assert_eq(ipc_begin(channel, ECHO, 4, NULL, &call, &room), expected[i]);
		cr_assert_eq(ipc_loop_next(loop, &event, 0), 0);
		ipc_channel_free(channel);
		ipc_loop_free(loop);
	}
	world_stop(&world);
}

Test(open, a_channel_can_be_freed_while_it_opens, .timeout = 30)
{
	struct ipc_open_opts opts = {.size = sizeof(opts), .flags = IPC_OPEN_ASYNC};
	struct pair pair;
	ipc_channel *channel;

	pair_start(&pair, NULL);
	pair.server.on_event = answer_echo;
	for (unsigned i = 0; i < 20; i++) {
		cr_assert_eq(ipc_open(pair.client.loop, &echo_called, &opts, &channel), 0);
		/* Before it went out, while it is with the server, and when the answer is here but
		 * not looked at. */
		for (unsigned n = 0; n < i % 4; n++)
			pair_turn(&pair, 0);
		ipc_channel_free(channel);
	}
	(void)send_call(pair.channel, ECHO, 10, 1, NULL);
	PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_MESSAGE] == 1);
	pair_settle(&pair);
	pair_stop(&pair);
}

Test(open, the_lower_number_of_calls_is_agreed_on, .timeout = 30)
{
	struct pair_opts opts[] = {
		{.client_max_calls = 1},
		{.server_max_calls = 1},
		{.client_max_calls = 7, .server_max_calls = 3},
		{.client_max_calls = 1000, .server_max_calls = 600},
	};
	const uint32_t agreed[] = {1, 1, 3, 600};
	struct ipc_room room;
	struct pair pair;
	ipc_call *call;

	for (unsigned i = 0; i < 4; i++) {
		pair_start(&pair, &opts[i]);
		cr_assert_eq(channel_info(pair.channel).max_calls, agreed[i]);
		cr_assert_eq(channel_info(pair.served).max_calls, agreed[i]);
		for (unsigned n = 0; n < agreed[i]; n++)
			(void)send_call(pair.channel, HOLD, 8, n, NULL);
		cr_assert_eq(ipc_begin(pair.channel, HOLD, 8, NULL, &call, &room), -EAGAIN);
		PUMP_UNTIL(&pair, pair.server.n[IPC_EVENT_REQUEST] == agreed[i]);
		pair_stop(&pair);
	}
}

Test(open, the_default_needs_no_more_than_144_KiB_a_channel, .timeout = 30)
{
	struct pair pair;

	pair_start(&pair, NULL);
	cr_assert_leq(channel_info(pair.channel).shared_bytes, 144 * 1024);
	cr_assert_eq(channel_info(pair.channel).shared_bytes,
		     channel_info(pair.served).shared_bytes);
	pair_stop(&pair);
}

Test(open, descriptors_do_not_pile_up, .timeout = 60)
{
	struct ipc_open_opts opts = {.size = sizeof(opts), .flags = IPC_OPEN_ASYNC};
	struct pair pair;
	ipc_channel *channel;
	int first, last;

	pair_start(&pair, NULL);
	pair_settle(&pair);
	first = dup(0);
	for (unsigned i = 0; i < 100; i++) {
		unsigned before = pair.client.n[IPC_EVENT_CHANNEL];

		cr_assert_eq(ipc_open(pair.client.loop, &echo_called, &opts, &channel), 0);
		PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_CHANNEL] == before + 1);
		cr_assert_eq(pair.client.last.status, 0, "%s", ipc_loop_error(pair.client.loop));
		before = pair.server.n[IPC_EVENT_CHANNEL];
		ipc_channel_free(channel);
		PUMP_UNTIL(&pair, pair.server.last.kind == IPC_EVENT_CHANNEL &&
					  pair.server.last.status < 0 &&
					  pair.server.n[IPC_EVENT_CHANNEL] > before);
	}
	pair_settle(&pair);
	(void)close(first);
	last = dup(0);
	cr_assert_eq(last, first, "descriptor %d is the next free one, it was %d", last, first);
	pair_stop(&pair);
}

Test(open, after_the_broker_died_channels_live_and_opens_fail, .timeout = 30)
{
	struct ipc_open_opts opts = {.size = sizeof(opts), .flags = IPC_OPEN_ASYNC};
	ipc_channel *opening, *channel = NULL;
	ipc_server *server = NULL;
	struct pair pair;

	pair_start(&pair, NULL);
	pair.server.on_event = answer_echo;
	/* Nobody serves this one: it waits at the broker. */
	cr_assert_eq(ipc_open(pair.client.loop, &mirror_service, &opts, &opening), 0);
	pair_settle(&pair);
	world_kill_broker(&pair.world);
	PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_CHANNEL] == 2);
	cr_assert_eq(pair.client.last.channel, opening);
	cr_assert_eq(pair.client.last.status, -ENOTCONN);
	for (unsigned i = 0; i < 100; i++) {
		(void)send_call(pair.channel, ECHO, i * 90, i, NULL);
		PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_MESSAGE] == i + 1);
	}
	cr_assert_eq(ipc_open(pair.client.loop, &other_service, NULL, &channel), -ENOTCONN);
	cr_assert_eq(ipc_serve(pair.client.loop, &mirror_service, NULL, &server), -ENOTCONN);
	cr_assert(!channel && !server);
	cr_assert_gt(strlen(ipc_loop_error(pair.client.loop)), 0);
	/* The peer's end is seen without a broker. */
	ipc_loop_free(pair.server.loop);
	pair.server.loop = NULL;
	PUMP_UNTIL(&pair, pair.client.n[IPC_EVENT_CHANNEL] == 3);
	cr_assert_eq(pair.client.last.channel, pair.channel);
	cr_assert_eq(pair.client.last.status, -EPIPE);
	pair_stop(&pair);
}
