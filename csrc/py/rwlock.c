/*
 * rwlock.c - filar.RWLock: two sides, each with the shape of a lock.
 */
#include "py/arguments.h"
#include "py/types.h"

#include <structmember.h>

#include "block/rwlock.h"

struct py_rwlock {
	PyObject ob_base;
	struct rwlock lock;
	uint32_t forks;
	PyObject *weakrefs;
};

struct side {
	PyObject ob_base;
	PyObject *owner; /* I  the RWLock */
	bool writes;     /* I */
};

static PyTypeObject *side_type;

static struct rwlock *rwlock_of(PyObject *self)
{
	struct py_rwlock *object = (struct py_rwlock *)self;

	py_after_fork(&object->lock.queue, &object->forks);
	return &object->lock;
}

static struct rwlock *lock_of(struct side *side)
{
	return rwlock_of(side->owner);
}

/* ---- a side ---- */

static void side_dealloc(PyObject *self)
{
	Py_XDECREF(((struct side *)self)->owner);
	py_free(self, NULL);
}

static enum filar_status wait_to_read(void *lock, int64_t deadline_ns)
{
	return rwlock_read_lock_until(lock, deadline_ns);
}

static enum filar_status wait_to_write(void *lock, int64_t deadline_ns)
{
	return rwlock_write_lock_until(lock, deadline_ns);
}

static enum filar_status take(struct side *side, int64_t deadline_ns)
{
	struct rwlock *lock = lock_of(side);
	enum filar_status status =
		side->writes ? rwlock_try_write_lock(lock) : rwlock_try_read_lock(lock);

	if (status != FILAR_BUSY || deadline_ns == 0)
		return status;
	return py_wait_leaving(side->writes ? wait_to_write : wait_to_read, lock, deadline_ns);
}

PyDoc_STRVAR(side_acquire_doc, "acquire($self, /, blocking=True, timeout=-1)\n--\n\n"
			       "Takes this side of the lock; True if it did.\n\n"
			       "Waits for ever, or at most `timeout` seconds, or not at all "
			       "(blocking=False). First come, first\nserved. DeadlockError if the "
			       "calling thread is the writer.");

static PyObject *side_acquire(
	PyObject *self, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
	static const char *const names[] = { "blocking", "timeout" };
	static const struct py_call call = { "acquire", names, 0, 2 };
	PyObject *found[2] = { NULL, NULL };
	int64_t deadline_ns;

	if (!py_arguments(&call, args, nargs, kwnames, found) ||
		!py_lock_deadline(found[0], found[1], &deadline_ns))
		return NULL;
	return py_outcome(take((struct side *)self, deadline_ns));
}

static PyObject *side_release(PyObject *self, PyObject *unused)
{
	struct side *side = (struct side *)self;
	enum filar_status status = side->writes ? rwlock_write_unlock(lock_of(side))
						: rwlock_read_unlock(lock_of(side));

	(void)unused;
	if (status != FILAR_OK)
		return py_raise(status);
	Py_RETURN_NONE;
}

static PyObject *side_enter(PyObject *self, PyObject *unused)
{
	(void)unused;
	return py_outcome(take((struct side *)self, DEADLINE_NEVER));
}

static PyObject *side_exit(PyObject *self, PyObject *const *args, Py_ssize_t nargs)
{
	(void)args, (void)nargs;
	return side_release(self, NULL);
}

static uint64_t value_of(struct rwlock *lock)
{
	return WAITQ_VALUE(load_relaxed(&lock->queue.word));
}

static PyObject *side_locked(PyObject *self, PyObject *unused)
{
	struct side *side = (struct side *)self;
	uint64_t value = value_of(lock_of(side));

	(void)unused;
	return PyBool_FromLong(side->writes ? value == 1 : value > 1);
}

static PyObject *side_repr(PyObject *self)
{
	struct side *side = (struct side *)self;

	return PyUnicode_FromFormat(
		"<%s side of %R>", side->writes ? "write" : "read", side->owner);
}

static PyMethodDef side_methods[] = {
	{ "acquire", PY_FAST(side_acquire), side_acquire_doc },
	{ "release", side_release, METH_NOARGS,
		"release($self, /)\n--\n\nLets it go. WrongStateError if no reader, or another "
		"writer, has it." },
	{ "locked", side_locked, METH_NOARGS,
		"locked($self, /)\n--\n\nWhether somebody reads, or writes: a moment's view." },
	{ "__enter__", side_enter, METH_NOARGS, NULL },
	{ "__exit__", (PyCFunction)(void (*)(void))side_exit, METH_FASTCALL, NULL },
	{ NULL, NULL, 0, NULL },
};

static PyType_Slot side_slots[] = {
	{ Py_tp_doc, (void *)"One side of an RWLock, with the shape of a lock." },
	{ Py_tp_dealloc, side_dealloc },
	{ Py_tp_repr, side_repr },
	{ Py_tp_methods, side_methods },
	{ 0, NULL },
};

PyType_Spec py_rwlock_side_spec = {
	.name = "filar.RWLockSide",
	.basicsize = sizeof(struct side),
	.flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
	.slots = side_slots,
};

/* ---- the whole ---- */

static PyObject *rwlock_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
	PyObject *self = py_alloc(type, args, kwargs);

	if (self != NULL)
		rwlock_init(rwlock_of(self), NULL);
	return self;
}

static void rwlock_dealloc(PyObject *self)
{
	py_free(self, ((struct py_rwlock *)self)->weakrefs);
}

static PyObject *rwlock_get_side(PyObject *self, void *writes)
{
	struct side *side = (struct side *)side_type->tp_alloc(side_type, 0);

	if (side == NULL)
		return NULL;
	side->owner = Py_NewRef(self);
	side->writes = writes != NULL;
	return (PyObject *)side;
}

static PyObject *rwlock_repr(PyObject *self)
{
	uint64_t value = value_of(rwlock_of(self));

	return PyUnicode_FromFormat("<%s at %p: readers=%llu, writers=%llu>",
		Py_TYPE(self)->tp_name, (void *)self, (unsigned long long)(value / 2),
		(unsigned long long)(value & 1));
}

static PyGetSetDef rwlock_getset[] = {
	{ "read", rwlock_get_side, NULL, "What readers take.", NULL },
	{ "write", rwlock_get_side, NULL, "What a writer takes.", "" },
	{ NULL, NULL, NULL, NULL, NULL },
};

static PyMemberDef rwlock_members[] = {
	{ "__weaklistoffset__", T_PYSSIZET, offsetof(struct py_rwlock, weakrefs), READONLY, NULL },
	{ NULL, 0, 0, 0, NULL },
};

PyDoc_STRVAR(rwlock_doc,
	"RWLock()\n--\n\n"
	"Many readers or one writer. `read` and `write` have the shape of a lock.\n\n"
	"First come, first served: neither side starves. Do not read-lock again what "
	"you have\nread-locked: with a writer in between that waits for ever.\n\n"
	">>> lock = RWLock()\n"
	">>> with lock.read, lock.read:\n"
	"...     lock.write.acquire(blocking=False)\n"
	"False\n"
	">>> with lock.write:\n"
	"...     lock.read.acquire(timeout=0)\n"
	"False\n");

static PyType_Slot rwlock_slots[] = {
	{ Py_tp_doc, (void *)rwlock_doc },
	{ Py_tp_new, rwlock_new },
	{ Py_tp_dealloc, rwlock_dealloc },
	{ Py_tp_repr, rwlock_repr },
	{ Py_tp_members, rwlock_members },
	{ Py_tp_getset, rwlock_getset },
	{ 0, NULL },
};

PyType_Spec py_rwlock_spec = {
	.name = "filar.RWLock",
	.basicsize = sizeof(struct py_rwlock),
	.flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
	.slots = rwlock_slots,
};

void py_rwlock_prepare(PyTypeObject *side)
{
	side_type = side;
}
