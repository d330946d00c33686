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
	spinlock_init_ranked(lock, RANK_NONE);
}

void spinlock_init_ranked(struct spinlock *lock, enum lock_rank rank)
{
	atomic_init(&lock->held, 0);
#if FILAR_LOCKRANK
	lock->rank = rank;
#else
	(void)rank;
#endif
}

static bool take(struct spinlock *lock)
{
	/* S2, again; the look before it keeps a loop of trylocks from stealing the holder's line.
	 */
	return load_relaxed(&lock->held) == 0 && exchange_acquire(&lock->held, 1) == 0;
}

bool spinlock_trylock(struct spinlock *lock)
{
	bool taken = take(lock);

	/* Whoever does not wait may come in any order. */
	if (taken)
		lockrank_push(SPINLOCK_RANK(lock), lock);
	return taken;
}

void spinlock_lock_slow(struct spinlock *lock)
{
	struct backoff backoff;

	backoff_init(&backoff);
	while (!take(lock))
		backoff_wait(&backoff);
}

void spinlock_unlock(struct spinlock *lock)
{
	FILAR_ASSERT(load_relaxed(&lock->held) == 1);
	lockrank_pop(SPINLOCK_RANK(lock), lock);
	/* S1: release; pairs with S2. */
	store_release(&lock->held, 0);
}
