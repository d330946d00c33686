/*
 * aside.h - waking a worker away from the waker's CPU, by a waker that goes on computing there.
 *
 * As idle_wake_one(), to which it falls back; README.md, "Waking aside", says what for.
 */
#ifndef FILAR_SCHED_ASIDE_H
#define FILAR_SCHED_ASIDE_H

#include "sched/scheduler.h"

void aside_wake_one_slow(struct scheduler *scheduler, uint64_t word);
static inline void aside_wake_one(struct scheduler *scheduler)
{
	/* I2: as idle_wake_one(). */
	uint64_t word = fetch_add_seq_cst(&scheduler->idle.word, 0);

	if (IDLE_SEARCHING(word) == 0 && IDLE_SLEEPING(word) > IDLE_GRANTED(word))
		aside_wake_one_slow(scheduler, word);
}

/* By the worker at its end: nobody changes its CPUs from now on.  Its tid may soon be another's. */
void aside_end(struct worker *worker);

#endif
