/*
 * inject.c - a linked list under a lock.
 */
#include "sched/inject.h"

#include "base/check.h"

void inject_init(struct inject *inject)
{
	spinlock_init_ranked(&inject->lock, RANK_INJECT);
	inject->chain = (struct work_chain){ 0 };
	atomic_init(&inject->count, 0);
}

void inject_lock(struct inject *inject)
{
	spinlock_lock(&inject->lock);
}

void inject_unlock(struct inject *inject)
{
	spinlock_unlock(&inject->lock);
}

void inject_push_locked(struct inject *inject, struct work_chain *chain)
{
	struct work_chain *queue = &inject->chain;

	if (chain->count == 0)
		return;
	if (queue->count == 0)
		queue->first = chain->first;
	else
		queue->last->next = chain->first;
	queue->last = chain->last;
	queue->count += chain->count;
	/* M3: release, what the pusher has posted before; pairs with M4. */
	store_release(&inject->count, queue->count);
	*chain = (struct work_chain){ 0 };
}

void inject_pop(struct inject *inject, struct work_chain *chain, uint64_t max)
{
	if (inject_count(inject) == 0)
		return;
	inject_lock(inject);
	for (uint64_t i = 0; i < max; i++) {
		struct work *work = work_chain_pop(&inject->chain);

		if (work == NULL)
			break;
		work_chain_push(chain, work);
	}
	store_relaxed(&inject->count, inject->chain.count);
	inject_unlock(inject);
}
