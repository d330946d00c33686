/*
 * task.h - a call that can be waited for, asked and cancelled by itself; in the user's memory.
 */
#ifndef FILAR_POOL_TASK_H
#define FILAR_POOL_TASK_H

#include "pool/pool.h"

enum task_state {
	TASK_NEW,
	TASK_QUEUED,    /* in a lane, or in the hands of a worker that will run or drop it */
	TASK_RUNNING,   /* a worker's */
	TASK_CANCELLED, /* will be dropped by whoever has taken it out of its lane */
	TASK_ENDED      /* outcome and latch say how; the user's again */
};

struct task {
	call_body *body;         /* I */
	void *argument;          /* I */
	struct pool *pool;       /* I  set by the submission */
	_Atomic uint32_t state;  /* A  enum task_state */
	_Atomic int32_t outcome; /* A  FILAR_BUSY until it has ended */
	struct latch latch;      /* opens at the end; T1 publishes what the call did */
};

void task_init(struct task *task, call_body *body, void *argument);
enum filar_status task_submit(struct pool *pool, const struct submission *how, struct task *task);
enum filar_status task_wait_until(struct task *task, int64_t deadline_ns);
enum filar_status task_outcome(const struct task *task);
enum filar_status task_cancel(struct task *task);

/* The body of the call that stands for a task in the lanes. */
void task_body(void *task);
/* Instead of it. */
void task_drop(struct task *task, enum filar_status reason);

/* Runs it on a worker and waits for the end, whatever happens. */
enum filar_status pool_call(struct pool *pool, call_body *body, void *argument);

#endif
