/*
 * workqueue.c - submitting, taking, sleeping; what is always true stands in workqueue.h.
 *
 * The order at the end of a call matters for a round trip: the worker completes the future, finds
 * the queue empty, goes on the list of sleepers, lets go of the GIL, and only then wakes whoever
 * waits for the result.  Woken earlier, that thread would run into the GIL and sleep once more.
 */
#include "py/workqueue.h"

#include <pthread.h>
#include <stddef.h>

#include "base/check.h"
#include "os/clock.h"
#include "py/arguments.h"
#include "py/border.h"
#include "py/mapjob.h"
#include "py/traced.h"

/* Pieces of work between two looks whether somebody wants the GIL. */
#define TAKEN_BETWEEN_LOOKS 32u
/* Between two that are taken from the lowest priority up. */
#define TAKEN_BETWEEN_TURNS 61u

static PyObject *others;         /* a Python function that does nothing */
static PyObject *broken_error;   /* concurrent.futures.thread.BrokenThreadPool */
static PyObject *rejected_error; /* filar.errors.RejectedError */
static PyObject *worker_key;     /* of the capsule in a worker's thread state */
static PyObject *spawn_name;
static bool exiting; /* G  only grows: the interpreter waits for its threads */

bool let_others_run(void)
{
	PyObject *nothing = PyObject_CallNoArgs(others);

	Py_XDECREF(nothing);
	return nothing != NULL;
}

/* ---- the queue, under the guard -------------------------------------------------------------- */

static void link_last(struct work_queue *queue, struct py_work *work)
{
	struct work_list *list = &queue->lists[work->priority];

	work->next = NULL;
	if (list->tail == NULL)
		list->head = work;
	else
		list->tail->next = work;
	list->tail = work;
}

static void unlink_first(struct work_list *list)
{
	struct py_work *work = list->head;

	list->head = work->next;
	if (list->head == NULL)
		list->tail = NULL;
	work->next = NULL;
}

/* The list to take from: high before normal before low; now and then the other way round, so that
 * nothing waits for ever.  NULL: all are empty. */
static struct work_list *next_list(struct work_queue *queue)
{
	static const uint8_t order[2][WORK_PRIORITIES] = { { WORK_HIGH, WORK_NORMAL, WORK_LOW },
		{ WORK_LOW, WORK_NORMAL, WORK_HIGH } };
	bool other_way = queue->turns % TAKEN_BETWEEN_TURNS == TAKEN_BETWEEN_TURNS - 1;

	for (int i = 0; i < WORK_PRIORITIES; i++) {
		struct work_list *list = &queue->lists[order[other_way][i]];

		if (list->head != NULL)
			return list;
	}
	return NULL;
}

static void count_added(struct work_queue *queue)
{
	queue->length++;
	queue->submitted++;
	if (queue->length > queue->longest)
		queue->longest = queue->length;
}

/* What one worker does next; a map's item has an index. */
struct taken {
	struct py_work *work; /* a reference */
	size_t index;
};

static bool take(struct work_queue *queue, struct taken *taken)
{
	struct work_list *list = next_list(queue);
	struct py_work *first;

	if (list == NULL)
		return false;
	first = list->head;
	queue->turns++;
	queue->length--;
	taken->work = first;
	if (first->kind == WORK_FUTURE) {
		unlink_first(list);
	} else if (map_job_take(map_job_of(first), &taken->index)) {
		Py_INCREF(map_job_of(first));
	} else {
		unlink_first(list);
		map_job_of(first)->queued = false;
	}
	return true;
}

/* NULL: nobody is to be woken now.  Else the caller calls waiter_wake() on it. */
static struct pool_worker *pick_sleeper(struct work_queue *queue)
{
	struct pool_worker *worker = queue->sleeping;

	if (worker == NULL || queue->waking > 0 || queue->length == 0)
		return NULL;
	queue->sleeping = worker->next_sleeping;
	queue->sleeping_count--;
	queue->waking++;
	queue->wakes++;
	return worker;
}

static struct sleeper *pick_submitter(struct work_queue *queue)
{
	struct sleeper *first = queue->submitters;

	if (first == NULL || queue->length >= queue->limit)
		return NULL;
	queue->submitters = first->next;
	first->next = NULL;
	return first;
}

/* Everybody looks again: the pool is closed, or smaller. */
static void wake_all(struct work_queue *queue)
{
	struct pool_worker *worker;
	struct sleeper *submitters;

	/* In the child of a fork nobody sleeps: what is on the lists is on stacks that may be used
	 * for something else by now. */
	if (queue->generation != process_generation)
		return;
	guard_lock(&queue->guard);
	worker = queue->sleeping;
	queue->sleeping = NULL;
	queue->waking += queue->sleeping_count;
	queue->sleeping_count = 0;
	submitters = queue->submitters;
	queue->submitters = NULL;
	guard_unlock(&queue->guard);
	while (worker != NULL) {
		struct pool_worker *next = worker->next_sleeping;

		waiter_wake(&worker->waiter);
		worker = next;
	}
	sleepers_wake(submitters);
}

static void close_queue(struct work_queue *queue)
{
	guard_lock(&queue->guard);
	if (queue->refusal == QUEUE_OPEN)
		queue->refusal = QUEUE_SHUT_DOWN;
	guard_unlock(&queue->guard);
	wake_all(queue);
}

static bool is_open(const struct work_queue *queue)
{
	return queue->refusal == QUEUE_OPEN && !exiting && queue->generation == process_generation;
}

bool queue_accepts(struct work_queue *queue)
{
	if (FILAR_LIKELY(is_open(queue)))
		return true;
	if (queue->refusal == QUEUE_BROKEN)
		PyErr_SetObject(broken_error, queue->broken);
	else if (queue->refusal == QUEUE_SHUT_DOWN)
		PyErr_SetString(PyExc_RuntimeError, "cannot schedule new futures after shutdown");
	else if (check_process(queue->generation, "pool"))
		PyErr_SetString(PyExc_RuntimeError,
			"cannot schedule new futures after interpreter shutdown");
	return false;
}

void queue_push(struct work_queue *queue, struct py_work *work)
{
	guard_lock(&queue->guard);
	if (work->kind == WORK_FUTURE || !map_job_of(work)->queued) {
		link_last(queue, work);
		if (work->kind == WORK_MAP) {
			map_job_of(work)->queued = true;
			Py_INCREF(map_job_of(work));
		} else {
			Py_INCREF(future_of(work));
		}
	}
	count_added(queue);
	guard_unlock(&queue->guard);
	TRACE(TRACE_TASK_SUBMIT, TRACE_ADDRESS(work), 0, 0);
}

bool queue_remove(struct work_queue *queue, struct py_work *work)
{
	struct work_list *list = &queue->lists[work->priority];
	struct py_work *before = NULL, *at;

	guard_lock(&queue->guard);
	for (at = list->head; at != NULL && at != work; at = at->next)
		before = at;
	if (at != NULL) {
		if (before == NULL)
			list->head = work->next;
		else
			before->next = work->next;
		if (list->tail == work)
			list->tail = before;
		work->next = NULL;
		if (work->kind == WORK_FUTURE) {
			queue->length--;
		} else {
			queue->length -= map_job_of(work)->count - map_job_of(work)->taken;
			map_job_of(work)->queued = false;
		}
	}
	guard_unlock(&queue->guard);
	return at != NULL;
}

/* ---- threads --------------------------------------------------------------------------------- */

static void forget_thread(struct work_queue *queue, bool had_started)
{
	guard_lock(&queue->guard);
	queue->threads--;
	if (!had_started)
		queue->starting--;
	guard_unlock(&queue->guard);
}

/* A thread was counted; now it must come.  False: exception, and nobody is there. */
static bool hire(struct work_queue *queue, PyObject *executor)
{
	PyObject *done = PyObject_CallMethodNoArgs(executor, spawn_name);

	if (done != NULL) {
		Py_DECREF(done);
		return true;
	}
	forget_thread(queue, false);
	if (queue->threads == 0 || !PyErr_ExceptionMatches(PyExc_Exception))
		return false;
	/* The system refuses another thread: the ones that are there do the work. */
	PyErr_Clear();
	return true;
}

bool queue_attend(struct work_queue *queue, PyObject *executor)
{
	struct pool_worker *sleeper;
	bool hiring;

	guard_lock(&queue->guard);
	hiring = queue->length > queue->sleeping_count + queue->waking + queue->starting &&
		 queue->threads < queue->threads_wanted;
	if (hiring) {
		queue->threads++;
		queue->starting++;
	}
	sleeper = pick_sleeper(queue);
	guard_unlock(&queue->guard);
	if (sleeper != NULL)
		waiter_wake(&sleeper->waiter);
	return !hiring || hire(queue, executor);
}

/* ---- workers --------------------------------------------------------------------------------- */

static void sleep_until_woken(struct work_queue *queue, struct pool_worker *self)
{
	PyThreadState *state = PyEval_SaveThread();

	sleepers_wake(self->woken);
	(void)waiter_wait_until(&self->waiter, DEADLINE_NEVER, WAIT_EVENT, WAIT_SHIELDED);
	PyEval_RestoreThread(state);
	self->woken = NULL;
	guard_lock(&queue->guard);
	queue->waking--;
	guard_unlock(&queue->guard);
}

/* Waits for the next piece of work; false: the worker is to end. */
static bool next_work(struct work_queue *queue, struct pool_worker *self, struct taken *taken)
{
	for (;;) {
		struct pool_worker *sleeper = NULL;
		struct sleeper *submitter = NULL;
		bool found = false, over;

		/* The call has forked, and this is the child: the queue is the parent's. */
		if (queue->generation != process_generation)
			return false;
		guard_lock(&queue->guard);
		over = queue->threads > queue->threads_wanted;
		if (!over) {
			found = take(queue, taken);
			over = !found && (queue->refusal != QUEUE_OPEN || exiting);
		}
		if (over) {
			queue->threads--;
			list_remove(&self->link);
		}
		if (found) {
			self->current = taken->work;
			submitter = pick_submitter(queue);
		}
		if (found || over) {
			sleeper = pick_sleeper(queue);
		} else {
			waiter_init(&self->waiter);
			self->next_sleeping = queue->sleeping;
			queue->sleeping = self;
			queue->sleeping_count++;
		}
		guard_unlock(&queue->guard);
		if (sleeper != NULL)
			waiter_wake(&sleeper->waiter);
		sleepers_wake(submitter);
		if (found || over)
			return found;
		sleep_until_woken(queue, self);
	}
}

static FILAR_NOINLINE void trace_run(const struct taken *taken, uint64_t item)
{
	PyObject *callable =
		item == 0 ? future_of(taken->work)->callable : map_job_of(taken->work)->callable;

	if (callable != NULL)
		traced_name(TRACE_TASK_NAME, TRACE_ADDRESS(taken->work), NULL, callable);
	tracepoint_emit_slow(TRACE_TASK_RUN, TRACE_ADDRESS(taken->work), item, 0);
}

static void run(struct work_queue *queue, struct pool_worker *self, struct taken *taken)
{
	uint64_t traced = TRACE_ADDRESS(taken->work);
	uint64_t item = taken->work->kind == WORK_FUTURE ? 0 : taken->index + 1;
	PyObject *object;

	/* Who waits for the last result is told before the next call, which may take long. */
	sleepers_wake(self->woken);
	self->woken = NULL;
	if (tracepoint_is_on())
		trace_run(taken, item);
	if (taken->work->kind == WORK_FUTURE) {
		struct future *future = future_of(taken->work);

		object = (PyObject *)future;
		if (future_begin(future))
			future_run(future, &self->woken);
	} else {
		object = (PyObject *)map_job_of(taken->work);
		map_job_run(map_job_of(taken->work), taken->index, &self->woken);
	}
	TRACE(TRACE_TASK_END, traced, item, 0);
	guard_lock(&queue->guard);
	self->current = NULL;
	queue->completed++;
	guard_unlock(&queue->guard);
	Py_DECREF(object);
	if (++self->taken % TAKEN_BETWEEN_LOOKS == 0 && !let_others_run())
		PyErr_WriteUnraisable((PyObject *)queue);
}

/* So that is_cancelled() finds the worker of the thread that asks. */
static bool announce(struct pool_worker *self)
{
	PyObject *of_thread = PyThreadState_GetDict(), *capsule;
	int status;

	if (of_thread == NULL)
		return true;
	capsule = PyCapsule_New(self, NULL, NULL);
	if (capsule == NULL)
		return false;
	status = PyDict_SetItem(of_thread, worker_key, capsule);
	Py_DECREF(capsule);
	return status == 0;
}

static struct pool_worker *announced(void)
{
	PyObject *of_thread = PyThreadState_GetDict();
	PyObject *capsule =
		of_thread == NULL ? NULL : PyDict_GetItemWithError(of_thread, worker_key);

	return capsule == NULL ? NULL : PyCapsule_GetPointer(capsule, NULL);
}

static PyObject *queue_work(struct work_queue *self, PyObject *unused)
{
	struct pool_worker worker = { .ident = PyThread_get_thread_ident() };
	struct taken taken;

	(void)unused;
	if (!announce(&worker)) {
		forget_thread(self, false);
		return NULL;
	}
	guard_lock(&self->guard);
	self->starting--;
	list_push_back(&self->workers, &worker.link);
	guard_unlock(&self->guard);
	while (next_work(self, &worker, &taken))
		run(self, &worker, &taken);
	sleepers_wake(worker.woken);
	if (PyThreadState_GetDict() != NULL &&
		PyDict_DelItem(PyThreadState_GetDict(), worker_key) != 0)
		return NULL;
	Py_RETURN_NONE;
}

static PyObject *is_cancelled(PyObject *unused, PyObject *none)
{
	struct pool_worker *worker = announced();
	struct py_work *current = worker == NULL ? NULL : worker->current;

	(void)unused;
	(void)none;
	if (worker == NULL && PyErr_Occurred())
		return NULL;
	if (current == NULL)
		Py_RETURN_FALSE;
	return PyBool_FromLong(current->kind == WORK_FUTURE ? future_of(current)->cancel_asked
							    : map_job_of(current)->cancel_asked);
}

/* ---- submitting ------------------------------------------------------------------------------ */

PyObject *queue_make_context(struct work_queue *queue)
{
	switch (queue->context) {
	case CONTEXT_COPY:
		return PyContext_CopyCurrent();
	case CONTEXT_EMPTY:
		return PyContext_New();
	default:
		return NULL;
	}
}

/* The call as a PENDING future. */
static struct future *make_future(
	struct work_queue *queue, PyObject *const *arguments, Py_ssize_t count, PyObject *keywords)
{
	Py_ssize_t all = count - 1 + (keywords == NULL ? 0 : PyTuple_GET_SIZE(keywords));
	struct future *future = future_new(queue->future_type);

	if (future == NULL)
		return NULL;
	future->callable = Py_NewRef(arguments[0]);
	future->keywords = Py_XNewRef(keywords);
	future->arguments = PyTuple_New(all);
	if (future->arguments == NULL)
		goto fail;
	for (Py_ssize_t i = 0; i < all; i++)
		PyTuple_SET_ITEM(future->arguments, i, Py_NewRef(arguments[i + 1]));
	if (FILAR_UNLIKELY(queue->context != CONTEXT_WORKERS)) {
		future->context = queue_make_context(queue);
		if (future->context == NULL)
			goto fail;
	}
	return future;
fail:
	Py_DECREF(future);
	return NULL;
}

static bool is_own_worker(struct work_queue *queue)
{
	struct pool_worker *caller = announced();
	struct list *link;
	bool found = false;

	guard_lock(&queue->guard);
	LIST_FOR_EACH(link, &queue->workers)
	found |= FILAR_CONTAINER_OF(link, struct pool_worker, link) == caller;
	guard_unlock(&queue->guard);
	return found;
}

/* Until there is room or the pool is closed.  False: exception. */
static bool wait_for_room(struct work_queue *queue)
{
	while (queue->length >= queue->limit) {
		struct sleeper sleeper, *next;
		bool was_woken = true;
		enum sleep_end end;

		waiter_init(&sleeper.waiter);
		guard_lock(&queue->guard);
		sleeper_push(&queue->submitters, &sleeper);
		guard_unlock(&queue->guard);
		end = sleeper_wait(
			&sleeper, &queue->submitters, &queue->guard, DEADLINE_NEVER, &was_woken);
		if (end == SLEEP_RAISED) {
			/* The room that we were told of is somebody else's. */
			guard_lock(&queue->guard);
			next = was_woken ? pick_submitter(queue) : NULL;
			guard_unlock(&queue->guard);
			sleepers_wake(next);
			return false;
		}
		if (!queue_accepts(queue))
			return false;
	}
	return true;
}

enum admission { ADMITTED, RUN_HERE, REFUSED };

/* For a queue that is full. */
static enum admission ask_admission(struct work_queue *queue)
{
	switch (queue->when_full) {
	case FULL_RUN:
		return RUN_HERE;
	case FULL_REJECT:
		queue->rejected++;
		PyErr_Format(rejected_error, "the queue is full: %zu calls wait", queue->length);
		return REFUSED;
	default:
		/* A worker would wait for room that only workers make. */
		return is_own_worker(queue) || wait_for_room(queue) ? ADMITTED : REFUSED;
	}
}

static PyObject *run_here(struct work_queue *queue, struct future *future)
{
	struct sleeper *woken = NULL;

	queue->submitted++;
	queue->run_by_submitter++;
	if (future_begin(future))
		future_run(future, &woken);
	sleepers_wake(woken);
	queue->completed++;
	return (PyObject *)future;
}

static PyObject *executor_submit(
	struct executor *self, PyObject *const *arguments, Py_ssize_t count, PyObject *keywords)
{
	struct work_queue *queue = self->queue;
	enum admission admission = ADMITTED;
	struct future *future;

	if (count < 1) {
		PyErr_SetString(
			PyExc_TypeError, "submit() missing 1 required positional argument: 'fn'");
		return NULL;
	}
	if (queue == NULL) {
		PyErr_SetString(PyExc_RuntimeError, "ThreadPoolExecutor.__init__() was not called");
		return NULL;
	}
	if (!queue_accepts(queue))
		return NULL;
	if (FILAR_UNLIKELY(queue->limit != 0 && queue->length >= queue->limit))
		admission = ask_admission(queue);
	if (admission == REFUSED)
		return NULL;
	future = make_future(queue, arguments, count, keywords);
	if (future == NULL)
		return NULL;
	if (admission == RUN_HERE)
		return run_here(queue, future);
	future->work.priority = self->priority;
	queue_push(queue, &future->work);
	if (FILAR_LIKELY(queue_attend(queue, (PyObject *)self)))
		return (PyObject *)future;
	if (queue_remove(queue, &future->work))
		Py_DECREF(future);
	Py_DECREF(future);
	return NULL;
}

/* Instead of a queue of its own: that of another executor, and a priority (enum work_priority). */
static PyObject *executor_share(struct executor *self, PyObject *const *arguments, Py_ssize_t count)
{
	long priority = count == 2 ? PyLong_AsLong(arguments[1]) : -1;

	if (priority == -1 && PyErr_Occurred())
		return NULL;
	if (count != 2 || !PyObject_TypeCheck(arguments[0], &executor_core_type) ||
		((struct executor *)(void *)arguments[0])->queue == NULL || self->queue != NULL ||
		priority < 0 || priority >= WORK_PRIORITIES) {
		PyErr_SetString(PyExc_TypeError, "_share() takes an executor and a priority, once");
		return NULL;
	}
	self->queue = (struct work_queue *)(void *)Py_NewRef(
		(PyObject *)((struct executor *)(void *)arguments[0])->queue);
	self->priority = (enum work_priority)priority;
	self->is_view = true;
	Py_RETURN_NONE;
}

static PyObject *executor_attend(struct executor *self, PyObject *unused)
{
	(void)unused;
	if (self->queue == NULL || !queue_attend(self->queue, (PyObject *)self))
		return NULL;
	Py_RETURN_NONE;
}

/* ---- WorkQueue's methods --------------------------------------------------------------------- */

static PyObject *queue_close(struct work_queue *self, PyObject *unused)
{
	(void)unused;
	close_queue(self);
	Py_RETURN_NONE;
}

static PyObject *queue_wake(struct work_queue *self, PyObject *unused)
{
	(void)unused;
	wake_all(self);
	Py_RETURN_NONE;
}

static PyObject *queue_break(struct work_queue *self, PyObject *sentence)
{
	PyObject *before;

	guard_lock(&self->guard);
	before = self->broken;
	self->broken = Py_NewRef(sentence);
	self->refusal = QUEUE_BROKEN;
	guard_unlock(&self->guard);
	Py_XDECREF(before);
	wake_all(self);
	Py_RETURN_NONE;
}

/* A thread whose initializer has failed never comes to work(). */
static PyObject *queue_leave(struct work_queue *self, PyObject *unused)
{
	(void)unused;
	forget_thread(self, false);
	Py_RETURN_NONE;
}

static PyObject *queue_drain(struct work_queue *self, PyObject *unused)
{
	PyObject *list = PyList_New(0);
	int status = 0;

	(void)unused;
	while (list != NULL && status == 0) {
		struct work_list *next;
		struct py_work *first;
		PyObject *object;

		guard_lock(&self->guard);
		next = next_list(self);
		first = next != NULL ? next->head : NULL;
		guard_unlock(&self->guard);
		if (first == NULL)
			return list;
		object = first->kind == WORK_FUTURE ? (PyObject *)future_of(first)
						    : (PyObject *)map_job_of(first);
		status = PyList_Append(list, object);
		if (queue_remove(self, first))
			Py_DECREF(object);
	}
	Py_XDECREF(list);
	return NULL;
}

/* The calls that run are told; they hear of it if they ask. */
static PyObject *queue_cancel_running(struct work_queue *self, PyObject *unused)
{
	struct list *link;

	(void)unused;
	if (self->generation != process_generation)
		Py_RETURN_NONE;
	guard_lock(&self->guard);
	LIST_FOR_EACH(link, &self->workers)
	{
		struct py_work *current =
			FILAR_CONTAINER_OF(link, struct pool_worker, link)->current;

		if (current != NULL && current->kind == WORK_FUTURE)
			future_of(current)->cancel_asked = true;
		else if (current != NULL)
			map_job_of(current)->cancel_asked = true;
	}
	guard_unlock(&self->guard);
	Py_RETURN_NONE;
}

static PyObject *queue_resize(struct work_queue *self, PyObject *threads)
{
	size_t wanted = PyLong_AsSize_t(threads);

	if (wanted == (size_t)-1 && PyErr_Occurred())
		return NULL;
	guard_lock(&self->guard);
	self->threads_wanted = wanted;
	guard_unlock(&self->guard);
	wake_all(self);
	Py_RETURN_NONE;
}

static PyObject *queue_is_open(struct work_queue *self, PyObject *unused)
{
	(void)unused;
	return PyBool_FromLong(is_open(self));
}

static PyObject *queue_size(struct work_queue *self, PyObject *unused)
{
	(void)unused;
	return PyLong_FromSize_t(self->length);
}

static PyObject *queue_statistics(struct work_queue *self, PyObject *unused)
{
	(void)unused;
	return Py_BuildValue("{snsnsnsnsKsKsKsKsKsn}", "threads", (Py_ssize_t)self->threads, "idle",
		(Py_ssize_t)(self->sleeping_count + self->waking), "queued",
		(Py_ssize_t)self->length, "longest_queue", (Py_ssize_t)self->longest, "submitted",
		self->submitted, "completed", self->completed, "rejected", self->rejected,
		"run_by_submitter", self->run_by_submitter, "wakes", self->wakes, "max_workers",
		(Py_ssize_t)self->threads_wanted);
}

/* The idents of the threads that are inside a call. */
static PyObject *queue_busy(struct work_queue *self, PyObject *unused)
{
	size_t room = self->threads, found = 0;
	unsigned long *idents = PyMem_Calloc(room + 1, sizeof(*idents));
	PyObject *list = PyList_New(0);
	struct list *link;

	(void)unused;
	if (idents == NULL || list == NULL)
		goto fail;
	/* In the child of a fork the workers' stacks are not theirs any more. */
	if (self->generation != process_generation)
		room = 0;
	guard_lock(&self->guard);
	for (link = self->workers.next; room > 0 && link != &self->workers; link = link->next) {
		struct pool_worker *worker = FILAR_CONTAINER_OF(link, struct pool_worker, link);

		if (worker->current != NULL && found < room)
			idents[found++] = worker->ident;
	}
	guard_unlock(&self->guard);
	for (size_t i = 0; i < found; i++) {
		PyObject *ident = PyLong_FromUnsignedLong(idents[i]);

		if (ident == NULL || PyList_Append(list, ident) != 0) {
			Py_XDECREF(ident);
			goto fail;
		}
		Py_DECREF(ident);
	}
	PyMem_Free(idents);
	return list;
fail:
	PyMem_Free(idents);
	Py_XDECREF(list);
	return idents == NULL ? PyErr_NoMemory() : NULL;
}

/* ---- types ----------------------------------------------------------------------------------- */

static int queue_init(struct work_queue *self, PyObject *arguments, PyObject *keywords)
{
	Py_ssize_t threads, limit;
	int when_full, context;
	PyTypeObject *future_type;

	(void)keywords;
	if (self->future_type != NULL) {
		PyErr_SetString(PyExc_RuntimeError, "a queue is made once");
		return -1;
	}
	if (!PyArg_ParseTuple(arguments, "O!nnii", &PyType_Type, &future_type, &threads, &limit,
		    &when_full, &context))
		return -1;
	if (!PyType_IsSubtype(future_type, &future_core_type)) {
		PyErr_SetString(PyExc_TypeError, "the futures of a queue are FutureCores");
		return -1;
	}
	self->future_type = (PyTypeObject *)Py_NewRef((PyObject *)future_type);
	self->threads_wanted = (size_t)threads;
	self->limit = (size_t)limit;
	self->when_full = (enum when_full)when_full;
	self->context = (enum context_policy)context;
	return 0;
}

static PyObject *queue_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
	struct work_queue *self = (struct work_queue *)(void *)type->tp_alloc(type, 0);

	(void)arguments;
	(void)keywords;
	if (self != NULL) {
		list_init(&self->workers);
		self->generation = process_generation;
	}
	return (PyObject *)self;
}

static PyObject *object_of(struct py_work *work)
{
	return work->kind == WORK_FUTURE ? (PyObject *)future_of(work)
					 : (PyObject *)map_job_of(work);
}

static int queue_traverse(struct work_queue *self, visitproc visit, void *arg)
{
	Py_VISIT(self->future_type);
	Py_VISIT(self->broken);
	for (int i = 0; i < WORK_PRIORITIES; i++) {
		for (struct py_work *work = self->lists[i].head; work != NULL; work = work->next)
			Py_VISIT(object_of(work));
	}
	return 0;
}

static int queue_clear(struct work_queue *self)
{
	struct work_list *list;

	while ((list = next_list(self)) != NULL) {
		struct py_work *work = list->head;

		unlink_first(list);
		self->length = 0;
		if (work->kind == WORK_MAP)
			map_job_of(work)->queued = false;
		Py_DECREF(object_of(work));
	}
	Py_CLEAR(self->broken);
	return 0;
}

static void queue_dealloc(struct work_queue *self)
{
	PyObject_GC_UnTrack(self);
	(void)queue_clear(self);
	Py_CLEAR(self->future_type);
	Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyObject *get_queue(struct executor *self, void *unused)
{
	(void)unused;
	return Py_NewRef(self->queue == NULL ? Py_None : (PyObject *)self->queue);
}

static int set_queue(struct executor *self, PyObject *queue, void *unused)
{
	(void)unused;
	if (queue == NULL || !PyObject_TypeCheck(queue, &work_queue_type) || self->queue != NULL) {
		PyErr_SetString(PyExc_TypeError, "an executor gets one WorkQueue, once");
		return -1;
	}
	self->queue = (struct work_queue *)(void *)Py_NewRef(queue);
	return 0;
}

static int executor_traverse(struct executor *self, visitproc visit, void *arg)
{
	Py_VISIT(self->queue);
	return 0;
}

/* The workers hold the queue, not the executor: when nobody can submit any more, they end. */
static int executor_clear(struct executor *self)
{
	if (self->queue != NULL && !self->is_view)
		close_queue(self->queue);
	Py_CLEAR(self->queue);
	return 0;
}

static void executor_dealloc(struct executor *self)
{
	PyObject_GC_UnTrack(self);
	(void)executor_clear(self);
	Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyMethodDef queue_methods[] = {
	PY_METHOD("work", queue_work, METH_NOARGS,
		"work($self)\n--\n\nWhat a worker does until it is to end.  Blocks."),
	PY_METHOD("leave", queue_leave, METH_NOARGS,
		"leave($self)\n--\n\nInstead of work(), by a thread that cannot."),
	PY_METHOD("close", queue_close, METH_NOARGS,
		"close($self)\n--\n\nNo new work; what is queued still runs."),
	PY_METHOD("wake", queue_wake, METH_NOARGS, "wake($self)\n--\n\nAll workers look again."),
	PY_METHOD("break_", queue_break, METH_O,
		"break_($self, sentence, /)\n--\n\nNo new work, because of that."),
	PY_METHOD("drain", queue_drain, METH_NOARGS,
		"drain($self)\n--\n\nTakes out everything and returns it as a list."),
	PY_METHOD("cancel_running", queue_cancel_running, METH_NOARGS,
		"cancel_running($self)\n--\n\nTells the calls that run."),
	PY_METHOD("resize", queue_resize, METH_O,
		"resize($self, threads, /)\n--\n\nHow many threads there may be."),
	PY_METHOD("is_open", queue_is_open, METH_NOARGS,
		"is_open($self)\n--\n\nWhether it takes work."),
	PY_METHOD("qsize", queue_size, METH_NOARGS, "qsize($self)\n--\n\nHow many calls wait."),
	PY_METHOD("statistics", queue_statistics, METH_NOARGS,
		"statistics($self)\n--\n\nA dict of counters."),
	PY_METHOD("busy", queue_busy, METH_NOARGS,
		"busy($self)\n--\n\nThe idents of the threads that are inside a call."),
	{ NULL, NULL, 0, NULL },
};

PyTypeObject work_queue_type = {
	PyVarObject_HEAD_INIT(NULL, 0).tp_name = "filar.pool.WorkQueue",
	.tp_doc = "What the workers of a pool hold.",
	.tp_basicsize = sizeof(struct work_queue),
	.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
	.tp_new = queue_new,
	.tp_init = (initproc)(void *)queue_init,
	.tp_traverse = (traverseproc)(void *)queue_traverse,
	.tp_clear = (inquiry)(void *)queue_clear,
	.tp_dealloc = (destructor)(void *)queue_dealloc,
	.tp_methods = queue_methods,
};

static PyMethodDef executor_methods[] = {
	PY_METHOD("submit", executor_submit, METH_FASTCALL | METH_KEYWORDS,
		"submit($self, fn, /, *args, **kwargs)\n--\n\n"
		"Schedules fn(*args, **kwargs) and returns the Future that stands for it.\n\n"
		"Blocks only where the queue is bounded, full, and `when_full` is \"block\"."),
	PY_METHOD("_share", executor_share, METH_FASTCALL,
		"_share($self, executor, priority, /)\n--\n\nSubmits to the queue of that one."),
	PY_METHOD("_attend", executor_attend, METH_NOARGS,
		"_attend($self)\n--\n\nWakes or starts a worker if there is work for it."),
	{ NULL, NULL, 0, NULL },
};

static PyGetSetDef executor_fields[] = {
	{ "_work_queue", (getter)(void *)get_queue, (setter)(void *)set_queue, NULL, NULL },
	{ NULL, NULL, NULL, NULL, NULL },
};

static PyObject *executor_new(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
	(void)arguments;
	(void)keywords;
	return type->tp_alloc(type, 0);
}

PyTypeObject executor_core_type = {
	PyVarObject_HEAD_INIT(NULL, 0).tp_name = "filar.pool.ExecutorCore",
	.tp_doc = "The C half of filar.ThreadPoolExecutor.",
	.tp_basicsize = sizeof(struct executor),
	.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
	.tp_new = executor_new,
	.tp_traverse = (traverseproc)(void *)executor_traverse,
	.tp_clear = (inquiry)(void *)executor_clear,
	.tp_dealloc = (destructor)(void *)executor_dealloc,
	.tp_methods = executor_methods,
	.tp_getset = executor_fields,
};

/* ---- the process ----------------------------------------------------------------------------- */

static PyObject *at_exit(PyObject *unused, PyObject *none)
{
	(void)unused;
	(void)none;
	exiting = true;
	Py_RETURN_NONE;
}

static PyObject *after_fork_in_child(PyObject *unused, PyObject *none)
{
	(void)unused;
	(void)none;
	process_generation++;
	Py_RETURN_NONE;
}

/* `ps`, `top` and debuggers show it.  Without letting go of the GIL, so that a new worker takes its
 * first piece of work before its creator goes on. */
static PyObject *name_thread(PyObject *unused, PyObject *name)
{
	const char *text = PyBytes_AsString(name);

	(void)unused;
	if (text == NULL)
		return NULL;
	/* It is for people: a name that is too long is none. */
	(void)pthread_setname_np(pthread_self(), text);
	Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
	PY_METHOD("is_cancelled", is_cancelled, METH_NOARGS,
		"is_cancelled()\n--\n\n"
		"Inside a call that a pool runs: whether somebody wants it to end.  Else False."),
	PY_METHOD("name_thread", name_thread, METH_O,
		"name_thread(name, /)\n--\n\nGives the calling thread a name of up to 15 bytes."),
	PY_METHOD("at_exit", at_exit, METH_NOARGS,
		"at_exit()\n--\n\nFrom now on no pool takes work."),
	PY_METHOD("after_fork_in_child", after_fork_in_child, METH_NOARGS,
		"after_fork_in_child()\n--\n\nFrom now on the pools that exist are the parent's."),
	{ NULL, NULL, 0, NULL },
};

static bool put(PyObject *dict, const char *name, PyObject *object)
{
	int status = object == NULL ? -1 : PyDict_SetItemString(dict, name, object);

	Py_XDECREF(object);
	return status == 0;
}

static bool set_up(PyObject *settled, PyObject *condition, PyObject *let_others)
{
	others = Py_NewRef(let_others);
	broken_error = import_name("concurrent.futures.thread", "BrokenThreadPool");
	rejected_error = import_name("filar.errors", "RejectedError");
	worker_key = PyUnicode_InternFromString("filar.pool.worker");
	spawn_name = PyUnicode_InternFromString("_spawn");
	return broken_error != NULL && rejected_error != NULL && worker_key != NULL &&
	       spawn_name != NULL && future_set_up(settled, condition) && map_job_set_up() &&
	       PyType_Ready(&work_queue_type) == 0 && PyType_Ready(&executor_core_type) == 0;
}

void *filar_py_pool_types(void *settled, void *condition, void *let_others)
{
	PyObject *types = PyDict_New();

	if (types == NULL || !set_up(settled, condition, let_others))
		goto fail;
	for (PyMethodDef *function = functions; function->ml_name != NULL; function++) {
		if (!put(types, function->ml_name, PyCFunction_New(function, NULL)))
			goto fail;
	}
	if (put(types, "FutureCore", Py_NewRef((PyObject *)&future_core_type)) &&
		put(types, "WorkQueue", Py_NewRef((PyObject *)&work_queue_type)) &&
		put(types, "ExecutorCore", Py_NewRef((PyObject *)&executor_core_type)) &&
		put(types, "MapJob", Py_NewRef((PyObject *)&map_job_type)))
		return types;
fail:
	Py_XDECREF(types);
	return NULL;
}
