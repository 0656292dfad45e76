/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Posts from other threads. The list is locked; `posted` tells a busy loop, without lock or system
 * call, that it is not empty; the eventfd tells a sleeping one. The eventfd is only written when
 * the list was empty: what follows is found together with the first.
 */
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "futex.h"
#include "post.h"

struct ipci_post {
	struct ipci_post *next;
	void *user;
};

int ipci_post_init(struct ipc_loop *loop)
{
	int r;

	loop->posts_end = &loop->posts;
	r = pthread_mutex_init(&loop->post_lock, NULL);
	if (r)
		return -r;
	loop->post_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (loop->post_fd < 0)
		return -errno;
	loop->post_source = (struct ipci_source){.fd = loop->post_fd, .events = EPOLLIN};
	return ipci_loop_add(loop->poller, &loop->post_source);
}

void ipci_post_deinit(struct ipc_loop *loop)
{
	struct ipci_post *post;

	if (loop->post_fd < 0)
		return;
	if (!ipci_forked(loop) && loop->post_source.loop)
		ipci_loop_remove(loop->poller, &loop->post_source);
	(void)close(loop->post_fd);
	while ((post = loop->posts)) {
		loop->posts = post->next;
		free(post);
	}
	(void)pthread_mutex_destroy(&loop->post_lock);
}

void ipci_post_nudge(struct ipc_loop *loop)
{
	const uint64_t one = 1;

	/* Full is readable already. */
	(void)!write(loop->post_fd, &one, sizeof(one));
}

void ipci_post_drain(struct ipc_loop *loop)
{
	uint64_t count;

	/* Empty already is as good. */
	(void)!read(loop->post_fd, &count, sizeof(count));
}

bool ipci_post_take(struct ipc_loop *loop, struct ipc_event *event)
{
	struct ipci_post *post;

	(void)pthread_mutex_lock(&loop->post_lock);
	post = loop->posts;
	if (post) {
		loop->posts = post->next;
		if (!loop->posts) {
			loop->posts_end = &loop->posts;
			/* Relaxed: a hint; the lock orders what matters. */
			atomic_store_explicit(&loop->posted, IPCI_POSTED_BEFORE,
					      memory_order_relaxed);
		}
	}
	(void)pthread_mutex_unlock(&loop->post_lock);
	if (!post)
		return false;
	*event = (struct ipc_event){.kind = IPC_EVENT_POST, .user = post->user};
	free(post);
	return true;
}

IPC_PUBLIC int ipc_loop_post(ipc_loop *loop, void *user)
{
	struct ipci_post *post;
	bool first;

	if (!loop)
		return -EINVAL;
	if (ipci_forked(loop))
		return -ECHILD;
	post = malloc(sizeof(*post));
	if (!post)
		return -ENOMEM;
	*post = (struct ipci_post){.user = user};
	(void)pthread_mutex_lock(&loop->post_lock);
	first = !loop->posts;
	*loop->posts_end = post;
	loop->posts_end = &post->next;
	atomic_store_explicit(&loop->posted, IPCI_POSTED_NOW, memory_order_relaxed);
	/*
	 * Inside the lock: once it is released the loop's thread may take the post and free the
	 * loop.
	 */
	if (first)
		ipci_post_nudge(loop);
	if (first && loop->wait == IPC_WAIT_FUTEX)
		(void)ipci_futex_wake(&loop->posted);
	(void)pthread_mutex_unlock(&loop->post_lock);
	return 0;
}
