/*
 * scope.c - `with timeout(...)`: a stretch of a green thread's life that is cancelled by itself.
 *
 * Scopes nest.  The C core knows one mark, "this green thread is cancelled"; whose doing it was is
 * kept here: cancel() in the handle, each scope in `fired`.  A scope that is left takes its own
 * reason away, and turns the CancelledError that came out of it into a DeadlineError if no other
 * reason is left.
 *
 * A deadline fires on some worker without the GIL; so after the mark is cleared all reasons are
 * looked at once more (pygreen_settle_cancel).
 */
#include "py/arguments.h"
#include "py/internal.h"

#include <structmember.h>

#include "green/waiter.h"
#include "os/clock.h"

PyTypeObject *border_scope_type;

struct pyscope {
	PyObject_HEAD struct scope scope;
	int64_t deadline_ns; /* DEADLINE_NEVER: only cancel() fires it */
	double seconds;
	bool used;
};

static struct pyscope *pyscope_of(struct scope *scope)
{
	return FILAR_CONTAINER_OF(scope, struct pyscope, scope);
}

/* Without the GIL, under the deadlines' lock. */
static void fire(struct deadline *deadline)
{
	struct scope *scope = FILAR_CONTAINER_OF(deadline, struct scope, deadline);

	store_seq_cst(&scope->fired, 1);
	(void)green_cancel(scope->green->ref);
}

static struct deadlines *deadlines_of(struct pygreen *green)
{
	return &green->ref.green->runtime->scheduler.deadlines;
}

/* No longer entered; true if it had fired. */
static bool leave(struct scope *scope)
{
	struct pygreen *green = scope->green;
	struct scope **place = &green->scopes;

	deadlines_cancel(deadlines_of(green), &scope->deadline);
	while (*place != scope)
		place = &(*place)->outer;
	*place = scope->outer;
	scope->green = NULL;
	return load_seq_cst(&scope->fired) != 0;
}

void scopes_end(struct pygreen *green)
{
	while (green->scopes != NULL)
		(void)leave(green->scopes);
}

static PyObject *scope_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
	static char *names[] = { "seconds", NULL };
	PyObject *seconds = Py_None;
	struct pyscope *self;
	int64_t ignored;

	if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "|O:timeout", names, &seconds) ||
		!py_deadline(seconds, &ignored))
		return NULL;
	self = (struct pyscope *)type->tp_alloc(type, 0);
	if (self == NULL)
		return NULL;
	self->seconds = seconds == Py_None ? Py_HUGE_VAL : PyFloat_AsDouble(seconds);
	return (PyObject *)self;
}

static PyObject *scope_enter(PyObject *object, PyObject *unused)
{
	struct pyscope *self = (struct pyscope *)object;
	struct pygreen *green = pygreen_here();
	PyObject *seconds;

	(void)unused;
	if (green == NULL)
		return PyErr_Occurred()
			       ? NULL
			       : border_raise(status_detail(FILAR_WRONG_STATE,
					 "a timeout scope needs a green thread to cancel"));
	if (self->used)
		return border_raise(status_detail(
			FILAR_WRONG_STATE, "a timeout scope is entered once; make a new one"));
	seconds = PyFloat_FromDouble(self->seconds);
	if (seconds == NULL || !py_deadline(seconds, &self->deadline_ns)) {
		Py_XDECREF(seconds);
		return NULL;
	}
	Py_DECREF(seconds);
	self->used = true;
	self->scope.green = green;
	self->scope.outer = green->scopes;
	green->scopes = &self->scope;
	self->scope.deadline.at_ns = self->deadline_ns;
	self->scope.deadline.fire = fire;
	if (self->seconds <= 0 || load_seq_cst(&self->scope.fired) != 0)
		fire(&self->scope.deadline);
	else if (self->deadline_ns != DEADLINE_NEVER)
		scheduler_add_deadline(
			&green->ref.green->runtime->scheduler, &self->scope.deadline);
	return Py_NewRef(object);
}

/* The exception that came out of the block stays, unless it is this scope's doing alone. */
static PyObject *scope_exit(PyObject *object, PyObject *const *arguments, Py_ssize_t count)
{
	struct pyscope *self = (struct pyscope *)object;
	struct pygreen *green = self->scope.green;
	bool fired;

	if (count != 3) {
		PyErr_SetString(PyExc_TypeError, "__exit__() takes three arguments");
		return NULL;
	}
	/* A generator that is finalised on another thread, or after the end of its own. */
	if (green == NULL)
		Py_RETURN_FALSE;
	fired = leave(&self->scope);
	if (!fired)
		Py_RETURN_FALSE;
	pygreen_settle_cancel(green);
	if (arguments[0] == Py_None ||
		!PyErr_GivenExceptionMatches(arguments[0], border_cancelled_error) ||
		green_is_cancelled(green->ref.green) || green != pygreen_here()) {
		PyErr_Clear();
		Py_RETURN_FALSE;
	}
	if (self->deadline_ns == DEADLINE_NEVER)
		Py_RETURN_TRUE; /* it was cancel(): whoever called it knows why */
	return border_raise(status_detail(
		FILAR_TIMED_OUT, "the block took longer than %g seconds", self->seconds));
}

static PyObject *scope_cancel(PyObject *object, PyObject *unused)
{
	struct pyscope *self = (struct pyscope *)object;

	(void)unused;
	store_seq_cst(&self->scope.fired, 1);
	if (self->scope.green != NULL)
		(void)green_cancel(self->scope.green->ref);
	Py_RETURN_NONE;
}

static PyObject *scope_expired(PyObject *object, void *closure)
{
	(void)closure;
	return PyBool_FromLong(load_seq_cst(&((struct pyscope *)object)->scope.fired) != 0);
}

static void scope_dealloc(PyObject *object)
{
	struct pyscope *self = pyscope_of(&((struct pyscope *)object)->scope);
	PyTypeObject *type = Py_TYPE(object);

	if (self->scope.green != NULL)
		(void)leave(&self->scope);
	type->tp_free(object);
	Py_DECREF(type);
}

static PyMethodDef scope_methods[] = {
	{ "__enter__", scope_enter, METH_NOARGS, NULL },
	{ "__exit__", (PyCFunction)(void (*)(void))scope_exit, METH_FASTCALL, NULL },
	{ "cancel", scope_cancel, METH_NOARGS,
		PyDoc_STR("Ends the block's waits now, as if its time had come.") },
	{ NULL, NULL, 0, NULL },
};

static PyGetSetDef scope_properties[] = {
	{ "expired", scope_expired, NULL,
		PyDoc_STR("True once the time has come or cancel() was called."), NULL },
	{ NULL, NULL, NULL, NULL, NULL },
};

static PyType_Slot scope_slots[] = {
	{ Py_tp_new, scope_new },
	{ Py_tp_dealloc, scope_dealloc },
	{ Py_tp_methods, scope_methods },
	{ Py_tp_getset, scope_properties },
	{ Py_tp_doc,
		"timeout(seconds=None)\n--\n\n"
		"`with timeout(seconds):` every wait of this green thread inside ends when the time has\n"
		"come, and the block with a DeadlineError (a TimeoutError).  Computing is not interrupted.\n"
		"None: never by itself; `cancel()` then ends the block without an exception." },
	{ 0, NULL },
};

static PyType_Spec scope_spec = {
	.name = "filar.green.timeout",
	.basicsize = sizeof(struct pyscope),
	.flags = Py_TPFLAGS_DEFAULT,
	.slots = scope_slots,
};

int border_make_scope_type(void)
{
	border_scope_type = (PyTypeObject *)PyType_FromSpec(&scope_spec);
	return border_scope_type != NULL ? 0 : -1;
}
