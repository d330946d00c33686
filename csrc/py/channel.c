/*
 * channel.c - filar.Channel and filar.select.
 */
#include "py/arguments.h"
#include "py/items.h"
#include "py/types.h"

#include <structmember.h>

#include "block/event.h"

struct channel {
	PyObject ob_base;
	struct py_items items;
	PyObject *weakrefs;
};

static PyTypeObject *channel_type, *selected_type;

static struct py_items *items_of(PyObject *self)
{
	return &((struct channel *)self)->items;
}

/* None: unbounded.  False: raised. */
static bool parse_capacity(PyObject *args, PyObject *kwargs, size_t *capacity)
{
	static char *names[] = { "capacity", NULL };
	PyObject *number = NULL;
	uint64_t count = 0;

	if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O:Channel", names, &number))
		return false;
	if (number != NULL && number != Py_None && !py_count(number, "capacity", 0, &count))
		return false;
	*capacity = number == Py_None ? CHAN_UNBOUNDED : (size_t)count;
	return true;
}

static PyObject *channel_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
	PyObject *self = type->tp_alloc(type, 0);

	(void)args, (void)kwargs;
	if (self != NULL && py_items_init(items_of(self), 0) < 0)
		Py_CLEAR(self);
	return self;
}

static int channel_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
	size_t capacity;

	if (!parse_capacity(args, kwargs, &capacity))
		return -1;
	return capacity != 0 ? py_items_restart(items_of(self), capacity) : 0;
}

static int channel_traverse(PyObject *self, visitproc visit, void *arg)
{
	Py_VISIT(Py_TYPE(self));
	return py_items_visit(items_of(self), visit, arg);
}

static int channel_clear(PyObject *self)
{
	(void)py_items_drop(items_of(self));
	return 0;
}

static void channel_dealloc(PyObject *self)
{
	PyObject_GC_UnTrack(self);
	py_items_deinit(items_of(self));
	py_free(self, ((struct channel *)self)->weakrefs);
}

/* ---- send and receive ---- */

PyDoc_STRVAR(send_doc,
	"send($self, /, item, timeout=None)\n--\n\n"
	"Waits until the item has a place; without capacity, until it is received.\n\n"
	"DeadlineError, a TimeoutError, after `timeout` seconds; ClosedError: not "
	"sent.");

static PyObject *send_until(PyObject *self, PyObject *item, int64_t deadline_ns)
{
	enum filar_status status = py_items_send(items_of(self), item, deadline_ns);

	if (status != FILAR_OK)
		return py_raise(status);
	Py_RETURN_NONE;
}

/* A status of a wait with a deadline that has passed. */
static int64_t not_a_try(int64_t deadline_ns)
{
	return deadline_ns == 0 ? 1 : deadline_ns;
}

static PyObject *channel_send(
	PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
	static const char *const names[] = { "item", "timeout" };
	static const struct py_call call = { "send", names, 1, 2 };
	PyObject *found[2] = { NULL, NULL };
	int64_t deadline_ns;

	if (!py_arguments(&call, args, nargs, kwnames, found) ||
		!py_deadline(found[1], &deadline_ns))
		return NULL;
	return send_until(self, found[0], not_a_try(deadline_ns));
}

static PyObject *channel_send_nowait(PyObject *self, PyObject *item)
{
	return send_until(self, item, 0);
}

static PyObject *receive_until(PyObject *self, int64_t deadline_ns)
{
	PyObject *item;
	enum filar_status status = py_items_receive(items_of(self), &item, deadline_ns);

	return status == FILAR_OK ? item : py_raise(status);
}

PyDoc_STRVAR(receive_doc,
	"receive($self, /, timeout=None)\n--\n\n"
	"The oldest item; waits for one.\n\n"
	"DeadlineError, a TimeoutError, after `timeout` seconds; ClosedError: closed "
	"and empty.");

static PyObject *channel_receive(
	PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
	static const char *const names[] = { "timeout" };
	static const struct py_call call = { "receive", names, 0, 1 };
	PyObject *timeout = NULL;
	int64_t deadline_ns;

	if (!py_arguments(&call, args, nargs, kwnames, &timeout) ||
		!py_deadline(timeout, &deadline_ns))
		return NULL;
	return receive_until(self, not_a_try(deadline_ns));
}

static PyObject *channel_receive_nowait(PyObject *self, PyObject *unused)
{
	(void)unused;
	return receive_until(self, 0);
}

/* NULL without an exception: the end, which is that of the channel. */
static PyObject *channel_next(PyObject *self)
{
	PyObject *item;
	enum filar_status status = py_items_receive(items_of(self), &item, DEADLINE_NEVER);

	if (status == FILAR_OK)
		return item;
	return status == FILAR_CLOSED ? NULL : py_raise(status);
}

/* ---- close and look ---- */

static PyObject *channel_close(PyObject *self, PyObject *unused)
{
	(void)unused;
	(void)chan_close(py_items_chan(items_of(self)));
	Py_RETURN_NONE;
}

static PyObject *channel_exit(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
	(void)args, (void)nargs;
	return channel_close(self, NULL);
}

static Py_ssize_t channel_length(PyObject *self)
{
	return (Py_ssize_t)chan_count(&items_of(self)->chan);
}

/* Not its length: an empty channel is still a channel. */
static int channel_bool(PyObject *self)
{
	(void)self;
	return 1;
}

static PyObject *channel_get_closed(PyObject *self, void *unused)
{
	(void)unused;
	return PyBool_FromLong(items_of(self)->chan.closed);
}

static PyObject *channel_get_capacity(PyObject *self, void *unused)
{
	size_t capacity = items_of(self)->chan.capacity;

	(void)unused;
	if (capacity == CHAN_UNBOUNDED)
		Py_RETURN_NONE;
	return PyLong_FromSize_t(capacity);
}

static PyObject *channel_repr(PyObject *self)
{
	struct chan *chan = &items_of(self)->chan;
	const char *closed = chan->closed ? ", closed" : "";

	if (chan->capacity == CHAN_UNBOUNDED)
		return PyUnicode_FromFormat("<%s at %p: items=%zu%s>", Py_TYPE(self)->tp_name,
			(void *)self, chan_count(chan), closed);
	return PyUnicode_FromFormat("<%s at %p: items=%zu/%zu%s>", Py_TYPE(self)->tp_name,
		(void *)self, chan_count(chan), chan->capacity, closed);
}

static PyMethodDef channel_methods[] = {
	{ "send", PY_FAST(channel_send), send_doc },
	{ "receive", PY_FAST(channel_receive), receive_doc },
	{ "send_nowait", channel_send_nowait, METH_O,
		"send_nowait($self, item, /)\n--\n\nSends without waiting: BusyError if there is "
		"neither a place nor a receiver." },
	{ "receive_nowait", channel_receive_nowait, METH_NOARGS,
		"receive_nowait($self, /)\n--\n\nThe oldest item without waiting: BusyError if there "
		"is none." },
	{ "close", channel_close, METH_NOARGS,
		"close($self, /)\n--\n\nNothing can be sent any more; what is in it can be "
		"received.\n\nWhoever waits hears of it. Closing twice changes nothing." },
	{ "__enter__", py_enter_self, METH_NOARGS, NULL },
	{ "__exit__", (PyCFunction)(void (*)(void))channel_exit, METH_FASTCALL, NULL },
	{ "__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, NULL },
	{ NULL, NULL, 0, NULL },
};

static PyGetSetDef channel_getset[] = {
	{ "closed", channel_get_closed, NULL, "Whether it was closed.", NULL },
	{ "capacity", channel_get_capacity, NULL,
		"How many items it keeps; None: as many as there is memory for.", NULL },
	{ NULL, NULL, NULL, NULL, NULL },
};

static PyMemberDef channel_members[] = {
	{ "__weaklistoffset__", T_PYSSIZET, offsetof(struct channel, weakrefs), READONLY, NULL },
	{ NULL, 0, 0, 0, NULL },
};

PyDoc_STRVAR(channel_doc,
	"Channel(capacity=0)\n--\n\n"
	"Items from senders to receivers, which may be kernel and green threads, until it is "
	"closed.\n\n"
	"It keeps up to `capacity` items. 0: send() ends when the item is received; None: as many "
	"as there\nis memory for. First come, first served. `for item in channel` receives until "
	"it is closed and\nempty; `with channel:` closes it at the end; select() waits for "
	"several.\n\n"
	">>> squares = Channel(10)\n"
	">>> with squares:\n"
	"...     for n in range(3):\n"
	"...         squares.send(n * n)\n"
	">>> list(squares)\n"
	"[0, 1, 4]\n"
	">>> squares.send(9)\n"
	"Traceback (most recent call last):\n"
	"filar.errors.ClosedError: channel at 0x... was closed by kernel thread ...\n");

static PyType_Slot channel_slots[] = {
	{ Py_tp_doc, (void *)channel_doc },
	{ Py_tp_new, channel_new },
	{ Py_tp_init, channel_init },
	{ Py_tp_traverse, channel_traverse },
	{ Py_tp_clear, channel_clear },
	{ Py_tp_dealloc, channel_dealloc },
	{ Py_tp_repr, channel_repr },
	{ Py_tp_iter, PyObject_SelfIter },
	{ Py_tp_iternext, channel_next },
	{ Py_sq_length, channel_length },
	{ Py_nb_bool, channel_bool },
	{ Py_tp_methods, channel_methods },
	{ Py_tp_members, channel_members },
	{ Py_tp_getset, channel_getset },
	{ 0, NULL },
};

PyType_Spec py_channel_spec = {
	.name = "filar.Channel",
	.basicsize = sizeof(struct channel),
	.flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
	.slots = channel_slots,
};

/* ---- select ---- */

#define CASES_ON_STACK 8

struct selecting {
	struct select_case *cases;
	uint32_t count;
	uint32_t chosen;
	/* What is sent, one each; received: one for all, only one case is done. */
	PyObject **sent;
	PyObject *received;
};

static bool parse_case(struct selecting *selecting, uint32_t index, PyObject *given)
{
	struct select_case *one = &selecting->cases[index];
	bool sends = PyTuple_Check(given) && PyTuple_GET_SIZE(given) == 2;
	PyObject *channel = sends ? PyTuple_GET_ITEM(given, 0) : given;

	*one = (struct select_case){ .operation = sends ? CHAN_SEND : CHAN_RECEIVE };
	one->item = sends ? (void *)&selecting->sent[index] : (void *)&selecting->received;
	selecting->sent[index] = sends ? PyTuple_GET_ITEM(given, 1) : NULL;
	if (channel == Py_None)
		return true;
	if (!PyObject_TypeCheck(channel, channel_type)) {
		PyErr_Format(PyExc_TypeError,
			"case %u of select() is a channel (to receive), a pair of channel and item "
			"(to send) or None, not %R",
			index, given);
		return false;
	}
	one->chan = py_items_chan(items_of(channel));
	return true;
}

static enum filar_status wait_to_select(void *object, int64_t deadline_ns)
{
	struct selecting *selecting = object;
	struct event never;
	bool any = false;

	for (uint32_t i = 0; i < selecting->count; i++)
		any |= selecting->cases[i].chan != NULL;
	if (!any && deadline_ns != DEADLINE_NEVER) {
		event_init(&never, false);
		return event_wait_until(&never, deadline_ns);
	}
	return select_until(selecting->cases, selecting->count, deadline_ns, &selecting->chosen);
}

/* A channel that takes one keeps it: so all are given a reference that is taken back again. */
static void hold_sent(struct selecting *selecting)
{
	for (uint32_t i = 0; i < selecting->count; i++)
		Py_XINCREF(selecting->sent[i]);
}

static void let_go_of_unsent(struct selecting *selecting, enum filar_status status)
{
	for (uint32_t i = 0; i < selecting->count; i++) {
		if (status != FILAR_OK || i != selecting->chosen)
			Py_XDECREF(selecting->sent[i]);
	}
}

static PyObject *selected(struct selecting *selecting)
{
	bool sent = selecting->cases[selecting->chosen].operation == CHAN_SEND;
	PyObject *value = sent ? Py_NewRef(Py_None) : selecting->received;
	PyObject *result = PyObject_CallFunction(
		(PyObject *)selected_type, "IN", (unsigned int)selecting->chosen, value);

	return result;
}

/* ClosedError says which case it was. */
static PyObject *raise_for_case(enum filar_status status, uint32_t chosen)
{
	PyObject *type, *value, *traceback, *number;

	(void)py_raise(status);
	if (status != FILAR_CLOSED)
		return NULL;
	PyErr_Fetch(&type, &value, &traceback);
	PyErr_NormalizeException(&type, &value, &traceback);
	number = PyLong_FromUnsignedLong(chosen);
	if (number == NULL || PyObject_SetAttrString(value, "case", number) < 0)
		PyErr_Clear();
	Py_XDECREF(number);
	PyErr_Restore(type, value, traceback);
	return NULL;
}

static PyObject *run_select(struct selecting *selecting, PyObject *const *args, int64_t deadline_ns)
{
	enum filar_status status;

	for (uint32_t i = 0; i < selecting->count; i++) {
		if (!parse_case(selecting, i, args[i]))
			return NULL;
	}
	hold_sent(selecting);
	status = py_wait_leaving(wait_to_select, selecting, deadline_ns);
	let_go_of_unsent(selecting, status);
	return status == FILAR_OK ? selected(selecting) : raise_for_case(status, selecting->chosen);
}

static bool parse_select(
	Py_ssize_t nargs, PyObject *const *args, PyObject *kwnames, int64_t *deadline_ns)
{
	static const char *const names[] = { "timeout" };
	static const struct py_call call = { "select", names, 0, 1 };
	PyObject *timeout = NULL;

	if (nargs > (Py_ssize_t)SELECT_CASES_MAX) {
		PyErr_Format(PyExc_ValueError, "a select has at most %u cases, not %zd",
			SELECT_CASES_MAX, nargs);
		return false;
	}
	return py_arguments(&call, args + nargs, 0, kwnames, &timeout) &&
	       py_deadline(timeout, deadline_ns);
}

PyDoc_STRVAR(select_doc,
	"select($module, /, *cases, timeout=None)\n--\n\n"
	"Does exactly one of the cases, the first that is possible: (case, value).\n\n"
	"A case is a channel (receive from it), a pair (channel, item) (send it), or None (never "
	"possible).\nOf several that are possible, one by chance. Waits; DeadlineError, a "
	"TimeoutError, after `timeout`\nseconds. ClosedError, with `case`, if it came to a channel "
	"that is closed (and, to receive, empty).\n\n"
	">>> numbers, words = Channel(1), Channel(1)\n"
	">>> words.send(\"a\")\n"
	">>> select(numbers, words)\n"
	"Selected(case=1, value='a')\n"
	">>> select((numbers, 7), words)\n"
	"Selected(case=0, value=None)\n"
	">>> select(words, timeout=0)\n"
	"Traceback (most recent call last):\n"
	"filar.errors.DeadlineError: the deadline passed first\n");

static PyObject *py_select(
	PyObject *module, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
	struct select_case few_cases[CASES_ON_STACK], *cases = few_cases;
	PyObject *few_sent[CASES_ON_STACK], **sent = few_sent, *result = NULL;
	struct selecting selecting = { .count = (uint32_t)nargs };
	int64_t deadline_ns;

	(void)module;
	if (!parse_select(nargs, args, kwnames, &deadline_ns))
		return NULL;
	if (nargs > CASES_ON_STACK) {
		cases = PyMem_New(struct select_case, (size_t)nargs);
		sent = PyMem_New(PyObject *, (size_t)nargs);
	}
	selecting.cases = cases;
	selecting.sent = sent;
	if (cases != NULL && sent != NULL)
		result = run_select(&selecting, args, deadline_ns);
	else
		PyErr_NoMemory();
	if (nargs > CASES_ON_STACK) {
		PyMem_Free(cases);
		PyMem_Free(sent);
	}
	return result;
}

PyMethodDef py_select_method = { "select", PY_FAST(py_select), select_doc };

void py_channel_prepare(PyTypeObject *channel, PyTypeObject *selected_tuple)
{
	channel_type = channel;
	selected_type = selected_tuple;
}
