/*
 * barrier.c - the last one to arrive claims all others under the lock: so nobody of the next round
 * can be taken for one of this.
 */
#include "block/barrier.h"

#include "base/check.h"

void barrier_init(struct barrier *barrier, uint32_t parties)
{
	FILAR_ASSERT(parties >= 1);
	waitq_init(&barrier->queue, 0);
	barrier->parties = parties;
}

uint32_t barrier_waiting(struct barrier *barrier)
{
	return (uint32_t)WAITQ_VALUE(load_relaxed(&barrier->queue.word));
}

enum filar_status barrier_wait_until(struct barrier *barrier, int64_t deadline_ns, bool *last)
{
	struct waitq_entry entry = { .kind = 0 };
	uint64_t word = waitq_lock(&barrier->queue);
	bool is_last = WAITQ_VALUE(word) + 1 == barrier->parties;
	enum filar_status status;

	if (last != NULL)
		*last = is_last;
	if (is_last) {
		struct list claimed;

		waitq_pop_all(&barrier->queue, &claimed);
		waitq_unlock(&barrier->queue, WAITQ_WORD(0));
		waitq_wake_all(&claimed);
		return FILAR_OK;
	}
	waitq_push(&barrier->queue, &entry);
	waitq_unlock(&barrier->queue, word + WAITQ_ONE);
	status = waiter_wait_until(&entry.waiter, deadline_ns, WAIT_BARRIER, WAIT_CANCELLABLE);
	if (status == FILAR_OK || !waitq_take_back(&barrier->queue, &entry, &word, WAIT_BARRIER))
		return FILAR_OK;
	waitq_unlock(&barrier->queue, word - WAITQ_ONE);
	return status;
}
