/*
 * wait.c - waiting, from Python, on whatever kind of thread is calling.
 */
#include "py/internal.h"

#include <math.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "os/clock.h"

/* As in _lib.py: a signal may arrive between Python's look at its signals and the wait in C. */
#define SLICE_NS (40 * NS_PER_MS)
/* Seconds; from here on (30 years, infinity) a timeout is none. */
#define TIMEOUT_MAX 1e9

int border_deadline(PyObject *timeout, int64_t *deadline_ns)
{
	double seconds;

	*deadline_ns = DEADLINE_NEVER;
	if (timeout == Py_None)
		return 0;
	seconds = PyFloat_AsDouble(timeout);
	if (seconds == -1.0 && PyErr_Occurred())
		return -1;
	if (isnan(seconds)) {
		PyErr_SetString(PyExc_ValueError, "a timeout is a number of seconds, not NaN");
		return -1;
	}
	if (seconds < TIMEOUT_MAX)
		*deadline_ns = clock_now_ns() + (seconds > 0 ? (int64_t)(seconds * 1e9) : 0);
	return 0;
}

int border_check_cancelled(void)
{
	struct green *green = green_self();

	if (green == NULL || FILAR_LIKELY(!green_is_cancelled(green)))
		return 0;
	border_raise(status_detail(FILAR_CANCELLED, "the green thread was cancelled"));
	return -1;
}

/* Python's handlers run in the main thread only: nobody else need come back for them. */
static bool is_main_thread(void)
{
	return (pid_t)syscall(SYS_gettid) == getpid();
}

static int wait_on_kernel_thread(
	wait_call *call, void *argument, int64_t deadline_ns, enum filar_status *status)
{
	bool slices = is_main_thread();

	for (;;) {
		int64_t slice_ns = slices ? clock_now_ns() + SLICE_NS : DEADLINE_NEVER;

		if (slice_ns > deadline_ns)
			slice_ns = deadline_ns;
		Py_BEGIN_ALLOW_THREADS
		*status = call(argument, slice_ns);
		Py_END_ALLOW_THREADS
		if (*status != FILAR_INTERRUPTED &&
			(*status != FILAR_TIMED_OUT || slice_ns >= deadline_ns))
			return 0;
		if (PyErr_CheckSignals() < 0)
			return -1;
	}
}

int border_wait(wait_call *call, void *argument, int64_t deadline_ns, enum filar_status *status)
{
	struct shell *shell = carrier_shell_here();

	if (shell == NULL)
		return PyErr_Occurred()
			       ? -1
			       : wait_on_kernel_thread(call, argument, deadline_ns, status);
	shell->attached = true;
	*status = call(argument, deadline_ns);
	shell->attached = false;
	return 0;
}
