/*
 * semaphore.h - a number of units; taking one waits while there is none.
 *
 * Fair: a released unit is given to the one that has waited longest; nobody can take it in between.
 */
#ifndef FILAR_BLOCK_SEMAPHORE_H
#define FILAR_BLOCK_SEMAPHORE_H

#include "base/status.h"
#include "block/waitq.h"

struct semaphore {
	struct waitq queue; /* value: units that are there; if anybody waits, none */
	uint64_t max;       /* I */
	const char *name;   /* I  for messages; may be NULL */
};

/* value <= max <= WAITQ_VALUE_MAX. */
void semaphore_init(struct semaphore *semaphore, uint64_t value, uint64_t max, const char *name);
/* Takes one unit.  FILAR_TIMED_OUT, FILAR_CANCELLED, FILAR_INTERRUPTED: took none. */
enum filar_status semaphore_acquire_until(struct semaphore *semaphore, int64_t deadline_ns);
/* Never waits; FILAR_BUSY: there is none. */
enum filar_status semaphore_try_acquire(struct semaphore *semaphore);
/* Gives n units.  FILAR_WRONG_STATE: there would be more than max; nothing has changed. */
enum filar_status semaphore_release(struct semaphore *semaphore, uint64_t n);
uint64_t semaphore_value(struct semaphore *semaphore);

#endif
