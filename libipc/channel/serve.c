/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Offering a service. Each client that the broker lets in comes as an OFFER with its half, an end
 * of the bell, who it is, and which methods it may call under which of its own numbers; the answer
 * is ACCEPT with this side's half.
 */
#include <stdlib.h>
#include <string.h>

#include "bell.h"
#include "control.h"
#include "dispose.h"
#include "threads.h"

static struct ipc_server *find_server(struct ipc_loop *loop, uint64_t serial)
{
	for (struct ipci_list *l = loop->servers.next; l != &loop->servers; l = l->next) {
		struct ipc_server *server = IPCI_CONTAINER_OF(l, struct ipc_server, link);

		if (server->serial == serial)
			return server;
	}
	return NULL;
}

static int16_t method_by_name(const struct ipc_service *service, struct ipc_str name)
{
	for (uint32_t i = 0; i < service->n_methods; i++) {
		const char *ours = service->methods[i].name;

		if (strlen(ours) == name.size_bytes &&
		    memcmp(ours, name.data, name.size_bytes) == 0)
			return (int16_t)service->methods[i].id;
	}
	return IPCI_METHOD_UNIMPLEMENTED;
}

/* From the client's numbers to ours; what was not offered is refused. */
static int map_methods(struct ipc_channel *channel, ipc_broker_Method_vec offered)
{
	const size_t n = ipc_broker_Method_vec_count(offered);

	if (n > IPC_METHODS_MAX)
		return -EPROTO;
	channel->methods = malloc(IPC_METHODS_MAX * sizeof(*channel->methods));
	if (!channel->methods)
		return -ENOMEM;
	channel->n_methods = IPC_METHODS_MAX;
	for (uint32_t i = 0; i < IPC_METHODS_MAX; i++)
		channel->methods[i] = IPCI_METHOD_REFUSED;
	for (size_t i = 0; i < n; i++) {
		ipc_broker_Method m = ipc_broker_Method_at(offered, i);
		uint16_t id = ipc_broker_Method_id(m);

		if (id >= IPC_METHODS_MAX)
			return -EPROTO;
		channel->methods[id] = method_by_name(channel->service, ipc_broker_Method_name(m));
	}
	return 0;
}

/* Our half, on pages that the client allows. */
static int make_half(struct ipc_channel *channel, ipc_broker_Offer offer, int *ret_fd,
		     struct ipci_error *error)
{
	const struct ipc_server *server = channel->server;
	uint32_t flags = server->flags;

	if (flags & IPC_PREFER_HUGE_PAGES && !ipc_broker_Offer_allow_huge_pages(offer))
		flags &= ~IPCI_OWN_HUGE_PAGES;
	if (flags & IPC_HUGE_PAGES && !ipc_broker_Offer_allow_huge_pages(offer))
		return ipci_channel_check_pages(0, IPCI_HALF_HUGE_PAGE_BYTES, "server", error);
	return ipci_channel_own_half(channel, ret_fd, server->ring_bytes, flags, error);
}

/* Checks what was offered, and joins. *@ret_fd is our half, to be sent. 0 or -errno with words. */
static int join(struct ipc_channel *channel, ipc_broker_Offer offer, struct ipci_fds *fds,
		int *ret_fd, struct ipci_error *error)
{
	struct ipc_server *server = channel->server;
	const uint64_t ring_bytes = ipc_broker_Offer_ring_bytes(offer);
	const uint32_t page_bytes = ipc_broker_Offer_page_bytes(offer);
	uint32_t max_calls = ipc_broker_Offer_max_calls(offer);
	_cleanup_(closep) int half_fd = -EBADF;
	struct ipci_half half;
	int r;

	if (fds->n != 2 || ipc_broker_Offer_layout(offer) != IPCI_LAYOUT_VERSION ||
	    !ipci_half_shape_ok(ring_bytes, page_bytes) || max_calls == 0 ||
	    !ipci_control_copy_name(channel->peer, sizeof(channel->peer),
				    ipc_broker_Offer_caller(offer)))
		return ipci_error_set(error, -EPROTO, "the offer is not one that can be");
	if (max_calls > server->max_calls)
		max_calls = server->max_calls;
	r = map_methods(channel, ipc_broker_Offer_methods(offer));
	if (r < 0 || !ipc_broker_Offer_ok(offer))
		return ipci_error_set(error, r < 0 ? r : -EPROTO, "the offer's methods cannot be");
	r = ipci_channel_check_pages(server->flags, page_bytes, "client", error);
	if (r < 0)
		return r;
	r = ipci_bell_check(fds->fd[1]);
	if (r < 0)
		return ipci_error_set(error, -EPROTO,
				      "what came as the bell is no SEQPACKET socket");
	r = ipci_half_import_shape(&half, fds->fd[0], ring_bytes, page_bytes, error);
	if (r < 0)
		return r;
	r = make_half(channel, offer, &half_fd, error);
	if (r < 0) {
		ipci_half_deinit(&half);
		return r;
	}
	r = ipci_channel_join(channel, &half, fds->fd[1], max_calls,
			      ipc_broker_Offer_features(offer));
	if (r < 0) {
		ipci_half_deinit(&half);
		return ipci_error_set(error, r, "cannot join the channel: %s", strerror(-r));
	}
	fds->fd[1] = -EBADF;
	ipci_fd_close(TAKE_FD(fds->fd[0]));
	*ret_fd = TAKE_FD(half_fd);
	return 0;
}

static void reject(struct ipc_loop *loop, uint64_t serial, int error, const char *text)
{
	ipc_broker_Message_w m;

	(void)ipci_control_start(loop->control, &m, ipc_broker_Kind_Reject, serial);
	ipc_broker_Message_set_error(&m, -error);
	ipc_broker_Message_set_text(&m, text, strlen(text));
	/* A broker that cannot be told lets the offer time out. */
	(void)ipci_control_send(loop, NULL, 0);
}

static int accept_offer(struct ipc_channel *channel, uint64_t serial, int half_fd)
{
	struct ipc_loop *loop = channel->loop;
	ipc_broker_Message_w m;
	ipc_broker_Accept_w accept;

	(void)ipci_control_start(loop->control, &m, ipc_broker_Kind_Accept, serial);
	ipc_broker_Message_set_channel(&m, channel->id);
	accept = ipc_broker_Message_new_accept(&m);
	ipc_broker_Accept_set_ring_bytes(&accept, channel->own.ring_bytes);
	ipc_broker_Accept_set_layout(&accept, IPCI_LAYOUT_VERSION);
	ipc_broker_Accept_set_features(&accept, loop->features);
	ipc_broker_Accept_set_max_calls(&accept, channel->max_calls);
	ipc_broker_Accept_set_page_bytes(&accept, channel->own.page_bytes);
	return ipci_control_send(loop, &half_fd, 1);
}

void ipci_serve_offer(struct ipc_loop *loop, ipc_broker_Message message, struct ipci_fds *fds)
{
	const uint64_t serial = ipc_broker_Message_serial(message);
	ipc_broker_Offer offer = ipc_broker_Message_offer(message);
	struct ipc_server *server = find_server(loop, ipc_broker_Offer_serve_serial(offer));
	_cleanup_(closep) int half_fd = -EBADF;
	struct ipci_error error = {};
	struct ipc_channel *channel;
	int r;

	if (!server || server->drains) {
		reject(loop, serial, -ENOENT, "the service was withdrawn");
		return;
	}
	r = ipci_channel_alloc(&channel, loop, server->service);
	if (r < 0) {
		reject(loop, serial, r, "the server is out of memory");
		return;
	}
	channel->server = server;
	channel->at_server = true;
	channel->user = server->user;
	if (server->max_in_flight)
		channel->life = IPCI_LIFE_GUARDED;
	channel->id = ipc_broker_Message_channel(message);
	r = join(channel, offer, fds, &half_fd, &error);
	if (r < 0) {
		reject(loop, serial, r, error.text);
	} else {
		r = accept_offer(channel, serial, half_fd);
	}
	if (r < 0) {
		ipci_channel_discard(channel);
		return;
	}
	channel->came = true;
	ipci_channel_ready(channel);
}

static int serve(struct ipc_server *server, const char *name)
{
	struct ipc_loop *loop = server->loop;
	const struct ipc_service *service = server->service;
	ipc_broker_Message_w m;
	ipc_broker_Serve_w serve;
	ipc_broker_Method_vec_w methods;
	int r;

	server->serial = ipci_control_start(loop->control, &m, ipc_broker_Kind_Serve, 0);
	serve = ipc_broker_Message_new_serve(&m);
	ipc_broker_Serve_set_service(&serve, service->name, strlen(service->name));
	if (name)
		ipc_broker_Serve_set_name(&serve, name, strlen(name));
	ipc_broker_Serve_set_max_calls(&serve, server->max_calls);
	ipc_broker_Serve_set_ring_bytes(&serve, server->ring_bytes);
	methods = ipc_broker_Serve_new_methods(&serve, service->n_methods);
	ipci_control_set_methods(&methods, service);
	r = ipci_control_send(loop, NULL, 0);
	if (r < 0)
		return r;
	/* On the list before the answer: an offer may come right behind it. */
	ipci_list_append(&loop->servers, &server->link);
	return ipci_control_await(loop, server->serial, ipci_deadline_ns(IPCI_CONTROL_TIMEOUT_NS));
}

void ipci_serve_withdraw(struct ipc_server *server)
{
	struct ipc_loop *loop = server->loop;
	ipc_broker_Message_w m;
	ipc_broker_Serve_w serve;

	if (loop->control->gone)
		return;
	(void)ipci_control_start(loop->control, &m, ipc_broker_Kind_Withdraw, server->serial);
	serve = ipc_broker_Message_new_serve(&m);
	ipc_broker_Serve_set_service(&serve, server->service->name, strlen(server->service->name));
	(void)ipc_broker_Serve_new_methods(&serve, 0);
	(void)ipci_control_send(loop, NULL, 0);
}

static int serve_check(struct ipc_loop *loop, const struct ipc_service *service,
		       struct ipc_serve_opts *opts)
{
	int r = ipci_service_check(loop, service);

	if (r == 0)
		r = ipci_pages_check(loop, opts->flags, &opts->ring_bytes);
	if (r == 0)
		r = ipci_sizes_check(loop, &opts->ring_bytes, &opts->max_calls);
	if (r < 0)
		return r;
	if (opts->max_waiting && !opts->max_in_flight)
		return ipci_error_set(&loop->error, -EINVAL,
				      "ipc_serve_opts: max_waiting without max_in_flight");
	if (opts->flags & ~IPCI_PAGES_FLAGS ||
	    (opts->name && strlen(opts->name) >= IPCI_NAME_BYTES))
		return ipci_error_set(&loop->error, -EINVAL,
				      "ipc_serve_opts: an unknown flag, or too long a name");
	for (struct ipci_list *l = loop->servers.next; l != &loop->servers; l = l->next) {
		struct ipc_server *server = IPCI_CONTAINER_OF(l, struct ipc_server, link);

		if (strcmp(server->service->name, service->name) == 0)
			return ipci_error_set(&loop->error, -EALREADY,
					      "this loop serves %s already", service->name);
	}
	return 0;
}

IPC_PUBLIC int ipc_serve(ipc_loop *loop, const struct ipc_service *service,
			 const struct ipc_serve_opts *opts, ipc_server **ret)
{
	struct ipc_serve_opts known;
	struct ipc_server *server;
	int r;

	if (!loop || !service || !ret)
		return -EINVAL;
	IPCI_ENTER(loop);
	if (ipci_forked(loop))
		return -ECHILD;
	r = ipci_opts_copy(&known, sizeof(known), opts);
	if (r == 0)
		r = serve_check(loop, service, &known);
	if (r < 0)
		return r;
	server = calloc(1, sizeof(*server));
	if (!server)
		return -ENOMEM;
	*server = (struct ipc_server){
		.loop = loop,
		.service = service,
		.user = known.user,
		.ring_bytes = known.ring_bytes,
		.max_calls = known.max_calls,
		.max_in_flight = known.max_in_flight,
		.max_waiting = known.max_waiting ? known.max_waiting : known.max_in_flight,
		.flags = known.flags,
	};
	ipci_list_init(&server->waiting);
	ipci_list_init(&server->link);
	r = serve(server, known.name);
	if (r < 0) {
		ipc_server_free(server);
		return r;
	}
	*ret = server;
	return 0;
}

IPC_PUBLIC void ipc_server_free(ipc_server *server)
{
	static const struct ipci_refusal withdrawn = {IPC_UNAVAILABLE, "the service was withdrawn"};
	struct ipc_loop *loop;

	if (!server)
		return;
	loop = server->loop;
	IPCI_ENTER(loop);
	if (!ipci_forked(loop)) {
		if (!server->drains)
			ipci_serve_withdraw(server);
		ipci_drain_forget(server);
		ipci_place_clear(server, &withdrawn);
	}
	for (struct ipci_list *l = loop->channels.next, *next; l != &loop->channels; l = next) {
		struct ipc_channel *channel = IPCI_CONTAINER_OF(l, struct ipc_channel, link);

		next = l->next;
		if (channel->server != server)
			continue;
		channel->server = NULL;
		ipc_channel_free(channel);
	}
	ipci_list_remove(&server->link);
	free(server);
}
