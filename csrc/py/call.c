/*
 * call.c - the body of a kernel thread that runs a Python callable.
 *
 * The main interpreter only: PyInterpreterState_Main() needs no thread state, and cffi modules load
 * nowhere else.  If the interpreter is shutting down, PyEval_RestoreThread does not come back: it
 * ends this kernel thread (3.11 to 3.13) or sleeps for ever (3.14 on), so nothing after it may be
 * needed by others.
 */
#include <Python.h>

#include "py/border.h"

void filar_py_call_body(void *argument)
{
	PyThreadState *state = PyThreadState_New(PyInterpreterState_Main());
	PyObject *callable = argument, *result;

	if (state == NULL)
		return;
	PyEval_RestoreThread(state);
	result = PyObject_CallNoArgs(callable);
	if (result == NULL)
		PyErr_WriteUnraisable(callable);
	Py_XDECREF(result);
	PyThreadState_Clear(state);
	PyThreadState_DeleteCurrent();
}
