// SPDX-License-Identifier: Apache-2.0
/*
 * A peer that lies in its control page and abuses the bell, as a client of a victim and as a server
 * of one. What it harms is its own channel, which goes on or ends for the right reason; the honest
 * third is served all the while, and afterwards the victim sleeps.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "futex.h"
#include "victim.h"

#define IN_BOTH_ROLES(role) for (enum role role = AS_CLIENT; role < N_ROLES; role++)

/* What this thread, which is the victim's, has had of the processor. */
static uint64_t cpu_ns(void)
{
	struct timespec now;

	cr_assert_eq(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now), 0);
	return (uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec;
}

static void expect_lost(int status, const char *why)
{
	PUMP_UNTIL(&pair, n_lost == 1);
	cr_assert_eq(lost_status, status, "%s", reason);
	cr_assert(strstr(reason, why), "\"%s\" does not say \"%s\"", reason, why);
}

/* ── waiting ── */

static void exchange_while_waiting_says(enum role role, uint64_t (*say)(uint64_t i))
{
	uint64_t began_ns;

	start_as(role);
	began_ns = cpu_ns();
	for (uint64_t i = 0; i < 500; i++) {
		atomic_store(&peer_control(&peer)->waiting, say(i));
		exchange(role);
	}
	/* Each may cost a wake, and no more than that. */
	cr_assert_lt(cpu_ns() - began_ns, 5 * SECOND_NS);
	cr_assert_leq(channel_info(victims_channel(role)).n_wakes, 2 * 500 + 10);
	stop();
}

/* Also as one that claims to be able to do all that there is, which matters for awake. */
static void exchange_whatever_it_claims(uint64_t (*say)(uint64_t i))
{
	const uint64_t claims[] = {0, IPCI_FEATURE_MEMBARRIER, UINT64_MAX};

	for (unsigned i = 0; i < 3; i++) {
		peer_claims = claims[i];
		IN_BOTH_ROLES(role)
		exchange_while_waiting_says(role, say);
	}
}

static uint64_t another_epoch(uint64_t i)
{
	return (i + 1) << IPCI_WANT_BITS | (1u << i % 4) | (1u << (i + 1) % 4);
}

static uint64_t the_same_epoch(uint64_t i)
{
	(void)i;
	return UINT64_C(77) << IPCI_WANT_BITS | IPCI_WANT_FRAMES | IPCI_WANT_SPACE;
}

static uint64_t an_older_epoch(uint64_t i)
{
	return (1000 - i) << IPCI_WANT_BITS | IPCI_WANT_FRAMES_BELL;
}

static uint64_t two_epochs_in_turn(uint64_t i)
{
	return (i % 2 + 1) << IPCI_WANT_BITS | IPCI_WANT_FRAMES | IPCI_WANT_SPACE;
}

static uint64_t every_bit(uint64_t i)
{
	return UINT64_MAX - i;
}

static uint64_t awake(uint64_t i)
{
	return i << IPCI_WANT_BITS | IPCI_AWAKE;
}

static uint64_t awake_now_and_then(uint64_t i)
{
	return i % 3 ? i << IPCI_WANT_BITS | IPCI_AWAKE
		     : i << IPCI_WANT_BITS | IPCI_WANT_FRAMES_BELL;
}

static uint64_t awake_and_asleep(uint64_t i)
{
	return i << IPCI_WANT_BITS | IPCI_AWAKE | IPCI_WANT_FRAMES_FUTEX | IPCI_WANT_SPACE_FUTEX;
}

Test(words, waits_for_another_thing_with_each_message, .timeout = 60)
{
	IN_BOTH_ROLES(role)
	exchange_while_waiting_says(role, another_epoch);
}

Test(words, never_stops_waiting, .timeout = 60)
{
	IN_BOTH_ROLES(role)
	exchange_while_waiting_says(role, the_same_epoch);
}

Test(words, goes_back_to_older_epochs, .timeout = 60)
{
	IN_BOTH_ROLES(role)
	exchange_while_waiting_says(role, an_older_epoch);
}

Test(words, goes_to_and_fro_between_two_epochs, .timeout = 60)
{
	IN_BOTH_ROLES(role)
	exchange_while_waiting_says(role, two_epochs_in_turn);
}

Test(words, sets_every_bit_of_what_it_waits_for, .timeout = 60)
{
	IN_BOTH_ROLES(role)
	exchange_while_waiting_says(role, every_bit);
}

Test(words, says_awake_and_is_asleep, .timeout = 60)
{
	IN_BOTH_ROLES(role)
	exchange_while_waiting_says(role, awake);
}

Test(words, says_awake_now_and_then, .timeout = 60)
{
	exchange_whatever_it_claims(awake_now_and_then);
}

Test(words, says_awake_and_asleep_at_once, .timeout = 60)
{
	IN_BOTH_ROLES(role)
	exchange_while_waiting_says(role, awake_and_asleep);
}

/* ── the rest of the page ── */

Test(words, rewrites_who_it_says_it_is, .timeout = 30)
{
	IN_BOTH_ROLES(role)
	{
		struct ipci_control *control;

		start_as(role);
		control = peer_control(&peer);
		control->magic = UINT64_MAX;
		control->version = 0;
		control->ring_offset = UINT32_MAX;
		control->ring_bytes = UINT64_C(1) << 40;
		control->features = UINT64_MAX;
		for (unsigned i = 0; i < 100; i++)
			exchange(role);
		stop();
	}
}

Test(words, scribbles_where_nobody_looks, .timeout = 30)
{
	IN_BOTH_ROLES(role)
	{
		start_as(role);
		atomic_store(&peer_control(&peer)->produced, UINT64_MAX);
		atomic_store(&peer_control(&peer)->oldest_valid, 1);
		memset(peer.own.base + sizeof(struct ipci_control), 0xff,
		       peer.own.ring_offset - sizeof(struct ipci_control));
		for (unsigned i = 0; i < 100; i++)
			exchange(role);
		stop();
	}
}

Test(words, says_states_that_are_none, .timeout = 30)
{
	const uint32_t states[] = {IPCI_PHASE_DRAINING, IPCI_PHASE_CLOSING, 4, 0x80, 0xff, 0x300,
				   0xffffff00u};

	IN_BOTH_ROLES(role)
	{
		start_as(role);
		for (unsigned i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
			atomic_store(&peer_control(&peer)->state, states[i]);
			peer_ring(&peer);
			exchange(role);
		}
		stop();
	}
}

Test(words, closes_for_reasons_that_are_none, .timeout = 30)
{
	const uint32_t reasons[] = {0, 1, 2, 4, 255, 0xabcdef};

	IN_BOTH_ROLES(role)
	{
		for (unsigned i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
			start_as(role);
			atomic_store(&peer_control(&peer)->state,
				     IPCI_PHASE_CLOSED | reasons[i] << 8);
			peer_ring(&peer);
			expect_lost(-EPIPE, "closed");
			stop();
		}
	}
}

Test(words, reports_a_breach_that_was_none, .timeout = 30)
{
	IN_BOTH_ROLES(role)
	{
		start_as(role);
		atomic_store(&peer_control(&peer)->state,
			     IPCI_PHASE_CLOSED | IPCI_REASON_POISONED << 8);
		peer_ring(&peer);
		expect_lost(-EPROTO, "reports a breach");
		stop();
	}
}

Test(words, closes_and_opens_again, .timeout = 30)
{
	IN_BOTH_ROLES(role)
	{
		start_as(role);
		atomic_store(&peer_control(&peer)->state, IPCI_PHASE_CLOSED);
		peer_ring(&peer);
		expect_lost(-EPIPE, "closed");
		atomic_store(&peer_control(&peer)->state, IPCI_PHASE_OPEN);
		(void)peer_request(&peer, 0, ECHO, 20);
		pair_settle(&pair);
		cr_assert_eq(n_lost, 1);
		stop();
	}
}

/* What it says to have read it gets overwritten, and has only itself to blame. */
Test(words, claims_to_have_read_what_it_did_not, .timeout = 30)
{
	start_as(AS_CLIENT);
	for (uint32_t n = 0; n < 500; n++) {
		struct raw_frame frame;

		(void)peer_request(&peer, n % 16, ECHO, 2000);
		while (atomic_load(&peer_control(&peer)->consumed) == peer.tail &&
		       !peer_take(&peer, &frame))
			pair_turn(&pair, 0);
		pair_settle(&pair);
	}
	cr_assert_eq(n_lost, 0, "%s", reason);
	stop();
}

static void *race_consumed(void *arg)
{
	for (uint64_t i = 0; !atomic_load(&ended); i++) {
		uint64_t honest = peer.tail;
		const uint64_t claims[] = {honest, 0, honest - 64, honest + 64, UINT64_MAX, 33};

		atomic_store_explicit(&peer_control(&peer)->consumed, claims[i % 6],
				      memory_order_relaxed);
	}
	return arg;
}

Test(words, races_with_what_it_says_to_have_read, .timeout = 60)
{
	IN_BOTH_ROLES(role)
	{
		pthread_t thread;
		struct ipc_room room;
		ipc_call *call;

		start_as(role);
		atomic_store(&ended, false);
		cr_assert_eq(pthread_create(&thread, NULL, race_consumed, NULL), 0);
		for (uint32_t n = 0; n_lost == 0 && n < 20000; n++) {
			if (role == AS_CLIENT && n < 16)
				(void)peer_request(&peer, n % 16, HOLD, 20);
			else if (role == AS_CLIENT && n_kept &&
				 ipc_reserve(kept[0], 3000, 0, &room) == 0)
				ipc_abort(kept[0]);
			else if (role == AS_SERVER &&
				 ipc_begin(victim, 0, 3000, NULL, &call, &room) == 0)
				cr_assert_eq(ipc_commit(call, 3000, IPC_LAST), 0);
			pair_turn(&pair, 0);
		}
		atomic_store(&ended, true);
		cr_assert_eq(pthread_join(thread, NULL), 0);
		if (n_lost)
			cr_assert_eq(lost_status, -EPROTO, "%s", reason);
		stop();
	}
}

/* ── never rings, rings endlessly ── */

/* Nobody is told, so nobody looks; the first who is told finds it all. */
Test(words, never_rings, .timeout = 30)
{
	start_as(AS_CLIENT);
	expect_asleep();
	for (uint32_t slot = 0; slot < 4; slot++) {
		int bell = peer.bell;

		peer.bell = -1;
		(void)peer_request(&peer, slot, HOLD, 20);
		peer.bell = bell;
	}
	check_honest();
	peer_ring(&peer);
	PUMP_UNTIL(&pair, n_kept == 4);
	stop();
}

static uint64_t answered_id;

static void *answer_without_ringing(void *arg)
{
	struct raw_frame frame;

	while (!peer_take(&peer, &frame))
		;
	answered_id = frame.call_id;
	/* Past any spinning, and into the sleep. */
	(void)usleep(5000);
	(void)close(peer.bell);
	peer.bell = -1;
	answer(frame.call_id, 40);
	return arg;
}

/* Who waits for one answer looks by itself now and then, and once more when the bell hung up. */
Test(words, answers_a_sleeper_without_ringing, .timeout = 30)
{
	struct ipc_room room;
	struct ipc_msg msg;
	pthread_t thread;
	ipc_call *call;

	start_as(AS_SERVER);
	cr_assert_eq(ipc_begin(victim, 0, 10, NULL, &call, &room), 0);
	cr_assert_eq(pthread_create(&thread, NULL, answer_without_ringing, NULL), 0);
	cr_assert_eq(ipc_transact(call, 10, &msg), 0);
	cr_assert_eq(msg.size_bytes, 40);
	cr_assert_eq(pthread_join(thread, NULL), 0);
	stop();
}

static void *ring_for_ever(void *arg)
{
	while (!atomic_load(&ended)) {
		atomic_fetch_add(&peer_control(&peer)->bell_frames, 1);
		atomic_fetch_add(&peer_control(&peer)->bell_space, 1);
		(void)ipci_futex_wake(&peer_control(&peer)->bell_frames);
		peer_ring(&peer);
	}
	return arg;
}

Test(words, rings_for_ever_and_has_nothing_to_say, .timeout = 60)
{
	IN_BOTH_ROLES(role)
	{
		pthread_t thread;

		start_as(role);
		atomic_store(&ended, false);
		cr_assert_eq(pthread_create(&thread, NULL, ring_for_ever, NULL), 0);
		for (unsigned i = 0; i < 20; i++) {
			check_honest();
			exchange(role);
		}
		atomic_store(&ended, true);
		cr_assert_eq(pthread_join(thread, NULL), 0);
		stop();
	}
}

/* ── the bell ── */

Test(words, takes_no_byte_out_of_its_bell, .timeout = 60)
{
	IN_BOTH_ROLES(role)
	{
		const int least = 1;

		start_as(role);
		/* As full and as blocking as its own end can make it. */
		cr_assert_eq(fcntl(peer.bell, F_SETFL, 0), 0);
		(void)setsockopt(peer.bell, SOL_SOCKET, SO_RCVBUF, &least, sizeof(least));
		(void)setsockopt(peer.bell, SOL_SOCKET, SO_SNDBUF, &least, sizeof(least));
		for (uint64_t i = 0; i < 2000; i++) {
			atomic_store(&peer_control(&peer)->waiting, (i + 1) << IPCI_WANT_BITS |
									    IPCI_WANT_FRAMES_BELL |
									    IPCI_WANT_SPACE_BELL);
			exchange(role);
		}
		stop();
	}
}

Test(words, fills_the_victims_bell, .timeout = 60)
{
	IN_BOTH_ROLES(role)
	{
		unsigned n = 0;

		start_as(role);
		while (send(peer.bell, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL) == 1)
			n++;
		cr_assert_gt(n, 100);
		check_honest();
		exchange(role);
		stop();
	}
}

Test(words, sends_large_packets_through_the_bell, .timeout = 30)
{
	static char bytes[65536];

	IN_BOTH_ROLES(role)
	{
		start_as(role);
		for (unsigned i = 0; i < 20; i++) {
			(void)send(peer.bell, bytes, sizeof(bytes), MSG_DONTWAIT | MSG_NOSIGNAL);
			exchange(role);
		}
		stop();
	}
}

/* Which may look like the end of it. */
Test(words, sends_an_empty_packet_through_the_bell, .timeout = 30)
{
	IN_BOTH_ROLES(role)
	{
		start_as(role);
		cr_assert_eq(send(peer.bell, "", 0, MSG_DONTWAIT | MSG_NOSIGNAL), 0);
		check_honest();
		if (n_lost)
			cr_assert_eq(lost_status, -EPIPE, "%s", reason);
		stop();
	}
}

Test(words, takes_no_bells_any_more, .timeout = 30)
{
	IN_BOTH_ROLES(role)
	{
		start_as(role);
		cr_assert_eq(shutdown(peer.bell, SHUT_RD), 0);
		for (uint64_t i = 0; i < 100; i++) {
			atomic_store(&peer_control(&peer)->waiting,
				     (i + 1) << IPCI_WANT_BITS | IPCI_WANT_FRAMES_BELL);
			exchange(role);
		}
		stop();
	}
}

Test(words, ends_its_side_of_the_bell, .timeout = 30)
{
	IN_BOTH_ROLES(role)
	{
		start_as(role);
		cr_assert_eq(shutdown(peer.bell, SHUT_WR), 0);
		expect_lost(-EPIPE, "hung up");
		stop();
	}
}

Test(words, closes_its_bell_with_calls_in_flight, .timeout = 30)
{
	IN_BOTH_ROLES(role)
	{
		start_as(role);
		for (uint32_t slot = 0; slot < 8; slot++) {
			if (role == AS_CLIENT)
				(void)peer_request(&peer, slot, HOLD, 20);
			else
				(void)get_called();
		}
		if (role == AS_CLIENT)
			PUMP_UNTIL(&pair, n_kept == 8);
		(void)close(peer.bell);
		peer.bell = -1;
		expect_lost(-EPIPE, "hung up");
		pair_settle(&pair);
		if (role == AS_CLIENT)
			cr_assert_eq(pair.server.n[IPC_EVENT_CANCELLED], 8);
		else
			cr_assert_eq(n_ends, 8);
		stop();
	}
}

/* Whether the kernel keeps them out or the victim finds them: none stays. */
Test(words, sends_descriptors_with_every_message, .timeout = 30)
{
	IN_BOTH_ROLES(role)
	{
		int fds[2], before, after;

		start_as(role);
		cr_assert_eq(pipe2(fds, O_CLOEXEC), 0);
		before = dup(0);
		for (unsigned i = 0; i < 50 && n_lost == 0; i++) {
			(void)ipci_packet_send(peer.bell, "x", 1, fds, 2);
			if (role == AS_CLIENT)
				(void)peer_request(&peer, 0, ECHO, 20);
			pair_settle(&pair);
			(void)peer_take(&peer, &(struct raw_frame){0});
		}
		if (n_lost)
			cr_assert_eq(lost_status, -EPROTO, "%s", reason);
		after = dup(0);
		cr_assert_leq(after, before + 1, "descriptors stay");
		(void)close(before);
		(void)close(after);
		(void)close(fds[0]);
		(void)close(fds[1]);
		stop();
	}
}

/* ── futexes ── */

static uint32_t elsewhere;

static void *requeue_for_ever(void *arg)
{
	struct raw_frame frame;

	/* Whoever waits on its word waits on another one from then on. */
	for (unsigned n = 0; n < 200; n++) {
		_Atomic uint32_t *word = &peer_control(&peer)->bell_frames;

		(void)syscall(SYS_futex, word, FUTEX_CMP_REQUEUE, 0, INT32_MAX, &elsewhere,
			      atomic_load(word));
		(void)usleep(500);
	}
	while (!peer_take(&peer, &frame))
		;
	answer(frame.call_id, 40);
	atomic_fetch_add(&peer_control(&peer)->bell_frames, 1);
	(void)ipci_futex_wake(&peer_control(&peer)->bell_frames);
	return arg;
}

Test(words, requeues_who_sleeps_on_its_word, .timeout = 30)
{
	struct ipc_room room;
	struct ipc_msg msg;
	pthread_t thread;
	ipc_call *call;

	start_as(AS_SERVER);
	cr_assert_eq(ipc_begin(victim, 0, 10, NULL, &call, &room), 0);
	cr_assert_eq(pthread_create(&thread, NULL, requeue_for_ever, NULL), 0);
	cr_assert_eq(ipc_transact(call, 10, &msg), 0);
	cr_assert_eq(pthread_join(thread, NULL), 0);
	stop();
}

#define CROWD 100

static atomic_uint n_asleep, n_woken;

static void *sleep_on_the_victims_word(void *arg)
{
	const _Atomic uint32_t *word = arg;

	while (!atomic_load(&ended)) {
		atomic_fetch_add(&n_asleep, 1);
		if (ipci_futex_wait(word, atomic_load(word), now_ns() + 500 * MS_NS) == 0)
			atomic_fetch_add(&n_woken, 1);
	}
	return NULL;
}

/* Who wakes one of them wakes no crowd: how long that takes would be the crowd's to say. */
Test(words, sleeps_on_the_victims_word_with_a_hundred_threads, .timeout = 60)
{
	IN_BOTH_ROLES(role)
	{
		pthread_t threads[CROWD];
		uint64_t n_wakes;

		start_as(role);
		atomic_store(&ended, false);
		atomic_store(&n_woken, 0);
		n_wakes = channel_info(victims_channel(role)).n_wakes;
		for (unsigned i = 0; i < CROWD; i++)
			cr_assert_eq(pthread_create(
					     &threads[i], NULL, sleep_on_the_victims_word,
					     (void *)(uintptr_t)&other_control(&peer)->bell_frames),
				     0);
		while (atomic_load(&n_asleep) < CROWD)
			;
		for (uint64_t i = 0; i < 200; i++) {
			atomic_store(&peer_control(&peer)->waiting,
				     (i + 1) << IPCI_WANT_BITS | IPCI_WANT_FRAMES_FUTEX);
			exchange(role);
		}
		check_honest();
		n_wakes = channel_info(victims_channel(role)).n_wakes - n_wakes;
		cr_assert_geq(n_wakes, 1);
		cr_assert_leq(atomic_load(&n_woken), n_wakes * IPCI_FUTEX_WAKE_MAX);
		atomic_store(&ended, true);
		for (unsigned i = 0; i < CROWD; i++)
			cr_assert_eq(pthread_join(threads[i], NULL), 0);
		stop();
	}
}
