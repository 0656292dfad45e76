/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reaching a service. The client's half goes out with OPEN, at the client's expense; the server's
 * half and an end of the bell come back with OPENED. Both are checked before anything is read: the
 * broker is not trusted with that.
 */
#include <stdio.h>
#include <string.h>

#include "bell.h"
#include "control.h"
#include "dispose.h"
#include "threads.h"

static struct ipc_channel *find_opening(struct ipc_loop *loop, uint64_t serial)
{
	for (struct ipci_list *l = loop->channels.next; serial && l != &loop->channels;
	     l = l->next) {
		struct ipc_channel *channel = IPCI_CONTAINER_OF(l, struct ipc_channel, link);

		if (channel->open_serial == serial)
			return channel;
	}
	return NULL;
}

void ipci_open_ended(struct ipc_channel *channel, int error, const char *text)
{
	struct ipc_loop *loop = channel->loop;

	channel->open_serial = 0;
	channel->lost = true;
	ipci_half_deinit(&channel->own);
	if (text != channel->reason)
		(void)snprintf(channel->reason, sizeof(channel->reason), "%s", text);
	(void)ipci_error_set(&loop->error, error, "%s", channel->reason);
	if (ipci_reopen_failed(channel, error))
		return;
	channel->error = error;
	if (channel->async) {
		channel->came = false;
		channel->went = true;
		channel->went_error = error;
		ipci_channel_ready(channel);
	}
}

/*
 * An open that came to nothing: told to who waits, or as an event. False if the serial is of no
 * open.
 */
bool ipci_open_failed(struct ipc_loop *loop, uint64_t serial, int error, const char *text)
{
	struct ipc_channel *channel = find_opening(loop, serial);

	if (!channel)
		return false;
	ipci_open_ended(channel, error, text);
	ipci_control_answer(loop, serial, error);
	return true;
}

/* Checks what came for a channel and joins it. 0 or -errno with words. */
static int join(struct ipc_channel *channel, ipc_broker_Message message, struct ipci_fds *fds,
		struct ipci_error *error)
{
	ipc_broker_Opened opened = ipc_broker_Message_opened(message);
	const uint64_t ring_bytes = ipc_broker_Opened_ring_bytes(opened);
	const uint32_t page_bytes = ipc_broker_Opened_page_bytes(opened);
	const uint32_t max_calls = ipc_broker_Opened_max_calls(opened);
	struct ipci_half half;
	int r;

	/* From the start: what fails from here on is told to the broker by this number. */
	channel->id = ipc_broker_Message_channel(message);
	if (fds->n == 0)
		return ipci_error_set(error, -EHOSTUNREACH,
				      "the kernel delivered no descriptors: some sandboxes "
				      "(gVisor) cannot pass them");
	if (fds->n != 2 || ipc_broker_Opened_layout(opened) != IPCI_LAYOUT_VERSION ||
	    !ipci_half_shape_ok(ring_bytes, page_bytes) || max_calls == 0 ||
	    max_calls > channel->max_calls_wanted ||
	    !ipci_control_copy_name(channel->peer, sizeof(channel->peer),
				    ipc_broker_Opened_server(opened)))
		return ipci_error_set(error, -EPROTO,
				      "the answer to the open is not one that can be");
	r = ipci_channel_check_pages(channel->flags, page_bytes, "server", error);
	if (r < 0)
		return r;
	r = ipci_bell_check(fds->fd[1]);
	if (r < 0)
		return ipci_error_set(error, -EPROTO,
				      "what came as the bell is no SEQPACKET socket");
	r = ipci_half_import_shape(&half, fds->fd[0], ring_bytes, page_bytes, error);
	if (r < 0)
		return r;
	r = ipci_channel_join(channel, &half, fds->fd[1], max_calls,
			      ipc_broker_Opened_features(opened));
	if (r < 0) {
		ipci_half_deinit(&half);
		return ipci_error_set(error, r, "cannot join the channel: %s", strerror(-r));
	}
	/*
	 * The bell is the channel's; the half's descriptor, now known for a memfd, has done its
	 * work.
	 */
	fds->fd[1] = -EBADF;
	ipci_fd_close(TAKE_FD(fds->fd[0]));
	return 0;
}

void ipci_open_opened(struct ipc_loop *loop, ipc_broker_Message message, struct ipci_fds *fds)
{
	const uint64_t serial = ipc_broker_Message_serial(message);
	struct ipc_channel *channel = find_opening(loop, serial);
	struct ipci_error error = {};
	int r;

	/* An open that timed out here, or was freed: its channel ends where it began. */
	if (!channel) {
		struct ipc_channel late = {.loop = loop, .id = ipc_broker_Message_channel(message)};

		ipci_control_tell_closed(&late);
		return;
	}
	r = join(channel, message, fds, &error);
	if (r < 0) {
		ipci_control_tell_closed(channel);
		(void)ipci_open_failed(loop, serial, r, error.text);
		return;
	}
	channel->open_serial = 0;
	channel->error = 0;
	channel->reason[0] = '\0';
	ipci_reopen_opened(channel);
	if (channel->async) {
		channel->came = true;
		ipci_channel_ready(channel);
	}
	ipci_control_answer(loop, serial, 0);
}

int ipci_open_request(struct ipc_channel *channel, const struct ipc_open_opts *opts,
		      uint64_t timeout_ns)
{
	struct ipc_loop *loop = channel->loop;
	const struct ipc_service *service = channel->service;
	_cleanup_(closep) int half_fd = -EBADF;
	ipc_broker_Message_w m;
	ipc_broker_Open_w open;
	ipc_broker_Method_vec_w methods;
	uint64_t serial;
	int r;

	r = ipci_channel_own_half(channel, &half_fd, opts->ring_bytes, opts->flags, &loop->error);
	if (r < 0)
		return r;
	serial = ipci_control_start(loop->control, &m, ipc_broker_Kind_Open, 0);
	open = ipc_broker_Message_new_open(&m);
	ipc_broker_Open_set_service(&open, service->name, strlen(service->name));
	if (opts->name)
		ipc_broker_Open_set_name(&open, opts->name, strlen(opts->name));
	ipc_broker_Open_set_max_calls(&open, opts->max_calls);
	ipc_broker_Open_set_ring_bytes(&open, opts->ring_bytes);
	ipc_broker_Open_set_layout(&open, IPCI_LAYOUT_VERSION);
	ipc_broker_Open_set_features(&open, loop->features);
	ipc_broker_Open_set_timeout_ns(&open, timeout_ns);
	ipc_broker_Open_set_page_bytes(&open, channel->own.page_bytes);
	ipc_broker_Open_set_allow_huge_pages(&open, opts->flags & IPC_ALLOW_HUGE_PAGES);
	methods = ipc_broker_Open_new_methods(&open, service->n_methods);
	ipci_control_set_methods(&methods, service);
	r = ipci_control_send(loop, &half_fd, 1);
	if (r < 0)
		return r;
	channel->open_serial = serial;
	return 0;
}

static int open_channel(struct ipc_channel *channel, const struct ipc_open_opts *opts)
{
	uint64_t timeout_ns = opts->timeout_ns ? opts->timeout_ns : IPCI_CONTROL_TIMEOUT_NS;
	uint64_t serial;
	int r;

	channel->user = opts->user;
	channel->async = opts->flags & IPC_OPEN_ASYNC;
	channel->flags = opts->flags & IPCI_PAGES_FLAGS;
	channel->max_calls_wanted = opts->max_calls;
	r = opts->flags & IPC_OPEN_ONCE ? 0 : ipci_reopen_new(channel, opts);
	if (r < 0)
		return r;
	r = ipci_open_request(channel, opts, timeout_ns);
	if (r < 0 || channel->async)
		return r;
	serial = channel->open_serial;
	/* The broker keeps the deadline, and words it best; this is for a broker that does not. */
	r = ipci_control_await(channel->loop, serial,
			       timeout_ns > IPCI_NEVER - IPCI_NS_PER_S
				       ? IPCI_NEVER
				       : ipci_deadline_ns(timeout_ns + IPCI_NS_PER_S));
	return r;
}

IPC_PUBLIC int ipc_open(ipc_loop *loop, const struct ipc_service *service,
			const struct ipc_open_opts *opts, ipc_channel **ret)
{
	struct ipc_open_opts known;
	struct ipc_channel *channel;
	int r;

	if (!loop || !service || !ret)
		return -EINVAL;
	IPCI_ENTER(loop);
	if (ipci_forked(loop))
		return -ECHILD;
	r = ipci_opts_copy(&known, sizeof(known), opts);
	if (r < 0)
		return r;
	if (known.flags & ~(IPC_OPEN_ASYNC | IPC_OPEN_ONCE | IPCI_PAGES_FLAGS) || known.token)
		return ipci_error_set(&loop->error, -EINVAL,
				      "ipc_open_opts: an unknown flag, or a token");
	r = ipci_service_check(loop, service);
	if (r == 0)
		r = ipci_pages_check(loop, known.flags, &known.ring_bytes);
	if (r == 0)
		r = ipci_sizes_check(loop, &known.ring_bytes, &known.max_calls);
	if (r == 0 && known.name && strlen(known.name) >= IPCI_NAME_BYTES)
		r = ipci_error_set(&loop->error, -EINVAL, "ipc_open_opts: the name is too long");
	if (r < 0)
		return r;
	r = ipci_channel_alloc(&channel, loop, service);
	if (r < 0)
		return r;
	r = open_channel(channel, &known);
	if (r < 0) {
		channel->open_serial = 0;
		ipci_channel_discard(channel);
		return r;
	}
	*ret = channel;
	return 0;
}
