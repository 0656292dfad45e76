// SPDX-License-Identifier: Apache-2.0
/*
 * A peer is freed only by the reaping at the end of a batch: until then a doomed one is a peer that
 * nothing is read from and nothing is sent to, so no function here has to fear that its peer is
 * gone after a call.
 *
 * A packet's descriptors need places in the table when it is taken, and a client is not to lose its
 * connection because others filled that. So the place of the descriptor in reserve is there for
 * one, for as long as its packet is worked off; and where even that is taken, by strangers'
 * descriptors that wait to be closed, such a packet is left where it is for a moment.
 */
#include "peer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "clock.h"
#include "dispose.h"
#include "identity.h"
#include "open.h"
#include "request.h"

#define HELLO_TIMEOUT_NS (5 * IPCI_NS_PER_S)
#define REST_NS (100 * IPCI_NS_PER_MS)
#define MESSAGES_PER_TURN 16u /* then the others have theirs; what is left is reported again */
#define DRAIN_MAX 1024u
#define PACKET_FDS_MAX 2u /* of what the broker sends */

/* A packet that waits for room in the peer's socket; it owns its descriptors. */
struct outgoing {
	struct ipci_list link;
	int fds[PACKET_FDS_MAX];
	unsigned n_fds;
	bool is_news;
	size_t n;
	uint8_t data[];
};

static void dispose_all(const int *fds, unsigned n_fds)
{
	for (unsigned i = 0; i < n_fds; i++)
		ipci_fd_dispose(fds[i]);
}

/* They are on their way: another reference than ours keeps whatever lies in their queues. */
static void close_sent(const int *fds, unsigned n_fds)
{
	for (unsigned i = 0; i < n_fds; i++)
		ipci_fd_close(fds[i]);
}

static void outgoing_free(struct ipci_peer *peer, struct outgoing *outgoing)
{
	ipci_list_remove(&outgoing->link);
	peer->n_outgoing--;
	peer->n_news -= outgoing->is_news;
	free(outgoing);
}

/* Takes nothing: what lies in the queue stays there. */
static bool is_next_with_fds(int fd)
{
	char byte;
	struct iovec iov = {&byte, 1};
	struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

	return recvmsg(fd, &msg, MSG_PEEK | MSG_DONTWAIT) >= 0 && msg.msg_flags & MSG_CTRUNC;
}

/*
 * Ends a connection such that its last packets are read: what the peer sent and nobody read would
 * turn its next receive into an error. After the shutdown nothing more arrives. The queue may hold
 * anybody's descriptors, and more of them than the broker has room for: these are never taken, but
 * closed with the socket.
 */
static void hang_up(int fd, struct ipci_packet *scratch)
{
	(void)shutdown(fd, SHUT_RD);
	for (unsigned i = 0; i < DRAIN_MAX && !is_next_with_fds(fd); i++) {
		unsigned n_fds;
		ssize_t n = ipci_packet_recv(fd, scratch->data, sizeof(scratch->data), NULL, 0,
					     &n_fds);

		if (n == 0 || n == -EAGAIN || n == -ECONNRESET)
			break;
	}
	(void)shutdown(fd, SHUT_WR);
	ipci_fd_dispose(fd);
}

static void doom(struct ipci_peer *peer)
{
	if (peer->doomed)
		return;
	peer->doomed = true;
	ipci_list_append(&peer->workload->broker->doomed, &peer->doom);
}

void ipci_peer_doom(struct ipci_peer *peer, uint64_t serial, int code, const char *text)
{
	if (peer->doomed)
		return;
	ipci_workload_log(peer->workload, "connection %llu: ended: %s",
			  (unsigned long long)peer->id, text);
	ipci_peer_refuse(peer, serial, code, text);
	doom(peer);
}

/* Nobody is told: the peer cannot be, or went by itself. */
static void lose(struct ipci_peer *peer, const char *why)
{
	if (!peer->doomed)
		ipci_workload_log(peer->workload, "connection %llu: %s",
				  (unsigned long long)peer->id, why);
	doom(peer);
}

void ipci_peers_doom_all(struct ipci_workload *workload)
{
	for (struct ipci_list *at = workload->peers.next; at != &workload->peers; at = at->next)
		doom(IPCI_CONTAINER_OF(at, struct ipci_peer, link));
}

static int enqueue(struct ipci_peer *peer, const struct ipci_packet *packet, const int *fds,
		   unsigned n_fds, bool is_news)
{
	struct outgoing *outgoing = NULL;
	int r = -ENOBUFS;

	if (is_news || peer->n_outgoing - peer->n_news < IPCI_PEER_QUEUE_MAX)
		outgoing = malloc(sizeof(*outgoing) + packet->n);
	if (outgoing)
		r = ipci_loop_modify(peer->workload->broker->loop, &peer->handler.source,
				     EPOLLIN | EPOLLOUT);
	if (r < 0) {
		free(outgoing);
		lose(peer, "does not take its packets");
		return r;
	}
	outgoing->is_news = is_news;
	outgoing->n = packet->n;
	memcpy(outgoing->data, packet->data, packet->n);
	outgoing->n_fds = n_fds;
	if (n_fds > 0)
		memcpy(outgoing->fds, fds, n_fds * sizeof(*fds));
	ipci_list_append(&peer->outgoing, &outgoing->link);
	peer->n_outgoing++;
	peer->n_news += is_news;
	return 0;
}

static int send_or_enqueue(struct ipci_peer *peer, const struct ipci_packet *packet, const int *fds,
			   unsigned n_fds, bool is_news)
{
	int r = -EPIPE;

	if (!peer->doomed) {
		r = -EAGAIN;
		if (peer->n_outgoing == 0)
			r = ipci_packet_send(ipci_peer_fd(peer), packet->data, packet->n, fds,
					     n_fds);
		if (r == 0) {
			close_sent(fds, n_fds);
			return 0;
		}
		if (r == -EAGAIN) {
			r = enqueue(peer, packet, fds, n_fds, is_news);
			if (r == 0)
				return 0;
		} else if (r != -ETOOMANYREFS) {
			lose(peer, "has gone");
		}
	}
	dispose_all(fds, n_fds);
	return r;
}

int ipci_peer_send(struct ipci_peer *peer, const struct ipci_packet *packet, const int *fds,
		   unsigned n_fds)
{
	return send_or_enqueue(peer, packet, fds, n_fds, false);
}

void ipci_peer_tell(struct ipci_peer *peer, const struct ipci_packet *packet)
{
	(void)send_or_enqueue(peer, packet, NULL, 0, true);
}

void ipci_peer_refuse(struct ipci_peer *peer, uint64_t serial, int code, const char *text)
{
	struct ipci_packet *out = &peer->workload->broker->out;

	if (ipci_message_result(out, serial, -code, text) == 0)
		(void)ipci_peer_send(peer, out, NULL, 0);
}

static void flush(struct ipci_peer *peer)
{
	while (peer->n_outgoing > 0) {
		struct outgoing *first = IPCI_CONTAINER_OF(peer->outgoing.next, struct outgoing,
							   link);
		int r = ipci_packet_send(ipci_peer_fd(peer), first->data, first->n, first->fds,
					 first->n_fds);

		if (r == -EAGAIN)
			return;
		if (r < 0) {
			lose(peer, "does not take its packets");
			return;
		}
		close_sent(first->fds, first->n_fds);
		outgoing_free(peer, first);
	}
	if (ipci_loop_modify(peer->workload->broker->loop, &peer->handler.source, EPOLLIN) < 0)
		lose(peer, "cannot be waited for");
}

static int wait_for(struct ipci_peer *peer, uint32_t events)
{
	return ipci_loop_modify(peer->workload->broker->loop, &peer->handler.source,
				events | (peer->n_outgoing > 0 ? EPOLLOUT : 0));
}

/* Reads nothing more for a moment: what waits in its socket waits. */
static void rest(struct ipci_peer *peer)
{
	if (wait_for(peer, 0) < 0)
		lose(peer, "cannot be waited for");
	else
		ipci_timer_set(&peer->workload->broker->timers, &peer->timer,
			       ipci_deadline_ns(REST_NS));
}

/* The timer of one that has said hello runs for nothing else. */
static bool is_resting(const struct ipci_peer *peer)
{
	return peer->welcome && !ipci_list_empty(&peer->timer.link);
}

static void receive_failed(struct ipci_peer *peer, ssize_t error)
{
	if (error == -EMSGSIZE) {
		ipci_peer_doom(peer, 0, -EPROTO, "a message of more than 64 KiB");
	} else if (error == -EBADMSG) {
		ipci_peer_doom(peer, 0, -EPROTO, "too many descriptors with a message");
		ipci_workload_note_strays(peer->workload);
	} else if (error == -EMFILE) {
		/* More than one came, or the limit is lower than it was: there is no place at all.
		 */
		ipci_peer_doom(peer, 0, -EMFILE, "the broker has no descriptors left");
	} else if (error == -EACCES) {
		ipci_peer_doom(peer, 0, -EACCES,
			       "a security module keeps the descriptor from the broker");
	} else {
		lose(peer, "has gone");
	}
}

/* Takes one packet and works it off. False: there is none, or none that can be taken now. */
static bool receive_one(struct ipci_peer *peer)
{
	struct ipci_broker *broker = peer->workload->broker;
	struct ipci_packet *in = &broker->in;
	bool has_fds = is_next_with_fds(ipci_peer_fd(peer));
	unsigned n_fds = 0;
	int fd = -EBADF;
	ssize_t n;

	if (has_fds && peer->welcome && !ipci_broker_hold_reserve(broker)) {
		rest(peer);
		return false;
	}
	if (has_fds)
		ipci_broker_lend_reserve(broker);
	/* No message of a workload carries more than one descriptor. */
	n = ipci_packet_recv(ipci_peer_fd(peer), in->data, sizeof(in->data), &fd, 1, &n_fds);
	if (n > 0) {
		in->n = (size_t)n;
		ipci_request_handle(peer, in, fd);
	} else if (n != -EAGAIN) {
		receive_failed(peer, n);
	}
	(void)ipci_broker_hold_reserve(broker);
	return n != -EAGAIN;
}

static void receive(struct ipci_peer *peer)
{
	for (unsigned i = 0; i < MESSAGES_PER_TURN && !peer->doomed; i++)
		if (!receive_one(peer))
			return;
}

static void ready(struct ipci_handler *handler, uint32_t revents)
{
	struct ipci_peer *peer = IPCI_CONTAINER_OF(handler, struct ipci_peer, handler);

	if (peer->doomed)
		return;
	if (revents & EPOLLOUT)
		flush(peer);
	if (!peer->doomed && (revents & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		receive(peer);
	/* What it left behind and cannot be taken now nobody waits for any more. */
	if (!peer->doomed && is_resting(peer) && revents & EPOLLHUP)
		lose(peer, "has gone");
}

static void timed_out(struct ipci_timer *timer)
{
	struct ipci_peer *peer = IPCI_CONTAINER_OF(timer, struct ipci_peer, timer);

	if (peer->doomed)
		return;
	if (!peer->welcome)
		ipci_peer_doom(peer, 0, -ETIMEDOUT, "no HELLO came");
	else if (wait_for(peer, EPOLLIN) < 0)
		lose(peer, "cannot be waited for");
}

static void end_channels(struct ipci_peer *peer)
{
	char text[IPCI_WORKLOAD_NAME_MAX + 32];

	(void)snprintf(text, sizeof(text), "workload \"%s\" has gone",
		       ipci_workload_name(peer->workload));
	while (!ipci_list_empty(&peer->opened)) {
		struct ipci_channel *channel = IPCI_CONTAINER_OF(peer->opened.next,
								 struct ipci_channel, in_client);

		if (channel->state == IPCI_CHANNEL_JOINED)
			ipci_channel_end(channel, peer, -EPIPE, text);
		else if (channel->state == IPCI_CHANNEL_OFFERED)
			ipci_channel_orphan(channel);
		else
			ipci_channel_free(channel);
	}
	while (!ipci_list_empty(&peer->served)) {
		struct ipci_channel *channel = IPCI_CONTAINER_OF(peer->served.next,
								 struct ipci_channel, in_server);

		if (channel->state == IPCI_CHANNEL_JOINED) {
			ipci_channel_end(channel, peer, -EPIPE, text);
			continue;
		}
		if (channel->state == IPCI_CHANNEL_OFFERED)
			ipci_open_fail(channel, -EPIPE, text); /* which only orphans it */
		ipci_channel_free(channel);
	}
}

static void peer_free(struct ipci_peer *peer)
{
	struct ipci_broker *broker = peer->workload->broker;

	while (!ipci_list_empty(&peer->registrations))
		ipci_registration_free(IPCI_CONTAINER_OF(peer->registrations.next,
							 struct ipci_registration, in_peer));
	end_channels(peer);
	while (peer->n_outgoing > 0) {
		struct outgoing *first = IPCI_CONTAINER_OF(peer->outgoing.next, struct outgoing,
							   link);

		dispose_all(first->fds, first->n_fds);
		outgoing_free(peer, first);
	}
	ipci_timer_clear(&peer->timer);
	ipci_loop_remove(broker->loop, &peer->handler.source);
	hang_up(ipci_peer_fd(peer), &broker->in);
	ipci_list_remove(&peer->link);
	ipci_list_remove(&peer->doom);
	ipci_charge_undo(&peer->connection);
	peer->workload->n_refused -= peer->refusal != NULL;
	free(peer->refusal);
	free(peer);
}

void ipci_peers_reap(struct ipci_broker *broker)
{
	/* Telling the others may doom some of them. */
	while (!ipci_list_empty(&broker->doomed))
		peer_free(IPCI_CONTAINER_OF(broker->doomed.next, struct ipci_peer, doom));
}

/* A connection that there is no place for is told so at once, whatever it was about to ask. */
static void turn_away(struct ipci_workload *workload, int fd, int code, const char *text)
{
	struct ipci_packet *out = &workload->broker->out;

	if (ipci_message_result(out, 0, -code, text) == 0)
		(void)ipci_packet_send(fd, out->data, out->n, NULL, 0);
	hang_up(fd, &workload->broker->in);
}

static int peer_new(struct ipci_peer **ret, struct ipci_workload *workload, int fd)
{
	struct ipci_broker *broker = workload->broker;
	struct ipci_peer *peer = calloc(1, sizeof(*peer));
	int r;

	if (!peer)
		return -ENOMEM;
	peer->handler.ready = ready;
	r = ipci_broker_watch(broker, &peer->handler, fd, EPOLLIN);
	if (r < 0) {
		free(peer);
		return r;
	}
	peer->workload = workload;
	peer->id = ++broker->last_peer;
	ipci_list_init(&peer->doom);
	ipci_list_init(&peer->outgoing);
	ipci_list_init(&peer->registrations);
	ipci_list_init(&peer->opened);
	ipci_list_init(&peer->served);
	ipci_list_append(&workload->peers, &peer->link);
	ipci_timer_init(&peer->timer, timed_out);
	ipci_timer_set(&broker->timers, &peer->timer, ipci_deadline_ns(HELLO_TIMEOUT_NS));
	*ret = peer;
	return 0;
}

/* Only an answer to its HELLO surely reaches the program, so it may say that first; but few may
 * linger so. */
static bool refuse_later(struct ipci_workload *workload, int fd, const struct ipci_error *why)
{
	struct ipci_error *refusal;
	struct ipci_peer *peer;

	if (workload->n_refused == IPCI_PEER_REFUSED_MAX)
		return false;
	refusal = malloc(sizeof(*refusal));
	if (!refusal)
		return false;
	if (peer_new(&peer, workload, fd) < 0) {
		free(refusal);
		return false;
	}
	*refusal = *why;
	peer->refusal = refusal;
	workload->n_refused++;
	return true;
}

void ipci_peer_admit(struct ipci_workload *workload, int fd)
{
	struct ipci_charge connection = {0};
	struct ipci_error error = {0};
	struct ipci_peer *peer = NULL;
	int r;

	r = ipci_identity_check(fd, workload->policy, &error);
	if (r == 0)
		r = ipci_charge_take(&connection, &workload->quota, IPCI_LIMIT_CONNECTIONS, 1,
				     &error);
	if (r < 0 && refuse_later(workload, fd, &error))
		return;
	if (r == 0) {
		r = peer_new(&peer, workload, fd);
		if (r < 0)
			(void)ipci_error_set(&error, r,
					     "the broker has no room for a connection: %s",
					     strerror(-r));
	}
	if (r < 0) {
		ipci_charge_undo(&connection);
		ipci_workload_log(workload, "turned a connection away: %s", error.text);
		turn_away(workload, fd, r, error.text);
		return;
	}
	peer->connection = connection;
}
