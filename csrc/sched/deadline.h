/*
 * deadline.h - who wants to be told at what time: a heap whose links are inside the entries.
 *
 * A pairing heap (Fredman, Sedgewick, Sleator, Tarjan 1986) under a spinlock: adding and cancelling
 * never allocate and so never fail.  `earliest` can be read without the lock.
 *
 * Always: an entry's fire() runs under the lock, so once deadlines_cancel() has returned, the entry
 * will not fire and is not firing.
 */
#ifndef FILAR_SCHED_DEADLINE_H
#define FILAR_SCHED_DEADLINE_H

#include <stdbool.h>

#include "sync/spinlock.h"

struct deadline {
	int64_t at_ns;            /* L  CLOCK_MONOTONIC */
	struct deadline *child;   /* L  first of the entries below */
	struct deadline *sibling; /* L  next with the same parent */
	struct deadline *before;  /* L  the sibling before, or the parent of the first child */
	bool armed;               /* L */
	void (*fire)(struct deadline *); /* I  may not add or cancel deadlines */
};

struct deadlines {
	struct spinlock lock;
	struct deadline *root; /* L */
	_Atomic int64_t
		earliest;       /* A  at_ns of the root, DEADLINE_NEVER without; written under L */
	_Atomic uint64_t fired; /* A  written under L */
};

void deadlines_init(struct deadlines *deadlines);
/* True when it is the new earliest: whoever sleeps until the earliest must be told. */
FILAR_MUST_USE bool deadlines_add(struct deadlines *deadlines, struct deadline *deadline);
/* Harmless when it has fired or was never added. */
void deadlines_cancel(struct deadlines *deadlines, struct deadline *deadline);
/* Fires all that are due at now_ns; how many. */
uint64_t deadlines_fire(struct deadlines *deadlines, int64_t now_ns);

static inline int64_t deadlines_earliest(struct deadlines *deadlines)
{
	return load_relaxed(&deadlines->earliest);
}

#endif
