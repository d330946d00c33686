/*
 * call.c - a kernel thread that runs a Python callable.
 *
 * The main interpreter only: PyInterpreterState_Main() needs no thread state, and cffi modules load
 * nowhere else.
 *
 * The creator waits until the new thread has made its thread state: it must be made there (that
 * binds it), without the GIL, and while the interpreter still exists.  From then on a shutdown is
 * no danger: PyEval_RestoreThread() then does not come back, but ends this kernel thread (3.11 to
 * 3.13; kthread.c marks its end all the same) or sleeps for ever (3.14 on).  So nothing after it
 * may be needed by others.
 */
#include <Python.h>

#include <limits.h>
#include <pthread.h>
#include <signal.h>

#include "base/atomic.h"
#include "base/status.h"
#include "kthread/kthread.h"
#include "os/clock.h"
#include "os/futex.h"
#include "py/internal.h"

enum call_start { CALL_PENDING, CALL_READY, CALL_NO_MEMORY, CALL_SHUTTING_DOWN };

/* On the creator's stack; the new thread's until it sets `start` to something else than PENDING. */
struct call {
	PyObject *callable;     /* I */
	size_t stack_bytes;     /* I  0: the default */
	sigset_t signals;       /* I  what the creator had blocked */
	_Atomic uint32_t start; /* A  enum call_start, futex */
};

static int is_finalizing(void)
{
#if PY_VERSION_HEX >= 0x030D0000
	return Py_IsFinalizing();
#else
	return _Py_IsFinalizing();
#endif
}

/*
 * CPython up to 3.13 counts levels instead of bytes and takes every stack for a large one.  The
 * most that a level was found to need is 1.7 KB (a key function of sorted() that sorts, 3.12); most
 * need under 0.5 KB.  3.11 has one counter for levels of Python, which need next to nothing, and of
 * C: there only a stack that was asked for by its size bounds it, never the default one.  3.14 asks
 * pthread for the stack's limits.
 */
#define STACK_BYTES_PER_LEVEL 1792u
#define STACK_BYTES_RESERVED  16384u

int border_levels_in(size_t stack_bytes)
{
	size_t levels = stack_bytes > STACK_BYTES_RESERVED
				? (stack_bytes - STACK_BYTES_RESERVED) / STACK_BYTES_PER_LEVEL
				: 0;

	return levels < INT_MAX ? (int)levels : INT_MAX;
}

#if PY_VERSION_HEX < 0x030C0000
static void bound_recursion(PyThreadState *state, size_t stack_bytes)
{
	int levels = border_levels_in(stack_bytes);

	/* As if so many levels were in use already: a lower limit of its own would be put back to
	 * the interpreter's when it is reached. */
	if (stack_bytes != 0 && levels < state->recursion_remaining)
		state->recursion_remaining = levels;
}
#elif PY_VERSION_HEX < 0x030E0000
static size_t default_stack_bytes(void)
{
	pthread_attr_t attributes;
	size_t bytes = 0;

	if (pthread_getattr_default_np(&attributes) != 0)
		return 0;
	(void)pthread_attr_getstacksize(&attributes, &bytes);
	pthread_attr_destroy(&attributes);
	return bytes;
}

static void bound_recursion(PyThreadState *state, size_t stack_bytes)
{
	int levels = border_levels_in(stack_bytes != 0 ? stack_bytes : default_stack_bytes());

	if (levels > 0 && levels < state->c_recursion_remaining)
		state->c_recursion_remaining = levels;
}
#else
static void bound_recursion(PyThreadState *state, size_t stack_bytes)
{
	(void)state;
	(void)stack_bytes;
}
#endif

/* Y1: release; pairs with Y2.  The creator may be gone when the wake comes: harmless. */
static void tell_creator(struct call *call, enum call_start start)
{
	store_release(&call->start, start);
	futex_wake(&call->start, 1);
}

static PyThreadState *make_thread_state(struct call *call)
{
	PyInterpreterState *interpreter = is_finalizing() ? NULL : PyInterpreterState_Main();
	PyThreadState *state;

	if (interpreter == NULL) {
		tell_creator(call, CALL_SHUTTING_DOWN);
		return NULL;
	}
	/* NULL when memory is short; only 3.11's crashes then, before it returns. */
	state = PyThreadState_New(interpreter);
	tell_creator(call, state != NULL ? CALL_READY : CALL_NO_MEMORY);
	return state;
}

static void call_body(void *argument)
{
	struct call *creators = argument;
	PyObject *callable = creators->callable, *result;
	size_t stack_bytes = creators->stack_bytes;
	sigset_t signals = creators->signals;
	PyThreadState *state = make_thread_state(creators);

	if (state == NULL)
		return;
	/* As threads of Python do.  With all blocked, as kernel threads of ours begin, processes
	 * that the callable starts would not hear of Ctrl-C. */
	(void)pthread_sigmask(SIG_SETMASK, &signals, NULL);
	PyEval_RestoreThread(state);
	bound_recursion(state, stack_bytes);
	Py_INCREF(callable);
	result = PyObject_CallNoArgs(callable);
	if (result == NULL)
		PyErr_WriteUnraisable(callable);
	Py_XDECREF(result);
	Py_DECREF(callable);
	PyThreadState_Clear(state);
	PyThreadState_DeleteCurrent();
}

static enum filar_status wait_for_thread_state(struct call *call)
{
	uint32_t start;

	/* Y2: acquire; pairs with Y1. */
	while ((start = load_acquire(&call->start)) == CALL_PENDING)
		(void)futex_wait_until(&call->start, CALL_PENDING, DEADLINE_NEVER);
	switch (start) {
	case CALL_READY:
		return FILAR_OK;
	case CALL_NO_MEMORY:
		return status_detail(FILAR_NO_MEMORY, "no memory for a Python thread state");
	default:
		return status_detail(FILAR_WRONG_STATE,
			"no new threads: the Python interpreter is shutting down");
	}
}

static enum filar_status check_options(const filar_kthread_options *options)
{
	enum filar_status status = kthread_check_options(options);

	if (status != FILAR_OK || options->stack_bytes == 0 ||
		options->stack_bytes >= FILAR_PY_STACK_BYTES_MIN)
		return status;
	return status_detail(FILAR_INVALID,
		"a stack of %zu bytes is too small: a thread that runs Python needs at least %d",
		options->stack_bytes, FILAR_PY_STACK_BYTES_MIN);
}

int filar_py_kthread_create(
	filar_kthread **thread, const filar_kthread_options *options, void *callable)
{
	struct call call = { .callable = callable, .stack_bytes = options->stack_bytes };
	enum filar_status status = check_options(options);
	struct kthread *created;

	if (status != FILAR_OK)
		return status;
	(void)pthread_sigmask(SIG_SETMASK, NULL, &call.signals);
	status = kthread_create(&created, options, call_body, &call);
	if (status != FILAR_OK)
		return status;
	status = wait_for_thread_state(&call);
	if (status == FILAR_OK) {
		*thread = (filar_kthread *)created;
		return FILAR_OK;
	}
	while (kthread_join_until(created, DEADLINE_NEVER) == FILAR_INTERRUPTED)
		;
	kthread_release(created);
	return status;
}
