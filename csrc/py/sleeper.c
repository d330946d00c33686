/*
 * sleeper.c - waiting with the GIL let go, and with Ctrl-C.
 *
 * A signal that arrives between the interpreter's look at its flags and the wait in C does not end
 * that wait: the main thread, the only one that runs handlers, therefore waits in slices.  Ctrl-C
 * is promised within 100 ms.
 */
#include "py/sleeper.h"

#include "os/clock.h"

#define SLICE_NS (40 * NS_PER_MS)
/* Seconds: from here on (30 years) a timeout is none, and its nanoseconds might not fit. */
#define TIMEOUT_MAX 1e9

static unsigned long main_thread; /* G */

void sleeper_set_main_thread(unsigned long ident)
{
	main_thread = ident;
}

void sleeper_push(struct sleeper **list, struct sleeper *sleeper)
{
	sleeper->next = *list;
	*list = sleeper;
}

/* False: a waker has taken it. */
static bool take_back(struct sleeper **list, struct sleeper *sleeper, struct guard *guard)
{
	bool found;

	guard_lock(guard);
	while (*list != NULL && *list != sleeper)
		list = &(*list)->next;
	found = *list != NULL;
	if (found)
		*list = sleeper->next;
	guard_unlock(guard);
	return found;
}

void sleepers_wake(struct sleeper *list)
{
	while (list != NULL) {
		struct sleeper *next = list->next;

		waiter_wake(&list->waiter);
		list = next;
	}
}

static enum filar_status wait_without_gil(
	struct sleeper *sleeper, int64_t deadline_ns, enum wait_shield shield)
{
	PyThreadState *state = PyEval_SaveThread();
	enum filar_status status =
		waiter_wait_until(&sleeper->waiter, deadline_ns, WAIT_JOIN, shield);

	PyEval_RestoreThread(state);
	return status;
}

static void raise_status(enum filar_status status)
{
	PyObject *module = PyImport_ImportModule("filar._lib"), *exception = NULL;

	if (module != NULL)
		exception = PyObject_CallMethod(module, "error_for", "i", (int)status);
	if (exception != NULL)
		PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
	Py_XDECREF(exception);
	Py_XDECREF(module);
}

enum sleep_end sleeper_wait(struct sleeper *sleeper, struct sleeper **list, struct guard *guard,
	int64_t deadline_ns, bool *was_woken)
{
	bool sliced = sleeper->waiter.green == NULL && PyThread_get_thread_ident() == main_thread;
	enum filar_status status;
	enum sleep_end end;

	for (;;) {
		int64_t slice_ns = sliced ? clock_now_ns() + SLICE_NS : DEADLINE_NEVER;
		int64_t until_ns = slice_ns < deadline_ns ? slice_ns : deadline_ns;

		status = wait_without_gil(sleeper, until_ns, WAIT_CANCELLABLE);
		if (status == FILAR_OK)
			return SLEEP_WOKEN;
		if (status != FILAR_INTERRUPTED &&
			(status != FILAR_TIMED_OUT || until_ns == deadline_ns))
			break;
		if (PyErr_CheckSignals() != 0)
			break;
	}
	if (PyErr_Occurred()) {
		end = SLEEP_RAISED;
	} else if (status == FILAR_TIMED_OUT) {
		end = SLEEP_TIMED_OUT;
	} else {
		raise_status(status);
		end = SLEEP_RAISED;
	}
	*was_woken = !take_back(list, sleeper, guard);
	if (!*was_woken) {
		waiter_abandon(&sleeper->waiter);
		return end;
	}
	(void)wait_without_gil(sleeper, DEADLINE_NEVER, WAIT_SHIELDED);
	return end == SLEEP_TIMED_OUT ? SLEEP_WOKEN : end;
}

bool deadline_from_timeout(PyObject *timeout, int64_t *deadline_ns)
{
	double seconds;

	*deadline_ns = DEADLINE_NEVER;
	if (timeout == NULL || timeout == Py_None)
		return true;
	seconds = PyFloat_AsDouble(timeout);
	if (seconds == -1.0 && PyErr_Occurred())
		return false;
	if (seconds != seconds) {
		PyErr_SetString(PyExc_ValueError, "a timeout is a number of seconds, not NaN");
		return false;
	}
	if (seconds < TIMEOUT_MAX)
		*deadline_ns = clock_now_ns() + (int64_t)(seconds > 0 ? seconds * 1e9 : 0);
	return true;
}
