// SPDX-License-Identifier: Apache-2.0
/*
 * The order of an open's checks: what the policy says, what the quota says, and only then the half,
 * which is typed before anything else touches it. Then the bell pair is made, one end goes to the
 * server with the client's half, the other waits for the server's half. After OPENED no descriptor
 * of the channel is left here.
 */
#include "open.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bell.h"
#include "cleanup.h"
#include "clock.h"
#include "dispose.h"
#include "half.h"

#define OFFER_TIMEOUT_NS (5 * IPCI_NS_PER_S)
#define OPEN_TIMEOUT_NS (5 * IPCI_NS_PER_S) /* where the client names none */
#define OPEN_TIMEOUT_MAX_NS (300 * IPCI_NS_PER_S)
#define METHODS_MAX 1024u

static struct ipci_charge *charge(struct ipci_channel *channel, unsigned which)
{
	return &channel->charges[which];
}

void ipci_open_fail(struct ipci_channel *channel, int code, const char *text)
{
	ipci_workload_log(channel->client->workload, "channel %llu: not opened: %s",
			  (unsigned long long)channel->id, text);
	ipci_peer_refuse(channel->client, channel->open_serial, code, text);
	if (channel->state == IPCI_CHANNEL_OFFERED)
		ipci_channel_orphan(channel);
	else
		ipci_channel_free(channel);
}

static void timed_out(struct ipci_timer *timer)
{
	struct ipci_channel *channel = IPCI_CONTAINER_OF(timer, struct ipci_channel, timer);
	char text[IPCI_ERROR_TEXT_BYTES];

	if (channel->state == IPCI_CHANNEL_OFFERED)
		(void)snprintf(text, sizeof(text), "workload \"%s\" did not answer in time",
			       ipci_workload_name(channel->server->workload));
	else if (ipci_list_empty(&channel->service->registrations))
		(void)snprintf(text, sizeof(text), "nobody serves %s", channel->service->name);
	else
		(void)snprintf(text, sizeof(text),
			       "nobody who serves %s was free to answer in time",
			       channel->service->name);
	ipci_open_fail(channel, -ETIMEDOUT, text);
}

/* Charges the server for the client's half and the channel, and makes the bell. */
static int prepare_offer(struct ipci_channel *channel, struct ipci_peer *server, int ret_bells[2],
			 struct ipci_error *error)
{
	struct ipci_quota *quota = &server->workload->quota;
	uint64_t bytes = ipci_half_shape_bytes(channel->ring_bytes, channel->page_bytes);
	int r;

	r = ipci_charge_take(charge(channel, IPCI_CHARGE_SERVER_CHANNEL), quota,
			     IPCI_LIMIT_CHANNELS, 1, error);
	if (r == 0)
		r = ipci_charge_take(charge(channel, IPCI_CHARGE_SERVER_OTHER), quota,
				     IPCI_LIMIT_SHARED_MEMORY, bytes, error);
	if (r < 0)
		return r;
	r = ipci_bell_pair(ret_bells);
	if (r < 0)
		return ipci_error_set(error, r, "the broker cannot make a bell: %s", strerror(-r));
	return 0;
}

static uint32_t least(uint32_t max_calls, uint64_t a, uint64_t b)
{
	uint64_t limit = a < b ? a : b;

	return max_calls == 0 || max_calls > limit ? (uint32_t)limit : max_calls;
}

/* Sends the OFFER. What was a waiting channel is an offered one, or its open fails. */
static void offer(struct ipci_channel *channel, const struct ipci_registration *registration)
{
	const struct ipci_policy_workload *caller = channel->client->workload->policy;
	struct ipci_peer *server = registration->peer;
	struct ipc_msg msg = ipc_msg_from(channel->request, channel->request_bytes);
	struct ipci_packet *out = &channel->broker->out;
	struct ipci_error error = {0};
	struct ipci_offer offer = {
		.channel = channel->id,
		.serve_serial = registration->serial,
		.service = registration->service->name,
		.caller = caller->name,
		.rule = ipci_policy_call_rule(caller, registration->service->name),
		.open = ipc_broker_Message_open(ipc_broker_Message_root(&msg)),
	};
	int bells[2] = {-EBADF, -EBADF};
	uint64_t limit_ns = ipci_deadline_ns(OFFER_TIMEOUT_NS);
	int r;

	offer.max_calls = channel->max_calls = least(
		ipc_broker_Open_max_calls(offer.open), caller->limits[IPCI_LIMIT_CALLS_IN_FLIGHT],
		server->workload->policy->limits[IPCI_LIMIT_CALLS_IN_FLIGHT]);
	r = prepare_offer(channel, server, bells, &error);
	if (r == 0) {
		r = ipci_message_offer(out, &offer);
		if (r < 0)
			(void)ipci_error_set(&error, r, "too many methods for one message");
	}
	if (r < 0) {
		ipci_fd_close(bells[0]);
		ipci_fd_close(bells[1]);
		ipci_open_fail(channel, r, error.text);
		return;
	}
	channel->bell = bells[0];
	r = ipci_peer_send(server, out, (int[]){TAKE_FD(channel->half), bells[1]}, 2);
	if (r < 0) {
		ipci_open_fail(channel, r == -ETOOMANYREFS ? r : -EPIPE,
			       r == -ETOOMANYREFS ? "the kernel carries no more descriptors now"
						  : "the server has gone");
		return;
	}
	ipci_channel_set_server(channel, server);
	ipci_channel_stop_waiting(channel);
	free(TAKE_PTR(channel->request));
	ipci_timer_set(&channel->broker->timers, &channel->timer,
		       limit_ns < channel->open_deadline_ns ? limit_ns : channel->open_deadline_ns);
}

void ipci_open_offer_waiting(struct ipci_service *service)
{
	struct ipci_list *at = service->waiting.next;
	const uint64_t now_ns = ipci_now_ns();

	/*
	 * Each turn either takes the channel off the list or steps over it, so this ends. One whose
	 * time is up is left to its timer: its offer would be work for the server, and for nothing.
	 */
	while (at != &service->waiting) {
		struct ipci_channel *channel = IPCI_CONTAINER_OF(at, struct ipci_channel,
								 in_service);
		struct ipci_registration *registration = ipci_service_choose(service,
									     channel->client);

		at = at->next;
		if (registration && now_ns < channel->open_deadline_ns)
			offer(channel, registration);
	}
}

/* What must hold for every OPEN that a correct library sends. */
static int check_open(ipc_broker_Open open, char service[static IPCI_SERVICE_NAME_MAX + 1],
		      struct ipci_error *error)
{
	ipc_broker_Method_vec methods = ipc_broker_Open_methods(open);
	size_t n = ipc_broker_Method_vec_count(methods);

	if (!ipci_message_service(ipc_broker_Open_service(open), service))
		return ipci_error_set(error, -EPROTO, "OPEN names no service");
	if (n == 0 || n > METHODS_MAX)
		return ipci_error_set(error, -EPROTO, "OPEN names %zu methods, expected 1 to %u", n,
				      METHODS_MAX);
	for (size_t i = 0; i < n; i++) {
		struct ipc_str name = ipc_broker_Method_name(ipc_broker_Method_at(methods, i));

		if (!ipci_method_name_ok(name.data, name.size_bytes))
			return ipci_error_set(error, -EPROTO, "OPEN names an impossible method");
	}
	if (!ipci_half_shape_ok(ipc_broker_Open_ring_bytes(open), ipc_broker_Open_page_bytes(open)))
		return ipci_error_set(error, -EPROTO,
				      "OPEN names an impossible ring of %llu bytes on pages of %u",
				      (unsigned long long)ipc_broker_Open_ring_bytes(open),
				      ipc_broker_Open_page_bytes(open));
	if (ipc_broker_Open_layout(open) == 0)
		return ipci_error_set(error, -EPROTO, "OPEN names no layout");
	return 0;
}

/* Names the rule that would have allowed it. */
static int check_policy(const struct ipci_policy_workload *client, const char *service,
			ipc_broker_Method_vec methods, struct ipci_error *error)
{
	const struct ipci_call_rule *rule = ipci_policy_call_rule(client, service);
	struct ipc_str name;

	if (!rule)
		return ipci_error_set(error, -EACCES,
				      "workload \"%s\" may not call %s: policy has no rule "
				      "workloads.%s.call[\"%s\"]",
				      client->name, service, client->name, service);
	if (ipci_message_count_allowed(methods, rule) > 0)
		return 0;
	name = ipc_broker_Method_name(ipc_broker_Method_at(methods, 0));
	return ipci_error_set(error, -EACCES,
			      "workload \"%s\" may not call %s.%.*s%s: policy does not list %s in "
			      "workloads.%s.call[\"%s\"]",
			      client->name, service, (int)name.size_bytes, name.data,
			      ipc_broker_Method_vec_count(methods) > 1 ? " and the others" : "",
			      ipc_broker_Method_vec_count(methods) > 1 ? "any of them" : "it",
			      client->name, service);
}

/* Everything that an open takes from its client: its quota, its half, a copy of its request. */
static int fill(struct ipci_channel *channel, struct ipci_request *request,
		struct ipci_error *error)
{
	ipc_broker_Open open = ipc_broker_Message_open(request->message);
	struct ipci_quota *quota = &channel->client->workload->quota;
	uint64_t ring_bytes = ipc_broker_Open_ring_bytes(open);
	uint32_t page_bytes = ipc_broker_Open_page_bytes(open);
	int r;

	r = ipci_charge_take(charge(channel, IPCI_CHARGE_PENDING), quota, IPCI_LIMIT_PENDING_OPENS,
			     1, error);
	if (r == 0)
		r = ipci_charge_take(charge(channel, IPCI_CHARGE_CLIENT_CHANNEL), quota,
				     IPCI_LIMIT_CHANNELS, 1, error);
	if (r == 0)
		r = ipci_charge_take(charge(channel, IPCI_CHARGE_CLIENT_OWN), quota,
				     IPCI_LIMIT_SHARED_MEMORY,
				     ipci_half_shape_bytes(ring_bytes, page_bytes), error);
	if (r == 0)
		r = ipci_half_check_shape(request->fd, ring_bytes, page_bytes, error);
	/* The half may have come in the reserve's place, and must not stay there. */
	if (r == 0 && !ipci_broker_hold_reserve(channel->broker))
		r = ipci_error_set(error, -EMFILE, "the broker has no descriptors left");
	if (r < 0)
		return r;
	channel->request = malloc(request->msg->size_bytes);
	if (!channel->request)
		return ipci_error_set(error, -ENOMEM, "the broker is out of memory");
	memcpy(channel->request, request->msg->data, request->msg->size_bytes);
	channel->request_bytes = request->msg->size_bytes;
	channel->half = TAKE_FD(request->fd);
	channel->ring_bytes = ring_bytes;
	channel->page_bytes = page_bytes;
	channel->layout = ipc_broker_Open_layout(open);
	return 0;
}

static uint64_t open_timeout_ns(ipc_broker_Open open)
{
	uint64_t timeout_ns = ipc_broker_Open_timeout_ns(open);

	if (timeout_ns == 0)
		return OPEN_TIMEOUT_NS;
	return timeout_ns < OPEN_TIMEOUT_MAX_NS ? timeout_ns : OPEN_TIMEOUT_MAX_NS;
}

static int begin(struct ipci_peer *client, struct ipci_request *request, const char *name,
		 struct ipci_error *error)
{
	ipc_broker_Open open = ipc_broker_Message_open(request->message);
	struct ipci_broker *broker = client->workload->broker;
	struct ipci_channel *channel;
	struct ipci_service *service;
	int r;

	r = check_policy(client->workload->policy, name, ipc_broker_Open_methods(open), error);
	if (r < 0)
		return r;
	channel = ipci_channel_new(client, request->serial);
	if (!channel)
		return ipci_error_set(error, -ENOMEM, "the broker is out of memory");
	r = fill(channel, request, error);
	service = r == 0 ? ipci_service_get(broker, name) : NULL;
	if (!service) {
		ipci_channel_free(channel);
		return r < 0 ? r : ipci_error_set(error, -ENOMEM, "the broker is out of memory");
	}
	ipci_timer_init(&channel->timer, timed_out);
	channel->open_deadline_ns = ipci_deadline_ns(open_timeout_ns(open));
	ipci_timer_set(&broker->timers, &channel->timer, channel->open_deadline_ns);
	channel->service = service;
	ipci_list_append(&service->waiting, &channel->in_service);
	ipci_open_offer_waiting(service);
	return 0;
}

int ipci_open_begin(struct ipci_peer *client, struct ipci_request *request,
		    struct ipci_error *error)
{
	char service[IPCI_SERVICE_NAME_MAX + 1];
	struct ipci_error refusal = {0};
	int r;

	r = check_open(ipc_broker_Message_open(request->message), service, error);
	if (r < 0)
		return r;
	r = begin(client, request, service, &refusal);
	if (r < 0) {
		ipci_workload_log(client->workload, "refused: %s", refusal.text);
		ipci_peer_refuse(client, request->serial, r, refusal.text);
	}
	return 0;
}

/* The offer that @server answers with @serial; NULL: it never had it, or answered before. */
static struct ipci_channel *find_offer(struct ipci_peer *server, uint64_t serial)
{
	struct ipci_channel *channel = ipci_channel_find(server->workload->broker, serial);

	if (!channel || channel->server != server || channel->state == IPCI_CHANNEL_JOINED)
		return NULL;
	return channel;
}

/* A server that was busy to the limit may have room for what waits. */
static void answered(struct ipci_peer *server)
{
	if (server->n_offers != IPCI_PEER_OFFERS_MAX - 1)
		return;
	for (struct ipci_list *at = server->registrations.next; at != &server->registrations;
	     at = at->next)
		ipci_open_offer_waiting(
			IPCI_CONTAINER_OF(at, struct ipci_registration, in_peer)->service);
}

/* Checks the server's half, and charges both sides for it. */
static int check_accept(struct ipci_channel *channel, ipc_broker_Accept accept, int fd,
			struct ipci_error *error)
{
	uint64_t ring_bytes = ipc_broker_Accept_ring_bytes(accept);
	uint32_t page_bytes = ipc_broker_Accept_page_bytes(accept);
	uint64_t bytes = ipci_half_shape_bytes(ring_bytes, page_bytes);
	int r;

	if (ipc_broker_Accept_layout(accept) != channel->layout)
		return ipci_error_set(error, -EPROTO,
				      "the two sides' layouts differ: client %u, server %u",
				      channel->layout, ipc_broker_Accept_layout(accept));
	r = ipci_charge_take(charge(channel, IPCI_CHARGE_CLIENT_OTHER),
			     &channel->client->workload->quota, IPCI_LIMIT_SHARED_MEMORY, bytes,
			     error);
	if (r == 0)
		r = ipci_charge_take(charge(channel, IPCI_CHARGE_SERVER_OWN),
				     &channel->server->workload->quota, IPCI_LIMIT_SHARED_MEMORY,
				     bytes, error);
	if (r == 0)
		r = ipci_half_check_shape(fd, ring_bytes, page_bytes, error);
	return r;
}

static int send_opened(struct ipci_channel *channel, ipc_broker_Accept accept, int *half,
		       struct ipci_error *error)
{
	struct ipci_packet *out = &channel->broker->out;
	struct ipci_opened opened = {
		.serial = channel->open_serial,
		.channel = channel->id,
		.server = ipci_workload_name(channel->server->workload),
		.ring_bytes = ipc_broker_Accept_ring_bytes(accept),
		.page_bytes = ipc_broker_Accept_page_bytes(accept),
		.features = ipc_broker_Accept_features(accept),
		.layout = ipc_broker_Accept_layout(accept),
		.max_calls = least(ipc_broker_Accept_max_calls(accept), channel->max_calls,
				   channel->max_calls),
	};
	int r = ipci_message_opened(out, &opened);

	if (r == 0)
		r = ipci_peer_send(channel->client, out,
				   (int[]){TAKE_FD(*half), TAKE_FD(channel->bell)}, 2);
	if (r < 0)
		return ipci_error_set(error, r, "the client cannot be told: %s", strerror(-r));
	return 0;
}

int ipci_open_accept(struct ipci_peer *server, struct ipci_request *request,
		     struct ipci_error *error)
{
	struct ipci_channel *channel = find_offer(server, request->serial);
	ipc_broker_Accept accept = ipc_broker_Message_accept(request->message);
	struct ipci_error failure = {0};
	int r;

	if (!channel)
		return ipci_error_set(error, -EPROTO, "ACCEPT of no offer (%llu)",
				      (unsigned long long)request->serial);
	if (!ipci_half_shape_ok(ipc_broker_Accept_ring_bytes(accept),
				ipc_broker_Accept_page_bytes(accept)))
		return ipci_error_set(
			error, -EPROTO,
			"ACCEPT names an impossible ring of %llu bytes on pages of %u",
			(unsigned long long)ipc_broker_Accept_ring_bytes(accept),
			ipc_broker_Accept_page_bytes(accept));
	if (channel->state == IPCI_CHANNEL_ORPHANED) {
		ipci_channel_end(channel, channel->client, -ETIMEDOUT, "the client did not wait");
		answered(server);
		return 0;
	}
	r = check_accept(channel, accept, request->fd, &failure);
	if (r == 0)
		r = send_opened(channel, accept, &request->fd, &failure);
	if (r == 0) {
		ipci_workload_log(channel->client->workload,
				  "channel %llu: joined to workload \"%s\"",
				  (unsigned long long)channel->id,
				  ipci_workload_name(server->workload));
		ipci_channel_join(channel);
	} else {
		ipci_peer_refuse(channel->client, channel->open_serial, r, failure.text);
		ipci_workload_log(server->workload, "channel %llu: not opened: %s",
				  (unsigned long long)channel->id, failure.text);
		ipci_channel_end(channel, channel->client, r, failure.text);
	}
	answered(server);
	return 0;
}

int ipci_open_reject(struct ipci_peer *server, struct ipci_request *request,
		     struct ipci_error *error)
{
	struct ipci_channel *channel = find_offer(server, request->serial);
	struct ipc_str why = ipc_broker_Message_text(request->message);
	int code = ipc_broker_Message_error(request->message);
	char text[IPCI_ERROR_TEXT_BYTES];

	if (!channel || code <= 0 || code > IPCI_ERRNO_MAX)
		return ipci_error_set(error, -EPROTO,
				      "REJECT of no offer (%llu), or for no reason (%d)",
				      (unsigned long long)request->serial, code);
	if (channel->state == IPCI_CHANNEL_OFFERED) {
		(void)snprintf(text, sizeof(text), "workload \"%s\" refused: %.*s",
			       ipci_workload_name(server->workload),
			       (int)(why.size_bytes < sizeof(text) ? why.size_bytes : sizeof(text)),
			       why.data);
		ipci_open_fail(channel, -code, text); /* which only orphans it */
	}
	ipci_channel_free(channel);
	answered(server);
	return 0;
}
