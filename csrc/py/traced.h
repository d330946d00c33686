/*
 * traced.h - what traces say of Python: names of green threads and of calls.
 */
#ifndef FILAR_PY_TRACED_H
#define FILAR_PY_TRACED_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "base/tracepoint.h"

/* The name of a callable, or of whatever a str says, for the subject.  With the GIL; leaves the
 * exception as it is.  Only while tracing. */
void traced_name(enum trace_event event, uint64_t subject, PyObject *name, PyObject *callable);

#endif
