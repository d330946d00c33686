/*
 * waitgroup.c - a latch that can be set again.
 */
#include "block/waitgroup.h"

void waitgroup_init(struct waitgroup *group, const char *name)
{
	latch_init(&group->latch, 0, name);
	group->latch.reason = WAIT_WAITGROUP;
}

enum filar_status waitgroup_add(struct waitgroup *group, uint64_t n)
{
	struct waitq *queue = &group->latch.queue;
	uint64_t word = load_relaxed(&queue->word);

	/* Nobody waits for a number to grow, so the queue is not looked at. */
	do {
		if (FILAR_UNLIKELY(n > WAITQ_VALUE_MAX - WAITQ_VALUE(word)))
			return status_detail(FILAR_LIMIT, "a waitgroup counts to %llu at most",
				(unsigned long long)WAITQ_VALUE_MAX);
		if (FILAR_UNLIKELY((word & WAITQ_LOCKED) != 0)) {
			word = waitq_lock(queue);
			waitq_unlock(queue, word);
		}
		/* B2, by a compare-and-swap: acquire. */
	} while (!cas_acquire(&queue->word, &word, word + WAITQ_WORD(n)));
	return FILAR_OK;
}

enum filar_status waitgroup_done(struct waitgroup *group)
{
	return latch_count_down(&group->latch, 1);
}

enum filar_status waitgroup_wait_until(struct waitgroup *group, int64_t deadline_ns)
{
	return latch_wait_until(&group->latch, deadline_ns);
}

uint64_t waitgroup_missing(struct waitgroup *group)
{
	return latch_missing(&group->latch);
}
