// SPDX-License-Identifier: Apache-2.0
/* A loop in libuv's. */
#include <errno.h>
#include <uv.h>

#include "guest.h"

static struct guest guest;
static int result = 1;

static void on_readable(uv_poll_t *poll, int status, int events)
{
	(void)events;
	result = status < 0 ? status : guest_pump(&guest);
	if (result != 1)
		uv_stop(poll->loop);
}

/* Touches nothing of the guest's: a sleep that should have ended has not. */
static void on_second(uv_timer_t *timer)
{
	static uint64_t n_before;
	static unsigned n_silent;

	n_silent = guest.came && guest.n_requests == n_before ? n_silent + 1 : 0;
	n_before = guest.n_requests;
	if (n_silent < SILENCE_S)
		return;
	result = -ETIMEDOUT;
	uv_stop(timer->loop);
}

static int host(void)
{
	uv_loop_t loop;
	uv_timer_t timer;
	uv_poll_t poll;
	int r = uv_loop_init(&loop);

	if (r == 0)
		r = uv_poll_init(&loop, &poll, ipc_loop_fd(guest.loop));
	if (r == 0)
		r = uv_poll_start(&poll, UV_READABLE, on_readable);
	if (r == 0)
		r = uv_timer_init(&loop, &timer);
	if (r == 0)
		r = uv_timer_start(&timer, on_second, 1000, 1000);
	if (r < 0)
		return r;
	result = guest_pump(&guest);
	if (result == 1)
		(void)uv_run(&loop, UV_RUN_DEFAULT);
	uv_close((uv_handle_t *)&poll, NULL);
	uv_close((uv_handle_t *)&timer, NULL);
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	(void)uv_loop_close(&loop);
	return result;
}

int main(int argc, char **argv)
{
	int r = guest_start(&guest, argc, argv);

	return guest_end(&guest, r < 0 ? r : host());
}
