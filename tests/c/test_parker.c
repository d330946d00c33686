/*
 * test_parker.c - the sleep token of a kernel thread.
 */
#include <pthread.h>

#include "check.h"
#include "os/clock.h"
#include "sync/parker.h"

TEST(an_unpark_before_park_is_kept)
{
	struct parker parker;

	parker_init(&parker);
	parker_unpark(&parker);
	CHECK_EQ(parker_park_until(&parker, DEADLINE_NEVER), FILAR_OK);
}

TEST(two_unparks_give_one_permit)
{
	struct parker parker;

	parker_init(&parker);
	parker_unpark(&parker);
	parker_unpark(&parker);
	CHECK_EQ(parker_park_until(&parker, DEADLINE_NEVER), FILAR_OK);
	CHECK_EQ(parker_park_until(&parker, clock_now_ns() + NS_PER_MS), FILAR_TIMED_OUT);
}

TEST(a_deadline_in_the_past_returns_at_once)
{
	struct parker parker;

	parker_init(&parker);
	CHECK_EQ(parker_park_until(&parker, -5), FILAR_TIMED_OUT);
	CHECK_EQ(parker_park_until(&parker, 0), FILAR_TIMED_OUT);
}

TEST_MAIN()
