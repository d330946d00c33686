/*
 * test_ways_green.c - every way about green threads runs, on green and on kernel threads, and
 * leaves nothing behind: not when it works, not when the plan is cancelled, not when calls fail.
 */
#include "fail.h"
#include "once.h"
#include "tasks.h"

#define MS NS_PER_MS

#define RUN(way, batch, ...)                                                                       \
	once_run(way, (const int64_t[]){ __VA_ARGS__ },                                            \
		sizeof((const int64_t[]){ __VA_ARGS__ }) / sizeof(int64_t), batch, first_cpu())

static void check_ok(const struct once *once)
{
	CHECK_TEXT_HAS(once->detail, "");
	CHECK_EQ(once->status, FILAR_OK);
	CHECK(isfinite(once->values[0]));
}

static void check_time(const struct once *once)
{
	check_ok(once);
	CHECK(once->values[0] > 0);
}

TEST(a_bare_context_is_switched)
{
	struct once once = once_run("green-context", NULL, 0, 50, first_cpu());

	check_time(&once);
	CHECK(fabs(once.values[1] - 2 * once.values[0]) <= 1e-6 * once.values[1]);
}

TEST(yields_are_counted)
{
	int tasks = task_count();
	struct once once = RUN("green-yield", 300, 30);

	check_time(&once);
	once = RUN("green-yield", 300, 30, 2, second_cpu());
	check_time(&once);
	once = RUN("kthread-yield", 20, 3, 1, -1);
	CHECK_EQ(
		once.status, FILAR_OK); /* on a busy machine a yield may switch to nobody of ours */
	once = RUN("kthread-yield", 20, 3, 1, second_cpu());
	CHECK_EQ(once.status, FILAR_OK);
	WAIT_UNTIL(task_count() == tasks);
}

TEST(green_threads_are_created_and_joined)
{
	for (int64_t fresh = 0; fresh <= 1; fresh++) {
		struct once one = RUN("green-create", 20, 1, fresh),
			    many = RUN("green-create", 20, 40, fresh);

		check_time(&one);
		check_time(&many);
	}
}

TEST(kernel_threads_are_created_many_at_once)
{
	struct once once = RUN("kthread-many", 3, 4);

	check_time(&once);
}

TEST(the_tree_adds_up)
{
	for (int64_t kernel = 0; kernel <= 1; kernel++) {
		struct once once = RUN("skynet", 1, kernel, 2);

		check_time(&once);
		once = RUN("skynet", 1, kernel, 1, 2, second_cpu());
		check_time(&once);
	}
}

TEST(the_token_goes_round)
{
	for (int64_t kernel = 0; kernel <= 1; kernel++) {
		struct once once = RUN("ring", 100, 20, kernel);

		check_time(&once);
	}
}

TEST(memory_of_parked_green_threads_is_read)
{
	struct once once = RUN("green-memory", 1, 50);

	check_ok(&once);
	CHECK(once.values[4] == 100); /* every guard refuses a byte */
}

TEST(the_kernel_lists_its_own_threads_only)
{
	struct once green = RUN("green-seen", 1, 30, 0), kernel = RUN("green-seen", 1, 30, 1);

	check_ok(&green);
	check_ok(&kernel);
	CHECK(green.values[1] == green.values[0]);
	CHECK(kernel.values[1] == kernel.values[0] + 30);
	CHECK(green.values[2] == 30 && kernel.values[2] == 30);
}

TEST(gaps_are_seen_whatever_the_trouble)
{
	for (int64_t kernel = 0; kernel <= 1; kernel++) {
		for (int64_t trouble = 0; trouble <= 2; trouble++) {
			struct once once =
				RUN("green-gaps", 1, 4, kernel, trouble, 1, 1, -1, 5 * MS, MS);

			check_time(&once);
			CHECK((once.values[4] > 0) == (trouble == 1));
		}
	}
}

TEST(one_that_blocks_holds_up_its_worker)
{
	struct once once = RUN("green-gaps", 1, 4, 0, 1, 1, 1, -1, 60 * MS, 20 * MS);

	check_time(&once);
	CHECK(once.values[0] >= 20 * MS);
}

TEST(one_that_never_yields_holds_up_its_worker)
{
	struct once once = RUN("green-gaps", 1, 4, 0, 2, 1, 1, -1, 20 * MS, MS);

	check_time(&once);
	CHECK(once.values[0] >= 19 * MS);
}

/* The watcher is a thread like others: on a busy machine a window may pass before it has had its
 * turn.  Then another one; if it never does anything, this hangs. */
TEST(with_a_spare_the_others_go_on)
{
	struct once once;

	do {
		once = RUN("green-gaps", 1, 4, 0, 1, 1, 1, -1, 60 * MS, 20 * MS, 1, 2);
		check_time(&once);
	} while (once.values[5] < 1);
}

TEST(a_preemptible_one_that_never_yields_is_preempted)
{
	struct once once;

	/* Without it each of the three others does one unit in these 40 ms, when all is over. */
	do {
		once = RUN("green-gaps", 1, 4, 0, 2, 1, 1, -1, 40 * MS, MS, 1, 0, 1, NS_PER_MS / 2);
		if (FILAR_TSAN) {
			CHECK_EQ(once.status, FILAR_NOT_SUPPORTED);
			return;
		}
		check_time(&once);
	} while (once.values[2] <= 2 * 3 / 0.04);
}

TEST(waiters_wait)
{
	for (int64_t kernel = 0; kernel <= 1; kernel++) {
		struct once once = RUN("waiters", 1, 20, kernel, 2, 2 * MS);

		check_time(&once);
		CHECK(once.values[0] >= 4 * MS);
		CHECK(once.values[3] >= 0);
	}
}

TEST(state_machines_wait_as_often_as_threads_do)
{
	struct once once = RUN("waiters", 1, 100, 0, 3, 2 * MS, 1, -1, 1);

	check_time(&once);
	CHECK(once.values[0] >= 6 * MS);
	/* Each of the 300 sleeps was noted, and none ended early. */
	CHECK(once.values[3] >= 0 && once.values[5] >= once.values[4]);
}

TEST(a_core_is_shared)
{
	for (int64_t kernel = 0; kernel <= 1; kernel++) {
		struct once once = RUN("n1-share", 1, 3, kernel, 20 * MS);

		check_ok(&once);
		CHECK(once.values[0] >= 0 && once.values[0] <= 100);
	}
}

TEST(absurd_parameters_are_refused_with_a_sentence)
{
	CHECK_EQ(RUN("green-yield", 1, 1).status, FILAR_INVALID);
	CHECK_EQ(RUN("green-yield", 1, 2, 0).status, FILAR_INVALID);
	CHECK_EQ(RUN("green-yield", 1, 2, 2, CPUS_MAX).status, FILAR_NO_CPU);
	CHECK_EQ(RUN("kthread-yield", 1, 1).status, FILAR_INVALID);
	CHECK_EQ(RUN("green-create", 1, 0).status, FILAR_INVALID);
	CHECK_EQ(RUN("kthread-many", 1, INT64_MAX).status, FILAR_INVALID);
	CHECK_EQ(RUN("skynet", 1, 1, 9).status, FILAR_INVALID);
	CHECK_EQ(RUN("ring", 1, 1).status, FILAR_INVALID);
	CHECK_EQ(RUN("green-memory", 1, 0).status, FILAR_INVALID);
	CHECK_EQ(RUN("green-seen", 1, -1).status, FILAR_INVALID);
	CHECK_EQ(RUN("green-gaps", 1, 1).status, FILAR_INVALID);
	CHECK_EQ(RUN("waiters", 1, 0).status, FILAR_INVALID);
	CHECK_EQ(RUN("n1-share", 1, 0).status, FILAR_INVALID);
}

TEST(watching_is_measured_with_and_without_a_trace)
{
	struct once off = RUN("trace-yield", 300, 2, 1, -1, 0),
		    on = RUN("trace-yield", 300, 2, 1, -1, 1);

	check_time(&off);
	check_time(&on);
	CHECK(isnan(off.values[5]));
	CHECK(on.values[5] >= 2); /* each yield is a yield and a run */
	on = RUN("trace-spawn", 20, 1, 0, 1);
	check_time(&on);
	CHECK(on.values[1] >= 3); /* spawn, run, end */
	on = RUN("trace-park", 100, 2, 0, 1);
	check_time(&on);
	CHECK(on.values[1] >= 3); /* wake, run, park */
	check_time(&(struct once){ .values = { RUN("trace-record", 1000, 1).values[0] } });
	check_ok(&(struct once){ .values = { RUN("trace-record", 1000, 0).values[0] } });
}

TEST(cancelling_ends_a_long_sample)
{
	static const struct {
		const char *name;
		int64_t params[10];
		size_t count;
	} longs[] = {
		{ "green-yield", { 2 }, 1 },
		{ "green-create", { 1 }, 1 },
		{ "kthread-many", { 1 }, 1 },
		{ "ring", { 20, 0 }, 2 },
		{ "ring", { 20, 1 }, 2 },
		{ "green-gaps", { 4, 0, 2, 1, 1, -1, 10 * NS_PER_S, MS }, 8 },
		{ "green-gaps", { 4, 1, 0, 0, 1, -1, 10 * NS_PER_S, MS }, 8 },
		{ "waiters", { 4, 0, 1000, 20 * MS }, 4 },
		{ "waiters", { 4, 1, 1000, 20 * MS }, 4 },
		{ "n1-share", { 3, 0, 10 * NS_PER_S }, 3 },
		{ "n1-share", { 3, 1, 10 * NS_PER_S }, 3 },
	};
	int tasks = task_count();

	for (size_t i = 0; i < FILAR_COUNT_OF(longs); i++) {
		struct plan *plan = once_plan(longs[i].name, longs[i].params, longs[i].count,
			1u << 30, ONCE_FOR_EVER, first_cpu());

		WAIT_UNTIL(task_count() == tasks);
		CHECK_EQ(plan_start(plan), FILAR_OK);
		WAIT_UNTIL(task_count() > tasks + 1);
		plan_cancel(plan);
		CHECK_EQ(end_of(plan), FILAR_CANCELLED);
	}
	WAIT_UNTIL(task_count() == tasks);
}

/* ---- the n-th failure ---- */

#if FILAR_FAIL
TEST(the_nth_failure_leaves_nothing_behind)
{
	FAIL_EACH("green-yield", 4, 2);
	FAIL_EACH("kthread-yield", 3);
	FAIL_EACH("green-create", 4, 0);
	FAIL_EACH("green-create", 4, 1);
	FAIL_EACH("kthread-many", 4);
	FAIL_EACH("skynet", 0, 1);
	FAIL_EACH("skynet", 1, 1);
	FAIL_EACH("ring", 4, 0);
	FAIL_EACH("ring", 4, 1);
	FAIL_EACH("green-memory", 10);
	FAIL_EACH("green-seen", 10, 0);
	FAIL_EACH("green-seen", 10, 1);
	FAIL_EACH("green-gaps", 4, 0, 1, 1, 1, -1, 2 * MS, 200 * NS_PER_US);
	FAIL_EACH("green-gaps", 4, 1, 1, 1, 1, -1, 2 * MS, 200 * NS_PER_US);
	FAIL_EACH("waiters", 4, 0, 1, 100 * NS_PER_US);
	FAIL_EACH("waiters", 4, 1, 1, 100 * NS_PER_US);
	FAIL_EACH("waiters", 4, 0, 1, 100 * NS_PER_US, 1, -1, 1);
	FAIL_EACH("n1-share", 2, 0, MS);
	FAIL_EACH("n1-share", 2, 1, MS);
}
#endif

TEST_MAIN()
