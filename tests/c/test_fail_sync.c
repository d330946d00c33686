/*
 * test_fail_sync.c - futex calls that fail (EINTR) lose no wake-up.
 *
 * In FAIL builds the n-th futex call of the operation, wait or wake, fails.  In other builds there
 * is nothing to inject.
 */
#include <pthread.h>

#include "base/failpoint.h"
#include "base/memory.h"
#include "check.h"
#include "os/clock.h"
#include "sync/eventcount.h"
#include "sync/parker.h"

#if FILAR_FAIL
#define NTH_MAX 12

struct pair {
	struct parker parkers[2];
	struct eventcount eventcount;
	_Atomic int items;
	int turns; /* plain, handed over by the parkers */
};

/* What every user of a parker does: an interrupted park is begun again. */
static void park(struct parker *parker)
{
	enum filar_status status;

	while ((status = parker_park_until(parker, DEADLINE_NEVER)) != FILAR_OK)
		CHECK_EQ(status, FILAR_INTERRUPTED);
}

static void *answer(void *pointer)
{
	struct pair *pair = pointer;

	for (int i = 0; i < NTH_MAX; i++) {
		park(&pair->parkers[1]);
		CHECK_EQ(pair->turns, 2 * i + 1);
		pair->turns++;
		parker_unpark(&pair->parkers[0]);
	}
	return NULL;
}

TEST(no_futex_failure_loses_a_permit)
{
	for (uint64_t nth = 1; nth <= NTH_MAX; nth++) {
		struct pair pair = { .turns = 0 };
		pthread_t other;

		parker_init(&pair.parkers[0]);
		parker_init(&pair.parkers[1]);
		failpoint_arm(FAILPOINT_FUTEX, nth);
		CHECK_EQ(pthread_create(&other, NULL, answer, &pair), 0);
		for (int i = 0; i < NTH_MAX; i++) {
			pair.turns++;
			parker_unpark(&pair.parkers[1]);
			park(&pair.parkers[0]);
		}
		pthread_join(other, NULL);
		CHECK_EQ(pair.turns, 2 * NTH_MAX);
		failpoint_arm(FAILPOINT_FUTEX, 0);
	}
}

TEST(an_interrupted_park_says_so_and_keeps_no_state)
{
	struct parker parker;

	parker_init(&parker);
	failpoint_arm(FAILPOINT_FUTEX, 1);
	CHECK_EQ(parker_park_until(&parker, DEADLINE_NEVER), FILAR_INTERRUPTED);
	CHECK(failpoint_fired());
	CHECK_EQ(load_relaxed(&parker.word), 0);
	parker_unpark(&parker);
	CHECK_EQ(parker_park_until(&parker, DEADLINE_NEVER), FILAR_OK);
}

TEST(an_interrupted_wait_on_an_eventcount_leaves_the_count_right)
{
	struct eventcount eventcount;
	uint32_t ticket;

	eventcount_init(&eventcount);
	ticket = eventcount_prepare_wait(&eventcount);
	failpoint_arm(FAILPOINT_FUTEX, 1);
	CHECK_EQ(eventcount_commit_wait_until(&eventcount, ticket, DEADLINE_NEVER),
		FILAR_INTERRUPTED);
	CHECK(failpoint_fired());
	CHECK_EQ(load_relaxed(&eventcount.waiters), 0);
}

static void *consume(void *pointer)
{
	struct pair *pair = pointer;

	for (int taken = 0; taken < NTH_MAX;) {
		uint32_t ticket = eventcount_prepare_wait(&pair->eventcount);

		if (load_acquire(&pair->items) > taken) {
			eventcount_cancel_wait(&pair->eventcount);
			taken++;
			continue;
		}
		(void)eventcount_commit_wait_until(&pair->eventcount, ticket, DEADLINE_NEVER);
	}
	return NULL;
}

/* The maker goes on only when the consumer sleeps, so that each notify needs its wake. */
TEST(no_futex_failure_loses_a_notify)
{
	for (uint64_t nth = 1; nth <= NTH_MAX; nth++) {
		struct pair pair = { .turns = 0 };
		pthread_t other;

		eventcount_init(&pair.eventcount);
		failpoint_arm(FAILPOINT_FUTEX, nth);
		CHECK_EQ(pthread_create(&other, NULL, consume, &pair), 0);
		for (int i = 0; i < NTH_MAX; i++) {
			WAIT_UNTIL(load_relaxed(&pair.eventcount.waiters) == 1);
			fetch_add_relaxed(&pair.items, 1);
			eventcount_notify_one(&pair.eventcount);
		}
		pthread_join(other, NULL);
		failpoint_arm(FAILPOINT_FUTEX, 0);
	}
}
#else
TEST(nothing_is_injected_without_fail_builds)
{
	CHECK_EQ(memory_live(), 0);
}
#endif

TEST_MAIN()
