/*
 * border.h - where C calls Python.  Python.h is included in this folder's .c files only.
 *
 * A Python callable that runs on a kernel thread gets a thread state made on that kernel thread and
 * deleted there (PyThreadState_New, PyEval_RestoreThread, ..., PyThreadState_DeleteCurrent).
 *
 * How a call of ours that waits is made from Python.  Through cffi, as any other, by _lib.wait():
 *   - cffi lets go of the GIL and detaches the thread state around every call, so C code that waits
 *     neither holds the GIL nor has a thread state, and need not know that Python called it.
 *   - On a Python green thread the wait parks the green thread.  When it goes on, it stands on the
 *     same kernel thread (started Python green threads stay on their worker), with its errno and
 *     its thread state in place for the attaching that cffi does.  Deadlines and signals are not
 *     sliced there: the carriers block signals.  FILAR_CANCELLED becomes filar.CancelledError.
 *   - On a kernel thread it sleeps.  In the main thread in slices of 40 ms, and FILAR_INTERRUPTED
 *     comes back to Python before it is asked again: that is where KeyboardInterrupt is raised.
 * So a primitive has one Python method for all threads: convert, wait(), convert back.
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
 * The classes and functions that filar.pool is made of, in a new dict (a PyObject *; NULL:
 * exception).  To be called with the GIL held, that is, not as cffi calls but through
 * ctypes.PYFUNCTYPE, once.  `condition`: the type of futures' conditions; `settled`: what stands
 * for that of a future that is done; `let_others`: a Python function that does nothing.
 */
void *filar_py_pool_types(void *settled, void *condition, void *let_others);

/*
 * The smallest stack of a green thread that runs Python; and what it gets if nothing is asked for:
 * address space, of which only what is used costs memory.
 */
enum { FILAR_PY_GREEN_STACK_BYTES_MIN = 131072 };
size_t filar_py_green_stack_bytes(void);

/*
 * Like filar_runtime_create(), for green threads that run Python: each worker gets a thread state
 * of its own.  options->stack_bytes 0: filar_py_green_stack_bytes(); options->watch_ns should be 0,
 * since a worker that waits for the GIL looks stuck.  FILAR_NOT_SUPPORTED: not on this Python, the
 * detail says why.  python_preempt_ns greater than 0: Python bodies are preempted (preemption.h;
 * green.py has prepared that), and native ones are not: options->preempt_ns is 0.
 */
int filar_py_runtime_create(
	filar_runtime **runtime, const filar_runtime_options *options, int64_t python_preempt_ns);
/* filar_runtime_destroy() of such a one. */
int filar_py_runtime_destroy(filar_runtime *runtime);

/*
 * Once: `namespace` is a dict, as PyObject *.  It holds what C needs of Python (error_for,
 * CancelledError, forget_kernel_thread) and is given what Python needs of C: functions and types,
 * as pygreen.c lists them.  FILAR_SYSTEM: an exception was reported as unraisable.
 */
int filar_py_install(void *namespace_dict);
void filar_py_after_fork_in_child(void);

/*
 * For filar_loop_options.interrupted: runs Python's signal handlers, if this is the main thread and
 * a signal has come.  True: one has raised; the exception is kept for raise_interrupt(), a function
 * of the extension module.  Called without the GIL.
 */
bool filar_py_interrupted(void *unused);

/*
 * Adds the types of this folder (Lock, Queue, ...) to the extension module, once.  All are PyObject
 * *, borrowed: the module; a dict of exceptions by the names of their statuses, with Empty, Full
 * and ShutDown; the tuple type of what select() returns.
 */
int filar_py_install_types(void *module, void *exceptions, void *selected);

/* cffi: end */

/* For the cffi module itself (_ffi_build.py): its own errno, kept over a switch by carrier.c. */
void border_set_errno_functions(void (*restore)(void), void (*save)(void));

#endif
