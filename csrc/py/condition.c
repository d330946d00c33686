/*
 * condition.c - filar.Condition: a queue of those who wait, beside any lock.
 *
 * Not block/cond.h, which knows one kind of mutex: the lock may be an RLock or Lock of ours, or any
 * object with acquire() and release(), as threading.Condition takes it.  Everything but the sleep
 * happens under the GIL, and a waiter is queued before it lets the lock go: README.md of block,
 * "Condition", holds here as well.
 */
#include "py/arguments.h"
#include "py/types.h"

#include <structmember.h>

struct condition {
	PyObject ob_base;
	PyObject *lock;     /* I  after __init__ */
	struct waitq queue; /* value: none */
	uint32_t forks;
	PyObject *weakrefs;
};

enum lock_kind { LOCK_OURS, LOCK_RECURSIVE, LOCK_FOREIGN };

static struct condition *condition_of(PyObject *self)
{
	struct condition *condition = (struct condition *)self;

	py_after_fork(&condition->queue, &condition->forks);
	return condition;
}

static enum lock_kind kind_of(PyObject *lock)
{
	if (Py_IS_TYPE(lock, py_rlock_type))
		return LOCK_RECURSIVE;
	return Py_IS_TYPE(lock, py_lock_type) ? LOCK_OURS : LOCK_FOREIGN;
}

static PyObject *condition_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
	PyObject *self = type->tp_alloc(type, 0);

	(void)args, (void)kwargs;
	if (self == NULL)
		return NULL;
	waitq_init(&condition_of(self)->queue, 0);
	condition_of(self)->lock = PyObject_CallNoArgs((PyObject *)py_rlock_type);
	if (condition_of(self)->lock == NULL)
		Py_CLEAR(self);
	return self;
}

static int condition_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
	static char *names[] = { "lock", NULL };
	PyObject *lock = Py_None;

	if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|O:Condition", names, &lock))
		return -1;
	if (lock != Py_None)
		Py_SETREF(condition_of(self)->lock, Py_NewRef(lock));
	return 0;
}

static int condition_traverse(PyObject *self, visitproc visit, void *arg)
{
	Py_VISIT(Py_TYPE(self));
	Py_VISIT(condition_of(self)->lock);
	return 0;
}

static int condition_clear(PyObject *self)
{
	/* Never NULL: a finalizer may still call our methods. */
	Py_XSETREF(condition_of(self)->lock, Py_NewRef(Py_None));
	return 0;
}

static void condition_dealloc(PyObject *self)
{
	PyObject_GC_UnTrack(self);
	Py_XDECREF(condition_of(self)->lock);
	py_free(self, condition_of(self)->weakrefs);
}

/* ---- the lock ---- */

/* Returns a new reference or NULL: a method of the lock without arguments. */
static PyObject *ask_lock(struct condition *condition, const char *method)
{
	return PyObject_CallMethod(condition->lock, method, NULL);
}

/* 1, 0, or -1: raised. */
static int truth_of(PyObject *answer)
{
	int truth = answer != NULL ? PyObject_IsTrue(answer) : -1;

	Py_XDECREF(answer);
	return truth;
}

static int try_and_release(struct condition *condition)
{
	int taken = truth_of(PyObject_CallMethod(condition->lock, "acquire", "(O)", Py_False));
	PyObject *released;

	if (taken <= 0)
		return taken < 0 ? -1 : 1;
	released = ask_lock(condition, "release");
	Py_XDECREF(released);
	return released != NULL ? 0 : -1;
}

/* Whether the caller holds the lock; of a lock that does not know, whether anybody does. */
static int is_owned(struct condition *condition)
{
	PyObject *lock = condition->lock;

	switch (kind_of(lock)) {
	case LOCK_RECURSIVE:
		return recursive_is_mine(py_recursive_of(lock));
	case LOCK_OURS:
		return mutex_owner(py_mutex_of(lock)).token != 0;
	default:
		return PyObject_HasAttrString(lock, "_is_owned")
			       ? truth_of(ask_lock(condition, "_is_owned"))
			       : try_and_release(condition);
	}
}

static bool require_owned(struct condition *condition, const char *what)
{
	int owned = is_owned(condition);

	if (owned == 0)
		PyErr_Format(PyExc_RuntimeError, "cannot %s un-acquired lock", what);
	return owned > 0;
}

/* What a lock needs to be taken back as it was. */
struct released {
	PyObject *lock;
	enum lock_kind kind;
	uint32_t depth;  /* RECURSIVE */
	PyObject *state; /* FOREIGN; NULL: acquire() will do */
};

static bool release_foreign(struct condition *condition, struct released *released)
{
	PyObject *answer;

	if (PyObject_HasAttrString(released->lock, "_release_save")) {
		released->state = ask_lock(condition, "_release_save");
		return released->state != NULL;
	}
	answer = ask_lock(condition, "release");
	Py_XDECREF(answer);
	return answer != NULL;
}

static bool release_lock(struct condition *condition, struct released *released)
{
	struct recursive *recursive;

	/* A foreign release() may give the condition another lock. */
	*released = (struct released){ .lock = Py_NewRef(condition->lock),
		.kind = kind_of(condition->lock) };
	switch (released->kind) {
	case LOCK_RECURSIVE:
		recursive = py_recursive_of(released->lock);
		released->depth = recursive->depth;
		recursive->depth = 1;
		(void)recursive_unlock(recursive);
		return true;
	case LOCK_OURS:
		(void)mutex_unlock_unowned(py_mutex_of(released->lock));
		return true;
	default:
		return release_foreign(condition, released);
	}
}

static void take_recursive(void *recursive)
{
	mutex_lock_shielded(&((struct recursive *)recursive)->mutex);
}

static void take_unowned(void *mutex)
{
	mutex_lock_unowned_shielded(mutex);
}

static void take_back_foreign(struct released *released)
{
	PyObject *type, *value, *traceback, *answer;

	PyErr_Fetch(&type, &value, &traceback);
	answer = released->state != NULL ? PyObject_CallMethod(released->lock, "_acquire_restore",
						   "(O)", released->state)
					 : PyObject_CallMethod(released->lock, "acquire", NULL);
	Py_XDECREF(answer);
	Py_CLEAR(released->state);
	/* The newer exception wins, as in a `finally`. */
	if (answer != NULL)
		PyErr_Restore(type, value, traceback);
	else
		Py_XDECREF(type), Py_XDECREF(value), Py_XDECREF(traceback);
}

/* Ours are taken back whatever happens: no signal, cancel or deadline comes between. */
static void take_back(struct released *released)
{
	struct recursive *recursive;

	switch (released->kind) {
	case LOCK_RECURSIVE:
		recursive = py_recursive_of(released->lock);
		py_wait_shielded(take_recursive, recursive);
		recursive->depth = released->depth;
		break;
	case LOCK_OURS:
		py_wait_shielded(take_unowned, py_mutex_of(released->lock));
		break;
	default:
		take_back_foreign(released);
	}
}

/* ---- waiting ---- */

/* Off the queue, by hand: true; false: it was notified. */
static bool withdraw(struct condition *condition, struct waitq_entry *entry)
{
	uint64_t word;

	if (!waitq_take_back(&condition->queue, entry, &word, WAIT_COND))
		return false;
	waitq_unlock(&condition->queue, word);
	return true;
}

struct condition_wait {
	struct waitq *queue;
	struct waitq_entry *entry;
};

static enum filar_status wait_for_notify(void *object, int64_t deadline_ns)
{
	struct condition_wait *wait = object;

	return waitq_wait_until(wait->queue, wait->entry, deadline_ns, WAIT_COND, WAIT_CANCELLABLE);
}

static void wake(struct condition *condition, uint64_t count)
{
	struct waitq_entry *entry;
	struct list claimed;
	uint64_t word = waitq_lock(&condition->queue);

	list_init(&claimed);
	for (; count > 0 && (entry = waitq_pop(&condition->queue)) != NULL; count--) {
		entry->granted = true;
		list_push_back(&claimed, &entry->link);
	}
	waitq_unlock(&condition->queue, word);
	waitq_wake_all(&claimed);
}

/* FILAR_OK: notified.  The lock is the caller's again, with or without an exception. */
static enum filar_status wait_until(struct condition *condition, int64_t deadline_ns)
{
	struct waitq_entry entry = { .kind = 0 };
	struct condition_wait wait = { .queue = &condition->queue, .entry = &entry };
	struct released released;
	enum filar_status status;
	uint64_t word;

	if (!py_may_wait())
		return FILAR_INTERRUPTED;
	word = waitq_lock(&condition->queue);
	waitq_push(&condition->queue, &entry);
	waitq_unlock(&condition->queue, word);
	/* A foreign release() runs Python, and may let others run: the entry is there already. */
	if (!release_lock(condition, &released)) {
		if (!withdraw(condition, &entry))
			wake(condition, 1);
		Py_DECREF(released.lock);
		return FILAR_INTERRUPTED;
	}
	status = py_wait_staying(wait_for_notify, &wait, deadline_ns);
	/* Who raises instead of returning leaves its notification to the next. */
	if (status == FILAR_INTERRUPTED && entry.granted)
		wake(condition, 1);
	take_back(&released);
	Py_DECREF(released.lock);
	return PyErr_Occurred() != NULL ? FILAR_INTERRUPTED : status;
}

PyDoc_STRVAR(wait_doc, "wait($self, /, timeout=None)\n--\n\n"
		       "Lets the lock go, waits for a notify(), takes the lock again; True.\n\n"
		       "False after `timeout` seconds. The caller holds the lock again whatever "
		       "happens, also after\nCtrl-C. RuntimeError unless it held it before.");

static PyObject *condition_wait(
	PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
	static const char *const names[] = { "timeout" };
	static const struct py_call call = { "wait", names, 0, 1 };
	PyObject *timeout = NULL;
	int64_t deadline_ns;

	if (!py_arguments(&call, args, nargs, kwnames, &timeout) ||
		!py_deadline(timeout, &deadline_ns) ||
		!require_owned(condition_of(self), "wait on"))
		return NULL;
	return py_outcome(wait_until(condition_of(self), deadline_ns));
}

PyDoc_STRVAR(wait_for_doc, "wait_for($self, /, predicate, timeout=None)\n--\n\n"
			   "Waits until predicate() is true, at most `timeout` seconds; its last "
			   "answer.");

static PyObject *condition_wait_for(
	PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
	static const char *const names[] = { "predicate", "timeout" };
	static const struct py_call call = { "wait_for", names, 1, 2 };
	PyObject *found[2] = { NULL, NULL }, *answer;
	enum filar_status status = FILAR_OK;
	int64_t deadline_ns;

	if (!py_arguments(&call, args, nargs, kwnames, found) ||
		!py_deadline(found[1], &deadline_ns))
		return NULL;
	for (;;) {
		int truth;

		answer = PyObject_CallNoArgs(found[0]);
		if (answer == NULL)
			return NULL;
		truth = PyObject_IsTrue(answer);
		if (truth > 0 || status == FILAR_TIMED_OUT)
			return answer;
		if (truth == 0 && require_owned(condition_of(self), "wait on"))
			status = wait_until(condition_of(self), deadline_ns);
		Py_DECREF(answer);
		if (PyErr_Occurred() != NULL)
			return NULL;
		if (status != FILAR_OK && status != FILAR_TIMED_OUT)
			return py_raise(status);
	}
}

/* ---- notifying ---- */

PyDoc_STRVAR(notify_doc,
	"notify($self, /, n=1)\n--\n\n"
	"Wakes the n that have waited longest. RuntimeError unless the lock is held.");

static PyObject *condition_notify(
	PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
	static const char *const names[] = { "n" };
	static const struct py_call call = { "notify", names, 0, 1 };
	PyObject *number = NULL;
	long long count = 1;

	if (!py_arguments(&call, args, nargs, kwnames, &number) ||
		!require_owned(condition_of(self), "notify on"))
		return NULL;
	if (number != NULL)
		count = PyLong_AsLongLong(number);
	if (PyErr_Occurred() != NULL)
		return NULL;
	if (count > 0)
		wake(condition_of(self), (uint64_t)count);
	Py_RETURN_NONE;
}

static PyObject *condition_notify_all(PyObject *self, PyObject *unused)
{
	(void)unused;
	if (!require_owned(condition_of(self), "notify on"))
		return NULL;
	wake(condition_of(self), UINT64_MAX);
	Py_RETURN_NONE;
}

/* ---- as the lock ---- */

static PyObject *lock_release(struct condition *condition, PyObject *unused)
{
	switch (kind_of(condition->lock)) {
	case LOCK_RECURSIVE:
		return py_rlock_release(condition->lock, unused);
	case LOCK_OURS:
		return py_lock_release(condition->lock, unused);
	default:
		return ask_lock(condition, "release");
	}
}

static PyObject *condition_acquire(PyObject *self, PyObject *args, PyObject *kwargs)
{
	PyObject *method = PyObject_GetAttrString(condition_of(self)->lock, "acquire"), *answer;

	if (method == NULL)
		return NULL;
	answer = PyObject_Call(method, args, kwargs);
	Py_DECREF(method);
	return answer;
}

static PyObject *condition_release(PyObject *self, PyObject *unused)
{
	return lock_release(condition_of(self), unused);
}

static PyObject *condition_enter(PyObject *self, PyObject *unused)
{
	PyObject *lock = condition_of(self)->lock;

	switch (kind_of(lock)) {
	case LOCK_RECURSIVE:
		return py_rlock_enter(lock, unused);
	case LOCK_OURS:
		return py_lock_enter(lock, unused);
	default:
		return ask_lock(condition_of(self), "__enter__");
	}
}

static PyObject *condition_exit(PyObject *self, PyObject *args)
{
	PyObject *lock = condition_of(self)->lock, *method, *answer;

	if (kind_of(lock) != LOCK_FOREIGN)
		return lock_release(condition_of(self), NULL);
	method = PyObject_GetAttrString(lock, "__exit__");
	if (method == NULL)
		return NULL;
	answer = PyObject_Call(method, args, NULL);
	Py_DECREF(method);
	return answer;
}

static PyObject *condition_is_owned(PyObject *self, PyObject *unused)
{
	int owned = is_owned(condition_of(self));

	(void)unused;
	return owned < 0 ? NULL : PyBool_FromLong(owned);
}

static PyObject *condition_at_fork_reinit(PyObject *self, PyObject *unused)
{
	(void)unused;
	waitq_init(&condition_of(self)->queue, 0);
	return ask_lock(condition_of(self), "_at_fork_reinit");
}

static PyObject *condition_repr(PyObject *self)
{
	struct condition *condition = condition_of(self);
	uint64_t word = waitq_lock(&condition->queue);
	Py_ssize_t count = 0;
	struct list *link;

	LIST_FOR_EACH(link, &condition->queue.entries)
	count++;
	waitq_unlock(&condition->queue, word);
	return PyUnicode_FromFormat("<Condition(%R, %zd)>", condition->lock, count);
}

static PyMethodDef condition_methods[] = {
	{ "wait", PY_FAST(condition_wait), wait_doc },
	{ "wait_for", PY_FAST(condition_wait_for), wait_for_doc },
	{ "notify", PY_FAST(condition_notify), notify_doc },
	{ "notify_all", condition_notify_all, METH_NOARGS,
		"notify_all($self, /)\n--\n\nWakes all that wait. RuntimeError unless the lock is "
		"held." },
	{ "acquire", (PyCFunction)(void (*)(void))condition_acquire, METH_VARARGS | METH_KEYWORDS,
		"acquire($self, /, *args, **kwargs)\n--\n\nThat of the lock." },
	{ "release", condition_release, METH_NOARGS, "release($self, /)\n--\n\nThat of the lock." },
	{ "__enter__", condition_enter, METH_NOARGS, NULL },
	{ "__exit__", condition_exit, METH_VARARGS, NULL },
	{ "_is_owned", condition_is_owned, METH_NOARGS, NULL },
	{ "_at_fork_reinit", condition_at_fork_reinit, METH_NOARGS, NULL },
	{ NULL, NULL, 0, NULL },
};

static PyMemberDef condition_members[] = {
	{ "__weaklistoffset__", T_PYSSIZET, offsetof(struct condition, weakrefs), READONLY, NULL },
	{ "_lock", T_OBJECT, offsetof(struct condition, lock), READONLY, NULL },
	{ NULL, 0, 0, 0, NULL },
};

PyDoc_STRVAR(condition_doc,
	"Condition(lock=None)\n--\n\n"
	"Waiting for what a lock guards, as threading.Condition, for kernel and green threads.\n\n"
	"`lock` is any object with acquire() and release(); None: an RLock of its own. First come, "
	"first\nnotified. A notification counts once: two threads are never woken by one.\n\n"
	">>> ready, condition = [], Condition()\n"
	">>> with condition:\n"
	"...     ready.append(1)\n"
	"...     condition.notify()\n"
	"...     condition.wait_for(lambda: ready, timeout=1)\n"
	"[1]\n");

static PyType_Slot condition_slots[] = {
	{ Py_tp_doc, (void *)condition_doc },
	{ Py_tp_new, condition_new },
	{ Py_tp_init, condition_init },
	{ Py_tp_traverse, condition_traverse },
	{ Py_tp_clear, condition_clear },
	{ Py_tp_dealloc, condition_dealloc },
	{ Py_tp_repr, condition_repr },
	{ Py_tp_methods, condition_methods },
	{ Py_tp_members, condition_members },
	{ 0, NULL },
};

PyType_Spec py_condition_spec = {
	.name = "filar.Condition",
	.basicsize = sizeof(struct condition),
	.flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
	.slots = condition_slots,
};
