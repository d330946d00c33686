/*
 * items.c - references through a channel.
 */
#include "py/items.h"

#define LARGE_SLOTS 4096u
/* So many references do not fit into any memory. */
#define CAPACITY_MAX (SIZE_MAX / 4 / sizeof(PyObject *))

int py_items_init(struct py_items *items, size_t capacity)
{
	enum filar_status status;

	if (capacity > CAPACITY_MAX)
		capacity = CHAN_UNBOUNDED;
	status = chan_init(&items->chan, sizeof(PyObject *), capacity, NULL);
	items->forks = py_forks;
	if (status == FILAR_OK)
		return 0;
	py_raise(status);
	return -1;
}

int py_items_visit(struct py_items *items, visitproc visit, void *arg)
{
	for (size_t i = 0; i < items->chan.count; i++)
		Py_VISIT(*(PyObject **)chan_item(&items->chan, i));
	return 0;
}

size_t py_items_drop(struct py_items *items)
{
	size_t dropped = 0;
	PyObject *item;

	/* Dropping may run Python, which may send more: that stays.  An object that was never made
	 * has no items. */
	for (size_t left = items->chan.count; left > 0; left--) {
		if (chan_try_receive(py_items_chan(items), &item) != FILAR_OK)
			break;
		Py_DECREF(item);
		dropped++;
	}
	return dropped;
}

void py_items_deinit(struct py_items *items)
{
	while (items->chan.count > 0)
		(void)py_items_drop(items);
	/* Nobody can wait for what nobody refers to. */
	if (items->chan.item_bytes != 0)
		(void)chan_deinit(py_items_chan(items));
}

int py_items_restart(struct py_items *items, size_t capacity)
{
	struct py_items fresh;

	if ((load_relaxed(&py_items_chan(items)->queue.word) & WAITQ_WAITERS) != 0) {
		PyErr_SetString(PyExc_RuntimeError, "what threads wait for cannot begin anew");
		return -1;
	}
	if (py_items_init(&fresh, capacity) < 0)
		return -1;
	py_items_deinit(items);
	/* Nothing points to it yet, so it may move, but for its empty lists. */
	*items = fresh;
	chan_after_fork(&items->chan);
	return 0;
}

struct send {
	struct chan *chan;
	PyObject *item;
};

static enum filar_status wait_to_send(void *object, int64_t deadline_ns)
{
	struct send *send = object;

	return chan_send_until(send->chan, &send->item, deadline_ns);
}

enum filar_status py_items_send(struct py_items *items, PyObject *item, int64_t deadline_ns)
{
	struct send send = { .chan = py_items_chan(items), .item = Py_NewRef(item) };
	enum filar_status status = chan_try_send(send.chan, &send.item);

	if (status == FILAR_BUSY && deadline_ns != 0)
		status = py_wait_leaving(wait_to_send, &send, deadline_ns);
	if (status != FILAR_OK)
		Py_DECREF(item);
	return status;
}

struct receive {
	struct chan *chan;
	PyObject **item;
};

static enum filar_status wait_to_receive(void *object, int64_t deadline_ns)
{
	struct receive *receive = object;

	return chan_receive_until(receive->chan, receive->item, deadline_ns);
}

enum filar_status py_items_receive(struct py_items *items, PyObject **item, int64_t deadline_ns)
{
	struct receive receive = { .chan = py_items_chan(items), .item = item };
	enum filar_status status = chan_try_receive(receive.chan, item);

	if (status == FILAR_BUSY && deadline_ns != 0)
		status = py_wait_leaving(wait_to_receive, &receive, deadline_ns);
	/* A burst is over: its memory need not stay. */
	if (FILAR_UNLIKELY(receive.chan->slots > LARGE_SLOTS) && chan_count(receive.chan) == 0)
		chan_trim(receive.chan);
	return status;
}
