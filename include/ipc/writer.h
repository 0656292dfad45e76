/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Forward writers of FlatBuffers, for the code that ipc-gen writes.
 *
 * A message is built front to back straight into its room, which is never read: each table's inline
 * part first, in a layout that ipc-gen fixed, then its children, whose offsets are patched in. A
 * table's vtable follows when it is closed. The rule of nesting is JSON's: opening a child of a
 * table (a table, a vector) closes what was opened below that table before, and a closed table
 * takes no more fields. Errors are sticky; ipc_writer_finish() reports the first.
 *
 * Threads: a writer and its handles belong to one thread at a time. Nothing blocks.
 */
#ifndef IPC_WRITER_H
#define IPC_WRITER_H

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include <ipc/reader.h>
#include <ipc/types.h>

/* How deep tables may nest. */
#define IPC_WRITER_DEPTH 32
/* Distinct vtables that a writer remembers within a message. */
#define IPC_WRITER_VTABLES 16

/* A table's inline layout, as ipc-gen fixed it. */
struct ipc_shape {
	const uint16_t *offsets; /* by field id */
	uint64_t required;	 /* by field id */
	uint32_t table_bytes;
};

/* A table that is being written. */
struct ipc_open_table {
	uint64_t pos;
	uint64_t present; /* by field id */
	const struct ipc_shape *shape;
	uint32_t serial; /* what a handle must know to write to it */
};

struct ipc_vtable {
	const struct ipc_shape *shape;
	uint64_t present;
	uint64_t pos;
};

/* Private to these functions, but for error and needed_bytes, which may be read, and call. */
struct ipc_writer {
	uint8_t *room;
	uint64_t capacity;
	uint64_t used;	     /* counts on where the room has ended */
	uint64_t n_unset;    /* elements that vectors still wait for */
	size_t needed_bytes; /* set by ipc_writer_finish(): what the message takes */
	ipc_call *call;	     /* for stubs: the call that the room belongs to */
	int error;	     /* sticky: 0, -ENOBUFS or -EINVAL */
	uint32_t depth;	     /* tables open */
	uint32_t serial;     /* of the newest table */
	uint32_t n_vtables;  /* made so far */
	struct ipc_open_table open[IPC_WRITER_DEPTH];
	struct ipc_vtable vtables[IPC_WRITER_VTABLES]; /* the newest */
};

/* A vector of offsets or structs that is being written. Not to be copied: it counts. */
struct ipc_vec_w {
	struct ipc_writer *writer;
	uint64_t pos; /* of the first element */
	uint32_t count;
	uint32_t next;
	uint32_t depth; /* the table that it belongs to */
	uint32_t serial;
};

/**
 * ipc_writer_init() - start a message
 * @w:     a writer, in whatever state
 * @room:  where the message goes, aligned to 8 bytes; borrowed until the message is finished or
 * given up
 * @bytes: its size
 *
 * Handles of an earlier message are dead: using one is a bug that may go unnoticed.
 */
static inline void ipc_writer_init(struct ipc_writer *w, void *room, size_t bytes)
{
	w->room = (uint8_t *)room;
	w->capacity = bytes < IPC_BUFFER_MAX_BYTES ? bytes : IPC_BUFFER_MAX_BYTES;
	w->used = 0;
	w->n_unset = 0;
	w->needed_bytes = 0;
	w->call = NULL;
	w->error = (uintptr_t)room & 7 ? -EINVAL : 0;
	w->depth = 0;
	w->serial = 0;
	w->n_vtables = 0;
}

static inline void ipc_writer_fail(struct ipc_writer *w, int error)
{
	if (!w->error)
		w->error = error;
}

/*
 * Takes room for @size bytes, such that what follows the first four is aligned to @align: every
 * item of a FlatBuffer starts with four bytes of its own (a size, a count, an offset) or is only
 * aligned to 2. The padding before it is zeroed. Without room it counts on, and the caller writes
 * nothing.
 */
static inline uint64_t ipc_writer_take(struct ipc_writer *w, uint64_t size, uint32_t align)
{
	const uint64_t mask = align - 1, most = UINT64_C(1) << 62;
	const uint64_t pos = ((w->used + 4 + mask) & ~mask) - 4;
	const uint64_t end = pos + size;

	if (end > w->capacity) {
		ipc_writer_fail(w, -ENOBUFS);
	} else if (w->used + 8 <= w->capacity) {
		/* One store instead of a loop: what lies behind the padding is yet to be written.
		 */
		memset(w->room + w->used, 0, 8);
	} else {
		for (uint64_t i = w->used; i < pos; i++)
			w->room[i] = 0;
	}
	w->used = end < most ? end : most;
	return pos;
}

static inline void ipc_writer_put16(struct ipc_writer *w, uint64_t pos, uint16_t value)
{
	memcpy(w->room + pos, &value, sizeof(value));
}

static inline void ipc_writer_put32(struct ipc_writer *w, uint64_t pos, uint32_t value)
{
	memcpy(w->room + pos, &value, sizeof(value));
}

/* The vtable for a shape with just these fields present: one of this message's, else a new one. */
static inline uint64_t ipc_writer_vtable(struct ipc_writer *w, const struct ipc_shape *shape,
					 uint64_t present)
{
	const uint32_t n_known = w->n_vtables < IPC_WRITER_VTABLES ? w->n_vtables
								   : IPC_WRITER_VTABLES;
	uint32_t n_fields = present ? 64 - (uint32_t)__builtin_clzll(present) : 0;
	struct ipc_vtable *vtable;

	for (uint32_t i = 0; i < n_known; i++) {
		vtable = &w->vtables[i];
		if (vtable->shape == shape && vtable->present == present)
			return vtable->pos;
	}
	vtable = &w->vtables[w->n_vtables++ % IPC_WRITER_VTABLES];
	vtable->shape = shape;
	vtable->present = present;
	vtable->pos = ipc_writer_take(w, 4 + 2 * (uint64_t)n_fields, 2);
	if (w->error)
		return vtable->pos;
	ipc_writer_put16(w, vtable->pos, (uint16_t)(4 + 2 * n_fields));
	ipc_writer_put16(w, vtable->pos + 2, (uint16_t)shape->table_bytes);
	for (uint32_t i = 0; i < n_fields; i++)
		ipc_writer_put16(w, vtable->pos + 4 + 2 * (uint64_t)i,
				 present >> i & 1 ? shape->offsets[i] : (uint16_t)0);
	return vtable->pos;
}

/* Closes the tables that are open at @depth and deeper. */
static inline void ipc_writer_close(struct ipc_writer *w, uint32_t depth)
{
	while (w->depth > depth) {
		const struct ipc_open_table *t = &w->open[--w->depth];
		uint64_t vtable = ipc_writer_vtable(w, t->shape, t->present);

		if (t->shape->required & ~t->present)
			ipc_writer_fail(w, -EINVAL);
		if (!w->error)
			ipc_writer_put32(w, t->pos, (uint32_t)(t->pos - vtable));
	}
}

/* Opens a table at @depth, zeroed; its serial is w->serial. Fails where that is too deep. */
static inline uint64_t ipc_writer_open(struct ipc_writer *w, uint32_t depth,
				       const struct ipc_shape *shape, uint32_t table_bytes,
				       uint32_t align)
{
	struct ipc_open_table *t;
	uint64_t pos;

	ipc_writer_close(w, depth);
	w->serial++;
	if (depth >= IPC_WRITER_DEPTH) {
		ipc_writer_fail(w, -EINVAL);
		return 0;
	}
	pos = ipc_writer_take(w, table_bytes, align);
	if (!w->error)
		memset(w->room + pos, 0, table_bytes);
	t = &w->open[depth];
	t->pos = pos;
	t->present = 0;
	t->shape = shape;
	t->serial = w->serial;
	w->depth = depth + 1;
	return pos;
}

/* The root; @ident is four characters, or NULL. Its depth is 0 and its serial w->serial. */
static inline void ipc_writer_root(struct ipc_writer *w, const struct ipc_shape *shape,
				   uint32_t table_bytes, uint32_t align, const char *ident)
{
	uint64_t pos;

	if (w->used)
		ipc_writer_fail(w, -EINVAL);
	(void)ipc_writer_take(w, ident ? 8 : 4, 4);
	if (!w->error && ident)
		memcpy(w->room + 4, ident, 4);
	pos = ipc_writer_open(w, 0, shape, table_bytes, align);
	if (!w->error)
		ipc_writer_put32(w, 0, (uint32_t)pos);
}

/* The open table that a handle means; NULL, and the writer fails, where it was closed. */
static inline struct ipc_open_table *ipc_writer_find(struct ipc_writer *w, uint32_t depth,
						     uint32_t serial)
{
	if (depth < w->depth && w->open[depth].serial == serial)
		return &w->open[depth];
	ipc_writer_fail(w, -EINVAL);
	return NULL;
}

/* Marks a field, and says where its value goes; NULL where it goes nowhere. */
static inline uint8_t *ipc_writer_field(struct ipc_writer *w, uint32_t depth, uint32_t serial,
					uint32_t id, uint32_t offset, bool present)
{
	struct ipc_open_table *t = ipc_writer_find(w, depth, serial);

	if (!t)
		return NULL;
	t->present |= (uint64_t)present << id;
	return w->error ? NULL : w->room + t->pos + offset;
}

/* Points the field at the item at @pos. */
static inline void ipc_writer_link(struct ipc_writer *w, uint32_t depth, uint32_t serial,
				   uint32_t id, uint32_t offset, uint64_t pos)
{
	uint8_t *at = ipc_writer_field(w, depth, serial, id, offset, true);

	if (at)
		ipc_writer_put32(w, (uint64_t)(at - w->room),
				 (uint32_t)(pos - (uint64_t)(at - w->room)));
}

static inline uint64_t ipc_writer_put_str(struct ipc_writer *w, const char *data, size_t n)
{
	const uint64_t bytes = n <= IPC_BUFFER_MAX_BYTES ? n : (uint64_t)IPC_BUFFER_MAX_BYTES + 1;
	const uint64_t pos = ipc_writer_take(w, 4 + bytes + 1, 4);

	if (w->error)
		return pos;
	ipc_writer_put32(w, pos, (uint32_t)n);
	if (n)
		memcpy(w->room + pos + 4, data, n);
	w->room[pos + 4 + n] = 0;
	return pos;
}

static inline void ipc_writer_set_str(struct ipc_writer *w, uint32_t depth, uint32_t serial,
				      uint32_t id, uint32_t offset, const char *data, size_t n)
{
	ipc_writer_link(w, depth, serial, id, offset, ipc_writer_put_str(w, data, n));
}

/* Takes a vector: its count, and room for its elements, not zeroed. */
static inline uint64_t ipc_writer_put_vec(struct ipc_writer *w, size_t n, uint32_t size,
					  uint32_t align)
{
	const uint64_t count = n <= IPC_BUFFER_MAX_BYTES ? n : (uint64_t)IPC_BUFFER_MAX_BYTES + 1;
	const uint64_t pos = ipc_writer_take(w, 4 + count * size, align);

	if (!w->error)
		ipc_writer_put32(w, pos, (uint32_t)n);
	return pos;
}

/* A vector of plain scalars; @data NULL leaves zeroes. Says where the elements are; NULL without
 * room. */
static inline void *ipc_writer_set_vec(struct ipc_writer *w, uint32_t depth, uint32_t serial,
				       uint32_t id, uint32_t offset, const void *data, size_t n,
				       uint32_t size)
{
	const uint64_t pos = ipc_writer_put_vec(w, n, size, size < 4 ? 4 : size);

	ipc_writer_link(w, depth, serial, id, offset, pos);
	if (w->error)
		return NULL;
	if (!data)
		memset(w->room + pos + 4, 0, n * size);
	else if (n)
		memcpy(w->room + pos + 4, data, n * size);
	return w->room + pos + 4;
}

/* A vector whose elements are set one after the other. */
static inline struct ipc_vec_w ipc_writer_new_vec(struct ipc_writer *w, uint32_t depth,
						  uint32_t serial, uint32_t id, uint32_t offset,
						  size_t n, uint32_t size, uint32_t align)
{
	struct ipc_vec_w v = {w, 0, (uint32_t)n, 0, depth, serial};

	if (ipc_writer_find(w, depth, serial))
		ipc_writer_close(w, depth + 1);
	v.pos = ipc_writer_put_vec(w, n, size, align) + 4;
	w->n_unset += n;
	ipc_writer_link(w, depth, serial, id, offset, v.pos - 4);
	return v;
}

/* The next element must be @i, and its vector's table open. False: nothing may be written. */
static inline bool ipc_vec_w_next(struct ipc_vec_w *v, size_t i)
{
	if (i != v->next || i >= v->count || !ipc_writer_find(v->writer, v->depth, v->serial)) {
		ipc_writer_fail(v->writer, -EINVAL);
		return false;
	}
	v->next++;
	v->writer->n_unset--;
	return true;
}

static inline void ipc_vec_w_link(struct ipc_vec_w *v, size_t i, uint64_t pos)
{
	const uint64_t at = v->pos + 4 * (uint64_t)i;

	if (!v->writer->error)
		ipc_writer_put32(v->writer, at, (uint32_t)(pos - at));
}

/* A table in a field. */
static inline void ipc_writer_new_table(struct ipc_writer *w, uint32_t depth, uint32_t serial,
					uint32_t id, uint32_t offset, const struct ipc_shape *shape,
					uint32_t table_bytes, uint32_t align)
{
	uint64_t pos = ipc_writer_find(w, depth, serial)
			       ? ipc_writer_open(w, depth + 1, shape, table_bytes, align)
			       : 0;

	ipc_writer_link(w, depth, serial, id, offset, pos);
}

/* A table as the next element of a vector. */
static inline void ipc_vec_w_new_table(struct ipc_vec_w *v, size_t i, const struct ipc_shape *shape,
				       uint32_t table_bytes, uint32_t align)
{
	if (ipc_vec_w_next(v, i))
		ipc_vec_w_link(v, i,
			       ipc_writer_open(v->writer, v->depth + 1, shape, table_bytes, align));
}

typedef struct ipc_str_vec_w {
	struct ipc_vec_w vec;
} ipc_str_vec_w;

/* The strings of a vector, from the first to the last. */
static inline void ipc_str_set_at(ipc_str_vec_w *v, size_t i, const char *data, size_t n)
{
	if (ipc_vec_w_next(&v->vec, i))
		ipc_vec_w_link(&v->vec, i, ipc_writer_put_str(v->vec.writer, data, n));
}

/**
 * ipc_writer_finish() - end a message
 * @w:          a writer with a root
 * @size_bytes: the message's size, set on success
 *
 * Closes what is open. In any case w->needed_bytes says afterwards how much room the message takes.
 *
 * Return: 0; -ENOBUFS the room was too small; -EINVAL a required field is missing, an element of a
 * vector was not set, in another order, or twice, a closed table was written to, or tables nest too
 * deep.
 */
static inline int ipc_writer_finish(struct ipc_writer *w, size_t *size_bytes)
{
	ipc_writer_close(w, 0);
	if (w->n_unset || !w->serial)
		ipc_writer_fail(w, -EINVAL);
	w->needed_bytes = (size_t)w->used;
	if (w->error < 0)
		return w->error;
	*size_bytes = (size_t)w->used;
	return 0;
}

#endif
