/*
 * spinlock.c - the waiting half.  The labels are those of README.md, "Locks".
 *
 * A failed exchange takes the line away from the holder, who needs it to let go.  So waiters only
 * read until they see the word free (their copies stay shared meanwhile), and try again then.
 */
#include "sync/spinlock.h"

#include "base/check.h"
#include "sync/backoff.h"

void spinlock_init(struct spinlock *lock)
{
	atomic_init(&lock->held, 0);
}

bool spinlock_trylock(struct spinlock *lock)
{
	/* S2, again; the look before it keeps a loop of trylocks from stealing the holder's line.
	 */
	return load_relaxed(&lock->held) == 0 && exchange_acquire(&lock->held, 1) == 0;
}

void spinlock_lock_slow(struct spinlock *lock)
{
	struct backoff backoff;

	backoff_init(&backoff);
	while (!spinlock_trylock(lock))
		backoff_wait(&backoff);
}

void spinlock_unlock(struct spinlock *lock)
{
	FILAR_ASSERT(load_relaxed(&lock->held) == 1);
	/* S1: release; pairs with S2. */
	store_release(&lock->held, 0);
}
