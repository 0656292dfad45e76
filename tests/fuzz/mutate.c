// SPDX-License-Identifier: Apache-2.0
/*
 * Two halves whose owner rewrites words of them at full speed, from another thread, while the
 * library on the other side works: as their client, and as their server. A third peer is honest,
 * on the same loop, and must get right answers all the while.
 *
 *   mutate [MUTATIONS [SEED]]       10^7 by default
 *
 * A word anywhere breaks a channel within a microsecond, so a channel is given one of several
 * kinds of liar; a channel that was found out is closed and opened anew.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <inttypes.h>
#include <unistd.h>

#include "bell.h"
#include "fake.h"
#include "target.h"

#define BATCH 512u /* mutations between two looks for a new half */
#define HONEST_BYTES 200u
#define TURNS_PER_CHANNEL 64u
#define MUTATIONS_PER_CHANNEL 50000u /* the run goes on until there were as many channels */

enum liar {
	LIAR_ANYTHING, /* any word of the half */
	LIAR_PAYLOADS, /* the bytes behind headers: what the program reads */
	LIAR_HEADERS,  /* kind, method and id of frames */
	LIAR_CONTROL,  /* consumed, waiting, bells, state */
	LIAR_WAITING,  /* waiting alone */
	N_LIARS,
};

struct target_half {
	struct peer peer;
	ipc_channel *channel;
	enum liar liar;
	bool open;
};

static struct target_half as_server, as_client; /* what the mutated peer is */
static pthread_mutex_t lock =
	PTHREAD_MUTEX_INITIALIZER; /* held over a batch, and to change halves */
static uint64_t n_wanted = 10 * 1000 * 1000, seed = 1;
static _Atomic uint64_t n_mutations;
static atomic_bool done, is_awaited;
static uint64_t n_opened, n_honest, n_events, n_answers;

static struct peer honest;
static ipc_channel *honest_channel;

static uint64_t next_random(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

/* ── the mutator ── */

static void mutate(const struct target_half *half, uint64_t *state)
{
	static const uint32_t control[] = {128, 256, 384, 640};
	const uint64_t x = next_random(state);
	uint8_t *ring = half->peer.own.base + half->peer.own.ring_offset;
	volatile uint64_t *word;

	switch (half->liar) {
	case LIAR_ANYTHING:
		word = (volatile uint64_t *)(void *)(half->peer.own.base +
						     x % ((4096 + RING_BYTES) / 8) * 8);
		break;
	case LIAR_PAYLOADS:
		word = (volatile uint64_t *)(void *)(ring + (x % (RING_BYTES / 64) * 64) + 16 +
						     (x >> 32) % 6 * 8);
		break;
	case LIAR_HEADERS:
		/* The id; else kind and method, beside a commit word that stays what it was. */
		word = (volatile uint64_t *)(void *)(ring + (x % (RING_BYTES / 64) * 64) + 8);
		if (x >> 63) {
			*(volatile uint32_t *)(word - 1 + 0) = (uint32_t) * (word - 1);
			((volatile uint16_t *)(word - 1))[2 + (x >> 62 & 1)] = (uint16_t)(x >> 40);
			return;
		}
		break;
	case LIAR_CONTROL:
		word = (volatile uint64_t *)(void *)(half->peer.own.base + control[x & 3]);
		*word = x >> 8 & 1 ? x >> 40 : (x >> 9 & 0xff) * 64;
		return;
	default:
		word = (volatile uint64_t *)(void *)(half->peer.own.base + 256);
	}
	*word = next_random(state);
}

static void *mutate_all(void *arg)
{
	uint64_t state = seed;

	(void)arg;
	while (!atomic_load_explicit(&done, memory_order_relaxed)) {
		/* The victim's turn at the lock comes before another batch. */
		while (atomic_load_explicit(&is_awaited, memory_order_relaxed))
			(void)sched_yield();
		(void)pthread_mutex_lock(&lock);
		for (unsigned i = 0; i < BATCH; i++) {
			if (as_server.open)
				mutate(&as_server, &state);
			if (as_client.open)
				mutate(&as_client, &state);
		}
		(void)pthread_mutex_unlock(&lock);
		atomic_fetch_add_explicit(&n_mutations, 2 * BATCH, memory_order_relaxed);
	}
	return NULL;
}

/* ── the honest peer, which answers with what it was asked ── */

static struct ipci_frame *frame_at(const struct ipci_half *half, uint64_t position)
{
	return (struct ipci_frame *)(void *)(half->base + half->ring_offset +
					     (position & (half->ring_bytes - 1)));
}

static bool echo(struct peer *peer)
{
	const struct ipci_frame *request = frame_at(&peer->other, peer->tail);
	const uint32_t commit = atomic_load(&request->commit);
	struct ipci_frame *reply = frame_at(&peer->own, peer->head);
	const uint64_t bytes = ipci_frame_bytes(0, commit - 1);

	if (commit == 0)
		return false;
	if ((request->kind & IPCI_KIND_MASK) == IPCI_KIND_REQUEST) {
		const uint64_t skip = ipci_ext_bytes(request->kind);

		memcpy(reply + 1, (const uint8_t *)(request + 1) + skip, commit - 1);
		atomic_store(&frame_at(&peer->own, peer->head + bytes)->commit, 0);
		reply->kind = IPCI_KIND_REPLY;
		reply->method = 0;
		reply->call_id = request->call_id;
		atomic_store(&reply->commit, commit);
		peer->head += bytes;
	}
	peer->tail += ipci_frame_bytes(ipci_ext_bytes(request->kind), commit - 1);
	atomic_store(&((struct ipci_control *)(void *)peer->own.base)->consumed, peer->tail);
	(void)ipci_bell_ring(peer->bell);
	return true;
}

static void on_event(struct ipc_event *event);

static void check_honest(void)
{
	const uint8_t byte = (uint8_t)++n_honest;
	struct ipc_event event;
	struct ipc_room room;
	ipc_call *call;
	bool answered = false;

	must(ipc_begin(honest_channel, 0, HONEST_BYTES, NULL, &call, &room) == 0);
	memset(room.data, byte, HONEST_BYTES);
	must(ipc_commit(call, HONEST_BYTES, IPC_LAST) == 0);
	while (echo(&honest))
		;
	for (unsigned i = 0; !answered; i++) {
		must(i < 100000);
		if (ipc_loop_next(fake_loop, &event, 0) != 1)
			continue;
		if (event.channel != honest_channel) {
			on_event(&event);
			continue;
		}
		must(event.kind == IPC_EVENT_MESSAGE && event.call == call);
		must(event.msg.size_bytes == HONEST_BYTES);
		for (unsigned j = 0; j < HONEST_BYTES; j++)
			must(((const uint8_t *)event.msg.data)[j] == byte);
		answered = true;
	}
}

/* ── the victim's program ── */

static void stop_mutating(void)
{
	atomic_store_explicit(&is_awaited, true, memory_order_relaxed);
	(void)pthread_mutex_lock(&lock);
	atomic_store_explicit(&is_awaited, false, memory_order_relaxed);
}

static void open_target(struct target_half *target)
{
	stop_mutating();
	if (target == &as_server)
		fake_open(&target->peer, &target->channel);
	else
		fake_offer(&target->peer, &target->channel);
	target->liar = n_opened++ % N_LIARS;
	target->open = true;
	(void)pthread_mutex_unlock(&lock);
}

/* A client's handle is freed; a server's goes by itself where it was @lost. */
static void close_target(struct target_half *target, bool lost)
{
	if (!target->open)
		return;
	stop_mutating();
	target->open = false;
	(void)pthread_mutex_unlock(&lock);
	if (target == &as_server || !lost)
		ipc_channel_free(target->channel);
	fake_close(&target->peer);
}

static void answer(ipc_call *call, size_t size_bytes)
{
	struct ipc_room room;

	if (ipc_reserve(call, size_bytes, 0, &room) < 0) {
		must(ipc_fail(call, IPC_ABORTED, "no room") == 0);
		return;
	}
	memset(room.data, 7, size_bytes);
	if (ipc_commit(call, size_bytes, IPC_LAST) < 0)
		must(ipc_fail(call, IPC_ABORTED, NULL) == 0);
}

static void on_event(struct ipc_event *event)
{
	n_events++;
	switch (event->kind) {
	case IPC_EVENT_REQUEST:
		target_read(&event->msg);
		answer(event->call, event->msg.size_bytes % 1000);
		break;
	case IPC_EVENT_MESSAGE:
		target_read(&event->msg);
		break;
	case IPC_EVENT_CHANNEL:
		must(event->channel != honest_channel && event->status < 0);
		close_target(event->channel == as_server.channel ? &as_server : &as_client, true);
		break;
	default:
		must(event->channel != honest_channel);
	}
}

/* A call to the liar, which has something like an answer waiting. */
static void call_liar(uint64_t x)
{
	struct ipc_call_opts opts = {.size = sizeof(opts), .timeout_ns = 20000};
	struct ipc_msg msg;
	struct ipc_room room;
	ipc_call *call;
	int r;

	if (!as_server.open ||
	    ipc_begin(as_server.channel, 0, x % 2000, x & 1 ? &opts : NULL, &call, &room) < 0)
		return;
	memset(room.data, 9, x % 2000);
	if (x & 1) {
		(void)echo(&as_server.peer);
		r = ipc_transact(call, x % 2000, &msg);
		must(r <= 16);
		if (r == 0)
			target_read(&msg);
		n_answers += r == 0;
		return;
	}
	if (ipc_commit(call, x % 2000, IPC_LAST) < 0) {
		ipc_abort(call);
		return;
	}
	if (!(x & 6))
		ipc_cancel(call);
}

/* What an honest client would send; the mutator makes of it what it likes. */
static void ask_victim(uint64_t x)
{
	struct peer *peer = &as_client.peer;
	struct ipci_frame *frame = frame_at(&peer->own, peer->head);
	const uint32_t size_bytes = (uint32_t)(x % 1500);

	if (!as_client.open)
		return;
	atomic_store(&frame_at(&peer->own, peer->head + ipci_frame_bytes(0, size_bytes))->commit,
		     0);
	frame->kind = IPCI_KIND_REQUEST;
	frame->method = 5;
	peer->seq++;
	frame->call_id = peer->seq << IPCI_CALL_SLOT_BITS | (peer->seq & 7);
	atomic_store(&frame->commit, size_bytes + 1);
	peer->head += ipci_frame_bytes(0, size_bytes);
	/* All that came in answer is read, by a look at how far the victim wrote. */
	while (atomic_load(&frame_at(&peer->other, peer->tail)->commit)) {
		const struct ipci_frame *reply = frame_at(&peer->other, peer->tail);

		peer->tail += ipci_frame_bytes(0, atomic_load(&reply->commit) - 1);
		n_answers++;
	}
	atomic_store(&((struct ipci_control *)(void *)peer->own.base)->consumed, peer->tail);
	(void)ipci_bell_ring(peer->bell);
}

static void work(uint64_t *state)
{
	struct ipc_event event;
	uint64_t x = next_random(state) >> 8;

	if (!as_server.open)
		open_target(&as_server);
	if (!as_client.open)
		open_target(&as_client);
	call_liar(x);
	ask_victim(x >> 20);
	(void)echo(&as_server.peer);
	for (unsigned i = 0; i < 8 && ipc_loop_next(fake_loop, &event, 0) == 1; i++)
		on_event(&event);
	if (x % 16 == 0)
		check_honest();
	/* Not every liar is found out. */
	if (x % TURNS_PER_CHANNEL == 0)
		close_target(x >> 20 & 1 ? &as_server : &as_client, false);
}

int main(int argc, char **argv)
{
	uint64_t state;
	pthread_t thread;

	if (argc > 1)
		n_wanted = strtoull(argv[1], NULL, 10);
	if (argc > 2)
		seed = strtoull(argv[2], NULL, 10);
	if (n_wanted == 0 || argc > 3)
		return fprintf(stderr, "usage: mutate [MUTATIONS [SEED]]\n"), 2;
	state = ~seed;
	fake_start(true);
	fake_open(&honest, &honest_channel);
	must(pthread_create(&thread, NULL, mutate_all, NULL) == 0);
	while (atomic_load_explicit(&n_mutations, memory_order_relaxed) < n_wanted ||
	       n_opened < n_wanted / MUTATIONS_PER_CHANNEL)
		work(&state);
	atomic_store_explicit(&done, true, memory_order_relaxed);
	must(pthread_join(thread, NULL) == 0);
	check_honest();
	printf("%" PRIu64 " mutations, seed %" PRIu64 ": %" PRIu64 " channels, %" PRIu64
	       " events, %" PRIu64 " answers; %" PRIu64 " honest calls, all right\n",
	       (uint64_t)n_mutations, seed, n_opened, n_events, n_answers, n_honest);
	must(n_answers > 0 && n_opened > 2);
	ipc_channel_free(honest_channel);
	fake_close(&honest);
	close_target(&as_server, false);
	close_target(&as_client, false);
	fake_stop();
	return 0;
}
