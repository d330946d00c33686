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

#include "base/atomic.h"
#include "base/status.h"
#include "kthread/kthread.h"
#include "os/clock.h"
#include "os/futex.h"
#include "py/border.h"

enum call_start { CALL_PENDING, CALL_READY, CALL_NO_MEMORY, CALL_SHUTTING_DOWN };

/* On the creator's stack; the new thread's until it sets `start` to something else than PENDING. */
struct call {
	PyObject *callable;     /* I */
	size_t stack_bytes;     /* I  0: the default */
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
 * CPython up to 3.13 counts levels instead of bytes and takes every stack for 8 MB.  One level of C
 * under a Python call needs up to about 1 KB; 3.11 has one counter for levels of Python (which need
 * next to nothing) and of C, so there the bound is a compromise.  3.14 asks pthread for the stack's
 * limits.
 */
static void bound_recursion(PyThreadState *state, size_t stack_bytes)
{
#if PY_VERSION_HEX < 0x030C0000
	int levels = (int)(stack_bytes / 256 < 1000000 ? stack_bytes / 256 : 1000000);

	if (stack_bytes != 0 && levels < state->recursion_limit) {
		state->recursion_remaining -= state->recursion_limit - levels;
		state->recursion_limit = levels;
	}
#elif PY_VERSION_HEX < 0x030E0000
	int levels = (int)(stack_bytes / 1024 < 1000000 ? stack_bytes / 1024 : 1000000);

	if (stack_bytes != 0 && levels < state->c_recursion_remaining)
		state->c_recursion_remaining = levels;
#else
	(void)state;
	(void)stack_bytes;
#endif
}

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
	state = PyThreadState_New(interpreter);
	tell_creator(call, state != NULL ? CALL_READY : CALL_NO_MEMORY);
	return state;
}

static void call_body(void *argument)
{
	struct call *creators = argument;
	PyObject *callable = creators->callable, *result;
	size_t stack_bytes = creators->stack_bytes;
	PyThreadState *state = make_thread_state(creators);

	if (state == NULL)
		return;
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
