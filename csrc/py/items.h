/*
 * items.h - a channel of Python objects: what queues and channels have in common.
 *
 * A block/chan.h whose items are references.  send passes a reference in, receive passes it out;
 * one that is not sent stays the caller's.  All of it happens under the GIL (park.h), so the
 * collector sees every item that is in the ring; one in the hands of a thread that waits is held by
 * that thread.
 */
#ifndef FILAR_PY_ITEMS_H
#define FILAR_PY_ITEMS_H

#include "py/park.h"

#include "block/chan.h"

struct py_items {
	struct chan chan;
	uint32_t forks; /* py_forks when its waiters were last known */
};

/* Raises: -1. */
int py_items_init(struct py_items *items, size_t capacity);
/* For __init__: empty again, with another capacity.  Raises where threads wait: -1. */
int py_items_restart(struct py_items *items, size_t capacity);
int py_items_visit(struct py_items *items, visitproc visit, void *arg);
/* Drops all that is in it and says how many. */
size_t py_items_drop(struct py_items *items);
void py_items_deinit(struct py_items *items);

/* deadline_ns 0: tries.  FILAR_BUSY: it cannot be done at once; else as chan.h says, and
 * FILAR_INTERRUPTED: raised.  send takes a reference of its own. */
enum filar_status py_items_send(struct py_items *items, PyObject *item, int64_t deadline_ns);
enum filar_status py_items_receive(struct py_items *items, PyObject **item, int64_t deadline_ns);

static inline struct chan *py_items_chan(struct py_items *items)
{
	/* The child of a fork: those who waited are the parent's threads. */
	if (FILAR_UNLIKELY(items->forks != py_forks)) {
		chan_after_fork(&items->chan);
		items->forks = py_forks;
	}
	return &items->chan;
}

#endif
