/*
 * switch.h - from a green thread to the next one, or to the worker's loop.
 *
 * Commit after save: who leaves says in worker->leaving and ->leaving_how what is to be done with
 * it, and the next stack does that first (switch_settle), when the registers of the one that left
 * are saved.  Nothing of the worker may be kept over switch_away(): the green thread may go on
 * elsewhere.
 */
#ifndef FILAR_GREEN_SWITCH_H
#define FILAR_GREEN_SWITCH_H

#include "base/atomic.h"
#include "base/tracepoint.h"
#include "green/green.h"
#include "green/waiter.h"
#include "sched/scheduler.h"

enum leaving { LEAVING_YIELD, LEAVING_PARK, LEAVING_END, LEAVING_FORK };

#define GREEN_OF(some_work) FILAR_CONTAINER_OF(some_work, struct green, work)

/* How traces call a green thread of that scheduler; and what runs on the worker (NULL: none), 0 if
 * that is no green thread. */
static inline uint64_t trace_green(const struct scheduler *scheduler, struct green *green)
{
	return (uint64_t)scheduler->serial << 48 | load_relaxed(&green->number);
}
uint64_t trace_runner(struct worker *worker);

void switch_settle_slow(struct worker *worker, struct green *green, uint32_t how);
void switch_wake_for_yielded(struct worker *worker);

/* RUNNING -> RUNNABLE: to the end of the queue. */
static FILAR_ALWAYS_INLINE void switch_settle_yield(struct worker *worker, struct green *green)
{
	store_relaxed(&green->state, GREEN_RUNNABLE);
	TRACE(TRACE_GREEN_YIELD, trace_green(worker->scheduler, green), 0, worker->place);
	if (FILAR_UNLIKELY(green->work.home != NULL)) {
		pinned_push(&worker->pinned, &green->work);
		return;
	}
	worker_push(worker, &green->work);
	/* Not ordered with those who go to sleep, but seen at one of the next yields. */
	if (worker->runq.shared &&
		FILAR_UNLIKELY(IDLE_SLEEPING(load_relaxed(&worker->scheduler->idle.word)) > 0))
		switch_wake_for_yielded(worker);
}

/* First thing on a stack that was switched to. */
static FILAR_ALWAYS_INLINE void switch_settle(struct worker *worker)
{
	struct work *left = worker->leaving;

	if (left == NULL)
		return;
	worker->leaving = NULL;
	if (worker->leaving_how == LEAVING_YIELD && !FILAR_HARD)
		switch_settle_yield(worker, GREEN_OF(left));
	else if (worker->leaving_how == LEAVING_PARK)
		waiter_commit(worker, GREEN_OF(left));
	else
		switch_settle_slow(worker, GREEN_OF(left), worker->leaving_how);
}

/* Where `next` (or, with NULL, the loop) goes on; it is now the worker's current work. */
static FILAR_ALWAYS_INLINE struct context *switch_target(struct worker *worker, struct work *next)
{
	struct green *green;

	if (FILAR_UNLIKELY(next == NULL || next->class != &green_work_class)) {
		worker_hand_over(worker, next);
		store_relaxed(&worker->current, NULL);
		return &worker->loop;
	}
	green = GREEN_OF(next);
	store_relaxed(&worker->current, next);
	store_relaxed(&green->state, GREEN_RUNNING);
	TRACE(TRACE_GREEN_RUN, trace_green(worker->scheduler, green), runq_length(&worker->runq),
		worker->place);
	return &green->context;
}

static FILAR_ALWAYS_INLINE void switch_registers(
	struct worker *worker, struct green *green, struct work *next, enum leaving how)
{
	struct context *to = switch_target(worker, next);

	worker->leaving = &green->work;
	worker->leaving_how = how;
	ATOMIC_POINT(); /* where publishing too early would show */
	worker = context_switch(&green->context, to, worker);
	switch_settle(worker);
}

/* The same for one that is pinned: its attendant is told before and after. */
void switch_away_attended(
	struct worker *worker, struct green *green, struct work *next, enum leaving how);

/* Leaves `green`, the caller, for `next`; returns when it is continued. */
static FILAR_ALWAYS_INLINE void switch_away(
	struct worker *worker, struct green *green, struct work *next, enum leaving how)
{
	if (FILAR_UNLIKELY(green->work.home != NULL))
		switch_away_attended(worker, green, next, how);
	else
		switch_registers(worker, green, next, how);
}

#endif
