/* SPDX-License-Identifier: Apache-2.0 */
/* Values are chosen to differ from their defaults and from each other, and to use their type's
 * width. */
#include "every.h"

#define EXPECT(what)                                                                               \
	do {                                                                                       \
		if (!(what))                                                                       \
			return #what;                                                              \
	} while (0)

static const test_every_Padded padded = {-5, {true, 65535}, INT64_MIN + 1, test_every_Signed_High};
static const test_every_Plain plains[] = {{1, 2}, {UINT32_MAX, 3}};
static const test_part_Point points[] = {{0.5f, -1.25}, {3, 4}};
static const test_every_Forced forced = {77};
static const test_every_Keywords keywords = {-1, -2, -3};
static const char text[] = "z\xc3\xbc"
			   "rich \"quoted\"";

static void write_scalars(test_every_Scalars_w *t)
{
	test_every_Scalars_set_b(t, false);
	test_every_Scalars_set_i8(t, INT8_MIN);
	test_every_Scalars_set_u8(t, UINT8_MAX);
	test_every_Scalars_set_i16(t, INT16_MIN);
	test_every_Scalars_set_u16(t, UINT16_MAX);
	test_every_Scalars_set_i32(t, INT32_MAX);
	test_every_Scalars_set_u32(t, 4000000000);
	test_every_Scalars_set_i64(t, INT64_MAX);
	test_every_Scalars_set_u64(t, UINT64_MAX);
	test_every_Scalars_set_f32(t, -0.375f);
	test_every_Scalars_set_f64(t, -1234.0625);
	test_every_Scalars_set_f_inf(t, 2.0f);
	test_every_Scalars_set_d_inf(t, 4.0);
	test_every_Scalars_set_f_nan(t, 8.0f);
	test_every_Scalars_set_color(t, test_every_Color_Blue);
	test_every_Scalars_set_signed(t, test_every_Signed_High);
	test_every_Scalars_set_wide(t, test_every_Wide_First | test_every_Wide_Last);
	test_every_Scalars_set_small(t, test_every_Small_None);
}

static const char *check_scalars(test_every_Scalars t)
{
	EXPECT(test_every_Scalars_has_b(t) && !test_every_Scalars_b(t));
	EXPECT(test_every_Scalars_i8(t) == INT8_MIN);
	EXPECT(test_every_Scalars_u8(t) == UINT8_MAX);
	EXPECT(test_every_Scalars_i16(t) == INT16_MIN);
	EXPECT(test_every_Scalars_u16(t) == UINT16_MAX);
	EXPECT(test_every_Scalars_i32(t) == INT32_MAX);
	EXPECT(test_every_Scalars_u32(t) == 4000000000);
	EXPECT(test_every_Scalars_i64(t) == INT64_MAX);
	EXPECT(test_every_Scalars_u64(t) == UINT64_MAX);
	EXPECT(ipc_float_bits(test_every_Scalars_f32(t)) == ipc_float_bits(-0.375f));
	EXPECT(ipc_double_bits(test_every_Scalars_f64(t)) == ipc_double_bits(-1234.0625));
	EXPECT(ipc_float_bits(test_every_Scalars_f_inf(t)) == ipc_float_bits(2.0f));
	EXPECT(ipc_double_bits(test_every_Scalars_d_inf(t)) == ipc_double_bits(4.0));
	EXPECT(ipc_float_bits(test_every_Scalars_f_nan(t)) == ipc_float_bits(8.0f));
	EXPECT(test_every_Scalars_color(t) == test_every_Color_Blue);
	EXPECT(test_every_Scalars_signed(t) == test_every_Signed_High);
	EXPECT(test_every_Scalars_wide(t) == (test_every_Wide_First | test_every_Wide_Last));
	EXPECT(test_every_Scalars_has_small(t) &&
	       test_every_Scalars_small(t) == test_every_Small_None);
	return NULL;
}

static void write_structs(test_every_Structs_w *t)
{
	test_every_Structs_set_padded(t, padded);
	test_every_Structs_set_plain(t, plains[1]);
	test_every_Structs_set_forced(t, forced);
	test_every_Structs_set_keywords(t, keywords);
	test_every_Structs_set_point(t, points[0]);
}

static bool same_padded(test_every_Padded v)
{
	return v.a == padded.a && v.inner.flag && v.inner.code == 65535 && v.b == padded.b &&
	       v.signed_ == test_every_Signed_High;
}

static bool same_point(test_part_Point a, test_part_Point b)
{
	return ipc_float_bits(a.x) == ipc_float_bits(b.x) &&
	       ipc_double_bits(a.y) == ipc_double_bits(b.y);
}

static const char *check_structs(test_every_Structs t)
{
	EXPECT(test_every_Structs_has_padded(t) && same_padded(test_every_Structs_padded(t)));
	EXPECT(test_every_Structs_plain(t).lo == UINT32_MAX && test_every_Structs_plain(t).hi == 3);
	EXPECT(test_every_Structs_forced(t).v == 77);
	EXPECT(test_every_Structs_keywords(t).int_ == -1 &&
	       test_every_Structs_keywords(t).class_ == -2);
	EXPECT(test_every_Structs_keywords(t).linux_ == -3);
	EXPECT(same_point(test_every_Structs_point(t), points[0]));
	return NULL;
}

static const bool bools[] = {true, false, true};
static const int8_t i8s[] = {INT8_MIN, 0, INT8_MAX};
static const uint8_t u8s[] = {0, 1, UINT8_MAX};
static const int16_t i16s[] = {INT16_MIN, 0, INT16_MAX};
static const uint16_t u16s[] = {0, 1, UINT16_MAX};
static const int32_t i32s[] = {INT32_MIN, 0, INT32_MAX};
static const uint32_t u32s[] = {0, 1, UINT32_MAX};
static const int64_t i64s[] = {INT64_MIN, 0, INT64_MAX};
static const uint64_t u64s[] = {0, 1, UINT64_MAX};
static const float f32s[] = {0, 0.5f, -1e9f};
static const double f64s[] = {0, 0.5, -1e15};
static const test_every_Color colors[] = {test_every_Color_Red, test_every_Color_Green,
					  test_every_Color_Blue};
static const test_every_Wide wides[] = {test_every_Wide_Last, test_every_Wide_First,
					test_every_Wide_Last};

static void write_vectors(test_every_Vectors_w *t)
{
	test_every_Padded_vec_w paddeds;
	test_every_Node_vec_w nodes;
	ipc_str_vec_w strings;
	uint64_t *room;

	test_every_Vectors_set_bools(t, bools, 3);
	test_every_Vectors_set_i8s(t, i8s, 3);
	test_every_Vectors_set_u8s(t, u8s, 3);
	test_every_Vectors_set_i16s(t, i16s, 3);
	test_every_Vectors_set_u16s(t, u16s, 3);
	test_every_Vectors_set_i32s(t, i32s, 3);
	test_every_Vectors_set_u32s(t, u32s, 3);
	test_every_Vectors_set_i64s(t, i64s, 3);
	room = test_every_Vectors_new_u64s(t, 3);
	if (room)
		memcpy(room, u64s, sizeof(u64s));
	test_every_Vectors_set_f32s(t, f32s, 3);
	test_every_Vectors_set_f64s(t, f64s, 3);
	test_every_Vectors_set_colors(t, colors, 3);
	test_every_Vectors_set_wides(t, wides, 3);
	strings = test_every_Vectors_new_strings(t, 3);
	ipc_str_set_at(&strings, 0, "", 0);
	ipc_str_set_at(&strings, 1, text, sizeof(text) - 1);
	ipc_str_set_at(&strings, 2, "abc", 3);
	paddeds = test_every_Vectors_new_paddeds(t, 2);
	test_every_Padded_set_at(&paddeds, 0, padded);
	test_every_Padded_set_at(&paddeds, 1, padded);
	test_every_Vectors_set_plains(t, plains, 2);
	test_every_Vectors_set_points(t, points, 2);
	nodes = test_every_Vectors_new_nodes(t, 3);
	for (size_t i = 0; i < 3; i++) {
		test_every_Node_w node = test_every_Node_new_at(&nodes, i);

		test_every_Node_set_name_str(&node, i ? "other" : "first");
		test_every_Node_set_weight(&node, (uint32_t)i);
	}
}

static const char *check_numbers(test_every_Vectors t)
{
	EXPECT(ipc_bool_vec_count(test_every_Vectors_bools(t)) == 3);
	for (size_t i = 0; i < 3; i++) {
		EXPECT(ipc_bool_at(test_every_Vectors_bools(t), i) == bools[i]);
		EXPECT(ipc_int8_at(test_every_Vectors_i8s(t), i) == i8s[i]);
		EXPECT(ipc_uint8_at(test_every_Vectors_u8s(t), i) == u8s[i]);
		EXPECT(ipc_int16_at(test_every_Vectors_i16s(t), i) == i16s[i]);
		EXPECT(ipc_uint16_at(test_every_Vectors_u16s(t), i) == u16s[i]);
		EXPECT(ipc_int32_at(test_every_Vectors_i32s(t), i) == i32s[i]);
		EXPECT(ipc_uint32_at(test_every_Vectors_u32s(t), i) == u32s[i]);
		EXPECT(ipc_int64_at(test_every_Vectors_i64s(t), i) == i64s[i]);
		EXPECT(ipc_uint64_at(test_every_Vectors_u64s(t), i) == u64s[i]);
		EXPECT(ipc_float_bits(ipc_float_at(test_every_Vectors_f32s(t), i)) ==
		       ipc_float_bits(f32s[i]));
		EXPECT(ipc_double_bits(ipc_double_at(test_every_Vectors_f64s(t), i)) ==
		       ipc_double_bits(f64s[i]));
		EXPECT(ipc_uint8_at(test_every_Vectors_colors(t), i) == colors[i]);
		EXPECT(ipc_uint64_at(test_every_Vectors_wides(t), i) == wides[i]);
	}
	return NULL;
}

static const char *check_vectors(test_every_Vectors t)
{
	const ipc_str_vec strings = test_every_Vectors_strings(t);
	const test_every_Node_vec nodes = test_every_Vectors_nodes(t);

	EXPECT(ipc_str_vec_count(strings) == 3);
	EXPECT(ipc_str_at(strings, 0).size_bytes == 0);
	EXPECT(ipc_str_equals(ipc_str_at(strings, 1), text));
	EXPECT(ipc_str_equals(ipc_str_at(strings, 2), "abc"));
	EXPECT(test_every_Padded_vec_count(test_every_Vectors_paddeds(t)) == 2);
	EXPECT(same_padded(test_every_Padded_at(test_every_Vectors_paddeds(t), 1)));
	EXPECT(test_every_Plain_vec_count(test_every_Vectors_plains(t)) == 2);
	EXPECT(test_every_Plain_at(test_every_Vectors_plains(t), 0).hi == 2);
	EXPECT(same_point(test_part_Point_at(test_every_Vectors_points(t), 1), points[1]));
	EXPECT(test_every_Node_vec_count(nodes) == 3);
	EXPECT(ipc_str_equals(test_every_Node_name(test_every_Node_at(nodes, 0)), "first"));
	EXPECT(ipc_str_equals(test_every_Node_name(test_every_Node_at(nodes, 2)), "other"));
	EXPECT(test_every_Node_weight(test_every_Node_at(nodes, 0)) == 0);
	EXPECT(test_every_Node_weight(test_every_Node_at(nodes, 1)) == 1);
	EXPECT(test_every_Node_weight(test_every_Node_at(nodes, 2)) == 2);
	return check_numbers(t);
}

static void write_odd(test_every_Odd_w *t)
{
	test_every_Odd_set_last_str(t, "last");
	test_every_Odd_set_ok_(t, true);
	test_every_Odd_set_root_(t, 5);
	test_every_Odd_set_int(t, -6);
	test_every_Odd_set_at_(t, u32s, 3);
}

static const char *check_odd(test_every_Odd t)
{
	EXPECT(ipc_str_equals(test_every_Odd_last(t), "last"));
	EXPECT(test_every_Odd_ok_(t) && test_every_Odd_has_ok_(t));
	EXPECT(test_every_Odd_root_(t) == 5);
	EXPECT(test_every_Odd_int(t) == -6);
	EXPECT(ipc_uint32_at(test_every_Odd_at_(t), 2) == UINT32_MAX);
	return NULL;
}

/* A list of three, whose second has two children. */
static void write_nodes(test_every_Node_w *first)
{
	test_every_Node_w second, third, child;
	test_every_Node_vec_w children;

	test_every_Node_set_name_str(first, "1");
	second = test_every_Node_new_next(first);
	test_every_Node_set_name_str(&second, "2");
	children = test_every_Node_new_children(&second, 2);
	child = test_every_Node_new_at(&children, 0);
	test_every_Node_set_name_str(&child, "2a");
	child = test_every_Node_new_at(&children, 1);
	test_every_Node_set_name_str(&child, "2b");
	third = test_every_Node_new_next(&second);
	test_every_Node_set_name_str(&third, "3");
	/* Fields of what is still open may come late. */
	test_every_Node_set_weight(&second, 22);
	test_every_Node_set_weight(first, 11);
}

static const char *check_nodes(test_every_Node first)
{
	const test_every_Node second = test_every_Node_next(first),
			      third = test_every_Node_next(second);
	const test_every_Node_vec children = test_every_Node_children(second);

	EXPECT(ipc_str_equals(test_every_Node_name(first), "1") &&
	       test_every_Node_weight(first) == 11);
	EXPECT(ipc_str_equals(test_every_Node_name(second), "2") &&
	       test_every_Node_weight(second) == 22);
	EXPECT(ipc_str_equals(test_every_Node_name(third), "3"));
	EXPECT(!test_every_Node_has_weight(third) && test_every_Node_weight(third) == 1);
	EXPECT(!test_every_Node_has_next(third));
	EXPECT(test_every_Node_vec_count(children) == 2);
	EXPECT(ipc_str_equals(test_every_Node_name(test_every_Node_at(children, 0)), "2a"));
	EXPECT(ipc_str_equals(test_every_Node_name(test_every_Node_at(children, 1)), "2b"));
	return NULL;
}

int every_write(struct ipc_writer *w, void *room, size_t bytes, size_t *size_bytes)
{
	test_every_Root_w root;
	test_every_Scalars_w scalars;
	test_every_Structs_w structs;
	test_every_Vectors_w vectors;
	test_every_Node_w node;
	test_every_Odd_w odd;

	ipc_writer_init(w, room, bytes);
	root = test_every_Root_start(w);
	scalars = test_every_Root_new_scalars(&root);
	write_scalars(&scalars);
	structs = test_every_Root_new_structs(&root);
	write_structs(&structs);
	vectors = test_every_Root_new_vectors(&root);
	write_vectors(&vectors);
	node = test_every_Root_new_node(&root);
	write_nodes(&node);
	odd = test_every_Root_new_odd(&root);
	write_odd(&odd);
	(void)test_every_Root_new_empty(&root);
	test_every_Root_set_text(&root, text, sizeof(text) - 1);
	return ipc_writer_finish(w, size_bytes);
}

const char *every_check(struct ipc_msg *msg)
{
	const test_every_Root root = test_every_Root_root(msg);
	const char *wrong;

	EXPECT(test_every_Root_has_identifier(msg));
	wrong = check_scalars(test_every_Root_scalars(root));
	if (!wrong)
		wrong = check_structs(test_every_Root_structs(root));
	if (!wrong)
		wrong = check_vectors(test_every_Root_vectors(root));
	if (!wrong)
		wrong = check_nodes(test_every_Root_node(root));
	if (!wrong)
		wrong = check_odd(test_every_Root_odd(root));
	if (wrong)
		return wrong;
	EXPECT(test_every_Root_has_empty(root));
	EXPECT(ipc_str_equals(test_every_Root_text(root), text));
	EXPECT(test_every_Root_verify(root));
	EXPECT(!msg->bad);
	return NULL;
}

void every_read(struct ipc_msg *msg)
{
	const test_every_Root root = test_every_Root_root(msg);
	const struct ipc_str s = test_every_Root_text(root);
	volatile unsigned char sink = 0;

	for (size_t i = 0; i < s.size_bytes; i++)
		sink = (unsigned char)(sink + (unsigned char)s.data[i]);
	(void)check_scalars(test_every_Root_scalars(root));
	(void)check_structs(test_every_Root_structs(root));
	(void)check_vectors(test_every_Root_vectors(root));
	(void)check_nodes(test_every_Root_node(root));
	(void)check_odd(test_every_Root_odd(root));
	(void)test_every_Root_verify(root);
}
