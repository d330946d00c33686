/*
 * types.h - the types of this folder, and the objects whose insides others need.
 */
#ifndef FILAR_PY_TYPES_H
#define FILAR_PY_TYPES_H

#include "py/park.h"

#include "block/recursive.h"
#include "py/arguments.h"

struct py_lock {
	PyObject ob_base;
	struct mutex mutex; /* without an owner */
	uint32_t forks;     /* py_forks when its waiters were last known */
	PyObject *weakrefs;
};

struct py_rlock {
	PyObject ob_base;
	struct recursive recursive;
	uint32_t forks;
	PyObject *weakrefs;
};

/* In the child of a fork those who waited are the parent's threads: they are forgotten at first
 * use.
 */
static inline void py_after_fork(struct waitq *queue, uint32_t *forks)
{
	if (FILAR_UNLIKELY(*forks != py_forks)) {
		waitq_after_fork(queue);
		*forks = py_forks;
	}
}

static inline struct mutex *py_mutex_of(PyObject *lock)
{
	struct py_lock *self = (struct py_lock *)lock;

	py_after_fork(&self->mutex.queue, &self->forks);
	return &self->mutex;
}

static inline struct recursive *py_recursive_of(PyObject *lock)
{
	struct py_rlock *self = (struct py_rlock *)lock;

	py_after_fork(&self->recursive.mutex.queue, &self->forks);
	return &self->recursive;
}

/* Methods of exactly these types, for Condition. */
PyObject *py_lock_enter(PyObject *self, PyObject *unused);
PyObject *py_lock_release(PyObject *self, PyObject *unused);
PyObject *py_rlock_enter(PyObject *self, PyObject *unused);
PyObject *py_rlock_release(PyObject *self, PyObject *unused);

/* Made once, at import; the module and these keep them for the life of the process. */
extern PyTypeObject *py_lock_type, *py_rlock_type;

extern PyType_Spec py_lock_spec, py_rlock_spec, py_condition_spec, py_semaphore_spec,
	py_bounded_semaphore_spec, py_event_spec, py_latch_spec, py_waitgroup_spec, py_rwlock_spec,
	py_rwlock_side_spec, py_simple_queue_spec, py_queue_core_spec, py_channel_spec;
extern PyMethodDef py_select_method;
extern PyMethodDef py_fd_methods[]; /* ends with one without a name */

/* The types that these need to make or to know. */
void py_rwlock_prepare(PyTypeObject *side);
void py_channel_prepare(PyTypeObject *channel, PyTypeObject *selected);

#endif
