// SPDX-License-Identifier: Apache-2.0
/*
 * A peer that opens what it should not, too much, too often, or halfway: halves that it shares
 * between channels or that are the victim's own, descriptors that hang, opens that nobody waits for.
 * The honest third is served all the while, and the victim has nothing left of it.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "lingering.h"
#include "victim.h"

#define MANY 1000

static unsigned n_came, n_went;

static void count(struct pair *p, struct ipc_event *event)
{
	if (event->kind == IPC_EVENT_CHANNEL) {
		n_came += event->status == 0;
		n_went += event->status != 0;
	}
	serve_all(p, event);
}

static void start_counting(void)
{
	n_came = n_went = 0;
	start();
	pair.server.on_event = count;
}

/* ── one half for many ── */

static int bells[MANY];

/* As many as descriptors allow, all with one half, which is then written to once for all of them. */
static unsigned open_many(int half)
{
	struct rlimit files;
	unsigned n, most;

	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &files), 0);
	files.rlim_cur = files.rlim_max;
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &files), 0);
	most = files.rlim_cur > 4 * MANY ? MANY : (unsigned)files.rlim_cur / 4;
	for (n = 0; n < most; n++) {
		int fds[IPCI_PACKET_FDS_MAX];
		unsigned n_fds;

		peer_ask_with(&peer, half, RING, 0);
		PUMP_UNTIL(&pair, n_came == n + 1);
		(void)peer_await(peer.socket, ipc_broker_Kind_Opened, fds, &n_fds);
		cr_assert_eq(n_fds, 2);
		(void)close(fds[0]);
		bells[n] = fds[1];
	}
	return n;
}

static void ring_all(unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		(void)send(bells[i], "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void close_all(unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		(void)close(bells[i]);
}

Test(opens, a_thousand_channels_with_one_half_and_calls_on_all_at_once, .timeout = 60)
{
	unsigned n, before;
	int half;

	start_counting();
	half = peer_half(&peer);
	n = open_many(half);
	check_honest();
	before = pair.server.n[IPC_EVENT_REQUEST];
	(void)peer_request(&peer, 0, ECHO, 20);
	ring_all(n);
	check_honest();
	PUMP_UNTIL(&pair, pair.server.n[IPC_EVENT_REQUEST] == before + n + 10);
	cr_assert_eq(n_lost, 0, "%s", reason);
	(void)close(half);
	close_all(n);
	PUMP_UNTIL(&pair, n_went == n);
	stop();
}

Test(opens, a_thousand_channels_and_breaks_them_all_at_once, .timeout = 60)
{
	unsigned n;
	int half;

	start_counting();
	half = peer_half(&peer);
	n = open_many(half);
	peer_put(&peer, (struct raw_frame){.commit = 1, .kind = IPCI_KIND_MASK}, 0);
	ring_all(n);
	check_honest();
	PUMP_UNTIL(&pair, n_lost == n);
	cr_assert_eq(lost_status, -EPROTO, "%s", reason);
	(void)close(half);
	close_all(n);
	stop();
}

Test(opens, a_thousand_channels_and_rings_all_bells, .timeout = 60)
{
	unsigned n;
	int half;

	start_counting();
	half = peer_half(&peer);
	n = open_many(half);
	for (unsigned i = 0; i < 50; i++) {
		ring_all(n);
		if (i % 10 == 0)
			check_honest();
	}
	expect_asleep();
	cr_assert_eq(n_lost, 0, "%s", reason);
	(void)close(half);
	close_all(n);
	PUMP_UNTIL(&pair, n_went == n);
	stop();
}

Test(opens, a_thousand_channels_and_vanishes, .timeout = 60)
{
	unsigned n;
	int half;

	start_counting();
	half = peer_half(&peer);
	n = open_many(half);
	(void)close(half);
	(void)shutdown(peer.socket, SHUT_RDWR);
	close_all(n);
	PUMP_UNTIL(&pair, n_went == n);
	stop();
}

/* ── the victim's own half ── */

/* What the victim wrote for one peer it reads as from another: nothing that it did not say itself. */
static void reflect(enum role role)
{
	struct peer second;
	unsigned before;

	start_as(role);
	pair.server.on_event = count;
	n_came = n_lost = 0;
	peer_connect(&second, world_socket(&pair.world, "web"));
	peer_ask_with(&second, peer.other_fd, peer.other.ring_bytes, 0);
	PUMP_UNTIL(&pair, n_came == 1);
	before = pair.server.n[IPC_EVENT_REQUEST];
	peer_joined(&second);
	peer_ring(&second);
	pair_settle(&pair);
	if (role == AS_CLIENT) {
		/* Replies, which no client sends. */
		PUMP_UNTIL(&pair, n_lost == 1);
		cr_assert_eq(lost_status, -EPROTO, "%s", reason);
	} else {
		/* Requests, for a method that this client may not call. */
		cr_assert_eq(pair.server.n[IPC_EVENT_REQUEST], before);
		cr_assert_eq(n_lost, 0, "%s", reason);
	}
	if (role == AS_SERVER)
		exchange(role);
	peer_close(&second);
	PUMP_UNTIL(&pair, n_lost == 1);
	stop();
}

Test(opens, with_the_half_that_the_victim_made_for_its_answers, .timeout = 30)
{
	reflect(AS_CLIENT);
}

Test(opens, with_the_half_that_the_victim_made_for_its_requests, .timeout = 30)
{
	reflect(AS_SERVER);
}

/* ── opens that nobody waits for ── */

Test(opens, in_less_time_than_anybody_can_answer_in, .timeout = 60)
{
	int half;

	start_counting();
	half = peer_half(NULL);
	for (unsigned i = 0; i < 200; i++) {
		int fds[IPCI_PACKET_FDS_MAX];
		unsigned n_fds;

		peer_ask_with(&peer, half, RING, 1);
		(void)peer_await(peer.socket, ipc_broker_Kind_Result, fds, &n_fds);
		if (i % 20 == 0)
			check_honest();
		pair_settle(&pair);
	}
	(void)close(half);
	PUMP_UNTIL(&pair, n_went == n_came);
	stop();
}

Test(opens, and_goes_before_the_answer, .timeout = 60)
{
	int half;

	start_counting();
	half = peer_half(NULL);
	for (unsigned i = 0; i < 100; i++) {
		struct peer passing;

		peer_connect(&passing, world_socket(&pair.world, "web"));
		peer_ask_with(&passing, half, RING, 0);
		peer_close(&passing);
		pair_settle(&pair);
	}
	(void)close(half);
	PUMP_UNTIL(&pair, n_went == n_came);
	stop();
}

Test(opens, and_never_looks_at_what_it_got, .timeout = 60)
{
	int half;

	start_counting();
	half = peer_half(NULL);
	for (unsigned i = 0; i < 50; i++) {
		peer_ask_with(&peer, half, RING, 0);
		PUMP_UNTIL(&pair, n_came == i + 1);
	}
	(void)close(half);
	expect_asleep();
	stop();
}

/* ── what is no half ── */

static void expect_refused(int fd)
{
	int fds[IPCI_PACKET_FDS_MAX];
	ipc_broker_Message message;
	unsigned n_fds;

	cr_assert_geq(fd, 0);
	peer_ask_with(&peer, fd, RING, 0);
	message = peer_await(peer.socket, ipc_broker_Kind_Result, fds, &n_fds);
	cr_assert_gt(ipc_broker_Message_error(message), 0);
	check_honest();
	cr_assert_eq(n_came, 0);
}

static int forged(off_t size, off_t allocated, int seals)
{
	int fd = memfd_create("forged", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	cr_assert_eq(ftruncate(fd, size), 0);
	if (allocated)
		cr_assert_eq(fallocate(fd, FALLOC_FL_KEEP_SIZE, size - allocated, size), 0);
	cr_assert_eq(fcntl(fd, F_ADD_SEALS, seals), 0);
	return fd;
}

Test(opens, with_a_half_that_is_none, .timeout = 30)
{
	const int all = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE;
	const off_t size = (off_t)ipci_half_size_bytes(RING);
	int fds[9];

	start_counting();
	fds[0] = forged(size, 0, all);	  /* a hole */
	fds[1] = forged(size, 4096, all); /* most of it a hole, and as much behind it */
	fds[2] = forged(size, size, all & ~F_SEAL_FUTURE_WRITE);
	fds[3] = forged(size, size, all & ~F_SEAL_SHRINK);
	fds[4] = forged(size + 4096, size, all);
	fds[5] = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
	fds[6] = open("/dev/zero", O_RDWR | O_CLOEXEC);
	fds[7] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	fds[8] = open("/tmp", O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	for (unsigned i = 0; i < 9; i++) {
		expect_refused(fds[i]);
		(void)close(fds[i]);
	}
	stop();
}

/* A file system that never answers, as near as it can be had: its close() lasts for hours. */
Test(opens, with_a_half_that_hangs, .timeout = 30)
{
	int listener = lingering_listen(), fd;

	start_counting();
	for (unsigned i = 0; i < 3; i++) {
		int fds[IPCI_PACKET_FDS_MAX];
		unsigned n_fds;

		/* So that the broker's is the last reference, and its close() the one that hangs. */
		cr_assert_eq(kill(pair.world.broker, SIGSTOP), 0);
		fd = lingering_connect(listener);
		peer_ask_with(&peer, fd, RING, 0);
		(void)close(fd);
		cr_assert_eq(kill(pair.world.broker, SIGCONT), 0);
		(void)peer_await(peer.socket, ipc_broker_Kind_Result, fds, &n_fds);
		check_honest();
	}
	cr_assert_eq(n_came, 0);
	stop();
}

/* ── as a server ── */

static void start_opening(uint64_t timeout_ns)
{
	struct ipc_open_opts opts = {.size = sizeof(opts),
				     .flags = IPC_OPEN_ASYNC,
				     .timeout_ns = timeout_ns,
				     .ring_bytes = RING};

	start_counting();
	peer_offer(&peer);
	cr_assert_eq(ipc_open(pair.server.loop, &mirror_service, &opts, &victim), 0);
}

Test(opens, are_offered_to_it_and_never_answered, .timeout = 30)
{
	start_opening(50 * MS_NS);
	check_honest();
	PUMP_UNTIL(&pair, n_lost == 1);
	cr_assert_eq(lost_status, -ETIMEDOUT, "%s", reason);
	stop();
}

Test(opens, are_offered_to_it_and_answered_with_no_half, .timeout = 30)
{
	const int all = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE;
	const off_t size = (off_t)ipci_half_size_bytes(RING);
	int fds[4] = {forged(size, 4096, all), forged(size, size, 0),
		      forged(size + 4096, size, all), open("/dev/zero", O_RDWR | O_CLOEXEC)};

	for (unsigned i = 0; i < 4; i++) {
		start_opening(5 * SECOND_NS);
		peer_accept_with(&peer, fds[i]);
		PUMP_UNTIL(&pair, n_lost == 1);
		cr_assert_eq(lost_status, -EPROTO, "%s", reason);
		stop();
	}
	for (unsigned i = 0; i < 4; i++)
		(void)close(fds[i]);
}

Test(opens, are_offered_to_it_and_it_goes, .timeout = 30)
{
	start_opening(5 * SECOND_NS);
	(void)peer_await(peer.socket, ipc_broker_Kind_Offer, (int[IPCI_PACKET_FDS_MAX]){0},
			 &(unsigned){0});
	(void)shutdown(peer.socket, SHUT_RDWR);
	PUMP_UNTIL(&pair, n_lost == 1);
	cr_assert_lt(lost_status, 0);
	stop();
}
