/*
 * ticketlock.h - first come, first served, by a number drawn at the door.
 *
 * Fair, two words, and all who wait read the same one.  The price of the order: when the thread
 * whose turn it is has lost its CPU, everybody waits for it, although the lock is free (README.md,
 * "Locks"). Mellor-Crummey and Scott 1991, algorithm 2, with proportional backoff.
 */
#ifndef FILAR_SYNC_TICKETLOCK_H
#define FILAR_SYNC_TICKETLOCK_H

#include <stdbool.h>

#include "base/atomic.h"

/* Always: serving <= next (as distances modulo 2^32); next - serving threads hold or wait.  So at
 * most 2^32 - 1 threads may. */
struct ticketlock {
	FILAR_CACHELINE_BREAK _Atomic uint32_t next;    /* A  the next number to be drawn */
	FILAR_CACHELINE_BREAK _Atomic uint32_t serving; /* A  written by the holder only */
};

_Static_assert(sizeof(struct ticketlock) == 2 * FILAR_FALSE_SHARING_BYTES, "a line for each word");

void ticketlock_init(struct ticketlock *lock);
/* Spins until it is the caller's turn; yields the CPU when that takes long.  Not recursive. */
void ticketlock_lock(struct ticketlock *lock);
/* Never waits; true when the lock is now the caller's. */
FILAR_MUST_USE bool ticketlock_trylock(struct ticketlock *lock);
/* The caller holds it. */
void ticketlock_unlock(struct ticketlock *lock);

#endif
