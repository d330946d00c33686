/*
 * types.c - makes the types of this folder and puts them into the extension module.
 *
 * cffi writes the module's init function, so the types are added afterwards, by _lib.py.  They are
 * in one shared library with the core: a second extension would have a core of its own.
 */
#include "py/types.h"

#include <structmember.h>

#include "py/border.h"

struct named_spec {
	PyType_Spec *spec;
	PyTypeObject **keep; /* NULL: nobody needs it */
};

static PyTypeObject *side_type, *channel_type, *semaphore_type;

static PyTypeObject *add_type(PyObject *module, PyType_Spec *spec, PyTypeObject *base)
{
	PyObject *bases = base != NULL ? PyTuple_Pack(1, base) : NULL;
	PyTypeObject *type = (PyTypeObject *)PyType_FromSpecWithBases(spec, bases);

	Py_XDECREF(bases);
	/* For the life of the process: the reference stays with us, the module takes its own. */
	if (type == NULL || PyModule_AddType(module, type) < 0)
		return NULL;
	return type;
}

static bool add_all(PyObject *module, const struct named_spec *specs, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		PyTypeObject *type = add_type(module, specs[i].spec, NULL);

		if (type == NULL)
			return false;
		if (specs[i].keep != NULL)
			*specs[i].keep = type;
	}
	return true;
}

static bool add_function(PyObject *module, PyMethodDef *method)
{
	PyObject *name = PyUnicode_FromString("filar");
	PyObject *function = name != NULL ? PyCFunction_NewEx(method, NULL, name) : NULL;
	int added =
		function != NULL ? PyModule_AddObjectRef(module, method->ml_name, function) : -1;

	Py_XDECREF(name);
	Py_XDECREF(function);
	return added == 0;
}

static bool add_functions(PyObject *module)
{
	bool added = add_function(module, &py_select_method) &&
		     add_function(module, &py_raise_interrupt_method) &&
		     add_function(module, &py_may_wait_method);

	for (PyMethodDef *method = py_fd_methods; added && method->ml_name != NULL; method++)
		added = add_function(module, method);
	return added;
}

static bool install(PyObject *module, PyObject *exceptions, PyObject *selected)
{
	const struct named_spec specs[] = {
		{ &py_lock_spec, &py_lock_type },
		{ &py_rlock_spec, &py_rlock_type },
		{ &py_condition_spec, NULL },
		{ &py_semaphore_spec, &semaphore_type },
		{ &py_event_spec, NULL },
		{ &py_latch_spec, NULL },
		{ &py_waitgroup_spec, NULL },
		{ &py_rwlock_spec, NULL },
		{ &py_rwlock_side_spec, &side_type },
		{ &py_simple_queue_spec, NULL },
		{ &py_queue_core_spec, NULL },
		{ &py_channel_spec, &channel_type },
	};

	if (py_wait_prepare(exceptions) < 0 || !add_all(module, specs, FILAR_COUNT_OF(specs)) ||
		add_type(module, &py_bounded_semaphore_spec, semaphore_type) == NULL ||
		!add_functions(module))
		return false;
	py_rwlock_prepare(side_type);
	py_channel_prepare(channel_type, (PyTypeObject *)Py_NewRef(selected));
	return true;
}

int filar_py_install_types(void *module, void *exceptions, void *selected)
{
	PyGILState_STATE state = PyGILState_Ensure();
	bool done = py_lock_type != NULL || install(module, exceptions, selected);

	if (!done)
		PyErr_WriteUnraisable(module);
	PyGILState_Release(state);
	return done ? FILAR_OK
		    : status_detail(FILAR_NO_MEMORY, "the types of filar could not be made");
}
