/*
 * wait.c - waiting for calls: spin a moment if that pays, help on a worker, then sleep.
 */
#include "arch/cpu.h"
#include "os/clock.h"
#include "pool/pool.h"

/* ---- spinning ---- */

/* How long a wait spins, in ticks of the CPU's counter: doubled when it paid, halved when not. */
#define PATIENCE_MIN 1000u
#define PATIENCE_MAX 32000u
/* Two looks further apart than this: somebody else had the CPU, and spinning would only keep it
 * from those who have work. */
#define PATIENCE_GAP 40000u

static void set_patience(struct pool *pool, uint32_t ticks)
{
	store_relaxed(&pool->patience, ticks < PATIENCE_MIN   ? PATIENCE_MIN
				       : ticks > PATIENCE_MAX ? PATIENCE_MAX
							      : ticks);
}

bool pool_spin_for(struct pool *pool, struct latch *latch)
{
	uint32_t patience = load_relaxed(&pool->patience);
	uint64_t begin, now, last;

	if (latch_missing(latch) == 0)
		return true;
	if (!pool->scheduler.spin || FILAR_HARD || green_self() != NULL)
		return false;
	begin = last = now = cpu_ticks();
	while (now - begin < patience) {
		for (int i = 0; i < 4; i++)
			cpu_pause();
		if (latch_missing(latch) == 0) {
			set_patience(pool, patience * 2);
			return true;
		}
		now = cpu_ticks();
		if (now - last > PATIENCE_GAP)
			break;
		last = now;
	}
	set_patience(pool, now - last > PATIENCE_GAP ? PATIENCE_MIN : patience / 2);
	return false;
}

/* ---- helping ---- */

/* Sleeps until the group is empty or has got another call.  The entry is in the group's queue
 * before the last look into the lanes: README.md, "Waiting on a worker". */
static enum filar_status sleep_as_helper(
	struct pool_worker *self, struct waitgroup *group, int64_t deadline_ns)
{
	struct lane_wish wish = { .group = group };
	struct waitq *queue = &group->latch.queue;
	struct waitq_entry entry = { .kind = LATCH_HELPER };
	struct call call;
	uint64_t word = waitq_lock(queue);

	if (WAITQ_VALUE(word) == 0) {
		waitq_unlock(queue, word);
		return FILAR_OK;
	}
	waitq_push(queue, &entry);
	waitq_unlock(queue, word);
	if (pool_take_wish(self->pool, self, &wish, &call)) {
		if (waitq_take_back(queue, &entry, &word, WAIT_WAITGROUP))
			waitq_unlock(queue, word);
		pool_run_call(self, &call);
		pool_flush_group(self);
		return FILAR_OK;
	}
	return waitq_wait_until(queue, &entry, deadline_ns, WAIT_WAITGROUP, WAIT_CANCELLABLE);
}

/* Counted before the last look into the lanes, and until it waits no more: as long as nobody is,
 * those who submit need not look at the group. */
static enum filar_status sleep_counted(
	struct pool_worker *self, struct waitgroup *group, int64_t deadline_ns)
{
	struct pool *pool = self->pool;
	enum filar_status status;

	fetch_add_relaxed(&pool->helpers, 1);
	status = sleep_as_helper(self, group, deadline_ns);
	fetch_sub_relaxed(&pool->helpers, 1);
	return status;
}

static enum filar_status help_until(
	struct pool_worker *self, struct waitgroup *group, int64_t deadline_ns)
{
	struct lane_wish wish = { .group = group };
	enum filar_status status = FILAR_OK;

	pool_flush_group(self);
	while (status == FILAR_OK && waitgroup_missing(group) > 0) {
		if (pool_help(self, &wish) || pool_spin_for(self->pool, &group->latch))
			continue;
		status = sleep_counted(self, group, deadline_ns);
	}
	return status;
}

enum filar_status pool_wait_until(struct pool *pool, struct waitgroup *group, int64_t deadline_ns)
{
	struct pool_worker *self = pool_worker_of(pool);

	if (self != NULL)
		return help_until(self, group, deadline_ns);
	if (pool_spin_for(pool, &group->latch))
		return FILAR_OK;
	return waitgroup_wait_until(group, deadline_ns);
}
