/*
 * task.c - states of a task.  Whoever takes the call out of its lane ends the task; a canceller
 * only decides that it will not run.
 *
 *   NEW -> QUEUED                         task_submit
 *   QUEUED -> RUNNING -> ENDED            task_body
 *   QUEUED -> CANCELLED -> ENDED          task_cancel, then task_body or task_drop
 *   QUEUED -> ENDED                       task_drop
 */
#include "pool/task.h"

#include "os/clock.h"
#include "pool/recording.h"

void task_init(struct task *task, call_body *body, void *argument)
{
	task->body = body;
	task->argument = argument;
	task->pool = NULL;
	atomic_init(&task->state, TASK_NEW);
	atomic_init(&task->outcome, FILAR_BUSY);
	latch_init(&task->latch, 1, NULL);
}

/* -> ENDED.  The task is the user's afterwards. */
static void end(struct task *task, enum filar_status outcome)
{
	store_relaxed(&task->outcome, outcome);
	store_relaxed(&task->state, TASK_ENDED);
	/* T1: release, by the latch; pairs with T2. */
	(void)latch_count_down(&task->latch, 1);
}

void task_body(void *pointer)
{
	struct task *task = pointer;
	uint32_t found = TASK_QUEUED;

	if (!cas_acq_rel(&task->state, &found, TASK_RUNNING)) {
		end(task, FILAR_CANCELLED);
		return;
	}
	task->body(task->argument);
	end(task, FILAR_OK);
}

void task_drop(struct task *task, enum filar_status reason)
{
	uint32_t found = TASK_QUEUED;

	end(task, cas_acq_rel(&task->state, &found, TASK_RUNNING) ? reason : FILAR_CANCELLED);
}

enum filar_status task_submit(struct pool *pool, const struct submission *how, struct task *task)
{
	uint32_t found = TASK_NEW;
	enum filar_status status;

	if (!cas_relaxed(&task->state, &found, TASK_QUEUED))
		return status_detail(FILAR_WRONG_STATE, "the task was submitted before");
	task->pool = pool;
	status = pool_submit(pool, how, task_body, task);
	if (status != FILAR_OK)
		store_relaxed(&task->state, TASK_NEW);
	return status;
}

enum filar_status task_outcome(const struct task *task)
{
	/* T2: acquire, by the latch; pairs with T1. */
	if (latch_missing((struct latch *)&task->latch) == 0)
		return (enum filar_status)load_relaxed(&task->outcome);
	return load_relaxed(&task->state) == TASK_NEW ? FILAR_WRONG_STATE : FILAR_BUSY;
}

enum filar_status task_wait_until(struct task *task, int64_t deadline_ns)
{
	struct lane_wish wish = { .body = task_body, .argument = task };
	struct pool_worker *self;

	if (load_relaxed(&task->state) == TASK_NEW)
		return status_detail(FILAR_WRONG_STATE, "the task was never submitted");
	self = pool_worker_of(task->pool);
	/* If it is in no lane it runs, or is about to, on another worker. */
	if (latch_missing(&task->latch) > 0 && self != NULL)
		(void)pool_help(self, &wish);
	if (pool_spin_for(task->pool, &task->latch))
		return FILAR_OK;
	return latch_wait_until(&task->latch, deadline_ns);
}

/* The canceller takes it out of its lane, if it is still in one, so that its memory is free at
 * once. */
static void take_back(struct task *task)
{
	struct pool *pool = task->pool;
	struct lane_wish wish = { .body = task_body, .argument = task };
	struct call call;

	if (!pool_take_wish(pool, NULL, &wish, &call))
		return;
	end(task, FILAR_CANCELLED);
	if (call.group != NULL)
		(void)waitgroup_done(call.group);
	pool_ended_outside(pool);
}

enum filar_status task_cancel(struct task *task)
{
	uint32_t found = TASK_QUEUED;

	if (!cas_acq_rel(&task->state, &found, TASK_CANCELLED))
		return status_detail(FILAR_WRONG_STATE, "the task %s",
			found == TASK_NEW       ? "was never submitted"
			: found == TASK_RUNNING ? "has begun"
						: "has ended");
	take_back(task);
	return FILAR_OK;
}

enum filar_status pool_call(struct pool *pool, call_body *body, void *argument)
{
	struct recording *recording;
	struct submission how;
	struct task task;
	enum filar_status status;

	if (pool_worker_of(pool) != NULL) {
		body(argument);
		return FILAR_OK;
	}
	recording = recording_current();
	if (FILAR_UNLIKELY(recording != NULL)) {
		recording_call(recording, body, argument);
		return FILAR_OK;
	}
	submission_init(&how);
	task_init(&task, body, argument);
	status = task_submit(pool, &how, &task);
	if (status != FILAR_OK)
		return status;
	if (!pool_spin_for(pool, &task.latch))
		latch_wait_shielded(&task.latch);
	return (enum filar_status)load_relaxed(&task.outcome);
}
