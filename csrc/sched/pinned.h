/*
 * pinned.h - work that only one worker may run: a queue that nobody steals from, and an inbox.
 *
 * Work is pinned while it runs, to the worker that runs it; from then on whoever makes it runnable
 * (scheduler_ready, scheduler_submit, a yield) sends it there.  The worker itself puts it straight
 * into its queue; everybody else puts it into the inbox and wakes that worker, no other one.  The
 * proof that nothing is left in an inbox is in README.md, "Pinned work".
 *
 * Always: work in queue, next slot or inbox has work->home == the worker.
 */
#ifndef FILAR_SCHED_PINNED_H
#define FILAR_SCHED_PINNED_H

#include <stdbool.h>

#include "base/atomic.h"
#include "sched/work.h"
#include "sync/spinlock.h"

struct pinned {
	struct work *next;       /* W  what was just woken runs next */
	uint32_t streak;         /* W  picks from it in a row */
	bool turn;               /* W  this slot's, after one of the other queue */
	struct work_chain queue; /* W  first in, first out */
	uint64_t other_picks;    /* W  left of this round, from what others may steal */
	uint64_t own_picks;      /* W  and then from here */
	FILAR_CACHELINE_BREAK struct spinlock lock;
	struct work_chain inbox; /* L */
	_Atomic uint64_t count;  /* A  of the inbox, written under L: P1, P4 */
	_Atomic uint32_t asleep; /* A  from before the worker's last look until it is up: P2, P3 */
};

void pinned_init(struct pinned *pinned);

/* Owner. */
void pinned_push(struct pinned *pinned, struct work *work);
void pinned_push_next(struct pinned *pinned, struct work *work);
struct work *pinned_pop(struct pinned *pinned);
/* Owner.  In a round everything that waits at its beginning is picked once: `others`, which may be
 * stolen, then what is here, and `own` that will be. */
void pinned_begin_round(struct pinned *pinned, uint64_t own, uint64_t others);
static inline bool pinned_round_is_over(const struct pinned *pinned)
{
	return pinned->other_picks == 0 && pinned->own_picks == 0;
}
/* Owner: whether the next pick is from here. */
bool pinned_is_next(struct pinned *pinned);
/* Owner: what others have sent goes to the end of the queue. */
void pinned_read_inbox(struct pinned *pinned);

/* Owner: around its sleep.  True: something was sent, stay awake. */
bool pinned_begin_sleep(struct pinned *pinned);
void pinned_end_sleep(struct pinned *pinned);
bool pinned_was_sent(struct pinned *pinned);

/* Anybody: pinned_send() under the lock; true: the worker may be asleep, and is woken before the
 * lock is let go. */
void pinned_lock(struct pinned *pinned);
void pinned_unlock(struct pinned *pinned);
FILAR_MUST_USE bool pinned_send_locked(struct pinned *pinned, struct work *work);

#endif
