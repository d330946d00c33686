/*
 * stress_block_groups.c - latch, waitgroup, barrier, once, read-write lock under all kinds of
 * threads.
 */
#include "block/barrier.h"
#include "block/once.h"
#include "block/rwlock.h"
#include "block/waitgroup.h"
#include "crowd.h"

#define THREADS 6

/* ---- latch and once: a fresh one each round, freed as soon as it is over ---- */

struct round {
	struct latch begin, end;
	struct once once;
	int made; /* by the once's body, read by all after it */
	_Atomic int left;
};

static enum filar_status make_it(void *round)
{
	((struct round *)round)->made++;
	return FILAR_OK;
}

static void take_part(struct crowd_thread *self)
{
	struct round *round = self->shared;

	crowd_jitter(self);
	CHECK_EQ(latch_count_down(&round->begin, 1), FILAR_OK);
	if (random_below(&self->random, 2) == 0)
		(void)latch_wait_until(
			&round->begin, clock_now_ns() + random_below(&self->random, 20000));
	CHECK_EQ(latch_wait_until(&round->begin, DEADLINE_NEVER), FILAR_OK);
	CHECK_EQ(once_run_until(&round->once, make_it, round, DEADLINE_NEVER), FILAR_OK);
	CHECK_EQ(round->made, 1);
	CHECK_EQ(latch_count_down(&round->end, 1), FILAR_OK);
	CHECK_EQ(latch_wait_until(&round->end, DEADLINE_NEVER), FILAR_OK);
	if (fetch_sub_acq_rel(&round->left, 1) == 1)
		free(round);
}

/* Hunts: the last arrival between a waiter's look and its sleep; a second run of the body; a touch
 * of a latch after its waiters have gone (ASan sees it). */
TEST(latch_and_once_in_many_short_rounds)
{
	void (*const bodies[])(struct crowd_thread *) = { take_part };
	int64_t end_ns = clock_now_ns() + (int64_t)(stress_seconds() * 0.2e9);
	int count = 0;

	do {
		struct round *round = calloc(1, sizeof *round);

		latch_init(&round->begin, THREADS, "begin");
		latch_init(&round->end, THREADS, "end");
		once_init(&round->once);
		store_relaxed(&round->left, THREADS);
		crowd_run((enum crowd_kind)(count++ % CROWD_KINDS), bodies, 1, THREADS, round, 0);
	} while (clock_now_ns() < end_ns || count < CROWD_KINDS);
}

/* ---- barrier ---- */

struct meeting {
	struct barrier barrier;
	uint64_t rounds[CROWD_MAX];
	_Atomic uint64_t lasts, over;
};

enum { ROUNDS = 200 };

static void meet_often(struct crowd_thread *self)
{
	struct meeting *meeting = self->shared;

	for (uint64_t round = 1; round <= ROUNDS; round++) {
		enum filar_status status;
		bool last = false;

		meeting->rounds[self->index] = round;
		do {
			status = barrier_wait_until(&meeting->barrier, crowd_deadline(self), &last);
			CHECK(status == FILAR_OK || status == FILAR_TIMED_OUT);
			if (status != FILAR_OK)
				green_yield();
		} while (status != FILAR_OK);
		/* Plain reads: the barrier publishes what all did before it. */
		for (int i = 0; i < THREADS; i++)
			CHECK_EQ(meeting->rounds[i], round);
		if (last)
			fetch_add_relaxed(&meeting->lasts, 1);
		do {
			status = barrier_wait_until(&meeting->barrier, DEADLINE_NEVER, NULL);
		} while (status != FILAR_OK);
	}
}

/* Hunts: one of the next round taken for one of this; an arrival taken back although the round has
 * been completed with it; two last ones. */
TEST(barrier_rounds_are_kept_apart)
{
	void (*const bodies[])(struct crowd_thread *) = { meet_often };

	for (int kind = 0; kind < CROWD_KINDS; kind++) {
		struct meeting meeting = { .rounds = { 0 } };

		barrier_init(&meeting.barrier, THREADS);
		crowd_run((enum crowd_kind)kind, bodies, 1, THREADS, &meeting, 0);
		CHECK_EQ(load_relaxed(&meeting.lasts), ROUNDS);
		CHECK_EQ(barrier_waiting(&meeting.barrier), 0);
	}
}

/* ---- waitgroup ---- */

struct jobs {
	struct waitgroup group;
	_Atomic int open;
};

static void do_job(void *argument)
{
	struct jobs *jobs = argument;

	green_yield();
	fetch_sub_relaxed(&jobs->open, 1);
	CHECK_EQ(waitgroup_done(&jobs->group), FILAR_OK);
}

static void give_jobs(struct crowd_thread *self)
{
	struct jobs jobs = { .open = 0 };

	waitgroup_init(&jobs.group, "jobs");
	while (stress_goes_on()) {
		uint32_t count = 1 + random_below(&self->random, 5);

		CHECK_EQ(waitgroup_add(&jobs.group, count), FILAR_OK);
		fetch_add_relaxed(&jobs.open, (int)count);
		for (uint32_t i = 0; i < count; i++)
			CHECK_EQ(green_spawn(NULL, crowd_runtime, NULL, do_job, &jobs), FILAR_OK);
		while (waitgroup_wait_until(&jobs.group, crowd_deadline(self)) != FILAR_OK)
			crowd_jitter(self);
		CHECK_EQ(load_relaxed(&jobs.open), 0);
	}
}

/* Hunts: the last done() between look and sleep; a touch of the group, on a stack that goes on,
 * after its wait has ended. */
TEST(waitgroup_wait_ends_with_the_last_job)
{
	void (*const bodies[])(struct crowd_thread *) = { give_jobs };

	for (int kind = 0; kind < CROWD_KINDS; kind++)
		if (kind != CROWD_KERNEL) /* the jobs need a runtime */
			crowd_run((enum crowd_kind)kind, bodies, 1, 3, NULL, 0.04);
}

/* ---- read-write lock ---- */

struct page {
	struct rwlock lock;
	uint64_t left, right; /* equal whenever nobody writes */
	_Atomic int readers, writers;
	_Atomic uint64_t writes;
};

static void read_often(struct crowd_thread *self)
{
	struct page *page = self->shared;

	while (stress_goes_on()) {
		if (rwlock_read_lock_until(&page->lock, crowd_deadline(self)) != FILAR_OK)
			continue;
		fetch_add_relaxed(&page->readers, 1);
		CHECK_EQ(load_relaxed(&page->writers), 0);
		CHECK_EQ(page->left, page->right);
		crowd_jitter(self);
		fetch_sub_relaxed(&page->readers, 1);
		CHECK_EQ(rwlock_read_unlock(&page->lock), FILAR_OK);
		crowd_jitter(self);
	}
}

static void write_often(struct crowd_thread *self)
{
	struct page *page = self->shared;

	while (stress_goes_on()) {
		enum filar_status status =
			random_below(&self->random, 8) == 0
				? rwlock_try_write_lock(&page->lock)
				: rwlock_write_lock_until(&page->lock, crowd_deadline(self));

		if (status != FILAR_OK)
			continue;
		CHECK_EQ(fetch_add_relaxed(&page->writers, 1), 0);
		CHECK_EQ(load_relaxed(&page->readers), 0);
		page->left++;
		crowd_jitter(self);
		page->right++;
		fetch_add_relaxed(&page->writes, 1);
		fetch_sub_relaxed(&page->writers, 1);
		CHECK_EQ(rwlock_write_unlock(&page->lock), FILAR_OK);
		crowd_jitter(self);
	}
}

/* Hunts: a writer beside anybody; readers left asleep behind a writer that gave up; the lock given
 * to one whose deadline passes at that moment. */
TEST(rwlock_keeps_writers_alone_and_loses_nobody)
{
	void (*const bodies[])(struct crowd_thread *) = { read_often, write_often, read_often };

	for (int kind = 0; kind < CROWD_KINDS; kind++) {
		struct page page = { .left = 0 };

		rwlock_init(&page.lock, "page");
		crowd_run((enum crowd_kind)kind, bodies, 3, THREADS, &page, 0.06);
		CHECK_EQ(page.left, load_relaxed(&page.writes));
		CHECK_EQ(load_relaxed(&page.lock.queue.word), 0);
	}
}

TEST_MAIN()
