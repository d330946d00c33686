/*
 * border.h - where C calls Python.  Python.h is included in this folder's .c files only.
 *
 * A Python callable that runs on a kernel thread gets a thread state made on that kernel thread and
 * deleted there (PyThreadState_New, PyEval_RestoreThread, ..., PyThreadState_DeleteCurrent).
 */
#ifndef FILAR_PY_BORDER_H
#define FILAR_PY_BORDER_H

#include "filar.h"

/* cffi: begin */

/*
 * A filar_kthread_body.  argument is a PyObject *, a callable without parameters to which the
 * caller holds a reference until the body has returned.  It must not raise: what it lets through is
 * reported as unraisable.  Takes the GIL for as long as Python runs.
 */
void filar_py_call_body(void *argument);

/* cffi: end */

#endif
