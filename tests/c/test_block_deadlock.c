/*
 * test_block_deadlock.c - cycles of waits are found by the one that closes them, and named.
 */
#include "block/mutex.h"
#include "crowd.h"

static struct mutex mutexes[4];
static const char *const names[4] = { "a", "b", "c", "d" };

static void init_mutexes(void)
{
	for (int i = 0; i < 4; i++)
		mutex_init(&mutexes[i], names[i]);
}

/* Asleep, not only queued: its edge is there, so it is not the one that closes a cycle. */
static bool sleeps(struct waiter *waiter)
{
	return waiter->green != NULL ? load_acquire(&waiter->green->state) == GREEN_PARKED
				     : load_acquire(&waiter->word) != 0;
}

static bool somebody_sleeps_at(int i)
{
	uint64_t word = waitq_lock(&mutexes[i].queue);
	bool found = false;
	struct list *link;

	LIST_FOR_EACH(link, &mutexes[i].queue.entries)
	found |= sleeps(&FILAR_CONTAINER_OF(link, struct waitq_entry, link)->waiter);
	waitq_unlock(&mutexes[i].queue, word);
	return found;
}

static enum filar_status lock(int i)
{
	return mutex_lock_until(&mutexes[i], DEADLINE_NEVER);
}

static void unlock(int i)
{
	CHECK_EQ(mutex_unlock(&mutexes[i]), FILAR_OK);
}

/* Holds mutex `first`, then waits for the next one as long as it takes. */
static void hold_and_wait(void *first)
{
	int i = (int)(intptr_t)first;

	CHECK_EQ(lock(i), FILAR_OK);
	CHECK_EQ(lock(i + 1), FILAR_OK);
	unlock(i + 1);
	unlock(i);
}

static void *hold_and_wait_outside(void *first)
{
	hold_and_wait(first);
	return NULL;
}

/* Holds the last one, and would close the cycle. */
static void close_two(void *unused)
{
	struct green_options options = { .name = "other" };
	struct green_ref ref;

	(void)unused;
	CHECK_EQ(lock(1), FILAR_OK);
	CHECK_EQ(green_spawn(&ref, crowd_runtime, &options, hold_and_wait, (void *)0), FILAR_OK);
	YIELD_UNTIL(somebody_sleeps_at(1));
	CHECK_EQ(lock(0), FILAR_DEADLOCK);
	CHECK_TEXT_HAS(filar_status_detail(),
		"green thread 1 waits for mutex \"a\", held by green thread");
	CHECK_TEXT_HAS(
		filar_status_detail(), "\"other\" waits for mutex \"b\", held by green thread 1");
	/* A deadline ends by itself. */
	CHECK_EQ(mutex_lock_until(&mutexes[0], clock_now_ns() + NS_PER_MS), FILAR_TIMED_OUT);
	unlock(1);
	crowd_join(ref);
	CHECK_EQ(lock(0), FILAR_OK);
	unlock(0);
}

TEST(deadlock_of_two_is_named_and_can_be_undone)
{
	init_mutexes();
	crowd_on_green(1, close_two, NULL);
	init_mutexes();
	crowd_on_green(2, close_two, NULL);
}

TEST(deadlock_of_green_and_kernel_threads_is_one_cycle)
{
	char expected[64];
	struct green_ref ref;
	pthread_t thread;

	init_mutexes();
	crowd_start(1);
	CHECK_EQ(lock(2), FILAR_OK);
	CHECK_EQ(pthread_create(&thread, NULL, hold_and_wait_outside, (void *)1), 0);
	WAIT_UNTIL(somebody_sleeps_at(2));
	ref = crowd_spawn(hold_and_wait, (void *)0);
	WAIT_UNTIL(somebody_sleeps_at(1));
	CHECK_EQ(lock(0), FILAR_DEADLOCK);
	snprintf(expected, sizeof expected, "kernel thread %d waits for mutex \"a\"", getpid());
	CHECK_TEXT_HAS(filar_status_detail(), expected);
	CHECK_TEXT_HAS(
		filar_status_detail(), "green thread 1 waits for mutex \"b\", held by kernel");
	unlock(2);
	pthread_join(thread, NULL);
	crowd_join(ref);
	crowd_stop();
}

static void wait_in_vain(void *unused)
{
	(void)unused;
	CHECK_EQ(lock(0), FILAR_OK);
	CHECK_EQ(lock(1), FILAR_CANCELLED);
	unlock(0);
}

/* Waits that will end are no edges: cancelled; of a thread that ended; a chain without a cycle. */
static void close_nothing(void *unused)
{
	struct green_ref ref;

	CHECK_EQ(lock(1), FILAR_OK);
	ref = crowd_spawn(wait_in_vain, unused);
	YIELD_UNTIL(crowd_is_parked(ref));
	CHECK_EQ(green_cancel(ref), FILAR_OK);
	CHECK_EQ(lock(0), FILAR_OK);
	crowd_join(ref);
	unlock(0);
	unlock(1);
}

TEST(deadlock_is_not_seen_where_a_wait_will_end)
{
	init_mutexes();
	crowd_on_green(1, close_nothing, NULL);
}

/* ---- hunts ---- */

static _Atomic uint64_t deadlocks;

static void lock_three(struct crowd_thread *self, bool in_order)
{
	/* Without an order, until there was a deadlock: on a busy machine it may take longer. */
	while (stress_goes_on() || (!in_order && load_relaxed(&deadlocks) == 0)) {
		int first = (int)random_below(&self->random, 4), held[3];
		enum filar_status status = FILAR_OK;
		int count = 0;

		while (count < 3 && status == FILAR_OK) {
			int i = in_order ? count + first / 2
					 : (first + count * (self->index % 2 == 0 ? 1 : 3)) % 4;

			if (mutex_is_mine(&mutexes[i]))
				break;
			status = lock(i);
			if (status == FILAR_OK)
				held[count++] = i;
			crowd_jitter(self);
		}
		CHECK(status == FILAR_OK || (status == FILAR_DEADLOCK && !in_order));
		if (status == FILAR_DEADLOCK)
			fetch_add_relaxed(&deadlocks, 1);
		while (count > 0)
			unlock(held[--count]);
		crowd_jitter(self);
	}
}

static void lock_in_any_order(struct crowd_thread *self)
{
	lock_three(self, false);
}

static void lock_in_order(struct crowd_thread *self)
{
	lock_three(self, true);
}

/* Hunts: two threads that close a cycle at the same moment, and neither sees the other's edge: then
 * this hangs. */
TEST(deadlock_is_always_found_by_somebody)
{
	void (*const bodies[])(struct crowd_thread *) = { lock_in_any_order };

	for (int kind = 0; kind < CROWD_KINDS; kind++) {
		init_mutexes();
		crowd_run((enum crowd_kind)kind, bodies, 1, 6, NULL, 0.1);
	}
	CHECK_GE(load_relaxed(&deadlocks), 1);
}

/* Hunts: edges of different moments put together to a cycle that never was. */
TEST(deadlock_is_never_reported_where_all_keep_an_order)
{
	void (*const bodies[])(struct crowd_thread *) = { lock_in_order };

	for (int kind = 0; kind < CROWD_KINDS; kind++) {
		init_mutexes();
		crowd_run((enum crowd_kind)kind, bodies, 1, 6, NULL, 0.05);
	}
	CHECK_EQ(load_relaxed(&deadlocks), 0);
}

TEST_MAIN()
