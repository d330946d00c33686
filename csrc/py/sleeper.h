/*
 * sleeper.h - a Python thread that waits for a future, a result of a map, or room in a queue.
 *
 * A sleeper lives on the stack of the thread that waits; it is on a list under a guard until its
 * waker takes it from there.  Kernel threads and green threads wait alike (green/waiter.h).
 */
#ifndef FILAR_PY_SLEEPER_H
#define FILAR_PY_SLEEPER_H

#include "green/waiter.h"
#include "py/guard.h"

struct sleeper {
	struct waiter waiter;
	struct sleeper *next; /* G  then the waker's */
};

enum sleep_end { SLEEP_WOKEN, SLEEP_TIMED_OUT, SLEEP_RAISED };

/* Under the guard. */
void sleeper_push(struct sleeper **list, struct sleeper *sleeper);
/*
 * Waits without the GIL until woken.  SLEEP_TIMED_OUT and SLEEP_RAISED (a signal handler, or a
 * green thread was cancelled; the exception is set): the sleeper is off the list, and no wake went
 * astray: if one came too late to be refused, the end is SLEEP_WOKEN, or SLEEP_RAISED with
 * *was_woken.
 */
enum sleep_end sleeper_wait(struct sleeper *sleeper, struct sleeper **list, struct guard *guard,
	int64_t deadline_ns, bool *was_woken);
/* Wakes all of a list that is the caller's by now. */
void sleepers_wake(struct sleeper *list);

#endif
