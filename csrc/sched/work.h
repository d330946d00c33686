/*
 * work.h - what a worker runs: something with a link and a class.
 *
 * The scheduler knows nothing of green threads or tasks; they embed a struct work and say in their
 * class how it is run.  One owner at any time: a queue (through `next` or a slot of a ring), or the
 * worker that runs it, or whoever holds it back (a wait queue, a timer).
 */
#ifndef FILAR_SCHED_WORK_H
#define FILAR_SCHED_WORK_H

#include "base/compiler.h"

struct work;
struct worker;

struct work_class {
	const char *name;
	/* Runs on the worker's own stack and returns when the worker may look for other work.  The
	 * work belongs to the callee. */
	void (*run)(struct worker *worker, struct work *work);
};

struct work {
	struct work *next;              /* S  in a linked queue */
	const struct work_class *class; /* I */
	struct worker *home;            /* S  pinned.h: the only worker that may run it, or NULL */
};

/* A chain of linked work, first to last; last->next is NULL. */
struct work_chain {
	struct work *first;
	struct work *last;
	uint64_t count;
};

static inline void work_chain_push(struct work_chain *chain, struct work *work)
{
	work->next = NULL;
	if (chain->count++ == 0)
		chain->first = work;
	else
		chain->last->next = work;
	chain->last = work;
}

static inline struct work *work_chain_pop(struct work_chain *chain)
{
	struct work *work = chain->first;

	if (work == NULL)
		return NULL;
	chain->first = work->next;
	chain->count--;
	return work;
}

#endif
