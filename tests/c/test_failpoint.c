/*
 * test_failpoint.c - exactly the n-th call fails, once.  The failures exist in FAIL builds only.
 */
#include <pthread.h>

#include "base/atomic.h"
#include "base/failpoint.h"
#include "base/memory.h"
#include "check.h"

TEST(failpoint_each_has_a_name)
{
	for (int point = 0; point < FAILPOINT_COUNT; point++)
		CHECK(failpoint_name((enum failpoint)point)[0] != '\0');
	CHECK(strcmp(failpoint_name(FAILPOINT_ANY), "any") == 0);
}

#if FILAR_FAIL

TEST(failpoint_not_armed_never_fires)
{
	for (int i = 0; i < 100; i++)
		CHECK(!failpoint_hit(FAILPOINT_MMAP));
	CHECK(!failpoint_fired());
}

TEST(failpoint_fires_at_the_nth_hit_and_only_then)
{
	failpoint_arm(FAILPOINT_OPEN, 3);
	CHECK(!failpoint_hit(FAILPOINT_OPEN));
	CHECK(!failpoint_hit(FAILPOINT_READ)); /* another point does not count */
	CHECK(!failpoint_hit(FAILPOINT_OPEN));
	CHECK(!failpoint_fired());
	CHECK(failpoint_hit(FAILPOINT_OPEN));
	CHECK(failpoint_fired());
	CHECK(strcmp(failpoint_fired_name(), "open") == 0);
	CHECK(!failpoint_hit(FAILPOINT_OPEN));
}

TEST(failpoint_any_counts_all_points)
{
	failpoint_arm(FAILPOINT_ANY, 2);
	CHECK(!failpoint_hit(FAILPOINT_OPEN));
	CHECK(failpoint_hit(FAILPOINT_READ));
}

TEST(failpoint_disarmed_forgets)
{
	failpoint_arm(FAILPOINT_ANY, 1);
	failpoint_arm(FAILPOINT_ANY, 0);
	CHECK(!failpoint_hit(FAILPOINT_OPEN));
	CHECK(!failpoint_fired());
}

TEST(failpoint_memory_makes_each_allocation_fail)
{
	void *kept = memory_acquire(1, 8);

	failpoint_arm(FAILPOINT_MEMORY, 1);
	CHECK(memory_acquire(1, 8) == NULL);
	failpoint_arm(FAILPOINT_MEMORY, 1);
	CHECK(memory_acquire_aligned(1, 8) == NULL);
	failpoint_arm(FAILPOINT_MEMORY, 1);
	CHECK(memory_resize(kept, 2, 8) == NULL);
	CHECK_EQ(memory_live(), 1);
	memory_release(kept);
	CHECK_EQ(memory_live(), 0);
}

static _Atomic int failures;

static void *hit_often(void *unused)
{
	(void)unused;
	for (int i = 0; i < 1000; i++)
		fetch_add_relaxed(&failures, failpoint_hit(FAILPOINT_FUTEX));
	return NULL;
}

TEST(failpoint_fires_once_for_all_threads_together)
{
	pthread_t threads[4];

	failpoint_arm(FAILPOINT_FUTEX, 1500);
	for (int i = 0; i < 4; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, hit_often, NULL), 0);
	for (int i = 0; i < 4; i++)
		CHECK_EQ(pthread_join(threads[i], NULL), 0);
	CHECK_EQ(load_relaxed(&failures), 1);
}

#else

TEST(failpoint_costs_nothing_outside_fail_builds)
{
	puts("the failures themselves need the FAIL build (make fail)");
	CHECK(!failpoint_hit(FAILPOINT_MMAP));
	CHECK_EQ(memory_live(), 0);
}

#endif

TEST_MAIN()
