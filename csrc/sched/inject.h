/*
 * inject.h - the queue for work that comes from outside the workers, or that a full run queue
 * spills.
 *
 * First in, first out, under a spinlock, linked through the work.  Not a lock-free queue: it is
 * visited once per batch, and the lock does a second job: whoever pushes from a kernel thread that
 * is not a worker holds it until it has also woken a worker, so that the runtime, which the work
 * just pushed may end, is not taken away under its feet (README.md, "Submitting from outside").
 */
#ifndef FILAR_SCHED_INJECT_H
#define FILAR_SCHED_INJECT_H

#include "sched/work.h"
#include "sync/spinlock.h"

struct inject {
	struct spinlock lock;
	struct work_chain chain; /* L */
	_Atomic uint64_t count;  /* A  written under L, read by anyone: is it worth locking? */
};

void inject_init(struct inject *inject);
void inject_lock(struct inject *inject);
void inject_unlock(struct inject *inject);
/* Appends; the chain is empty afterwards. */
void inject_push_locked(struct inject *inject, struct work_chain *chain);
/* Up to `max` from the front. */
void inject_pop(struct inject *inject, struct work_chain *chain, uint64_t max);

static inline uint64_t inject_count(struct inject *inject)
{
	return load_relaxed(&inject->count);
}

#endif
