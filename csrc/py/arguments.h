/*
 * arguments.h - arguments of methods called with METH_FASTCALL | METH_KEYWORDS, and timeouts.
 */
#ifndef FILAR_PY_ARGUMENTS_H
#define FILAR_PY_ARGUMENTS_H

#include "py/park.h"

/* A row of a table of methods that take their own struct as self. */
#define PY_METHOD(name, function, flags, text)                                                     \
	{                                                                                          \
		name, (PyCFunction)(void *)(function), flags, text                                 \
	}
#define PY_FAST(function) (PyCFunction)(void (*)(void))(function), METH_FASTCALL | METH_KEYWORDS

struct py_call {
	const char *function; /* for messages */
	const char *const *names;
	Py_ssize_t required;
	Py_ssize_t max;
};

/* Sorts what was given into found[max]; what was not given stays as it is.  False: raised. */
bool py_arguments(const struct py_call *call, PyObject *const *args, Py_ssize_t nargs,
	PyObject *kwnames, PyObject **found);

/* None or NULL: never; else that many seconds from now, negative ones are past.  False: raised. */
bool py_deadline(PyObject *timeout, int64_t *deadline_ns);
/* As threading.Lock.acquire() takes them: *deadline_ns is 0 for a try. */
bool py_lock_deadline(PyObject *blocking, PyObject *timeout, int64_t *deadline_ns);
/* As the queue module takes them: `block`, `timeout` not negative. */
bool py_queue_deadline(PyObject *block, PyObject *timeout, int64_t *deadline_ns);
/* A count from `least` on; what it is of for the message.  False: raised. */
bool py_count(PyObject *number, const char *what, uint64_t least, uint64_t *count);

/* __enter__ of what `with` closes. */
PyObject *py_enter_self(PyObject *self, PyObject *unused);
/* A new object, zeroed; refuses arguments unless a subclass has an __init__ for them. */
PyObject *py_alloc(PyTypeObject *type, PyObject *args, PyObject *kwargs);
/* Frees an object of a type of ours that the collector does not track any more. */
void py_free(PyObject *self, PyObject *weakrefs);

#endif
