/*
 * test_ways_data.c - data arrive whole by every way, and a party that is lost in the middle of a
 * block neither hangs the other nor leaves anything behind.
 */
#include "fail.h"
#include "once.h"

enum { ONE_CORE = -1 };

static const char *const names[] = { "data-pointer", "data-pipe", "data-socket" };

/* More than a pipe or a socket holds at once. */
static const int64_t sizes[] = { 8, 64, 4104, 1 << 20 };

static void check_shares(int64_t peer_cpu, int64_t process)
{
	int fds = fds_open(), mappings = shared_mappings();

	for (size_t i = 0; i < FILAR_COUNT_OF(names); i++) {
		for (size_t j = 0; j < FILAR_COUNT_OF(sizes); j++) {
			int64_t params[] = { peer_cpu, process, sizes[j] };
			struct once once = once_run(names[i], params, 3, 3, first_cpu());

			CHECK_EQ(once.status, FILAR_OK);
			CHECK(isfinite(once.values[0]) && once.values[0] > 0);
		}
	}
	check_nothing_left(fds, mappings);
}

TEST(threads_share_on_one_core)
{
	check_shares(ONE_CORE, 0);
}

TEST(processes_share_on_one_core)
{
	check_shares(ONE_CORE, 1);
}

TEST(both_share_on_two_cores)
{
	int32_t cpu = second_cpu();

	if (cpu < 0) {
		puts("skipped: one CPU");
		return;
	}
	check_shares(cpu, 0);
	check_shares(cpu, 1);
}

TEST(the_work_alone_needs_no_peer)
{
	int64_t params[] = { ONE_CORE, 0, 65536 };
	int fds = fds_open();
	struct once once = once_run("data-alone", params, 3, 10, first_cpu());

	CHECK_EQ(once.status, FILAR_OK);
	CHECK(once.values[0] > 0);
	check_nothing_left(fds, 0);
}

TEST(absurd_blocks_are_refused)
{
	static const int64_t absurd[] = { 0, -8, 7, 12, INT64_MAX - 7, (1 << 26) + 8 };
	int fds = fds_open();

	for (size_t i = 0; i < FILAR_COUNT_OF(absurd); i++) {
		int64_t params[] = { ONE_CORE, 0, absurd[i] };

		CHECK_EQ(once_run("data-pipe", params, 3, 1, -1).status, FILAR_INVALID);
	}
	check_nothing_left(fds, 0);
}

/* The interleaving hunted: the driver sleeps in the middle of a block, in a full pipe or in a
 * futex, when the one that would wake it is stopped or dead. */
static void lose_peer(int signal, int expected)
{
	for (size_t i = 0; i < FILAR_COUNT_OF(names); i++) {
		int64_t params[] = { ONE_CORE, 1, 1 << 22 };
		int fds = fds_open();
		struct plan *plan = once_plan(names[i], params, 3, 1u << 30, 1, first_cpu());

		once_start_and_hit(plan, signal);
		if (expected == FILAR_CANCELLED)
			plan_cancel(plan);
		CHECK_EQ(end_of(plan), expected);
		check_nothing_left(fds, 0);
	}
}

TEST(a_killed_peer_fails_the_way_and_nothing_else)
{
	lose_peer(SIGKILL, FILAR_SYSTEM);
}

TEST(cancelling_ends_a_sample_whose_peer_is_stopped)
{
	lose_peer(SIGSTOP, FILAR_CANCELLED);
}

TEST(cancelling_ends_a_long_sample_of_threads)
{
	for (size_t i = 0; i < FILAR_COUNT_OF(names); i++) {
		int64_t params[] = { ONE_CORE, 0, 1 << 22 };
		int fds = fds_open();
		struct plan *plan = once_plan(names[i], params, 3, 1u << 30, 1, first_cpu());

		CHECK_EQ(plan_start(plan), FILAR_OK);
		WAIT_UNTIL(shared_mappings() > 0);
		plan_cancel(plan);
		CHECK_EQ(end_of(plan), FILAR_CANCELLED);
		check_nothing_left(fds, 0);
	}
}

#if FILAR_FAIL
TEST(the_nth_failure_leaves_nothing_behind)
{
	for (int64_t process = 0; process <= 1; process++) {
		const int64_t params[] = { ONE_CORE, process, 128 };

		for (size_t i = 0; i < FILAR_COUNT_OF(names); i++)
			CHECK(fail_way_each(names[i], params, 3, 2) > 0);
	}
}
#endif

TEST_MAIN()
