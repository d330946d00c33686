/*
 * test_ways_switch.c - every way of handing over the CPU runs, and leaves nothing behind: not when
 * it works, not when its peer dies or stops, not when the plan is cancelled, not when calls fail.
 */
#include "fail.h"
#include "once.h"

enum { ONE_CORE = -1 };

static const char *const media[] = { "switch-futex", "switch-pipe", "switch-eventfd",
	"switch-socket", "switch-semaphore", "switch-condvar" };

static void check_times(const struct once *once)
{
	CHECK_TEXT_HAS(once->detail, "");
	CHECK_EQ(once->status, FILAR_OK);
	CHECK(isfinite(once->values[0]) && once->values[0] > 0);
	CHECK(fabs(once->values[1] - 2 * once->values[0]) <= 1e-6 * once->values[1]);
}

TEST(threads_hand_over_on_one_core)
{
	int fds = fds_open(), mappings = shared_mappings();

	for (size_t i = 0; i < FILAR_COUNT_OF(media); i++) {
		int64_t params[] = { ONE_CORE, 0, 0, 300, 64 };
		struct once once = once_run(media[i], params, 5, 20, first_cpu());

		check_times(&once);
		CHECK(once.values[2] > 0.9);
	}
	check_nothing_left(fds, mappings);
}

TEST(threads_hand_over_on_two_cores)
{
	int64_t params[] = { second_cpu() };

	if (params[0] < 0) {
		puts("skipped: one CPU");
		return;
	}
	for (size_t i = 0; i < FILAR_COUNT_OF(media); i++) {
		struct once once = once_run(media[i], params, 1, 10, first_cpu());

		check_times(&once);
	}
}

TEST(an_unpinned_pair_hands_over)
{
	int64_t params[] = { ONE_CORE, 0, 0, 0, 64, 1 };
	struct once once = once_run("switch-futex", params, 6, 20, first_cpu());

	check_times(&once);
}

TEST(processes_hand_over)
{
	int fds = fds_open(), mappings = shared_mappings();

	for (size_t i = 0; i < FILAR_COUNT_OF(media); i++) {
		int64_t params[] = { ONE_CORE, 1, 0, 70000, 4160 };
		struct once once = once_run(media[i], params, 5, 10, first_cpu());

		if (strcmp(media[i], "switch-condvar") == 0)
			CHECK_EQ(once.status, FILAR_NOT_SUPPORTED);
		else
			check_times(&once);
	}
	check_nothing_left(fds, mappings);
}

TEST(yields_are_counted)
{
	int fds = fds_open();

	for (int64_t process = 0; process <= 1; process++) {
		int64_t params[] = { ONE_CORE, process };
		struct once once = once_run("switch-yield", params, 2, 50, first_cpu());

		CHECK_EQ(once.status, FILAR_OK);
		CHECK(once.values[2] >= 0);
		CHECK(isnan(once.values[0]) == (once.values[2] < 0.9));
	}
	check_nothing_left(fds, 0);
}

TEST(a_context_is_swapped)
{
	int64_t params[] = { 0, 0, 0, 5000, 64 };
	struct once once = once_run("switch-context", params, 5, 50, first_cpu());

	check_times(&once);
	CHECK_EQ(shared_mappings(), 0);
}

TEST(the_same_work_is_measured_with_and_without_a_switch)
{
	int fds = fds_open();

	for (int64_t process = 0; process <= 1; process++) {
		int64_t params[] = { ONE_CORE, process, 0, 5000, 64 };
		struct once once = once_run("switch-touch", params, 5, 10, first_cpu());

		CHECK_EQ(once.status, FILAR_OK);
		for (int part = 0; part < 4; part++)
			CHECK(isfinite(once.values[part]) && once.values[part] > 0);
	}
	check_nothing_left(fds, 0);
}

TEST(absurd_parameters_are_refused_with_a_sentence)
{
	int64_t too_much[] = { ONE_CORE, 0, 0, INT64_MAX, 64 },
		no_step[] = { ONE_CORE, 0, 0, 64, 0 };
	int64_t no_cpu[] = { CPUS_MAX - 1 };
	int fds = fds_open();

	CHECK_EQ(once_run("switch-futex", too_much, 5, 1, -1).status, FILAR_INVALID);
	CHECK_EQ(once_run("switch-futex", no_step, 5, 1, -1).status, FILAR_INVALID);
	CHECK_EQ(once_run("switch-pipe", no_cpu, 1, 1, -1).status, FILAR_NO_CPU);
	check_nothing_left(fds, 0);
}

/* ---- trouble in the middle of a sample ---- */

TEST(a_killed_peer_fails_the_way_and_nothing_else)
{
	for (size_t i = 0; i < FILAR_COUNT_OF(media) - 1; i++) {
		int64_t params[] = { ONE_CORE, 1 };
		int fds = fds_open();
		struct plan *plan = once_plan(media[i], params, 2, 1u << 30, 1, first_cpu());

		once_start_and_hit(plan, SIGKILL);
		CHECK_EQ(end_of(plan), FILAR_SYSTEM);
		check_nothing_left(fds, 0);
	}
}

TEST(a_process_that_ignores_its_children_loses_none_of_ours_to_others)
{
	int64_t params[] = { ONE_CORE, 1 };
	int fds = fds_open();
	struct once once;

	CHECK(signal(SIGCHLD, SIG_IGN) != SIG_ERR); /* children are reaped by nobody */
	once = once_run("switch-pipe", params, 2, 10, first_cpu());
	check_times(&once);
	check_nothing_left(fds, 0);
}

TEST(a_peer_holds_no_descriptor_but_its_own)
{
	int64_t params[] = { ONE_CORE, 1 };
	int fds[2];
	char byte;
	struct plan *plan;

	CHECK_EQ(pipe(fds), 0);
	plan = once_plan("switch-pipe", params, 2, 1u << 30, 1, first_cpu());
	CHECK_EQ(plan_start(plan), FILAR_OK);
	WAIT_UNTIL(some_child() != 0);
	CHECK_EQ(close(fds[1]), 0);
	/* The end of the pipe comes when the child closes its copy, long before it dies. */
	CHECK_EQ(read(fds[0], &byte, 1), 0);
	CHECK(some_child() != 0);
	plan_cancel(plan);
	CHECK_EQ(end_of(plan), FILAR_CANCELLED);
}

TEST(cancelling_ends_a_sample_whose_peer_is_stopped)
{
	for (size_t i = 0; i < FILAR_COUNT_OF(media) - 1; i++) {
		int64_t params[] = { ONE_CORE, 1 };
		int fds = fds_open();
		struct plan *plan = once_plan(media[i], params, 2, 1u << 30, 1, first_cpu());

		once_start_and_hit(plan, SIGSTOP);
		plan_cancel(plan);
		CHECK_EQ(end_of(plan), FILAR_CANCELLED);
		check_nothing_left(fds, 0);
	}
}

TEST(cancelling_ends_a_long_sample_of_threads)
{
	static const char *const names[] = { "switch-futex", "switch-pipe", "switch-eventfd",
		"switch-socket", "switch-semaphore", "switch-condvar", "switch-yield" };

	for (size_t i = 0; i < FILAR_COUNT_OF(names); i++) {
		struct plan *plan = once_plan(names[i], NULL, 0, 1u << 30, 1, first_cpu());
		int fds = fds_open(), mappings = shared_mappings();

		CHECK_EQ(plan_start(plan), FILAR_OK);
		WAIT_UNTIL(shared_mappings() > mappings);
		plan_cancel(plan);
		CHECK_EQ(end_of(plan), FILAR_CANCELLED);
		check_nothing_left(fds, mappings);
	}
}

/* ---- the n-th failure ---- */

#if FILAR_FAIL
TEST(the_nth_failure_leaves_nothing_behind)
{
	static const char *const alone[] = { "switch-yield", "switch-touch", "switch-context" };
	const int64_t params[] = { ONE_CORE, 0 };

	for (int64_t process = 0; process <= 1; process++) {
		const int64_t party[] = { ONE_CORE, process };

		for (size_t i = 0; i < FILAR_COUNT_OF(media) - (size_t)process; i++)
			CHECK(fail_way_each(media[i], party, 2, 3) > 0);
	}
	for (size_t i = 0; i < FILAR_COUNT_OF(alone); i++)
		CHECK(fail_way_each(alone[i], params, 2, 3) > 0);
}
#endif

TEST_MAIN()
