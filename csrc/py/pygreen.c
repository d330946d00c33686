/*
 * pygreen.c - Python callables on green threads: spawn, run, join, cancel, yield, sleep.
 *
 * A handle (struct pygreen) is held by whoever spawned and by its own body until that has ended;
 * its green thread is detached in the C core, and `done` is what joiners wait for.  So any number
 * may join, any time, also when the stack has long been given back.
 *
 * A handle that is dropped with a failure that nobody was told of reports it (sys.unraisablehook).
 */
#include "py/arguments.h"
#include "py/internal.h"

#include <pthread.h>
#include <stdio.h>
#include <structmember.h>

#include "base/check.h"
#include "base/memory.h"
#include "green/switch.h"
#include "os/clock.h"
#include "py/preemption.h"
#include "py/traced.h"

PyTypeObject *border_green_type;

static struct list live = { &live, &live }; /* those whose body has not ended; under the GIL */
static uint64_t next_serial = 1;            /* under the GIL */
static uint32_t fork_generation;            /* under the GIL */
static PyObject *threading_names;           /* the dict of module threading */
static PyObject *trace_hook_name, *profile_hook_name, *settrace, *setprofile;
static PyObject *forget_kernel_thread;

struct pygreen *pygreen_here(void)
{
	struct shell *shell = carrier_shell_here();

	return shell != NULL ? (struct pygreen *)shell->owner : NULL;
}

/* ---- cancelling ---- */

static bool any_reason(const struct pygreen *green)
{
	bool found = green->cancelled;

	for (struct scope *scope = green->scopes; scope != NULL && !found; scope = scope->outer)
		found = load_seq_cst(&scope->fired) != 0;
	return found;
}

/* NULL: its body does not run yet, or no more. */
static struct shell *shell_of(const struct pygreen *self)
{
	return self->started ? self->shell : NULL;
}

void pygreen_settle_cancel(struct pygreen *green)
{
	/* Cleared first, looked at second: a scope that fires in between is seen. */
	store_seq_cst(&green->ref.green->cancel_number, 0);
	if (any_reason(green))
		(void)green_cancel(green->ref);
}

static bool is_done(struct pygreen *self)
{
	return event_is_set(&self->done);
}

/* It ended by that. */
static bool is_cancelled(struct pygreen *self)
{
	return self->exception != NULL &&
	       PyErr_GivenExceptionMatches(self->exception, border_cancelled_error);
}

static int check_fork(struct pygreen *self)
{
	if (FILAR_LIKELY(self->fork_generation == fork_generation || is_done(self)))
		return 0;
	border_raise(status_detail(FILAR_FORKED, "the green thread runs in the parent process"));
	return -1;
}

static PyObject *green_cancel_method(PyObject *object, PyObject *unused)
{
	struct pygreen *self = (struct pygreen *)object;

	(void)unused;
	if (check_fork(self) < 0)
		return NULL;
	if (is_done(self))
		Py_RETURN_FALSE;
	self->cancelled = true;
	if (self->started)
		(void)green_cancel(self->ref);
	Py_RETURN_TRUE;
}

/* ---- the body ---- */

static void keep_failure(struct pygreen *self, PyObject *exception)
{
	self->exception = exception;
	if (exception == NULL)
		return;
	self->traceback = PyException_GetTraceback(exception);
	self->seen = PyErr_GivenExceptionMatches(exception, PyExc_SystemExit) ||
		     PyErr_GivenExceptionMatches(exception, border_cancelled_error);
}

/* As threading does on a new thread. */
static int set_hook(PyObject *name, PyObject *setter)
{
	PyObject *hook = PyDict_GetItemWithError(threading_names, name), *result;

	if (FILAR_LIKELY(hook == NULL || hook == Py_None))
		return PyErr_Occurred() ? -1 : 0;
	result = PyObject_CallOneArg(setter, hook);
	Py_XDECREF(result);
	return result != NULL ? 0 : -1;
}

static PyObject *call_callable(struct pygreen *self)
{
	PyObject *callable = self->callable, *arguments = self->arguments;
	PyObject *keywords = self->keywords, *result = NULL;
	Py_ssize_t positional =
		PyTuple_GET_SIZE(arguments) - (keywords != NULL ? PyTuple_GET_SIZE(keywords) : 0);

	/* Not the handle's any more: what they hold should go when the body drops it. */
	self->callable = self->arguments = self->keywords = NULL;
	self->preemptible = (uint8_t)preemption_kind(callable);
	if (set_hook(trace_hook_name, settrace) == 0 &&
		set_hook(profile_hook_name, setprofile) == 0)
		result = PyObject_Vectorcall(
			callable, &PyTuple_GET_ITEM(arguments, 0), (size_t)positional, keywords);
	Py_DECREF(callable);
	Py_DECREF(arguments);
	Py_XDECREF(keywords);
	return result;
}

static void run(struct pygreen *self)
{
	PyObject *context = self->context;

	self->context = NULL;
	/* Cancelled before it began: it does not begin. */
	if (border_check_cancelled() == 0 && PyContext_Enter(context) == 0) {
		self->result = call_callable(self);
		if (self->result == NULL)
			keep_failure(self, border_take_exception());
		if (PyContext_Exit(context) < 0)
			PyErr_WriteUnraisable((PyObject *)self);
	} else {
		keep_failure(self, border_take_exception());
	}
	Py_DECREF(context);
}

static void call_callbacks(struct pygreen *self)
{
	PyObject *callbacks = self->callbacks;

	self->callbacks = NULL;
	if (FILAR_LIKELY(callbacks == NULL))
		return;
	for (Py_ssize_t i = 0; i < PyList_GET_SIZE(callbacks); i++) {
		PyObject *result =
			PyObject_CallOneArg(PyList_GET_ITEM(callbacks, i), (PyObject *)self);

		if (result == NULL)
			PyErr_WriteUnraisable(PyList_GET_ITEM(callbacks, i));
		Py_XDECREF(result);
	}
	Py_DECREF(callbacks);
}

/* With some state attached.  Gives back the body's reference. */
static void end(struct pygreen *self)
{
	scopes_end(self);
	self->shell = NULL;
	list_remove(&self->link);
	event_set(&self->done);
	call_callbacks(self);
	Py_DECREF(self);
}

/* With the GIL: `late` is no more, what it shares its place with begins. */
static void become_started(struct pygreen *self, struct green *green, struct shell *shell)
{
	self->ref = green != NULL ? green_ref_of(green) : (struct green_ref){ 0 };
	self->shell = shell;
	self->scopes = NULL;
	self->started = true;
	if (self->cancelled && green != NULL)
		(void)green_cancel(self->ref);
}

static void body(void *argument)
{
	struct pygreen *self = FILAR_CONTAINER_OF(argument, struct pygreen, late);
	struct green *green = green_self();
	struct shell *shell = carrier_begin(green);

	become_started(self, green, shell);
	if (shell == NULL) {
		PyErr_NoMemory();
		keep_failure(self, border_take_exception());
		end(self);
		carrier_abandon();
		return;
	}
	shell->owner = (PyObject *)self;
	if (tracepoint_is_on())
		traced_name(
			TRACE_GREEN_NAME, trace_runner(worker_here()), self->name, self->callable);
	run(self);
	shell->owner = NULL;
	end(self);
	carrier_finish(green, shell);
}

/* No stack.  On the worker's own, with its home state. */
static void could_not_begin(struct green_late *late, enum filar_status status)
{
	struct pygreen *self = FILAR_CONTAINER_OF(late, struct pygreen, late);

	carrier_attach_home();
	become_started(self, NULL, NULL);
	border_raise(status);
	keep_failure(self, border_take_exception());
	end(self);
	carrier_abandon();
}

/* ---- spawn ---- */

static PyObject *pack(PyObject *const *values, Py_ssize_t count)
{
	PyObject *tuple = PyTuple_New(count);

	for (Py_ssize_t i = 0; i < count && tuple != NULL; i++)
		PyTuple_SET_ITEM(tuple, i, Py_NewRef(values[i]));
	return tuple;
}

static struct pygreen *make(PyObject *callable, PyObject *const *values, Py_ssize_t positional,
	PyObject *keywords, PyObject *name)
{
	Py_ssize_t count = positional + (keywords != NULL ? PyTuple_GET_SIZE(keywords) : 0);
	struct pygreen *self;

	if (!PyCallable_Check(callable))
		return (void *)PyErr_Format(PyExc_TypeError,
			"a green thread needs a callable, not %.100s", Py_TYPE(callable)->tp_name);
	self = (struct pygreen *)border_green_type->tp_alloc(border_green_type, 0);
	if (self == NULL)
		return NULL;
	list_init(&self->link);
	event_init(&self->done, false);
	self->seen = true; /* there is nothing to tell yet */
	self->fork_generation = fork_generation;
	self->serial = next_serial++;
	self->callable = Py_NewRef(callable);
	self->keywords = Py_XNewRef(keywords);
	self->name = Py_XNewRef(name);
	self->arguments = pack(values, count);
	self->context = PyContext_CopyCurrent();
	if (self->arguments == NULL || self->context == NULL)
		Py_CLEAR(self);
	return self;
}

/* It runs now; the spawner is left here for it. */
static enum filar_status spawn_at_once(struct pygreen *self, struct shell *spawner)
{
	struct green_options options = { .detached = true, .run_first = true };
	enum filar_status status;

	spawner->attached = true;
	status = green_spawn(NULL, self->late.runtime, &options, body, &self->late);
	spawner->attached = false;
	return status;
}

static PyObject *start(
	struct pygreen *self, struct runtime *runtime, size_t stack_bytes, struct shell *first)
{
	enum filar_status status;

	if (self == NULL)
		return NULL;
	Py_INCREF(self); /* the body's */
	list_push_back(&live, &self->link);
	self->late.runtime = runtime;
	self->late.stack_bytes = stack_bytes;
	status = first != NULL ? spawn_at_once(self, first) : green_spawn_late(&self->late);
	if (FILAR_LIKELY(status == FILAR_OK))
		return (PyObject *)self;
	list_remove(&self->link);
	Py_DECREF(self);
	border_raise(status);
	Py_DECREF(self);
	return NULL;
}

static PyObject *spawn_here(
	PyObject *const *arguments, Py_ssize_t count, PyObject *keywords, struct shell *first)
{
	struct runtime *runtime = runtime_of_worker(worker_current());

	if (carrier_runtime_of(runtime) == NULL)
		return border_raise(status_detail(FILAR_WRONG_STATE,
			"no runtime here: filar.spawn() is for green threads that run Python; start with"
			" filar.run() or GreenRuntime.spawn()"));
	if (count == 0) {
		PyErr_SetString(PyExc_TypeError, "spawn() needs a callable");
		return NULL;
	}
	return start(
		make(arguments[0], arguments + 1, count - 1, keywords, NULL), runtime, 0, first);
}

/* spawn(callable, *args, **kwargs) */
static PyObject *spawn(
	PyObject *module, PyObject *const *arguments, Py_ssize_t count, PyObject *keywords)
{
	(void)module;
	return spawn_here(arguments, count, keywords, NULL);
}

/* spawn_first(callable, *args, **kwargs) */
static PyObject *spawn_first(
	PyObject *module, PyObject *const *arguments, Py_ssize_t count, PyObject *keywords)
{
	struct shell *shell = carrier_shell_here();

	(void)module;
	if (shell == NULL && PyErr_Occurred())
		return NULL;
	if (shell != NULL && shell->importing != NULL)
		shell = NULL;
	return spawn_here(arguments, count, keywords, shell);
}

/* spawn_on(runtime address, stack bytes, name or None, callable, *args, **kwargs) */
static PyObject *spawn_on(
	PyObject *module, PyObject *const *arguments, Py_ssize_t count, PyObject *keywords)
{
	struct runtime *runtime;
	size_t stack_bytes;
	PyObject *name;

	(void)module;
	if (count < 4) {
		PyErr_SetString(PyExc_TypeError, "spawn() needs a callable");
		return NULL;
	}
	runtime = PyLong_AsVoidPtr(arguments[0]);
	stack_bytes = PyLong_AsSize_t(arguments[1]);
	if (PyErr_Occurred())
		return NULL;
	name = arguments[2] != Py_None ? arguments[2] : NULL;
	return start(make(arguments[3], arguments + 4, count - 4, keywords, name), runtime,
		stack_bytes, NULL);
}

/* ---- joining ---- */

static enum filar_status wait_done(void *argument, int64_t deadline_ns)
{
	return event_wait_until(&((struct pygreen *)argument)->done, deadline_ns);
}

static enum filar_status wait_done_shielded(void *argument, int64_t deadline_ns)
{
	(void)deadline_ns;
	event_wait_shielded(&((struct pygreen *)argument)->done);
	return FILAR_OK;
}

/* 0: it has ended; -1 with an exception. */
static int wait_for_end(struct pygreen *self, PyObject *timeout)
{
	enum filar_status status;
	int64_t deadline_ns;

	if (is_done(self))
		return 0;
	if (check_fork(self) < 0 || !py_deadline(timeout, &deadline_ns))
		return -1;
	if (shell_of(self) != NULL && self->shell->state == PyThreadState_Get()) {
		border_raise(status_detail(FILAR_DEADLOCK, "a green thread cannot join itself"));
		return -1;
	}
	status = py_wait_staying(wait_done, self, deadline_ns);
	if (status == FILAR_OK)
		return 0;
	if (status != FILAR_INTERRUPTED)
		border_raise(status);
	return -1;
}

static PyObject *only_timeout(PyObject *const *arguments, Py_ssize_t count, PyObject *keywords)
{
	Py_ssize_t named = keywords != NULL ? PyTuple_GET_SIZE(keywords) : 0;

	if (count + named > 1 ||
		(named == 1 && PyUnicode_CompareWithASCIIString(
				       PyTuple_GET_ITEM(keywords, 0), "timeout") != 0)) {
		PyErr_SetString(PyExc_TypeError, "the only argument is timeout, in seconds");
		return NULL;
	}
	return count + named == 1 ? arguments[0] : Py_None;
}

/* As green_join(), and what came out: a borrowed result, or NULL with an exception. */
static PyObject *outcome(
	PyObject *object, PyObject *const *arguments, Py_ssize_t count, PyObject *keywords)
{
	struct pygreen *self = (struct pygreen *)object;
	PyObject *timeout = only_timeout(arguments, count, keywords);

	if (timeout == NULL || wait_for_end(self, timeout) < 0)
		return NULL;
	if (self->exception == NULL)
		return self->result;
	self->seen = true;
	if (is_cancelled(self))
		return border_raise_join_cancelled(self->exception);
	border_reraise(self->exception, self->traceback);
	return NULL;
}

static PyObject *green_join(
	PyObject *object, PyObject *const *arguments, Py_ssize_t count, PyObject *keywords)
{
	return outcome(object, arguments, count, keywords) != NULL ? Py_NewRef(Py_None) : NULL;
}

static PyObject *green_result(
	PyObject *object, PyObject *const *arguments, Py_ssize_t count, PyObject *keywords)
{
	return Py_XNewRef(outcome(object, arguments, count, keywords));
}

static PyObject *green_exception(
	PyObject *object, PyObject *const *arguments, Py_ssize_t count, PyObject *keywords)
{
	struct pygreen *self = (struct pygreen *)object;
	PyObject *timeout = only_timeout(arguments, count, keywords);

	if (timeout == NULL || wait_for_end(self, timeout) < 0)
		return NULL;
	self->seen = true;
	return Py_NewRef(self->exception != NULL ? self->exception : Py_None);
}

/* For TaskGroup: until it has ended, whatever happens to the caller. */
static PyObject *green_wait_shielded(PyObject *object, PyObject *unused)
{
	(void)unused;
	if (py_wait_leaving(wait_done_shielded, object, DEADLINE_NEVER) != FILAR_OK)
		return NULL;
	Py_RETURN_NONE;
}

static PyObject *green_wait(PyObject *object, PyObject *timeout)
{
	if (wait_for_end((struct pygreen *)object, timeout) < 0)
		return NULL;
	Py_RETURN_NONE;
}

static PyObject *green_done(PyObject *object, PyObject *unused)
{
	(void)unused;
	return PyBool_FromLong(is_done((struct pygreen *)object));
}

static PyObject *green_cancelled(PyObject *object, PyObject *unused)
{
	(void)unused;
	return PyBool_FromLong(is_cancelled((struct pygreen *)object));
}

static PyObject *green_add_done_callback(PyObject *object, PyObject *callback)
{
	struct pygreen *self = (struct pygreen *)object;
	PyObject *result;

	if (!is_done(self)) {
		if (self->callbacks == NULL)
			self->callbacks = PyList_New(0);
		if (self->callbacks == NULL || PyList_Append(self->callbacks, callback) < 0)
			return NULL;
		Py_RETURN_NONE;
	}
	result = PyObject_CallOneArg(callback, object);
	if (result == NULL)
		PyErr_WriteUnraisable(callback);
	Py_XDECREF(result);
	Py_RETURN_NONE;
}

/* ---- who it is ---- */

static PyObject *green_get_name(PyObject *object, void *closure)
{
	struct pygreen *self = (struct pygreen *)object;

	(void)closure;
	if (self->name != NULL)
		return Py_NewRef(self->name);
	return PyUnicode_FromFormat("green-%llu", (unsigned long long)self->serial);
}

static int green_set_name(PyObject *object, PyObject *name, void *closure)
{
	struct pygreen *self = (struct pygreen *)object;

	(void)closure;
	if (name == NULL || !PyUnicode_Check(name)) {
		PyErr_SetString(PyExc_TypeError, "a name is a str");
		return -1;
	}
	Py_XSETREF(self->name, Py_NewRef(name));
	return 0;
}

static PyObject *green_get_serial(PyObject *object, void *closure)
{
	(void)closure;
	return PyLong_FromUnsignedLongLong(((struct pygreen *)object)->serial);
}

/* "parked (sleep)" and the like. */
static PyObject *green_get_state(PyObject *object, void *closure)
{
	struct pygreen *self = (struct pygreen *)object;
	uint32_t state;

	(void)closure;
	if (is_done(self))
		return PyUnicode_FromString(self->exception == NULL ? "done"
					    : is_cancelled(self)    ? "cancelled"
								    : "failed");
	if (self->fork_generation != fork_generation)
		return PyUnicode_FromString("in the parent process");
	if (shell_of(self) == NULL)
		return PyUnicode_FromString("not started");
	state = load_relaxed(&self->ref.green->state);
	if (state != GREEN_PARKED)
		return PyUnicode_FromString(green_state_name(state));
	return PyUnicode_FromFormat("parked (%s%s)",
		wait_reason_name(load_relaxed(&self->ref.green->reason)),
		green_is_cancelled(self->ref.green) ? ", cancelled" : "");
}

/* The frame it will go on in; None if it has none. */
static PyObject *green_get_frame(PyObject *object, void *closure)
{
	struct pygreen *self = (struct pygreen *)object;
	PyObject *frame = NULL;

	(void)closure;
	if (shell_of(self) != NULL && self->fork_generation == fork_generation)
		frame = (PyObject *)PyThreadState_GetFrame(self->shell->state);
	return frame != NULL ? frame : Py_NewRef(Py_None);
}

static PyObject *green_get_worker(PyObject *object, void *closure)
{
	struct pygreen *self = (struct pygreen *)object;

	(void)closure;
	if (shell_of(self) == NULL || self->fork_generation != fork_generation)
		Py_RETURN_NONE;
	return PyLong_FromUnsignedLong(self->ref.green->work.home->index);
}

static PyObject *green_get_runtime(PyObject *object, void *closure)
{
	struct pygreen *self = (struct pygreen *)object;

	(void)closure;
	if (is_done(self))
		return PyLong_FromVoidPtr(NULL);
	return PyLong_FromVoidPtr(self->started ? self->ref.green->runtime : self->late.runtime);
}

static PyObject *green_repr(PyObject *object)
{
	PyObject *name = green_get_name(object, NULL), *state = green_get_state(object, NULL);
	PyObject *text = NULL;

	if (name != NULL && state != NULL)
		text = PyUnicode_FromFormat("<GreenThread %U %U>", name, state);
	Py_XDECREF(name);
	Py_XDECREF(state);
	return text;
}

/* `await green`: asyncio's side is in Python. */
static PyObject *green_await(PyObject *object)
{
	PyObject *aio = PyImport_ImportModule("filar.aio"), *future = NULL, *iterator = NULL;

	if (aio != NULL)
		future = PyObject_CallMethod(aio, "wrap", "O", object);
	if (future != NULL)
		iterator = PyObject_CallMethod(future, "__await__", NULL);
	Py_XDECREF(aio);
	Py_XDECREF(future);
	return iterator;
}

/* ---- the type ---- */

static int green_traverse(PyObject *object, visitproc visit, void *arg)
{
	struct pygreen *self = (struct pygreen *)object;

	Py_VISIT(Py_TYPE(object));
	Py_VISIT(self->callable);
	Py_VISIT(self->arguments);
	Py_VISIT(self->context);
	Py_VISIT(self->result);
	Py_VISIT(self->exception);
	Py_VISIT(self->traceback);
	Py_VISIT(self->callbacks);
	Py_VISIT(self->attributes);
	return 0;
}

static int green_clear(PyObject *object)
{
	struct pygreen *self = (struct pygreen *)object;

	Py_CLEAR(self->callable);
	Py_CLEAR(self->arguments);
	Py_CLEAR(self->keywords);
	Py_CLEAR(self->context);
	Py_CLEAR(self->result);
	Py_CLEAR(self->exception);
	Py_CLEAR(self->traceback);
	Py_CLEAR(self->callbacks);
	Py_CLEAR(self->attributes);
	return 0;
}

/* A failure that nobody was told of. */
static void green_finalize(PyObject *object)
{
	struct pygreen *self = (struct pygreen *)object;
	PyObject *pending;

	if (self->exception == NULL || self->seen)
		return;
	self->seen = true;
	pending = PyErr_Occurred() ? border_take_exception() : NULL;
	border_reraise(self->exception, self->traceback);
	PyErr_WriteUnraisable(object);
	if (pending != NULL) {
		border_reraise(pending, NULL);
		Py_DECREF(pending);
	}
}

static void green_dealloc(PyObject *object)
{
	struct pygreen *self = (struct pygreen *)object;
	PyTypeObject *type = Py_TYPE(object);

	if (PyObject_CallFinalizerFromDealloc(object) < 0)
		return;
	PyObject_GC_UnTrack(object);
	if (self->weak != NULL)
		PyObject_ClearWeakRefs(object);
	(void)green_clear(object);
	Py_CLEAR(self->name);
	type->tp_free(object);
	Py_DECREF(type);
}

#define KEYWORDS(function) (PyCFunction)(void (*)(void)) function, METH_FASTCALL | METH_KEYWORDS

static PyMethodDef green_methods[] = {
	{ "join", KEYWORDS(green_join),
		PyDoc_STR(
			"join($self, /, timeout=None)\n--\n\n"
			"Waits for the end, at most `timeout` seconds (DeadlineError); raises what the\n"
			"body raised, each time it is called; JoinCancelledError if it was cancelled.\n"
			"Blocks: parks a green thread, a kernel thread sleeps without the GIL.") },
	{ "result", KEYWORDS(green_result),
		PyDoc_STR("result($self, /, timeout=None)\n--\n\n"
			  "As join(), and returns what the body returned.") },
	{ "exception", KEYWORDS(green_exception),
		PyDoc_STR("exception($self, /, timeout=None)\n--\n\n"
			  "As join(), but returns what the body raised, or None.") },
	{ "cancel", green_cancel_method, METH_NOARGS,
		PyDoc_STR(
			"cancel($self, /)\n--\n\n"
			"Asks it to stop: every wait of it, and each yield_(), raises CancelledError from\n"
			"now on.  False if it has ended.  Does not block.") },
	{ "done", green_done, METH_NOARGS,
		PyDoc_STR("done($self, /)\n--\n\nTrue once the body has ended.") },
	{ "cancelled", green_cancelled, METH_NOARGS,
		PyDoc_STR("cancelled($self, /)\n--\n\nTrue if it ended by being cancelled.") },
	{ "add_done_callback", green_add_done_callback, METH_O,
		PyDoc_STR(
			"add_done_callback($self, callback, /)\n--\n\n"
			"Calls callback(self) when it has ended: at its end, on it; or now, if it has.") },
	{ "_wait", green_wait, METH_O, NULL },
	{ "_wait_shielded", green_wait_shielded, METH_NOARGS, NULL },
	{ NULL, NULL, 0, NULL },
};

static PyGetSetDef green_properties[] = {
	{ "name", green_get_name, green_set_name,
		PyDoc_STR("For people; \"green-<number>\" unless it was set."), NULL },
	{ "ident", green_get_serial, NULL, PyDoc_STR("1, 2, ... in this process."), NULL },
	{ "state", green_get_state, NULL,
		PyDoc_STR(
			"\"not started\", \"runnable\", \"running\", \"parked (<on what>)\", \"done\","
			" \"failed\", \"cancelled\"."),
		NULL },
	{ "frame", green_get_frame, NULL,
		PyDoc_STR("The frame in which it waits, or None; for dumps."), NULL },
	{ "worker", green_get_worker, NULL,
		PyDoc_STR("Number of the worker that it started on and stays on; None before."),
		NULL },
	{ "_runtime", green_get_runtime, NULL, NULL, NULL },
	{ NULL, NULL, NULL, NULL, NULL },
};

static PyMemberDef green_members[] = {
	{ "__weaklistoffset__", T_PYSSIZET, offsetof(struct pygreen, weak), READONLY, NULL },
	{ "__dictoffset__", T_PYSSIZET, offsetof(struct pygreen, attributes), READONLY, NULL },
	{ NULL, 0, 0, 0, NULL },
};

static PyType_Slot green_slots[] = {
	{ Py_tp_traverse, green_traverse },
	{ Py_tp_clear, green_clear },
	{ Py_tp_finalize, green_finalize },
	{ Py_tp_dealloc, green_dealloc },
	{ Py_tp_repr, green_repr },
	{ Py_tp_methods, green_methods },
	{ Py_tp_getset, green_properties },
	{ Py_tp_members, green_members },
	{ Py_am_await, green_await },
	{ Py_tp_doc, "A Python callable on a green thread; spawn() makes it." },
	{ 0, NULL },
};

static PyType_Spec green_spec = {
	.name = "filar.green.GreenThread",
	.basicsize = sizeof(struct pygreen),
	.flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
	.slots = green_slots,
};

int border_make_green_type(void)
{
	PyObject *threading = PyImport_ImportModule("threading"), *sys;

	if (threading == NULL)
		return -1;
	threading_names = Py_NewRef(PyModule_GetDict(threading));
	Py_DECREF(threading);
	trace_hook_name = PyUnicode_InternFromString("_trace_hook");
	profile_hook_name = PyUnicode_InternFromString("_profile_hook");
	sys = PyImport_ImportModule("sys");
	if (sys == NULL)
		return -1;
	settrace = PyObject_GetAttrString(sys, "settrace");
	setprofile = PyObject_GetAttrString(sys, "setprofile");
	Py_DECREF(sys);
	border_green_type = (PyTypeObject *)PyType_FromSpec(&green_spec);
	carrier_set_bodies(body, could_not_begin);
	return border_green_type != NULL && settrace != NULL && setprofile != NULL ? 0 : -1;
}

/* ---- for the calling green thread ---- */

static PyObject *yield_(PyObject *module, PyObject *unused)
{
	struct shell *shell = carrier_shell_here();

	(void)module;
	(void)unused;
	if (FILAR_UNLIKELY(shell == NULL)) {
		if (PyErr_Occurred())
			return NULL;
		Py_BEGIN_ALLOW_THREADS
		green_yield();
		Py_END_ALLOW_THREADS
		Py_RETURN_NONE;
	}
	/* While it imports it does not wait (carrier_may_wait), and a yield is only an offer. */
	if (FILAR_LIKELY(shell->importing == NULL)) {
		shell->attached = true;
		green_yield();
		shell->attached = false;
	}
	if (FILAR_UNLIKELY(border_check_cancelled() < 0))
		return NULL;
	Py_RETURN_NONE;
}

static enum filar_status sleep_call(void *argument, int64_t deadline_ns)
{
	(void)argument;
	return green_sleep_until(deadline_ns);
}

static PyObject *sleep_(PyObject *module, PyObject *seconds)
{
	enum filar_status status;
	int64_t deadline_ns;

	(void)module;
	if (seconds == Py_None) {
		deadline_ns = DEADLINE_NEVER;
	} else {
		double number = PyFloat_AsDouble(seconds);

		if ((number == -1.0 && PyErr_Occurred()) || !py_deadline(seconds, &deadline_ns))
			return NULL;
		if (number < 0) {
			PyErr_SetString(PyExc_ValueError, "a sleep is at least 0 seconds");
			return NULL;
		}
		if (number == 0)
			return yield_(module, NULL);
	}
	status = py_wait_staying(sleep_call, NULL, deadline_ns);
	if (status == FILAR_OK)
		Py_RETURN_NONE;
	return status != FILAR_INTERRUPTED ? border_raise(status) : NULL;
}

/* importing(name or None): the module whose body this green thread executes; returns the one
 * before. */
static PyObject *importing(PyObject *module, PyObject *name)
{
	struct shell *shell = carrier_shell_here();
	PyObject *before;

	(void)module;
	if (shell == NULL)
		return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
	/* It keeps its UTF-8 from now on: carrier_may_wait() reads that without the GIL. */
	if (name != Py_None && PyUnicode_AsUTF8(name) == NULL)
		return NULL;
	before = shell->importing;
	shell->importing = name != Py_None ? Py_NewRef(name) : NULL;
	return before != NULL ? before : Py_NewRef(Py_None);
}

static PyObject *current(PyObject *module, PyObject *unused)
{
	struct green *green = green_self();
	struct shell *shell = green != NULL && green->work.home != NULL ? green->attended : NULL;

	(void)module;
	(void)unused;
	if (shell == NULL || shell->owner == NULL || shell->state != PyThreadState_Get())
		Py_RETURN_NONE;
	return Py_NewRef(shell->owner);
}

/* All handles whose body has not ended. */
static PyObject *all_green(PyObject *module, PyObject *unused)
{
	PyObject *found = PyList_New(0);
	struct list *link;

	(void)module;
	(void)unused;
	LIST_FOR_EACH(link, &live)
	{
		struct pygreen *one = FILAR_CONTAINER_OF(link, struct pygreen, link);

		if (found == NULL || PyList_Append(found, (PyObject *)one) == 0)
			continue;
		Py_CLEAR(found);
	}
	return found;
}

PyMethodDef border_functions[] = {
	{ "spawn", KEYWORDS(spawn),
		PyDoc_STR(
			"spawn(callable, /, *args, **kwargs)\n--\n\n"
			"On a green thread: runs callable(*args, **kwargs) on another one of the same\n"
			"runtime, in a copy of the caller's context; returns its GreenThread.  Does not\n"
			"block.") },
	{ "spawn_first", KEYWORDS(spawn_first),
		PyDoc_STR(
			"spawn_first(callable, /, *args, **kwargs)\n--\n\n"
			"As spawn(), but the new one runs at once, and the caller goes on when that one\n"
			"waits or ends.  For trees of green threads that join their children: few are then\n"
			"alive at a time, where spawn() would make all of them before the first one ends.") },
	{ "_spawn_on", KEYWORDS(spawn_on), NULL },
	{ "yield_", yield_, METH_NOARGS,
		PyDoc_STR(
			"yield_()\n--\n\n"
			"Lets the other green threads of this worker run; on a kernel thread, other\n"
			"kernel threads.  CancelledError if this green thread was cancelled.") },
	{ "sleep", sleep_, METH_O,
		PyDoc_STR(
			"sleep(seconds, /)\n--\n\n"
			"Waits so long; None: until cancelled.  Parks a green thread; a kernel thread\n"
			"sleeps without the GIL.  CancelledError if this green thread is cancelled.") },
	{ "current", current, METH_NOARGS,
		PyDoc_STR("current()\n--\n\nThe GreenThread that is calling, or None.") },
	{ "_all_green", all_green, METH_NOARGS, NULL },
	{ "_importing", importing, METH_O, NULL },
	{ "_preemption_prepare", preemption_prepare, METH_NOARGS, NULL },
	{ "_preemption_done", preemption_done, METH_NOARGS, NULL },
	{ "_preemption_sample", preemption_sample, METH_O, NULL },
	{ "_preemption_refusals", preemption_refusals, METH_NOARGS, NULL },
	{ NULL, NULL, 0, NULL },
};

/* ---- installing, forking, ending ---- */

void border_forget_kernel_thread(void)
{
	PyObject *result = PyObject_CallNoArgs(forget_kernel_thread);

	if (result == NULL)
		PyErr_WriteUnraisable(forget_kernel_thread);
	Py_XDECREF(result);
}

bool border_is_green_state(PyThreadState *state)
{
	struct list *link;

	LIST_FOR_EACH(link, &live)
	{
		struct pygreen *one = FILAR_CONTAINER_OF(link, struct pygreen, link);

		if (shell_of(one) != NULL && one->shell->state == state)
			return true;
	}
	return false;
}

static int install(PyObject *namespace)
{
	if (border_install_errors(namespace) < 0 || border_make_green_type() < 0 ||
		border_make_scope_type() < 0)
		return -1;
	forget_kernel_thread = Py_XNewRef(PyDict_GetItemString(namespace, "forget_kernel_thread"));
	if (forget_kernel_thread == NULL)
		return -1;
	for (PyMethodDef *method = border_functions; method->ml_name != NULL; method++) {
		PyObject *function = PyCFunction_NewEx(
			method, NULL, PyDict_GetItemString(namespace, "__name__"));
		int failed = function == NULL ||
			     PyDict_SetItemString(namespace, method->ml_name, function) < 0;

		Py_XDECREF(function);
		if (failed)
			return -1;
	}
	return PyDict_SetItemString(namespace, "GreenThread", (PyObject *)border_green_type) < 0 ||
			       PyDict_SetItemString(
				       namespace, "timeout", (PyObject *)border_scope_type) < 0
		       ? -1
		       : 0;
}

int filar_py_install(void *namespace_dict)
{
	PyGILState_STATE state = PyGILState_Ensure();
	int failed = install(namespace_dict);

	if (failed < 0)
		PyErr_WriteUnraisable(NULL);
	PyGILState_Release(state);
	return failed == 0 ? FILAR_OK
			   : status_detail(FILAR_SYSTEM, "the Python border could not be set up");
}

/* Also without the GIL: the caller is the only thread there is. */
void filar_py_after_fork_in_child(void)
{
	PyGILState_STATE state = PyGILState_Ensure();

	carrier_after_fork();
	preemption_after_fork();
	list_init(&live);
	fork_generation++;
	PyGILState_Release(state);
}

size_t filar_py_green_stack_bytes(void)
{
	/* carrier.c, bound_stack(): 3.14 counts bytes, those before it levels. */
#if PY_VERSION_HEX >= 0x030E0000
	return (size_t)256 * 1024;
#elif PY_VERSION_HEX >= 0x030C0000
	return (size_t)1024 * 1024;
#else
	return (size_t)4096 * 1024;
#endif
}

static enum filar_status prepare(void)
{
	PyGILState_STATE state = PyGILState_Ensure();
	enum filar_status status = carrier_prepare();

	PyGILState_Release(state);
	return status;
}

static enum filar_status take_options(struct runtime_options *inside,
	const filar_runtime_options *options, int64_t python_preempt_ns)
{
	runtime_options_init(inside);
	inside->workers = options->workers;
	inside->pin = (enum worker_pin)options->pin;
	inside->cpus = options->cpus;
	inside->cpu_count = options->cpu_count;
	inside->name = options->name;
	inside->spares_max = options->spare_workers_max;
	inside->watch_ns = options->watch_ns;
	inside->preempt_ns = options->preempt_ns;
	inside->preempt_signal = options->preempt_signal;
	inside->attendant = carrier_attendant;
	if (python_preempt_ns > 0) {
		inside->preempt_ns = preemption_watch_ns(python_preempt_ns);
		inside->preempt = preemption_is_due;
		inside->attendant = carrier_noting_attendant;
	}
	inside->stack_bytes = options->stack_bytes;
	if (inside->stack_bytes == 0)
		inside->stack_bytes = filar_py_green_stack_bytes();
	if (inside->stack_bytes < FILAR_PY_GREEN_STACK_BYTES_MIN)
		return status_detail(FILAR_INVALID,
			"a stack of %zu bytes is too small: a green thread that runs Python needs at"
			" least %d",
			inside->stack_bytes, FILAR_PY_GREEN_STACK_BYTES_MIN);
	return FILAR_OK;
}

int filar_py_runtime_create(
	filar_runtime **result, const filar_runtime_options *options, int64_t python_preempt_ns)
{
	struct runtime_options inside;
	struct runtime *runtime;
	struct py_runtime *ours;
	enum filar_status status = prepare();

	if (status == FILAR_OK)
		status = take_options(&inside, options, python_preempt_ns);
	if (status != FILAR_OK)
		return status;
	ours = memory_acquire(1, sizeof *ours);
	if (ours == NULL)
		return status_detail(FILAR_NO_MEMORY, "no memory for a runtime");
	(void)pthread_sigmask(SIG_SETMASK, NULL, &ours->signals);
	inside.attended = ours;
	if (inside.preempt != NULL)
		status = preemption_create(&ours->preempter, python_preempt_ns);
	if (status != FILAR_OK)
		goto free_ours;
	status = runtime_create(&runtime, &inside);
	if (status != FILAR_OK)
		goto free_preempter;
	if (inside.preempt != NULL)
		status = preemption_begin(ours->preempter);
	if (status != FILAR_OK)
		goto destroy_runtime;
	*result = (filar_runtime *)runtime;
	return FILAR_OK;
destroy_runtime:
	(void)runtime_shutdown_until(runtime, DEADLINE_NEVER);
	(void)runtime_destroy(runtime);
free_preempter:
	preemption_free(ours->preempter);
free_ours:
	memory_release(ours);
	return status;
}

int filar_py_runtime_destroy(filar_runtime *handle)
{
	struct runtime *runtime = (struct runtime *)handle;
	struct py_runtime *ours = carrier_runtime_of(runtime);
	enum filar_status status;

	if (ours->preempter != NULL && !runtime_is_forked(runtime) &&
		load_acquire(&runtime->drained))
		preemption_end(ours->preempter);
	status = runtime_destroy(runtime);
	if (status != FILAR_OK)
		return status;
	preemption_free(ours->preempter);
	memory_release(ours);
	return FILAR_OK;
}
