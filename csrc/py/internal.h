/*
 * internal.h - what the files of this folder share and cffi does not read.
 */
#ifndef FILAR_PY_INTERNAL_H
#define FILAR_PY_INTERNAL_H

#include <Python.h>

#include "block/event.h"
#include "green/runtime.h"
#include "py/border.h"
#include "py/carrier.h"

/* ---- errors.c ---- */

/* The exceptions of filar.errors, set by filar_py_install(). */
extern PyObject *border_cancelled_error;
/* Sets the exception that says what `status` says, with its detail; NULL for returning it. */
void *border_raise(enum filar_status status);
/* The exception being raised, with its traceback, and no longer raised. */
PyObject *border_take_exception(void);
/* Raises it; its traceback is `traceback` again (NULL: none). */
void border_reraise(PyObject *exception, PyObject *traceback);

int border_install_errors(PyObject *namespace);
/* The joined one was cancelled, which the joiner must not take for being cancelled itself. */
void *border_raise_join_cancelled(PyObject *cause);
/* Raises CancelledError, if the calling green thread was asked to stop: -1. */
int border_check_cancelled(void);

/* ---- call.c ---- */

/* How many levels of recursion through C fit in a stack, for versions that count levels. */
int border_levels_in(size_t stack_bytes);

/* ---- scope.c ---- */

extern PyTypeObject *border_scope_type;
int border_make_scope_type(void);

struct scope {
	struct deadline deadline;
	struct scope *outer;    /* L  of the GIL: the one around it, of the same green thread */
	struct pygreen *green;  /* L  NULL unless entered; borrowed: its list names us */
	_Atomic uint32_t fired; /* A  its time has come, or it was cancelled */
};
/* The green thread is over: scopes that were never left (of a generator, say) end. */
void scopes_end(struct pygreen *green);

/* ---- pygreen.c ---- */

/* A Python green thread's handle.  All fields under the GIL, but for `done` and `late`. */
struct pygreen {
	PyObject_HEAD PyObject *callable; /* until it runs */
	PyObject *arguments;              /* tuple: positional, then the values of the keywords */
	PyObject *keywords;               /* tuple of names, or NULL */
	PyObject *context;
	PyObject *result;
	PyObject *exception;
	PyObject *traceback; /* of `exception`, as it came out of the body */
	PyObject *name;      /* NULL: made from the callable's when asked for */
	PyObject *callbacks; /* list, or NULL */
	PyObject *attributes;
	PyObject *weak;
	struct list link; /* live ones */
	union {
		struct green_late late; /* until it has started: the queue's */
		struct {
			struct green_ref ref;
			struct shell *shell;  /* while its body runs */
			struct scope *scopes; /* innermost first */
		};
	};
	struct event done;
	uint64_t serial;
	uint32_t fork_generation;
	bool started;
	bool seen;           /* somebody was told of its failure */
	bool cancelled;      /* cancel() was called */
	uint8_t preemptible; /* enum preemptible (preemption.h) */
};

extern PyTypeObject *border_green_type;
int border_make_green_type(void);
/* The calling one, borrowed; NULL without an exception on others. */
struct pygreen *pygreen_here(void);
/* Sets or clears the C core's mark, by what was asked for: cancel() or any scope. */
void pygreen_settle_cancel(struct pygreen *green);
extern PyMethodDef border_functions[];
/* With some state attached: threading's stand-in for this kernel thread goes. */
void border_forget_kernel_thread(void);
bool border_is_green_state(PyThreadState *state);

#endif
