/*
 * guard.h - who may touch the fields of our Python objects: marked G in their structs.
 *
 * With a GIL whoever holds it: a guard is nothing, and what stands between guard_lock() and
 * guard_unlock() must not run Python code (no decref, no call, no allocation that may collect),
 * since that could let go of the GIL.  On free-threaded builds a guard is a mutex for the same
 * stretch of code.
 */
#ifndef FILAR_PY_GUARD_H
#define FILAR_PY_GUARD_H

#include <Python.h>

#ifdef Py_GIL_DISABLED
struct guard {
	PyMutex mutex;
};
#define guard_lock(guard)   PyMutex_Lock(&(guard)->mutex)
#define guard_unlock(guard) PyMutex_Unlock(&(guard)->mutex)
#else
struct guard {
	char none[1];
};
#define guard_lock(guard)   ((void)(guard))
#define guard_unlock(guard) ((void)(guard))
#endif

#endif
