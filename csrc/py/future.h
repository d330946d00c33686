/*
 * future.h - a future and the call it stands for, in one object.
 *
 * FutureCore is the C half; python/filar/pool.py derives the Future that users see from it and from
 * concurrent.futures.Future.  The standard class's fields (_state, _result, _condition, _waiters,
 * ...) are descriptors here, so that its own methods, wait() and as_completed() work on it.
 *
 * Two ways of changing the state:
 *   - nobody has asked for _condition or _waiters: here, under the guard, waking sleepers directly;
 *   - otherwise with the condition held: also here when it is ours and a worker does it, else by
 *     the standard class's own method; the setter of _state then wakes our sleepers.
 * Once there is a condition it stays, so that nobody who holds it sees a state change beside it.
 */
#ifndef FILAR_PY_FUTURE_H
#define FILAR_PY_FUTURE_H

#include "py/sleeper.h"

/* What a work queue holds: its links and what it is. */
enum work_kind { WORK_FUTURE, WORK_MAP };

enum work_priority { WORK_NORMAL, WORK_HIGH, WORK_LOW, WORK_PRIORITIES };

struct py_work {
	struct py_work *next;        /* G  of the queue */
	enum work_kind kind;         /* I */
	enum work_priority priority; /* I */
};

/* PENDING and RUNNING: the executor's.  The names are those of concurrent.futures. */
enum future_state {
	FUTURE_PENDING,
	FUTURE_RUNNING,
	FUTURE_CANCELLED,
	FUTURE_CANCELLED_AND_NOTIFIED,
	FUTURE_FINISHED,
	FUTURE_STATE_COUNT
};

struct future {
	PyObject_HEAD struct py_work work;
	PyObject *callable;       /* G  NULL once called */
	PyObject *arguments;      /* G  a tuple: by position, then by keyword */
	PyObject *keywords;       /* G  a tuple of names, or NULL */
	PyObject *context;        /* G  NULL: the worker's own */
	PyObject *outcome;        /* G  result, or exception if `failed` */
	PyObject *condition;      /* G  NULL until asked for */
	PyObject *waiters;        /* G  NULL until asked for */
	PyObject *callbacks;      /* G  NULL until there is one */
	struct sleeper *sleepers; /* G  threads in result() or exception() */
	uint32_t generation;      /* I  of the process: how many forks ago it was made */
	uint8_t state;            /* G  enum future_state */
	bool failed;              /* G */
	bool cancel_asked;        /* G  only grows */
	struct guard guard;
};

extern PyTypeObject future_core_type;

static inline struct future *future_of(struct py_work *work)
{
	return FILAR_CONTAINER_OF(work, struct future, work);
}

/* A PENDING future of this Python class; the rest of its fields are NULL.  NULL: exception. */
struct future *future_new(PyTypeObject *type);
/* PENDING -> RUNNING and true; CANCELLED -> CANCELLED_AND_NOTIFIED and false. */
bool future_begin(struct future *future);
/* RUNNING -> FINISHED; takes the outcome.  The sleepers that are to be woken are put on *woken,
 * which sleepers_wake() must get soon, and before any Python code runs that might wait; callbacks
 * run at the end. */
void future_complete(struct future *future, PyObject *outcome, bool failed, struct sleeper **woken);
/* Calls what the future stands for and completes it; for the one who has made it RUNNING. */
void future_run(struct future *future, struct sleeper **woken);

/* How many forks lie between the interpreter's start and this process. */
extern uint32_t process_generation;
/* Raises ForkedError and returns false if `generation` is that of a parent process. */
bool check_process(uint32_t generation, const char *what);

/* module.name, or NULL and an exception. */
PyObject *import_name(const char *module_name, const char *name);
/* Finds what is needed of the standard library; `condition` is the type of futures'
 * conditions, `settled` stands for that of all futures that are done and never had one.  False:
 * exception. */
bool future_set_up(PyObject *settled, PyObject *condition);

#endif
