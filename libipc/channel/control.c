/* SPDX-License-Identifier: Apache-2.0 */
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "control.h"
#include "dispose.h"

#define DEFAULT_BROKER "/run/ipc/broker.sock"
#define PACKETS_PER_TURN                                                                           \
	16u /* an offer costs some 100 us, and the channels wait: then it is their turn */

/* ── sending ── */

uint64_t ipci_control_start(struct ipci_control_connection *c, ipc_broker_Message_w *m,
			    ipc_broker_Kind kind, uint64_t serial)
{
	if (serial == 0)
		serial = ++c->serial;
	ipc_writer_init(&c->writer, c->out, sizeof(c->out));
	*m = ipc_broker_Message_start(&c->writer);
	ipc_broker_Message_set_kind(m, kind);
	ipc_broker_Message_set_serial(m, serial);
	return serial;
}

int ipci_control_send(struct ipc_loop *loop, const int *fds, unsigned n_fds)
{
	struct ipci_control_connection *c = loop->control;
	size_t size_bytes = 0;
	int r;

	if (c->gone)
		return ipci_error_set(&loop->error, -ENOTCONN, "the broker is gone");
	r = ipc_writer_finish(&c->writer, &size_bytes);
	if (r < 0)
		return ipci_error_set(&loop->error, -EINVAL,
				      "the request does not fit a packet of %u bytes",
				      IPCI_PACKET_MAX_BYTES);
	r = ipci_packet_send(c->fd, c->out, size_bytes, fds, n_fds);
	if (r < 0)
		return ipci_error_set(&loop->error, r == -EPIPE || r == -ECONNRESET ? -ENOTCONN : r,
				      "cannot send to the broker: %s", strerror(-r));
	return 0;
}

static void want_output(struct ipc_loop *loop, bool want)
{
	(void)ipci_loop_modify(loop->poller, &loop->control_source,
			       want ? EPOLLIN | EPOLLRDHUP | EPOLLOUT : EPOLLIN | EPOLLRDHUP);
}

/* The broker learns of every end, later if its socket is full: it accounts for channels. */
static void flush_closes(struct ipc_loop *loop)
{
	struct ipci_control_connection *c = loop->control;

	while (c->n_closes && !c->gone) {
		ipc_broker_Message_w m;

		(void)ipci_control_start(c, &m, ipc_broker_Kind_Close, 0);
		ipc_broker_Message_set_channel(&m, c->closes[c->n_closes - 1]);
		if (ipci_control_send(loop, NULL, 0) < 0)
			break;
		c->n_closes--;
	}
	want_output(loop, c->n_closes != 0);
}

void ipci_control_tell_closed(struct ipc_channel *channel)
{
	struct ipci_control_connection *c = channel->loop->control;

	if (!c || c->gone || !channel->id || channel->closed_by_broker)
		return;
	if (c->n_closes == c->n_closes_max) {
		size_t n = c->n_closes_max ? 2 * c->n_closes_max : 16;
		uint64_t *bigger = realloc(c->closes, n * sizeof(*bigger));

		/* Without memory the broker counts the channel until this connection ends. */
		if (!bigger)
			return;
		c->closes = bigger;
		c->n_closes_max = n;
	}
	c->closes[c->n_closes++] = channel->id;
	flush_closes(channel->loop);
}

void ipci_control_set_methods(ipc_broker_Method_vec_w *methods, const struct ipc_service *service)
{
	for (uint32_t i = 0; i < service->n_methods; i++) {
		ipc_broker_Method_w m = ipc_broker_Method_new_at(methods, i);

		ipc_broker_Method_set_name(&m, service->methods[i].name,
					   strlen(service->methods[i].name));
		ipc_broker_Method_set_id(&m, service->methods[i].id);
	}
}

/* ── what the program gave ── */

int ipci_service_check(struct ipc_loop *loop, const struct ipc_service *service)
{
	if (!service->name || !*service->name || strlen(service->name) >= IPCI_NAME_BYTES)
		return ipci_error_set(&loop->error, -EINVAL, "a service's name has 1 to %u bytes",
				      IPCI_NAME_BYTES - 1);
	if (!service->methods || service->n_methods == 0 || service->n_methods > IPC_METHODS_MAX)
		return ipci_error_set(&loop->error, -EINVAL, "service %s: 1 to %u methods, not %u",
				      service->name, IPC_METHODS_MAX, service->n_methods);
	for (uint32_t i = 0; i < service->n_methods; i++) {
		const struct ipc_method *m = &service->methods[i];

		if (!m->name || !*m->name || strlen(m->name) >= IPCI_NAME_BYTES ||
		    m->id >= IPC_METHODS_MAX || m->flags)
			return ipci_error_set(&loop->error, -EINVAL,
					      "service %s: method %u has a bad name, id or flag",
					      service->name, i);
	}
	return 0;
}

int ipci_sizes_check(struct ipc_loop *loop, uint64_t *ring_bytes, uint32_t *max_calls)
{
	if (*ring_bytes == 0)
		*ring_bytes = IPCI_DEFAULT_RING_BYTES;
	if (*max_calls == 0)
		*max_calls = IPCI_DEFAULT_MAX_CALLS;
	if (!ipci_half_ring_bytes_ok(*ring_bytes))
		return ipci_error_set(
			&loop->error, -EINVAL,
			"ring_bytes %llu: expected a power of two of whole pages, at most 1 GiB",
			(unsigned long long)*ring_bytes);
	if (*max_calls > IPCI_MAX_CALLS_LIMIT)
		return ipci_error_set(&loop->error, -EINVAL, "max_calls %u: at most %u", *max_calls,
				      IPCI_MAX_CALLS_LIMIT);
	return 0;
}

int ipci_pages_check(struct ipc_loop *loop, uint32_t flags, uint64_t *ring_bytes)
{
	if (!(flags & IPCI_OWN_HUGE_PAGES))
		return 0;
	if (*ring_bytes == 0)
		*ring_bytes = IPCI_HALF_HUGE_PAGE_BYTES;
	if (*ring_bytes < IPCI_HALF_HUGE_PAGE_BYTES)
		return ipci_error_set(&loop->error, -EINVAL,
				      "ring_bytes %llu: huge pages have %u bytes, and a ring is at "
				      "least one of them",
				      (unsigned long long)*ring_bytes, IPCI_HALF_HUGE_PAGE_BYTES);
	return 0;
}

bool ipci_control_copy_name(char *ret, size_t size, struct ipc_str name)
{
	if (name.size_bytes == 0 || name.size_bytes >= size ||
	    memchr(name.data, '\0', name.size_bytes))
		return false;
	memcpy(ret, name.data, name.size_bytes);
	ret[name.size_bytes] = '\0';
	return true;
}

/* ── receiving ── */

/* No more control plane. What was mapped lives on; what was asked for fails. */
static void lose_broker(struct ipc_loop *loop, int code, const char *text)
{
	struct ipci_control_connection *c = loop->control;

	if (c->gone)
		return;
	c->gone = true;
	(void)ipci_error_set(&loop->error, code, "the broker is gone: %s", text);
	ipci_loop_remove(loop->poller, &loop->control_source);
	ipci_fork_unregister(c->fd);
	(void)close(c->fd);
	c->fd = -EBADF;
	for (struct ipci_list *l = loop->channels.next, *next; l != &loop->channels; l = next) {
		struct ipc_channel *channel = IPCI_CONTAINER_OF(l, struct ipc_channel, link);

		next = l->next;
		if (channel->open_serial)
			(void)ipci_open_failed(loop, channel->open_serial, -ENOTCONN,
					       "the broker is gone");
	}
}

void ipci_control_answer(struct ipc_loop *loop, uint64_t serial, int result)
{
	struct ipci_control_connection *c = loop->control;

	if (serial != c->awaited)
		return;
	c->answered = true;
	c->answer = result;
}

static void text_of(char *ret, size_t size, ipc_broker_Message message)
{
	struct ipc_str text = ipc_broker_Message_text(message);

	(void)snprintf(ret, size, "%.*s",
		       (int)(text.size_bytes < size ? text.size_bytes : size - 1),
		       text.size_bytes ? text.data : "");
}

static void take_result(struct ipc_loop *loop, ipc_broker_Message message)
{
	char text[IPCI_ERROR_TEXT_BYTES];
	uint64_t serial = ipc_broker_Message_serial(message);
	int error = -ipc_broker_Message_error(message);

	if (error > 0 || error < -4095)
		error = -EPROTO;
	text_of(text, sizeof(text), message);
	if (error && ipci_open_failed(loop, serial, error, text))
		return;
	if (error)
		(void)ipci_error_set(&loop->error, error, "%s", text);
	ipci_control_answer(loop, serial, error);
}

static void take_closed(struct ipc_loop *loop, ipc_broker_Message message)
{
	uint64_t id = ipc_broker_Message_channel(message);
	int error = -ipc_broker_Message_error(message);

	for (struct ipci_list *l = loop->channels.next; l != &loop->channels; l = l->next) {
		struct ipc_channel *channel = IPCI_CONTAINER_OF(l, struct ipc_channel, link);

		if (channel->id != id || channel->lost)
			continue;
		channel->closed_by_broker = true;
		channel->error_by_broker = error < 0 && error >= -4095 ? error : -EPIPE;
		ipci_channel_ends(channel);
		text_of(channel->reason, sizeof(channel->reason), message);
		ipci_channel_set_hot(channel);
		return;
	}
}

static void take_message(struct ipc_loop *loop, size_t size_bytes, struct ipci_fds *fds)
{
	struct ipc_msg msg = ipc_msg_from(loop->control->in, size_bytes);
	ipc_broker_Message message = ipc_broker_Message_root(&msg);
	struct ipci_control_connection *c = loop->control;

	switch (ipc_broker_Message_kind(message)) {
	case ipc_broker_Kind_Welcome:
		(void)ipci_control_copy_name(c->workload, sizeof(c->workload),
					     ipc_broker_Welcome_workload(
						     ipc_broker_Message_welcome(message)));
		ipci_control_answer(loop, ipc_broker_Message_serial(message),
				    msg.bad ? -EPROTO : 0);
		break;
	case ipc_broker_Kind_Result:
		take_result(loop, message);
		break;
	case ipc_broker_Kind_Opened:
		ipci_open_opened(loop, message, fds);
		break;
	case ipc_broker_Kind_Offer:
		ipci_serve_offer(loop, message, fds);
		break;
	case ipc_broker_Kind_Closed:
		take_closed(loop, message);
		break;
	default:
		lose_broker(loop, -EPROTO, "it sent a message of an unknown kind");
		return;
	}
	if (msg.bad)
		lose_broker(loop, -EPROTO, "it sent a malformed message");
}

static const char *receive_error(int error)
{
	switch (error) {
	case -EACCES:
		return "a security module refused its descriptors";
	case -EBADMSG:
		return "it sent more descriptors than any message carries";
	case -EMSGSIZE:
		return "it sent a message larger than the protocol allows";
	default:
		return strerror(-error);
	}
}

void ipci_control_process(struct ipc_loop *loop)
{
	struct ipci_control_connection *c = loop->control;

	for (unsigned n = 0; n < PACKETS_PER_TURN && !c->gone; n++) {
		struct ipci_fds fds = {};
		ssize_t r = ipci_packet_recv(c->fd, c->in, sizeof(c->in), fds.fd,
					     IPCI_PACKET_FDS_MAX, &fds.n);

		if (r == -EAGAIN || r == -EINTR)
			break;
		if (r <= 0) {
			lose_broker(loop, r ? (int)r : -ENOTCONN,
				    r ? receive_error((int)r) : "it hung up");
			return;
		}
		take_message(loop, (size_t)r, &fds);
		for (unsigned i = 0; i < fds.n; i++)
			ipci_fd_dispose(fds.fd[i]);
	}
	if (!c->gone && c->n_closes)
		flush_closes(loop);
}

int ipci_control_fd(const struct ipc_loop *loop)
{
	return loop->control->gone ? -1 : loop->control->fd;
}

int ipci_control_await(struct ipc_loop *loop, uint64_t serial, uint64_t deadline_ns)
{
	struct ipci_control_connection *c = loop->control;

	if (loop->wakes_due)
		ipci_loop_send_wakes(loop, true);
	c->awaited = serial;
	c->answered = false;
	for (;;) {
		struct pollfd poll_fd = {.fd = c->fd, .events = POLLIN};
		uint64_t remaining_ns = ipci_remaining_ns(deadline_ns, ipci_now_ns());
		struct timespec timeout = ipci_timespec(remaining_ns);

		ipci_control_process(loop);
		if (c->answered)
			return c->answer;
		if (c->gone)
			return -ENOTCONN;
		if (remaining_ns == 0)
			return ipci_error_set(&loop->error, -ETIMEDOUT,
					      "the broker did not answer in time");
		(void)ppoll(&poll_fd, 1, deadline_ns == IPCI_NEVER ? NULL : &timeout, NULL);
	}
}

/* ── connecting ── */

static int connect_socket(struct ipc_loop *loop, const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	uint64_t deadline_ns = ipci_deadline_ns(IPCI_CONTROL_TIMEOUT_NS);
	const struct timespec pause = ipci_timespec(IPCI_NS_PER_MS);
	_cleanup_(closep) int fd = -EBADF;

	if (strlen(path) >= sizeof(address.sun_path))
		return ipci_error_set(&loop->error, -EINVAL,
				      "the broker's path %s is longer than %zu bytes", path,
				      sizeof(address.sun_path) - 1);
	memcpy(address.sun_path, path, strlen(path));
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return ipci_error_errno(&loop->error, "cannot make a socket");
	while (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		if (errno != EAGAIN && errno != EINTR)
			return ipci_error_errno(&loop->error, "cannot reach the broker at %s",
						path);
		/* A full backlog has no event to wait for. */
		if (ipci_now_ns() >= deadline_ns)
			return ipci_error_set(&loop->error, -ETIMEDOUT,
					      "the broker at %s takes no connections", path);
		(void)nanosleep(&pause, NULL);
	}
	return TAKE_FD(fd);
}

static int say_hello(struct ipc_loop *loop)
{
	struct ipci_control_connection *c = loop->control;
	ipc_broker_Message_w m;
	ipc_broker_Hello_w hello;
	uint64_t serial = ipci_control_start(c, &m, ipc_broker_Kind_Hello, 0);
	int r;

	hello = ipc_broker_Message_new_hello(&m);
	ipc_broker_Hello_set_version(&hello, IPCI_PROTOCOL_VERSION);
	ipc_broker_Hello_set_features(&hello, loop->features);
	r = ipci_control_send(loop, NULL, 0);
	if (r < 0)
		return r;
	r = ipci_control_await(loop, serial, ipci_deadline_ns(IPCI_CONTROL_TIMEOUT_NS));
	/* Gone, but why? */
	return r == -ENOTCONN && loop->error.code ? loop->error.code : r;
}

int ipci_control_connect(struct ipc_loop *loop, const char *path)
{
	struct ipci_control_connection *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return ipci_error_set(&loop->error, -ENOMEM, "out of memory");
	loop->control = c;
	c->gone = true;
	if (!path || !*path)
		path = getenv("IPC_BROKER");
	if (!path || !*path)
		path = DEFAULT_BROKER;
	c->fd = connect_socket(loop, path);
	if (c->fd < 0)
		return c->fd;
	r = ipci_fork_register(c->fd);
	if (r < 0) {
		(void)close(c->fd);
		return r;
	}
	loop->control_source = (struct ipci_source){.fd = c->fd, .events = EPOLLIN | EPOLLRDHUP};
	r = ipci_loop_add(loop->poller, &loop->control_source);
	if (r < 0) {
		ipci_fork_unregister(c->fd);
		(void)close(c->fd);
		return ipci_error_set(&loop->error, r, "cannot wait for the broker: %s",
				      strerror(-r));
	}
	c->gone = false;
	return say_hello(loop);
}

void ipci_control_free(struct ipc_loop *loop)
{
	struct ipci_control_connection *c = loop->control;

	if (!c)
		return;
	/* In a forked child the socket is closed already, and the poller is the parent's. */
	if (!c->gone && !ipci_forked(loop)) {
		ipci_loop_remove(loop->poller, &loop->control_source);
		ipci_fork_unregister(c->fd);
		(void)close(c->fd);
	}
	free(c->closes);
	free(c);
	loop->control = NULL;
}
