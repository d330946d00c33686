/*
 * test_sched.c - the scheduler with work of its own kind: it knows nothing of green threads.
 */
#include "base/memory.h"
#include "check.h"
#include "fail.h"
#include "os/clock.h"
#include "sched/scheduler.h"

struct job {
	struct work work;
	struct scheduler *scheduler;
	_Atomic int *count;
	int children; /* how many more each run makes */
	struct job *family;
};

static void run_job(struct worker *worker, struct work *work)
{
	struct job *job = FILAR_CONTAINER_OF(work, struct job, work);

	CHECK(worker_current() == worker);
	for (int i = 0; i < job->children; i++)
		scheduler_ready(worker, &job->family[i].work);
	fetch_add_relaxed(job->count, 1);
}

static const struct work_class job_class = { .name = "job", .run = run_job };

static void quiet(struct scheduler *scheduler)
{
	(void)scheduler;
}

static struct scheduler scheduler;
static _Atomic int done;

static void start(uint32_t workers)
{
	struct scheduler_options options = { .workers = workers, .quiet = quiet };

	store_relaxed(&done, 0);
	CHECK_EQ(scheduler_init(&scheduler, &options, NULL), FILAR_OK);
}

static void init_job(struct job *job)
{
	*job = (struct job){ .scheduler = &scheduler, .count = &done };
	job->work.class = &job_class;
}

static bool all_sleep(void)
{
	uint64_t word = load_relaxed(&scheduler.idle.word);

	return IDLE_SLEEPING(word) == scheduler.worker_count && IDLE_SEARCHING(word) == 0 &&
	       IDLE_GRANTED(word) == 0;
}

TEST(work_from_outside_is_run_once_by_some_worker)
{
	enum { COUNT = 2000 };
	static struct job jobs[COUNT];

	for (uint32_t workers = 1; workers <= 4; workers++) {
		start(workers);
		for (int i = 0; i < COUNT; i++) {
			init_job(&jobs[i]);
			scheduler_submit(&scheduler, &jobs[i].work);
		}
		WAIT_UNTIL(load_acquire(&done) == COUNT);
		scheduler_deinit(&scheduler);
	}
}

TEST(work_made_by_work_is_shared_out)
{
	enum { CHILDREN = 5000 };
	static struct job parent, children[CHILDREN];
	struct counters counters;

	for (uint32_t workers = 1; workers <= 4; workers++) {
		start(workers);
		init_job(&parent);
		parent.children = CHILDREN;
		parent.family = children;
		for (int i = 0; i < CHILDREN; i++)
			init_job(&children[i]);
		scheduler_submit(&scheduler, &parent.work);
		WAIT_UNTIL(load_acquire(&done) == CHILDREN + 1);
		scheduler_read_counters(&scheduler, &counters);
		if (workers == 1)
			CHECK_EQ(load_relaxed(&counters.stolen), 0);
		if (FILAR_HARD)
			CHECK_GE(load_relaxed(&counters.spills), 1);
		scheduler_deinit(&scheduler);
	}
}

/* The order in which one worker ran its jobs. */
struct note {
	struct work work;
	int name;
};
static int order[200], noted;

static void run_note(struct worker *worker, struct work *work)
{
	(void)worker;
	order[noted++] = FILAR_CONTAINER_OF(work, struct note, work)->name;
	fetch_add_acq_rel(&done, 1);
}

static const struct work_class note_class = { .name = "note", .run = run_note };
static struct note notes[200];

static void push_notes(struct worker *worker, struct work *work)
{
	(void)work;
	for (int i = 0; i < 4; i++)
		worker_push(worker, &notes[i].work);
	worker_push_next(worker, &notes[4].work);
	worker_push_next(worker, &notes[5].work);
}

static const struct work_class push_class = { .name = "push", .run = push_notes };

TEST(the_next_slot_goes_first_and_what_it_displaces_goes_last)
{
	struct work push = { .class = &push_class };
	int expected[] = { 5, 0, 1, 2, 3, 4 };

	start(1);
	for (int i = 0; i < 6; i++)
		notes[i] = (struct note){ { .class = &note_class }, i };
	scheduler_submit(&scheduler, &push);
	WAIT_UNTIL(load_acquire(&done) == 6);
	for (int i = 0; i < 6 && !FILAR_HARD; i++) /* a queue of four spills */
		CHECK_EQ(order[i], expected[i]);
	scheduler_deinit(&scheduler);
}

/* Two that wake each other through the next slot, and one in the queue. */
static _Atomic bool third_ran;
static struct work pair[2], third;
static int64_t exchanges;

static void run_pair(struct worker *worker, struct work *work)
{
	exchanges++;
	if (!load_acquire(&third_ran))
		scheduler_ready_next(worker, &pair[work == &pair[0]]);
	else
		store_release(&done, 1);
}

static void run_third(struct worker *worker, struct work *work)
{
	(void)worker;
	(void)work;
	store_release(&third_ran, true);
}

static const struct work_class pair_class = { .name = "pair", .run = run_pair };
static const struct work_class third_class = { .name = "third", .run = run_third };

static void begin_pair(struct worker *worker, struct work *work)
{
	(void)work;
	worker_push_next(worker, &pair[0]);
	worker_push(worker, &third);
}

static const struct work_class begin_class = { .name = "begin", .run = begin_pair };

TEST(two_that_wake_each_other_do_not_keep_the_queue_waiting)
{
	struct work begin = { .class = &begin_class };

	start(1);
	pair[0] = pair[1] = (struct work){ .class = &pair_class };
	third = (struct work){ .class = &third_class };
	scheduler_submit(&scheduler, &begin);
	WAIT_UNTIL(load_acquire(&done) == 1);
	CHECK_LE(exchanges, 2 * WORKER_NEXT_MAX + 4);
	scheduler_deinit(&scheduler);
}

/* A worker that never runs out of own work looks outside all the same. */
static struct work circle[2];
static _Atomic bool stop_circle;

static void run_circle(struct worker *worker, struct work *work)
{
	if (!load_acquire(&stop_circle))
		worker_push(worker, work);
	else
		fetch_add_acq_rel(&done, 1);
}

static void run_stopper(struct worker *worker, struct work *work)
{
	(void)worker;
	(void)work;
	store_release(&stop_circle, true);
}

static const struct work_class circle_class = { .name = "circle", .run = run_circle };
static const struct work_class stopper_class = { .name = "stopper", .run = run_stopper };

TEST(a_full_own_queue_does_not_keep_outsiders_waiting)
{
	struct work stopper = { .class = &stopper_class };

	start(1);
	for (int i = 0; i < 2; i++) {
		circle[i].class = &circle_class;
		scheduler_submit(&scheduler, &circle[i]);
	}
	scheduler_submit(&scheduler, &stopper);
	WAIT_UNTIL(load_acquire(&done) == 2);
	scheduler_deinit(&scheduler);
}

/* Whether no worker does anything for a while. */
static bool nothing_happens(void)
{
	struct counters before, after;

	WAIT_UNTIL(all_sleep());
	scheduler_read_counters(&scheduler, &before);
	usleep(20000); /* the time in which nothing may happen */
	scheduler_read_counters(&scheduler, &after);
	return all_sleep() && memcmp(&before, &after, sizeof before) == 0;
}

/* Workers that poll would never come to rest, and this test not to its end. */
TEST(idle_workers_come_to_rest)
{
	start(3);
	WAIT_UNTIL(nothing_happens());
	scheduler_deinit(&scheduler);
}

/* ---- deadlines ---- */

struct bell {
	struct deadline deadline;
	_Atomic int64_t rung_ns;
};

static void ring(struct deadline *deadline)
{
	struct bell *bell = FILAR_CONTAINER_OF(deadline, struct bell, deadline);

	store_release(&bell->rung_ns, clock_now_ns());
}

TEST(a_sleeping_scheduler_wakes_for_a_deadline_also_for_an_earlier_one)
{
	struct bell late = { .deadline.fire = ring }, early = { .deadline.fire = ring };

	for (uint32_t workers = 1; workers <= 3; workers += 2) {
		start(workers);
		WAIT_UNTIL(all_sleep());
		store_relaxed(&late.rung_ns, 0);
		store_relaxed(&early.rung_ns, 0);
		late.deadline.at_ns = clock_now_ns() + 60 * NS_PER_S;
		scheduler_add_deadline(&scheduler, &late.deadline);
		WAIT_UNTIL(all_sleep());
		early.deadline.at_ns = clock_now_ns() + 5 * NS_PER_MS;
		scheduler_add_deadline(&scheduler, &early.deadline);
		WAIT_UNTIL(load_acquire(&early.rung_ns) != 0);
		CHECK_GE(load_relaxed(&early.rung_ns), early.deadline.at_ns);
		CHECK_EQ(load_relaxed(&late.rung_ns), 0);
		deadlines_cancel(&scheduler.deadlines, &late.deadline);
		scheduler_deinit(&scheduler);
	}
}

/* ---- start and end ---- */

static enum filar_status refuse_the_second(struct worker *worker)
{
	return worker->index == 1 ? FILAR_NO_PERMISSION : FILAR_OK;
}

TEST(if_one_worker_cannot_begin_none_stays)
{
	struct scheduler_options options = {
		.workers = 3, .quiet = quiet, .worker_begins = refuse_the_second
	};

	CHECK_EQ(scheduler_init(&scheduler, &options, NULL), FILAR_NO_PERMISSION);
	CHECK_TEXT_HAS(filar_status_detail(), "worker 1");
}

/* ---- two that start workers at once ---- */

static _Atomic uint32_t spares_begun;
static _Atomic bool spare_may_fail, told;

static enum filar_status refuse_the_first_spare(struct worker *worker)
{
	if (!worker->spare || fetch_add_acq_rel(&spares_begun, 1) > 0)
		return FILAR_OK;
	WAIT_UNTIL(load_acquire(&spare_may_fail));
	return FILAR_NO_MEMORY;
}

static void block_until_told(struct worker *worker, struct work *work)
{
	(void)worker;
	(void)work;
	blocking_begin();
	WAIT_UNTIL(load_acquire(&told));
	blocking_end();
	fetch_add_acq_rel(&done, 1);
}

static const struct work_class blocking_class = { .name = "blocking", .run = block_until_told };

/* The watcher waits for its spare when a worker that somebody else has started comes up.  Taken for
 * the spare, it would make one that has failed count as active for ever. */
TEST(who_starts_a_worker_waits_for_that_one)
{
	struct scheduler_options options = { .workers = 2,
		.working = 1,
		.spares_max = 1,
		.quiet = quiet,
		.worker_begins = refuse_the_first_spare };
	struct work blocker = { .class = &blocking_class };

	CHECK_EQ(scheduler_init(&scheduler, &options, NULL), FILAR_OK);
	scheduler_submit(&scheduler, &blocker);
	WAIT_UNTIL(load_acquire(&spares_begun) == 1);
	CHECK_EQ(scheduler_set_working(&scheduler, 2), FILAR_OK);
	store_release(&spare_may_fail, true);
	WAIT_UNTIL(load_relaxed(&scheduler.blocking.refused) == 1);
	WAIT_UNTIL(load_acquire(&spares_begun) == 2); /* it is tried again */
	store_release(&told, true);
	WAIT_UNTIL(load_acquire(&done) == 1);
	scheduler_deinit(&scheduler);
}

#if FILAR_FAIL
static int attempt_scheduler(void)
{
	struct scheduler_options options = {
		.workers = 3, .quiet = quiet, .pin = WORKER_PIN_SCATTER
	};
	enum filar_status status = scheduler_init(&scheduler, &options, NULL);

	if (status == FILAR_OK)
		scheduler_deinit(&scheduler);
	return status;
}

TEST(each_call_may_fail_and_no_worker_stays)
{
	CHECK_GE(fail_each(attempt_scheduler), 5);
}
#endif

TEST_MAIN()
