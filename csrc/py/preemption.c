/*
 * preemption.c - who is asked, when it gives up its worker, and what the interpreter reports.
 *
 * That there is no C function between a body and the frame that runs now is seen from how much of
 * the C stack is in use: calls from Python to Python need none.  How much it is without any is
 * measured once on bodies made for that (preemption_sample()), for each kind of body and event; a
 * second entry of the interpreter's loop takes hundreds of bytes more.
 *
 * All but the watcher's call and the preempter's sleep happens under the GIL.
 */
#include "py/preemption.h"

#include "base/check.h"
#include "base/memory.h"
#include "green/switch.h"
#include "kthread/kthread.h"
#include "os/clock.h"
#include "os/futex.h"
#include "py/held.h"
#include "py/internal.h"

/* Of the functions that are asked to report, from the top of the stack down.  What computes is as a
 * rule the first: it was stopped at a jump of its own, or at its beginning. */
#define FRAMES_MAX 8
/* So long before the time the watcher tells the preempter, who must wait for the GIL: as long as
 * the interpreter lets one thread have it (the default of sys.setswitchinterval()). */
#define LEAD_NS      (5 * NS_PER_MS)
#define WATCH_NS_MIN NS_PER_MS
/* What compilers may add to one way through a C function and not to another. */
#define DEPTH_SLACK 64u

enum report { REPORT_CALL, REPORT_JUMP, REPORT_COUNT };

enum preempter_word {
	PREEMPTER_STARTING,
	PREEMPTER_NO_MEMORY,
	PREEMPTER_IDLE,
	PREEMPTER_ASKED, /* the watcher has marked somebody as overdue */
	PREEMPTER_STOP
};

struct preempter {
	int64_t period_ns;                 /* I  how long a turn may last, and a request stands */
	int64_t stands_until_ns;           /* L  of the GIL: what was asked last */
	struct kthread *kthread;           /* I */
	_Atomic uint32_t word;             /* A  enum preempter_word, futex */
	_Atomic(struct carrier *) overdue; /* A  a list that the watcher makes longer */
};

/* ---- the interpreter's side ---- */

/* Under the GIL; as long as any runtime preempts. */
static uint32_t users;
static unsigned long long refusals; /* how often somebody who was asked went on */
static PyObject *monitoring, *tool, *set_local_events, *events_on, *events_off;
static PyObject *armed; /* list of code objects that report now */

static PyObject *sample; /* the code that is being measured; borrowed */
static size_t depths[PREEMPTIBLE_COUNT][REPORT_COUNT];

enum preemptible preemption_kind(PyObject *callable)
{
	if (FILAR_LIKELY(users == 0))
		return PREEMPTIBLE_NOT;
	if (PyFunction_Check(callable))
		return PREEMPTIBLE_FUNCTION;
	return PyMethod_Check(callable) && PyFunction_Check(PyMethod_GET_FUNCTION(callable))
		       ? PREEMPTIBLE_METHOD
		       : PREEMPTIBLE_NOT;
}

static int set_events(PyObject *code, PyObject *events)
{
	PyObject *arguments[] = { tool, code, events };
	PyObject *result = PyObject_Vectorcall(set_local_events, arguments, 3, NULL);

	Py_XDECREF(result);
	return result != NULL ? 0 : -1;
}

static void disarm(void)
{
	Py_ssize_t count = armed != NULL ? PyList_GET_SIZE(armed) : 0;

	for (Py_ssize_t i = 0; i < count; i++) {
		if (set_events(PyList_GET_ITEM(armed, i), events_off) < 0)
			PyErr_WriteUnraisable(armed);
	}
	if (count > 0 && PyList_SetSlice(armed, 0, count, NULL) < 0)
		PyErr_WriteUnraisable(armed);
}

static void arm_code(PyObject *code)
{
	if (PyList_Append(armed, code) < 0 || set_events(code, events_on) < 0)
		PyErr_Clear(); /* the next request finds more memory */
}

static void arm_stack(PyThreadState *state)
{
	PyFrameObject *frame = PyThreadState_GetFrame(state), *back;

	for (int i = 0; i < FRAMES_MAX && frame != NULL; i++, frame = back) {
		PyCodeObject *code = PyFrame_GetCode(frame);

		arm_code((PyObject *)code);
		Py_DECREF(code);
		back = PyFrame_GetBack(frame);
		Py_DECREF(frame);
	}
	Py_XDECREF(frame);
}

/* ---- the green thread's side ---- */

static bool may_give_up(struct shell *shell, enum report event, size_t depth)
{
	const struct pygreen *self = (struct pygreen *)shell->owner;

	return self->preemptible != PREEMPTIBLE_NOT &&
	       depth <= depths[self->preemptible][event] + DEPTH_SLACK &&
	       shell->importing == NULL && !held_by(shell);
}

static void give_up(struct shell *shell, struct green *green)
{
	struct worker *worker = worker_here();

	shell->carrier->asked = NULL;
	disarm();
	COUNTER_ADD(worker, preemptions, 1);
	TRACE(TRACE_GREEN_PREEMPT, trace_green(worker->scheduler, green), 0, worker->place);
	/* Those whose time has come are looked for every so many turns, and turns are long here. */
	worker_look_soon(worker);
	shell->attached = true;
	green_yield();
	shell->attached = false;
}

static PyObject *on_event(enum report event, const char *stack, PyObject *code)
{
	struct green *green = green_self();
	struct shell *shell = green != NULL && green->work.home != NULL ? green->attended : NULL;
	size_t depth = (size_t)((char *)green - stack);

	/* Other threads run the same code. */
	if (shell == NULL || shell->owner == NULL || PyThreadState_Get() != shell->state)
		Py_RETURN_NONE;
	if (FILAR_UNLIKELY(code == sample)) {
		size_t *known = &depths[((struct pygreen *)shell->owner)->preemptible][event];

		*known = depth > *known ? depth : *known;
	} else if (shell->carrier->asked == shell) {
		if (may_give_up(shell, event, depth))
			give_up(shell, green);
		else
			refusals++;
	}
	Py_RETURN_NONE;
}

FILAR_NOINLINE static PyObject *on_call(
	PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
	(void)module;
	(void)count;
	return on_event(REPORT_CALL, __builtin_frame_address(0), arguments[0]);
}

FILAR_NOINLINE static PyObject *on_jump(
	PyObject *module, PyObject *const *arguments, Py_ssize_t count)
{
	(void)module;
	(void)count;
	return on_event(REPORT_JUMP, __builtin_frame_address(0), arguments[0]);
}

static PyMethodDef callbacks[REPORT_COUNT] = {
	[REPORT_CALL] = { "on_call", (PyCFunction)(void (*)(void))on_call, METH_FASTCALL, NULL },
	[REPORT_JUMP] = { "on_jump", (PyCFunction)(void (*)(void))on_jump, METH_FASTCALL, NULL },
};

/* ---- taking and giving back a tool of sys.monitoring ---- */

static const struct {
	const char *name;
	enum report event;
} reported[] = { { "PY_START", REPORT_CALL }, { "PY_RESUME", REPORT_CALL },
	{ "JUMP", REPORT_JUMP } };

/* 0 to 2 and 5 have names: debuggers, coverage, profilers, optimizers. */
static const int tool_ids[] = { 4, 3 };

/* -1 with an exception, 0: it is somebody's, 1: it is ours. */
static int take_tool(int id)
{
	PyObject *holder = PyObject_CallMethod(monitoring, "get_tool", "i", id);
	bool is_free = holder == Py_None;
	PyObject *result =
		is_free ? PyObject_CallMethod(monitoring, "use_tool_id", "is", id, "filar") : NULL;

	if (result != NULL)
		tool = PyLong_FromLong(id);
	Py_XDECREF(result);
	Py_XDECREF(holder);
	return PyErr_Occurred() ? -1 : tool != NULL;
}

static int take_any_tool(void)
{
	int taken = 0;

	for (size_t i = 0; i < FILAR_COUNT_OF(tool_ids) && taken == 0; i++)
		taken = take_tool(tool_ids[i]);
	if (taken == 0)
		border_raise(status_detail(FILAR_BUSY,
			"preemption needs tool id 3 or 4 of sys.monitoring, and other tools have both"));
	return taken > 0 ? 0 : -1;
}

/* The number of the event, or -1 with an exception. */
static long register_event(const char *name, enum report event)
{
	PyObject *all = PyObject_GetAttrString(monitoring, "events"), *number = NULL;
	PyObject *function = PyCFunction_New(&callbacks[event], NULL), *before = NULL;
	long value = -1;

	if (all != NULL && function != NULL)
		number = PyObject_GetAttrString(all, name);
	if (number != NULL)
		before = PyObject_CallMethod(
			monitoring, "register_callback", "OOO", tool, number, function);
	if (before != NULL)
		value = PyLong_AsLong(number);
	Py_XDECREF(before);
	Py_XDECREF(number);
	Py_XDECREF(function);
	Py_XDECREF(all);
	return value;
}

static int report_all(void)
{
	long events = 0;

	for (size_t i = 0; i < FILAR_COUNT_OF(reported); i++) {
		long event = register_event(reported[i].name, reported[i].event);

		if (event < 0)
			return -1;
		events |= event;
	}
	events_on = PyLong_FromLong(events);
	events_off = PyLong_FromLong(0);
	armed = PyList_New(0);
	set_local_events = PyObject_GetAttrString(monitoring, "set_local_events");
	return events_on != NULL && events_off != NULL && armed != NULL && set_local_events != NULL
		       ? 0
		       : -1;
}

/* Callbacks go with the tool id: 3.12 and 3.13 leave them registered, 3.14 does not. */
static void stop_reports(void)
{
	PyObject *all = PyObject_GetAttrString(monitoring, "events");

	for (size_t i = 0; i < FILAR_COUNT_OF(reported) && all != NULL; i++) {
		PyObject *number = PyObject_GetAttrString(all, reported[i].name);
		PyObject *before = NULL;

		if (number != NULL)
			before = PyObject_CallMethod(
				monitoring, "register_callback", "OOO", tool, number, Py_None);
		Py_XDECREF(before);
		Py_XDECREF(number);
	}
	Py_XDECREF(all);
	Py_XDECREF(PyObject_CallMethod(monitoring, "free_tool_id", "O", tool));
}

static void give_back(void)
{
	PyObject *pending = PyErr_Occurred() ? border_take_exception() : NULL;

	disarm();
	held_unwatch();
	if (tool != NULL)
		stop_reports();
	if (PyErr_Occurred())
		PyErr_WriteUnraisable(monitoring);
	Py_CLEAR(tool);
	Py_CLEAR(set_local_events);
	Py_CLEAR(events_on);
	Py_CLEAR(events_off);
	Py_CLEAR(armed);
	Py_CLEAR(monitoring);
	if (pending != NULL) {
		border_reraise(pending, NULL);
		Py_DECREF(pending);
	}
}

PyObject *preemption_prepare(PyObject *module, PyObject *unused)
{
	(void)module;
	(void)unused;
	if (users++ > 0)
		Py_RETURN_NONE;
	monitoring = Py_XNewRef(PySys_GetObject("monitoring"));
	if (monitoring == NULL)
		PyErr_SetString(PyExc_RuntimeError, "this Python has no sys.monitoring");
	if (monitoring != NULL && take_any_tool() == 0 && report_all() == 0 && held_watch() == 0)
		Py_RETURN_NONE;
	users--;
	give_back();
	return NULL;
}

PyObject *preemption_done(PyObject *module, PyObject *unused)
{
	(void)module;
	(void)unused;
	/* In the child of a fork nobody is. */
	if (users > 0 && --users == 0)
		give_back();
	Py_RETURN_NONE;
}

static bool is_measured(void)
{
	for (int kind = PREEMPTIBLE_NOT + 1; kind < PREEMPTIBLE_COUNT; kind++)
		for (int event = 0; event < REPORT_COUNT; event++)
			if (depths[kind][event] == 0)
				return false;
	return true;
}

/* With a code object: bodies of that code are measured from now on; with None: no more.  True: all
 * that has to be known is known. */
PyObject *preemption_sample(PyObject *module, PyObject *code)
{
	(void)module;
	if (sample != NULL && set_events(sample, events_off) < 0)
		return NULL;
	Py_CLEAR(sample);
	if (code != Py_None && set_events(code, events_on) < 0)
		return NULL;
	if (code != Py_None)
		sample = Py_NewRef(code);
	return PyBool_FromLong(is_measured());
}

PyObject *preemption_refusals(PyObject *module, PyObject *unused)
{
	(void)module;
	(void)unused;
	return PyLong_FromUnsignedLongLong(refusals);
}

void preemption_after_fork(void)
{
	if (users == 0)
		return;
	users = 0;
	give_back();
}

/* ---- asking ---- */

/* Whose turn it still is, or NULL. */
static struct shell *shell_on(struct carrier *carrier)
{
	/* Y4: acquire; pairs with Y3.  It stays while we have the GIL. */
	struct shell *shell = load_acquire(&carrier->running);
	const struct pygreen *green = shell != NULL ? (struct pygreen *)shell->owner : NULL;

	/* A native body may be running, or nothing, or somebody whose turn has just begun. */
	if (green == NULL || load_relaxed(&green->ref.green->state) != GREEN_RUNNING ||
		load_relaxed(&green->ref.green->work.home->ticks) != carrier->due_ticks)
		return NULL;
	return shell;
}

/* Y5: release, the link and what stands beside it; pairs with Y6, which may have emptied the list
 * meanwhile. */
static void put_on_list(struct preempter *self, struct carrier *carrier)
{
	carrier->next_overdue = load_relaxed(&self->overdue);
	while (!cas_acq_rel(&self->overdue, &carrier->next_overdue, carrier))
		;
}

/* When this one is to be looked at again. */
static int64_t ask_one(struct preempter *self, struct carrier *carrier, int64_t now_ns)
{
	struct shell *shell = shell_on(carrier);
	int64_t due_ns = carrier->due_ns;

	if (shell != NULL && now_ns < due_ns) {
		put_on_list(self, carrier);
		return due_ns;
	}
	store_release(&carrier->overdue, 0); /* from here on it may be put on again */
	if (shell == NULL)
		return DEADLINE_NEVER;
	if (PyList_GET_SIZE(armed) == 0)
		self->stands_until_ns = now_ns + self->period_ns;
	carrier->asked = shell;
	arm_stack(shell->state);
	return self->stands_until_ns;
}

/* Under the GIL: asks those on the list who have had their time.  When that is to be done again. */
static int64_t ask(struct preempter *self)
{
	/* Y6: acquire; pairs with Y5. */
	struct carrier *carrier = exchange_acq_rel(&self->overdue, NULL), *next;
	int64_t now_ns = clock_now_ns(), again_ns = DEADLINE_NEVER;

	/* What has not been answered until now is asked anew, of the stack as it is now, or
	 * forgotten: reports cost those who run the same code. */
	if (now_ns >= self->stands_until_ns)
		disarm();
	else if (PyList_GET_SIZE(armed) > 0)
		again_ns = self->stands_until_ns;
	for (; carrier != NULL; carrier = next) {
		int64_t one_ns;

		next = carrier->next_overdue;
		one_ns = ask_one(self, carrier, now_ns);
		again_ns = one_ns < again_ns ? one_ns : again_ns;
	}
	return again_ns;
}

/* Sleeps until somebody is overdue, or what was asked or put off has its time. */
static void doze(struct preempter *self, int64_t until_ns)
{
	enum filar_status status = FILAR_OK;

	while (load_acquire(&self->word) == PREEMPTER_IDLE && status != FILAR_TIMED_OUT)
		status = futex_wait_until(&self->word, PREEMPTER_IDLE, until_ns);
}

static void become(struct preempter *self, enum preempter_word word)
{
	store_release(&self->word, word);
	futex_wake(&self->word, 1);
}

static void preempter_main(void *pointer)
{
	struct preempter *self = pointer;
	PyThreadState *state = PyThreadState_New(PyInterpreterState_Main());
	int64_t again_ns = DEADLINE_NEVER;

	become(self, state != NULL ? PREEMPTER_IDLE : PREEMPTER_NO_MEMORY);
	if (state == NULL)
		return;
	for (;;) {
		uint32_t word = PREEMPTER_ASKED;

		doze(self, again_ns);
		(void)cas_acq_rel(&self->word, &word, PREEMPTER_IDLE);
		PyEval_RestoreThread(state);
		if (word == PREEMPTER_STOP)
			break;
		again_ns = ask(self);
		(void)PyEval_SaveThread();
	}
	PyThreadState_Clear(state);
	PyThreadState_DeleteCurrent();
}

int64_t preemption_watch_ns(int64_t preempt_ns)
{
	int64_t early_ns = preempt_ns - LEAD_NS;

	if (early_ns < preempt_ns / 2)
		early_ns = preempt_ns / 2;
	return early_ns < WATCH_NS_MIN ? WATCH_NS_MIN : early_ns;
}

void preemption_is_due(struct worker *worker)
{
	struct preempter *self =
		((struct py_runtime *)runtime_of_worker(worker)->attended)->preempter;
	struct carrier *carrier = worker->carrier;
	uint32_t idle = PREEMPTER_IDLE;

	if (carrier == NULL || load_relaxed(&carrier->running) == NULL)
		return;
	if (load_acquire(&carrier->overdue) != 0)
		return;
	store_relaxed(&carrier->overdue, 1);
	carrier->due_ns = load_relaxed(&worker->seen_since_ns) + self->period_ns;
	carrier->due_ticks = worker->seen_ticks;
	put_on_list(self, carrier);
	if (cas_acq_rel(&self->word, &idle, PREEMPTER_ASKED))
		futex_wake(&self->word, 1);
}

/* ---- life ---- */

enum filar_status preemption_create(struct preempter **result, int64_t preempt_ns)
{
	struct preempter *self = memory_acquire(1, sizeof *self);

	if (self == NULL)
		return status_detail(FILAR_NO_MEMORY, "no memory for a preempter");
	self->period_ns = preempt_ns;
	atomic_init(&self->word, PREEMPTER_STARTING);
	atomic_init(&self->overdue, NULL);
	*result = self;
	return FILAR_OK;
}

enum filar_status preemption_begin(struct preempter *self)
{
	filar_kthread_options options;
	enum filar_status status;

	kthread_options_init(&options);
	options.name = "filar-preempt";
	status = kthread_create(&self->kthread, &options, preempter_main, self);
	if (status != FILAR_OK)
		return status;
	while (load_acquire(&self->word) == PREEMPTER_STARTING)
		(void)futex_wait_until(&self->word, PREEMPTER_STARTING, DEADLINE_NEVER);
	if (load_acquire(&self->word) != PREEMPTER_NO_MEMORY)
		return FILAR_OK;
	scheduler_join_kthread(self->kthread);
	return status_detail(FILAR_NO_MEMORY, "no memory for a Python thread state");
}

/* Without the GIL: the preempter needs it once more. */
void preemption_end(struct preempter *self)
{
	become(self, PREEMPTER_STOP);
	scheduler_join_kthread(self->kthread);
}

void preemption_free(struct preempter *self)
{
	memory_release(self);
}
