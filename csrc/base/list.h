/*
 * list.h - a doubly linked list whose links are inside the objects; it never allocates.
 *
 * Always: an object is on at most one list per link; a link that is on no list points to itself.
 */
#ifndef FILAR_BASE_LIST_H
#define FILAR_BASE_LIST_H

#include <stdbool.h>

#include "base/compiler.h"

struct list {
	struct list *next; /* L */
	struct list *prev; /* L */
};

static inline void list_init(struct list *link)
{
	link->next = link->prev = link;
}

static inline bool list_is_empty(const struct list *head)
{
	return head->next == head;
}

static inline void list_push_back(struct list *head, struct list *link)
{
	link->prev = head->prev;
	link->next = head;
	head->prev->next = link;
	head->prev = link;
}

/* Leaves the link pointing to itself, so that removing twice is harmless. */
static inline void list_remove(struct list *link)
{
	link->prev->next = link->next;
	link->next->prev = link->prev;
	list_init(link);
}

static inline struct list *list_pop_front(struct list *head)
{
	struct list *link = head->next;

	if (link == head)
		return NULL;
	list_remove(link);
	return link;
}

#define LIST_FOR_EACH(link, head)                                                                  \
	for ((link) = (head)->next; (link) != (head); (link) = (link)->next)

#endif
