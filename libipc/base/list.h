/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A doubly linked list through a member of what it links: never allocates, leaves in constant time.
 */
#ifndef IPCI_BASE_LIST_H
#define IPCI_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct ipci_list {
	struct ipci_list *prev, *next; /* to itself: an empty list, or a link on none */
};

#define IPCI_CONTAINER_OF(ptr, type, member)                                                       \
	((type *)(void *)((char *)(ptr)-offsetof(type, member)))

static inline void ipci_list_init(struct ipci_list *list)
{
	list->prev = list->next = list;
}

static inline bool ipci_list_empty(const struct ipci_list *list)
{
	return list->next == list;
}

static inline void ipci_list_append(struct ipci_list *list, struct ipci_list *link)
{
	link->prev = list->prev;
	link->next = list;
	list->prev->next = link;
	list->prev = link;
}

/* Harmless on a link that is on no list. */
static inline void ipci_list_remove(struct ipci_list *link)
{
	link->prev->next = link->next;
	link->next->prev = link->prev;
	ipci_list_init(link);
}

#endif
