/*
 * lockrank.h - the order in which a kernel thread may take our internal locks, checked while it
 * runs (debug builds).
 *
 * Each lock has a rank; whoever holds one may take only those of a higher rank, and of its own only
 * at a higher address.  So no circle of waits is possible among them, whatever threads do.  A
 * violation prints both locks and stops, also when nobody happened to be in the way.  Held are
 * spinlocks and the lock bit of waitq.h, never over a switch of stacks; locks of RANK_NONE are
 * nobody's business.
 */
#ifndef FILAR_BASE_LOCKRANK_H
#define FILAR_BASE_LOCKRANK_H

#include "base/compiler.h"

/* From the outside in: who holds one may take those below. */
#define LOCK_RANKS(X)                                                                              \
	X(NONE, "no rank")                                                                         \
	X(LANE, "a pool's queue of calls")                                                         \
	X(LOOPS, "a pool's loops")                                                                 \
	X(OBJECT, "something to wait on")                                                          \
	X(DEADLOCK, "a shard of the deadlock detector")                                            \
	X(OUTSIDE, "spawns from outside")                                                          \
	X(DEADLINES, "deadlines")                                                                  \
	X(BLOCKING, "blocking workers")                                                            \
	X(STACKS, "the pool of stacks")                                                            \
	X(INBOX, "a worker's inbox")                                                               \
	X(INJECT, "the inject queue")

enum lock_rank {
#define X(name, text) RANK_##name,
	LOCK_RANKS(X)
#undef X
};

/* Stacks of "kernel threads" on one real thread would mix (tests/c/interleave.h). */
#if defined(FILAR_DEBUG) && !FILAR_INTERLEAVE
#define FILAR_LOCKRANK 1
/* Before waiting for the lock. */
void lockrank_check(enum lock_rank rank, const void *lock);
/* It is the caller's now, and no longer. */
void lockrank_push(enum lock_rank rank, const void *lock);
void lockrank_pop(enum lock_rank rank, const void *lock);
#else
#define FILAR_LOCKRANK             0
#define lockrank_check(rank, lock) ((void)0)
#define lockrank_push(rank, lock)  ((void)0)
#define lockrank_pop(rank, lock)   ((void)0)
#endif

#endif
