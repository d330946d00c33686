/*
 * mutex.h - one holder at a time, green or kernel; who holds it is known.
 *
 * States, in the word of the queue (waitq.h): no owner; owner; each with or without waiters and
 * with or without one that was woken and is on its way (WAITQ_WAKING).
 *
 * Not fair at first, fair in the end: the one that unlocks wakes the first in the queue, but
 * whoever comes by in the meantime may take the mutex.  A waiter that found it taken after such a
 * wake goes back to the front, and the next unlock gives it the mutex by hand.
 */
#ifndef FILAR_BLOCK_MUTEX_H
#define FILAR_BLOCK_MUTEX_H

#include "base/status.h"
#include "block/waitq.h"

/* Wakes in vain before a waiter is given the mutex by hand. */
#define MUTEX_LOSSES_MAX 1u

struct mutex {
	struct waitq queue;      /* the owner's token is its value */
	_Atomic uint64_t number; /* A  of the owner; the owner's, or its predecessor's, to write */
	const char *name;        /* I  for messages; may be NULL */
};

void mutex_init(struct mutex *mutex, const char *name);
/*
 * FILAR_OK: it is the caller's.  FILAR_TIMED_OUT, FILAR_CANCELLED (green threads),
 * FILAR_INTERRUPTED (kernel threads: a signal).  FILAR_DEADLOCK: the caller holds it, or those
 * that the caller would wait for wait for the caller; the detail names them (deadlock.h).
 */
enum filar_status mutex_lock_until(struct mutex *mutex, int64_t deadline_ns);
/* Never waits.  FILAR_BUSY: held; the detail says by whom. */
enum filar_status mutex_trylock(struct mutex *mutex);
/* FILAR_WRONG_STATE: not the caller's; the detail names both. */
enum filar_status mutex_unlock(struct mutex *mutex);
bool mutex_is_mine(struct mutex *mutex);
/* A moment's view; token 0: nobody. */
struct owner mutex_owner(struct mutex *mutex);

/* For cond.c: cannot fail, not even by a cancel. */
void mutex_lock_shielded(struct mutex *mutex);

/*
 * The same mutex for those who may let go what somebody else took, as Python's threading.Lock
 * allows: nobody is its owner, so there is no deadlock to find, and locking it twice waits for
 * whoever unlocks it.  A mutex is used this way or the other, never both.
 */
enum filar_status mutex_lock_unowned_until(struct mutex *mutex, int64_t deadline_ns);
void mutex_lock_unowned_shielded(struct mutex *mutex);
bool mutex_trylock_unowned(struct mutex *mutex);
/* FILAR_WRONG_STATE: it is not locked; without a detail. */
enum filar_status mutex_unlock_unowned(struct mutex *mutex);

#endif
