/*
 * runq.h - a worker's own run queue: first in, first out; the owner pushes and pops, thieves take
 * from the front.
 *
 * A ring of pointers that doubles when it is full, up to RUNQ_SLOTS_MAX; then runq_push() refuses
 * and the owner moves half of it elsewhere.  A ring and not a list: a thief takes many with one
 * compare-and-swap, and popping does not touch the work popped.  Without thieves (one worker) no
 * operation is a read-modify-write.
 *
 * Orders and their proof: README.md, "Run queue".  After the queue of the Go runtime, with the
 * growth of Chase and Lev's deque (SPAA 2005).
 *
 * Always: head <= tail <= head + slots of the current ring.
 */
#ifndef FILAR_SCHED_RUNQ_H
#define FILAR_SCHED_RUNQ_H

#include <stdbool.h>

#include "base/atomic.h"
#include "base/status.h"
#include "sched/work.h"

#if FILAR_HARD
#define RUNQ_SLOTS_FIRST 4u
#define RUNQ_SLOTS_MAX   4u
#define RUNQ_STEAL_MAX   2u
#elif FILAR_INTERLEAVE
#define RUNQ_SLOTS_FIRST 2u
#define RUNQ_SLOTS_MAX   4u
#define RUNQ_STEAL_MAX   2u
#else
#define RUNQ_SLOTS_FIRST 256u
#define RUNQ_SLOTS_MAX   (1u << 20)
#define RUNQ_STEAL_MAX   128u
#endif

struct runq_ring {
	uint64_t mask;                  /* I  slots - 1 */
	struct runq_ring *older;        /* I  outgrown, but a thief may still read it */
	_Atomic(struct work *) slots[]; /* A  relaxed; head and tail publish them */
};

/* A ring, empty; NULL: no memory. */
struct runq_ring *runq_ring_create(uint64_t slots, struct runq_ring *older);
/* With those it has outgrown. */
void runq_ring_destroy(struct runq_ring *ring);
/* Full: one of twice the size with what is in [head, tail); NULL: it is as large as can be. Thieves
 * may read the old one until the queue ends. */
struct runq_ring *runq_ring_grow(struct runq_ring *old, uint64_t head, uint64_t tail);

struct runq {
	FILAR_CACHELINE_BREAK _Atomic uint64_t head; /* A  next to pop; owner and thieves */
	bool shared;                                 /* I  there are thieves */
	FILAR_CACHELINE_BREAK _Atomic uint64_t tail; /* A  next to push; owner writes */
	_Atomic(struct runq_ring *) ring;            /* A  owner writes */
};

enum filar_status runq_init(struct runq *queue, bool shared);
/* The queue is empty. */
void runq_deinit(struct runq *queue);

/* Owner.  False when the ring is full and cannot grow. */
bool runq_push_slow(struct runq *queue, struct work *work);
struct work *runq_pop_shared(struct runq *queue);

/* Owner: takes about half of the queue from its front, at least one if there is one. */
void runq_take_half(struct runq *queue, struct work_chain *chain);

/* A thief: takes about half of the victim's work, oldest first, into taken[RUNQ_STEAL_MAX]; how
 * many. 0 when the victim has none or another taker was faster. */
uint32_t runq_steal(struct runq *victim, struct work **taken);

/* A guess, unless nobody else is at it. */
static inline uint64_t runq_length(struct runq *queue)
{
	/* seq_cst: one that is about to sleep sees what was announced. */
	uint64_t head = load_acquire(&queue->head), tail = load_seq_cst(&queue->tail);

	return tail > head ? tail - head : 0;
}

/* Owner.  A guess if there are thieves: they only make it emptier. */
static FILAR_ALWAYS_INLINE bool runq_is_empty(struct runq *queue)
{
	return load_relaxed(&queue->head) == load_relaxed(&queue->tail);
}

static FILAR_ALWAYS_INLINE bool runq_push_ordered(
	struct runq *queue, struct work *work, bool announced)
{
	struct runq_ring *ring = load_relaxed(&queue->ring);
	uint64_t tail = load_relaxed(&queue->tail);
	/* Q4: acquire; pairs with Q3: the thief has read the slot that is now overwritten. */
	uint64_t head = load_acquire(&queue->head);

	if (FILAR_UNLIKELY(tail - head > ring->mask))
		return runq_push_slow(queue, work);
	store_relaxed(&ring->slots[tail & ring->mask], work);
	/* Q1: release: the slot, the work and whatever it owns (saved registers).  Pairs with Q2.
	 */
	if (announced)
		store_seq_cst(&queue->tail, tail + 1);
	else
		store_release(&queue->tail, tail + 1);
	return true;
}

/* Owner. */
static FILAR_ALWAYS_INLINE bool runq_push(struct runq *queue, struct work *work)
{
	return runq_push_ordered(queue, work, false);
}

/* Owner.  By a seq_cst store: the caller may go on with idle_wake_one_announced(). */
static FILAR_ALWAYS_INLINE bool runq_push_announced(struct runq *queue, struct work *work)
{
	return runq_push_ordered(queue, work, true);
}

/* What is popped soon is fetched now: the work itself, and what lies right below it, where a green
 * thread has its descriptor and the top of its stack.  Does nothing for short queues. */
#define RUNQ_AHEAD 4u
static FILAR_ALWAYS_INLINE void runq_prefetch(struct runq_ring *ring, uint64_t head, uint64_t tail)
{
	const char *ahead;

	if (tail - head <= RUNQ_AHEAD)
		return;
	ahead = (const char *)load_relaxed(&ring->slots[(head + RUNQ_AHEAD) & ring->mask]);
	__builtin_prefetch(ahead, 1);
	for (int line = 1; line <= 4; line++)
		__builtin_prefetch(ahead - line * FILAR_CACHELINE_BYTES, 1);
}

/* Owner.  The oldest, or NULL. */
static FILAR_ALWAYS_INLINE struct work *runq_pop(struct runq *queue)
{
	struct runq_ring *ring;
	uint64_t head, tail;

	if (queue->shared)
		return runq_pop_shared(queue);
	head = load_relaxed(&queue->head);
	tail = load_relaxed(&queue->tail);
	if (head == tail)
		return NULL;
	ring = load_relaxed(&queue->ring);
	runq_prefetch(ring, head, tail);
	store_relaxed(&queue->head, head + 1);
	return load_relaxed(&ring->slots[head & ring->mask]);
}

#endif
