/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The insides of the four public objects, and how they hang together.
 *
 *   ipc_loop ─┬─ servers ── ipc_server
 *             ├─ channels ── ipc_channel ─┬─ outbox: frames that wait for room (errors, cancels)
 *             │                           └─ calls[slot] ── ipc_call
 *             ├─ hot: the channels that are looked at in memory; the others are armed in the kernel
 *             ├─ ready: what has something to report although no frame is there
 *             └─ timers: a heap of calls by deadline
 *
 * One thread at a time, so nothing here is locked or atomic but loop->posted.
 */
#ifndef IPCI_CHANNEL_OBJECTS_H
#define IPCI_CHANNEL_OBJECTS_H

#include <pthread.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>

#include <ipc/flatbuffers.h>
#include <ipc/ipc.h>

#include "budget.h"
#include "clock.h"
#include "consume.h"
#include "error.h"
#include "half.h"
#include "list.h"
#include "loop.h"
#include "publish.h"
#include "signal.h"
#include "spin.h"

#define IPCI_DEFAULT_RING_BYTES UINT64_C(65536)
#define IPCI_DEFAULT_MAX_CALLS 256u
#define IPCI_MAX_CALLS_LIMIT 65535u
#define IPCI_ERROR_TEXT_MAX 255u /* of a call's error, on the wire */
#define IPCI_RECHECK_NS                                                                            \
	(20 * IPCI_NS_PER_MS)	    /* longest sleep without a look at hang-up and the broker */
#define IPCI_POLL_NS IPCI_NS_PER_MS /* a busy loop looks at everything else this often */
#define IPCI_NAME_BYTES 128u
/* This side's ring shall, or should, lie in huge pages. */
#define IPCI_OWN_HUGE_PAGES (uint32_t)(IPC_HUGE_PAGES | IPC_PREFER_HUGE_PAGES)
#define IPCI_PAGES_FLAGS (IPCI_OWN_HUGE_PAGES | (uint32_t)IPC_ALLOW_HUGE_PAGES)
#define IPCI_REST_BYTES 2048u	  /* given back and not told: told in an idle moment */
#define IPCI_PADDING_MAX_RINGS 2u /* of padding without a frame between */

/*
 * Fair between channels: events of one in a row, and how many before the kernel is asked for cold
 * ones: these, or IPCI_TURN_EVENTS for each hot channel, whichever is more.
 */
#define IPCI_TURN_EVENTS 32u
#define IPCI_ROUND_EVENTS 1024u

/* What a peer may make this side do in a millisecond. */
#define IPCI_WAKES_PER_MS 256u	      /* wake system calls, a channel; others are put off */
#define IPCI_AWAKENINGS_PER_MS 4u     /* membarriers to come, a loop; one of them a channel */
#define IPCI_AWAKE_AFTER_FRAMES 1024u /* received without a sleep: what one membarrier costs */

static_assert(IPC_SNAPSHOT_MAX_BYTES >= IPCI_RING_NEVER_HELD_BYTES,
	      "frames held in place are larger than these");

/* Private memory for a payload that was copied out of a ring. */
struct ipci_snapshot {
	struct ipci_snapshot *next;
	struct ipc_loop *loop;
	alignas(IPCI_LINE_BYTES) uint8_t data[IPC_SNAPSHOT_MAX_BYTES];
};

/* The receiving end of a channel; outlives it while messages are kept in place. */
struct ipci_inbox {
	struct ipc_loop *loop;
	struct ipc_channel *channel; /* NULL: closed, and here only for what is kept */
	struct ipci_half half;
	struct ipci_consumer rx;
};

/* A message that came while the program waited for another. */
struct ipci_parked {
	struct ipci_parked *next;
	struct ipc_loop *loop;
	uint32_t size_bytes;
	uint32_t item_bytes; /* of an item: what it takes of its call's window; else 0 */
	bool last;	     /* its sender's last */
	alignas(16) uint8_t data[];
};

/* Which of the two a kept message is shows in where its bytes lie: message.c. */
static_assert(offsetof(struct ipci_parked, data) != offsetof(struct ipci_snapshot, data),
	      "told apart by this");

/* channel->methods[] where it is no method id */
enum {
	IPCI_METHOD_REFUSED = -1,
	IPCI_METHOD_UNIMPLEMENTED = -2,
};

enum ipci_call_state {
	IPCI_CALL_FREE = 0,
	IPCI_CALL_BEGUN,     /* client: has an id, nothing was sent */
	IPCI_CALL_SENT,	     /* client: waits for its reply */
	IPCI_CALL_ZOMBIE,    /* client: nobody waits, the server still holds the slot */
	IPCI_CALL_ENDED,     /* client: reported; its info is readable until the next turn */
	IPCI_CALL_WAITING,   /* server: taken from the ring, waits for its turn */
	IPCI_CALL_SERVED,    /* server: delivered, not ended */
	IPCI_CALL_STREAMING, /* the same, and items were sent on it */
	IPCI_CALL_FAILED,    /* server: ended, its error waits for room */
	IPCI_CALL_LATE,	     /* server: free, but for items that the client sent before it knew */
};

struct ipc_call {
	struct ipc_channel *channel;
	uint64_t id;
	uint64_t position;    /* client, sent: where its request lies in the ring */
	uint64_t deadline_ns; /* absolute; IPCI_NEVER */
	void *user;
	uint16_t method;       /* this side's id */
	uint16_t request_bits; /* client: IPCI_REQUEST_… above the method */
	uint8_t state;	       /* enum ipci_call_state */
	uint8_t fate;	       /* enum ipc_fate */
	int16_t status;	       /* client, ended: 0..16; server, failed: what to send */
	bool cancelled;	       /* server: nobody waits */
	bool told;	       /* server: CANCELLED was reported */
	bool placed;	       /* server: holds one of the places that its server has */
	bool expired;	       /* client: ended by its deadline, the server still holds the slot */
	bool has_trace;
	uint8_t trace[IPCI_TRACE_BYTES];
	uint32_t timer;	      /* index + 1 in the heap; 0: not in it */
	uint64_t given_up_id; /* server: of the slot's last call that its client gave up */
	int *on_end;	      /* server: where to say that this side ended the call; or NULL */
	char *text;	      /* malloced: error text, received or to be sent */
	struct ipci_stream *stream; /* its items, and what waits for the program; or NULL */
	struct ipci_list ready;	    /* in loop->ready_calls, or, waiting, in server->waiting */
	struct ipci_list outbox;    /* in channel->outbox */
	struct ipc_call *next_free;
};

/* channel->life */
enum {
	IPCI_LIFE_GUARDED = 1 << 0,    /* server: each request is asked whether it may go on */
	IPCI_LIFE_SHORT = 1 << 1,      /* server: a waiting request lacks room for its answer */
	IPCI_LIFE_DRAIN_OWED = 1 << 2, /* server: DRAIN waits for room */
	IPCI_LIFE_STRAY = 1 << 4,      /* client: calls of before have slots beyond today's */
	IPCI_LIFE_DRAINS = 1 << 3,     /* client: DRAIN came: no new calls */
};

struct ipc_channel {
	struct ipc_loop *loop;
	struct ipc_server *server; /* NULL: a client's, or withdrawn */
	bool at_server;
	const struct ipc_service *service;
	void *user;

	/* the hot part */
	struct ipci_producer tx;
	struct ipci_inbox *inbox; /* NULL until joined, and again once lost */
	struct ipc_call *calls;	  /* max_calls of them, by slot */
	struct ipc_call *free_calls;
	struct ipc_call *room_call; /* whose room is open */
	uint64_t room_bytes;	    /* what it asked for */
	uint64_t call_seq;	    /* client: of the last call made; server: of the last seen */
	int error; /* 0 open; else why nothing more is sent: -EPIPE, -EPROTO, -EACCES … */
	/* What keeps a look from going straight to the frames: any of these. */
	union {
		struct {
			bool wake_owed;	  /* IPC_MORE, or put off: for frames */
			bool space_owed;  /* put off: for space */
			bool call_wanted; /* WRITABLE is owed when a call slot is free */
			bool room_short;  /* room_wanted is not 0 */
			bool outbox_used; /* the outbox may not be empty */
			bool ends;	  /* closed by somebody, or hung up: with drain_end */
			uint8_t life;	  /* IPCI_LIFE_… */
		};
		uint64_t aside;
	};
	bool hot;
	bool hung_up;
	bool stalled;	  /* server: a request waits until there is room for its reply */
	bool peer_closed; /* its state says that no more frames come */
	bool closed_by_broker;
	int error_by_broker; /* -errno, with closed_by_broker */
	/* with `ends`: where to stop reading, whatever the peer goes on to send */
	uint64_t drain_end;
	struct ipci_sleep sleep;
	bool may_be_awake;	  /* both sides are registered for membarrier(2) */
	uint64_t frames_at_sleep; /* received before the last arming */
	struct ipci_budget wakes, awakenings;
	struct ipci_spin spin;
	struct ipci_patience patience; /* with a reply, or with the next request */
	uint32_t max_calls, n_calls;
	uint32_t n_slots;	   /* of calls[] that were ever agreed on */
	uint32_t n_stray;	   /* of them in use, and beyond max_calls */
	uint32_t max_calls_wanted; /* client: what was asked for; what was agreed may be less */
	uint32_t flags;		   /* client: IPC_HUGE_PAGES and the like */
	uint64_t room_wanted;	   /* 0, or the frame bytes for which WRITABLE is owed */
	uint64_t waiting_bytes;	   /* server: of the requests that wait */
	struct ipci_list outbox;
	uint64_t parked_bytes;		  /* private memory that the calls' messages take */
	struct ipci_stream *free_streams; /* for reuse */
	struct ipc_writer writer;

	struct ipci_half own;
	int bell;
	bool bell_named; /* the peer was told to ring it since it was last drained */
	struct ipci_source bell_source;
	struct ipci_source word_source; /* the peer's bell_frames, on a loop that can await words */
	int16_t *methods; /* server: the client's method id to ours, or IPCI_METHOD_… */
	uint32_t n_methods;

	uint64_t id;	      /* the broker's number */
	uint64_t open_serial; /* of our OPEN, 0: answered */
	char peer[IPCI_NAME_BYTES];
	char reason[IPCI_ERROR_TEXT_BYTES];
	bool async;
	bool came; /* CHANNEL with status 0 is owed */
	bool went; /* CHANNEL with status < 0 is owed, before that */
	int went_error;
	struct ipci_reopen *reopen; /* client: NULL if its loss is final */
	bool lost;		    /* ipci_channel_lose() ran */
	bool freed;		    /* nobody has the handle: goes with its last call */
	uint64_t n_wakes, n_sleeps, n_wakes_deferred, n_membarriers;
	uint64_t n_received; /* of the inbox, once it is gone */
	/* of padding without a frame between: how much, and after which frame */
	uint64_t padding_bytes, padding_n_frames;

	struct ipci_list link;		 /* in loop->channels */
	struct ipci_list hot_link;	 /* in loop->hot */
	struct ipci_list tended;	 /* in loop->tended */
	uint64_t tended_tail, tended_ns; /* how far it had received, and when */
	struct ipci_list owing;		 /* in loop->owing */
	struct ipci_list ready;		 /* in loop->ready_channels */
};

struct ipc_server {
	struct ipc_loop *loop;
	const struct ipc_service *service;
	void *user;
	uint64_t serial; /* of our SERVE */
	uint64_t ring_bytes;
	uint32_t max_calls;
	uint32_t max_in_flight; /* 0: no limit */
	uint32_t max_waiting;
	uint32_t flags;	      /* IPC_HUGE_PAGES and the like */
	uint32_t n_in_flight; /* calls that hold a place */
	uint32_t n_waiting;
	struct ipci_list waiting; /* calls without a place, who came first first */
	bool drains;
	bool drained;	       /* its last call has ended */
	bool drained_due;      /* which is still to be reported */
	struct ipci_list link; /* in loop->servers */
};

struct ipci_watch {
	struct ipci_source source;
	void *user;
	uint32_t revents; /* not reported yet */
	struct ipci_list link;
};

struct ipci_post;
struct ipci_control_connection;

struct ipc_loop {
	unsigned fork_generation;
#ifdef IPCI_THREAD_CHECKS
	const char *_Atomic inside; /* the thread that is in a call: threads.c */
#endif
	enum ipc_wait wait;
	uint64_t features; /* IPCI_FEATURE_…: what this side can do */
	struct ipci_budget awakenings;
	uint64_t spin_max_ns;

	/* the turn: what the last receive lent out */
	uint64_t turn;
	uint64_t n_kept; /* messages that were kept and not released: they outlive the loop */
	bool dead;	 /* ipc_loop_free() ran */
	struct ipci_snapshot *snapshot; /* where the next small payload goes */
	struct ipci_snapshot *snapshot_pool;
	struct ipci_inbox *borrowed; /* in place, at … */
	uint64_t borrowed_position;
	struct ipci_parked *borrowed_parked;
	struct ipc_call *ended;	      /* client's, its info readable during this turn */
	struct ipc_call *fresh;	      /* server's, delivered in this turn */
	struct ipc_channel *departed; /* server's, its loss was reported in this turn */
	/* What the next turn begins with, beside the above: any of these. */
	union {
		struct {
			bool departing; /* there is a departed */
			bool wakes_due; /* channels owe wakes, or wakes were collected */
		};
		uint16_t aside;
	};

	bool batch_wakes;	  /* IPC_LOOP_BATCH_WAKES */
	bool collecting;	  /* wakes are collected just now */
	struct ipci_list owing;	  /* channels with wake_owed, since IPC_MORE */
	struct ipci_list put_off; /* channels whose wakes were beyond their budget */
	struct ipci_list hot;	  /* a line: see hot.c */
	struct ipci_list tended;  /* the same channels, by when they were asked last */
	uint32_t n_hot;
	uint32_t turn_events; /* what the first may still have in a row */
	uint32_t clock_at;    /* of n_served: when the clock is looked at */
	uint32_t n_served;    /* frames since the kernel was asked, whole turns */
	struct ipci_list channels;
	struct ipci_list servers;
	struct ipci_list reopening; /* lost channels that wait for their time */
	uint64_t reopen_ns;	    /* when the first of them is due */
	struct ipci_list watches;
	struct ipci_list ready_calls;
	struct ipci_list ready_channels;
	unsigned n_rare_ready; /* watched descriptors, and drained servers */
	uint64_t polled_ns, tended_ns;

	struct ipc_call **timers; /* binary heap by deadline */
	uint32_t n_timers, n_timers_max;

	struct ipci_loop *poller;
	struct ipci_control_connection *control;
	struct ipci_source control_source;

	pthread_mutex_t post_lock;
	struct ipci_post *posts, **posts_end;
	_Atomic uint32_t posted; /* IPCI_POSTED_…: a hint about posts */
	int post_fd;		 /* eventfd */
	struct ipci_source post_source;

	struct ipci_error error;
};

/* fork.c */
int ipci_fork_register(int fd); /* closed in a forked child; 0 or -ENOMEM */
void ipci_fork_unregister(int fd);
extern unsigned ipci_fork_count;
static inline bool ipci_forked(const struct ipc_loop *loop)
{
	return __builtin_expect(loop->fork_generation != ipci_fork_count, 0);
}

/* options.c */
/* Copies the caller's options over *@ret, sized @size and zeroed: 0, -EINVAL, -E2BIG. */
int ipci_opts_copy(void *ret, size_t size, const void *opts);

/* timer.c */
int ipci_timer_add(struct ipc_call *call); /* 0, -ENOMEM */
void ipci_timer_remove(struct ipc_call *call);
uint64_t ipci_timer_next_ns(const struct ipc_loop *loop);
void ipci_timer_expire(struct ipc_loop *loop, uint64_t now_ns);

/* message.c */
int ipci_snapshot_prepare(struct ipc_loop *loop); /* loop->snapshot is there; 0 or -ENOMEM */
void ipci_snapshot_free_all(struct ipc_loop *loop);
void ipci_inbox_free_if_idle(struct ipci_inbox *inbox);

/* loop.c, next.c */
void ipci_loop_free_rest(struct ipc_loop *loop); /* once nothing is kept any more */
int ipci_loop_poll(struct ipc_loop *loop,
		   uint64_t timeout_ns); /* one wait of the poller, worked off */
/* All that were kept back, together; and, where the loop sleeps or blocks, those put off. */
void ipci_loop_send_wakes(struct ipc_loop *loop, bool sleeps);

/* call.c */
void ipci_call_free(struct ipc_call *call);
void ipci_call_reset(struct ipc_call *call);
void ipci_call_done(struct ipc_call *call);
void ipci_call_fail(struct ipc_call *call, int status, bool not_executed, const char *text);
struct ipc_call *ipci_call_by_id(struct ipc_channel *channel, uint64_t id);
/* Ends a client's call that will get no reply: reported as END, or to who waits for it. */
void ipci_call_end(struct ipc_call *call, int status, enum ipc_fate fate, const char *text);
void ipci_call_cancel_by_peer(struct ipc_call *call);
void ipci_call_expired(struct ipc_call *call);
void ipci_call_give_up(struct ipc_call *call, int status, const char *text);
int ipci_call_send(struct ipc_call *call, size_t size_bytes, uint32_t flags);

/* overload.c */
/* Why a request does not reach the program, or not yet. */
struct ipci_refusal {
	int status;
	const char *text;
};
extern const struct ipci_refusal ipci_must_wait;
/* NULL: the program may have it now. For channels with IPCI_LIFE_GUARDED. */
const struct ipci_refusal *ipci_admit(const struct ipc_channel *channel,
				      const struct ipci_view *view);
/* The program has the call, which takes a place. */
void ipci_place_take(struct ipc_call *call);
/* The program waits inside a call: must_wait, or why not even that. */
const struct ipci_refusal *ipci_set_aside(const struct ipc_channel *channel,
					  const struct ipci_view *view);
/* The call is served but not delivered; its request is parked. */
void ipci_place_await(struct ipc_call *call);
/* The call ends, whatever its state: the next may have its place. */
void ipci_place_leave(struct ipc_call *call);
/* Gives the places that are free to who has waited longest. */
void ipci_place_next(struct ipc_server *server);
/* Its turn has come: IPCI_LOOK_EVENT, or IPCI_LOOK_AGAIN and it has not. */
int ipci_place_deliver(struct ipc_call *call, struct ipc_event *event);
/* Whoever waits is refused. */
void ipci_place_clear(struct ipc_server *server, const struct ipci_refusal *why);

/* Why a channel that is not open sends nothing. */
static inline int ipci_channel_error(const struct ipc_channel *channel)
{
	return channel->error ? channel->error : -ENOTCONN;
}

/* Server: the program has it, and has not ended it. */
static inline bool ipci_call_is_served(const struct ipc_call *call)
{
	return call->state == IPCI_CALL_SERVED || call->state == IPCI_CALL_STREAMING;
}

/* -EMSGSIZE, said in words. */
int ipci_room_too_large(const struct ipc_channel *channel, size_t max_bytes);
/* No room (-EAGAIN: WRITABLE is owed), or no peer to be believed (the channel is lost): @why. */
int ipci_room_refuse(struct ipc_channel *channel, uint64_t frame_bytes, int why);

/* Opens the channel's one room. */
static inline int ipci_room_open(struct ipc_call *call, uint32_t ext_bytes, size_t max_bytes,
				 struct ipc_room *room)
{
	struct ipc_channel *channel = call->channel;
	uint8_t *at;
	int r;

	r = ipci_producer_reserve(&channel->tx, ext_bytes, max_bytes, &at);
	if (__builtin_expect(r < 0, 0))
		return ipci_room_refuse(channel, ipci_frame_bytes(ext_bytes, max_bytes), r);
	channel->room_call = call;
	channel->room_bytes = max_bytes;
	room->data = at + ext_bytes;
	room->size_bytes = max_bytes;
	return 0;
}

/* outbox.c */
void ipci_outbox_add(struct ipc_call *call);
int ipci_outbox_flush(struct ipc_channel *channel); /* 1 all went, 0 no room, -errno */

/* drain.c */
/* Why a server takes no new calls; NULL: it does. */
const struct ipci_refusal *ipci_drain_refusal(const struct ipc_server *server);
/* A call of the server's ended: was it the last? */
void ipci_drain_check(struct ipc_server *server);
bool ipci_drain_report(struct ipc_loop *loop, struct ipc_event *event);
void ipci_drain_forget(struct ipc_server *server);
/* The DRAIN frame that is owed. 1 sent, 0 no room, -EPROTO. */
int ipci_drain_send(struct ipc_channel *channel);
/* The client's side: DRAIN came. NULL, or what is wrong with it; the frame is not taken. */
const char *ipci_drain_seen(struct ipc_channel *channel, const struct ipci_view *view);
/* Closes a channel that is of no more use. True if it was. */
bool ipci_drain_leave(struct ipc_channel *channel);

/* Do frames wait for room that go without the program? */
static inline bool ipci_outbox_waits(const struct ipc_channel *channel)
{
	return !ipci_list_empty(&channel->outbox) || channel->life & IPCI_LIFE_DRAIN_OWED;
}

/* reconnect.c */
int ipci_reopen_new(struct ipc_channel *channel, const struct ipc_open_opts *opts); /* or -ENOMEM */
void ipci_reopen_free(struct ipc_channel *channel);
/* Lost, and to be opened again? */
bool ipci_reopen_waits(const struct ipc_channel *channel);
void ipci_reopen_opened(struct ipc_channel *channel);
/* It was lost, and its calls are settled. */
void ipci_reopen_plan(struct ipc_channel *channel);
/* It was not opened again: true if it will be tried once more. */
bool ipci_reopen_failed(struct ipc_channel *channel, int error);
/* The program closed the room that it had open when the channel was lost. */
void ipci_reopen_room_closed(struct ipc_channel *channel);
/* Opens what is due. */
void ipci_reopen_due(struct ipc_loop *loop, uint64_t now_ns);
/*
 * For ipc_begin() on a channel that is not open: 0 it is now; -ENOTCONN not yet, or with @block
 * -ETIMEDOUT, -EINTR; else why it stays closed.
 */
int ipci_reopen_await(struct ipc_channel *channel, bool block, uint64_t deadline_ns);

/* channel.c */
void ipci_channel_init(struct ipc_channel *channel, struct ipc_loop *loop,
		       const struct ipc_service *service);
int ipci_channel_alloc(struct ipc_channel **ret, struct ipc_loop *loop,
		       const struct ipc_service *service);
/* A new half as @flags, IPC_HUGE_PAGES and the like, say, with its identity. 0 or -errno. */
int ipci_channel_own_half(struct ipc_channel *channel, int *ret_fd, uint64_t ring_bytes,
			  uint32_t flags, struct ipci_error *error);
/* What this side's flags say to a peer's half on such pages: 0, or -EOPNOTSUPP with words. */
int ipci_channel_check_pages(uint32_t flags, uint32_t page_bytes, const char *whose,
			     struct ipci_error *error);
/* Joins: takes the peer's half and the bell, which were checked. */
int ipci_channel_join(struct ipc_channel *channel, struct ipci_half *peer, int bell,
		      uint32_t max_calls, uint64_t features);
void ipci_channel_lose(struct ipc_channel *channel, int code, enum ipci_reason reason,
		       const char *text);
void ipci_channel_free_if_idle(struct ipc_channel *channel);
void ipci_channel_set_hot(struct ipc_channel *channel);
void ipci_channel_set_cold(struct ipc_channel *channel);
void ipci_channel_owe_wake(struct ipc_channel *channel);
void ipci_channel_ring(struct ipc_channel *channel, uint32_t how);
void ipci_channel_ring_owed(struct ipc_channel *channel); /* before this side sleeps */
void ipci_channel_bell_rang(struct ipc_channel *channel, uint32_t revents);
void ipci_channel_discard(struct ipc_channel *channel);
void ipci_channel_give_back(struct ipc_channel *channel);
void ipci_channel_busy(struct ipc_channel *channel); /* give back, and stay awake? */
/* Before the looks that precede a sleep: drowsy, if it was awake, then armed for IPCI_WANT_…. */
void ipci_channel_arm(struct ipc_channel *channel, uint32_t want);
/* Takes back that it is awake. True: ipci_loop_barrier() before it is armed. */
bool ipci_channel_get_drowsy(struct ipc_channel *channel);
void ipci_loop_barrier(struct ipc_loop *loop);
int ipci_channel_check_alive(struct ipc_channel *channel); /* state and hang-up, by a system call */
void ipci_channel_ready(struct ipc_channel *channel);
/*
 * Closed by somebody, or hung up: what had been sent before lies within one ring, and no more than
 * that is read.
 */
void ipci_channel_ends(struct ipc_channel *channel);

/*
 * Room that a server has before it takes a request. Less than half the ring: it is there also while
 * the peer keeps half.
 */
static inline uint64_t ipci_channel_reply_bytes(const struct ipc_channel *channel)
{
	return ipci_frame_bytes(0, ipci_payload_max_bytes(channel->tx.ring_bytes));
}

/*
 * A request was taken: the call is the server's. Its slot is free, so what ipci_call_free() set
 * holds.
 */
static inline void ipci_call_serve(struct ipc_call *call, uint64_t id, uint32_t method)
{
	struct ipc_channel *channel = call->channel;

	channel->call_seq = id >> IPCI_CALL_SLOT_BITS;
	channel->n_calls++;
	channel->loop->fresh = call;
	call->id = id;
	call->method = (uint16_t)method;
	call->state = IPCI_CALL_SERVED;
}

/* All of the event but its message. */
static inline void ipci_request_event(struct ipc_call *call, struct ipc_event *event)
{
	struct ipc_channel *channel = call->channel;

	event->kind = IPC_EVENT_REQUEST;
	event->flags = 0;
	event->server = channel->server;
	event->channel = channel;
	event->call = call;
	event->user = channel->user;
	event->method = call->method;
	event->last = 1;
	event->status = 0;
	event->fd = 0;
	event->revents = 0;
}

/*
 * Nothing to do for the moment: the peer learns how far its ring is free, unless that is hardly
 * news. It may wait for room while this side spins for a frame.
 */
static inline void ipci_channel_rest(struct ipc_channel *channel)
{
	const struct ipci_consumer *rx = &channel->inbox->rx;

	if (ipci_consumer_given_back(rx) - rx->published >= IPCI_REST_BYTES)
		ipci_channel_busy(channel);
}

/* After a commit: wakes the peer if it sleeps. */
static inline void ipci_channel_wake(struct ipc_channel *channel)
{
	uint32_t how = ipci_wake_frames(&channel->tx);

	channel->wake_owed = false;
	if (__builtin_expect(how != 0, 0))
		ipci_channel_ring(channel, how);
}

/* The same for space, where that was put off. */
static inline void ipci_channel_wake_space(struct ipc_channel *channel)
{
	const uint32_t how = ipci_wake_space(&channel->tx);

	channel->space_owed = false;
	if (how)
		ipci_channel_ring(channel, how);
}

/* The open room was committed: the peer is woken, unless @flags has IPC_MORE. */
static inline void ipci_room_committed(struct ipc_call *call, uint32_t flags)
{
	struct ipc_channel *channel = call->channel;

	channel->room_call = NULL;
	if (flags & IPC_MORE)
		ipci_channel_owe_wake(channel);
	else
		ipci_channel_wake(channel);
	/* What had to wait for the room to close; but nothing follows a server's last. */
	if (__builtin_expect(ipci_outbox_waits(channel), 0)) {
		if (channel->at_server && flags & IPC_LAST)
			ipci_list_remove(&call->outbox);
		(void)ipci_outbox_flush(channel);
	}
}

/* deliver.c */
enum ipci_look {
	IPCI_LOOK_NOTHING = 0,
	IPCI_LOOK_EVENT = 1, /* *event was filled */
	IPCI_LOOK_AGAIN = 2, /* something was worked off, nothing to report */
	/* the call that was waited for has ended without a message: its status is set */
	IPCI_LOOK_ENDED = 3,
	IPCI_LOOK_MESSAGE = 4, /* a message of the call that was waited for: msg filled */
};
/*
 * Works off at most one frame. @want: the client's call that is waited for; its reply goes to
 * *@msg. With @want or without @event, what belongs to others is parked.
 */
int ipci_look(struct ipc_channel *channel, struct ipc_event *event, struct ipc_call *want,
	      struct ipc_msg *msg);

/* Is there a WRITABLE to report? 0, or what for, or -EPROTO. */
enum {
	IPCI_WRITABLE_ROOM = 1 << 0,
	IPCI_WRITABLE_CALL = 1 << 1,
};
int ipci_channel_is_writable(struct ipc_channel *channel);

/* The call was reported: its info stays until the turn ends. */
void ipci_call_set_ended(struct ipc_call *call);
/* What a client's event says of its call, and the end of it if it is @last; IPCI_LOOK_EVENT. */
int ipci_client_event(struct ipc_call *call, struct ipc_event *event, uint32_t kind, bool last);
/* What ipc_receive() answers for a call that has ended without a message. */
static inline int ipci_call_outcome(const struct ipc_call *call)
{
	return call->status == IPC_OK ? IPC_END : call->status;
}

/* control.c, open.c, serve.c */
int ipci_control_connect(struct ipc_loop *loop, const char *path);
void ipci_control_free(struct ipc_loop *loop);
int ipci_control_fd(const struct ipc_loop *loop);
/* Works off what the broker sent. */
void ipci_control_process(struct ipc_loop *loop);
void ipci_control_tell_closed(struct ipc_channel *channel);

/* transact.c */
/*
 * Waits, receiving meanwhile, for room, or with @frame_bytes 0 for a free call; and for credit, if
 * @stream is not NULL.
 */
int ipci_block_for_room(struct ipc_channel *channel, struct ipc_call *stream, uint64_t frame_bytes,
			uint64_t deadline_ns);

#endif
