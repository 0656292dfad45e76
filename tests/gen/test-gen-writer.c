/* SPDX-License-Identifier: Apache-2.0 */
/* Forward writers: what they write, what they refuse, and what they leave of old bytes. */
#include "every.h"

#include <criterion/criterion.h>
#include <stdlib.h>

static struct ipc_writer writer;
static _Alignas(16) unsigned char room[EVERY_MAX_BYTES];
static size_t size_bytes;

/* A root with one node, the smallest message with a required field. */
static test_every_Node_w start(size_t bytes)
{
	test_every_Root_w root;

	ipc_writer_init(&writer, room, bytes);
	root = test_every_Root_start(&writer);
	return test_every_Root_new_node(&root);
}

Test(gen_writer, what_is_written_reads_back, .timeout = 5)
{
	struct ipc_msg msg;
	const char *wrong;

	cr_assert_eq(every_write(&writer, room, sizeof(room), &size_bytes), 0);
	msg = ipc_msg_from(room, size_bytes);
	wrong = every_check(&msg);
	cr_assert_null(wrong, "%s", wrong);
	cr_assert_eq(writer.needed_bytes, size_bytes);
}

Test(gen_writer, the_same_calls_write_the_same_bytes_over_whatever_was_there, .timeout = 5)
{
	static _Alignas(16) unsigned char other[EVERY_MAX_BYTES];
	static struct ipc_writer second;
	size_t other_bytes;

	memset(room, 0x00, sizeof(room));
	memset(other, 0xff, sizeof(other));
	memset(&second, 0xff, sizeof(second));
	cr_assert_eq(every_write(&writer, room, sizeof(room), &size_bytes), 0);
	cr_assert_eq(every_write(&second, other, sizeof(other), &other_bytes), 0);
	cr_assert_eq(size_bytes, other_bytes);
	cr_assert_arr_eq(room, other, size_bytes);
}

Test(gen_writer, nothing_is_written_beyond_the_room_whatever_its_size, .timeout = 20)
{
	size_t needed, untouched = 12345;

	cr_assert_eq(every_write(&writer, room, sizeof(room), &needed), 0);
	for (size_t bytes = 0; bytes < needed; bytes++) {
		unsigned char *exact = aligned_alloc(16, (bytes + 31) & ~(size_t)15);

		cr_assert_not_null(exact);
		memset(exact, 0xa5, (bytes + 31) & ~(size_t)15);
		cr_assert_eq(every_write(&writer, exact, bytes, &untouched), -ENOBUFS);
		cr_assert_eq(writer.needed_bytes, needed);
		cr_assert_eq(untouched, 12345);
		for (size_t i = bytes; i < ((bytes + 31) & ~(size_t)15); i++)
			cr_assert_eq(exact[i], 0xa5);
		free(exact);
	}
	cr_assert_eq(every_write(&writer, room, needed, &untouched), 0);
}

Test(gen_writer, a_scalar_equal_to_its_default_is_left_out, .timeout = 5)
{
	test_every_Scalars_w t;
	test_every_Scalars r;
	struct ipc_msg msg;

	ipc_writer_init(&writer, room, sizeof(room));
	t = test_every_Scalars_start(&writer);
	test_every_Scalars_set_i64(&t, INT64_MIN);
	test_every_Scalars_set_u16(&t, 60000);
	test_every_Scalars_set_d_inf(&t, -__builtin_inf());
	test_every_Scalars_set_f32(&t, 0.0f);
	cr_assert_eq(ipc_writer_finish(&writer, &size_bytes), 0);
	msg = ipc_msg_from(room, size_bytes);
	r = test_every_Scalars_root(&msg);
	cr_assert(!test_every_Scalars_has_i64(r) && test_every_Scalars_i64(r) == INT64_MIN);
	cr_assert(!test_every_Scalars_has_u16(r) && test_every_Scalars_u16(r) == 60000);
	cr_assert(!test_every_Scalars_has_d_inf(r) && test_every_Scalars_d_inf(r) < -1e308);
	cr_assert(test_every_Scalars_has_f32(r));
}

Test(gen_writer, defaults_are_the_schemas, .timeout = 5)
{
	test_every_Scalars r;
	struct ipc_msg msg;

	ipc_writer_init(&writer, room, sizeof(room));
	(void)test_every_Scalars_start(&writer);
	cr_assert_eq(ipc_writer_finish(&writer, &size_bytes), 0);
	msg = ipc_msg_from(room, size_bytes);
	r = test_every_Scalars_root(&msg);
	cr_assert(test_every_Scalars_b(r));
	cr_assert_eq(test_every_Scalars_i8(r), -7);
	cr_assert_eq(test_every_Scalars_u8(r), 200);
	cr_assert_eq(test_every_Scalars_i16(r), -300);
	cr_assert_eq(test_every_Scalars_i32(r), INT32_MIN);
	cr_assert_eq(test_every_Scalars_u32(r), UINT32_MAX);
	cr_assert_eq(test_every_Scalars_u64(r), INT64_MAX);
	cr_assert_eq(test_every_Scalars_color(r), test_every_Color_Green);
	cr_assert_eq(test_every_Scalars_signed(r), test_every_Signed_Low);
	cr_assert_eq(test_every_Scalars_wide(r), test_every_Wide_First);
	cr_assert_eq(test_every_Scalars_small(r), test_every_Small_text);
	cr_assert(test_every_Scalars_f_inf(r) > 1e38f);
	cr_assert(__builtin_isnan(test_every_Scalars_f_nan(r)));
	cr_assert_str_eq(test_every_Color_to_text(test_every_Scalars_color(r)), "Green");
	cr_assert_str_eq(test_every_Color_to_text(77), "?");
}

Test(gen_writer, tables_with_the_same_fields_share_a_vtable, .timeout = 5)
{
	size_t bytes[2];

	for (size_t extra = 0; extra < 2; extra++) {
		test_every_Node_w node = start(sizeof(room));
		test_every_Node_vec_w children;

		test_every_Node_set_name_str(&node, "a");
		children = test_every_Node_new_children(&node, 2 + extra);
		for (size_t i = 0; i < 2 + extra; i++) {
			test_every_Node_w child = test_every_Node_new_at(&children, i);

			test_every_Node_set_name_str(&child, "b");
		}
		cr_assert_eq(ipc_writer_finish(&writer, &bytes[extra]), 0);
	}
	/* An offset, the inline part of four fields, and a string of one. */
	cr_assert_leq(bytes[1] - bytes[0], 4 + 20 + 8);
}

Test(gen_writer, more_vtables_than_it_remembers_are_right_all_the_same, .timeout = 5)
{
	test_every_Scalars_w t;
	struct ipc_msg msg;
	test_every_Vectors_w vectors;
	test_every_Node_vec_w nodes;
	test_every_Root_w root;

	ipc_writer_init(&writer, room, sizeof(room));
	root = test_every_Root_start(&writer);
	/* Each replaces the one before it: dead tables, but each with its own vtable. */
	for (uint32_t i = 0; i < 3 * IPC_WRITER_VTABLES; i++) {
		t = test_every_Root_new_scalars(&root);
		if (i & 1)
			test_every_Scalars_set_u8(&t, 1);
		if (i & 2)
			test_every_Scalars_set_u16(&t, 1);
		if (i & 4)
			test_every_Scalars_set_u32(&t, 1);
		if (i & 8)
			test_every_Scalars_set_u64(&t, 1);
		if (i & 16)
			test_every_Scalars_set_i8(&t, 1);
		if (i & 32)
			test_every_Scalars_set_i16(&t, (int16_t)i);
	}
	vectors = test_every_Root_new_vectors(&root);
	nodes = test_every_Vectors_new_nodes(&vectors, 0);
	(void)nodes;
	cr_assert_eq(ipc_writer_finish(&writer, &size_bytes), 0);
	msg = ipc_msg_from(room, size_bytes);
	cr_assert(test_every_Root_verify(test_every_Root_root(&msg)));
	cr_assert_eq(test_every_Scalars_i16(test_every_Root_scalars(test_every_Root_root(&msg))),
		     47);
}

Test(gen_writer, a_missing_required_field_is_an_error, .timeout = 5)
{
	(void)start(sizeof(room));
	cr_assert_eq(ipc_writer_finish(&writer, &size_bytes), -EINVAL);
}

Test(gen_writer, a_closed_table_takes_no_more_fields, .timeout = 5)
{
	test_every_Node_w node = start(sizeof(room)), first, second;

	test_every_Node_set_name_str(&node, "a");
	first = test_every_Node_new_next(&node);
	test_every_Node_set_name_str(&first, "b");
	second = test_every_Node_new_next(&node);
	test_every_Node_set_name_str(&second, "c");
	cr_assert_eq(writer.error, 0);
	test_every_Node_set_weight(&first, 5);
	cr_assert_eq(ipc_writer_finish(&writer, &size_bytes), -EINVAL);
}

Test(gen_writer, elements_are_set_in_order_and_all_of_them, .timeout = 5)
{
	/* Which elements of a vector of two are set; only 0, 1 is right. */
	static const size_t orders[][3] = {{1, 0}, {0, 0}, {0}, {0, 1, 2}, {0, 1}};
	static const size_t lengths[] = {2, 2, 1, 3, 2};

	for (size_t i = 0; i < 5; i++) {
		test_every_Vectors_w t;
		ipc_str_vec_w strings;

		ipc_writer_init(&writer, room, sizeof(room));
		t = test_every_Vectors_start(&writer);
		strings = test_every_Vectors_new_strings(&t, 2);
		for (size_t j = 0; j < lengths[i]; j++)
			ipc_str_set_at(&strings, orders[i][j], "x", 1);
		cr_assert_eq(ipc_writer_finish(&writer, &size_bytes), i == 4 ? 0 : -EINVAL);
	}
}

Test(gen_writer, nesting_beyond_the_limit_is_an_error, .timeout = 5)
{
	for (int depth = IPC_WRITER_DEPTH; depth <= IPC_WRITER_DEPTH + 1; depth++) {
		test_every_Node_w node;

		ipc_writer_init(&writer, room, sizeof(room));
		node = test_every_Node_start(&writer);
		test_every_Node_set_name_str(&node, "x");
		for (int i = 1; i < depth; i++) {
			node = test_every_Node_new_next(&node);
			test_every_Node_set_name_str(&node, "x");
		}
		cr_assert_eq(ipc_writer_finish(&writer, &size_bytes),
			     depth > IPC_WRITER_DEPTH ? -EINVAL : 0);
	}
}

Test(gen_writer, a_second_root_or_none_is_an_error, .timeout = 5)
{
	ipc_writer_init(&writer, room, sizeof(room));
	cr_assert_eq(ipc_writer_finish(&writer, &size_bytes), -EINVAL);
	ipc_writer_init(&writer, room, sizeof(room));
	(void)test_every_Empty_start(&writer);
	(void)test_every_Empty_start(&writer);
	cr_assert_eq(ipc_writer_finish(&writer, &size_bytes), -EINVAL);
}

Test(gen_writer, a_room_that_is_not_aligned_is_an_error, .timeout = 5)
{
	cr_assert_eq(every_write(&writer, room + 4, sizeof(room) - 4, &size_bytes), -EINVAL);
}

Test(gen_writer, impossible_sizes_only_count, .timeout = 5)
{
	volatile size_t most = SIZE_MAX; /* hidden from the compiler, which would object */
	test_every_Vectors_w t;

	ipc_writer_init(&writer, room, sizeof(room));
	t = test_every_Vectors_start(&writer);
	cr_assert_null(test_every_Vectors_new_u64s(&t, most));
	test_every_Vectors_set_u8s(&t, NULL, most / 2);
	(void)test_every_Vectors_new_paddeds(&t, most);
	cr_assert_eq(ipc_writer_finish(&writer, &size_bytes), -ENOBUFS);
	cr_assert_gt(writer.needed_bytes, (size_t)INT32_MAX);
}
