/*
 * mapjob.c - filling, running and reading a map's array.
 *
 * The array grows while items are still being added, as they come from the caller's iterable, so
 * that the first calls run while the last arguments are still to be produced; whoever uses a slot
 * finds it anew by its index after anything that may have let go of the guard.
 */
#include "py/mapjob.h"

#include "py/arguments.h"
#include "py/internal.h"

#define SLOTS_FIRST 16u
/* Arguments between two looks whether somebody wants the GIL. */
#define ADDED_BETWEEN_LOOKS 256u

static PyObject *cancelled_error;

/* ---- the queue's side ------------------------------------------------------------------------ */

bool map_job_take(struct map_job *self, size_t *index)
{
	*index = self->taken++;
	self->slots[*index].state = SLOT_TAKEN;
	return self->taken < self->count;
}

static PyObject *call_with(struct map_job *self, PyObject *argument)
{
	if (!self->spread)
		return PyObject_CallOneArg(self->callable, argument);
	return PyObject_Vectorcall(self->callable, &PyTuple_GET_ITEM(argument, 0),
		(size_t)PyTuple_GET_SIZE(argument), NULL);
}

static PyObject *call_in_context(struct map_job *self, PyObject *argument)
{
	PyObject *context = PyContext_Copy(self->context), *result = NULL;

	if (context == NULL)
		return NULL;
	if (PyContext_Enter(context) == 0) {
		result = call_with(self, argument);
		if (PyContext_Exit(context) != 0)
			Py_CLEAR(result);
	}
	Py_DECREF(context);
	return result;
}

void map_job_run(struct map_job *self, size_t index, struct sleeper **woken)
{
	PyObject *argument = self->slots[index].value, *outcome;
	bool failed;

	self->slots[index].value = NULL;
	outcome =
		self->context == NULL ? call_with(self, argument) : call_in_context(self, argument);
	failed = outcome == NULL;
	if (failed)
		outcome = border_take_exception();
	Py_DECREF(argument);
	guard_lock(self->guard);
	self->slots[index].value = outcome;
	self->slots[index].state = failed ? SLOT_FAILED : SLOT_DONE;
	if (index == self->given) {
		*woken = self->sleepers;
		self->sleepers = NULL;
	}
	guard_unlock(self->guard);
}

/* The arguments of the items that will not be run are let go one by one: each may run Python. */
static void drop_waiting(struct map_job *self)
{
	for (size_t i = self->stopped_at; i < self->count; i++)
		Py_CLEAR(self->slots[i].value);
}

void map_job_stop(struct map_job *self, PyObject *exception)
{
	struct sleeper *sleepers = NULL;
	bool first, was_queued = queue_remove(self->queue, &self->work);

	guard_lock(self->guard);
	first = !self->stopped;
	self->stopped = self->cancel_asked = true;
	if (first) {
		self->stopped_at = self->taken;
		self->stopped_by = Py_XNewRef(exception);
		sleepers = self->sleepers;
		self->sleepers = NULL;
	}
	guard_unlock(self->guard);
	sleepers_wake(sleepers);
	if (first)
		drop_waiting(self);
	if (was_queued)
		Py_DECREF(self);
}

/* ---- adding ---------------------------------------------------------------------------------- */

static bool make_room(struct map_job *self)
{
	size_t capacity = self->capacity == 0 ? SLOTS_FIRST : 2 * self->capacity;
	struct slot *slots, *old;

	if (self->count < self->capacity)
		return true;
	slots = PyMem_Calloc(capacity, sizeof(*slots));
	if (slots == NULL) {
		PyErr_NoMemory();
		return false;
	}
	guard_lock(self->guard);
	old = self->slots;
	if (self->count > 0)
		memcpy(slots, old, self->count * sizeof(*slots));
	self->slots = slots;
	self->capacity = capacity;
	guard_unlock(self->guard);
	PyMem_Free(old);
	return true;
}

/* Nobody is there to run them, and the exception says why. */
static void stop_unattended(struct map_job *self)
{
	PyObject *exception = border_take_exception();

	map_job_stop(self, exception);
	PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
	Py_DECREF(exception);
}

/* Takes the argument.  False: exception. */
static bool add(struct map_job *self, PyObject *executor, PyObject *argument)
{
	if (!make_room(self) || !queue_accepts(self->queue)) {
		Py_DECREF(argument);
		return false;
	}
	guard_lock(self->guard);
	self->slots[self->count++] = (struct slot){ argument, SLOT_WAITING };
	guard_unlock(self->guard);
	queue_push(self->queue, &self->work);
	if (queue_attend(self->queue, executor))
		return true;
	stop_unattended(self);
	return false;
}

static PyObject *job_extend(struct map_job *self, PyObject *const *arguments, Py_ssize_t count)
{
	PyObject *iterator, *argument;
	bool good = true;

	if (count != 2) {
		PyErr_SetString(PyExc_TypeError, "extend() takes an executor and an iterable");
		return NULL;
	}
	iterator = PyObject_GetIter(arguments[1]);
	while (good && iterator != NULL && (argument = PyIter_Next(iterator)) != NULL) {
		good = add(self, arguments[0], argument);
		if (good && self->count % ADDED_BETWEEN_LOOKS == 0)
			good = let_others_run();
	}
	Py_XDECREF(iterator);
	if (!PyErr_Occurred())
		Py_RETURN_NONE;
	return NULL;
}

/* ---- reading --------------------------------------------------------------------------------- */

static bool is_ready(const struct map_job *self)
{
	return self->given >= self->stopped_at || self->slots[self->given].state >= SLOT_DONE;
}

/* False: exception. */
static bool wait_for_next(struct map_job *self)
{
	struct sleeper sleeper;
	bool was_woken, ready;

	while (!is_ready(self)) {
		if (!check_process(self->queue->generation, "map"))
			return false;
		waiter_init(&sleeper.waiter);
		guard_lock(self->guard);
		ready = is_ready(self);
		if (!ready)
			sleeper_push(&self->sleepers, &sleeper);
		guard_unlock(self->guard);
		if (ready) {
			waiter_abandon(&sleeper.waiter);
			return true;
		}
		switch (sleeper_wait(
			&sleeper, &self->sleepers, self->guard, self->deadline_ns, &was_woken)) {
		case SLEEP_WOKEN:
			break;
		case SLEEP_TIMED_OUT:
			PyErr_SetNone(PyExc_TimeoutError);
			return false;
		case SLEEP_RAISED:
			return false;
		}
	}
	return true;
}

/* The iterator stands inside a generator, where this is an error and not an end. */
static void raise_outcome(PyObject *exception)
{
	PyObject *wrapped;

	if (!PyErr_GivenExceptionMatches(exception, PyExc_StopIteration)) {
		PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
		return;
	}
	wrapped = PyObject_CallFunction(PyExc_RuntimeError, "s", "generator raised StopIteration");
	if (wrapped == NULL)
		return;
	PyException_SetCause(wrapped, Py_NewRef(exception));
	PyErr_SetObject(PyExc_RuntimeError, wrapped);
	Py_DECREF(wrapped);
}

static PyObject *job_next(struct map_job *self)
{
	PyObject *value;
	bool failed;

	if (self->given >= self->count || !wait_for_next(self))
		return NULL;
	if (self->given >= self->stopped_at) {
		self->given++;
		if (self->stopped_by != NULL)
			raise_outcome(self->stopped_by);
		else
			PyErr_SetNone(cancelled_error);
		return NULL;
	}
	guard_lock(self->guard);
	value = self->slots[self->given].value;
	failed = self->slots[self->given].state == SLOT_FAILED;
	self->slots[self->given].value = NULL;
	self->given++;
	guard_unlock(self->guard);
	if (!failed)
		return value;
	raise_outcome(value);
	Py_DECREF(value);
	return NULL;
}

static PyObject *job_cancel(struct map_job *self, PyObject *unused)
{
	(void)unused;
	map_job_stop(self, NULL);
	Py_RETURN_NONE;
}

static PyObject *job_set_exception(struct map_job *self, PyObject *exception)
{
	map_job_stop(self, exception);
	Py_RETURN_NONE;
}

/* ---- the type -------------------------------------------------------------------------------- */

static int job_init(struct map_job *self, PyObject *arguments, PyObject *keywords)
{
	PyObject *queue, *callable, *timeout;
	int spread, priority;

	(void)keywords;
	if (self->queue != NULL) {
		PyErr_SetString(PyExc_RuntimeError, "a map is made once");
		return -1;
	}
	if (!PyArg_ParseTuple(arguments, "O!OOpi", &work_queue_type, &queue, &callable, &timeout,
		    &spread, &priority) ||
		!py_deadline(timeout, &self->deadline_ns))
		return -1;
	self->context = queue_make_context((struct work_queue *)(void *)queue);
	if (self->context == NULL && PyErr_Occurred())
		return -1;
	self->queue = (struct work_queue *)(void *)Py_NewRef(queue);
	self->guard = &self->queue->guard;
	self->callable = Py_NewRef(callable);
	self->spread = spread != 0;
	self->stopped_at = SIZE_MAX;
	self->work.kind = WORK_MAP;
	self->work.priority = (enum work_priority)priority;
	return 0;
}

static int job_traverse(struct map_job *self, visitproc visit, void *arg)
{
	Py_VISIT(self->queue);
	Py_VISIT(self->callable);
	Py_VISIT(self->context);
	Py_VISIT(self->stopped_by);
	for (size_t i = 0; i < self->count; i++)
		Py_VISIT(self->slots[i].value);
	return 0;
}

static int job_clear(struct map_job *self)
{
	size_t count = self->count;
	struct slot *slots = self->slots;

	self->slots = NULL;
	self->count = self->capacity = 0;
	for (size_t i = 0; i < count; i++)
		Py_XDECREF(slots[i].value);
	PyMem_Free(slots);
	Py_CLEAR(self->queue);
	Py_CLEAR(self->callable);
	Py_CLEAR(self->context);
	Py_CLEAR(self->stopped_by);
	return 0;
}

static void job_dealloc(struct map_job *self)
{
	PyObject_GC_UnTrack(self);
	(void)job_clear(self);
	Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyMethodDef methods[] = {
	PY_METHOD("extend", job_extend, METH_FASTCALL,
		"extend($self, executor, arguments, /)\n--\n\nAdds a call for each argument."),
	PY_METHOD("cancel", job_cancel, METH_NOARGS,
		"cancel($self)\n--\n\nWhat has not begun will not."),
	PY_METHOD("set_exception", job_set_exception, METH_O,
		"set_exception($self, exception, /)\n--\n\nWhat has not begun will not, and has "
		"this exception."),
	{ NULL, NULL, 0, NULL },
};

PyTypeObject map_job_type = {
	PyVarObject_HEAD_INIT(NULL, 0).tp_name = "filar.pool.MapJob",
	.tp_doc = "The calls of one map().",
	.tp_basicsize = sizeof(struct map_job),
	.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
	.tp_new = PyType_GenericNew,
	.tp_init = (initproc)(void *)job_init,
	.tp_iter = PyObject_SelfIter,
	.tp_iternext = (iternextfunc)(void *)job_next,
	.tp_traverse = (traverseproc)(void *)job_traverse,
	.tp_clear = (inquiry)(void *)job_clear,
	.tp_dealloc = (destructor)(void *)job_dealloc,
	.tp_methods = methods,
};

bool map_job_set_up(void)
{
	cancelled_error = import_name("concurrent.futures", "CancelledError");
	return cancelled_error != NULL && PyType_Ready(&map_job_type) == 0;
}
