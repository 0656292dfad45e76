/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A peer that owns its half and writes anything into it, at any moment. Its half is seen here as it
 * is in life, read-only and with the ring twice in a row, but between pages that cannot be touched:
 * whatever reads beside it dies. Each look must end in nothing, a view that lies within the
 * mapping, or -EPROTO; and nothing the peer writes may move a private cursor but by a frame that
 * could be.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <criterion/criterion.h>

#include "signal.h"

#define RING 4096u
#define OFFSET 4096u
#define LINE IPCI_LINE_BYTES
#define PAYLOAD_MAX (RING / 2 - 4 * LINE)
#define GUARD 65536u

struct world {
	uint8_t *peer;	     /* its half, as it writes it: control page and ring */
	uint8_t *area;	     /* guard, control page, ring, ring, guard */
	const uint8_t *seen; /* what is seen of it: read-only, in the middle of the area */
	uint8_t *own;	     /* this side's half, ring twice in a row */
	struct ipci_control *peer_control;
	struct ipci_consumer rx;
	struct ipci_producer tx;
	uint64_t seed;
	pthread_t writer; /* the peer, when it writes by itself */
	bool writes;
	atomic_bool done;
};

static struct world w;

static uint64_t draw(uint64_t *seed)
{
	uint64_t z = *seed += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static void map_at(uint8_t *at, size_t bytes, int protection, int fd, off_t from)
{
	cr_assert_eq(mmap(at, bytes, protection, MAP_SHARED | MAP_FIXED, fd, from), at);
}

static uint8_t *reserve(size_t bytes)
{
	void *at = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	cr_assert_neq(at, MAP_FAILED);
	return at;
}

static int half_fd(void)
{
	int fd = memfd_create("half", MFD_CLOEXEC);

	cr_assert_geq(fd, 0);
	cr_assert_eq(ftruncate(fd, OFFSET + RING), 0);
	return fd;
}

static void set_up(void)
{
	int fd = half_fd(), own_fd = half_fd();

	w.peer = reserve(OFFSET + RING);
	map_at(w.peer, OFFSET + RING, PROT_READ | PROT_WRITE, fd, 0);
	w.area = reserve(GUARD + OFFSET + 2 * RING + GUARD);
	map_at(w.area + GUARD, OFFSET + RING, PROT_READ, fd, 0);
	map_at(w.area + GUARD + OFFSET + RING, RING, PROT_READ, fd, OFFSET);
	w.seen = w.area + GUARD;
	w.own = reserve(OFFSET + 2 * RING + GUARD);
	map_at(w.own, OFFSET + RING, PROT_READ | PROT_WRITE, own_fd, 0);
	map_at(w.own + OFFSET + RING, RING, PROT_READ | PROT_WRITE, own_fd, OFFSET);
	w.peer_control = (struct ipci_control *)(void *)w.peer;
	ipci_producer_init(&w.tx, w.own, w.seen, OFFSET, RING);
	ipci_consumer_init(&w.rx, w.own, w.seen, OFFSET, RING);
	w.seed = 1;
	(void)close(fd);
	(void)close(own_fd);
}

static void start_peer(void *(*run)(void *), void *arg)
{
	cr_assert_eq(pthread_create(&w.writer, NULL, run, arg), 0);
	w.writes = true;
}

static void stop_peer(void)
{
	atomic_store(&w.done, true);
	if (w.writes)
		(void)pthread_join(w.writer, NULL);
	w.writes = false;
}

static void tear_down(void)
{
	stop_peer();
	ipci_consumer_deinit(&w.rx);
	(void)munmap(w.peer, OFFSET + RING);
	(void)munmap(w.area, GUARD + OFFSET + 2 * RING + GUARD);
	(void)munmap(w.own, OFFSET + 2 * RING + GUARD);
}

TestSuite(frames, .init = set_up, .fini = tear_down, .timeout = 60);

/* Where the peer knows that it is looked at. */
static struct ipci_frame *next_frame(void)
{
	return (struct ipci_frame *)(void *)(w.peer + OFFSET + w.rx.tail % RING);
}

/* Sets the private cursor to a line, as if all before had been consumed. */
static void look_at_line(uint64_t line)
{
	w.rx.tail = w.rx.published = line * LINE;
}

/* A view is good if all of it lies within what is mapped, and no frame goes further than the ring
 * is long. */
static void check_view(const struct ipci_view *view)
{
	const uint8_t *ring = w.seen + OFFSET, *frame = ring + w.rx.tail % RING;
	const uint32_t ext_bytes = ipci_ext_bytes(view->kind);

	cr_assert_eq(view->kind & ~(uint32_t)(IPCI_KIND_MASK | IPCI_EXT_KNOWN), 0);
	cr_assert_eq(view->ext, frame + sizeof(struct ipci_frame));
	cr_assert_eq(view->payload, view->ext + ext_bytes);
	cr_assert_eq(view->frame_bytes % LINE, 0);
	cr_assert_leq(view->frame_bytes, RING - LINE);
	cr_assert_leq(view->payload + view->payload_bytes, frame + view->frame_bytes);
	cr_assert_leq(frame + view->frame_bytes, ring + 2 * RING);
	if (view->kind != IPCI_KIND_PADDING)
		cr_assert_leq(view->payload_bytes, PAYLOAD_MAX);
}

/* Reads all that a view promises; the guards and the sanitizers watch. */
static void read_view(const struct ipci_view *view)
{
	static _Alignas(16) uint8_t copy[RING];

	ipci_snapshot(copy, view->payload, view->payload_bytes);
	ipci_snapshot(copy, view->ext, ipci_ext_bytes(view->kind));
}

Test(frames, every_length_at_every_line_is_a_bounded_view_or_eproto)
{
	struct ipci_view view;

	for (uint64_t line = 0; line < RING / LINE; line++) {
		look_at_line(line);
		for (uint32_t commit = 0; commit < 2 * RING; commit++) {
			const bool padding = commit % 2;
			const uint32_t most = padding ? RING - LINE - 16 : PAYLOAD_MAX;
			int r;

			next_frame()->kind = padding ? IPCI_KIND_PADDING
						     : IPCI_KIND_REQUEST | IPCI_EXT_KNOWN;
			atomic_store_explicit(&next_frame()->commit, commit, memory_order_relaxed);
			r = ipci_consumer_peek(&w.rx, &view);
			cr_assert_eq(r, commit == 0 ? 0 : commit - 1 <= most ? 1 : -EPROTO);
			if (r == 1) {
				check_view(&view);
				read_view(&view);
			}
		}
		memset(w.peer + OFFSET, 0, RING);
	}
}

Test(frames, the_largest_lengths_are_eproto)
{
	struct ipci_view view;

	for (unsigned bit = 13; bit < 32; bit++) {
		for (int delta = -2; delta <= 2; delta++) {
			atomic_store(&next_frame()->commit, (1u << bit) + (uint32_t)delta);
			for (uint16_t kind = 0; kind <= IPCI_KIND_MOVED; kind++) {
				next_frame()->kind = kind;
				cr_assert_eq(ipci_consumer_peek(&w.rx, &view), -EPROTO);
			}
		}
	}
	atomic_store(&next_frame()->commit, UINT32_MAX);
	cr_assert_eq(ipci_consumer_peek(&w.rx, &view), -EPROTO);
}

Test(frames, every_kind_with_all_bits_is_a_bounded_view_or_eproto)
{
	static const uint32_t commits[] = {1, 2, PAYLOAD_MAX + 1, PAYLOAD_MAX + 2, UINT32_MAX};
	struct ipci_view view;

	look_at_line(RING / LINE - 1);
	for (uint32_t kind = 0; kind <= UINT16_MAX; kind++) {
		for (unsigned i = 0; i < sizeof(commits) / sizeof(commits[0]); i++) {
			bool possible = !(kind & ~(uint32_t)(IPCI_KIND_MASK | IPCI_EXT_KNOWN)) &&
					(i < 3 || (i == 3 && kind == IPCI_KIND_PADDING));

			next_frame()->kind = (uint16_t)kind;
			atomic_store_explicit(&next_frame()->commit, commits[i],
					      memory_order_relaxed);
			cr_assert_eq(ipci_consumer_peek(&w.rx, &view), possible ? 1 : -EPROTO,
				     "kind %#x", kind);
			if (possible) {
				check_view(&view);
				read_view(&view);
			}
		}
	}
}

/* ── anything, at any place ── */

/* A word that is more often interesting than random. */
static uint32_t nasty(uint64_t *seed)
{
	static const uint32_t words[] = {0,
					 1,
					 2,
					 LINE,
					 PAYLOAD_MAX,
					 PAYLOAD_MAX + 1,
					 PAYLOAD_MAX + 2,
					 RING,
					 RING - LINE,
					 2 * RING,
					 INT32_MAX,
					 UINT32_MAX};
	uint64_t r = draw(seed);

	switch (r % 4) {
	case 0:
		return words[(r >> 8) % (sizeof(words) / sizeof(words[0]))];
	case 1:
		return (uint32_t)(r >> 8) % (PAYLOAD_MAX + 8);
	case 2:
		return (uint32_t)(r >> 8) % 128;
	default:
		return (uint32_t)(r >> 32);
	}
}

static void scribble(uint64_t *seed)
{
	const uint64_t line = draw(seed) % (RING / LINE);
	_Atomic uint32_t *at = (_Atomic uint32_t *)(void *)(w.peer + OFFSET + line * LINE);

	/* Header words mostly: the rest is payload, which nobody here believes. */
	atomic_store_explicit(&at[draw(seed) % 8 ? draw(seed) % 4 : draw(seed) % 16], nasty(seed),
			      memory_order_relaxed);
}

struct tally {
	uint64_t n_nothing, n_views, n_eproto;
};

/* One look, and what a channel would do with what it sees: take it, hold it, release what it holds,
 * publish. */
static void look(struct tally *tally, uint64_t held[static 16], unsigned *n_held)
{
	const uint64_t tail = w.rx.tail;
	struct ipci_view view;
	int r = ipci_consumer_peek(&w.rx, &view);

	cr_assert_eq(w.rx.tail, tail);
	if (r == 0) {
		tally->n_nothing++;
	} else if (r == -EPROTO) {
		tally->n_eproto++;
	} else {
		cr_assert_eq(r, 1);
		tally->n_views++;
		check_view(&view);
		read_view(&view);
		if (*n_held < 16 && draw(&w.seed) % 2) {
			held[(*n_held)++] = tail;
			cr_assert_eq(ipci_consumer_hold(&w.rx, &view), 0);
		} else {
			ipci_consumer_take(&w.rx, &view);
		}
		cr_assert_eq(w.rx.tail, tail + view.frame_bytes);
	}
	if (*n_held && (r == 1 || draw(&w.seed) % 4 == 0)) {
		unsigned i = (unsigned)(draw(&w.seed) % *n_held);

		ipci_consumer_release(&w.rx, held[i]);
		held[i] = held[--*n_held];
	}
	cr_assert_leq(w.rx.published, ipci_consumer_given_back(&w.rx));
	cr_assert_leq(ipci_consumer_given_back(&w.rx), w.rx.tail);
	(void)ipci_consumer_publish(&w.rx);
	/* Poisoned in life; here the cursor moves on, to be lied to elsewhere. */
	if (r <= 0 && *n_held == 0)
		look_at_line(w.rx.tail / LINE + draw(&w.seed) % 64);
}

static void check_tally(const struct tally *tally)
{
	/* The lies were of all sorts. */
	cr_assert_gt(tally->n_nothing, 1000);
	cr_assert_gt(tally->n_views, 1000);
	cr_assert_gt(tally->n_eproto, 1000);
}

Test(frames, two_million_random_writes_between_looks)
{
	struct tally tally = {0};
	uint64_t held[16];
	unsigned n_held = 0;

	for (unsigned i = 0; i < 1000000; i++) {
		scribble(&w.seed);
		scribble(&w.seed);
		look(&tally, held, &n_held);
	}
	check_tally(&tally);
}

static void *scribble_until_done(void *arg)
{
	uint64_t seed = *(const uint64_t *)arg;

	while (!atomic_load_explicit(&w.done, memory_order_relaxed))
		scribble(&seed);
	return NULL;
}

Test(frames, a_million_looks_while_the_peer_rewrites_at_full_speed)
{
	struct tally tally = {0};
	static uint64_t seed = 99;
	uint64_t held[16];
	unsigned n_held = 0;

	start_peer(scribble_until_done, &seed);
	for (unsigned i = 0; i < 1000000; i++)
		look(&tally, held, &n_held);
	/* On one CPU the peer may have come late. */
	for (unsigned i = 0; i < 100 && tally.n_eproto <= 1000; i++) {
		(void)usleep(1000);
		for (unsigned k = 0; k < 100000; k++)
			look(&tally, held, &n_held);
	}
	stop_peer();
	check_tally(&tally);
}

/* ── cursors ── */

/* What a peer knows and says of its progress. */
struct liar {
	uint64_t seed;
	uint64_t honest; /* the last claim that was true */
};

static uint64_t claim(struct liar *liar, uint64_t head)
{
	uint64_t r = draw(&liar->seed);

	switch (r % 16) {
	case 0:
		return liar->honest = head;
	case 1:
		return head + LINE * (r >> 8 & 15);
	case 2:
		return head - LINE * (r >> 8 & 127);
	case 3:
		return head - (r >> 8 & 4095);
	case 4:
		return UINT64_MAX - (r >> 8 & 4095);
	case 5:
		return 0;
	default:
		return liar->honest;
	}
}

/* Whatever the peer says of its progress, room lies in the own ring and not on frames that it never
 * gave back. */
static void produce(struct tally *tally)
{
	const uint64_t head = w.tx.head, believed = w.tx.peer_consumed;
	const uint64_t bytes = draw(&w.seed) % (PAYLOAD_MAX + 1);
	const uint32_t ext_bytes = draw(&w.seed) % 2 ? IPCI_EXT_MAX_BYTES : 0;
	uint8_t *at = NULL;
	int r = ipci_producer_reserve(&w.tx, ext_bytes, bytes, &at);

	cr_assert_eq(w.tx.head, head);
	cr_assert_geq(w.tx.peer_consumed, believed);
	cr_assert_leq(w.tx.peer_consumed, head);
	cr_assert_eq(w.tx.peer_consumed % LINE, 0);
	cr_assert_leq(head - w.tx.peer_consumed, RING - LINE);
	if (r < 0) {
		cr_assert(r == -EAGAIN || r == -EPROTO);
		cr_assert_null(at);
		tally->n_nothing += r == -EAGAIN;
		tally->n_eproto += r == -EPROTO;
		return;
	}
	tally->n_views++;
	cr_assert_eq(at, w.own + OFFSET + head % RING + sizeof(struct ipci_frame));
	cr_assert_leq(head + w.tx.reserved + LINE, w.tx.peer_consumed + RING);
	memset(at, 0x11, ext_bytes + bytes);
	ipci_producer_commit(&w.tx, IPCI_KIND_REPLY | (ext_bytes ? IPCI_EXT_KNOWN : 0), 0, 1,
			     draw(&w.seed) % (bytes + 1));
	cr_assert_leq(w.tx.head - w.tx.peer_consumed, RING - LINE);
}

Test(frames, a_million_claims_about_consumed)
{
	struct tally tally = {0};
	struct liar liar = {.seed = 5};

	for (unsigned i = 0; i < 1000000; i++) {
		uint64_t said = claim(&liar, w.tx.head), believed = w.tx.peer_consumed;
		bool possible = said <= w.tx.head && said >= believed && said % LINE == 0;

		atomic_store_explicit(&w.peer_control->consumed, said, memory_order_relaxed);
		cr_assert_eq(ipci_producer_refresh(&w.tx), possible ? 0 : -EPROTO);
		cr_assert_eq(w.tx.peer_consumed, possible ? said : believed);
		produce(&tally);
	}
	check_tally(&tally);
}

static _Atomic uint64_t told_head; /* what a peer sees of the head: it follows the commit words */

static void *claim_until_done(void *arg)
{
	struct liar *liar = arg;

	while (!atomic_load_explicit(&w.done, memory_order_relaxed))
		atomic_store_explicit(&w.peer_control->consumed,
				      claim(liar,
					    atomic_load_explicit(&told_head, memory_order_relaxed)),
				      memory_order_relaxed);
	return NULL;
}

Test(frames, a_million_frames_while_consumed_changes_at_full_speed)
{
	struct tally tally = {0};
	static struct liar liar = {.seed = 6};

	start_peer(claim_until_done, &liar);
	for (unsigned i = 0; i < 1000000; i++) {
		produce(&tally);
		atomic_store_explicit(&told_head, w.tx.head, memory_order_relaxed);
	}
	/* On one CPU, or a busy one, the peer may have come late. */
	for (unsigned i = 0; i < 1000 && (!tally.n_eproto || !tally.n_views); i++) {
		(void)usleep(1000);
		for (unsigned k = 0; k < 1000; k++) {
			produce(&tally);
			atomic_store_explicit(&told_head, w.tx.head, memory_order_relaxed);
		}
	}
	stop_peer();
	cr_assert_gt(tally.n_views, 0);
	cr_assert_gt(tally.n_eproto, 0);
}

Test(frames, whatever_waiting_says_a_wake_up_is_of_a_known_sort_and_at_most_one_each)
{
	uint32_t n_frames = 0, n_space = 0;

	for (unsigned i = 0; i < 1000000; i++) {
		uint64_t waiting = draw(&w.seed) >> draw(&w.seed) % 64;
		uint32_t frames, space;

		atomic_store_explicit(&w.peer_control->waiting, waiting, memory_order_relaxed);
		frames = ipci_wake_frames(&w.tx);
		space = ipci_wake_space(&w.tx);
		cr_assert_eq(frames & ~(uint32_t)IPCI_WANT_FRAMES, 0);
		cr_assert_eq(space & ~(uint32_t)IPCI_WANT_SPACE, 0);
		cr_assert_eq(ipci_wake_frames(&w.tx), 0);
		cr_assert_eq(ipci_wake_space(&w.tx), 0);
		n_frames += frames != 0;
		n_space += space != 0;
	}
	cr_assert_eq(atomic_load(&w.tx.own->bell_frames), n_frames);
	cr_assert_eq(atomic_load(&w.tx.own->bell_space), n_space);
}
