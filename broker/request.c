// SPDX-License-Identifier: Apache-2.0
/*
 * One table says which kinds a workload may send, when, and with a descriptor or without. A packet
 * is checked as a whole before any field of it is believed.
 */
#include "request.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "dispose.h"
#include "open.h"

static int on_hello(struct ipci_peer *peer, struct ipci_request *request, struct ipci_error *error)
{
	ipc_broker_Hello hello = ipc_broker_Message_hello(request->message);
	struct ipc_str name = ipc_broker_Hello_name(hello);
	struct ipci_workload *workload = peer->workload;
	struct ipci_packet *out = &workload->broker->out;

	if (peer->welcome)
		return ipci_error_set(error, -EPROTO, "HELLO a second time");
	if (ipc_broker_Hello_version(hello) != IPCI_BROKER_PROTOCOL)
		return ipci_error_set(error, -EPROTO,
				      "the broker speaks version %u of the protocol, HELLO says %u",
				      IPCI_BROKER_PROTOCOL, ipc_broker_Hello_version(hello));
	peer->welcome = true;
	ipci_timer_clear(&peer->timer);
	ipci_workload_log(workload, "connection %llu: said hello%s%.*s",
			  (unsigned long long)peer->id, name.size_bytes ? " as " : "",
			  (int)(name.size_bytes < 64 ? name.size_bytes : 64), name.data);
	if (ipci_message_welcome(out, request->serial, ipci_workload_name(workload)) == 0)
		(void)ipci_peer_send(peer, out, NULL, 0);
	return 0;
}

static int serve(struct ipci_peer *peer, uint64_t serial, const char *name,
		 struct ipci_service **ret, struct ipci_error *error)
{
	const struct ipci_policy_workload *policy = peer->workload->policy;
	struct ipci_service *service;
	int r;

	if (!ipci_policy_may_serve(policy, name))
		return ipci_error_set(error, -EACCES,
				      "workload \"%s\" may not serve %s: policy does not list it "
				      "in workloads.%s.serve",
				      policy->name, name, policy->name);
	service = ipci_service_get(peer->workload->broker, name);
	if (!service)
		return ipci_error_set(error, -ENOMEM, "the broker is out of memory");
	r = ipci_registration_new(service, peer, serial);
	if (r < 0) {
		ipci_service_put(service);
		return ipci_error_set(error, r, "%s",
				      r == -EALREADY ? "this connection serves it already"
						     : "the broker is out of memory");
	}
	*ret = service;
	return 0;
}

static void answer(struct ipci_peer *peer, uint64_t serial)
{
	struct ipci_packet *out = &peer->workload->broker->out;

	if (ipci_message_result(out, serial, 0, "") == 0)
		(void)ipci_peer_send(peer, out, NULL, 0);
}

static int on_serve(struct ipci_peer *peer, struct ipci_request *request, struct ipci_error *error)
{
	char name[IPCI_SERVICE_NAME_MAX + 1];
	struct ipci_error refusal = {0};
	struct ipci_service *service = NULL;
	int r;

	if (!ipci_message_service(
		    ipc_broker_Serve_service(ipc_broker_Message_serve(request->message)), name))
		return ipci_error_set(error, -EPROTO, "SERVE names no service");
	if (ipci_registration_find(peer, request->serial))
		return ipci_error_set(error, -EPROTO, "SERVE with the serial of another");
	r = serve(peer, request->serial, name, &service, &refusal);
	if (r < 0) {
		ipci_workload_log(peer->workload, "refused: %s", refusal.text);
		ipci_peer_refuse(peer, request->serial, r, refusal.text);
		return 0;
	}
	ipci_workload_log(peer->workload, "connection %llu: serves %s",
			  (unsigned long long)peer->id, name);
	answer(peer, request->serial);
	ipci_open_offer_waiting(service);
	return 0;
}

static int on_withdraw(struct ipci_peer *peer, struct ipci_request *request,
		       struct ipci_error *error)
{
	struct ipci_registration *registration = ipci_registration_find(peer, request->serial);

	(void)error;
	if (!registration) {
		ipci_peer_refuse(peer, request->serial, -ENOENT,
				 "this connection serves no such thing");
		return 0;
	}
	/* What was offered is still answered, and what is joined stays so. */
	ipci_workload_log(peer->workload, "connection %llu: serves %s no more",
			  (unsigned long long)peer->id, registration->service->name);
	ipci_registration_free(registration);
	answer(peer, request->serial);
	return 0;
}

static int on_close(struct ipci_peer *peer, struct ipci_request *request, struct ipci_error *error)
{
	struct ipci_channel *channel = ipci_channel_find(
		peer->workload->broker, ipc_broker_Message_channel(request->message));
	char text[IPCI_WORKLOAD_NAME_MAX + 32];

	(void)error;
	/* The other side's CLOSE, or its death, may have crossed this one. */
	if (!channel || channel->state != IPCI_CHANNEL_JOINED ||
	    (channel->client != peer && channel->server != peer))
		return 0;
	(void)snprintf(text, sizeof(text), "workload \"%s\" closed it",
		       ipci_workload_name(peer->workload));
	ipci_workload_log(peer->workload, "channel %llu: closed", (unsigned long long)channel->id);
	ipci_channel_end(channel, peer, 0, text);
	return 0;
}

static const struct kind {
	const char *name;
	int (*handle)(struct ipci_peer *peer, struct ipci_request *request,
		      struct ipci_error *error);
	bool has_fd;
	bool (*has_table)(ipc_broker_Message message);
} kinds[] = {
	[ipc_broker_Kind_Hello] = {"HELLO", on_hello, false, ipc_broker_Message_has_hello},
	[ipc_broker_Kind_Serve] = {"SERVE", on_serve, false, ipc_broker_Message_has_serve},
	[ipc_broker_Kind_Withdraw] = {"WITHDRAW", on_withdraw, false, NULL},
	[ipc_broker_Kind_Open] = {"OPEN", ipci_open_begin, true, ipc_broker_Message_has_open},
	[ipc_broker_Kind_Accept] = {"ACCEPT", ipci_open_accept, true,
				    ipc_broker_Message_has_accept},
	[ipc_broker_Kind_Reject] = {"REJECT", ipci_open_reject, false, NULL},
	[ipc_broker_Kind_Close] = {"CLOSE", on_close, false, NULL},
};

static int handle(struct ipci_peer *peer, struct ipci_request *request, struct ipci_error *error)
{
	unsigned number = ipc_broker_Message_kind(request->message);
	const struct kind *kind = number < sizeof(kinds) / sizeof(kinds[0]) ? &kinds[number] : NULL;

	if (!kind || !kind->handle)
		return ipci_error_set(error, -EPROTO, "a message of kind %u is not for the broker",
				      number);
	if (!peer->welcome && number != ipc_broker_Kind_Hello)
		return ipci_error_set(error, -EPROTO, "%s before HELLO", kind->name);
	if (request->serial == 0 && number != ipc_broker_Kind_Close)
		return ipci_error_set(error, -EPROTO, "%s without a serial", kind->name);
	if (kind->has_table && !kind->has_table(request->message))
		return ipci_error_set(error, -EPROTO, "%s without its table", kind->name);
	if (kind->has_fd != (request->fd >= 0))
		return ipci_error_set(error, -EPROTO, "%s %s a descriptor", kind->name,
				      kind->has_fd ? "without" : "with");
	return kind->handle(peer, request, error);
}

void ipci_request_handle(struct ipci_peer *peer, const struct ipci_packet *packet, int fd)
{
	struct ipc_msg msg = ipc_msg_from(packet->data, packet->n);
	struct ipci_request request = {
		.msg = &msg,
		.message = ipc_broker_Message_root(&msg),
		.fd = fd,
	};
	struct ipci_error error = {0};
	bool stray;
	int r;

	if (ipc_broker_Message_verify(request.message)) {
		request.serial = ipc_broker_Message_serial(request.message);
		if (peer->refusal)
			r = ipci_error_set(&error, peer->refusal->code, "%s", peer->refusal->text);
		else
			r = handle(peer, &request, &error);
	} else {
		r = ipci_error_set(&error, -EPROTO, "not a message of the control protocol");
	}
	/* The half of an open that is refused closes at once, and is nobody's fault. */
	stray = request.fd >= 0 && fcntl(request.fd, F_GET_SEALS) < 0;
	ipci_fd_dispose(request.fd);
	if (r < 0)
		ipci_peer_doom(peer, request.serial, r, error.text);
	if (stray)
		ipci_workload_note_strays(peer->workload);
}
