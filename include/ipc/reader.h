/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checked readers of FlatBuffers, for the code that ipc-gen writes.
 *
 * The bytes may be malformed, and may change at any time while they are read. A handle is a value
 * that holds checked positions; every offset is loaded once into a local, checked against private
 * numbers in 64-bit arithmetic, then used, and never loaded again. Malformed bytes read as the
 * field's default and set the message's sticky `bad`. Two reads of one field may differ where the
 * message lies in place (IPC_MSG_IN_PLACE): decide on one.
 *
 * Threads: a message and its handles belong to one thread at a time. Nothing blocks.
 */
#ifndef IPC_READER_H
#define IPC_READER_H

#include <stdbool.h>
#include <string.h>

#include <ipc/message.h>
#include <ipc/types.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "FlatBuffers are little-endian, and so must be the host"
#endif

/* Nothing larger is a message: FlatBuffers' offsets are signed in places. */
#define IPC_BUFFER_MAX_BYTES INT32_MAX
/* How deep a message is walked. */
#define IPC_WALK_DEPTH 64

/* Text in a message: not NUL-terminated, UTF-8 only if the sender says the truth. data is never
 * NULL. */
struct ipc_str {
	const char *data;
	size_t size_bytes;
};

/* A table in a message. An absent or malformed one has vtable_bytes 0: all its fields are absent.
 */
struct ipc_table {
	struct ipc_msg *msg;
	uint32_t pos;
	uint32_t vtable;
	uint16_t vtable_bytes;
	uint16_t table_bytes;
};

/* A vector in a message; pos is its first element's. An absent or malformed one has no elements. */
struct ipc_vec {
	struct ipc_msg *msg;
	uint32_t pos;
	uint32_t count;
};

/* What a walk over a whole message may still cost. */
struct ipc_walk {
	uint32_t n_nodes;
	uint32_t depth;
};

typedef uint8_t __attribute__((__may_alias__)) ipc_alias8;
typedef uint16_t __attribute__((__may_alias__)) ipc_alias16;
typedef uint32_t __attribute__((__may_alias__)) ipc_alias32;
typedef uint64_t __attribute__((__may_alias__)) ipc_alias64;

/*
 * One relaxed load each, from a position that was checked to be inside and aligned. Relaxed: the
 * message was published before it was delivered; what its sole writer changes later is only ever
 * checked for sanity.
 */
static inline uint8_t ipc_load_uint8(const struct ipc_msg *msg, uint32_t pos)
{
	const void *at = (const char *)msg->data + pos;

	return __atomic_load_n((const ipc_alias8 *)at, __ATOMIC_RELAXED);
}

static inline uint16_t ipc_load_uint16(const struct ipc_msg *msg, uint32_t pos)
{
	const void *at = (const char *)msg->data + pos;

	return __atomic_load_n((const ipc_alias16 *)at, __ATOMIC_RELAXED);
}

static inline uint32_t ipc_load_uint32(const struct ipc_msg *msg, uint32_t pos)
{
	const void *at = (const char *)msg->data + pos;

	return __atomic_load_n((const ipc_alias32 *)at, __ATOMIC_RELAXED);
}

static inline uint64_t ipc_load_uint64(const struct ipc_msg *msg, uint32_t pos)
{
	const void *at = (const char *)msg->data + pos;

	return __atomic_load_n((const ipc_alias64 *)at, __ATOMIC_RELAXED);
}

static inline bool ipc_load_bool(const struct ipc_msg *msg, uint32_t pos)
{
	return ipc_load_uint8(msg, pos) != 0;
}

static inline int8_t ipc_load_int8(const struct ipc_msg *msg, uint32_t pos)
{
	return (int8_t)ipc_load_uint8(msg, pos);
}

static inline int16_t ipc_load_int16(const struct ipc_msg *msg, uint32_t pos)
{
	return (int16_t)ipc_load_uint16(msg, pos);
}

static inline int32_t ipc_load_int32(const struct ipc_msg *msg, uint32_t pos)
{
	return (int32_t)ipc_load_uint32(msg, pos);
}

static inline int64_t ipc_load_int64(const struct ipc_msg *msg, uint32_t pos)
{
	return (int64_t)ipc_load_uint64(msg, pos);
}

static inline float ipc_float_of(uint32_t bits)
{
	float value;

	memcpy(&value, &bits, sizeof(value));
	return value;
}

static inline double ipc_double_of(uint64_t bits)
{
	double value;

	memcpy(&value, &bits, sizeof(value));
	return value;
}

static inline uint32_t ipc_float_bits(float value)
{
	uint32_t bits;

	memcpy(&bits, &value, sizeof(bits));
	return bits;
}

static inline uint64_t ipc_double_bits(double value)
{
	uint64_t bits;

	memcpy(&bits, &value, sizeof(bits));
	return bits;
}

static inline float ipc_load_float(const struct ipc_msg *msg, uint32_t pos)
{
	return ipc_float_of(ipc_load_uint32(msg, pos));
}

static inline double ipc_load_double(const struct ipc_msg *msg, uint32_t pos)
{
	return ipc_double_of(ipc_load_uint64(msg, pos));
}

/**
 * ipc_msg_from() - bytes that are no message of a channel, for the readers
 * @data:       a FlatBuffer, aligned to 8 bytes; borrowed for as long as the result and its handles
 * are used
 * @size_bytes: its size
 *
 * Return: a message; one with `bad` set and nothing in it where @data is not aligned.
 */
static inline struct ipc_msg ipc_msg_from(const void *data, size_t size_bytes)
{
	struct ipc_msg msg;

	memset(&msg, 0, sizeof(msg));
	msg.data = data;
	msg.size_bytes = size_bytes;
	if ((uintptr_t)data & 7) {
		msg.size_bytes = 0;
		msg.bad = 1;
	}
	return msg;
}

static inline struct ipc_table ipc_table_none(struct ipc_msg *msg)
{
	struct ipc_table t = {msg, 0, 0, 0, 0};

	return t;
}

/* The table at @pos, which may be any number. */
static inline struct ipc_table ipc_table_open(struct ipc_msg *msg, uint32_t pos)
{
	const uint64_t size = msg->size_bytes;
	struct ipc_table t = {msg, pos, 0, 0, 0};
	uint16_t vtable_bytes, table_bytes;
	int64_t vtable;

	if (pos == 0 || (pos & 3) || (uint64_t)pos + 4 > size)
		goto bad;
	vtable = (int64_t)pos - ipc_load_int32(msg, pos);
	if (vtable < 0 || (vtable & 1) || (uint64_t)vtable + 4 > size)
		goto bad;
	t.vtable = (uint32_t)vtable;
	vtable_bytes = ipc_load_uint16(msg, t.vtable);
	table_bytes = ipc_load_uint16(msg, t.vtable + 2);
	if (vtable_bytes < 4 || (uint64_t)vtable + vtable_bytes > size)
		goto bad;
	if (table_bytes < 4 || (uint64_t)pos + table_bytes > size)
		goto bad;
	t.vtable_bytes = vtable_bytes;
	t.table_bytes = table_bytes;
	return t;
bad:
	msg->bad = 1;
	return ipc_table_none(msg);
}

static inline struct ipc_table ipc_table_root(struct ipc_msg *msg)
{
	if (msg->size_bytes < 8 || msg->size_bytes > IPC_BUFFER_MAX_BYTES) {
		msg->bad = 1;
		return ipc_table_none(msg);
	}
	return ipc_table_open(msg, ipc_load_uint32(msg, 0));
}

/* Where field @id, of @size bytes, lies; 0 where it is absent or malformed. */
static inline uint32_t ipc_table_field(struct ipc_table t, uint32_t id, uint32_t size,
				       uint32_t align)
{
	const uint32_t slot = 4 + 2 * id;
	uint32_t offset;

	if (slot + 2 > t.vtable_bytes)
		return 0;
	offset = ipc_load_uint16(t.msg, t.vtable + slot);
	if (offset == 0)
		return 0;
	if (offset < 4 || offset + size > t.table_bytes || ((t.pos + offset) & (align - 1))) {
		t.msg->bad = 1;
		return 0;
	}
	return t.pos + offset;
}

/* The same for a field that must be there. */
static inline uint32_t ipc_table_required(struct ipc_table t, uint32_t id, uint32_t size, uint32_t align)
{
	uint32_t at = ipc_table_field(t, id, size, align);

	if (!at && t.vtable_bytes)
		t.msg->bad = 1;
	return at;
}

/* Where the offset at @at leads, with at least four bytes there; 0 where it is malformed. */
static inline uint32_t ipc_follow(struct ipc_msg *msg, uint32_t at)
{
	const uint64_t offset = ipc_load_uint32(msg, at);
	const uint64_t target = at + offset;

	if (offset == 0 || (target & 3) || target + 4 > msg->size_bytes) {
		msg->bad = 1;
		return 0;
	}
	return (uint32_t)target;
}

/* What the offset at @at leads to; @at 0 is an absent field. */
static inline struct ipc_table ipc_follow_table(struct ipc_msg *msg, uint32_t at)
{
	uint32_t pos = at ? ipc_follow(msg, at) : 0;

	return pos ? ipc_table_open(msg, pos) : ipc_table_none(msg);
}

static inline struct ipc_str ipc_follow_str(struct ipc_msg *msg, uint32_t at)
{
	struct ipc_str s = {"", 0};
	uint32_t pos = at ? ipc_follow(msg, at) : 0;
	uint32_t n;

	if (!pos)
		return s;
	n = ipc_load_uint32(msg, pos);
	if ((uint64_t)pos + 4 + n > msg->size_bytes) {
		msg->bad = 1;
		return s;
	}
	s.data = (const char *)msg->data + pos + 4;
	s.size_bytes = n;
	return s;
}

static inline struct ipc_vec ipc_follow_vec(struct ipc_msg *msg, uint32_t at, uint32_t size,
					    uint32_t align)
{
	struct ipc_vec v = {msg, 0, 0};
	uint32_t pos = at ? ipc_follow(msg, at) : 0;
	uint32_t n;

	if (!pos)
		return v;
	n = ipc_load_uint32(msg, pos);
	if (n == 0)
		return v;
	pos += 4;
	if (pos + (uint64_t)n * size > msg->size_bytes || (pos & (align - 1))) {
		msg->bad = 1;
		return v;
	}
	v.pos = pos;
	v.count = n;
	return v;
}

/* Where element @i lies; 0, and the message is bad, where there is none. */
static inline uint32_t ipc_vec_element(struct ipc_vec v, size_t i, uint32_t size)
{
	if (i >= v.count) {
		v.msg->bad = 1;
		return 0;
	}
	return v.pos + (uint32_t)i * size;
}

typedef struct ipc_bool_vec {
	struct ipc_vec vec;
} ipc_bool_vec;

static inline size_t ipc_bool_vec_count(ipc_bool_vec v)
{
	return v.vec.count;
}

static inline bool ipc_bool_at(ipc_bool_vec v, size_t i)
{
	uint32_t at = ipc_vec_element(v.vec, i, 1);

	return at ? ipc_load_bool(v.vec.msg, at) : false;
}

typedef struct ipc_int8_vec {
	struct ipc_vec vec;
} ipc_int8_vec;

static inline size_t ipc_int8_vec_count(ipc_int8_vec v)
{
	return v.vec.count;
}

static inline int8_t ipc_int8_at(ipc_int8_vec v, size_t i)
{
	uint32_t at = ipc_vec_element(v.vec, i, 1);

	return at ? ipc_load_int8(v.vec.msg, at) : 0;
}

typedef struct ipc_uint8_vec {
	struct ipc_vec vec;
} ipc_uint8_vec;

static inline size_t ipc_uint8_vec_count(ipc_uint8_vec v)
{
	return v.vec.count;
}

static inline uint8_t ipc_uint8_at(ipc_uint8_vec v, size_t i)
{
	uint32_t at = ipc_vec_element(v.vec, i, 1);

	return at ? ipc_load_uint8(v.vec.msg, at) : 0;
}

typedef struct ipc_int16_vec {
	struct ipc_vec vec;
} ipc_int16_vec;

static inline size_t ipc_int16_vec_count(ipc_int16_vec v)
{
	return v.vec.count;
}

static inline int16_t ipc_int16_at(ipc_int16_vec v, size_t i)
{
	uint32_t at = ipc_vec_element(v.vec, i, 2);

	return at ? ipc_load_int16(v.vec.msg, at) : 0;
}

typedef struct ipc_uint16_vec {
	struct ipc_vec vec;
} ipc_uint16_vec;

static inline size_t ipc_uint16_vec_count(ipc_uint16_vec v)
{
	return v.vec.count;
}

static inline uint16_t ipc_uint16_at(ipc_uint16_vec v, size_t i)
{
	uint32_t at = ipc_vec_element(v.vec, i, 2);

	return at ? ipc_load_uint16(v.vec.msg, at) : 0;
}

typedef struct ipc_int32_vec {
	struct ipc_vec vec;
} ipc_int32_vec;

static inline size_t ipc_int32_vec_count(ipc_int32_vec v)
{
	return v.vec.count;
}

static inline int32_t ipc_int32_at(ipc_int32_vec v, size_t i)
{
	uint32_t at = ipc_vec_element(v.vec, i, 4);

	return at ? ipc_load_int32(v.vec.msg, at) : 0;
}

typedef struct ipc_uint32_vec {
	struct ipc_vec vec;
} ipc_uint32_vec;

static inline size_t ipc_uint32_vec_count(ipc_uint32_vec v)
{
	return v.vec.count;
}

static inline uint32_t ipc_uint32_at(ipc_uint32_vec v, size_t i)
{
	uint32_t at = ipc_vec_element(v.vec, i, 4);

	return at ? ipc_load_uint32(v.vec.msg, at) : 0;
}

typedef struct ipc_int64_vec {
	struct ipc_vec vec;
} ipc_int64_vec;

static inline size_t ipc_int64_vec_count(ipc_int64_vec v)
{
	return v.vec.count;
}

static inline int64_t ipc_int64_at(ipc_int64_vec v, size_t i)
{
	uint32_t at = ipc_vec_element(v.vec, i, 8);

	return at ? ipc_load_int64(v.vec.msg, at) : 0;
}

typedef struct ipc_uint64_vec {
	struct ipc_vec vec;
} ipc_uint64_vec;

static inline size_t ipc_uint64_vec_count(ipc_uint64_vec v)
{
	return v.vec.count;
}

static inline uint64_t ipc_uint64_at(ipc_uint64_vec v, size_t i)
{
	uint32_t at = ipc_vec_element(v.vec, i, 8);

	return at ? ipc_load_uint64(v.vec.msg, at) : 0;
}

typedef struct ipc_float_vec {
	struct ipc_vec vec;
} ipc_float_vec;

static inline size_t ipc_float_vec_count(ipc_float_vec v)
{
	return v.vec.count;
}

static inline float ipc_float_at(ipc_float_vec v, size_t i)
{
	uint32_t at = ipc_vec_element(v.vec, i, 4);

	return at ? ipc_load_float(v.vec.msg, at) : 0;
}

typedef struct ipc_double_vec {
	struct ipc_vec vec;
} ipc_double_vec;

static inline size_t ipc_double_vec_count(ipc_double_vec v)
{
	return v.vec.count;
}

static inline double ipc_double_at(ipc_double_vec v, size_t i)
{
	uint32_t at = ipc_vec_element(v.vec, i, 8);

	return at ? ipc_load_double(v.vec.msg, at) : 0;
}

typedef struct ipc_str_vec {
	struct ipc_vec vec;
} ipc_str_vec;

static inline size_t ipc_str_vec_count(ipc_str_vec v)
{
	return v.vec.count;
}

static inline struct ipc_str ipc_str_at(ipc_str_vec v, size_t i)
{
	return ipc_follow_str(v.vec.msg, ipc_vec_element(v.vec, i, 4));
}

/* Whether @s is the C string @text. */
static inline bool ipc_str_equals(struct ipc_str s, const char *text)
{
	size_t n = strlen(text);

	return n == s.size_bytes && memcmp(s.data, text, n) == 0;
}

/* Copies @s to @ret as a C string. False, and @ret is untouched, where it does not fit. */
static inline bool ipc_str_copy(struct ipc_str s, char *ret, size_t size_bytes)
{
	if (s.size_bytes >= size_bytes)
		return false;
	memcpy(ret, s.data, s.size_bytes);
	ret[s.size_bytes] = '\0';
	return true;
}

/*
 * A walk reads everything that a message holds, so that afterwards `bad` speaks for all of it. Its
 * cost is bounded by the message's size, however its offsets fan out: no honest writer makes more
 * nodes than bytes.
 */
static inline struct ipc_walk ipc_walk_init(const struct ipc_msg *msg)
{
	struct ipc_walk walk = {(uint32_t)msg->size_bytes, 0};

	return walk;
}

static inline bool ipc_walk_node(struct ipc_walk *walk, struct ipc_msg *msg)
{
	if (walk->n_nodes == 0) {
		msg->bad = 1;
		return false;
	}
	walk->n_nodes--;
	return true;
}

/* True: walk the table's fields, then lower walk->depth again. */
static inline bool ipc_walk_enter(struct ipc_walk *walk, struct ipc_table t)
{
	if (!t.vtable_bytes || t.msg->bad || !ipc_walk_node(walk, t.msg))
		return false;
	if (walk->depth == IPC_WALK_DEPTH) {
		t.msg->bad = 1;
		return false;
	}
	walk->depth++;
	return true;
}

static inline void ipc_walk_strs(struct ipc_walk *walk, ipc_str_vec v)
{
	for (size_t i = 0; i < v.vec.count && ipc_walk_node(walk, v.vec.msg); i++)
		(void)ipc_str_at(v, i);
}

#endif
