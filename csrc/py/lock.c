/*
 * lock.c - filar.Lock and filar.RLock: block/mutex.h and block/recursive.h with the shapes of
 * threading's.
 */
#include "py/arguments.h"
#include "py/types.h"

#include <structmember.h>

PyTypeObject *py_lock_type, *py_rlock_type;

static const char *const acquire_names[] = { "blocking", "timeout" };
static const struct py_call acquire_call = { "acquire", acquire_names, 0, 2 };

static bool acquire_deadline(
	PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames, int64_t *deadline_ns)
{
	PyObject *found[2] = { NULL, NULL };

	return py_arguments(&acquire_call, args, nargs, kwnames, found) &&
	       py_lock_deadline(found[0], found[1], deadline_ns);
}

/* ---- Lock ---- */

static bool is_locked(struct mutex *mutex)
{
	return mutex_owner(mutex).token != 0;
}

static PyObject *lock_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
	PyObject *self = py_alloc(type, args, kwargs);

	if (self != NULL)
		mutex_init(py_mutex_of(self), NULL);
	return self;
}

static void lock_dealloc(PyObject *self)
{
	py_free(self, ((struct py_lock *)self)->weakrefs);
}

static enum filar_status wait_for_lock(void *mutex, int64_t deadline_ns)
{
	return mutex_lock_unowned_until(mutex, deadline_ns);
}

PyDoc_STRVAR(lock_acquire_doc, "acquire($self, /, blocking=True, timeout=-1)\n--\n\n"
			       "Takes the lock; True if it did.\n\n"
			       "Waits for ever, or at most `timeout` seconds, or not at all "
			       "(blocking=False).");

static PyObject *lock_acquire(
	PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
	struct mutex *mutex = py_mutex_of(self);
	int64_t deadline_ns = DEADLINE_NEVER;

	if ((nargs != 0 || kwnames != NULL) &&
		!acquire_deadline(args, nargs, kwnames, &deadline_ns))
		return NULL;
	if (mutex_trylock_unowned(mutex))
		Py_RETURN_TRUE;
	if (deadline_ns == 0)
		Py_RETURN_FALSE;
	return py_outcome(py_wait_leaving(wait_for_lock, mutex, deadline_ns));
}

PyObject *py_lock_enter(PyObject *self, PyObject *unused)
{
	struct mutex *mutex = py_mutex_of(self);

	(void)unused;
	if (mutex_trylock_unowned(mutex))
		Py_RETURN_TRUE;
	return py_outcome(py_wait_leaving(wait_for_lock, mutex, DEADLINE_NEVER));
}

PyDoc_STRVAR(lock_release_doc, "release($self, /)\n--\n\n"
			       "Lets the lock go; whoever calls, also if another took it.\n\n"
			       "RuntimeError if it is not locked.");

PyObject *py_lock_release(PyObject *self, PyObject *unused)
{
	(void)unused;
	if (mutex_unlock_unowned(py_mutex_of(self)) == FILAR_OK)
		Py_RETURN_NONE;
	PyErr_SetString(PyExc_RuntimeError, "release unlocked lock");
	return NULL;
}

static PyObject *lock_exit(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
	(void)args, (void)nargs;
	return py_lock_release(self, NULL);
}

static PyObject *lock_locked(PyObject *self, PyObject *unused)
{
	(void)unused;
	return PyBool_FromLong(is_locked(py_mutex_of(self)));
}

static PyObject *lock_at_fork_reinit(PyObject *self, PyObject *unused)
{
	(void)unused;
	mutex_init(py_mutex_of(self), NULL);
	Py_RETURN_NONE;
}

static PyObject *lock_repr(PyObject *self)
{
	return PyUnicode_FromFormat("<%s %s object at %p>",
		is_locked(py_mutex_of(self)) ? "locked" : "unlocked", Py_TYPE(self)->tp_name,
		(void *)self);
}

PyDoc_STRVAR(locked_doc, "locked($self, /)\n--\n\nWhether somebody holds it: a moment's view.");
PyDoc_STRVAR(fork_doc, "_at_fork_reinit($self, /)\n--\n\n"
		       "As new; for the child of a fork.");

static PyMethodDef lock_methods[] = {
	{ "acquire", PY_FAST(lock_acquire), lock_acquire_doc },
	{ "release", py_lock_release, METH_NOARGS, lock_release_doc },
	{ "locked", lock_locked, METH_NOARGS, locked_doc },
	{ "__enter__", py_lock_enter, METH_NOARGS, NULL },
	{ "__exit__", (PyCFunction)(void (*)(void))lock_exit, METH_FASTCALL, NULL },
	{ "_at_fork_reinit", lock_at_fork_reinit, METH_NOARGS, fork_doc },
	{ NULL, NULL, 0, NULL },
};

static PyMemberDef lock_members[] = {
	{ "__weaklistoffset__", T_PYSSIZET, offsetof(struct py_lock, weakrefs), READONLY, NULL },
	{ NULL, 0, 0, 0, NULL },
};

PyDoc_STRVAR(lock_doc,
	"Lock()\n--\n\n"
	"One holder at a time, as threading.Lock, for kernel and green threads.\n\n"
	"Whoever holds it may hand it over: any thread may release it. A waiting thread "
	"loses\nagainst a newcomer at most once, then it is given the lock.\n\n"
	">>> lock = Lock()\n"
	">>> with lock:\n"
	"...     lock.locked()\n"
	"True\n"
	">>> lock.acquire(timeout=1), lock.acquire(blocking=False)\n"
	"(True, False)\n");

static PyType_Slot lock_slots[] = {
	{ Py_tp_doc, (void *)lock_doc },
	{ Py_tp_new, lock_new },
	{ Py_tp_dealloc, lock_dealloc },
	{ Py_tp_repr, lock_repr },
	{ Py_tp_methods, lock_methods },
	{ Py_tp_members, lock_members },
	{ 0, NULL },
};

PyType_Spec py_lock_spec = {
	.name = "filar.Lock",
	.basicsize = sizeof(struct py_lock),
	.flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
	.slots = lock_slots,
};

/* ---- RLock ---- */

static PyObject *rlock_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
	PyObject *self = py_alloc(type, args, kwargs);

	if (self != NULL)
		recursive_init(py_recursive_of(self), NULL);
	return self;
}

static void rlock_dealloc(PyObject *self)
{
	py_free(self, ((struct py_rlock *)self)->weakrefs);
}

static enum filar_status wait_for_rlock(void *recursive, int64_t deadline_ns)
{
	return recursive_lock_until(recursive, deadline_ns);
}

/* Without a wait: FILAR_BUSY, without the sentence that recursive_trylock() would make of it. */
static enum filar_status take_rlock(struct recursive *recursive)
{
	struct owner owner = mutex_owner(&recursive->mutex);

	return owner.token != 0 && !recursive_is_mine(recursive) ? FILAR_BUSY
								 : recursive_trylock(recursive);
}

PyDoc_STRVAR(rlock_acquire_doc,
	"acquire($self, /, blocking=True, timeout=-1)\n--\n\n"
	"Takes the lock, or takes it once more; True if it did.\n\n"
	"Waits for ever, or at most `timeout` seconds, or not at all "
	"(blocking=False). DeadlockError,\nnaming the threads and locks, if a "
	"wait without a timeout could never end.");

static PyObject *rlock_acquire(
	PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
	struct recursive *recursive = py_recursive_of(self);
	int64_t deadline_ns = DEADLINE_NEVER;
	enum filar_status status;

	if ((nargs != 0 || kwnames != NULL) &&
		!acquire_deadline(args, nargs, kwnames, &deadline_ns))
		return NULL;
	status = take_rlock(recursive);
	if (status == FILAR_BUSY && deadline_ns != 0)
		status = py_wait_leaving(wait_for_rlock, recursive, deadline_ns);
	return py_outcome(status);
}

PyDoc_STRVAR(rlock_release_doc,
	"release($self, /)\n--\n\n"
	"Undoes one acquire(); the last one lets the lock go.\n\n"
	"WrongStateError, a RuntimeError, unless the calling thread holds it.");

PyObject *py_rlock_release(PyObject *self, PyObject *unused)
{
	enum filar_status status = recursive_unlock(py_recursive_of(self));

	(void)unused;
	if (status != FILAR_OK)
		return py_raise(status);
	Py_RETURN_NONE;
}

PyObject *py_rlock_enter(PyObject *self, PyObject *unused)
{
	(void)unused;
	return rlock_acquire(self, NULL, 0, NULL);
}

static PyObject *rlock_exit(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
	(void)args, (void)nargs;
	return py_rlock_release(self, NULL);
}

static PyObject *rlock_locked(PyObject *self, PyObject *unused)
{
	(void)unused;
	return PyBool_FromLong(is_locked(&py_recursive_of(self)->mutex));
}

static PyObject *rlock_is_owned(PyObject *self, PyObject *unused)
{
	(void)unused;
	return PyBool_FromLong(recursive_is_mine(py_recursive_of(self)));
}

static PyObject *rlock_recursion_count(PyObject *self, PyObject *unused)
{
	struct recursive *recursive = py_recursive_of(self);

	(void)unused;
	return PyLong_FromUnsignedLong(recursive_is_mine(recursive) ? recursive->depth : 0);
}

static PyObject *rlock_release_save(PyObject *self, PyObject *unused)
{
	struct recursive *recursive = py_recursive_of(self);
	uint32_t depth = recursive->depth;
	enum filar_status status;

	(void)unused;
	if (recursive_is_mine(recursive))
		recursive->depth = 1;
	status = recursive_unlock(recursive);
	return status == FILAR_OK ? PyLong_FromUnsignedLong(depth) : py_raise(status);
}

static void take_shielded(void *recursive)
{
	mutex_lock_shielded(&((struct recursive *)recursive)->mutex);
}

static PyObject *rlock_acquire_restore(PyObject *self, PyObject *saved)
{
	struct recursive *recursive = py_recursive_of(self);
	unsigned long depth = PyLong_AsUnsignedLong(saved);
	enum filar_status status;

	if (PyErr_Occurred() != NULL)
		return NULL;
	status = take_rlock(recursive);
	/* For a condition: the lock is taken back whatever happens. */
	if (status == FILAR_BUSY)
		py_wait_shielded(take_shielded, recursive);
	else if (status != FILAR_OK)
		return py_raise(status);
	recursive->depth = (uint32_t)depth;
	Py_RETURN_NONE;
}

static PyObject *rlock_at_fork_reinit(PyObject *self, PyObject *unused)
{
	(void)unused;
	recursive_init(py_recursive_of(self), NULL);
	Py_RETURN_NONE;
}

static PyObject *rlock_repr(PyObject *self)
{
	struct recursive *recursive = py_recursive_of(self);
	struct owner owner = mutex_owner(&recursive->mutex);
	char text[OWNER_TEXT_BYTES];

	owner_describe(owner, text, sizeof text);
	return PyUnicode_FromFormat("<%s %s object owner=%s count=%u at %p>",
		owner.token != 0 ? "locked" : "unlocked", Py_TYPE(self)->tp_name, text,
		owner.token != 0 ? recursive->depth : 0, (void *)self);
}

static PyMethodDef rlock_methods[] = {
	{ "acquire", PY_FAST(rlock_acquire), rlock_acquire_doc },
	{ "release", py_rlock_release, METH_NOARGS, rlock_release_doc },
	{ "locked", rlock_locked, METH_NOARGS, locked_doc },
	{ "__enter__", py_rlock_enter, METH_NOARGS, NULL },
	{ "__exit__", (PyCFunction)(void (*)(void))rlock_exit, METH_FASTCALL, NULL },
	{ "_is_owned", rlock_is_owned, METH_NOARGS, NULL },
	{ "_recursion_count", rlock_recursion_count, METH_NOARGS, NULL },
	{ "_release_save", rlock_release_save, METH_NOARGS, NULL },
	{ "_acquire_restore", rlock_acquire_restore, METH_O, NULL },
	{ "_at_fork_reinit", rlock_at_fork_reinit, METH_NOARGS, fork_doc },
	{ NULL, NULL, 0, NULL },
};

static PyMemberDef rlock_members[] = {
	{ "__weaklistoffset__", T_PYSSIZET, offsetof(struct py_rlock, weakrefs), READONLY, NULL },
	{ NULL, 0, 0, 0, NULL },
};

PyDoc_STRVAR(rlock_doc,
	"RLock()\n--\n\n"
	"A lock that its holder may take again, as threading.RLock, for kernel and "
	"green threads.\n\n"
	"Its holder is a thread, green or kernel, never just its kernel thread. Threads "
	"that wait\nfor each other's RLocks in a circle are found: the one that would "
	"close it gets a\nDeadlockError.\n\n"
	">>> lock = RLock()\n"
	">>> with lock, lock:\n"
	"...     lock.locked()\n"
	"True\n");

static PyType_Slot rlock_slots[] = {
	{ Py_tp_doc, (void *)rlock_doc },
	{ Py_tp_new, rlock_new },
	{ Py_tp_dealloc, rlock_dealloc },
	{ Py_tp_repr, rlock_repr },
	{ Py_tp_methods, rlock_methods },
	{ Py_tp_members, rlock_members },
	{ 0, NULL },
};

PyType_Spec py_rlock_spec = {
	.name = "filar.RLock",
	.basicsize = sizeof(struct py_rlock),
	.flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
	.slots = rlock_slots,
};
