/*
 * deque.h - the spawners whose child runs first: the owner takes back the youngest, thieves take
 * the oldest.
 *
 * Last in, first out for the owner, so that a tree of tasks is walked depth first: few stacks are
 * alive at once, and they are warm.  The oldest has most of the tree left, and is what a thief
 * wants.  The deque of Chase and Lev (SPAA 2005) in the orders of Le, Pop, Cohen and Zappa Nardelli
 * (PPoPP 2013), with seq_cst accesses in the place of fences.  README.md, "Run queue", has the
 * argument.  Without thieves (one worker) no operation is a read-modify-write.
 *
 * Always: top <= bottom + 1; bottom < top only while the owner pops.
 */
#ifndef FILAR_SCHED_DEQUE_H
#define FILAR_SCHED_DEQUE_H

#include "sched/runq.h"

struct deque {
	FILAR_CACHELINE_BREAK _Atomic int64_t top;    /* A  oldest; owner and thieves, only grows */
	bool shared;                                  /* I  there are thieves */
	FILAR_CACHELINE_BREAK _Atomic int64_t bottom; /* A  place of the next; owner writes */
	_Atomic(struct runq_ring *) ring;             /* A  owner writes */
};

enum filar_status deque_init(struct deque *deque, bool shared);
/* It is empty. */
void deque_deinit(struct deque *deque);

bool deque_push_slow(struct deque *deque, struct work *work);
struct work *deque_pop_shared(struct deque *deque);
/* A thief: the oldest, or NULL when there is none or another taker was faster. */
struct work *deque_steal(struct deque *deque);

/* A guess, unless nobody else is at it. */
static inline uint64_t deque_length(struct deque *deque)
{
	int64_t top = load_acquire(&deque->top), bottom = load_seq_cst(&deque->bottom);

	return bottom > top ? (uint64_t)(bottom - top) : 0;
}

/* Owner.  A guess if there are thieves: they only make it emptier. */
static FILAR_ALWAYS_INLINE bool deque_is_empty(struct deque *deque)
{
	return load_relaxed(&deque->top) >= load_relaxed(&deque->bottom);
}

/* Owner.  False when it is full and cannot grow.  A seq_cst store publishes it: the caller may go
 * on with idle_wake_one_announced(). */
static FILAR_ALWAYS_INLINE bool deque_push(struct deque *deque, struct work *work)
{
	struct runq_ring *ring = load_relaxed(&deque->ring);
	int64_t bottom = load_relaxed(&deque->bottom);
	/* V4: acquire; pairs with V3: the thief has read the slot that is now overwritten. */
	int64_t top = load_acquire(&deque->top);

	if (FILAR_UNLIKELY((uint64_t)(bottom - top) > ring->mask))
		return deque_push_slow(deque, work);
	store_relaxed(&ring->slots[(uint64_t)bottom & ring->mask], work);
	/* V1: release: the slot and the work.  Pairs with V2. */
	if (deque->shared)
		store_seq_cst(&deque->bottom, bottom + 1);
	else
		store_relaxed(&deque->bottom, bottom + 1);
	return true;
}

/* Owner.  The youngest, or NULL. */
static FILAR_ALWAYS_INLINE struct work *deque_pop(struct deque *deque)
{
	int64_t bottom = load_relaxed(&deque->bottom);
	struct runq_ring *ring;

	if (deque_is_empty(deque))
		return NULL;
	if (deque->shared)
		return deque_pop_shared(deque);
	ring = load_relaxed(&deque->ring);
	store_relaxed(&deque->bottom, bottom - 1);
	return load_relaxed(&ring->slots[(uint64_t)(bottom - 1) & ring->mask]);
}

#endif
