/*
 * idle_source.h - where an idle worker waits instead of on its futex, and what a busy one looks at
 * now and then: sockets, timers of the kernel, whatever makes work and can be waited for.
 *
 * The layer above implements it (an I/O poller); the scheduler calls it.  One source for each
 * scheduler, the first that scheduler_attach_source() is called with, until the scheduler has
 * ended.
 *
 * Of the workers that sleep, the keeper (idle.h) waits in the source, until the earliest deadline;
 * the others sleep as ever.  Whoever wakes workers interrupts the source if no other sleeper could
 * be had.  Proof: README.md, "Waiting in a source".
 */
#ifndef FILAR_SCHED_IDLE_SOURCE_H
#define FILAR_SCHED_IDLE_SOURCE_H

#include "base/atomic.h"

struct worker;

/* When poll() is called. */
enum idle_poll {
	IDLE_POLL_ON_TIME, /* the worker has work: every WORKER_TURNS-th pick */
	IDLE_POLL_EMPTY,   /* it has none: before it searches, and several times while it does */
	IDLE_POLL_SLEPT /* it was the one that waited, and is awake; nobody else waits meanwhile */
};

struct idle_source {
	/* Sleeps until something may be there to poll, until interrupt(), or the deadline; may end
	 * without a reason.  Makes nothing ready: the worker counts as asleep.  One worker at a
	 * time. */
	void (*wait_until)(struct idle_source *source, int64_t deadline_ns);
	/* Makes ready what is there (waiter_wake(), scheduler_ready()), without waiting.  On a
	 * worker that runs or searches; on several at a time, so what may not be done twice is the
	 * source's to lock.  May leave things for the next time; then wait_until() does not sleep.
	 */
	void (*poll)(struct idle_source *source, struct worker *worker, enum idle_poll when);
	/* Ends the wait that goes on, or the next one.  From any thread. */
	void (*interrupt)(struct idle_source *source);
	/* When the scheduler has ended, also in the child of a fork; NULL: nothing to do. */
	void (*destroy)(struct idle_source *source);
	/* A  the source's own: how many things are waited for.  0: poll() is called only after a
	 * wait. */
	_Atomic uint32_t wanted;
};

#endif
