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
	uint64_t word = waitq_lock(&group->latch.queue);
	bool fits = n <= WAITQ_VALUE_MAX - WAITQ_VALUE(word);

	waitq_unlock(&group->latch.queue, fits ? word + WAITQ_WORD(n) : word);
	if (fits)
		return FILAR_OK;
	return status_detail(FILAR_LIMIT, "a waitgroup counts to %llu at most",
		(unsigned long long)WAITQ_VALUE_MAX);
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
