/*
 * arguments.c - reading arguments.
 */
#include "py/arguments.h"

#include <math.h>
#include <string.h>

#include "block/waitq.h"

static Py_ssize_t find_name(const struct py_call *call, PyObject *name)
{
	for (Py_ssize_t i = 0; i < call->max; i++) {
		if (PyUnicode_CompareWithASCIIString(name, call->names[i]) == 0)
			return i;
	}
	return -1;
}

static bool take_keyword(
	const struct py_call *call, PyObject *name, PyObject *value, PyObject **found, bool *given)
{
	Py_ssize_t index = find_name(call, name);

	if (index < 0) {
		PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument '%U'",
			call->function, name);
		return false;
	}
	if (given[index]) {
		PyErr_Format(PyExc_TypeError, "%s() got multiple values for argument '%s'",
			call->function, call->names[index]);
		return false;
	}
	found[index] = value;
	given[index] = true;
	return true;
}

bool py_arguments(const struct py_call *call, PyObject *const *args, Py_ssize_t nargs,
	PyObject *kwnames, PyObject **found)
{
	bool given[8] = { false };
	Py_ssize_t keywords = kwnames != NULL ? PyTuple_GET_SIZE(kwnames) : 0;

	if (nargs > call->max) {
		PyErr_Format(PyExc_TypeError, "%s() takes at most %zd arguments (%zd given)",
			call->function, call->max, nargs);
		return false;
	}
	for (Py_ssize_t i = 0; i < nargs; i++) {
		found[i] = args[i];
		given[i] = true;
	}
	for (Py_ssize_t i = 0; i < keywords; i++) {
		if (!take_keyword(
			    call, PyTuple_GET_ITEM(kwnames, i), args[nargs + i], found, given))
			return false;
	}
	for (Py_ssize_t i = 0; i < call->required; i++) {
		if (!given[i]) {
			PyErr_Format(PyExc_TypeError, "%s() missing required argument '%s'",
				call->function, call->names[i]);
			return false;
		}
	}
	return true;
}

/* ---- time ---- */

static bool seconds_of(PyObject *timeout, double *seconds)
{
	*seconds = PyFloat_AsDouble(timeout);
	if (*seconds == -1.0 && PyErr_Occurred() != NULL)
		return false;
	if (isnan(*seconds)) {
		PyErr_SetString(PyExc_ValueError, "a timeout is a number of seconds, not NaN");
		return false;
	}
	return true;
}

/* Rounded up, so that a wait is never shorter than asked for. */
static int64_t deadline_in(double seconds)
{
	int64_t now_ns = clock_now_ns();
	double ns = ceil(seconds * 1e9);

	if (ns <= 0)
		return 0;
	return ns >= (double)(DEADLINE_NEVER - now_ns) ? DEADLINE_NEVER : now_ns + (int64_t)ns;
}

bool py_deadline(PyObject *timeout, int64_t *deadline_ns)
{
	double seconds;

	*deadline_ns = DEADLINE_NEVER;
	if (timeout == NULL || timeout == Py_None)
		return true;
	if (!seconds_of(timeout, &seconds))
		return false;
	*deadline_ns = deadline_in(seconds);
	return true;
}

bool py_lock_deadline(PyObject *blocking, PyObject *timeout, int64_t *deadline_ns)
{
	int waits = blocking != NULL ? PyObject_IsTrue(blocking) : 1;
	double seconds = -1;

	if (waits < 0 || (timeout != NULL && !seconds_of(timeout, &seconds)))
		return false;
	if (waits == 0 && seconds != -1) {
		PyErr_SetString(
			PyExc_ValueError, "can't specify a timeout for a non-blocking call");
		return false;
	}
	if (seconds < 0 && seconds != -1) {
		PyErr_SetString(PyExc_ValueError, "timeout value must be a non-negative number");
		return false;
	}
	/* threading.TIMEOUT_MAX. */
	if (seconds > (double)(INT64_MAX / NS_PER_S)) {
		PyErr_SetString(PyExc_OverflowError, "timeout value is too large");
		return false;
	}
	*deadline_ns = waits == 0 ? 0 : seconds == -1 ? DEADLINE_NEVER : deadline_in(seconds);
	return true;
}

bool py_queue_deadline(PyObject *block, PyObject *timeout, int64_t *deadline_ns)
{
	int waits = block != NULL ? PyObject_IsTrue(block) : 1;
	double seconds;

	*deadline_ns = 0;
	if (waits <= 0)
		return waits == 0;
	*deadline_ns = DEADLINE_NEVER;
	if (timeout == NULL || timeout == Py_None)
		return true;
	if (!seconds_of(timeout, &seconds))
		return false;
	if (seconds < 0) {
		PyErr_SetString(PyExc_ValueError, "'timeout' must be a non-negative number");
		return false;
	}
	*deadline_ns = deadline_in(seconds);
	return true;
}

/* ---- other ---- */

bool py_count(PyObject *number, const char *what, uint64_t least, uint64_t *count)
{
	PyObject *index = PyNumber_Index(number);
	unsigned long long value;

	if (index == NULL)
		return false;
	value = PyLong_AsUnsignedLongLong(index);
	if (PyErr_Occurred() != NULL || value < least || value > WAITQ_VALUE_MAX) {
		if (PyErr_Occurred() == NULL || PyErr_ExceptionMatches(PyExc_OverflowError))
			PyErr_Format(PyExc_ValueError, "%s must be >= %llu and below 2**58, not %S",
				what, (unsigned long long)least, index);
		Py_DECREF(index);
		return false;
	}
	Py_DECREF(index);
	*count = value;
	return true;
}

PyObject *py_enter_self(PyObject *self, PyObject *unused)
{
	(void)unused;
	return Py_NewRef(self);
}

PyObject *py_alloc(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
	bool any = (args != NULL && PyTuple_GET_SIZE(args) != 0) ||
		   (kwargs != NULL && PyDict_GET_SIZE(kwargs) != 0);

	if (any && type->tp_init == PyBaseObject_Type.tp_init)
		return PyErr_Format(PyExc_TypeError, "%s() takes no arguments", type->tp_name);
	return type->tp_alloc(type, 0);
}

void py_free(PyObject *self, PyObject *weakrefs)
{
	PyTypeObject *type = Py_TYPE(self);

	if (weakrefs != NULL)
		PyObject_ClearWeakRefs(self);
	type->tp_free(self);
	Py_DECREF(type);
}
