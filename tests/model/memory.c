/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The shared memory as C11 has it, for the explorer: what a load may return, and what is a race.
 *
 * The programs are compiled with -fsanitize=thread, whose calls come here instead of to
 * ThreadSanitizer: so it is the ring's code as it is, each of its accesses seen. Values of atomic
 * words are kept as histories. A thread's view says how old a value it may still see of each word;
 * release and acquire hand views on with the value, sequentially consistent fences meet in one view
 * of their own, and nothing else does. That is RC11: all that C11 allows but for values out of thin
 * air; x86-TSO and what compilers do to it are among it. Plain accesses must be ordered by
 * happens-before, of which each thread has a vector clock, so they need no history.
 *
 * Sound because each byte has one writer, which is checked: the order of the stores to a word is
 * the order in which its owner made them.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "explore.h"
#include "memory.h"
#include "program.h"

#define N_WORDS 60u
#define N_VALUES 64u
#define N_TRACE 4096u

struct view {
	uint16_t clock[2];     /* happens-before */
	uint8_t seen[N_WORDS]; /* by word: the oldest value that may still be seen */
};

struct value {
	uint64_t value;
	struct view carries;
	bool plain; /* written by plain stores: in memory until it is overwritten */
};

static struct {
	uint32_t offset, bytes;
	unsigned n;
	struct value values[N_VALUES];
} words[N_WORDS];
static unsigned n_words;
static uint8_t word_at[MODEL_SHARED_BYTES / 4]; /* number of the word + 1 */

static struct {
	struct view now;
	struct view acquired; /* what relaxed loads found: an acquire fence makes it now */
	struct view released; /* now, at the last release fence: relaxed stores carry it */
	struct view light;    /* now, at the last fence of any kind, the compiler's too */
	struct view forced;   /* by others' membarriers: to be seen after the next of these */
} threads[2];
static struct view fences; /* what the sequentially consistent fences have seen */
static struct view kernel; /* what those who were in the kernel have seen */

enum access { PLAIN_READ, PLAIN_WRITE, ATOMIC_READ, ATOMIC_WRITE, N_ACCESSES };
static struct {
	uint16_t clock[N_ACCESSES][2]; /* of each thread's last */
} touched[MODEL_SHARED_BYTES];
static uint32_t touched_bytes[MODEL_SHARED_BYTES];
static unsigned n_touched;

static struct {
	const char *what;
	uint64_t value;
	uint32_t offset;
	uint8_t thread, age;
} trace[N_TRACE];
static unsigned n_trace;

/* ── views ── */

static void join_seen(struct view *to, const struct view *from)
{
	for (unsigned i = 0; i < N_WORDS; i++)
		to->seen[i] = to->seen[i] > from->seen[i] ? to->seen[i] : from->seen[i];
}

static void join(struct view *to, const struct view *from)
{
	for (unsigned t = 0; t < 2; t++)
		to->clock[t] = to->clock[t] > from->clock[t] ? to->clock[t] : from->clock[t];
	join_seen(to, from);
}

/* The same whatever the order in which words were first used. */
static uint64_t hash(const struct view *view)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < n_words; i++)
		if (view->seen[i])
			sum += mix(words[i].offset + 1, view->seen[i]);
	return sum;
}

uint64_t memory_hash(void)
{
	return mix(mix(mix(hash(&fences), hash(&kernel)), hash(&threads[0].forced)),
		   hash(&threads[1].forced));
}

/* What this thread does from here on is not what it has released so far. */
static void tick(void)
{
	threads[current].now.clock[current]++;
}

void memory_init(void)
{
	for (unsigned i = 0; i < n_words; i++)
		word_at[words[i].offset / 4] = 0;
	for (unsigned i = 0; i < n_touched; i++)
		memset(&touched[touched_bytes[i]], 0, sizeof(touched[0]));
	n_words = n_touched = n_trace = 0;
	memset(threads, 0, sizeof(threads));
	memset(&fences, 0, sizeof(fences));
	memset(&kernel, 0, sizeof(kernel));
	for (unsigned t = 0; t < 2; t++)
		threads[t].now.clock[t] = 1;
}

/* ── what happened ── */

static void note(const char *what, uint32_t offset, uint64_t value, unsigned age)
{
	if (n_trace < N_TRACE)
		trace[n_trace].what = what, trace[n_trace].offset = offset,
		trace[n_trace].value = value, trace[n_trace].thread = (uint8_t)current,
		trace[n_trace].age = (uint8_t)age, n_trace++;
}

void memory_show_trace(void)
{
	for (unsigned i = 0; i < n_trace; i++) {
		char name[64] = "";

		if (trace[i].offset < MODEL_SHARED_BYTES)
			model_name(name, sizeof(name), trace[i].offset);
		(void)printf("#   %*s%c %-14s %-18s %#llx%s\n", trace[i].thread ? 24 : 0, "",
			     "ab"[trace[i].thread], trace[i].what, name,
			     (unsigned long long)trace[i].value,
			     trace[i].age ? ", though there was a newer one" : "");
	}
}

/* ── races ── */

/* The accesses that may not be unordered with one of the kind. */
static const uint8_t conflicts[N_ACCESSES] = {
	[PLAIN_READ] = 1 << PLAIN_WRITE | 1 << ATOMIC_WRITE,
	[PLAIN_WRITE] = 1 << PLAIN_READ | 1 << PLAIN_WRITE | 1 << ATOMIC_READ | 1 << ATOMIC_WRITE,
	[ATOMIC_READ] = 1 << PLAIN_WRITE,
	[ATOMIC_WRITE] = 1 << PLAIN_READ | 1 << PLAIN_WRITE,
};

static void touch(uint32_t offset, size_t bytes, enum access kind)
{
	const unsigned me = current, other = !current;
	static const char *const names[] = {"plain read", "plain write", "load", "store"};

	if ((kind == PLAIN_WRITE || kind == ATOMIC_WRITE) && model_owner(offset) != me) {
		note("writes", offset, 0, 0);
		wrong("a thread wrote to the other's half");
	}
	for (uint32_t i = offset; i < offset + bytes; i++) {
		bool fresh = true;

		for (unsigned k = 0; k < N_ACCESSES; k++) {
			fresh &= !touched[i].clock[k][me] && !touched[i].clock[k][other];
			if (conflicts[kind] & 1u << k &&
			    touched[i].clock[k][other] > threads[me].now.clock[other]) {
				note(names[kind], i, 0, 0);
				wrong("a data race");
			}
		}
		if (fresh)
			touched_bytes[n_touched++] = i;
		touched[i].clock[kind][me] = threads[me].now.clock[me];
	}
}

/* Plain bytes over an atomic word, as when a frame lies where others began: a value of it. */
static void overwrite(uint32_t offset, size_t bytes)
{
	for (uint32_t at = offset & ~3u; at < offset + bytes; at += 4) {
		const unsigned w = word_at[at / 4];

		if (!w || words[w - 1].values[words[w - 1].n - 1].plain)
			continue;
		if (words[w - 1].n == N_VALUES)
			wrong("too many values of one word");
		words[w - 1].values[words[w - 1].n] = (struct value){.plain = true};
		threads[current].now.seen[w - 1] = (uint8_t)words[w - 1].n++;
	}
}

static void plain(const void *at, size_t bytes, bool write)
{
	const uint64_t offset = model_offset(at);

	if (current == NOBODY || offset >= MODEL_SHARED_BYTES)
		return;
	touch((uint32_t)offset, bytes, write ? PLAIN_WRITE : PLAIN_READ);
	if (write)
		overwrite((uint32_t)offset, bytes);
}

/* ── atomics ── */

static uint64_t in_memory(const volatile void *at, unsigned bytes)
{
	return bytes == 4 ? *(const volatile uint32_t *)at : *(const volatile uint64_t *)at;
}

static unsigned word(const volatile void *at, unsigned bytes)
{
	const uint32_t offset = (uint32_t)model_offset(at);

	if (!word_at[offset / 4]) {
		if (n_words == N_WORDS)
			wrong("too many atomic words");
		words[n_words].offset = offset;
		words[n_words].bytes = bytes;
		words[n_words].n = 1;
		words[n_words].values[0] = (struct value){.plain = true};
		word_at[offset / 4] = (uint8_t)++n_words;
	}
	if (words[word_at[offset / 4] - 1].bytes != bytes)
		wrong("one word, two sizes");
	return word_at[offset / 4] - 1u;
}

/* Before memory changes: a value that is only there. */
static struct value *settle(unsigned w, const volatile void *at)
{
	struct value *last = &words[w].values[words[w].n - 1];

	if (last->plain) {
		last->value = in_memory(at, words[w].bytes);
		last->plain = false;
	}
	return last;
}

static bool acquires(int order)
{
	return order == __ATOMIC_ACQUIRE || order == __ATOMIC_ACQ_REL || order == __ATOMIC_SEQ_CST;
}

static bool releases(int order)
{
	return order == __ATOMIC_RELEASE || order == __ATOMIC_ACQ_REL || order == __ATOMIC_SEQ_CST;
}

static uint64_t load(const volatile void *at, unsigned bytes, int order)
{
	const uint64_t offset = model_offset(at);
	unsigned w, i;

	if (current == NOBODY || offset >= MODEL_SHARED_BYTES)
		return in_memory(at, bytes);
	point();
	w = word(at, bytes);
	touch((uint32_t)offset, bytes, ATOMIC_READ);
	(void)settle(w, at);
	i = words[w].n - 1 - choose(words[w].n - threads[current].now.seen[w]);
	threads[current].now.seen[w] = (uint8_t)i;
	join(&threads[current].acquired, &words[w].values[i].carries);
	if (acquires(order))
		join(&threads[current].now, &words[w].values[i].carries);
	found(current, mix(offset, i));
	note(acquires(order) ? "load acquire" : "load", (uint32_t)offset, words[w].values[i].value,
	     words[w].n - 1 - i);
	return words[w].values[i].value;
}

static void store(volatile void *at, unsigned bytes, uint64_t value, int order,
		  const struct view *also)
{
	const uint32_t offset = (uint32_t)model_offset(at);
	const unsigned w = word(at, bytes);
	struct value *new;

	touch(offset, bytes, ATOMIC_WRITE);
	(void)settle(w, at);
	if (words[w].n == N_VALUES)
		wrong("too many values of one word");
	new = &words[w].values[words[w].n];
	threads[current].now.seen[w] = (uint8_t)words[w].n++;
	*new = (struct value){
		.value = value,
		.carries = releases(order) ? threads[current].now : threads[current].released,
	};
	new->carries.seen[w] = threads[current].now.seen[w];
	if (also)
		join(&new->carries, also);
	tick();
	note(releases(order) ? "store release" : "store", offset, value, 0);
	if (bytes == 4)
		*(volatile uint32_t *)at = (uint32_t)value;
	else
		*(volatile uint64_t *)at = value;
}

static void set(volatile void *at, unsigned bytes, uint64_t value, int order)
{
	if (current != NOBODY && model_offset(at) < MODEL_SHARED_BYTES) {
		store(at, bytes, value, order, NULL);
	} else if (bytes == 4) {
		*(volatile uint32_t *)at = (uint32_t)value;
	} else {
		*(volatile uint64_t *)at = value;
	}
}

/* By the word's only writer, so it finds the newest value. */
static uint64_t add(volatile void *at, unsigned bytes, uint64_t n, int order)
{
	struct view carried;
	uint64_t old;
	const unsigned w = word(at, bytes);

	(void)settle(w, at);
	old = words[w].values[words[w].n - 1].value;
	carried = words[w].values[words[w].n - 1].carries;
	store(at, bytes, old + n, order, &carried);
	return old;
}

/* Any fence of this thread, be it for the compiler alone. */
static void light(void)
{
	join_seen(&threads[current].now, &threads[current].forced);
	threads[current].light = threads[current].now;
}

static void meet_fences(void)
{
	join_seen(&threads[current].now, &fences);
	join_seen(&fences, &threads[current].now);
}

static void fence(int order)
{
	if (current == NOBODY)
		return;
	point();
	if (acquires(order))
		join(&threads[current].now, &threads[current].acquired);
	if (order == __ATOMIC_SEQ_CST)
		meet_fences();
	light();
	if (order == __ATOMIC_SEQ_CST)
		join_seen(&fences, &threads[current].now);
	if (releases(order))
		threads[current].released = threads[current].now;
	tick();
	found(current, hash(&threads[current].now));
	note(order == __ATOMIC_SEQ_CST ? "fence" : "weaker fence", UINT32_MAX, 0, 0);
}

void model_heavy_fence(void)
{
	fence(__ATOMIC_SEQ_CST);
	join_seen(&threads[current].now, &threads[!current].light);
	join_seen(&threads[!current].forced, &threads[current].now);
	found(current, hash(&threads[current].now));
	note("membarrier", UINT32_MAX, 0, 0);
}

/* ── the kernel: its locks order what is seen; that they order more is not relied upon ── */

void memory_kernel(void)
{
	join_seen(&threads[current].now, &kernel);
	join_seen(&kernel, &threads[current].now);
	light();
	found(current, hash(&threads[current].now));
	note("system call", UINT32_MAX, 0, 0);
}

uint32_t memory_kernel_load(const volatile void *at)
{
	const unsigned w = word(at, 4);
	unsigned i;

	(void)settle(w, at);
	i = words[w].n - 1 - choose(words[w].n - threads[current].now.seen[w]);
	threads[current].now.seen[w] = (uint8_t)i;
	join_seen(&kernel, &threads[current].now);
	found(current, i);
	note("futex", words[w].offset, words[w].values[i].value, words[w].n - 1 - i);
	return (uint32_t)words[w].values[i].value;
}

void memory_woken(unsigned t)
{
	join_seen(&threads[t].now, &kernel);
	found(t, hash(&threads[t].now));
	note("wakes the other", UINT32_MAX, 0, 0);
}

bool memory_catch_up(void)
{
	bool news = false;

	for (unsigned w = 0; w < n_words; w++) {
		news |= threads[current].now.seen[w] != words[w].n - 1;
		threads[current].now.seen[w] = (uint8_t)(words[w].n - 1);
	}
	return news;
}

/* ── what -fsanitize=thread calls ── */

#define PLAIN(bytes)                                                                               \
	void __tsan_read##bytes(void *at);                                                         \
	void __tsan_write##bytes(void *at);                                                        \
	void __tsan_unaligned_read##bytes(void *at);                                               \
	void __tsan_unaligned_write##bytes(void *at);                                              \
	void __tsan_read##bytes(void *at)                                                          \
	{                                                                                          \
		plain(at, bytes, false);                                                           \
	}                                                                                          \
	void __tsan_write##bytes(void *at)                                                         \
	{                                                                                          \
		plain(at, bytes, true);                                                            \
	}                                                                                          \
	void __tsan_unaligned_read##bytes(void *at)                                                \
	{                                                                                          \
		plain(at, bytes, false);                                                           \
	}                                                                                          \
	void __tsan_unaligned_write##bytes(void *at)                                               \
	{                                                                                          \
		plain(at, bytes, true);                                                            \
	}
PLAIN(1)
PLAIN(2)
PLAIN(4)
PLAIN(8)
PLAIN(16)

#define ATOMIC(bits)                                                                               \
	uint##bits##_t __tsan_atomic##bits##_load(const volatile uint##bits##_t *at, int order);   \
	void __tsan_atomic##bits##_store(volatile uint##bits##_t *at, uint##bits##_t value,        \
					 int order);                                               \
	uint##bits##_t __tsan_atomic##bits##_fetch_add(volatile uint##bits##_t *at,                \
						       uint##bits##_t n, int order);               \
	uint##bits##_t __tsan_atomic##bits##_load(const volatile uint##bits##_t *at, int order)    \
	{                                                                                          \
		return (uint##bits##_t)load(at, bits / 8, order);                                  \
	}                                                                                          \
	void __tsan_atomic##bits##_store(volatile uint##bits##_t *at, uint##bits##_t value,        \
					 int order)                                                \
	{                                                                                          \
		set(at, bits / 8, value, order);                                                   \
	}                                                                                          \
	uint##bits##_t __tsan_atomic##bits##_fetch_add(volatile uint##bits##_t *at,                \
						       uint##bits##_t n, int order)                \
	{                                                                                          \
		return (uint##bits##_t)add(at, bits / 8, n, order);                                \
	}
ATOMIC(32)
ATOMIC(64)

void __tsan_init(void);
void __tsan_func_entry(void *from);
void __tsan_func_exit(void);
void __tsan_read_range(void *at, unsigned long bytes);
void __tsan_write_range(void *at, unsigned long bytes);
void __tsan_atomic_thread_fence(int order);
void __tsan_atomic_signal_fence(int order);
void *__wrap_memset(void *at, int byte, size_t bytes);
void *__real_memset(void *at, int byte, size_t bytes);

void __tsan_init(void)
{
}

void __tsan_func_entry(void *from)
{
	(void)from;
}

void __tsan_func_exit(void)
{
}

void __tsan_read_range(void *at, unsigned long bytes)
{
	plain(at, bytes, false);
}

void __tsan_write_range(void *at, unsigned long bytes)
{
	plain(at, bytes, true);
}

void __tsan_atomic_thread_fence(int order)
{
	fence(order);
}

void __tsan_atomic_signal_fence(int order)
{
	(void)order;
	if (current == NOBODY)
		return;
	if (model_program.has_membarriers)
		point();
	light();
	found(current, hash(&threads[current].now));
	note("compiler fence", UINT32_MAX, 0, 0);
}

/* What is set in one go is not instrumented: the linker leads it here (--wrap). */
void *__wrap_memset(void *at, int byte, size_t bytes)
{
	plain(at, bytes, true);
	return __real_memset(at, byte, bytes);
}
