/*
 * test_eventcount.c - "sleep unless something changed", one step at a time.
 */
#include <pthread.h>

#include "check.h"
#include "os/clock.h"
#include "sync/eventcount.h"

struct sleeper {
	struct eventcount *eventcount;
	int64_t deadline_ns;
	enum filar_status status;
	_Atomic bool has_ticket;
	pthread_t pthread;
};

static void *sleep_once(void *pointer)
{
	struct sleeper *sleeper = pointer;
	uint32_t ticket = eventcount_prepare_wait(sleeper->eventcount);

	store_release(&sleeper->has_ticket, true);
	sleeper->status =
		eventcount_commit_wait_until(sleeper->eventcount, ticket, sleeper->deadline_ns);
	return NULL;
}

/* Until it has its ticket: one that is only counted may still take that of a later notify. */
static void start(struct sleeper *sleeper, struct eventcount *eventcount, uint32_t already)
{
	*sleeper = (struct sleeper){ .eventcount = eventcount, .deadline_ns = DEADLINE_NEVER };
	CHECK_EQ(pthread_create(&sleeper->pthread, NULL, sleep_once, sleeper), 0);
	WAIT_UNTIL(load_acquire(&sleeper->has_ticket));
	CHECK_EQ(load_relaxed(&eventcount->waiters), already + 1);
}

TEST(a_notify_after_prepare_ends_the_wait_before_it_begins)
{
	struct eventcount eventcount;
	uint32_t ticket;

	eventcount_init(&eventcount);
	ticket = eventcount_prepare_wait(&eventcount);
	eventcount_notify_one(&eventcount);
	CHECK_EQ(eventcount_commit_wait_until(&eventcount, ticket, DEADLINE_NEVER), FILAR_OK);
	CHECK_EQ(load_relaxed(&eventcount.waiters), 0);
}

TEST(a_notify_before_prepare_is_not_kept)
{
	struct eventcount eventcount;
	uint32_t ticket;

	eventcount_init(&eventcount);
	eventcount_notify_all(&eventcount);
	ticket = eventcount_prepare_wait(&eventcount);
	CHECK_EQ(eventcount_commit_wait_until(&eventcount, ticket, clock_now_ns() + NS_PER_MS),
		FILAR_TIMED_OUT);
	CHECK_EQ(load_relaxed(&eventcount.waiters), 0);
}

TEST(a_notify_without_waiters_changes_nothing)
{
	struct eventcount eventcount;

	eventcount_init(&eventcount);
	eventcount_notify_one(&eventcount);
	eventcount_notify_all(&eventcount);
	CHECK_EQ(load_relaxed(&eventcount.epoch), 0);
}

TEST(a_cancelled_wait_leaves_no_trace)
{
	struct eventcount eventcount;

	eventcount_init(&eventcount);
	CHECK_EQ(eventcount_prepare_wait(&eventcount), 0);
	eventcount_cancel_wait(&eventcount);
	CHECK_EQ(load_relaxed(&eventcount.waiters), 0);
	eventcount_notify_one(&eventcount);
	CHECK_EQ(load_relaxed(&eventcount.epoch), 0);
}

TEST(a_notify_beats_a_deadline_in_the_past)
{
	struct eventcount eventcount;
	uint32_t ticket;

	eventcount_init(&eventcount);
	ticket = eventcount_prepare_wait(&eventcount);
	eventcount_notify_one(&eventcount);
	CHECK_EQ(eventcount_commit_wait_until(&eventcount, ticket, 0), FILAR_OK);
}

TEST(notify_all_wakes_all)
{
	struct eventcount eventcount;
	struct sleeper sleepers[5];

	eventcount_init(&eventcount);
	for (uint32_t i = 0; i < 5; i++)
		start(&sleepers[i], &eventcount, i);
	eventcount_notify_all(&eventcount);
	for (int i = 0; i < 5; i++) {
		pthread_join(sleepers[i].pthread, NULL);
		CHECK_EQ(sleepers[i].status, FILAR_OK);
	}
	CHECK_EQ(load_relaxed(&eventcount.waiters), 0);
}

TEST(as_many_notify_one_as_sleepers_wake_all)
{
	struct eventcount eventcount;
	struct sleeper sleepers[5];

	eventcount_init(&eventcount);
	for (uint32_t i = 0; i < 5; i++)
		start(&sleepers[i], &eventcount, i);
	for (int i = 0; i < 5; i++)
		eventcount_notify_one(&eventcount);
	for (int i = 0; i < 5; i++)
		pthread_join(sleepers[i].pthread, NULL);
	CHECK_EQ(load_relaxed(&eventcount.waiters), 0);
}

TEST_MAIN()
