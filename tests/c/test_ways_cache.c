/*
 * test_ways_cache.c - the thread that moves, and the line between two cores.
 */
#include "fail.h"
#include "once.h"

TEST(a_thread_moves_and_the_plan_moves_it_back)
{
	int32_t cpus[] = { -1, second_cpu() };

	for (size_t i = 0; i < FILAR_COUNT_OF(cpus); i++) {
		int64_t params[] = { cpus[i], 4096, 64 };
		struct once once = once_run("move", params, 3, 6, first_cpu());

		CHECK_EQ(once.status, FILAR_OK);
		CHECK(once.values[0] > 0);
		CHECK(once.values[1] == 1.0); /* every turn ran where it was sent */
	}
	CHECK_EQ(shared_mappings(), 0);
}

TEST(a_line_travels_between_two_cores)
{
	int64_t params[] = { first_cpu(), second_cpu() };
	int fds = fds_open();
	struct once once;

	if (params[1] < 0) {
		puts("skipped: one CPU");
		return;
	}
	once = once_run("core-latency", params, 2, 4, first_cpu());
	CHECK_EQ(once.status, FILAR_OK);
	/* All bursts may have been interrupted on a busy machine; then there is no time. */
	CHECK(once.values[1] >= 0 && once.values[1] <= 1);
	CHECK(isnan(once.values[0]) == (once.values[1] == 1.0));
	check_nothing_left(fds, 0);
}

TEST(both_parties_on_one_core_give_way_and_end)
{
	int64_t params[] = { first_cpu(), first_cpu() };
	int fds = fds_open();
	struct once once = once_run("core-latency", params, 2, 2, first_cpu());

	CHECK_EQ(once.status, FILAR_OK);
	check_nothing_left(fds, 0);
}

TEST(absurd_parameters_are_refused)
{
	int64_t no_step[] = { -1, 64, 0 }, too_much[] = { -1, INT64_MAX, 64 };
	int64_t no_cpu[] = { CPUS_MAX + 1, 0, 64 }, far[] = { CPUS_MAX - 1, 0, 64 };
	int fds = fds_open();

	CHECK_EQ(once_run("move", no_step, 3, 1, -1).status, FILAR_INVALID);
	CHECK_EQ(once_run("move", too_much, 3, 1, -1).status, FILAR_INVALID);
	CHECK_EQ(once_run("move", no_cpu, 3, 1, first_cpu()).status, FILAR_NO_CPU);
	CHECK_EQ(once_run("move", far, 3, 1, first_cpu()).status, FILAR_NO_CPU);
	CHECK_EQ(once_run("core-latency", far, 1, 1, first_cpu()).status, FILAR_NO_CPU);
	check_nothing_left(fds, 0);
}

TEST(cancelling_ends_a_long_burst)
{
	int64_t params[] = { first_cpu(), first_cpu() };
	int fds = fds_open();
	struct plan *plan = once_plan("core-latency", params, 2, 4096, ONCE_FOR_EVER, first_cpu());

	CHECK_EQ(plan_start(plan), FILAR_OK);
	WAIT_UNTIL(shared_mappings() > 1); /* the gate's, and the lines of a sample */
	plan_cancel(plan);
	CHECK_EQ(end_of(plan), FILAR_CANCELLED);
	check_nothing_left(fds, 0);
}

#if FILAR_FAIL
TEST(the_nth_failure_leaves_nothing_behind)
{
	CHECK(fail_way_each("move", NULL, 0, 2) > 0);
	CHECK(fail_way_each("core-latency", NULL, 0, 2) > 0);
}
#endif

TEST_MAIN()
