/*
 * spinlock.h - test-and-test-and-set: one word, no order among those who wait.
 *
 * For sections of a few dozen instructions that never sleep, allocate or call out.  Not fair:
 * whoever looks at the right moment gets it.  States of the word: 0 free, 1 held.  README.md,
 * "Locks", says when to use which lock.
 */
#ifndef FILAR_SYNC_SPINLOCK_H
#define FILAR_SYNC_SPINLOCK_H

#include <stdbool.h>

#include "base/atomic.h"
#include "base/lockrank.h"

/* The word has its line to itself: waiters that look at it must not slow down the data it guards.
 */
struct spinlock {
	FILAR_CACHELINE_BREAK _Atomic uint32_t held; /* A */
#if FILAR_LOCKRANK
	enum lock_rank rank; /* I */
#endif
};

#if FILAR_LOCKRANK
#define SPINLOCK_RANK(lock) ((lock)->rank)
#else
#define SPINLOCK_RANK(lock) RANK_NONE
#endif

_Static_assert(sizeof(struct spinlock) == FILAR_FALSE_SHARING_BYTES, "nothing else on the line");

void spinlock_init(struct spinlock *lock);
/* With its place in the order of internal locks. */
void spinlock_init_ranked(struct spinlock *lock, enum lock_rank rank);
void spinlock_lock_slow(struct spinlock *lock);
/* Never waits; true when the lock is now the caller's. */
FILAR_MUST_USE bool spinlock_trylock(struct spinlock *lock);
/* The caller holds it. */
void spinlock_unlock(struct spinlock *lock);

/* Spins until the lock is the caller's; yields the CPU when that takes long.  Not recursive. */
static inline void spinlock_lock(struct spinlock *lock)
{
	lockrank_check(SPINLOCK_RANK(lock), lock);
	/* S2: acquire; pairs with S1 in spinlock_unlock(): the section before is visible. */
	if (FILAR_UNLIKELY(exchange_acquire(&lock->held, 1) != 0))
		spinlock_lock_slow(lock);
	lockrank_push(SPINLOCK_RANK(lock), lock);
}

#endif
