/*
 * park.c - lets go of the GIL around a wait, looks at signals, makes exceptions of statuses.
 */
#include "py/park.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include "green/waiter.h"
#include "py/internal.h"

/* As _lib.py says: a signal that arrives between Python's last look and the sleep ends no sleep. */
#define SLICE_NS (40 * NS_PER_MS)

struct around {
	struct wait_around around;
	PyThreadState *state; /* while it is let go of */
	bool handles_signals;
	bool stays;
	uint32_t slices;       /* since it joined the queue */
	uint32_t slices_stays; /* so many, and then it leaves to look */
};

static pthread_t main_thread;
static PyObject *exceptions_by_name;
uint32_t py_forks;

/* ---- around a sleep ---- */

static void leave(struct wait_around *around)
{
	FILAR_CONTAINER_OF(around, struct around, around)->state = PyEval_SaveThread();
}

#if PY_VERSION_HEX < 0x030E0000
static void sleep_for_ever(void *unused)
{
	(void)unused;
	for (;;)
		pause();
}
#endif

/*
 * An interpreter that is shutting down ends, up to 3.13, a thread that asks for the GIL.  But the
 * thread may still stand in a queue, with an entry on its stack: so it sleeps instead, as from 3.14
 * on.
 */
static void come_back(struct wait_around *around)
{
	PyThreadState *state = FILAR_CONTAINER_OF(around, struct around, around)->state;

#if PY_VERSION_HEX < 0x030E0000
	pthread_cleanup_push(sleep_for_ever, NULL);
	PyEval_RestoreThread(state);
	pthread_cleanup_pop(0);
#else
	PyEval_RestoreThread(state);
#endif
}

static bool run_handlers(void)
{
	struct wait_around *ours, *none;
	bool raised;

	/* A handler runs Python, which may wait on its own account. */
	(void)wait_around_set(NULL, &ours);
	raised = PyErr_CheckSignals() < 0;
	(void)wait_around_set(ours, &none);
	return raised;
}

/* Those that a fault raises do not wait to be looked at, and SIGINT can be asked for. */
static bool waits_to_be_looked_at(int signal)
{
	switch (signal) {
	case SIGINT:
	case SIGSEGV:
	case SIGBUS:
	case SIGFPE:
	case SIGILL:
	case SIGABRT:
		return false;
	default:
		return true;
	}
}

/* Whether a signal other than SIGINT may have a handler in Python. */
static bool signals_are_handled(void)
{
	struct sigaction action;

	for (int signal = 1; signal < NSIG; signal++) {
		if (waits_to_be_looked_at(signal) && sigaction(signal, NULL, &action) == 0 &&
			action.sa_handler != SIG_DFL && action.sa_handler != SIG_IGN)
			return true;
	}
	return false;
}

/*
 * A slice has passed, and nothing says whether a signal came in the moment before the sleep, or to
 * another thread: only SIGINT can be asked for.  Leaving the queue loses the place in it, so it is
 * done only where there are handlers, and after twice as many slices each time: who would wait for
 * W in the queue waits for less than 4 W.
 */
static bool leaves_to_look(struct around *self)
{
	if (PyOS_InterruptOccurred()) {
		PyErr_SetInterrupt();
		return true;
	}
	if (++self->slices < self->slices_stays || !signals_are_handled())
		return false;
	self->slices = 0;
	self->slices_stays *= 2;
	return true;
}

static bool look(struct wait_around *around, bool signalled)
{
	struct around *self = FILAR_CONTAINER_OF(around, struct around, around);

	if (!self->handles_signals)
		return false;
	if (self->stays)
		return run_handlers();
	return signalled || leaves_to_look(self);
}

static void around_init(struct around *self, bool stays)
{
	self->handles_signals = pthread_equal(pthread_self(), main_thread);
	self->stays = stays;
	self->slices = 0;
	self->slices_stays = 1;
	self->around = (struct wait_around){ .leave = leave,
		.come_back = come_back,
		.look = look,
		.slice_ns = self->handles_signals ? SLICE_NS : DEADLINE_NEVER };
}

static enum filar_status call_around(
	struct around *self, py_wait_call *call, void *object, int64_t deadline_ns)
{
	struct wait_around *before, *ours;
	enum filar_status status;

	if (!wait_around_set(&self->around, &before))
		return status_detail(FILAR_NO_MEMORY, "no memory to wait");
	status = call(object, deadline_ns);
	(void)wait_around_set(before, &ours);
	return status;
}

/* ---- waiting ---- */

/* The carrier lets go of the GIL when the green thread parks (carrier.c). */
static enum filar_status call_on_shell(
	struct shell *shell, py_wait_call *call, void *object, int64_t deadline_ns)
{
	enum filar_status status;

	shell->attached = true;
	status = call(object, deadline_ns);
	shell->attached = false;
	return status;
}

enum filar_status py_wait_leaving(py_wait_call *call, void *object, int64_t deadline_ns)
{
	struct shell *shell = carrier_shell_here();
	struct around around;
	enum filar_status status;

	if (shell != NULL)
		return call_on_shell(shell, call, object, deadline_ns);
	if (PyErr_Occurred() != NULL)
		return FILAR_INTERRUPTED;
	around_init(&around, false);
	do {
		status = call_around(&around, call, object, deadline_ns);
	} while (status == FILAR_INTERRUPTED && PyErr_CheckSignals() == 0);
	return status;
}

enum filar_status py_wait_staying(py_wait_call *call, void *object, int64_t deadline_ns)
{
	struct shell *shell = carrier_shell_here();
	struct around around;
	enum filar_status status;

	if (shell != NULL)
		return call_on_shell(shell, call, object, deadline_ns);
	if (PyErr_Occurred() != NULL)
		return FILAR_INTERRUPTED;
	around_init(&around, true);
	status = call_around(&around, call, object, deadline_ns);
	/* A handler raised, and what was waited for came before it could be said. */
	return PyErr_Occurred() != NULL ? FILAR_INTERRUPTED : status;
}

struct shielded {
	void (*call)(void *object);
	void *object;
};

static enum filar_status call_shielded(void *argument, int64_t deadline_ns)
{
	struct shielded *shielded = argument;

	(void)deadline_ns;
	shielded->call(shielded->object);
	return FILAR_OK;
}

/* After a wait of the same thread, which has made what is needed: it cannot fail. */
void py_wait_shielded(void (*call)(void *object), void *object)
{
	struct shielded shielded = { .call = call, .object = object };
	PyObject *type, *value, *traceback;
	enum filar_status status;
	struct around around;
	struct shell *shell;

	PyErr_Fetch(&type, &value, &traceback);
	shell = carrier_shell_here();
	around_init(&around, false);
	if (shell != NULL)
		status = call_on_shell(shell, call_shielded, &shielded, DEADLINE_NEVER);
	else
		status = call_around(&around, call_shielded, &shielded, DEADLINE_NEVER);
	if (status != FILAR_OK)
		Py_FatalError("filar: no memory to wait");
	PyErr_Restore(type, value, traceback);
}

bool py_may_wait(void)
{
	return carrier_shell_here() != NULL || PyErr_Occurred() == NULL;
}

/* ---- signals during native work ---- */

static PyObject *interrupt; /* of the main thread: what a handler has raised meanwhile */

bool filar_py_interrupted(void *unused)
{
	PyGILState_STATE state;
	bool raised;

	(void)unused;
	/* Nobody else runs handlers. */
	if (!pthread_equal(pthread_self(), main_thread))
		return false;
	state = PyGILState_Ensure();
	raised = PyErr_CheckSignals() < 0;
	if (raised)
		Py_XSETREF(interrupt, border_take_exception());
	PyGILState_Release(state);
	return raised;
}

static PyObject *raise_interrupt(PyObject *module, PyObject *unused)
{
	PyObject *exception = interrupt;

	(void)module;
	(void)unused;
	if (exception == NULL || !pthread_equal(pthread_self(), main_thread))
		Py_RETURN_NONE;
	interrupt = NULL;
	PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
	Py_DECREF(exception);
	return NULL;
}

/* For calls through cffi, whose waits do not come by here. */
static PyObject *may_wait(PyObject *module, PyObject *unused)
{
	(void)module;
	(void)unused;
	if (green_self() != NULL && carrier_shell_here() == NULL)
		return NULL;
	Py_RETURN_NONE;
}

PyMethodDef py_may_wait_method = { "may_wait", may_wait, METH_NOARGS, NULL };
PyMethodDef py_raise_interrupt_method = { "raise_interrupt", raise_interrupt, METH_NOARGS, NULL };

/* ---- what came of it ---- */

PyObject *py_raise_named(const char *name, const char *text)
{
	PyObject *type = PyDict_GetItemString(exceptions_by_name, name);

	PyErr_SetString(type != NULL ? type : PyExc_SystemError, text);
	return NULL;
}

PyObject *py_raise(enum filar_status status)
{
	const char *detail = filar_status_detail();

	if (status == FILAR_INTERRUPTED)
		return NULL;
	/* Of these nothing more is known, and the detail is that of an earlier call. */
	if (status == FILAR_TIMED_OUT || status == FILAR_CANCELLED || status == FILAR_BUSY ||
		detail[0] == '\0')
		detail = filar_status_sentence(status);
	return py_raise_named(filar_status_name(status), detail);
}

PyObject *py_outcome(enum filar_status status)
{
	switch (status) {
	case FILAR_OK:
		Py_RETURN_TRUE;
	case FILAR_TIMED_OUT:
	case FILAR_BUSY:
		Py_RETURN_FALSE;
	default:
		return py_raise(status);
	}
}

/* ---- once ---- */

static void become_main(void)
{
	py_forks++;
	main_thread = pthread_self();
}

/* The child's only thread is its main one. */
static int find_main_thread(void)
{
	PyObject *threading = PyImport_ImportModule("threading"), *thread = NULL, *ident = NULL;

	if (threading != NULL)
		thread = PyObject_CallMethod(threading, "main_thread", NULL);
	if (thread != NULL)
		ident = PyObject_GetAttrString(thread, "ident");
	if (ident != NULL)
		main_thread = (pthread_t)PyLong_AsUnsignedLong(ident);
	Py_XDECREF(ident);
	Py_XDECREF(thread);
	Py_XDECREF(threading);
	return PyErr_Occurred() != NULL ? -1 : pthread_atfork(NULL, NULL, become_main);
}

int py_wait_prepare(PyObject *exceptions)
{
	if (exceptions_by_name != NULL)
		return 0;
	exceptions_by_name = Py_NewRef(exceptions);
	return find_main_thread();
}
