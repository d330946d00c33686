/*
 * condition.h - what a future gives to those who ask for its _condition.
 *
 * A threading.Condition in all that is asked of it, with a recursive lock of its own; wait() and
 * those who are notified are left to a standard Condition around that lock, which is made when
 * somebody waits.  concurrent.futures.wait() asks each of its futures for one.
 */
#ifndef FILAR_PY_CONDITION_H
#define FILAR_PY_CONDITION_H

#include "py/sleeper.h"

struct condition {
	PyObject_HEAD PyThreadState
		*owner;           /* G  NULL: free.  A green thread has a thread state of its own */
	size_t depth;             /* G  how often the owner has taken it */
	struct sleeper *sleepers; /* G */
	PyObject *waiting;        /* G  the standard condition, or NULL: nobody has ever waited */
	struct guard guard;
};

extern PyTypeObject condition_type;

PyObject *condition_new(void);
/* Blocks; false: exception. */
bool condition_acquire(struct condition *condition);
void condition_release(struct condition *condition);
/* By the owner; false: exception. */
bool condition_notify_all(struct condition *condition);

bool condition_set_up(void);

#endif
