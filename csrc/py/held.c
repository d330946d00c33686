/*
 * held.c - notes on locks, taken by wrappers around the methods of _thread.lock and _thread.RLock.
 *
 * The wrappers are put into the method definitions, which every call looks into, of methods that
 * were bound before as well.  A note is a lock's address and a shell: one for each time that it was
 * taken.  Locks may be let go of by others than those who took them, and may be freed while they
 * are locked (a Condition does both): both strike the note out.
 *
 * Only few locks are held at any time, so notes are an array, searched from its end.
 */
#include "py/held.h"

#include "base/check.h"
#include "base/memory.h"
#include "green/switch.h"
#include "py/internal.h"

/* ---- the notes ---- */

struct note {
	const void *lock;          /* its address only */
	const struct shell *shell; /* NULL: of a green thread that has ended */
};

static struct note *notes;
static size_t note_count, note_room;
static bool lost; /* there was no memory for one: from then on everybody may hold something */
static PyTypeObject *types[2]; /* lock, RLock; while they are watched */

static struct shell *shell_running(void)
{
	struct green *green = green_self();
	struct shell *shell = green != NULL && green->work.home != NULL ? green->attended : NULL;

	return shell != NULL && PyThreadState_Get() == shell->state ? shell : NULL;
}

static bool make_room(void)
{
	size_t room = note_room > 0 ? 2 * note_room : 16;
	struct note *more;

	if (note_count < note_room)
		return true;
	more = memory_acquire(room, sizeof *more);
	if (more == NULL)
		return false;
	if (note_count > 0)
		memcpy(more, notes, note_count * sizeof *notes);
	memory_release(notes);
	notes = more;
	note_room = room;
	return true;
}

static void note_taken(const void *lock)
{
	const struct shell *shell = shell_running();

	/* Whoever waited in a wrapper while they were taken away. */
	if (shell == NULL || types[0] == NULL)
		return;
	if (make_room())
		notes[note_count++] = (struct note){ lock, shell };
	else
		lost = true;
}

/* The last one; all of them if it is freed. */
static void strike_out(const void *lock, bool all)
{
	for (size_t i = note_count; i-- > 0;) {
		if (notes[i].lock != lock)
			continue;
		notes[i] = notes[--note_count];
		if (!all)
			return;
	}
}

bool held_by(const struct shell *shell)
{
	for (size_t i = note_count; i-- > 0;)
		if (notes[i].shell == shell)
			return true;
	return lost;
}

void held_forget_shell(const struct shell *shell)
{
	for (size_t i = note_count; i-- > 0;)
		if (notes[i].shell == shell)
			notes[i].shell = NULL;
}

/* ---- the methods ---- */

enum effect { TAKES, GIVES };

struct method {
	const char *name;
	enum effect effect;
	PyMethodDef *definition; /* NULL: this version has no such method */
	PyCFunction before;
};

#define METHODS 12

static struct method methods[METHODS] = {
	{ .name = "acquire", .effect = TAKES },
	{ .name = "acquire_lock", .effect = TAKES },
	{ .name = "__enter__", .effect = TAKES },
	{ .name = "release", .effect = GIVES },
	{ .name = "release_lock", .effect = GIVES },
	{ .name = "__exit__", .effect = GIVES },
	/* From here on of RLock. */
	{ .name = "acquire", .effect = TAKES },
	{ .name = "__enter__", .effect = TAKES },
	{ .name = "_acquire_restore", .effect = TAKES },
	{ .name = "release", .effect = GIVES },
	{ .name = "__exit__", .effect = GIVES },
	{ .name = "_release_save", .effect = GIVES },
};
#define FIRST_OF_RLOCK 6

static destructor deallocs[2];

/* release() may let others run, and another thread may then take it and be noted: so what is given
 * up is struck out before.  If that fails, it was not ours. */
static void before(int index, PyObject *lock)
{
	if (methods[index].effect == GIVES && note_count > 0)
		strike_out(lock, false);
}

static PyObject *after(int index, PyObject *lock, PyObject *result)
{
	if (methods[index].effect == TAKES && result != NULL && result != Py_False)
		note_taken(lock);
	return result;
}

typedef PyObject *fast_function(PyObject *, PyObject *const *, Py_ssize_t);
typedef PyObject *fast_keywords_function(PyObject *, PyObject *const *, Py_ssize_t, PyObject *);

/* One of them for each way in which a method can be called. */
#define WRAPPERS(index)                                                                            \
	static PyObject *plain_##index(PyObject *lock, PyObject *argument)                         \
	{                                                                                          \
		before(index, lock);                                                               \
		return after(index, lock, methods[index].before(lock, argument));                  \
	}                                                                                          \
	static PyObject *keywords_##index(PyObject *lock, PyObject *positional, PyObject *named)   \
	{                                                                                          \
		before(index, lock);                                                               \
		return after(index, lock,                                                          \
			((PyCFunctionWithKeywords)(void (*)(void))methods[index].before)(          \
				lock, positional, named));                                         \
	}                                                                                          \
	static PyObject *fast_##index(PyObject *lock, PyObject *const *values, Py_ssize_t count)   \
	{                                                                                          \
		before(index, lock);                                                               \
		return after(index, lock,                                                          \
			((fast_function *)(void (*)(void))methods[index].before)(                  \
				lock, values, count));                                             \
	}                                                                                          \
	static PyObject *fast_keywords_##index(                                                    \
		PyObject *lock, PyObject *const *values, Py_ssize_t count, PyObject *names)        \
	{                                                                                          \
		before(index, lock);                                                               \
		return after(index, lock,                                                          \
			((fast_keywords_function *)(void (*)(void))methods[index].before)(         \
				lock, values, count, names));                                      \
	}

#define EACH_METHOD(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)
EACH_METHOD(WRAPPERS)

#define FUNCTION(name) (PyCFunction)(void (*)(void)) name
#define WRAPPERS_OF(index)                                                                         \
	{ FUNCTION(plain_##index), FUNCTION(keywords_##index), FUNCTION(fast_##index),             \
		FUNCTION(fast_keywords_##index) },

static const PyCFunction wrappers[METHODS][4] = { EACH_METHOD(WRAPPERS_OF) };

static PyCFunction wrapper_for(int index, int flags)
{
	switch (flags & ~(METH_COEXIST | METH_CLASS | METH_STATIC)) {
	case METH_NOARGS:
	case METH_O:
	case METH_VARARGS:
		return wrappers[index][0];
	case METH_VARARGS | METH_KEYWORDS:
		return wrappers[index][1];
	case METH_FASTCALL:
		return wrappers[index][2];
	case METH_FASTCALL | METH_KEYWORDS:
		return wrappers[index][3];
	default:
		return NULL;
	}
}

/* ---- in and out ---- */

static int which_type(int index)
{
	return index >= FIRST_OF_RLOCK;
}

static int watch_method(int index)
{
	struct method *method = &methods[index];
	PyTypeObject *type = types[which_type(index)];
	PyObject *found = PyObject_GetAttrString((PyObject *)type, method->name);
	PyMethodDef *definition;
	PyCFunction wrapper;

	if (found == NULL) {
		PyErr_Clear();
		return 0;
	}
	definition = Py_IS_TYPE(found, &PyMethodDescr_Type)
			     ? ((PyMethodDescrObject *)found)->d_method
			     : NULL;
	Py_DECREF(found);
	wrapper = definition != NULL ? wrapper_for(index, definition->ml_flags) : NULL;
	if (wrapper == NULL) {
		PyErr_Format(PyExc_RuntimeError,
			"preemption does not know %s.%s of this Python, which tells who holds a lock",
			type->tp_name, method->name);
		return -1;
	}
	method->definition = definition;
	method->before = definition->ml_meth;
	definition->ml_meth = wrapper;
	return 0;
}

static void forget_lock(PyObject *lock)
{
	if (note_count > 0)
		strike_out(lock, true);
}

static void dealloc_lock(PyObject *lock)
{
	forget_lock(lock);
	deallocs[0](lock);
}

static void dealloc_rlock(PyObject *lock)
{
	forget_lock(lock);
	deallocs[1](lock);
}

static int find_type(int which, const char *name)
{
	PyObject *module = PyImport_ImportModule("_thread"), *found = NULL;

	if (module != NULL)
		found = PyObject_GetAttrString(module, name);
	Py_XDECREF(module);
	if (found != NULL && !PyType_Check(found))
		PyErr_Format(PyExc_RuntimeError, "_thread.%s is no type", name);
	if (found == NULL || PyErr_Occurred()) {
		Py_XDECREF(found);
		return -1;
	}
	types[which] = (PyTypeObject *)found;
	return 0;
}

int held_watch(void)
{
	int status = find_type(0, "LockType") < 0 || find_type(1, "RLock") < 0 ? -1 : 0;

	for (int i = 0; i < METHODS && status == 0; i++)
		status = watch_method(i);
	if (status < 0)
		return -1;
	deallocs[0] = types[0]->tp_dealloc;
	deallocs[1] = types[1]->tp_dealloc;
	types[0]->tp_dealloc = dealloc_lock;
	types[1]->tp_dealloc = dealloc_rlock;
	return 0;
}

void held_unwatch(void)
{
	for (int i = 0; i < METHODS; i++) {
		if (methods[i].definition != NULL)
			methods[i].definition->ml_meth = methods[i].before;
		methods[i].definition = NULL;
	}
	for (int i = 0; i < 2; i++) {
		if (deallocs[i] != NULL)
			types[i]->tp_dealloc = deallocs[i];
		deallocs[i] = NULL;
		Py_CLEAR(types[i]);
	}
	memory_release(notes);
	notes = NULL;
	note_count = note_room = 0;
	lost = false;
}
