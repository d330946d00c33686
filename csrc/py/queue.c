/*
 * queue.c - filar.SimpleQueue, and the first-in first-out core of filar.Queue.
 *
 * The core keeps its items itself.  A subclass that overrides _put() and its kin to keep them
 * elsewhere (LifoQueue, PriorityQueue, a user's) is `hooked`: its methods are those of
 * python/filar/queue.py, and the core only passes calls on.
 */
#include "py/arguments.h"
#include "py/items.h"
#include "py/types.h"

#include <structmember.h>

#include "block/waitgroup.h"

struct simple_queue {
	PyObject ob_base;
	struct py_items items;
	PyObject *weakrefs;
};

struct queue {
	struct simple_queue simple;
	struct waitgroup
		unfinished; /* items put and not yet done, those of waiting puts included */
	uint32_t forks;
	uint64_t waiting_puts;
	Py_ssize_t maxsize;
	bool hooked; /* a subclass keeps the items: its methods, named after ours, do the work */
};

static struct py_items *items_of(PyObject *self)
{
	return &((struct simple_queue *)self)->items;
}

static struct queue *queue_of(PyObject *self)
{
	return (struct queue *)self;
}

/* Of a hooked queue: the method in Python that takes the place of ours. */
static PyObject *call_hooked(PyObject *self, const char *name, PyObject *const *args,
	Py_ssize_t nargs, PyObject *kwnames)
{
	PyObject *stack[8] = { self }, *method, *result;
	Py_ssize_t given = nargs + (kwnames != NULL ? PyTuple_GET_SIZE(kwnames) : 0);

	if (given >= (Py_ssize_t)FILAR_COUNT_OF(stack)) {
		PyErr_SetString(PyExc_TypeError, "too many arguments");
		return NULL;
	}
	for (Py_ssize_t i = 0; i < given; i++)
		stack[i + 1] = args[i];
	method = PyUnicode_InternFromString(name);
	if (method == NULL)
		return NULL;
	result = PyObject_VectorcallMethod(method, stack, (size_t)nargs + 1, kwnames);
	Py_DECREF(method);
	return result;
}

static int queue_traverse(PyObject *self, visitproc visit, void *arg)
{
	Py_VISIT(Py_TYPE(self));
	return py_items_visit(items_of(self), visit, arg);
}

static int queue_clear(PyObject *self)
{
	(void)py_items_drop(items_of(self));
	return 0;
}

static void queue_dealloc(PyObject *self)
{
	PyObject_GC_UnTrack(self);
	py_items_deinit(items_of(self));
	py_free(self, ((struct simple_queue *)self)->weakrefs);
}

/* ---- what both have ---- */

static PyObject *raise_for_get(enum filar_status status)
{
	switch (status) {
	case FILAR_BUSY:
	case FILAR_TIMED_OUT:
		return py_raise_named("Empty", "");
	case FILAR_CLOSED:
		return py_raise_named("ShutDown", "");
	default:
		return py_raise(status);
	}
}

static PyObject *get_until(PyObject *self, int64_t deadline_ns)
{
	PyObject *item;
	enum filar_status status = py_items_receive(items_of(self), &item, deadline_ns);

	return status == FILAR_OK ? item : raise_for_get(status);
}

PyDoc_STRVAR(get_doc, "get($self, /, block=True, timeout=None)\n--\n\n"
		      "The oldest item; waits for one.\n\n"
		      "queue.Empty after `timeout` seconds, or at once (block=False).");

static PyObject *queue_get(
	PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
	static const char *const names[] = { "block", "timeout" };
	static const struct py_call call = { "get", names, 0, 2 };
	PyObject *found[2] = { NULL, NULL };
	int64_t deadline_ns = DEADLINE_NEVER;

	if ((nargs != 0 || kwnames != NULL) &&
		(!py_arguments(&call, args, nargs, kwnames, found) ||
			!py_queue_deadline(found[0], found[1], &deadline_ns)))
		return NULL;
	return get_until(self, deadline_ns);
}

static PyObject *queue_get_nowait(PyObject *self, PyObject *unused)
{
	(void)unused;
	return get_until(self, 0);
}

static PyObject *queue_qsize(PyObject *self, PyObject *unused)
{
	(void)unused;
	return PyLong_FromSize_t(chan_count(&items_of(self)->chan));
}

static PyObject *queue_empty(PyObject *self, PyObject *unused)
{
	(void)unused;
	return PyBool_FromLong(chan_count(&items_of(self)->chan) == 0);
}

#define GET_NOWAIT_DOC                                                                             \
	"get_nowait($self, /)\n--\n\nThe oldest item; queue.Empty if there is none. Does not wait."
#define QSIZE_DOC "qsize($self, /)\n--\n\nHow many items are in it: a moment's view."
#define EMPTY_DOC "empty($self, /)\n--\n\nWhether there is no item: a moment's view."

/* ---- SimpleQueue ---- */

static PyObject *simple_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
	PyObject *self = py_alloc(type, args, kwargs);

	if (self != NULL && py_items_init(items_of(self), CHAN_UNBOUNDED) < 0)
		Py_CLEAR(self);
	return self;
}

static const char *const put_names[] = { "item", "block", "timeout" };

static PyObject *simple_put(
	PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
	static const struct py_call call = { "put", put_names, 1, 3 };
	PyObject *found[3] = { NULL, NULL, NULL };
	enum filar_status status;

	if (nargs == 1 && kwnames == NULL)
		found[0] = args[0];
	else if (!py_arguments(&call, args, nargs, kwnames, found))
		return NULL;
	status = py_items_send(items_of(self), found[0], 0);
	if (status != FILAR_OK)
		return py_raise(status);
	Py_RETURN_NONE;
}

static PyObject *simple_put_nowait(
	PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
	static const struct py_call call = { "put_nowait", put_names, 1, 1 };
	PyObject *item;

	return py_arguments(&call, args, nargs, kwnames, &item) ? simple_put(self, &item, 1, NULL)
								: NULL;
}

static PyMethodDef simple_methods[] = {
	{ "put", PY_FAST(simple_put),
		"put($self, /, item, block=True, timeout=None)\n--\n\nAdds the item. Never waits, so "
		"`block` and `timeout` mean nothing." },
	{ "get", PY_FAST(queue_get), get_doc },
	{ "put_nowait", PY_FAST(simple_put_nowait), "put_nowait($self, /, item)\n--\n\nAs put()." },
	{ "get_nowait", queue_get_nowait, METH_NOARGS, GET_NOWAIT_DOC },
	{ "qsize", queue_qsize, METH_NOARGS, QSIZE_DOC },
	{ "empty", queue_empty, METH_NOARGS, EMPTY_DOC },
	{ "__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, NULL },
	{ NULL, NULL, 0, NULL },
};

static PyMemberDef simple_members[] = {
	{ "__weaklistoffset__", T_PYSSIZET, offsetof(struct simple_queue, weakrefs), READONLY,
		NULL },
	{ NULL, 0, 0, 0, NULL },
};

PyDoc_STRVAR(simple_doc,
	"SimpleQueue()\n--\n\n"
	"An unbounded queue, first in, first out, as queue.SimpleQueue, for kernel and "
	"green threads.\n\n"
	"put() may be called from a signal handler, a __del__ or a weakref "
	"callback.\n\n"
	">>> items = SimpleQueue()\n"
	">>> items.put(1), items.put(2), items.get(), items.qsize()\n"
	"(None, None, 1, 1)\n");

static PyType_Slot simple_slots[] = {
	{ Py_tp_doc, (void *)simple_doc },
	{ Py_tp_new, simple_new },
	{ Py_tp_traverse, queue_traverse },
	{ Py_tp_clear, queue_clear },
	{ Py_tp_dealloc, queue_dealloc },
	{ Py_tp_methods, simple_methods },
	{ Py_tp_members, simple_members },
	{ 0, NULL },
};

PyType_Spec py_simple_queue_spec = {
	.name = "filar.SimpleQueue",
	.basicsize = sizeof(struct simple_queue),
	.flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
	.slots = simple_slots,
};

/* ---- the core of Queue ---- */

static struct waitgroup *unfinished_of(PyObject *self)
{
	struct queue *queue = queue_of(self);

	if (FILAR_UNLIKELY(queue->forks != py_forks)) {
		waitq_after_fork(&queue->unfinished.latch.queue);
		queue->forks = py_forks;
	}
	return &queue->unfinished;
}

/* As python/filar/queue.py has found out of the class.  False: raised. */
static bool has_hooks(PyTypeObject *type, bool *has)
{
	PyObject *answer = PyObject_GetAttrString((PyObject *)type, "_has_hooks");

	*has = answer == Py_True;
	Py_XDECREF(answer);
	return answer != NULL;
}

static PyObject *core_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
	PyObject *self = type->tp_alloc(type, 0);

	(void)args, (void)kwargs;
	if (self == NULL)
		return NULL;
	queue_of(self)->forks = py_forks;
	waitgroup_init(&queue_of(self)->unfinished, NULL);
	if (!has_hooks(type, &queue_of(self)->hooked) ||
		py_items_init(items_of(self), CHAN_UNBOUNDED) < 0)
		Py_CLEAR(self);
	return self;
}

static int core_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
	static char *names[] = { "maxsize", NULL };
	Py_ssize_t maxsize = 0;

	if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|n:Queue", names, &maxsize))
		return -1;
	if (waitq_first(&unfinished_of(self)->latch.queue) != NULL) {
		PyErr_SetString(PyExc_RuntimeError, "what threads wait for cannot begin anew");
		return -1;
	}
	if (py_items_restart(items_of(self), maxsize > 0 ? (size_t)maxsize : CHAN_UNBOUNDED) < 0)
		return -1;
	waitgroup_init(unfinished_of(self), NULL);
	queue_of(self)->maxsize = maxsize;
	return 0;
}

static PyObject *raise_for_put(enum filar_status status)
{
	switch (status) {
	case FILAR_BUSY:
	case FILAR_TIMED_OUT:
		return py_raise_named("Full", "");
	case FILAR_CLOSED:
		return py_raise_named("ShutDown", "");
	default:
		return py_raise(status);
	}
}

/* Counted before it is there: whoever gets it may say at once that it is done. */
static PyObject *put_until(PyObject *self, PyObject *item, int64_t deadline_ns)
{
	struct queue *queue = queue_of(self);
	enum filar_status status = waitgroup_add(unfinished_of(self), 1);

	if (status != FILAR_OK)
		return py_raise(status);
	status = py_items_send(items_of(self), item, 0);
	if (status == FILAR_BUSY && deadline_ns != 0) {
		queue->waiting_puts++;
		status = py_items_send(items_of(self), item, deadline_ns);
		queue->waiting_puts--;
	}
	if (status == FILAR_OK)
		Py_RETURN_NONE;
	(void)waitgroup_done(unfinished_of(self));
	return raise_for_put(status);
}

PyDoc_STRVAR(put_doc, "put($self, /, item, block=True, timeout=None)\n--\n\n"
		      "Adds the item; waits for a place where the queue is full.\n\n"
		      "queue.Full after `timeout` seconds, or at once (block=False).");

static PyObject *core_get(
	PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
	return queue_of(self)->hooked ? call_hooked(self, "_hooked_get", args, nargs, kwnames)
				      : queue_get(self, args, nargs, kwnames);
}

static PyObject *core_get_nowait(PyObject *self, PyObject *unused)
{
	PyObject *block = Py_False;

	(void)unused;
	return queue_of(self)->hooked ? call_hooked(self, "_hooked_get", &block, 1, NULL)
				      : get_until(self, 0);
}

static PyObject *core_qsize(PyObject *self, PyObject *unused)
{
	return queue_of(self)->hooked ? call_hooked(self, "_hooked_qsize", NULL, 0, NULL)
				      : queue_qsize(self, unused);
}

/* -1: raised. */
static Py_ssize_t size_of(PyObject *self)
{
	PyObject *size = core_qsize(self, NULL);
	Py_ssize_t number = size != NULL ? PyLong_AsSsize_t(size) : -1;

	Py_XDECREF(size);
	return number;
}

static PyObject *core_empty(PyObject *self, PyObject *unused)
{
	Py_ssize_t size = size_of(self);

	(void)unused;
	return PyErr_Occurred() != NULL ? NULL : PyBool_FromLong(size == 0);
}

static PyObject *core_put(
	PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
	static const struct py_call call = { "put", put_names, 1, 3 };
	PyObject *found[3] = { NULL, NULL, NULL };
	int64_t deadline_ns = DEADLINE_NEVER;

	if (queue_of(self)->hooked)
		return call_hooked(self, "_hooked_put", args, nargs, kwnames);
	if (nargs == 1 && kwnames == NULL)
		found[0] = args[0];
	else if (!py_arguments(&call, args, nargs, kwnames, found) ||
		 !py_queue_deadline(found[1], found[2], &deadline_ns))
		return NULL;
	return put_until(self, found[0], deadline_ns);
}

static PyObject *core_put_nowait(
	PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
	static const struct py_call call = { "put_nowait", put_names, 1, 1 };
	PyObject *found[2] = { NULL, Py_False };

	if (!py_arguments(&call, args, nargs, kwnames, found))
		return NULL;
	return queue_of(self)->hooked ? call_hooked(self, "_hooked_put", found, 2, NULL)
				      : put_until(self, found[0], 0);
}

static PyObject *core_full(PyObject *self, PyObject *unused)
{
	Py_ssize_t maxsize = queue_of(self)->maxsize, size = size_of(self);

	(void)unused;
	return PyErr_Occurred() != NULL ? NULL : PyBool_FromLong(maxsize > 0 && size >= maxsize);
}

static PyObject *core_task_done(PyObject *self, PyObject *unused)
{
	(void)unused;
	if (queue_of(self)->hooked)
		return call_hooked(self, "_hooked_task_done", NULL, 0, NULL);
	if (waitgroup_done(unfinished_of(self)) == FILAR_OK)
		Py_RETURN_NONE;
	PyErr_SetString(PyExc_ValueError, "task_done() called too many times");
	return NULL;
}

static enum filar_status wait_for_all(void *unfinished, int64_t deadline_ns)
{
	return waitgroup_wait_until(unfinished, deadline_ns);
}

static PyObject *core_join(PyObject *self, PyObject *unused)
{
	enum filar_status status;

	(void)unused;
	if (queue_of(self)->hooked)
		return call_hooked(self, "_hooked_join", NULL, 0, NULL);
	status = py_wait_staying(wait_for_all, unfinished_of(self), DEADLINE_NEVER);
	if (status != FILAR_OK)
		return py_raise(status);
	Py_RETURN_NONE;
}

PyDoc_STRVAR(shutdown_doc,
	"shutdown($self, /, immediate=False)\n--\n\n"
	"From now on put() raises ShutDown; get() too, once the queue is empty.\n\n"
	"immediate=True drops what is in it, and counts each as done. Whoever waits hears of it.");

static PyObject *core_shutdown(
	PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
	static const char *const names[] = { "immediate" };
	static const struct py_call call = { "shutdown", names, 0, 1 };
	PyObject *immediate = Py_False;
	size_t dropped;
	int drops;

	if (!py_arguments(&call, args, nargs, kwnames, &immediate))
		return NULL;
	if (queue_of(self)->hooked)
		return call_hooked(self, "_hooked_shutdown", &immediate, 1, NULL);
	drops = PyObject_IsTrue(immediate);
	if (drops < 0)
		return NULL;
	(void)chan_close(py_items_chan(items_of(self)));
	dropped = drops != 0 ? py_items_drop(items_of(self)) : 0;
	/* task_done() may have been called for some before they were got. */
	while (dropped-- > 0 && waitgroup_done(unfinished_of(self)) == FILAR_OK)
		;
	Py_RETURN_NONE;
}

static PyObject *core_get_unfinished(PyObject *self, void *unused)
{
	uint64_t missing = waitgroup_missing(unfinished_of(self));
	uint64_t waiting = queue_of(self)->waiting_puts;

	(void)unused;
	if (queue_of(self)->hooked)
		return PyObject_GetAttrString(self, "_hooked_unfinished");
	return PyLong_FromUnsignedLongLong(missing > waiting ? missing - waiting : 0);
}

static PyObject *core_get_is_shutdown(PyObject *self, void *unused)
{
	(void)unused;
	if (queue_of(self)->hooked)
		return PyObject_GetAttrString(self, "_hooked_is_shutdown");
	return PyBool_FromLong(items_of(self)->chan.closed);
}

static PyMethodDef core_methods[] = {
	{ "put", PY_FAST(core_put), put_doc },
	{ "get", PY_FAST(core_get), get_doc },
	{ "put_nowait", PY_FAST(core_put_nowait),
		"put_nowait($self, /, item)\n--\n\nAdds the item; queue.Full if there is no place. "
		"Does not wait." },
	{ "get_nowait", core_get_nowait, METH_NOARGS, GET_NOWAIT_DOC },
	{ "qsize", core_qsize, METH_NOARGS, QSIZE_DOC },
	{ "empty", core_empty, METH_NOARGS, EMPTY_DOC },
	{ "full", core_full, METH_NOARGS,
		"full($self, /)\n--\n\nWhether there is no place: a moment's view." },
	{ "task_done", core_task_done, METH_NOARGS,
		"task_done($self, /)\n--\n\nAn item that was got is done. ValueError if all are." },
	{ "join", core_join, METH_NOARGS,
		"join($self, /)\n--\n\nWaits until every item that was put is done." },
	{ "shutdown", PY_FAST(core_shutdown), shutdown_doc },
	{ "__class_getitem__", Py_GenericAlias, METH_O | METH_CLASS, NULL },
	{ NULL, NULL, 0, NULL },
};

static PyGetSetDef core_getset[] = {
	{ "unfinished_tasks", core_get_unfinished, NULL,
		"Items that were put and are not done: a moment's view.", NULL },
	{ "is_shutdown", core_get_is_shutdown, NULL, "Whether shutdown() was called.", NULL },
	{ NULL, NULL, NULL, NULL, NULL },
};

static PyMemberDef core_members[] = {
	{ "__weaklistoffset__", T_PYSSIZET, offsetof(struct simple_queue, weakrefs), READONLY,
		NULL },
	{ "maxsize", T_PYSSIZET, offsetof(struct queue, maxsize), 0, NULL },
	{ NULL, 0, 0, 0, NULL },
};

static PyType_Slot core_slots[] = {
	{ Py_tp_doc, (void *)"The first-in first-out core of filar.Queue." },
	{ Py_tp_new, core_new },
	{ Py_tp_init, core_init },
	{ Py_tp_traverse, queue_traverse },
	{ Py_tp_clear, queue_clear },
	{ Py_tp_dealloc, queue_dealloc },
	{ Py_tp_methods, core_methods },
	{ Py_tp_members, core_members },
	{ Py_tp_getset, core_getset },
	{ 0, NULL },
};

PyType_Spec py_queue_core_spec = {
	.name = "filar.QueueCore",
	.basicsize = sizeof(struct queue),
	.flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
	.slots = core_slots,
};
