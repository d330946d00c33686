/*
 * errors.c - statuses and exceptions, both ways.
 */
#include "py/internal.h"

PyObject *border_cancelled_error;
static PyObject *error_for;      /* filar._lib.error_for(status) */
static PyObject *join_cancelled; /* filar.errors.JoinCancelledError */

int border_install_errors(PyObject *namespace)
{
	error_for = PyDict_GetItemString(namespace, "error_for");
	border_cancelled_error = PyDict_GetItemString(namespace, "CancelledError");
	join_cancelled = PyDict_GetItemString(namespace, "JoinCancelledError");
	if (error_for == NULL || border_cancelled_error == NULL || join_cancelled == NULL) {
		PyErr_SetString(PyExc_KeyError, "error_for and the errors");
		return -1;
	}
	Py_INCREF(error_for);
	Py_INCREF(join_cancelled);
	Py_INCREF(border_cancelled_error);
	return 0;
}

void *border_raise(enum filar_status status)
{
	PyObject *exception = PyObject_CallFunction(error_for, "i", (int)status);

	if (exception != NULL) {
		PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
		Py_DECREF(exception);
	}
	return NULL;
}

void *border_raise_join_cancelled(PyObject *cause)
{
	PyObject *exception = PyObject_CallFunction(
		join_cancelled, "s", "the green thread that was joined had been cancelled");

	if (exception == NULL)
		return NULL;
	PyException_SetCause(exception, Py_NewRef(cause));
	PyErr_SetObject(join_cancelled, exception);
	Py_DECREF(exception);
	return NULL;
}

int border_check_cancelled(void)
{
	struct green *green = green_self();

	if (green == NULL || FILAR_LIKELY(!green_is_cancelled(green)))
		return 0;
	border_raise(status_detail(FILAR_CANCELLED, "the green thread was cancelled"));
	return -1;
}

PyObject *border_take_exception(void)
{
#if PY_VERSION_HEX >= 0x030C0000
	return PyErr_GetRaisedException();
#else
	PyObject *type, *value, *traceback;

	PyErr_Fetch(&type, &value, &traceback);
	PyErr_NormalizeException(&type, &value, &traceback);
	if (traceback != NULL && value != NULL)
		PyException_SetTraceback(value, traceback);
	Py_XDECREF(type);
	Py_XDECREF(traceback);
	return value;
#endif
}

void border_reraise(PyObject *exception, PyObject *traceback)
{
	/* What the last one who was told has added to it does not grow from telling to telling. */
	if (PyException_SetTraceback(exception, traceback != NULL ? traceback : Py_None) < 0)
		return;
	PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
}
