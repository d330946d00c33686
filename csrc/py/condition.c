/*
 * condition.c - a recursive lock, and the way to a standard condition.
 *
 * A waker does not hand the lock over: it frees it and wakes one sleeper, who tries again.
 */
#include "py/condition.h"

#include "os/clock.h"
#include "py/future.h"
#include "py/internal.h"

static PyObject *standard_condition; /* threading.Condition */

/* 1: taken.  0: the time is over.  -1: exception. */
static int take_until(struct condition *self, int64_t deadline_ns)
{
	PyThreadState *caller = PyThreadState_Get();

	for (;;) {
		struct sleeper sleeper;
		enum sleep_end end;
		bool was_woken, taken;

		waiter_init(&sleeper.waiter);
		guard_lock(&self->guard);
		taken = self->owner == NULL || self->owner == caller;
		if (taken) {
			self->owner = caller;
			self->depth++;
		} else {
			sleeper_push(&self->sleepers, &sleeper);
		}
		guard_unlock(&self->guard);
		if (taken) {
			waiter_abandon(&sleeper.waiter);
			return 1;
		}
		end = sleeper_wait(
			&sleeper, &self->sleepers, &self->guard, deadline_ns, &was_woken);
		if (end == SLEEP_TIMED_OUT)
			return 0;
		if (end == SLEEP_RAISED) {
			/* Somebody else may have the lock that we were woken for. */
			if (was_woken && self->owner == NULL)
				sleepers_wake(sleepers_pop(&self->sleepers, &self->guard));
			return -1;
		}
	}
}

/* Gives up `depth` of the owner's holds. */
static void give_back(struct condition *self, size_t depth)
{
	bool freed;

	guard_lock(&self->guard);
	self->depth -= depth;
	freed = self->depth == 0;
	if (freed)
		self->owner = NULL;
	guard_unlock(&self->guard);
	if (freed)
		sleepers_wake(sleepers_pop(&self->sleepers, &self->guard));
}

bool condition_acquire(struct condition *self)
{
	return take_until(self, DEADLINE_NEVER) == 1;
}

void condition_release(struct condition *self)
{
	give_back(self, 1);
}

static bool is_owner(const struct condition *self)
{
	return self->owner == PyThreadState_Get();
}

static bool check_owner(const struct condition *self, const char *what)
{
	if (is_owner(self))
		return true;
	PyErr_Format(PyExc_RuntimeError, "cannot %s un-acquired lock", what);
	return false;
}

/* ---- the lock's methods ---------------------------------------------------------------------- */

static PyObject *acquire(struct condition *self, PyObject *arguments, PyObject *keywords)
{
	static char *names[] = { "blocking", "timeout", NULL };
	int64_t deadline_ns = DEADLINE_NEVER;
	double timeout = -1;
	int blocking = 1, taken;

	if (!PyArg_ParseTupleAndKeywords(
		    arguments, keywords, "|pd:acquire", names, &blocking, &timeout))
		return NULL;
	if (!blocking)
		deadline_ns = 0;
	else if (timeout >= 0 && timeout < 1e9)
		deadline_ns = clock_now_ns() + (int64_t)(timeout * 1e9);
	taken = take_until(self, deadline_ns);
	return taken < 0 ? NULL : PyBool_FromLong(taken);
}

static PyObject *enter(struct condition *self, PyObject *unused)
{
	(void)unused;
	if (!condition_acquire(self))
		return NULL;
	Py_RETURN_TRUE;
}

static PyObject *release(struct condition *self, PyObject *unused)
{
	(void)unused;
	if (!check_owner(self, "release"))
		return NULL;
	condition_release(self);
	Py_RETURN_NONE;
}

/* The three that a standard condition asks of a recursive lock. */
static PyObject *is_owned(struct condition *self, PyObject *unused)
{
	(void)unused;
	return PyBool_FromLong(is_owner(self));
}

static PyObject *release_save(struct condition *self, PyObject *unused)
{
	size_t depth = self->depth;

	(void)unused;
	if (!check_owner(self, "release"))
		return NULL;
	give_back(self, depth);
	return PyLong_FromSize_t(depth);
}

static PyObject *acquire_restore(struct condition *self, PyObject *saved)
{
	size_t depth = PyLong_AsSize_t(saved);

	if (depth == (size_t)-1 && PyErr_Occurred())
		return NULL;
	if (!condition_acquire(self))
		return NULL;
	self->depth = depth;
	Py_RETURN_NONE;
}

/* ---- the condition's ------------------------------------------------------------------------- */

bool condition_notify_all(struct condition *self)
{
	PyObject *done;

	if (self->waiting == NULL)
		return true;
	done = PyObject_CallMethod(self->waiting, "notify_all", NULL);
	Py_XDECREF(done);
	return done != NULL;
}

static PyObject *notify_all(struct condition *self, PyObject *unused)
{
	(void)unused;
	if (!check_owner(self, "notify on") || !condition_notify_all(self))
		return NULL;
	Py_RETURN_NONE;
}

/* Only wait(), wait_for() and notify() go this way: rare. */
static PyObject *standard(
	struct condition *self, const char *name, PyObject *arguments, PyObject *keywords)
{
	PyObject *method, *result;

	if (self->waiting == NULL) {
		PyObject *made = PyObject_CallOneArg(standard_condition, (PyObject *)self);

		if (made == NULL)
			return NULL;
		if (self->waiting == NULL)
			self->waiting = made;
		else
			Py_DECREF(made);
	}
	method = PyObject_GetAttrString(self->waiting, name);
	if (method == NULL)
		return NULL;
	result = PyObject_Call(method, arguments, keywords);
	Py_DECREF(method);
	return result;
}

static PyObject *wait(struct condition *self, PyObject *arguments, PyObject *keywords)
{
	return standard(self, "wait", arguments, keywords);
}

static PyObject *wait_for(struct condition *self, PyObject *arguments, PyObject *keywords)
{
	return standard(self, "wait_for", arguments, keywords);
}

static PyObject *notify(struct condition *self, PyObject *arguments, PyObject *keywords)
{
	return standard(self, "notify", arguments, keywords);
}

/* ---- the type -------------------------------------------------------------------------------- */

static int traverse(struct condition *self, visitproc visit, void *arg)
{
	Py_VISIT(self->waiting);
	return 0;
}

static int clear(struct condition *self)
{
	Py_CLEAR(self->waiting);
	return 0;
}

static void dealloc(struct condition *self)
{
	PyObject_GC_UnTrack(self);
	(void)clear(self);
	Py_TYPE(self)->tp_free((PyObject *)self);
}

#define METHOD(name, function, flags)                                                              \
	{                                                                                          \
		name, (PyCFunction)(void *)(function), flags, NULL                                 \
	}

static PyMethodDef methods[] = {
	METHOD("acquire", acquire, METH_VARARGS | METH_KEYWORDS),
	METHOD("release", release, METH_NOARGS),
	METHOD("__enter__", enter, METH_NOARGS),
	METHOD("__exit__", release, METH_VARARGS),
	METHOD("_is_owned", is_owned, METH_NOARGS),
	METHOD("_release_save", release_save, METH_NOARGS),
	METHOD("_acquire_restore", acquire_restore, METH_O),
	METHOD("notify_all", notify_all, METH_NOARGS),
	METHOD("notify", notify, METH_VARARGS | METH_KEYWORDS),
	METHOD("wait", wait, METH_VARARGS | METH_KEYWORDS),
	METHOD("wait_for", wait_for, METH_VARARGS | METH_KEYWORDS),
	{ NULL, NULL, 0, NULL },
};

PyTypeObject condition_type = {
	PyVarObject_HEAD_INIT(NULL, 0).tp_name = "filar.pool.Condition",
	.tp_doc = "A future's condition; as threading.Condition.",
	.tp_basicsize = sizeof(struct condition),
	.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
	.tp_traverse = (traverseproc)(void *)traverse,
	.tp_clear = (inquiry)(void *)clear,
	.tp_dealloc = (destructor)(void *)dealloc,
	.tp_methods = methods,
};

PyObject *condition_new(void)
{
	return condition_type.tp_alloc(&condition_type, 0);
}

bool condition_set_up(void)
{
	standard_condition = import_name("threading", "Condition");
	return standard_condition != NULL && PyType_Ready(&condition_type) == 0;
}
