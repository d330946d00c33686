/*
 * mcslock.h - a queue of waiters, each spinning on a word of its own.
 *
 * Fair like a ticket lock, but letting go touches one waiter's line instead of everybody's: the
 * cost of a hand-over does not grow with the number of waiters.  The caller brings the queue node
 * (on its stack, most often) and gives the same one to unlock.  Mellor-Crummey and Scott 1991,
 * algorithm 5.
 */
#ifndef FILAR_SYNC_MCSLOCK_H
#define FILAR_SYNC_MCSLOCK_H

#include <stdbool.h>

#include "base/atomic.h"

/* Owned by the caller; in the queue's use from lock (or a trylock that succeeded) until unlock has
 * returned. */
struct mcsnode {
	FILAR_CACHELINE_BREAK _Atomic(struct mcsnode *)
		next;         /* A  written once, by the successor */
	_Atomic bool waiting; /* A  cleared by the predecessor */
};

struct mcslock {
	FILAR_CACHELINE_BREAK _Atomic(struct mcsnode *) tail; /* A  NULL: free */
};

_Static_assert(sizeof(struct mcsnode) == FILAR_FALSE_SHARING_BYTES, "each waiter its own line");
_Static_assert(sizeof(struct mcslock) == FILAR_FALSE_SHARING_BYTES, "nothing else on the line");

void mcslock_init(struct mcslock *lock);
/* Spins until it is the caller's turn; yields the CPU when that takes long.  Not recursive. */
void mcslock_lock(struct mcslock *lock, struct mcsnode *node);
/* Never waits; true when the lock is now the caller's. */
FILAR_MUST_USE bool mcslock_trylock(struct mcslock *lock, struct mcsnode *node);
/* The caller holds the lock with this node.  Waits (briefly) for a successor who has joined the
 * queue and not yet said so. */
void mcslock_unlock(struct mcslock *lock, struct mcsnode *node);

#endif
