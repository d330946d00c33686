/*
 * test_ways_pass.c - items come back as agreed by every means, orders are kept where the program
 * decides, runtimes start and end; all of it leaves nothing behind, also when calls fail.
 */
#include "fail.h"
#include "once.h"

#define RUN(way, batch, ...)                                                                       \
	once_run(way, (const int64_t[]){ __VA_ARGS__ },                                            \
		sizeof((const int64_t[]){ __VA_ARGS__ }) / sizeof(int64_t), batch, first_cpu())

enum { CHANNEL, RENDEZVOUS, CONDITION };
enum { GREEN, KERNEL };
enum { BY_PROGRAM, BY_NICE, ONE_BY_ONE };

static void check_time(const struct once *once, size_t metric)
{
	CHECK_TEXT_HAS(once->detail, "");
	CHECK_EQ(once->status, FILAR_OK);
	CHECK(once->values[metric] > 0);
}

TEST(items_come_back_by_every_means)
{
	for (int64_t by = CHANNEL; by <= CONDITION; by++) {
		for (int64_t kernel = GREEN; kernel <= KERNEL; kernel++) {
			struct once once = RUN("pass", 40, by, kernel);

			check_time(&once, 0);
			once = RUN("pass", 40, by, kernel, second_cpu());
			check_time(&once, 0);
		}
	}
}

TEST(the_program_keeps_its_order_with_threads_of_both_kinds)
{
	struct once green = RUN("order-kept", 1, BY_PROGRAM, 24, 100),
		    kernel = RUN("order-kept", 1, ONE_BY_ONE, 24, 100);

	check_time(&green, 1);
	check_time(&kernel, 1);
	CHECK(green.values[0] == 0);
	CHECK(kernel.values[0] == 0);
}

TEST(pairs_out_of_order_are_a_share_where_the_kernel_decides)
{
	struct once nice = RUN("order-kept", 1, BY_NICE, 24, 100);

	check_time(&nice, 1);
	CHECK(nice.values[0] >= 0 && nice.values[0] <= 100);
}

TEST(each_kind_of_runtime_starts_and_ends)
{
	for (int64_t kind = 0; kind <= 2; kind++) {
		struct once once = RUN("runtime-start", 2, kind, 2);

		check_time(&once, 0);
		CHECK(isfinite(once.values[1]) && isfinite(once.values[2]));
	}
}

TEST(absurd_parameters_are_refused_with_a_sentence)
{
	CHECK_EQ(RUN("pass", 1, 3).status, FILAR_INVALID);
	CHECK_EQ(RUN("pass", 1, -1).status, FILAR_INVALID);
	CHECK_EQ(RUN("pass", 1, CHANNEL, GREEN, CPUS_MAX).status, FILAR_INVALID);
	CHECK_EQ(RUN("order-kept", 1, 3).status, FILAR_INVALID);
	CHECK_EQ(RUN("order-kept", 1, BY_PROGRAM, 1).status, FILAR_INVALID);
	CHECK_EQ(RUN("order-kept", 1, BY_PROGRAM, 257).status, FILAR_INVALID);
	CHECK_EQ(RUN("order-kept", 1, BY_PROGRAM, 2, INT64_MAX).status, FILAR_INVALID);
	CHECK_EQ(RUN("runtime-start", 1, 3).status, FILAR_INVALID);
	CHECK_EQ(RUN("runtime-start", 1, 1, 0).status, FILAR_INVALID);
}

TEST(cancelling_ends_a_long_hand_over)
{
	for (int64_t kernel = GREEN; kernel <= KERNEL; kernel++) {
		const int64_t params[] = { CHANNEL, kernel };
		struct plan *plan = once_plan("pass", params, 2, 1u << 30, 1, first_cpu());
		const char *detail;

		CHECK_EQ(plan_start(plan), FILAR_OK);
		plan_cancel(plan);
		CHECK_EQ(once_wait(plan, &detail), FILAR_CANCELLED);
		plan_destroy(plan);
	}
}

/* ---- the n-th failure ---- */

#if FILAR_FAIL
TEST(the_nth_failure_leaves_nothing_behind)
{
	FAIL_EACH("pass", CHANNEL, GREEN);
	FAIL_EACH("pass", RENDEZVOUS, KERNEL);
	FAIL_EACH("pass", CONDITION, GREEN, 0);
	FAIL_EACH("order-kept", BY_PROGRAM, 4, 10);
	FAIL_EACH("order-kept", BY_NICE, 4, 10);
	FAIL_EACH("order-kept", ONE_BY_ONE, 4, 10);
	FAIL_EACH("runtime-start", 0);
	FAIL_EACH("runtime-start", 1);
	FAIL_EACH("runtime-start", 2, 2);
}
#endif

TEST_MAIN()
