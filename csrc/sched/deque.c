/*
 * deque.c - growth, and what happens where owner and thieves meet.  The labels are those of
 * README.md, "Run queue".
 */
#include "sched/deque.h"

enum filar_status deque_init(struct deque *deque, bool shared)
{
	struct runq_ring *ring = runq_ring_create(RUNQ_SLOTS_FIRST, NULL);

	if (ring == NULL)
		return status_detail(FILAR_NO_MEMORY, "no memory for a run queue");
	atomic_init(&deque->top, 0);
	atomic_init(&deque->bottom, 0);
	atomic_init(&deque->ring, ring);
	deque->shared = shared;
	return FILAR_OK;
}

void deque_deinit(struct deque *deque)
{
	runq_ring_destroy(load_relaxed(&deque->ring));
}

bool deque_push_slow(struct deque *deque, struct work *work)
{
	int64_t top = load_acquire(&deque->top), bottom = load_relaxed(&deque->bottom);
	struct runq_ring *ring =
		runq_ring_grow(load_relaxed(&deque->ring), (uint64_t)top, (uint64_t)bottom);

	if (ring == NULL)
		return false;
	/* V5: release; pairs with V6: whoever sees the ring sees the copies. */
	store_release(&deque->ring, ring);
	store_relaxed(&ring->slots[(uint64_t)bottom & ring->mask], work);
	/* V1, again. */
	store_seq_cst(&deque->bottom, bottom + 1);
	return true;
}

struct work *deque_pop_shared(struct deque *deque)
{
	struct runq_ring *ring = load_relaxed(&deque->ring);
	int64_t bottom = load_relaxed(&deque->bottom) - 1, top;
	struct work *work;

	/* V7: seq_cst, before the look at `top`.  Pairs with V8: of owner and thief, one sees that
	 * the other wants the last one, and then the compare-and-swap of `top` decides. */
	store_seq_cst(&deque->bottom, bottom);
	top = load_seq_cst(&deque->top);
	if (top > bottom) {
		store_relaxed(&deque->bottom, bottom + 1);
		return NULL;
	}
	work = load_relaxed(&ring->slots[(uint64_t)bottom & ring->mask]);
	if (top < bottom)
		return work;
	/* V3, by the owner: the last one. */
	if (!cas_seq_cst(&deque->top, &top, top + 1))
		work = NULL;
	store_relaxed(&deque->bottom, bottom + 1);
	return work;
}

struct work *deque_steal(struct deque *deque)
{
	/* V8: seq_cst, before the look at `bottom`.  Pairs with V7. */
	int64_t top = load_seq_cst(&deque->top);
	/* V2: acquire; pairs with V1. */
	int64_t bottom = load_seq_cst(&deque->bottom);
	struct runq_ring *ring;
	struct work *work;

	if (top >= bottom)
		return NULL;
	/* V6: acquire; pairs with V5. */
	ring = load_acquire(&deque->ring);
	work = load_relaxed(&ring->slots[(uint64_t)top & ring->mask]);
	/* V3: release: the slot has been read.  Pairs with V4. */
	return cas_seq_cst(&deque->top, &top, top + 1) ? work : NULL;
}
