// SPDX-License-Identifier: Apache-2.0
/* Words lie in a half, as they do in use: read-write for the one process, read-only for the other.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <criterion/criterion.h>
#include <seccomp.h>

#include "clock.h"
#include "fdpass.h"
#include "futex.h"
#include "half.h"

#define RING_BYTES 65536u

Test(futex, a_word_of_another_value_is_not_slept_on, .timeout = 5)
{
	_Atomic uint32_t word = 1;

	cr_assert_eq(ipci_futex_wait(&word, 2, IPCI_NEVER), -EAGAIN);
}

Test(futex, a_deadline_ends_the_sleep, .timeout = 5)
{
	_Atomic uint32_t word = 1;
	uint64_t deadline = ipci_deadline_ns(IPCI_NS_PER_MS);

	cr_assert_eq(ipci_futex_wait(&word, 1, deadline), -ETIMEDOUT);
	cr_assert_geq(ipci_now_ns(), deadline);
	cr_assert_eq(ipci_futex_wait(&word, 1, 0), -ETIMEDOUT);
}

Test(futex, nobody_asleep_is_nobody_woken, .timeout = 5)
{
	_Atomic uint32_t word = 1;

	cr_assert_eq(ipci_futex_wake(&word), 0);
}

static void on_alarm(int signal)
{
	(void)signal;
}

Test(futex, a_signal_interrupts_the_sleep, .timeout = 5)
{
	struct sigaction action = {.sa_handler = on_alarm};
	struct itimerval often = {{0, 2000}, {0, 2000}};
	_Atomic uint32_t word = 1;

	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	cr_assert_eq(ipci_futex_wait(&word, 1, IPCI_NEVER), -EINTR);
}

#define ROUNDS 2000u

/* Two halves, one of each process. */
struct side {
	struct ipci_half own, peer;
};

/* Makes this process's half and swaps descriptors with the other. */
static int side_init(struct side *side, int socket)
{
	struct pollfd poll_fd = {.fd = socket, .events = POLLIN};
	int own_fd, peer_fd, r;
	unsigned n_fds;
	char byte = 0;

	r = ipci_half_create(&side->own, &own_fd, RING_BYTES, NULL);
	if (r < 0)
		return r;
	r = ipci_packet_send(socket, &byte, 1, &own_fd, 1);
	close(own_fd);
	if (r < 0)
		return r;
	if (poll(&poll_fd, 1, -1) != 1 ||
	    ipci_packet_recv(socket, &byte, 1, &peer_fd, 1, &n_fds) != 1 || n_fds != 1)
		return -EPROTO;
	r = ipci_half_import(&side->peer, peer_fd, RING_BYTES, NULL);
	close(peer_fd);
	return r;
}

static _Atomic uint32_t *word_of(const struct ipci_half *half)
{
	return (_Atomic uint32_t *)(void *)half->base;
}

static void sleep_on(const _Atomic uint32_t *word, uint32_t value, bool waitv)
{
	struct ipci_futex_word words[] = {{word + 16, 0}, {word, value}};

	while (atomic_load(word) == value) {
		if (waitv)
			(void)ipci_futex_waitv(words, 2, IPCI_NEVER);
		else
			(void)ipci_futex_wait(word, value, IPCI_NEVER);
	}
}

static void ring(_Atomic uint32_t *word)
{
	atomic_fetch_add(word, 1);
	(void)ipci_futex_wake(word);
}

/* Nothing but the other's wake ends a sleep, of a process that can only read the word. */
static void ping_pong(bool waitv)
{
	struct side side = {0};
	int sockets[2], status;
	pid_t child;

	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets), 0);
	child = fork();
	if (child == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (side_init(&side, sockets[1]) < 0)
			_exit(1);
		for (uint32_t round = 0; round < ROUNDS; round++) {
			sleep_on(word_of(&side.peer), round, waitv);
			ring(word_of(&side.own));
		}
		_exit(0);
	}
	cr_assert_eq(side_init(&side, sockets[0]), 0);
	for (uint32_t round = 0; round < ROUNDS; round++) {
		ring(word_of(&side.own));
		sleep_on(word_of(&side.peer), round, waitv);
	}
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert_eq(status, 0);
	ipci_half_deinit(&side.own);
	ipci_half_deinit(&side.peer);
	close(sockets[0]);
	close(sockets[1]);
}

Test(futex, the_owners_wake_reaches_a_process_that_can_only_read_the_word, .timeout = 30)
{
	ping_pong(false);
}

Test(futex, the_owners_wake_reaches_one_that_sleeps_on_several_words, .timeout = 30)
{
	if (!ipci_futex_waitv_works())
		cr_skip_test("no futex_waitv(): it came with Linux 5.16");
	ping_pong(true);
}

Test(futex, several_words_end_the_sleep_like_one, .timeout = 5)
{
	_Atomic uint32_t a = 1, b = 2;
	struct ipci_futex_word words[] = {{&a, 1}, {&b, 2}};

	if (!ipci_futex_waitv_works())
		cr_skip_test("no futex_waitv(): it came with Linux 5.16");
	cr_assert_eq(ipci_futex_waitv(words, 2, ipci_deadline_ns(IPCI_NS_PER_MS)), -ETIMEDOUT);
	words[1].expected = 3;
	cr_assert_eq(ipci_futex_waitv(words, 2, IPCI_NEVER), -EAGAIN);
	cr_assert_eq(ipci_futex_waitv(words, 0, IPCI_NEVER), -EINVAL);
	cr_assert_eq(ipci_futex_waitv(words, IPCI_FUTEX_WAITV_MAX + 1, IPCI_NEVER), -EINVAL);
}

Test(futex, a_filter_that_refuses_waitv_is_noticed, .timeout = 5)
{
	int status;
	pid_t child = fork();

	if (child == 0) {
		scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);
		_Atomic uint32_t word = 1;
		struct ipci_futex_word words[] = {{&word, 1}};

		/* By number, since libseccomp may be older than the call. */
		if (!filter || seccomp_rule_add(filter, SCMP_ACT_ERRNO(EPERM), 449, 0) < 0 ||
		    seccomp_load(filter) < 0)
			_exit(2);
		_exit(ipci_futex_waitv_works() ||
		      ipci_futex_waitv(words, 1, IPCI_NEVER) != -ENOSYS);
	}
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert_eq(status, 0);
}
