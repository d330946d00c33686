/*
 * runq.c - growth, and what thieves do.  The labels are those of README.md, "Run queue".
 */
#include "sched/runq.h"

#include "base/check.h"
#include "base/memory.h"

struct runq_ring *runq_ring_create(uint64_t slots, struct runq_ring *older)
{
	struct runq_ring *ring =
		memory_acquire(1, sizeof *ring + slots * sizeof(_Atomic(struct work *)));

	if (ring == NULL)
		return NULL;
	ring->mask = slots - 1;
	ring->older = older;
	return ring;
}

void runq_ring_destroy(struct runq_ring *ring)
{
	struct runq_ring *older;

	for (; ring != NULL; ring = older) {
		older = ring->older;
		memory_release(ring);
	}
}

struct runq_ring *runq_ring_grow(struct runq_ring *old, uint64_t head, uint64_t tail)
{
	struct runq_ring *ring;

	if (old->mask + 1 >= RUNQ_SLOTS_MAX)
		return NULL;
	ring = runq_ring_create((old->mask + 1) * 2, old);
	for (uint64_t i = head; ring != NULL && i != tail; i++)
		store_relaxed(
			&ring->slots[i & ring->mask], load_relaxed(&old->slots[i & old->mask]));
	return ring;
}

enum filar_status runq_init(struct runq *queue, bool shared)
{
	struct runq_ring *ring = runq_ring_create(RUNQ_SLOTS_FIRST, NULL);

	if (ring == NULL)
		return status_detail(FILAR_NO_MEMORY, "no memory for a run queue");
	atomic_init(&queue->head, 0);
	atomic_init(&queue->tail, 0);
	atomic_init(&queue->ring, ring);
	queue->shared = shared;
	return FILAR_OK;
}

void runq_deinit(struct runq *queue)
{
	runq_ring_destroy(load_relaxed(&queue->ring));
}

bool runq_push_slow(struct runq *queue, struct work *work)
{
	uint64_t tail = load_relaxed(&queue->tail);
	struct runq_ring *ring =
		runq_ring_grow(load_relaxed(&queue->ring), load_acquire(&queue->head), tail);

	if (ring == NULL)
		return false;
	/* Q5: release; pairs with Q6: whoever sees the ring sees the copies. */
	store_release(&queue->ring, ring);
	store_relaxed(&ring->slots[tail & ring->mask], work);
	/* Q1, again; seq_cst, should the caller announce it. */
	store_seq_cst(&queue->tail, tail + 1);
	return true;
}

struct work *runq_pop_shared(struct runq *queue)
{
	struct runq_ring *ring = load_relaxed(&queue->ring);
	uint64_t tail = load_relaxed(&queue->tail);
	uint64_t head = load_acquire(&queue->head);

	runq_prefetch(ring, head, tail);
	while (head != tail) {
		struct work *work = load_relaxed(&ring->slots[head & ring->mask]);

		/* Q3, by the owner. */
		if (FILAR_LIKELY(cas_acq_rel(&queue->head, &head, head + 1)))
			return work;
	}
	return NULL;
}

/* How many of `length` a taker may have: half, rounded up. */
static uint64_t half_of(uint64_t length)
{
	uint64_t half = length - length / 2;

	return half < RUNQ_STEAL_MAX ? half : RUNQ_STEAL_MAX;
}

/* Reads `count` slots from head on, then claims them; false when somebody else was faster, and then
 * what was read means nothing. */
static bool take(struct runq *queue, uint64_t head, uint64_t count, struct work **taken)
{
	/* Q6: acquire; pairs with Q5.  The ring is read after tail (Q2), so it is the one whose
	 * tail that was, or a later one that holds the same work. */
	struct runq_ring *ring = load_acquire(&queue->ring);

	for (uint64_t i = 0; i < count; i++)
		taken[i] = load_relaxed(&ring->slots[(head + i) & ring->mask]);
	/* Q3: release: the slots have been read.  Pairs with Q4. */
	return cas_acq_rel(&queue->head, &head, head + count);
}

void runq_take_half(struct runq *queue, struct work_chain *chain)
{
	struct work *taken[RUNQ_STEAL_MAX];
	uint64_t head, count;

	do {
		head = load_acquire(&queue->head);
		count = half_of(load_relaxed(&queue->tail) - head);
		if (count == 0)
			return;
	} while (!take(queue, head, count, taken));
	for (uint64_t i = 0; i < count; i++)
		work_chain_push(chain, taken[i]);
}

uint32_t runq_steal(struct runq *victim, struct work **taken)
{
	uint64_t head = load_acquire(&victim->head);
	/* Q2: acquire; pairs with Q1. */
	uint64_t tail = load_acquire(&victim->tail);
	uint64_t count = tail > head ? half_of(tail - head) : 0;

	return count > 0 && take(victim, head, count, taken) ? (uint32_t)count : 0;
}
