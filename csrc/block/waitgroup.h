/*
 * waitgroup.h - waits until everything that was begun is done; can be used again.
 *
 * A latch whose number may also grow.  Add before what is added can be done, and before the wait
 * that is to see it.
 */
#ifndef FILAR_BLOCK_WAITGROUP_H
#define FILAR_BLOCK_WAITGROUP_H

#include "block/latch.h"

struct waitgroup {
	struct latch latch;
};

void waitgroup_init(struct waitgroup *group, const char *name);
/* FILAR_LIMIT: more than WAITQ_VALUE_MAX; nothing has changed. */
enum filar_status waitgroup_add(struct waitgroup *group, uint64_t n);
/* One is done.  FILAR_WRONG_STATE: none is missing. */
enum filar_status waitgroup_done(struct waitgroup *group);
enum filar_status waitgroup_wait_until(struct waitgroup *group, int64_t deadline_ns);
uint64_t waitgroup_missing(struct waitgroup *group);

#endif
