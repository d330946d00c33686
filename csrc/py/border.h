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

/* The smallest stack for a thread that runs Python: some sixty nested calls through C (call.c),
 * which an import inside an import inside an import needs. */
enum { FILAR_PY_STACK_BYTES_MIN = 131072 };

/*
 * Like filar_kthread_create() with a body that calls a Python callable.  `callable` is a PyObject
 * *, called without arguments; the caller holds a reference to it until the call begins.  It must
 * not raise: what it lets through is reported as unraisable.
 *
 * Blocks without the GIL until the new thread has its thread state, so that the interpreter cannot
 * have shut down before that.  FILAR_WRONG_STATE: it is shutting down.
 */
int filar_py_kthread_create(
	filar_kthread **thread, const filar_kthread_options *options, void *callable);

/*
 * Adds the types of this folder (Lock, Queue, ...) to the extension module, once.  All are PyObject
 * *, borrowed: the module; a dict of exceptions by the names of their statuses, with Empty, Full
 * and ShutDown; the tuple type of what select() returns.
 */
int filar_py_install(void *module, void *exceptions, void *selected);

/* cffi: end */

#endif
