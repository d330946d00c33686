/*
 * future.c - the transitions of future.h, and the methods that users call.
 */
#include "py/future.h"

#include <stddef.h>

#include "py/arguments.h"
#include "py/internal.h"

uint32_t process_generation;

static PyObject *state_names[FUTURE_STATE_COUNT];
static PyObject *standard_future; /* concurrent.futures.Future */
static PyObject *cancelled_error; /* concurrent.futures.CancelledError */
static PyObject *condition_type;  /* filar.Condition */
static PyObject *acquire_name, *release_name, *notify_all_name;
static PyObject *settled_condition; /* for futures whose state cannot change any more */
static PyObject *forked_error;

static bool is_done(const struct future *future)
{
	return future->state >= FUTURE_CANCELLED;
}

bool check_process(uint32_t generation, const char *what)
{
	if (generation == process_generation)
		return true;
	PyErr_Format(forked_error,
		"this %s belongs to the parent process of a fork: no worker of "
		"it exists here",
		what);
	return false;
}

/* ---- the standard class's methods, for futures with a condition ----------------------------- */

static PyObject *standard_method(struct future *self, const char *name, PyObject *argument)
{
	PyObject *method = PyObject_GetAttrString(standard_future, name), *result;

	if (method == NULL)
		return NULL;
	result = PyObject_CallFunctionObjArgs(method, (PyObject *)self, argument, NULL);
	Py_DECREF(method);
	return result;
}

static void run_callbacks(struct future *self)
{
	PyObject *done = standard_method(self, "_invoke_callbacks", NULL);

	if (done == NULL)
		PyErr_WriteUnraisable((PyObject *)self);
	Py_XDECREF(done);
}

/* ---- transitions ---------------------------------------------------------------------------- */

/* Whether nobody can hold a condition or be told through _waiters.  Under the guard. */
static bool is_private(const struct future *self)
{
	return self->condition == NULL && self->waiters == NULL;
}

/* Under the guard.  The new state ends all waits. */
static struct sleeper *settle(struct future *self, enum future_state state)
{
	struct sleeper *sleepers = self->sleepers;

	self->state = (uint8_t)state;
	self->sleepers = NULL;
	return sleepers;
}

static bool ask(PyObject *object, PyObject *method)
{
	PyObject *answer = PyObject_CallMethodNoArgs(object, method);

	Py_XDECREF(answer);
	return answer != NULL;
}

/* The condition, held, if it is of our making; NULL, perhaps with an exception: the standard
 * methods are to do it. */
static PyObject *hold(struct future *self)
{
	if (self->condition == NULL || !Py_IS_TYPE(self->condition, (PyTypeObject *)condition_type))
		return NULL;
	return ask(self->condition, acquire_name) ? self->condition : NULL;
}

static void let_go(PyObject *condition)
{
	if (!ask(condition, release_name))
		PyErr_WriteUnraisable(condition);
}

/* wait() and as_completed() are told, under the condition.  False: exception. */
static bool tell_waiters(struct future *self, const char *method)
{
	Py_ssize_t count = self->waiters == NULL ? 0 : PyList_GET_SIZE(self->waiters);
	bool good = true;

	for (Py_ssize_t i = 0; good && i < count && i < PyList_GET_SIZE(self->waiters); i++) {
		PyObject *waiter = Py_NewRef(PyList_GET_ITEM(self->waiters, i));
		PyObject *told = PyObject_CallMethod(waiter, method, "O", (PyObject *)self);

		good = told != NULL;
		Py_XDECREF(told);
		Py_DECREF(waiter);
	}
	return good;
}

/* As future_begin(), for a future that has a condition of ours; false: it could not be done. */
static bool begin_shared(struct future *self, bool *run)
{
	PyObject *condition = hold(self);
	bool known = false;

	if (condition == NULL)
		return false;
	if (self->state == FUTURE_PENDING) {
		self->state = FUTURE_RUNNING;
		known = *run = true;
	} else if (self->state == FUTURE_CANCELLED) {
		self->state = FUTURE_CANCELLED_AND_NOTIFIED;
		known = tell_waiters(self, "add_cancelled");
		*run = false;
	}
	let_go(condition);
	return known;
}

bool future_begin(struct future *self)
{
	PyObject *begun;
	bool known = false, run = false;

	guard_lock(&self->guard);
	if (is_private(self) && self->state == FUTURE_PENDING) {
		self->state = FUTURE_RUNNING;
		known = run = true;
	} else if (is_private(self) && self->state == FUTURE_CANCELLED) {
		self->state = FUTURE_CANCELLED_AND_NOTIFIED;
		known = true;
	}
	guard_unlock(&self->guard);
	if (known || begin_shared(self, &run))
		return run;
	PyErr_Clear();
	begun = standard_method(self, "set_running_or_notify_cancel", NULL);
	if (begun == NULL) {
		/* Somebody else has begun or finished it; that method has logged it. */
		PyErr_Clear();
		return false;
	}
	run = begun == Py_True;
	Py_DECREF(begun);
	return run;
}

/* False: the standard method must do it, or refuse it. */
static bool finish_private(
	struct future *self, PyObject *outcome, bool failed, struct sleeper **sleepers)
{
	bool possible;

	guard_lock(&self->guard);
	possible = is_private(self) && !is_done(self);
	if (possible) {
		/* NULL before: only a finished future has an outcome. */
		self->outcome = outcome;
		self->failed = failed;
		*sleepers = settle(self, FUTURE_FINISHED);
	}
	guard_unlock(&self->guard);
	return possible;
}

/* As finish_private(), for a future that has a condition of ours. */
static bool finish_shared(
	struct future *self, PyObject *outcome, bool failed, struct sleeper **sleepers)
{
	PyObject *condition = hold(self);
	bool possible;

	if (condition == NULL)
		return false;
	possible = !is_done(self);
	if (possible) {
		guard_lock(&self->guard);
		self->outcome = outcome;
		self->failed = failed;
		*sleepers = settle(self, FUTURE_FINISHED);
		guard_unlock(&self->guard);
		/* What these may raise is no reason to undo it. */
		if (!tell_waiters(self, failed ? "add_exception" : "add_result") ||
			!ask(condition, notify_all_name))
			PyErr_WriteUnraisable((PyObject *)self);
	}
	let_go(condition);
	return possible;
}

static void append_sleepers(struct sleeper **list, struct sleeper *more)
{
	while (*list != NULL)
		list = &(*list)->next;
	*list = more;
}

void future_complete(struct future *self, PyObject *outcome, bool failed, struct sleeper **woken)
{
	struct sleeper *sleepers;

	if (FILAR_LIKELY(finish_private(self, outcome, failed, &sleepers)) ||
		finish_shared(self, outcome, failed, &sleepers)) {
		append_sleepers(woken, sleepers);
		if (self->callbacks != NULL) {
			sleepers_wake(*woken);
			*woken = NULL;
			run_callbacks(self);
		}
		return;
	}
	PyErr_Clear();
	PyObject *done = standard_method(self, failed ? "set_exception" : "set_result", outcome);

	if (done == NULL)
		PyErr_WriteUnraisable((PyObject *)self);
	Py_XDECREF(done);
	Py_DECREF(outcome);
}

static PyObject *call(PyObject *callable, PyObject *arguments, PyObject *keywords)
{
	Py_ssize_t count = PyTuple_GET_SIZE(arguments);
	Py_ssize_t named = keywords == NULL ? 0 : PyTuple_GET_SIZE(keywords);

	return PyObject_Vectorcall(callable, count == 0 ? NULL : &PyTuple_GET_ITEM(arguments, 0),
		(size_t)(count - named), keywords);
}

void future_run(struct future *self, struct sleeper **woken)
{
	PyObject *callable = self->callable, *arguments = self->arguments;
	PyObject *keywords = self->keywords, *context = self->context, *outcome = NULL;
	bool failed;

	self->callable = self->arguments = self->keywords = self->context = NULL;
	if (context == NULL || PyContext_Enter(context) == 0) {
		outcome = call(callable, arguments, keywords);
		failed = outcome == NULL;
		if (failed)
			outcome = border_take_exception();
		if (context != NULL && PyContext_Exit(context) != 0)
			PyErr_WriteUnraisable(callable);
	} else {
		failed = true;
		outcome = border_take_exception();
	}
	/* Before anybody is told: who gets the result may rely on the arguments being let go. */
	Py_DECREF(callable);
	Py_DECREF(arguments);
	Py_XDECREF(keywords);
	Py_XDECREF(context);
	future_complete(self, outcome, failed, woken);
}

/* ---- waiting -------------------------------------------------------------------------------- */

/* SLEEP_WOKEN: the future is done. */
static enum sleep_end wait_until_done(struct future *self, PyObject *timeout)
{
	struct sleeper sleeper;
	enum sleep_end end;
	int64_t deadline_ns;
	bool was_woken, done;

	if (!check_process(self->generation, "future") || !py_deadline(timeout, &deadline_ns))
		return SLEEP_RAISED;
	waiter_init(&sleeper.waiter);
	guard_lock(&self->guard);
	done = is_done(self);
	if (!done)
		sleeper_push(&self->sleepers, &sleeper);
	guard_unlock(&self->guard);
	if (done) {
		waiter_abandon(&sleeper.waiter);
		return SLEEP_WOKEN;
	}
	end = sleeper_wait(&sleeper, &self->sleepers, &self->guard, deadline_ns, &was_woken);
	return end == SLEEP_TIMED_OUT && is_done(self) ? SLEEP_WOKEN : end;
}

/* The one argument `timeout`, by position or by name.  Py_None: not given. */
static bool parse_timeout(const char *name, PyObject *const *arguments, Py_ssize_t count,
	PyObject *keywords, PyObject **timeout)
{
	Py_ssize_t named = keywords == NULL ? 0 : PyTuple_GET_SIZE(keywords);

	*timeout = Py_None;
	if (count + named == 0)
		return true;
	if (count + named > 1) {
		PyErr_Format(PyExc_TypeError, "%s() takes one argument, timeout", name);
		return false;
	}
	if (named == 1 &&
		PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(keywords, 0), "timeout") != 0) {
		PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument '%U'", name,
			PyTuple_GET_ITEM(keywords, 0));
		return false;
	}
	*timeout = arguments[0];
	return true;
}

/* True: finished, so that outcome and failed are constant.  False: exception. */
static bool finished_within(struct future *self, PyObject *timeout)
{
	if (!is_done(self)) {
		switch (wait_until_done(self, timeout)) {
		case SLEEP_WOKEN:
			break;
		case SLEEP_TIMED_OUT:
			PyErr_SetNone(PyExc_TimeoutError);
			return false;
		case SLEEP_RAISED:
			return false;
		}
	}
	if (self->state == FUTURE_FINISHED)
		return true;
	PyErr_SetNone(cancelled_error);
	return false;
}

static PyObject *future_result(
	struct future *self, PyObject *const *arguments, Py_ssize_t count, PyObject *keywords)
{
	PyObject *timeout;

	if (!parse_timeout("result", arguments, count, keywords, &timeout) ||
		!finished_within(self, timeout))
		return NULL;
	if (self->failed) {
		PyErr_SetObject((PyObject *)Py_TYPE(self->outcome), self->outcome);
		return NULL;
	}
	return Py_NewRef(self->outcome != NULL ? self->outcome : Py_None);
}

static PyObject *future_exception(
	struct future *self, PyObject *const *arguments, Py_ssize_t count, PyObject *keywords)
{
	PyObject *timeout;

	if (!parse_timeout("exception", arguments, count, keywords, &timeout) ||
		!finished_within(self, timeout))
		return NULL;
	return Py_NewRef(self->failed ? self->outcome : Py_None);
}

/* ---- asking and cancelling ------------------------------------------------------------------- */

static PyObject *future_done(struct future *self, PyObject *unused)
{
	(void)unused;
	return PyBool_FromLong(is_done(self));
}

static PyObject *future_running(struct future *self, PyObject *unused)
{
	(void)unused;
	return PyBool_FromLong(self->state == FUTURE_RUNNING);
}

static PyObject *future_cancelled(struct future *self, PyObject *unused)
{
	(void)unused;
	return PyBool_FromLong(
		self->state == FUTURE_CANCELLED || self->state == FUTURE_CANCELLED_AND_NOTIFIED);
}

static PyObject *future_cancel(struct future *self, PyObject *unused)
{
	struct sleeper *sleepers = NULL;
	bool known, cancelled, fresh = false;

	(void)unused;
	guard_lock(&self->guard);
	self->cancel_asked = true;
	known = is_private(self) || self->state != FUTURE_PENDING;
	if (known && self->state == FUTURE_PENDING) {
		sleepers = settle(self, FUTURE_CANCELLED);
		fresh = true;
	}
	cancelled = self->state == FUTURE_CANCELLED || self->state == FUTURE_CANCELLED_AND_NOTIFIED;
	guard_unlock(&self->guard);
	if (!known)
		return standard_method(self, "cancel", NULL);
	sleepers_wake(sleepers);
	if (fresh && self->callbacks != NULL)
		run_callbacks(self);
	return PyBool_FromLong(cancelled);
}

static PyObject *future_cancel_asked(struct future *self, void *unused)
{
	(void)unused;
	return PyBool_FromLong(self->cancel_asked);
}

static PyObject *future_add_done_callback(struct future *self, PyObject *callback)
{
	PyObject *list = self->callbacks == NULL ? PyList_New(0) : NULL;
	bool done;
	int status = 0;

	if (self->callbacks == NULL && list == NULL)
		return NULL;
	/* Whoever settles the future looks at the callbacks after that, so under the guard it is
	 * either not done, and will find this one, or done.  (Growing a list runs no Python.) */
	guard_lock(&self->guard);
	done = is_done(self);
	if (!done && self->callbacks == NULL) {
		self->callbacks = list;
		list = NULL;
	}
	if (!done)
		status = PyList_Append(self->callbacks, callback);
	guard_unlock(&self->guard);
	Py_XDECREF(list);
	if (done)
		return standard_method(self, "add_done_callback", callback);
	if (status != 0)
		return NULL;
	Py_RETURN_NONE;
}

/* ---- for executors --------------------------------------------------------------------------- */

static PyObject *future_set_running_or_notify_cancel(struct future *self, PyObject *unused)
{
	bool known;

	(void)unused;
	guard_lock(&self->guard);
	known = is_private(self) && self->state == FUTURE_PENDING;
	if (known)
		self->state = FUTURE_RUNNING;
	guard_unlock(&self->guard);
	if (known)
		Py_RETURN_TRUE;
	return standard_method(self, "set_running_or_notify_cancel", NULL);
}

static PyObject *set_outcome(
	struct future *self, PyObject *outcome, bool failed, const char *method)
{
	struct sleeper *sleepers = NULL;

	if (!finish_private(self, Py_NewRef(outcome), failed, &sleepers)) {
		Py_DECREF(outcome);
		return standard_method(self, method, outcome);
	}
	sleepers_wake(sleepers);
	if (self->callbacks != NULL)
		run_callbacks(self);
	Py_RETURN_NONE;
}

static PyObject *future_set_result(struct future *self, PyObject *result)
{
	return set_outcome(self, result, false, "set_result");
}

static PyObject *future_set_exception(struct future *self, PyObject *exception)
{
	return set_outcome(self, exception, exception != Py_None, "set_exception");
}

/* ---- the standard class's fields ------------------------------------------------------------- */

static PyObject *get_state(struct future *self, void *unused)
{
	(void)unused;
	return Py_NewRef(state_names[self->state]);
}

static int set_state(struct future *self, PyObject *name, void *unused)
{
	struct sleeper *sleepers = NULL;
	int state = 0;

	(void)unused;
	while (state < FUTURE_STATE_COUNT &&
		(name == NULL || PyObject_RichCompareBool(name, state_names[state], Py_EQ) != 1))
		state++;
	if (state == FUTURE_STATE_COUNT) {
		PyErr_Clear();
		PyErr_SetString(PyExc_ValueError, "not a state of a future");
		return -1;
	}
	guard_lock(&self->guard);
	if (state >= FUTURE_CANCELLED)
		sleepers = settle(self, (enum future_state)state);
	else
		self->state = (uint8_t)state;
	guard_unlock(&self->guard);
	sleepers_wake(sleepers);
	return 0;
}

static PyObject *get_result(struct future *self, void *unused)
{
	(void)unused;
	return Py_NewRef(self->outcome == NULL || self->failed ? Py_None : self->outcome);
}

static int set_result(struct future *self, PyObject *result, void *unused)
{
	(void)unused;
	self->failed = false;
	Py_XSETREF(self->outcome, Py_XNewRef(result));
	return 0;
}

static PyObject *get_exception(struct future *self, void *unused)
{
	(void)unused;
	return Py_NewRef(self->failed ? self->outcome : Py_None);
}

static int set_exception(struct future *self, PyObject *exception, void *unused)
{
	(void)unused;
	if (exception == NULL || exception == Py_None) {
		if (self->failed)
			Py_CLEAR(self->outcome);
		self->failed = false;
		return 0;
	}
	self->failed = true;
	Py_XSETREF(self->outcome, Py_NewRef(exception));
	return 0;
}

/* A settled future without a condition needs none: its state is constant, and all that is left to
 * do under it is to take a waiter off _waiters. */
static PyObject *get_condition(struct future *self, void *unused)
{
	PyObject *made;

	(void)unused;
	if (self->condition == NULL) {
		if (self->state == FUTURE_FINISHED || self->state == FUTURE_CANCELLED_AND_NOTIFIED)
			return Py_NewRef(settled_condition);
		made = PyObject_CallNoArgs(condition_type);
		if (made == NULL)
			return NULL;
		guard_lock(&self->guard);
		if (self->condition == NULL) {
			self->condition = made;
			made = NULL;
		}
		guard_unlock(&self->guard);
		Py_XDECREF(made);
	}
	return Py_NewRef(self->condition);
}

static PyObject *get_list(struct future *self, PyObject **list)
{
	PyObject *made;

	if (*list == NULL) {
		made = PyList_New(0);
		if (made == NULL)
			return NULL;
		guard_lock(&self->guard);
		if (*list == NULL) {
			*list = made;
			made = NULL;
		}
		guard_unlock(&self->guard);
		Py_XDECREF(made);
	}
	return Py_NewRef(*list);
}

/* wait() and as_completed() get here with a future that is not done: in the child of a fork they
 * would wait for ever. */
static PyObject *get_waiters(struct future *self, void *unused)
{
	(void)unused;
	if (!is_done(self) && !check_process(self->generation, "future"))
		return NULL;
	return get_list(self, &self->waiters);
}

static PyObject *get_callbacks(struct future *self, void *unused)
{
	(void)unused;
	return get_list(self, &self->callbacks);
}

static int set_field(struct future *self, PyObject *value, void *offset)
{
	PyObject **field = (PyObject **)(void *)((char *)self + (size_t)(uintptr_t)offset);

	Py_XSETREF(*field, Py_XNewRef(value));
	return 0;
}

/* ---- the type -------------------------------------------------------------------------------- */

struct future *future_new(PyTypeObject *type)
{
	struct future *self = (struct future *)(void *)type->tp_alloc(type, 0);

	if (self != NULL) {
		self->work.kind = WORK_FUTURE;
		self->generation = process_generation;
	}
	return self;
}

static PyObject *core_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
	(void)arguments;
	(void)keywords;
	return (PyObject *)future_new(type);
}

static int core_init(PyObject *self, PyObject *arguments, PyObject *keywords)
{
	(void)self;
	if (PyTuple_GET_SIZE(arguments) == 0 && (keywords == NULL || PyDict_Size(keywords) == 0))
		return 0;
	PyErr_SetString(PyExc_TypeError, "Future() takes no arguments");
	return -1;
}

static int core_traverse(struct future *self, visitproc visit, void *arg)
{
	Py_VISIT(self->callable);
	Py_VISIT(self->arguments);
	Py_VISIT(self->context);
	Py_VISIT(self->outcome);
	Py_VISIT(self->condition);
	Py_VISIT(self->waiters);
	Py_VISIT(self->callbacks);
	return 0;
}

static int core_clear(struct future *self)
{
	Py_CLEAR(self->callable);
	Py_CLEAR(self->arguments);
	Py_CLEAR(self->keywords);
	Py_CLEAR(self->context);
	Py_CLEAR(self->outcome);
	Py_CLEAR(self->condition);
	Py_CLEAR(self->waiters);
	Py_CLEAR(self->callbacks);
	return 0;
}

static void core_dealloc(struct future *self)
{
	PyObject_GC_UnTrack(self);
	(void)core_clear(self);
	Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyMethodDef methods[] = {
	PY_METHOD("result", future_result, METH_FASTCALL | METH_KEYWORDS,
		"result($self, timeout=None)\n--\n\n"
		"The call's result; raises what it raised, CancelledError, or TimeoutError after\n"
		"`timeout` seconds.  Blocks without the GIL; Ctrl-C ends the wait within 100 ms."),
	PY_METHOD("exception", future_exception, METH_FASTCALL | METH_KEYWORDS,
		"exception($self, timeout=None)\n--\n\nWhat the call raised, or None.  Blocks as "
		"result() does."),
	PY_METHOD("done", future_done, METH_NOARGS,
		"done($self)\n--\n\nTrue if it was cancelled or has finished."),
	PY_METHOD("running", future_running, METH_NOARGS,
		"running($self)\n--\n\nTrue while the call is being executed."),
	PY_METHOD("cancelled", future_cancelled, METH_NOARGS,
		"cancelled($self)\n--\n\nTrue if it was cancelled."),
	PY_METHOD("cancel", future_cancel, METH_NOARGS,
		"cancel($self)\n--\n\n"
		"Cancels the call if it has not begun, else returns False: a running call then "
		"hears\nof it from filar.pool.is_cancelled(), if it asks."),
	PY_METHOD("add_done_callback", future_add_done_callback, METH_O,
		"add_done_callback($self, fn, /)\n--\n\nCalls fn(self) when it is done, at once if "
		"it is."),
	PY_METHOD("set_running_or_notify_cancel", future_set_running_or_notify_cancel, METH_NOARGS,
		"set_running_or_notify_cancel($self)\n--\n\nFor executors: False if it was "
		"cancelled."),
	PY_METHOD("set_result", future_set_result, METH_O,
		"set_result($self, result, /)\n--\n\nFor executors and tests."),
	PY_METHOD("set_exception", future_set_exception, METH_O,
		"set_exception($self, exception, /)\n--\n\nFor executors and tests."),
	{ NULL, NULL, 0, NULL },
};

#define FIELD(name, get, set, closure)                                                             \
	{                                                                                          \
		name, (getter)(void *)(get), (setter)(void *)(set), NULL, closure                  \
	}
#define AT(field) ((void *)offsetof(struct future, field))

static PyGetSetDef fields[] = {
	FIELD("_state", get_state, set_state, NULL),
	FIELD("_result", get_result, set_result, NULL),
	FIELD("_exception", get_exception, set_exception, NULL),
	FIELD("_condition", get_condition, set_field, AT(condition)),
	FIELD("_waiters", get_waiters, set_field, AT(waiters)),
	FIELD("_done_callbacks", get_callbacks, set_field, AT(callbacks)),
	FIELD("cancel_requested", future_cancel_asked, NULL, NULL),
	{ NULL, NULL, NULL, NULL, NULL },
};

PyTypeObject future_core_type = {
	PyVarObject_HEAD_INIT(NULL, 0).tp_name = "filar.pool.FutureCore",
	.tp_doc = "The C half of filar.pool.Future.",
	.tp_basicsize = sizeof(struct future),
	.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
	.tp_new = core_new,
	.tp_init = core_init,
	.tp_traverse = (traverseproc)(void *)core_traverse,
	.tp_clear = (inquiry)(void *)core_clear,
	.tp_dealloc = (destructor)(void *)core_dealloc,
	.tp_methods = methods,
	.tp_getset = fields,
};

PyObject *import_name(const char *module_name, const char *name)
{
	PyObject *module = PyImport_ImportModule(module_name), *found;

	if (module == NULL)
		return NULL;
	found = PyObject_GetAttrString(module, name);
	Py_DECREF(module);
	return found;
}

static bool find_state_names(void)
{
	static const char *const names[FUTURE_STATE_COUNT] = {
		"PENDING",
		"RUNNING",
		"CANCELLED",
		"CANCELLED_AND_NOTIFIED",
		"FINISHED",
	};

	for (int i = 0; i < FUTURE_STATE_COUNT; i++) {
		state_names[i] = import_name("concurrent.futures._base", names[i]);
		if (state_names[i] == NULL)
			return false;
	}
	return true;
}

bool future_set_up(PyObject *settled, PyObject *condition)
{
	standard_future = import_name("concurrent.futures", "Future");
	cancelled_error = import_name("concurrent.futures", "CancelledError");
	settled_condition = Py_NewRef(settled);
	condition_type = Py_NewRef(condition);
	acquire_name = PyUnicode_InternFromString("acquire");
	release_name = PyUnicode_InternFromString("release");
	notify_all_name = PyUnicode_InternFromString("notify_all");
	forked_error = import_name("filar.errors", "ForkedError");
	return standard_future != NULL && cancelled_error != NULL && forked_error != NULL &&
	       acquire_name != NULL && release_name != NULL && notify_all_name != NULL &&
	       find_state_names() && PyType_Ready(&future_core_type) == 0;
}
