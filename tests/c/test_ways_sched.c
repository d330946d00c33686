/*
 * test_ways_sched.c - the ways about scheduling, crawling, shares and timers: each runs once with
 * tiny parameters, so that the sanitizers and the failure points see it; no check is about a time.
 */
#include <sched.h>

#include "check.h"
#include "fail.h"
#include "lab/crew.h"
#include "once.h"

#define MS NS_PER_MS

/* The children of `share` start threads after a fork of a process that has several, which
 * ThreadSanitizer otherwise refuses to watch. */
__attribute__((visibility("default"))) const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
	return "die_after_fork=0";
}

static filar_sample last_sample;
static filar_point last_points[65536];
static size_t last_point_count;
static char last_detail[240];

#define RUN(way, ...)                                                                              \
	run_way(way, (const int64_t[]){ __VA_ARGS__ },                                             \
		sizeof((const int64_t[]){ __VA_ARGS__ }) / sizeof(int64_t))

/* One round of one way; its sample and points are then in last_*. */
static int run_way(const char *name, const int64_t *params, size_t count)
{
	struct plan *plan;
	const char *detail = "";
	int status = once_create(&plan, name, params, count, 3, 1, -1);

	last_sample = (filar_sample){ 0 };
	last_point_count = 0;
	if (status == FILAR_OK)
		status = plan_start(plan);
	if (status == FILAR_OK)
		status = once_wait(plan, &detail);
	if (status == FILAR_OK) {
		(void)plan_copy_samples(plan, &last_sample, 1);
		last_point_count = plan_copy_points(plan, last_points, 65536);
	}
	snprintf(last_detail, sizeof last_detail, "%s", detail);
	if (plan != NULL)
		plan_destroy(plan);
	return status;
}

/* ---- crew ---- */

static void count_body(struct crew_member *member)
{
	fetch_add_relaxed((_Atomic uint32_t *)member->crew->shared, 1);
}

TEST(every_member_of_a_crew_runs_once)
{
	_Atomic uint32_t runs = 0;
	struct crew crew;

	CHECK_EQ(crew_create(&crew, 20, NULL, count_body, &runs), FILAR_OK);
	CHECK_EQ(runs, 0);
	crew_open(&crew);
	crew_join(&crew);
	CHECK_EQ(runs, 20);
}

TEST(a_crew_that_was_never_opened_goes_home_without_running)
{
	_Atomic uint32_t runs = 0;
	struct crew crew;

	CHECK_EQ(crew_create(&crew, 5, NULL, count_body, &runs), FILAR_OK);
	crew_join(&crew);
	CHECK_EQ(runs, 0);
}

TEST(the_median_is_the_middle)
{
	double odd[] = { 3, 1, 2 }, even[] = { 4, 1, 3, 2 };

	CHECK(median_of(odd, 3) == 2);
	CHECK(median_of(even, 4) == 2.5);
	CHECK(isnan(median_of(NULL, 0)));
}

/* ---- sched ---- */

TEST(runs_of_a_thread_follow_each_other_and_a_turn_is_no_longer_than_the_window)
{
	double end[3] = { 0, 0, 0 };

	CHECK_EQ(RUN("time-slice", 3, 0, 5 * MS, 20000), FILAR_OK);
	CHECK_GE(last_point_count, 3);
	for (size_t i = 0; i < last_point_count; i++) {
		const filar_point *point = &last_points[i];

		CHECK(point->subject >= 0 && point->subject < 3);
		if (point->kind == -1) {
			CHECK(point->x >= 0 && point->y >= 0);
			continue;
		}
		CHECK_EQ(point->kind, 0);
		CHECK(point->x >= end[point->subject] && point->y >= point->x);
		end[point->subject] = point->y;
	}
	CHECK(last_sample.values[3] >= 0); /* no turn ends in a window that others take */
	CHECK(last_sample.values[4] > 0);  /* every Linux has a tick */
}

TEST(a_thread_alone_has_no_turn_between_two_others_whoever_interrupts_it)
{
	CHECK_EQ(RUN("time-slice", 1, 0, 5 * MS, 1), FILAR_OK);
	CHECK(last_sample.values[3] <= 1); /* 0: it got no turn at all */
	CHECK(isnan(last_sample.values[0]));
}

TEST(threads_running_at_once_are_no_more_than_there_are)
{
	CHECK_EQ(RUN("parallelism", 2, -1, 5 * MS, 20000), FILAR_OK);
	CHECK(last_sample.values[0] <= 2);
	CHECK(last_sample.values[1] > 0);
	CHECK(last_sample.values[2] >= 1);
}

TEST(ranks_of_a_run_are_a_permutation)
{
	uint64_t seen[3] = { 0, 0, 0 };

	CHECK_EQ(RUN("run-order", 8, -1), FILAR_OK);
	CHECK_EQ(last_point_count, 24);
	for (size_t i = 0; i < last_point_count; i++)
		seen[(int)last_points[i].x] |= UINT64_C(1) << (int)last_points[i].y;
	for (int i = 0; i < 3; i++)
		CHECK_EQ(seen[i], 0xff);
}

TEST(the_kernel_lists_every_thread_under_one_pid)
{
	CHECK_EQ(RUN("seen-by-kernel", 30), FILAR_OK);
	CHECK(last_sample.values[1] - last_sample.values[0] == 30);
	CHECK(last_sample.values[2] == 30);
	CHECK(last_sample.values[3] == 1);
	CHECK(last_sample.values[4] == 30);
}

/* ---- crawl ---- */

TEST(each_mode_of_crawl_does_its_work)
{
	for (int64_t mode = 0; mode <= 3; mode++) {
		CHECK_EQ(RUN("crawl", 5, mode, 50000, 4096), FILAR_OK);
		CHECK(last_sample.values[0] > 0 && last_sample.values[1] > 0);
	}
}

TEST(more_threads_than_chunks_of_work_are_no_trouble)
{
	CHECK_EQ(RUN("crawl", 20, 0, 3000), FILAR_OK);
	CHECK(last_sample.values[0] > 0);
}

TEST(the_longest_wait_of_each_busy_thread_is_recorded)
{
	uint32_t waits = 0, ticks = 0;

	CHECK_EQ(RUN("crawl-latency", 6, 10 * MS, MS), FILAR_OK);
	for (size_t i = 0; i < last_point_count; i++)
		*(last_points[i].kind == 1 ? &waits : &ticks) += 1;
	CHECK_EQ(waits, 6);
	CHECK_GE(ticks, 1);
	CHECK(last_sample.values[1] >= last_sample.values[0]);
}

TEST(without_busy_threads_only_the_ticks_are_measured)
{
	CHECK_EQ(RUN("crawl-latency", 0, 5 * MS, MS), FILAR_OK);
	CHECK(isnan(last_sample.values[0]));
	CHECK(last_sample.values[3] >= 0);
}

/* ---- timers ---- */

TEST(a_sleep_never_ends_early)
{
	for (int64_t busy = 0; busy <= 2; busy++) {
		CHECK_EQ(RUN("sleep", 50000, 1, busy, 0, -1), FILAR_OK);
		CHECK(last_sample.values[0] >= 0);
		CHECK_EQ(last_point_count, 3);
	}
}

TEST(a_fifo_sleeper_is_measured_or_refused_with_the_reason)
{
	int status = RUN("sleep", 50000, 1, 0, 1, -1);

	CHECK(status == FILAR_OK || status == FILAR_NO_PERMISSION);
	if (status != FILAR_OK)
		CHECK_TEXT_HAS(last_detail, "CAP_SYS_NICE");
}

/* On a busy machine a window may pass before anybody has had a turn to calculate: then another. */
TEST(no_tick_is_served_before_an_inline_calculation_ends)
{
	do {
		CHECK_EQ(RUN("interactive", 0, 1, 0, -1, -1, 10 * MS, MS), FILAR_OK);
		CHECK_EQ(last_point_count, 10);
		/* The first tick was due at 1 ms and the calculation took at least 10. */
		CHECK(last_points[0].y >= 9e6);
	} while (!(last_sample.values[3] > 0));
}

TEST(calculators_beside_the_loop_work_at_lower_priority)
{
	do {
		CHECK_EQ(RUN("interactive", 2, 0, 10, -1, -1, 10 * MS, MS), FILAR_OK);
		CHECK_EQ(last_point_count, 10);
	} while (!(last_sample.values[3] > 0));
}

/* ---- share ---- */

TEST(two_processes_share_a_core_and_are_reaped)
{
	CHECK_EQ(RUN("share", 3, 0, SCHED_OTHER, 0, -1, 20 * MS), FILAR_OK);
	CHECK(last_sample.values[0] >= 0 && last_sample.values[0] <= 100);
	CHECK(last_sample.values[1] + last_sample.values[2] > 0);
	CHECK(no_child_left());
}

TEST(shares_by_nice_policy_and_session_are_measured)
{
	CHECK_EQ(RUN("share", 1, 19, SCHED_OTHER, 0, -1, 5 * MS), FILAR_OK);
	CHECK_EQ(RUN("share", 1, 0, SCHED_IDLE, 0, -1, 5 * MS), FILAR_OK);
	CHECK_EQ(RUN("share", 2, 0, SCHED_BATCH, 1, -1, 5 * MS), FILAR_OK);
	CHECK(no_child_left());
}

TEST(control_groups_are_used_or_refused_with_the_reason)
{
	int status = RUN("share", 2, 0, SCHED_OTHER, 2, -1, 5 * MS);

	if (status != FILAR_OK)
		CHECK_TEXT_HAS(last_detail, "group");
	CHECK(no_child_left());
}

TEST(a_party_that_is_killed_fails_the_way_and_the_other_is_ended)
{
	const int64_t params[] = { 2, 0, 0, 0, -1, 30000 * MS };
	struct plan *plan = once_plan("share", params, 6, 3, 1, -1);

	once_start_and_hit(plan, SIGKILL);
	CHECK_EQ(end_of(plan), FILAR_SYSTEM);
	CHECK(no_child_left());
}

/* ---- bad input, cancelling ---- */

TEST(bad_parameters_are_refused_by_name)
{
	CHECK_EQ(RUN("time-slice", 0), FILAR_INVALID);
	CHECK_TEXT_HAS(last_detail, "threads");
	CHECK_EQ(RUN("parallelism", 2, -1, 0), FILAR_INVALID);
	CHECK_TEXT_HAS(last_detail, "window_ns");
	CHECK_EQ(RUN("run-order", 65), FILAR_INVALID);
	CHECK_EQ(RUN("crawl", 2, 4), FILAR_INVALID);
	CHECK_TEXT_HAS(last_detail, "mode");
	CHECK_EQ(RUN("crawl", 4096, 3, 100000, INT64_C(1) << 30), FILAR_INVALID);
	CHECK_TEXT_HAS(last_detail, "working_bytes");
	CHECK_EQ(RUN("crawl-latency", -1), FILAR_INVALID);
	CHECK_EQ(RUN("sleep", 0), FILAR_INVALID);
	CHECK_EQ(RUN("interactive", 1, 0, 20), FILAR_INVALID);
	CHECK_TEXT_HAS(last_detail, "nice");
	CHECK_EQ(RUN("share", 1, 0, SCHED_FIFO), FILAR_INVALID);
	CHECK_TEXT_HAS(last_detail, "policy");
}

TEST(a_cpu_that_does_not_exist_is_named)
{
	CHECK_EQ(RUN("time-slice", 2, 8000, MS), FILAR_NO_CPU);
	CHECK_EQ(RUN("sleep", 1000, 1, 0, 0, 8000), FILAR_NO_CPU);
	CHECK_EQ(RUN("interactive", 1, 0, 0, -1, 8000, MS, MS), FILAR_NO_CPU);
	CHECK_EQ(RUN("share", 1, 0, 0, 0, 8000, MS), FILAR_NO_CPU);
	CHECK_TEXT_HAS(last_detail, "8000");
	CHECK(no_child_left());
}

static void check_cancel(const char *name, const int64_t *params, size_t count)
{
	struct plan *plan = once_plan(name, params, count, 3, ONCE_FOR_EVER, -1);
	filar_plan_progress progress = { 0 };

	CHECK_EQ(plan_start(plan), FILAR_OK);
	WAIT_UNTIL((plan_read_progress(plan, &progress), progress.phase == 3));
	plan_cancel(plan);
	CHECK_EQ(end_of(plan), FILAR_CANCELLED);
	CHECK(no_child_left());
}

#define CHECK_CANCEL(way, ...)                                                                     \
	check_cancel(way, (const int64_t[]){ __VA_ARGS__ },                                        \
		sizeof((const int64_t[]){ __VA_ARGS__ }) / sizeof(int64_t))

TEST(a_cancelled_way_stops_long_before_its_window_ends)
{
	/* Windows longer than a test may last: only the cancelling can end them. */
	CHECK_CANCEL("crawl-latency", 4, 60000 * MS);
	CHECK_CANCEL("share", 2, 0, 0, 0, -1, 30000 * MS);
	CHECK_CANCEL("crawl", 4, 0, 99 * NS_PER_S);
	CHECK_CANCEL("time-slice", 2, -1, 10000 * MS);
}

/* ---- the n-th failure ---- */

#if FILAR_FAIL
static int attempt_time_slice(void)
{
	return RUN("time-slice", 2, 0, MS);
}

static int attempt_order(void)
{
	return RUN("run-order", 3);
}

static int attempt_seen(void)
{
	return RUN("seen-by-kernel", 3);
}

static int attempt_crawl(void)
{
	return RUN("crawl", 3, 3, 5000, 4096);
}

static int attempt_latency(void)
{
	return RUN("crawl-latency", 2, 2 * MS);
}

static int attempt_sleep(void)
{
	return RUN("sleep", 1000, 1, 1);
}

static int attempt_interactive(void)
{
	return RUN("interactive", 1, 0, 5, -1, -1, 2 * MS, MS);
}

static int attempt_share(void)
{
	return RUN("share", 2, 1, 0, 1, -1, MS);
}

TEST(each_failure_in_a_way_is_a_status_and_leaves_nothing)
{
	CHECK_GE(fail_each(attempt_time_slice), 5);
	CHECK_GE(fail_each(attempt_order), 5);
	CHECK_GE(fail_each(attempt_seen), 5);
	CHECK_GE(fail_each(attempt_crawl), 5);
	CHECK_GE(fail_each(attempt_latency), 5);
	CHECK_GE(fail_each(attempt_sleep), 5);
	CHECK_GE(fail_each(attempt_interactive), 5);
	CHECK_GE(fail_each(attempt_share), 5);
	CHECK(no_child_left());
}
#endif

TEST_MAIN()
