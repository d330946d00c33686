/*
 * mapjob.h - the calls of one map(), in one object and one array.
 *
 * A map of a million items is one entry of the queue: workers take its items one by one, in order,
 * as they would take futures, but an item costs one slot of the array and no objects of its own.
 * It is also the iterator over the results.
 *
 * Always: given <= taken <= count, except that stopped items are never taken; a slot's owner is the
 * maker until it is counted, then the queue, then the worker that took it, then the iterator.
 */
#ifndef FILAR_PY_MAPJOB_H
#define FILAR_PY_MAPJOB_H

#include "py/workqueue.h"

enum slot_state { SLOT_WAITING, SLOT_TAKEN, SLOT_DONE, SLOT_FAILED };

struct slot {
	PyObject *value; /* S  the argument, then the outcome */
	uint8_t state;   /* G  enum slot_state */
};

struct map_job {
	PyObject_HEAD struct py_work work;
	struct work_queue *queue; /* I */
	PyObject *callable;       /* I */
	PyObject *context;        /* I  copied for each call; NULL: the worker's own */
	struct slot *slots;       /* G */
	size_t count, capacity;   /* G */
	size_t taken;             /* G */
	size_t given;             /* G  results the iterator has handed out */
	size_t stopped_at;        /* G  items from here on are never run; SIZE_MAX */
	PyObject *stopped_by;     /* G  the exception they have instead; NULL: cancelled */
	struct sleeper *sleepers; /* G  wait for slot `given` */
	int64_t deadline_ns;      /* I  of the whole iteration */
	bool spread;              /* I  an argument is a tuple of arguments */
	bool queued;              /* G */
	bool stopped;             /* G */
	bool cancel_asked;        /* G  only grows */
	struct guard *guard;      /* I  the queue's */
};

extern PyTypeObject map_job_type;

static inline struct map_job *map_job_of(struct py_work *work)
{
	return FILAR_CONTAINER_OF(work, struct map_job, work);
}

/* Under the queue's guard: the next item is the caller's; true if there are more. */
bool map_job_take(struct map_job *job, size_t *index);
void map_job_run(struct map_job *job, size_t index, struct sleeper **woken);
/* No item that has not begun will run; `exception` (NULL: cancelled) is what they have instead. */
void map_job_stop(struct map_job *job, PyObject *exception);

bool map_job_set_up(void);

#endif
