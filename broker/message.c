// SPDX-License-Identifier: Apache-2.0
/* One builder a kind. Text is cut where it is long: it is for people, and never decides anything.
 */
#include "message.h"

#include <errno.h>
#include <string.h>

#define TEXT_MAX_BYTES 512u

static ipc_broker_Message_w start(struct ipc_writer *w, struct ipci_packet *packet,
				  ipc_broker_Kind kind, uint64_t serial)
{
	ipc_broker_Message_w message;

	ipc_writer_init(w, packet->data, sizeof(packet->data));
	message = ipc_broker_Message_start(w);
	ipc_broker_Message_set_kind(&message, kind);
	ipc_broker_Message_set_serial(&message, serial);
	return message;
}

static int finish(struct ipc_writer *w, struct ipci_packet *packet)
{
	return ipc_writer_finish(w, &packet->n) == 0 ? 0 : -EMSGSIZE;
}

static void set_reason(ipc_broker_Message_w *message, int error, const char *text)
{
	ipc_broker_Message_set_error(message, error);
	ipc_broker_Message_set_text(message, text, strnlen(text, TEXT_MAX_BYTES));
}

int ipci_message_welcome(struct ipci_packet *packet, uint64_t serial, const char *workload)
{
	struct ipc_writer w;
	ipc_broker_Message_w message = start(&w, packet, ipc_broker_Kind_Welcome, serial);
	ipc_broker_Welcome_w welcome = ipc_broker_Message_new_welcome(&message);

	ipc_broker_Welcome_set_version(&welcome, IPCI_BROKER_PROTOCOL);
	ipc_broker_Welcome_set_workload(&welcome, workload, strlen(workload));
	return finish(&w, packet);
}

int ipci_message_result(struct ipci_packet *packet, uint64_t serial, int error, const char *text)
{
	struct ipc_writer w;
	ipc_broker_Message_w message = start(&w, packet, ipc_broker_Kind_Result, serial);

	set_reason(&message, error, text);
	return finish(&w, packet);
}

int ipci_message_closed(struct ipci_packet *packet, uint64_t channel, int error, const char *text)
{
	struct ipc_writer w;
	ipc_broker_Message_w message = start(&w, packet, ipc_broker_Kind_Closed, 0);

	ipc_broker_Message_set_channel(&message, channel);
	set_reason(&message, error, text);
	return finish(&w, packet);
}

bool ipci_message_service(struct ipc_str name, char ret[static IPCI_SERVICE_NAME_MAX + 1])
{
	if (!ipci_service_name_ok(name.data, name.size_bytes))
		return false;
	memcpy(ret, name.data, name.size_bytes);
	ret[name.size_bytes] = 0;
	return true;
}

size_t ipci_message_count_allowed(ipc_broker_Method_vec methods, const struct ipci_call_rule *rule)
{
	size_t n = 0;

	for (size_t i = 0; i < ipc_broker_Method_vec_count(methods); i++) {
		struct ipc_str name = ipc_broker_Method_name(ipc_broker_Method_at(methods, i));

		n += ipci_call_rule_allows(rule, name.data, name.size_bytes);
	}
	return n;
}

static void set_methods(ipc_broker_Offer_w *offer, ipc_broker_Method_vec methods,
			const struct ipci_call_rule *rule)
{
	ipc_broker_Method_vec_w allowed = ipc_broker_Offer_new_methods(
		offer, ipci_message_count_allowed(methods, rule));
	size_t n = 0;

	for (size_t i = 0; i < ipc_broker_Method_vec_count(methods); i++) {
		ipc_broker_Method method = ipc_broker_Method_at(methods, i);
		struct ipc_str name = ipc_broker_Method_name(method);
		ipc_broker_Method_w copy;

		if (!ipci_call_rule_allows(rule, name.data, name.size_bytes))
			continue;
		copy = ipc_broker_Method_new_at(&allowed, n++);
		ipc_broker_Method_set_name(&copy, name.data, name.size_bytes);
		ipc_broker_Method_set_id(&copy, ipc_broker_Method_id(method));
	}
}

int ipci_message_offer(struct ipci_packet *packet, const struct ipci_offer *in)
{
	struct ipc_writer w;
	ipc_broker_Message_w message = start(&w, packet, ipc_broker_Kind_Offer, in->channel);
	ipc_broker_Offer_w offer;

	ipc_broker_Message_set_channel(&message, in->channel);
	offer = ipc_broker_Message_new_offer(&message);
	ipc_broker_Offer_set_service(&offer, in->service, strlen(in->service));
	ipc_broker_Offer_set_serve_serial(&offer, in->serve_serial);
	ipc_broker_Offer_set_caller(&offer, in->caller, strlen(in->caller));
	ipc_broker_Offer_set_max_calls(&offer, in->max_calls);
	ipc_broker_Offer_set_ring_bytes(&offer, ipc_broker_Open_ring_bytes(in->open));
	ipc_broker_Offer_set_layout(&offer, ipc_broker_Open_layout(in->open));
	ipc_broker_Offer_set_features(&offer, ipc_broker_Open_features(in->open));
	ipc_broker_Offer_set_page_bytes(&offer, ipc_broker_Open_page_bytes(in->open));
	ipc_broker_Offer_set_allow_huge_pages(&offer, ipc_broker_Open_allow_huge_pages(in->open));
	set_methods(&offer, ipc_broker_Open_methods(in->open), in->rule);
	return finish(&w, packet);
}

int ipci_message_opened(struct ipci_packet *packet, const struct ipci_opened *in)
{
	struct ipc_writer w;
	ipc_broker_Message_w message = start(&w, packet, ipc_broker_Kind_Opened, in->serial);
	ipc_broker_Opened_w opened;

	ipc_broker_Message_set_channel(&message, in->channel);
	opened = ipc_broker_Message_new_opened(&message);
	ipc_broker_Opened_set_server(&opened, in->server, strlen(in->server));
	ipc_broker_Opened_set_ring_bytes(&opened, in->ring_bytes);
	ipc_broker_Opened_set_layout(&opened, in->layout);
	ipc_broker_Opened_set_features(&opened, in->features);
	ipc_broker_Opened_set_max_calls(&opened, in->max_calls);
	ipc_broker_Opened_set_page_bytes(&opened, in->page_bytes);
	return finish(&w, packet);
}
