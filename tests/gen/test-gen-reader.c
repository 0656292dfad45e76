/* SPDX-License-Identifier: Apache-2.0 */
/* Checked readers over bytes that are cut short, changed, changing, or made to mislead. */
#include "every.h"

#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>

#define PAGE_BYTES 4096
#define PAGES 2

static struct ipc_writer writer;
static _Alignas(16) unsigned char good[EVERY_MAX_BYTES];
static size_t good_bytes;
static unsigned char *guarded; /* PAGES pages between two that cannot be read */

static void setup(void)
{
	unsigned char *map = mmap(NULL, (PAGES + 2) * PAGE_BYTES, PROT_NONE,
				  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	cr_assert_neq(map, MAP_FAILED);
	guarded = map + PAGE_BYTES;
	cr_assert_eq(mprotect(guarded, PAGES * PAGE_BYTES, PROT_READ | PROT_WRITE), 0);
	cr_assert_eq(every_write(&writer, good, sizeof(good), &good_bytes), 0);
	cr_assert_leq(good_bytes, PAGES * PAGE_BYTES);
}

/* Copies bytes to where their end, rounded up to 8, meets the guard page. */
static struct ipc_msg guard(const void *data, size_t n)
{
	unsigned char *at = guarded + PAGES * PAGE_BYTES - ((n + 7) & ~(size_t)7);

	memcpy(at, data, n);
	return ipc_msg_from(at, n);
}

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

Test(gen_reader, every_prefix_of_a_message_is_read_without_leaving_it, .init = setup, .timeout = 20)
{
	size_t n_bad = 0;

	for (size_t n = 0; n < good_bytes; n++) {
		struct ipc_msg msg = guard(good, n);

		every_read(&msg);
		n_bad += msg.bad;
	}
	/* What is last in the message is the root's vtable: nothing shorter is one. */
	cr_assert_eq(n_bad, good_bytes);
}

Test(gen_reader, changed_bytes_are_read_without_leaving_the_message, .init = setup, .timeout = 60)
{
	static unsigned char bytes[EVERY_MAX_BYTES];
	uint64_t state = 88172645463325252;
	size_t n_bad = 0;

	for (int round = 0; round < 30000; round++) {
		struct ipc_msg msg;

		memcpy(bytes, good, good_bytes);
		for (uint64_t n = 1 + next_random(&state) % 4; n; n--) {
			size_t at = next_random(&state) % good_bytes;

			bytes[at] = (unsigned char)next_random(&state);
		}
		msg = guard(bytes, good_bytes);
		every_read(&msg);
		n_bad += msg.bad;
	}
	cr_assert(n_bad > 1000 && n_bad < 30000);
}

Test(gen_reader, random_bytes_are_read_without_leaving_the_message, .init = setup, .timeout = 60)
{
	static _Alignas(8) unsigned char bytes[512];
	uint64_t state = 1181783497276652981;

	for (int round = 0; round < 30000; round++) {
		const size_t n = 8 + next_random(&state) % (sizeof(bytes) - 8);
		struct ipc_msg msg;

		/* Small numbers, so that offsets lead somewhere. */
		for (size_t i = 0; i < n; i++)
			bytes[i] = next_random(&state) & 1
					   ? (unsigned char)(next_random(&state) & 0x3f)
					   : 0;
		msg = guard(bytes, n);
		every_read(&msg);
	}
}

static _Atomic bool stop;

static void *flip(void *arg)
{
	struct ipc_msg *msg = arg;
	_Atomic unsigned char *bytes = (_Atomic unsigned char *)(uintptr_t)msg->data;
	uint64_t state = 2463534242;

	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		const size_t at = next_random(&state) % good_bytes;
		const unsigned char value = (unsigned char)next_random(&state);

		atomic_store_explicit(&bytes[at], value, memory_order_relaxed);
		atomic_store_explicit(&bytes[at], good[at], memory_order_relaxed);
	}
	return NULL;
}

Test(gen_reader, a_message_that_changes_while_it_is_read_is_not_left, .init = setup, .timeout = 60)
{
	const struct ipc_msg shared = guard(good, good_bytes);
	struct ipc_msg flipped = shared;
	pthread_t thread;

	cr_assert_eq(pthread_create(&thread, NULL, flip, &flipped), 0);
	for (int round = 0; round < 20000; round++) {
		struct ipc_msg msg = shared;

		every_read(&msg);
	}
	atomic_store(&stop, true);
	cr_assert_eq(pthread_join(thread, NULL), 0);
}

/* A message made by hand: 32-bit words. */
static struct ipc_msg words(const uint32_t *data, size_t n)
{
	return guard(data, 4 * n);
}

Test(gen_reader, an_empty_or_misaligned_message_is_bad, .init = setup, .timeout = 5)
{
	struct ipc_msg msg = ipc_msg_from(good, 0);

	cr_assert(!test_every_Root_ok(test_every_Root_root(&msg)));
	msg = ipc_msg_from(good + 4, good_bytes - 4);
	cr_assert(!test_every_Root_ok(test_every_Root_root(&msg)));
	cr_assert_eq(ipc_str_copy(test_every_Root_text(test_every_Root_root(&msg)), (char *)guarded,
				  1),
		     true);
}

Test(gen_reader, a_vtable_may_lie_before_its_table_and_be_shorter_than_the_schema, .init = setup,
     .timeout = 5)
{
	/* vtable at 4: size 4, table of 4 bytes; table at 8. */
	static const uint32_t data[] = {8, 4 | 4 << 16, 4};
	struct ipc_msg msg = words(data, 3);
	const test_every_Scalars t = test_every_Scalars_root(&msg);

	cr_assert_eq(test_every_Scalars_u8(t), 200);
	cr_assert(test_every_Scalars_verify(t));
}

Test(gen_reader, offsets_that_lead_nowhere_read_as_defaults_and_make_the_message_bad, .init = setup,
     .timeout = 5)
{
	/* Root at 4 with its vtable behind it, and one field, text (id 6), at 8, whose offset
	 * varies. */
	static const uint32_t offsets[] = {0, 1,  9,	      10,	  11,	      2,	 3,
					   5, 40, 0x7fffffff, 0x80000000, 0xfffffffc, 0xffffffff};

	for (size_t i = 0; i < sizeof(offsets) / sizeof(*offsets); i++) {
		const uint32_t data[] = {
			4, (uint32_t)-8, offsets[i], 18 | 8 << 16, 0, 0, 0, 4, 1, 'x',
		};
		struct ipc_msg msg = words(data, sizeof(data) / sizeof(*data));
		const test_every_Root t = test_every_Root_root(&msg);
		struct ipc_str s;

		cr_assert(test_every_Root_ok(t));
		s = test_every_Root_text(t);
		cr_assert_eq(s.size_bytes, 0);
		cr_assert_not_null(s.data);
		cr_assert(!test_every_Root_ok(t));
	}
}

Test(gen_reader, a_string_longer_than_the_message_is_bad, .init = setup, .timeout = 5)
{
	for (uint32_t extra = 0; extra < 2; extra++) {
		const uint32_t data[] = {4, (uint32_t)-8, 24,	     18 | 8 << 16, 0, 0, 0,
					 4, 4 + extra,	  0x64636261};
		struct ipc_msg msg = words(data, sizeof(data) / sizeof(*data));
		const struct ipc_str s = test_every_Root_text(test_every_Root_root(&msg));

		cr_assert_eq(ipc_str_equals(s, "abcd"), extra == 0);
		cr_assert_eq(msg.bad, extra);
	}
}

Test(gen_reader, a_missing_required_field_is_bad_once_it_is_read, .init = setup, .timeout = 5)
{
	static const uint32_t data[] = {8, 4 | 4 << 16, 4};
	struct ipc_msg msg = words(data, 3);
	const test_every_Node t = test_every_Node_root(&msg);

	cr_assert(test_every_Node_ok(t) && !test_every_Node_has_name(t));
	cr_assert_eq(test_every_Node_name(t).size_bytes, 0);
	cr_assert(!test_every_Node_ok(t));
	msg.bad = 0;
	cr_assert(!test_every_Node_verify(t));
}

Test(gen_reader, an_absent_table_has_only_defaults_and_spoils_nothing, .init = setup, .timeout = 5)
{
	static const uint32_t data[] = {8, 4 | 4 << 16, 4};
	struct ipc_msg msg = words(data, 3);
	const test_every_Root root = test_every_Root_root(&msg);
	const test_every_Node t = test_every_Root_node(root);

	cr_assert_eq(test_every_Node_name(t).size_bytes, 0);
	cr_assert_eq(test_every_Node_weight(test_every_Node_next(t)), 1);
	cr_assert_eq(test_every_Node_vec_count(test_every_Node_children(t)), 0);
	cr_assert_eq(test_every_Structs_padded(test_every_Root_structs(root)).b, 0);
	cr_assert(test_every_Root_ok(root));
}

Test(gen_reader, an_element_beyond_the_end_is_a_default_and_makes_the_message_bad, .init = setup,
     .timeout = 5)
{
	struct ipc_msg msg = guard(good, good_bytes);
	const test_every_Vectors t = test_every_Root_vectors(test_every_Root_root(&msg));

	cr_assert_eq(ipc_uint64_at(test_every_Vectors_u64s(t), 2), UINT64_MAX);
	cr_assert(test_every_Vectors_ok(t));
	cr_assert_eq(ipc_uint64_at(test_every_Vectors_u64s(t), 3), 0);
	cr_assert(!test_every_Vectors_ok(t));
	msg.bad = 0;
	cr_assert_eq(ipc_str_at(test_every_Vectors_strings(t), SIZE_MAX).size_bytes, 0);
	cr_assert(!test_every_Vectors_ok(t));
}

#define LEVELS 12
#define FAN 16

Test(gen_reader, offsets_that_fan_out_cannot_cost_hours, .init = setup, .timeout = 10)
{
	/* Each level: a node whose 16 children are all the next level's one node. Read naively:
	 * 16^12. */
	const uint32_t level_words = 3 + 1 + FAN, vtable = 1, first = 4;
	const uint32_t name = first + LEVELS * level_words;
	uint32_t data[4 + LEVELS * (3 + 1 + FAN) + 3] = {0};
	struct ipc_msg msg;

	data[0] = 4 * first;
	data[vtable] = 10 | 12 << 16;
	data[vtable + 1] = 4;
	data[vtable + 2] = 8;
	for (uint32_t i = 0; i < LEVELS; i++) {
		const uint32_t at = first + i * level_words;

		data[at] = 4 * (at - vtable);
		data[at + 1] = 4 * (name - (at + 1));
		data[at + 2] = 4;
		data[at + 3] = i + 1 < LEVELS ? FAN : 0;
		for (uint32_t j = 0; j < FAN; j++)
			data[at + 4 + j] = 4 * (at + level_words - (at + 4 + j));
	}
	data[name] = 4;
	data[name + 1] = 0x64636261;
	msg = words(data, sizeof(data) / sizeof(*data));
	cr_assert(!test_every_Node_verify(test_every_Node_root(&msg)));
	/* It is the cost that is refused: what is read of it is well-formed. */
	msg.bad = 0;
	cr_assert(ipc_str_equals(test_every_Node_name(test_every_Node_at(
					 test_every_Node_children(test_every_Node_root(&msg)), 15)),
				 "abcd"));
	cr_assert_eq(msg.bad, 0);
}

Test(gen_reader, a_message_that_nests_too_deep_is_bad, .init = setup, .timeout = 5)
{
	/* A list of nodes that share a name; the vtables at 1 and 3 say with and without a next. */
	enum { WITH_NEXT = 1, WITHOUT = 3, FIRST = 5 };

	for (uint32_t depth = IPC_WALK_DEPTH; depth <= IPC_WALK_DEPTH + 1; depth++) {
		uint32_t data[FIRST + 3 * (IPC_WALK_DEPTH + 1) + 2] = {
			4 * FIRST, 8 | 12 << 16, 4 | 8 << 16, 6 | 8 << 16, 4,
		};
		const uint32_t name = FIRST + 3 * depth;
		struct ipc_msg msg;

		for (uint32_t i = 0; i < depth; i++) {
			const uint32_t at = FIRST + 3 * i;

			data[at] = 4 * (at - (i + 1 < depth ? WITH_NEXT : WITHOUT));
			data[at + 1] = 4 * (name - (at + 1));
			data[at + 2] = 4;
		}
		data[name] = 1;
		data[name + 1] = 'x';
		msg = words(data, name + 2);
		cr_assert_eq(test_every_Node_verify(test_every_Node_root(&msg)),
			     depth == IPC_WALK_DEPTH);
	}
}
