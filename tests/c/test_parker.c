/*
 * test_parker.c - the sleep token of a kernel thread.
 */
#include <pthread.h>
#include <signal.h>

#include "check.h"
#include "os/clock.h"
#include "sync/parker.h"

/* From parker.c, for looking only. */
enum { EMPTY, PARKED, NOTIFIED };

struct sleeper {
	struct parker parker;
	int64_t deadline_ns;
	int data; /* plain: published by unpark alone */
	int data_seen;
	enum filar_status status;
	pthread_t pthread;
};

static void *sleep_once(void *pointer)
{
	struct sleeper *sleeper = pointer;

	sleeper->status = parker_park_until(&sleeper->parker, sleeper->deadline_ns);
	if (sleeper->status == FILAR_OK)
		sleeper->data_seen = sleeper->data;
	return NULL;
}

static void start(struct sleeper *sleeper)
{
	parker_init(&sleeper->parker);
	CHECK_EQ(pthread_create(&sleeper->pthread, NULL, sleep_once, sleeper), 0);
	WAIT_UNTIL(load_relaxed(&sleeper->parker.word) == PARKED);
}

static void ignore_signal(int number)
{
	(void)number;
}

/* Without SA_RESTART; the kernel restarts no futex wait with a handler anyway. */
static void handle_signal(int number)
{
	struct sigaction action = { .sa_handler = ignore_signal };

	CHECK_EQ(sigaction(number, &action, NULL), 0);
}

TEST(an_unpark_before_park_is_kept)
{
	struct parker parker;

	parker_init(&parker);
	parker_unpark(&parker);
	CHECK_EQ(parker_park_until(&parker, DEADLINE_NEVER), FILAR_OK);
	CHECK_EQ(load_relaxed(&parker.word), EMPTY);
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

TEST(a_permit_counts_more_than_a_deadline_in_the_past)
{
	struct parker parker;

	parker_init(&parker);
	parker_unpark(&parker);
	CHECK_EQ(parker_park_until(&parker, 0), FILAR_OK);
}

TEST(a_time_out_leaves_the_parker_usable)
{
	struct parker parker;

	parker_init(&parker);
	CHECK_EQ(parker_park_until(&parker, clock_now_ns() + 1000), FILAR_TIMED_OUT);
	CHECK_EQ(load_relaxed(&parker.word), EMPTY);
	parker_unpark(&parker);
	CHECK_EQ(parker_park_until(&parker, DEADLINE_NEVER), FILAR_OK);
}

TEST(unpark_wakes_a_sleeper_and_shows_what_came_before)
{
	struct sleeper sleeper = { .deadline_ns = DEADLINE_NEVER };

	start(&sleeper);
	sleeper.data = 42;
	parker_unpark(&sleeper.parker);
	pthread_join(sleeper.pthread, NULL);
	CHECK_EQ(sleeper.status, FILAR_OK);
	CHECK_EQ(sleeper.data_seen, 42);
	CHECK_EQ(load_relaxed(&sleeper.parker.word), EMPTY);
}

TEST(a_signal_ends_the_park_without_taking_a_permit)
{
	struct sleeper sleeper = { .deadline_ns = DEADLINE_NEVER };

	handle_signal(SIGUSR1);
	start(&sleeper);
	/* PARKED comes before the sleep: signal until one arrives in it. */
	while (load_relaxed(&sleeper.parker.word) == PARKED) {
		pthread_kill(sleeper.pthread, SIGUSR1);
		usleep(100);
	}
	pthread_join(sleeper.pthread, NULL);
	CHECK_EQ(sleeper.status, FILAR_INTERRUPTED);
	parker_unpark(&sleeper.parker);
	CHECK_EQ(parker_park_until(&sleeper.parker, 0), FILAR_OK);
}

TEST_MAIN()
