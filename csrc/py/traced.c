/*
 * traced.c - names for traces.
 */
#include "py/traced.h"

static PyObject *qualified_name(PyObject *callable)
{
	PyObject *name = PyObject_GetAttrString(callable, "__qualname__");

	if (name == NULL) {
		PyErr_Clear();
		name = PyUnicode_FromString(Py_TYPE(callable)->tp_name);
	}
	return name;
}

void traced_name(enum trace_event event, uint64_t subject, PyObject *name, PyObject *callable)
{
	PyObject *type, *value, *traceback;
	const char *text = NULL;

	PyErr_Fetch(&type, &value, &traceback);
	name = name != NULL ? Py_NewRef(name) : qualified_name(callable);
	if (name != NULL && PyUnicode_Check(name))
		text = PyUnicode_AsUTF8(name);
	if (text != NULL)
		TRACE_TEXT(event, subject, text);
	Py_XDECREF(name);
	PyErr_Clear();
	PyErr_Restore(type, value, traceback);
}
