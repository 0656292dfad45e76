// SPDX-License-Identifier: Apache-2.0
/*
 * Words awaited by a loop, wakes that it collects, and what becomes of both when io_uring is refused
 * after the loop has run on it.
 */
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "bell.h"
#include "futex.h"
#include "loop-case.h"
#include "loop-child.h"

/* One page of words, written through one mapping and awaited through another, as halves are. */
#define N_WORDS 1024u

struct words {
	_Atomic uint32_t *own;
	const _Atomic uint32_t *foreign;
	size_t size_bytes;
};

static void words_map(struct words *words)
{
	const int fd = memfd_create("words", MFD_CLOEXEC);
	void *own, *foreign;

	words->size_bytes = N_WORDS * sizeof(uint32_t);
	cr_assert_eq(ftruncate(fd, (off_t)words->size_bytes), 0);
	own = mmap(NULL, words->size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	foreign = mmap(NULL, words->size_bytes, PROT_READ, MAP_SHARED, fd, 0);
	cr_assert(own != MAP_FAILED && foreign != MAP_FAILED);
	words->own = own;
	words->foreign = foreign;
	close(fd);
}

static struct ipci_loop *words_loop(void)
{
	struct ipci_loop *loop;
	int r = ipci_loop_new(&loop, IPCI_LOOP_URING);

	if (r < 0)
		cr_skip_test("io_uring is refused: %s", strerror(-r));
	if (!ipci_loop_has_words(loop)) {
		ipci_loop_free(loop);
		cr_skip_test("io_uring has no futex operations (Linux 6.7)");
	}
	return loop;
}

static struct ipci_source word_source(struct ipci_loop *loop, const _Atomic uint32_t *word)
{
	return (struct ipci_source){.fd = -EBADF, .word = word, .user = loop};
}

static void ring(_Atomic uint32_t *word)
{
	atomic_fetch_add(word, 1);
	(void)ipci_futex_wake(word);
}

Test(loop_words, a_change_before_the_wait_is_reported_once, .timeout = 30)
{
	struct ipci_loop *loop = words_loop();
	struct words words;
	struct ipci_source source;

	words_map(&words);
	source = word_source(loop, &words.foreign[3]);
	cr_assert_eq(ipci_loop_add(loop, &source), 0);
	assert_nothing(loop);
	cr_assert_eq(ipci_loop_await(loop, &source, 0), 0);
	assert_nothing(loop);
	for (uint32_t value = 0; value < 5; value++) {
		ring(&words.own[3]);
		assert_only(loop, &source, EPOLLIN);
		assert_nothing(loop);
		/* Behind the times: reported at once. */
		cr_assert_eq(ipci_loop_await(loop, &source, value), 0);
		assert_only(loop, &source, EPOLLIN);
		cr_assert_eq(ipci_loop_await(loop, &source, value + 1), 0);
		assert_nothing(loop);
	}
	ipci_loop_remove(loop, &source);
	ipci_loop_free(loop);
}

/* Answers each change of one word with a change of the other. */
static void echo_words(const struct words *words, unsigned n_rounds)
{
	for (uint32_t i = 0; i < n_rounds; i++) {
		while (atomic_load(&words->own[0]) == i)
			(void)ipci_futex_wait(&words->own[0], i, ipci_deadline_ns(SECOND_NS));
		ring(&words->own[512]);
	}
	_exit(0);
}

Test(loop_words, another_process_wakes_the_loop_each_time, .timeout = 60)
{
	const unsigned n_rounds = 20000;
	struct ipci_loop *loop = words_loop();
	struct words words;
	struct ipci_source source;
	struct ipci_ready ready;
	pid_t child;

	words_map(&words);
	child = fork();
	if (child == 0)
		echo_words(&words, n_rounds);
	source = word_source(loop, &words.foreign[512]);
	cr_assert_eq(ipci_loop_add(loop, &source), 0);
	for (uint32_t i = 0; i < n_rounds; i++) {
		cr_assert_eq(ipci_loop_await(loop, &source, i), 0);
		ring(&words.own[0]);
		/* For ever: what is missed hangs. And for a reason only. */
		cr_assert_eq(wait_one(loop, &ready, IPCI_NEVER), 1);
		cr_assert_eq(ready.source, &source);
		cr_assert_eq(atomic_load(&words.own[512]), i + 1, "round %u", i);
	}
	assert_child_succeeds(child);
	ipci_loop_free(loop);
}

Test(loop_words, one_still_awaited_serves_the_next_time_too, .timeout = 30)
{
	struct ipci_loop *loop = words_loop();
	struct words words;
	struct ipci_source source;

	words_map(&words);
	source = word_source(loop, &words.foreign[0]);
	cr_assert_eq(ipci_loop_add(loop, &source), 0);
	cr_assert_eq(ipci_loop_await(loop, &source, 0), 0);
	assert_nothing(loop);
	/* It changed, and was not woken: the one in flight does not know. The next wake ends it. */
	atomic_store(&words.own[0], 7);
	cr_assert_eq(ipci_loop_await(loop, &source, 7), 0);
	assert_nothing(loop);
	ring(&words.own[0]);
	assert_only(loop, &source, EPOLLIN);
	/* Woken and awaited anew, before the loop looks: the old completion is no report … */
	cr_assert_eq(ipci_loop_await(loop, &source, 8), 0);
	assert_nothing(loop);
	ring(&words.own[0]);
	cr_assert_eq(ipci_loop_await(loop, &source, 9), 0);
	assert_nothing(loop);
	/* … and does not hide the wake that comes after it. */
	ring(&words.own[0]);
	cr_assert_eq(ipci_loop_await(loop, &source, 10), 0);
	ring(&words.own[0]);
	assert_only(loop, &source, EPOLLIN);
	ipci_loop_remove(loop, &source);
	ipci_loop_free(loop);
}

Test(loop_words, one_of_a_thousand_is_reported_alone, .timeout = 30)
{
	struct ipci_loop *loop = words_loop();
	static struct ipci_source sources[N_WORDS];
	struct words words;

	words_map(&words);
	for (unsigned i = 0; i < N_WORDS; i++) {
		sources[i] = word_source(loop, &words.foreign[i]);
		cr_assert_eq(ipci_loop_add(loop, &sources[i]), 0);
		cr_assert_eq(ipci_loop_await(loop, &sources[i], 0), 0);
	}
	assert_nothing(loop);
	for (unsigned i = 0; i < N_WORDS; i += 97) {
		ring(&words.own[i]);
		assert_only(loop, &sources[i], EPOLLIN);
		assert_nothing(loop);
	}
	for (unsigned i = 0; i < N_WORDS; i++)
		ipci_loop_remove(loop, &sources[i]);
	ipci_loop_free(loop);
}

Test(loop_words, more_at_once_than_a_batch_are_all_reported, .timeout = 30)
{
	struct ipci_loop *loop = words_loop();
	static struct ipci_source sources[N_WORDS];
	static unsigned n_reports[N_WORDS];
	struct ipci_ready ready[64];
	struct words words;
	unsigned n_reported = 0;

	words_map(&words);
	for (unsigned i = 0; i < N_WORDS; i++) {
		sources[i] = word_source(loop, &words.foreign[i]);
		sources[i].user = &n_reports[i];
		cr_assert_eq(ipci_loop_add(loop, &sources[i]), 0);
		cr_assert_eq(ipci_loop_await(loop, &sources[i], 0), 0);
	}
	assert_nothing(loop);
	for (unsigned i = 0; i < N_WORDS; i++)
		ring(&words.own[i]);
	while (n_reported < N_WORDS) {
		int n = ipci_loop_wait(loop, ready, 64, IPCI_NEVER);

		cr_assert_gt(n, 0);
		for (int i = 0; i < n; i++)
			cr_assert_eq(++*(unsigned *)ready[i].source->user, 1);
		n_reported += (unsigned)n;
	}
	assert_nothing(loop);
	ipci_loop_free(loop);
}

Test(loop_words, one_removed_in_flight_is_forgotten_with_its_memory, .timeout = 30)
{
	struct ipci_loop *loop = words_loop();
	struct ipci_source *stays = event_source(loop, 0);
	struct words words;

	for (unsigned i = 0; i < 100; i++) {
		struct ipci_source source;

		words_map(&words);
		source = word_source(loop, &words.foreign[i]);
		cr_assert_eq(ipci_loop_add(loop, &source), 0);
		cr_assert_eq(ipci_loop_await(loop, &source, 0), 0);
		/* Never armed, armed, or armed and woken. */
		if (i % 3)
			assert_nothing(loop);
		if (i % 3 == 2)
			ring(&words.own[i]);
		ipci_loop_remove(loop, &source);
		memset(&source, 0xff, sizeof(source));
		cr_assert_eq(munmap((void *)(uintptr_t)words.foreign, words.size_bytes), 0);
		atomic_store(&words.own[i], 1);
		cr_assert_eq(ipci_futex_wake(&words.own[i]), 0, "somebody still sleeps there");
		cr_assert_eq(munmap((void *)(uintptr_t)words.own, words.size_bytes), 0);
		assert_nothing(loop);
	}
	fire(stays);
	assert_only(loop, stays, EPOLLIN);
	source_free(stays);
	ipci_loop_free(loop);
}

Test(loop_words, epoll_awaits_none, .timeout = 30)
{
	struct ipci_loop *loop;
	struct words words;
	struct ipci_source source;

	words_map(&words);
	cr_assert_eq(ipci_loop_new(&loop, IPCI_LOOP_EPOLL), 0);
	source = word_source(loop, &words.foreign[0]);
	cr_assert_not(ipci_loop_has_words(loop));
	cr_assert_eq(ipci_loop_add(loop, &source), 0);
	cr_assert_eq(ipci_loop_await(loop, &source, 1), -EOPNOTSUPP);
	assert_nothing(loop);
	ipci_loop_remove(loop, &source);
	ipci_loop_free(loop);
}

Test(loop_words, those_awaited_are_reported_when_a_host_takes_over, .timeout = 30)
{
	struct ipci_loop *loop = words_loop();
	struct ipci_ready ready;
	struct words words;
	struct ipci_source source;
	int fd;

	ipci_loop_free(loop);
	words_map(&words);
	cr_assert_eq(ipci_loop_new(&loop, IPCI_LOOP_ANY), 0);
	source = word_source(loop, &words.foreign[0]);
	cr_assert_eq(ipci_loop_add(loop, &source), 0);
	for (int i = 0; i < 40; i++)
		cr_assert_eq(wait_one(loop, &ready, 1), 0);
	cr_assert_eq(ipci_loop_await(loop, &source, 0), 0);
	assert_nothing(loop);
	fd = ipci_loop_fd(loop);
	cr_assert_eq(ipci_loop_backend(loop), IPCI_LOOP_EPOLL);
	cr_assert(readable(fd, -1), "a host would sleep on");
	assert_only(loop, &source, EPOLLIN);
	assert_nothing(loop);
	cr_assert_not(readable(fd, 0));
	ipci_loop_remove(loop, &source);
	ipci_loop_free(loop);
}

/* ── refused later ── */

struct refused {
	struct ipci_loop *loop;
	struct ipci_source *ready, *later;
	struct ipci_source word;
	int fd; /* of a host */
};

/* The end of a ring interrupts a system call once. */
static int wait_again(struct ipci_loop *loop, struct ipci_ready *ready, uint64_t timeout_ns)
{
	int r;

	do
		r = wait_one(loop, ready, timeout_ns);
	while (r == -EINTR);
	return r;
}

static void refuse_later(int error)
{
	struct refused t = {};
	struct ipci_ready ready[8];
	struct words words;
	unsigned seen = 0;
	int n;

	words_map(&words);
	CHILD_ASSERT(ipci_loop_new(&t.loop, IPCI_LOOP_URING) == 0);
	t.ready = event_source(t.loop, 0);
	t.later = event_source(t.loop, 0);
	t.word = word_source(t.loop, &words.foreign[0]);
	t.fd = ipci_loop_fd(t.loop);
	CHILD_ASSERT(ipci_loop_add(t.loop, &t.word) == 0);
	if (ipci_loop_has_words(t.loop))
		CHILD_ASSERT(ipci_loop_await(t.loop, &t.word, 0) == 0);
	CHILD_ASSERT(wait_one(t.loop, ready, IPCI_NS_PER_MS) == 0);
	CHILD_ASSERT(ipci_loop_backend(t.loop) == IPCI_LOOP_URING);
	CHILD_ASSERT(refuse(SCMP_SYS(io_uring_enter), error) == 0);
	/* One that is ready, one that is not, a word, and one that goes. */
	fire(t.ready);
	CHILD_ASSERT(readable(t.fd, 10000));
	while (!(seen & 1) || (t.word.awaited && !(seen & 2))) {
		n = ipci_loop_wait(t.loop, ready, 8, IPCI_NEVER);
		CHILD_ASSERT(n > 0 || n == -EINTR);
		for (int i = 0; i < n; i++)
			seen |= ready[i].source == t.ready ? 1 : ready[i].source == &t.word ? 2 : 4;
	}
	CHILD_ASSERT(!(seen & 4));
	drain(t.ready);
	/* One more event may be on the ring still: what it says is true or nothing. */
	CHILD_ASSERT(ipci_loop_set_deadline(t.loop, ipci_deadline_ns(IPCI_NS_PER_MS)) == 0);
	CHILD_ASSERT(wait_again(t.loop, ready, IPCI_NEVER) == 0);
	CHILD_ASSERT(ipci_loop_backend(t.loop) == IPCI_LOOP_EPOLL);
	CHILD_ASSERT(ipci_loop_await(t.loop, &t.word, 0) == -EOPNOTSUPP);
	CHILD_ASSERT(ipci_loop_set_deadline(t.loop, IPCI_NEVER) == 0);
	CHILD_ASSERT(wait_again(t.loop, ready, 0) == 0);
	/* The host's fd is the same, and works. */
	CHILD_ASSERT(ipci_loop_fd(t.loop) == t.fd);
	CHILD_ASSERT(!readable(t.fd, 0));
	fire(t.later);
	CHILD_ASSERT(readable(t.fd, 10000));
	CHILD_ASSERT(wait_again(t.loop, ready, IPCI_NEVER) == 1 && ready[0].source == t.later);
	ipci_loop_remove(t.loop, &t.word);
	source_free(t.ready);
	source_free(t.later);
	ipci_loop_free(t.loop);
	_exit(0);
}

Test(loop_refused, later_it_becomes_epoll_and_loses_nothing, .timeout = 30)
{
	static const int errors[] = {EPERM, ENOSYS, EACCES, ENOMEM, EAGAIN};
	struct ipci_loop *loop;

	if (ipci_loop_new(&loop, IPCI_LOOP_URING) < 0)
		cr_skip_test("io_uring is refused as a whole");
	ipci_loop_free(loop);
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		pid_t child = fork();

		if (child == 0)
			refuse_later(errors[i]);
		assert_child_succeeds(child);
	}
}

/* ── wakes for later ── */

#define N_BELLS 20u

struct sleepers {
	int mine[N_BELLS], theirs[N_BELLS];
};

static void bells_make(struct sleepers *sleepers)
{
	for (unsigned i = 0; i < N_BELLS; i++) {
		int fds[2];

		cr_assert_eq(ipci_bell_pair(fds), 0);
		sleepers->mine[i] = fds[0];
		sleepers->theirs[i] = fds[1];
	}
}

static unsigned bells_rung(const struct sleepers *sleepers)
{
	unsigned n = 0;

	for (unsigned i = 0; i < N_BELLS; i++)
		n += ipci_bell_drain(sleepers->theirs[i]) == 1;
	return n;
}

CASE(wakes_put_off_go_out_with_the_next_wait)
{
	struct sleepers sleepers;

	bells_make(&sleepers);
	for (unsigned round = 0; round < 3; round++) {
		for (unsigned i = 0; i < N_BELLS; i++)
			ipci_loop_wake_later(loop, NULL, sleepers.mine[i]);
		cr_assert_eq(bells_rung(&sleepers), 0);
		assert_nothing(loop);
		cr_assert_eq(bells_rung(&sleepers), N_BELLS);
		assert_nothing(loop);
		cr_assert_eq(bells_rung(&sleepers), 0);
		for (unsigned i = 0; i < N_BELLS; i++)
			ipci_loop_wake_later(loop, NULL, sleepers.mine[i]);
		ipci_loop_flush_wakes(loop);
		cr_assert_eq(bells_rung(&sleepers), N_BELLS);
	}
}

CASE(wakes_put_off_beyond_the_bound_go_out_at_once)
{
	struct sleepers sleepers;

	bells_make(&sleepers);
	for (unsigned i = 0; i < IPCI_LOOP_WAKES_MAX; i++)
		ipci_loop_wake_later(loop, NULL, sleepers.mine[i % N_BELLS]);
	cr_assert_eq(bells_rung(&sleepers), 0);
	ipci_loop_wake_later(loop, NULL, sleepers.mine[0]);
	cr_assert_eq(bells_rung(&sleepers), N_BELLS);
	ipci_loop_flush_wakes(loop);
	cr_assert_eq(bells_rung(&sleepers), 1);
}

CASE(a_wake_put_off_for_one_that_hung_up_or_is_full_harms_no_other)
{
	struct sleepers sleepers;

	bells_make(&sleepers);
	while (send(sleepers.mine[1], "", 1, MSG_DONTWAIT) > 0)
		;
	close(sleepers.theirs[0]);
	for (unsigned i = 0; i < N_BELLS; i++)
		ipci_loop_wake_later(loop, NULL, sleepers.mine[i]);
	assert_nothing(loop);
	sleepers.theirs[0] = sleepers.theirs[1];
	cr_assert_geq(bells_rung(&sleepers), N_BELLS - 1);
	assert_nothing(loop);
}

/* Sleeps on a word until it changes. */
static pid_t sleeper_on(const _Atomic uint32_t *word)
{
	pid_t child = fork();

	if (child == 0) {
		while (atomic_load(word) == 0)
			(void)ipci_futex_wait(word, 0, IPCI_NEVER);
		_exit(0);
	}
	return child;
}

CASE(sleepers_on_words_are_woken_together)
{
	struct words words;
	pid_t children[5];

	words_map(&words);
	for (unsigned i = 0; i < 5; i++)
		children[i] = sleeper_on(&words.own[i]);
	for (unsigned i = 0; i < 5; i++) {
		atomic_store(&words.own[i], 1);
		ipci_loop_wake_later(loop, &words.own[i], -EBADF);
	}
	assert_nothing(loop);
	for (unsigned i = 0; i < 5; i++)
		assert_child_succeeds(children[i]);
}

CASE(a_forked_child_sends_no_wake_of_its_parents)
{
	struct sleepers sleepers;
	pid_t child;

	bells_make(&sleepers);
	ipci_loop_wake_later(loop, NULL, sleepers.mine[0]);
	ipci_loop_wake_later(loop, NULL, sleepers.mine[1]);
	child = fork();
	if (child == 0) {
		ipci_loop_flush_wakes(loop);
		ipci_loop_free(loop);
		_exit(0);
	}
	assert_child_succeeds(child);
	cr_assert_eq(bells_rung(&sleepers), 0);
	ipci_loop_flush_wakes(loop);
	cr_assert_eq(bells_rung(&sleepers), 2);
}

/* Neither sendto(2) nor futex(2) may be used: what wakes then is the ring. */
static void wake_by_ring_alone(struct ipci_loop *loop, const struct sleepers *sleepers)
{
	struct ipci_ready ready;

	CHILD_ASSERT(refuse(SCMP_SYS(sendto), EPERM) == 0);
	CHILD_ASSERT(ipci_bell_ring(sleepers->mine[0]) == -EPERM);
	for (unsigned i = 0; i < N_BELLS; i++)
		ipci_loop_wake_later(loop, NULL, sleepers->mine[i]);
	CHILD_ASSERT(wait_again(loop, &ready, 0) == 0);
	CHILD_ASSERT(bells_rung(sleepers) == N_BELLS);
	_exit(0);
}

/* And the ring refused, sendto(2) does it. */
static void wake_without_ring(struct ipci_loop *loop, const struct sleepers *sleepers, bool by_wait)
{
	struct ipci_ready ready;

	CHILD_ASSERT(refuse(SCMP_SYS(io_uring_enter), EPERM) == 0);
	for (unsigned i = 0; i < N_BELLS; i++)
		ipci_loop_wake_later(loop, NULL, sleepers->mine[i]);
	if (by_wait)
		CHILD_ASSERT(wait_again(loop, &ready, 0) == 0);
	else
		ipci_loop_flush_wakes(loop);
	CHILD_ASSERT(bells_rung(sleepers) == N_BELLS);
	CHILD_ASSERT(wait_again(loop, &ready, 0) == 0);
	CHILD_ASSERT(bells_rung(sleepers) == 0);
	_exit(0);
}

Test(loop_refused, wakes_go_out_by_the_ring_or_without_it, .timeout = 30)
{
	for (unsigned i = 0; i < 3; i++) {
		pid_t child = fork();

		if (child == 0) {
			struct sleepers sleepers;
			struct ipci_loop *loop;

			if (ipci_loop_new(&loop, IPCI_LOOP_URING) < 0)
				_exit(0);
			bells_make(&sleepers);
			if (i == 0)
				wake_by_ring_alone(loop, &sleepers);
			wake_without_ring(loop, &sleepers, i == 1);
		}
		assert_child_succeeds(child);
	}
}
