/*
 * count.c - filar.Semaphore, BoundedSemaphore, Event, Latch, WaitGroup: numbers that threads wait
 * for.
 */
#include "py/arguments.h"
#include "py/types.h"

#include <structmember.h>

#include "block/event.h"
#include "block/semaphore.h"
#include "block/waitgroup.h"

#define WEAKREFS(type)                                                                             \
	{                                                                                          \
		"__weaklistoffset__", T_PYSSIZET, offsetof(type, weakrefs), READONLY, NULL         \
	}

static PyObject *number_of(uint64_t number)
{
	return PyLong_FromUnsignedLongLong(number);
}

/* `count` of a constructor with one number, called `name`. */
static bool parse_number(PyObject *args, PyObject *kwargs, const char *format, char *name,
	const char *what, uint64_t *count)
{
	char *names[] = { name, NULL };
	PyObject *number = NULL;

	return PyArg_ParseTupleAndKeywords(args, kwargs, format, names, &number) &&
	       (number == NULL || py_count(number, what, 0, count));
}

/* wait(timeout=None) of those that announce. */
static PyObject *announce_wait(py_wait_call *call, void *object, PyObject *const *args,
	Py_ssize_t nargs, PyObject *kwnames)
{
	static const char *const names[] = { "timeout" };
	static const struct py_call wait_call = { "wait", names, 0, 1 };
	PyObject *timeout = NULL;
	int64_t deadline_ns;

	if (!py_arguments(&wait_call, args, nargs, kwnames, &timeout) ||
		!py_deadline(timeout, &deadline_ns))
		return NULL;
	return py_outcome(py_wait_staying(call, object, deadline_ns));
}

/* One optional number `n` >= 1. */
static bool parse_n(const char *function, const char *what, PyObject *const *args, Py_ssize_t nargs,
	PyObject *kwnames, uint64_t *n)
{
	static const char *const names[] = { "n" };
	const struct py_call call = { function, names, 0, 1 };
	PyObject *number = NULL;

	*n = 1;
	return py_arguments(&call, args, nargs, kwnames, &number) &&
	       (number == NULL || py_count(number, what, 1, n));
}

/* ---- Semaphore ---- */

struct py_semaphore {
	PyObject ob_base;
	struct semaphore semaphore;
	uint32_t forks;
	PyObject *weakrefs;
};

static struct semaphore *semaphore_of(PyObject *self)
{
	struct py_semaphore *object = (struct py_semaphore *)self;

	py_after_fork(&object->semaphore.queue, &object->forks);
	return &object->semaphore;
}

static bool is_bounded(PyObject *self)
{
	return semaphore_of(self)->max != WAITQ_VALUE_MAX;
}

static PyObject *semaphore_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
	PyObject *self = type->tp_alloc(type, 0);

	(void)args, (void)kwargs;
	if (self != NULL)
		semaphore_init(semaphore_of(self), 1, WAITQ_VALUE_MAX, NULL);
	return self;
}

/* A second __init__ would forget those who wait. */
static bool may_begin(struct waitq *queue)
{
	if (waitq_first(queue) == NULL)
		return true;
	PyErr_SetString(PyExc_RuntimeError, "what threads wait for cannot begin anew");
	return false;
}

static int init_semaphore(PyObject *self, PyObject *args, PyObject *kwargs, bool bounded)
{
	uint64_t value = 1;

	if (!parse_number(
		    args, kwargs, "|O:Semaphore", "value", "semaphore initial value", &value) ||
		!may_begin(&semaphore_of(self)->queue))
		return -1;
	semaphore_init(semaphore_of(self), value, bounded ? value : WAITQ_VALUE_MAX, NULL);
	return 0;
}

static int semaphore_tp_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
	return init_semaphore(self, args, kwargs, false);
}

static int bounded_tp_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
	return init_semaphore(self, args, kwargs, true);
}

static void semaphore_dealloc(PyObject *self)
{
	py_free(self, ((struct py_semaphore *)self)->weakrefs);
}

static enum filar_status wait_for_unit(void *semaphore, int64_t deadline_ns)
{
	return semaphore_acquire_until(semaphore, deadline_ns);
}

static bool parse_acquire(
	PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames, int64_t *deadline_ns)
{
	static const char *const names[] = { "blocking", "timeout" };
	static const struct py_call call = { "acquire", names, 0, 2 };
	PyObject *found[2] = { Py_True, Py_None };
	int waits;

	if (!py_arguments(&call, args, nargs, kwnames, found))
		return false;
	waits = PyObject_IsTrue(found[0]);
	if (waits == 0 && found[1] != Py_None) {
		PyErr_SetString(PyExc_ValueError, "can't specify timeout for non-blocking acquire");
		return false;
	}
	*deadline_ns = 0;
	return waits == 0 || (waits > 0 && py_deadline(found[1], deadline_ns));
}

PyDoc_STRVAR(semaphore_acquire_doc,
	"acquire($self, /, blocking=True, timeout=None)\n--\n\n"
	"Takes one unit; True if it did.\n\n"
	"Waits for ever, or at most `timeout` seconds, or not at all (blocking=False). First come, "
	"first\nserved.");

static PyObject *semaphore_acquire(
	PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
	struct semaphore *semaphore = semaphore_of(self);
	int64_t deadline_ns = DEADLINE_NEVER;

	if ((nargs != 0 || kwnames != NULL) && !parse_acquire(args, nargs, kwnames, &deadline_ns))
		return NULL;
	if (semaphore_try_acquire(semaphore) == FILAR_OK)
		Py_RETURN_TRUE;
	if (deadline_ns == 0)
		Py_RETURN_FALSE;
	return py_outcome(py_wait_leaving(wait_for_unit, semaphore, deadline_ns));
}

static PyObject *semaphore_enter(PyObject *self, PyObject *unused)
{
	(void)unused;
	return semaphore_acquire(self, NULL, 0, NULL);
}

PyDoc_STRVAR(semaphore_release_doc,
	"release($self, /, n=1)\n--\n\nGives n units; ValueError where that is more than were taken "
	"(BoundedSemaphore).");

static PyObject *semaphore_give(
	PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
	uint64_t n = 1;

	if ((nargs != 0 || kwnames != NULL) && !parse_n("release", "n", args, nargs, kwnames, &n))
		return NULL;
	if (semaphore_release(semaphore_of(self), n) == FILAR_OK)
		Py_RETURN_NONE;
	PyErr_SetString(PyExc_ValueError, "Semaphore released too many times");
	return NULL;
}

static PyObject *semaphore_exit(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
	(void)args, (void)nargs;
	return semaphore_give(self, NULL, 0, NULL);
}

static PyObject *semaphore_get_value(PyObject *self, void *unused)
{
	(void)unused;
	return number_of(semaphore_value(semaphore_of(self)));
}

static PyObject *semaphore_repr(PyObject *self)
{
	struct semaphore *semaphore = semaphore_of(self);
	unsigned long long value = semaphore_value(semaphore);

	if (is_bounded(self))
		return PyUnicode_FromFormat("<%s at %p: value=%llu/%llu>", Py_TYPE(self)->tp_name,
			(void *)self, value, (unsigned long long)semaphore->max);
	return PyUnicode_FromFormat(
		"<%s at %p: value=%llu>", Py_TYPE(self)->tp_name, (void *)self, value);
}

static PyMethodDef semaphore_methods[] = {
	{ "acquire", PY_FAST(semaphore_acquire), semaphore_acquire_doc },
	{ "release", PY_FAST(semaphore_give), semaphore_release_doc },
	{ "__enter__", semaphore_enter, METH_NOARGS, NULL },
	{ "__exit__", (PyCFunction)(void (*)(void))semaphore_exit, METH_FASTCALL, NULL },
	{ NULL, NULL, 0, NULL },
};

static PyGetSetDef semaphore_getset[] = {
	{ "_value", semaphore_get_value, NULL, "Units that are there: a moment's view.", NULL },
	{ NULL, NULL, NULL, NULL, NULL },
};

static PyMemberDef semaphore_members[] = {
	WEAKREFS(struct py_semaphore),
	{ NULL, 0, 0, 0, NULL },
};

PyDoc_STRVAR(semaphore_doc, "Semaphore(value=1)\n--\n\n"
			    "Units to take and give back, as threading.Semaphore, for kernel and "
			    "green threads.\n\n"
			    ">>> seats = Semaphore(2)\n"
			    ">>> with seats, seats:\n"
			    "...     seats.acquire(blocking=False)\n"
			    "False\n");

static PyType_Slot semaphore_slots[] = {
	{ Py_tp_doc, (void *)semaphore_doc },
	{ Py_tp_new, semaphore_new },
	{ Py_tp_init, semaphore_tp_init },
	{ Py_tp_dealloc, semaphore_dealloc },
	{ Py_tp_repr, semaphore_repr },
	{ Py_tp_methods, semaphore_methods },
	{ Py_tp_members, semaphore_members },
	{ Py_tp_getset, semaphore_getset },
	{ 0, NULL },
};

PyType_Spec py_semaphore_spec = {
	.name = "filar.Semaphore",
	.basicsize = sizeof(struct py_semaphore),
	.flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
	.slots = semaphore_slots,
};

PyDoc_STRVAR(bounded_doc, "BoundedSemaphore(value=1)\n--\n\n"
			  "A Semaphore that refuses to hold more than it began with.\n\n"
			  ">>> BoundedSemaphore(1).release()\n"
			  "Traceback (most recent call last):\n"
			  "ValueError: Semaphore released too many times\n");

static PyType_Slot bounded_slots[] = {
	{ Py_tp_doc, (void *)bounded_doc },
	{ Py_tp_init, bounded_tp_init },
	{ 0, NULL },
};

PyType_Spec py_bounded_semaphore_spec = {
	.name = "filar.BoundedSemaphore",
	.basicsize = sizeof(struct py_semaphore),
	.flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
	.slots = bounded_slots,
};

/* ---- Event ---- */

struct py_event {
	PyObject ob_base;
	struct event event;
	uint32_t forks;
	PyObject *weakrefs;
};

static struct event *event_of(PyObject *self)
{
	struct py_event *object = (struct py_event *)self;

	py_after_fork(&object->event.queue, &object->forks);
	return &object->event;
}

static PyObject *event_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
	PyObject *self = py_alloc(type, args, kwargs);

	if (self != NULL)
		event_init(event_of(self), false);
	return self;
}

static void event_dealloc(PyObject *self)
{
	py_free(self, ((struct py_event *)self)->weakrefs);
}

static PyObject *event_is_set_now(PyObject *self, PyObject *unused)
{
	(void)unused;
	return PyBool_FromLong(event_is_set(event_of(self)));
}

static PyObject *event_set_now(PyObject *self, PyObject *unused)
{
	(void)unused;
	event_set(event_of(self));
	Py_RETURN_NONE;
}

static PyObject *event_clear_now(PyObject *self, PyObject *unused)
{
	(void)unused;
	event_reset(event_of(self));
	Py_RETURN_NONE;
}

static enum filar_status wait_for_event(void *event, int64_t deadline_ns)
{
	return event_wait_until(event, deadline_ns);
}

static PyObject *event_wait(
	PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
	if (nargs == 0 && kwnames == NULL && event_is_set(event_of(self)))
		Py_RETURN_TRUE;
	return announce_wait(wait_for_event, event_of(self), args, nargs, kwnames);
}

static PyObject *event_at_fork_reinit(PyObject *self, PyObject *unused)
{
	(void)unused;
	event_init(event_of(self), event_is_set(event_of(self)));
	Py_RETURN_NONE;
}

static PyObject *event_repr(PyObject *self)
{
	return PyUnicode_FromFormat("<%s at %p: %s>", Py_TYPE(self)->tp_name, (void *)self,
		event_is_set(event_of(self)) ? "set" : "unset");
}

static PyMethodDef event_methods[] = {
	{ "wait", PY_FAST(event_wait),
		"wait($self, /, timeout=None)\n--\n\nWaits until it is set: True; False after "
		"`timeout` seconds." },
	{ "set", event_set_now, METH_NOARGS,
		"set($self, /)\n--\n\nSets it and wakes all that wait, also if it is cleared at "
		"once." },
	{ "clear", event_clear_now, METH_NOARGS,
		"clear($self, /)\n--\n\nFrom now on threads wait again." },
	{ "is_set", event_is_set_now, METH_NOARGS, "is_set($self, /)\n--\n\nWhether it is set." },
	{ "_at_fork_reinit", event_at_fork_reinit, METH_NOARGS, NULL },
	{ NULL, NULL, 0, NULL },
};

static PyMemberDef event_members[] = {
	WEAKREFS(struct py_event),
	{ NULL, 0, 0, 0, NULL },
};

PyDoc_STRVAR(event_doc, "Event()\n--\n\n"
			"A flag to wait for, as threading.Event, for kernel and green threads.\n\n"
			">>> event = Event()\n"
			">>> event.wait(timeout=0), event.set(), event.wait()\n"
			"(False, None, True)\n");

static PyType_Slot event_slots[] = {
	{ Py_tp_doc, (void *)event_doc },
	{ Py_tp_new, event_new },
	{ Py_tp_dealloc, event_dealloc },
	{ Py_tp_repr, event_repr },
	{ Py_tp_methods, event_methods },
	{ Py_tp_members, event_members },
	{ 0, NULL },
};

PyType_Spec py_event_spec = {
	.name = "filar.Event",
	.basicsize = sizeof(struct py_event),
	.flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
	.slots = event_slots,
};

/* ---- Latch and WaitGroup ---- */

/* A waitgroup is a latch (block/waitgroup.h). */
struct py_latch {
	PyObject ob_base;
	struct waitgroup group;
	uint32_t forks;
	PyObject *weakrefs;
};

static struct waitgroup *group_of(PyObject *self)
{
	struct py_latch *object = (struct py_latch *)self;

	py_after_fork(&object->group.latch.queue, &object->forks);
	return &object->group;
}

static struct latch *latch_of(PyObject *self)
{
	return &group_of(self)->latch;
}

static PyObject *latch_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
	PyObject *self = type->tp_alloc(type, 0);

	(void)args, (void)kwargs;
	if (self != NULL)
		latch_init(latch_of(self), 0, NULL);
	return self;
}

static PyObject *waitgroup_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
	PyObject *self = py_alloc(type, args, kwargs);

	if (self != NULL)
		waitgroup_init(group_of(self), NULL);
	return self;
}

static int latch_tp_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
	uint64_t count = 0;

	if (!parse_number(args, kwargs, "O:Latch", "count", "count", &count) ||
		!may_begin(&latch_of(self)->queue))
		return -1;
	latch_init(latch_of(self), count, NULL);
	return 0;
}

static void latch_dealloc(PyObject *self)
{
	py_free(self, ((struct py_latch *)self)->weakrefs);
}

static enum filar_status wait_for_latch(void *latch, int64_t deadline_ns)
{
	return latch_wait_until(latch, deadline_ns);
}

static PyObject *latch_wait(
	PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
	return announce_wait(wait_for_latch, latch_of(self), args, nargs, kwnames);
}

static PyObject *latch_arrive(
	PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
	enum filar_status status;
	uint64_t n;

	if (!parse_n("count_down", "n", args, nargs, kwnames, &n))
		return NULL;
	status = latch_count_down(latch_of(self), n);
	if (status != FILAR_OK)
		return py_raise(status);
	Py_RETURN_NONE;
}

static PyObject *group_add(
	PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
	enum filar_status status;
	uint64_t n;

	if (!parse_n("add", "n", args, nargs, kwnames, &n))
		return NULL;
	status = waitgroup_add(group_of(self), n);
	if (status != FILAR_OK)
		return py_raise(status);
	Py_RETURN_NONE;
}

static PyObject *group_done(PyObject *self, PyObject *unused)
{
	(void)unused;
	return latch_arrive(self, NULL, 0, NULL);
}

static PyObject *latch_get_missing(PyObject *self, void *unused)
{
	(void)unused;
	return number_of(latch_missing(latch_of(self)));
}

static PyObject *latch_repr(PyObject *self)
{
	return PyUnicode_FromFormat("<%s at %p: missing=%llu>", Py_TYPE(self)->tp_name,
		(void *)self, (unsigned long long)latch_missing(latch_of(self)));
}

#define LATCH_WAIT_DOC                                                                             \
	"wait($self, /, timeout=None)\n--\n\nWaits until none is missing: True; False after "      \
	"`timeout` seconds."

static PyMethodDef latch_methods[] = {
	{ "wait", PY_FAST(latch_wait), LATCH_WAIT_DOC },
	{ "count_down", PY_FAST(latch_arrive),
		"count_down($self, /, n=1)\n--\n\nn have arrived. WrongStateError if fewer are "
		"missing." },
	{ NULL, NULL, 0, NULL },
};

static PyMethodDef group_methods[] = {
	{ "wait", PY_FAST(latch_wait), LATCH_WAIT_DOC },
	{ "add", PY_FAST(group_add), "add($self, /, n=1)\n--\n\nn more have begun." },
	{ "done", group_done, METH_NOARGS,
		"done($self, /)\n--\n\nOne is done. WrongStateError if none is missing." },
	{ NULL, NULL, 0, NULL },
};

static PyGetSetDef latch_getset[] = {
	{ "missing", latch_get_missing, NULL, "How many are missing: a moment's view.", NULL },
	{ NULL, NULL, NULL, NULL, NULL },
};

static PyMemberDef latch_members[] = {
	WEAKREFS(struct py_latch),
	{ NULL, 0, 0, 0, NULL },
};

PyDoc_STRVAR(latch_doc, "Latch(count)\n--\n\n"
			"Opens when `count` have arrived, and stays open.\n\n"
			">>> latch = Latch(2)\n"
			">>> latch.count_down(), latch.wait(timeout=0)\n"
			"(None, False)\n"
			">>> latch.count_down(), latch.wait()\n"
			"(None, True)\n");

static PyType_Slot latch_slots[] = {
	{ Py_tp_doc, (void *)latch_doc },
	{ Py_tp_new, latch_new },
	{ Py_tp_init, latch_tp_init },
	{ Py_tp_dealloc, latch_dealloc },
	{ Py_tp_repr, latch_repr },
	{ Py_tp_methods, latch_methods },
	{ Py_tp_members, latch_members },
	{ Py_tp_getset, latch_getset },
	{ 0, NULL },
};

PyType_Spec py_latch_spec = {
	.name = "filar.Latch",
	.basicsize = sizeof(struct py_latch),
	.flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
	.slots = latch_slots,
};

PyDoc_STRVAR(group_doc, "WaitGroup()\n--\n\n"
			"Waits until as many are done as were added; can be used again.\n\n"
			"Add before what is added can be done, and before the wait that is to see "
			"it.\n\n"
			">>> group = WaitGroup()\n"
			">>> group.add(2), group.done(), group.missing\n"
			"(None, None, 1)\n"
			">>> group.done(), group.wait()\n"
			"(None, True)\n");

static PyType_Slot group_slots[] = {
	{ Py_tp_doc, (void *)group_doc },
	{ Py_tp_new, waitgroup_new },
	{ Py_tp_dealloc, latch_dealloc },
	{ Py_tp_repr, latch_repr },
	{ Py_tp_methods, group_methods },
	{ Py_tp_members, latch_members },
	{ Py_tp_getset, latch_getset },
	{ 0, NULL },
};

PyType_Spec py_waitgroup_spec = {
	.name = "filar.WaitGroup",
	.basicsize = sizeof(struct py_latch),
	.flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
	.slots = group_slots,
};
