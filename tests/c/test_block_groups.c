/*
 * test_block_groups.c - latch, waitgroup, barrier, once, read-write lock, recursive mutex: what
 * they do and what they say.
 */
#include "block/barrier.h"
#include "block/once.h"
#include "block/recursive.h"
#include "block/rwlock.h"
#include "block/waitgroup.h"
#include "crowd.h"

static struct latch latch;
static struct waitgroup group;
static struct barrier barrier;
static struct once once;
static struct rwlock rwlock;
static struct recursive recursive;
static struct cond cond;

static int64_t soon(void)
{
	return clock_now_ns() + NS_PER_MS;
}

static bool has_waiters(struct waitq *queue)
{
	return (load_acquire(&queue->word) & WAITQ_WAITERS) != 0;
}

/* ---- latch, waitgroup ---- */

static void wait_for_latch(void *unused)
{
	(void)unused;
	CHECK_EQ(latch_wait_until(&latch, DEADLINE_NEVER), FILAR_OK);
}

static void open_latch(void *unused)
{
	struct green_ref refs[2];

	for (int i = 0; i < 2; i++) {
		refs[i] = crowd_spawn(wait_for_latch, unused);
		YIELD_UNTIL(crowd_is_parked(refs[i]));
	}
	CHECK_EQ(latch_count_down(&latch, 2), FILAR_OK);
	CHECK(crowd_is_parked(refs[0]));
	CHECK_EQ(latch_count_down(&latch, 2), FILAR_WRONG_STATE);
	CHECK_TEXT_HAS(
		filar_status_detail(), "2 cannot arrive at latch \"l\", where 1 are missing");
	CHECK_EQ(latch_wait_until(&latch, soon()), FILAR_TIMED_OUT);
	CHECK_EQ(latch_count_down(&latch, 1), FILAR_OK);
	for (int i = 0; i < 2; i++)
		crowd_join(refs[i]);
}

TEST(latch_opens_at_zero_and_refuses_more)
{
	latch_init(&latch, 3, "l");
	crowd_on_green(1, open_latch, NULL);
	CHECK_EQ(latch_wait_until(&latch, 0), FILAR_OK);
	CHECK_EQ(latch_count_down(&latch, 1), FILAR_WRONG_STATE);
}

TEST(waitgroup_counts_up_and_down_and_is_used_again)
{
	waitgroup_init(&group, "g");
	for (int i = 0; i < 2; i++) {
		CHECK_EQ(waitgroup_wait_until(&group, 0), FILAR_OK);
		CHECK_EQ(waitgroup_add(&group, 2), FILAR_OK);
		CHECK_EQ(waitgroup_done(&group), FILAR_OK);
		CHECK_EQ(waitgroup_wait_until(&group, soon()), FILAR_TIMED_OUT);
		CHECK_EQ(waitgroup_done(&group), FILAR_OK);
	}
	CHECK_EQ(waitgroup_done(&group), FILAR_WRONG_STATE);
	CHECK_TEXT_HAS(filar_status_detail(), "waitgroup \"g\"");
	CHECK_EQ(waitgroup_add(&group, UINT64_MAX), FILAR_LIMIT);
	CHECK_EQ(waitgroup_missing(&group), 0);
}

/* ---- barrier ---- */

static int lasts;

static void meet(void *unused)
{
	bool last;

	(void)unused;
	CHECK_EQ(barrier_wait_until(&barrier, DEADLINE_NEVER, &last), FILAR_OK);
	lasts += last;
}

static void be_cancelled_at_barrier(void *unused)
{
	(void)unused;
	CHECK_EQ(barrier_wait_until(&barrier, DEADLINE_NEVER, NULL), FILAR_CANCELLED);
}

static void meet_twice(void *unused)
{
	for (int round = 0; round < 2; round++) {
		struct green_ref refs[3], leaver = crowd_spawn(be_cancelled_at_barrier, unused);

		YIELD_UNTIL(crowd_is_parked(leaver));
		refs[0] = crowd_spawn(meet, unused);
		YIELD_UNTIL(crowd_is_parked(refs[0]));
		CHECK_EQ(barrier_waiting(&barrier), 2);
		CHECK_EQ(green_cancel(leaver), FILAR_OK);
		crowd_join(leaver);
		CHECK_EQ(barrier_waiting(&barrier), 1);
		refs[1] = crowd_spawn(meet, unused);
		YIELD_UNTIL(crowd_is_parked(refs[1]));
		refs[2] = crowd_spawn(meet, unused);
		for (int i = 0; i < 3; i++)
			crowd_join(refs[i]);
		CHECK_EQ(lasts, round + 1);
	}
}

TEST(barrier_opens_for_all_and_again_and_one_that_leaves_does_not_count)
{
	barrier_init(&barrier, 3);
	CHECK_EQ(barrier_wait_until(&barrier, soon(), NULL), FILAR_TIMED_OUT);
	CHECK_EQ(barrier_waiting(&barrier), 0);
	crowd_on_green(1, meet_twice, NULL);
}

/* ---- once ---- */

static int runs;

static enum filar_status fail_first(void *unused)
{
	(void)unused;
	runs++;
	green_yield();
	return runs == 1 ? FILAR_NO_MEMORY : FILAR_OK;
}

static void run_once(void *status)
{
	*(enum filar_status *)status = once_run_until(&once, fail_first, NULL, DEADLINE_NEVER);
}

static void run_once_by_three(void *unused)
{
	enum filar_status statuses[3] = { 1, 1, 1 };
	struct green_ref refs[3];

	(void)unused;
	for (int i = 0; i < 3; i++)
		refs[i] = crowd_spawn(run_once, &statuses[i]);
	for (int i = 0; i < 3; i++)
		crowd_join(refs[i]);
	CHECK_EQ(statuses[0], FILAR_NO_MEMORY);
	CHECK_EQ(statuses[1], FILAR_OK);
	CHECK_EQ(statuses[2], FILAR_OK);
	CHECK_EQ(runs, 2);
	CHECK(once_is_done(&once));
}

TEST(once_runs_until_it_has_succeeded_and_others_wait)
{
	once_init(&once);
	crowd_on_green(1, run_once_by_three, NULL);
}

static enum filar_status run_it_inside(void *unused)
{
	(void)unused;
	return once_run_until(&once, fail_first, NULL, DEADLINE_NEVER);
}

TEST(once_inside_itself_is_a_deadlock)
{
	once_init(&once);
	CHECK_EQ(once_run_until(&once, run_it_inside, NULL, DEADLINE_NEVER), FILAR_DEADLOCK);
	CHECK(!once_is_done(&once));
}

/* ---- read-write lock ---- */

static void read_it(void *unused)
{
	(void)unused;
	CHECK_EQ(rwlock_read_lock_until(&rwlock, DEADLINE_NEVER), FILAR_OK);
	CHECK_EQ(rwlock_read_unlock(&rwlock), FILAR_OK);
}

static void be_cancelled_at_write(void *unused)
{
	(void)unused;
	CHECK_EQ(rwlock_write_lock_until(&rwlock, DEADLINE_NEVER), FILAR_CANCELLED);
}

/* A reader holds it, a writer waits, a reader waits behind it: when the writer leaves, that reader
 * must get in. */
static void leave_as_writer(void *unused)
{
	struct green_ref writer, reader;

	CHECK_EQ(rwlock_read_lock_until(&rwlock, DEADLINE_NEVER), FILAR_OK);
	writer = crowd_spawn(be_cancelled_at_write, unused);
	YIELD_UNTIL(crowd_is_parked(writer));
	CHECK_EQ(rwlock_try_read_lock(&rwlock), FILAR_BUSY);
	reader = crowd_spawn(read_it, unused);
	YIELD_UNTIL(crowd_is_parked(reader));
	CHECK_EQ(green_cancel(writer), FILAR_OK);
	crowd_join(writer);
	crowd_join(reader);
	CHECK_EQ(rwlock_read_unlock(&rwlock), FILAR_OK);
	CHECK_EQ(load_relaxed(&rwlock.queue.word), 0);
}

TEST(rwlock_writer_that_leaves_lets_the_readers_behind_it_in)
{
	rwlock_init(&rwlock, "r");
	crowd_on_green(1, leave_as_writer, NULL);
	crowd_on_green(2, leave_as_writer, NULL);
}

static void meddle_with_rwlock(void *unused)
{
	(void)unused;
	CHECK_EQ(rwlock_write_unlock(&rwlock), FILAR_WRONG_STATE);
	CHECK_TEXT_HAS(
		filar_status_detail(), "green thread 1 does not write read-write lock \"r\"");
	CHECK_TEXT_HAS(filar_status_detail(), "which kernel thread ");
	CHECK_EQ(rwlock_read_unlock(&rwlock), FILAR_WRONG_STATE);
	CHECK_EQ(rwlock_try_write_lock(&rwlock), FILAR_BUSY);
	CHECK_EQ(rwlock_read_lock_until(&rwlock, soon()), FILAR_TIMED_OUT);
	CHECK_EQ(rwlock_write_lock_until(&rwlock, soon()), FILAR_TIMED_OUT);
}

TEST(rwlock_names_who_holds_it_when_a_stranger_unlocks)
{
	rwlock_init(&rwlock, "r");
	CHECK_EQ(rwlock_read_unlock(&rwlock), FILAR_WRONG_STATE);
	CHECK_EQ(rwlock_write_unlock(&rwlock), FILAR_WRONG_STATE);
	CHECK_EQ(rwlock_write_lock_until(&rwlock, 0), FILAR_OK);
	CHECK_EQ(rwlock_write_lock_until(&rwlock, DEADLINE_NEVER), FILAR_DEADLOCK);
	CHECK_EQ(rwlock_read_lock_until(&rwlock, DEADLINE_NEVER), FILAR_DEADLOCK);
	crowd_on_green(1, meddle_with_rwlock, NULL);
	CHECK_EQ(rwlock_write_unlock(&rwlock), FILAR_OK);
	CHECK_EQ(rwlock_write_unlock(&rwlock), FILAR_WRONG_STATE);
	CHECK_EQ(rwlock_read_lock_until(&rwlock, 0), FILAR_OK);
	CHECK_EQ(rwlock_try_read_lock(&rwlock), FILAR_OK);
	CHECK_EQ(rwlock_try_write_lock(&rwlock), FILAR_BUSY);
	CHECK_EQ(rwlock_read_unlock(&rwlock), FILAR_OK);
	CHECK_EQ(rwlock_read_unlock(&rwlock), FILAR_OK);
	CHECK_EQ(load_relaxed(&rwlock.queue.word), 0);
}

/* ---- recursive mutex ---- */

static void find_it_locked(void *expected)
{
	enum filar_status status = recursive_trylock(&recursive);

	CHECK_EQ(status, *(enum filar_status *)expected);
	if (status == FILAR_OK)
		CHECK_EQ(recursive_unlock(&recursive), FILAR_OK);
	else
		CHECK_EQ(recursive_unlock(&recursive), FILAR_WRONG_STATE);
}

TEST(recursive_is_free_after_as_many_unlocks)
{
	enum filar_status busy = FILAR_BUSY, ok = FILAR_OK;

	recursive_init(&recursive, "r");
	for (int i = 0; i < 3; i++)
		CHECK_EQ(recursive_lock_until(&recursive, DEADLINE_NEVER), FILAR_OK);
	CHECK_EQ(recursive_trylock(&recursive), FILAR_OK);
	for (int i = 0; i < 4; i++) {
		crowd_on_green(1, find_it_locked, &busy);
		CHECK_EQ(recursive_unlock(&recursive), FILAR_OK);
	}
	crowd_on_green(1, find_it_locked, &ok);
	recursive_lock_until(&recursive, 0);
	recursive.depth = UINT32_MAX;
	CHECK_EQ(recursive_lock_until(&recursive, 0), FILAR_LIMIT);
}

static void signal_when_free(void *unused)
{
	(void)unused;
	CHECK_EQ(recursive_lock_until(&recursive, DEADLINE_NEVER), FILAR_OK);
	cond_signal(&cond);
	CHECK_EQ(recursive_unlock(&recursive), FILAR_OK);
}

static void wait_locked_twice(void *unused)
{
	struct green_ref ref;

	CHECK_EQ(recursive_cond_wait_until(&recursive, &cond, soon()), FILAR_WRONG_STATE);
	CHECK_EQ(recursive_lock_until(&recursive, DEADLINE_NEVER), FILAR_OK);
	CHECK_EQ(recursive_lock_until(&recursive, DEADLINE_NEVER), FILAR_OK);
	ref = crowd_spawn(signal_when_free, unused);
	YIELD_UNTIL(has_waiters(&recursive.mutex.queue));
	CHECK_EQ(recursive_cond_wait_until(&recursive, &cond, DEADLINE_NEVER), FILAR_OK);
	CHECK_EQ(recursive_unlock(&recursive), FILAR_OK);
	CHECK(recursive_is_mine(&recursive));
	CHECK_EQ(recursive_unlock(&recursive), FILAR_OK);
	crowd_join(ref);
}

TEST(recursive_is_let_go_altogether_for_a_condition)
{
	recursive_init(&recursive, "r");
	cond_init(&cond);
	crowd_on_green(1, wait_locked_twice, NULL);
}

TEST_MAIN()
