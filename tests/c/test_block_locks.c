/*
 * test_block_locks.c - mutex, condition, semaphore, event: what they do and what they say.
 */
#include "block/cond.h"
#include "block/event.h"
#include "block/mutex.h"
#include "block/semaphore.h"
#include "crowd.h"
#include "fail.h"

static struct mutex mutex;
static struct cond cond;
static struct semaphore semaphore;
static struct event event;

static bool has_waiters(struct waitq *queue)
{
	return (load_acquire(&queue->word) & WAITQ_WAITERS) != 0;
}

static int count_waiters(struct waitq *queue)
{
	uint64_t word = waitq_lock(queue);
	struct list *link;
	int count = 0;

	LIST_FOR_EACH(link, &queue->entries)
	count++;
	waitq_unlock(queue, word);
	return count;
}

static int64_t soon(void)
{
	return clock_now_ns() + NS_PER_MS;
}

/* ---- mutex ---- */

static void lock_and_unlock(void *unused)
{
	(void)unused;
	for (int i = 0; i < 3; i++) {
		CHECK_EQ(mutex_lock_until(&mutex, DEADLINE_NEVER), FILAR_OK);
		CHECK(mutex_is_mine(&mutex));
		CHECK_EQ(mutex_unlock(&mutex), FILAR_OK);
		CHECK(!mutex_is_mine(&mutex));
		CHECK_EQ(mutex_trylock(&mutex), FILAR_OK);
		CHECK_EQ(mutex_unlock(&mutex), FILAR_OK);
	}
	CHECK_EQ(load_relaxed(&mutex.queue.word), 0);
}

TEST(mutex_belongs_to_the_one_that_locked_it_green_or_kernel)
{
	mutex_init(&mutex, "m");
	lock_and_unlock(NULL);
	crowd_on_green(1, lock_and_unlock, NULL);
}

static void meddle(void *unused)
{
	char expected[64];

	(void)unused;
	CHECK_EQ(mutex_unlock(&mutex), FILAR_WRONG_STATE);
	snprintf(expected, sizeof expected, "mutex \"m\" is held by kernel thread %d", getpid());
	CHECK_TEXT_HAS(filar_status_detail(), expected);
	CHECK_TEXT_HAS(filar_status_detail(), "so green thread 1 cannot unlock it");
	CHECK_EQ(mutex_trylock(&mutex), FILAR_BUSY);
	CHECK_TEXT_HAS(filar_status_detail(), expected);
	CHECK_EQ(mutex_lock_until(&mutex, soon()), FILAR_TIMED_OUT);
	CHECK_EQ(mutex_lock_until(&mutex, 0), FILAR_TIMED_OUT);
}

TEST(mutex_a_stranger_cannot_unlock_it_and_hears_whose_it_is)
{
	mutex_init(&mutex, "m");
	CHECK_EQ(mutex_unlock(&mutex), FILAR_WRONG_STATE);
	CHECK_TEXT_HAS(filar_status_detail(), "held by nobody");
	CHECK_EQ(mutex_lock_until(&mutex, DEADLINE_NEVER), FILAR_OK);
	crowd_on_green(1, meddle, NULL);
	CHECK_EQ(mutex_unlock(&mutex), FILAR_OK);
	CHECK_EQ(load_relaxed(&mutex.queue.word), 0);
}

TEST(mutex_locked_twice_by_one_thread_is_a_deadlock_that_is_named)
{
	mutex_init(&mutex, NULL);
	CHECK_EQ(mutex_lock_until(&mutex, DEADLINE_NEVER), FILAR_OK);
	CHECK_EQ(mutex_lock_until(&mutex, DEADLINE_NEVER), FILAR_DEADLOCK);
	CHECK_TEXT_HAS(filar_status_detail(), "and that is the caller");
	CHECK_EQ(mutex_lock_until(&mutex, soon()), FILAR_DEADLOCK);
	CHECK_EQ(mutex_unlock(&mutex), FILAR_OK);
}

static void end_with_it(void *unused)
{
	(void)unused;
	CHECK_EQ(mutex_lock_until(&mutex, DEADLINE_NEVER), FILAR_OK);
}

static void find_it_held(void *unused)
{
	(void)unused;
	CHECK_EQ(mutex_unlock(&mutex), FILAR_WRONG_STATE);
	CHECK_TEXT_HAS(filar_status_detail(), "is held by green thread 1,");
	CHECK_EQ(mutex_lock_until(&mutex, soon()), FILAR_TIMED_OUT);
}

/* The second has the first one's descriptor, but not its mutex. */
TEST(mutex_of_a_green_thread_that_ended_is_not_its_successors)
{
	struct green_ref first, second;

	mutex_init(&mutex, "m");
	crowd_start(1);
	first = crowd_spawn(end_with_it, NULL);
	crowd_join(first);
	second = crowd_spawn(find_it_held, NULL);
	crowd_join(second);
	crowd_stop();
}

struct order {
	int ids[16];
	int count;
};

static struct order order;

static void note(int id)
{
	order.ids[order.count++] = id;
}

static void lock_note_unlock(void *id)
{
	CHECK_EQ(mutex_lock_until(&mutex, DEADLINE_NEVER), FILAR_OK);
	note((int)(intptr_t)id);
	CHECK_EQ(mutex_unlock(&mutex), FILAR_OK);
}

static void hold_against_two(void *unused)
{
	struct green_ref refs[2];

	(void)unused;
	CHECK_EQ(mutex_lock_until(&mutex, DEADLINE_NEVER), FILAR_OK);
	for (intptr_t i = 0; i < 2; i++) {
		refs[i] = crowd_spawn(lock_note_unlock, (void *)(i + 1));
		YIELD_UNTIL(crowd_is_parked(refs[i]));
	}
	/* Once the woken one comes too late. */
	CHECK_EQ(mutex_unlock(&mutex), FILAR_OK);
	CHECK_EQ(mutex_trylock(&mutex), FILAR_OK);
	note(0);
	CHECK(!crowd_is_parked(refs[0]));
	CHECK(crowd_is_parked(refs[1]));
	YIELD_UNTIL(crowd_is_parked(refs[0]));
	/* Then it is given the mutex. */
	CHECK_EQ(mutex_unlock(&mutex), FILAR_OK);
	CHECK_EQ(mutex_trylock(&mutex), FILAR_BUSY);
	for (int i = 0; i < 2; i++)
		crowd_join(refs[i]);
}

TEST(mutex_waiter_loses_once_and_is_then_given_it_before_others)
{
	mutex_init(&mutex, "m");
	crowd_on_green(1, hold_against_two, NULL);
	CHECK_EQ(order.count, 3);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(order.ids[i], i);
	CHECK_EQ(load_relaxed(&mutex.queue.word), 0);
}

static void be_cancelled_at_lock(void *unused)
{
	(void)unused;
	CHECK_EQ(mutex_lock_until(&mutex, DEADLINE_NEVER), FILAR_CANCELLED);
	CHECK(!mutex_is_mine(&mutex));
}

static void cancel_a_waiter(void *unused)
{
	struct green_ref ref;

	(void)unused;
	CHECK_EQ(mutex_lock_until(&mutex, DEADLINE_NEVER), FILAR_OK);
	ref = crowd_spawn(be_cancelled_at_lock, NULL);
	YIELD_UNTIL(crowd_is_parked(ref));
	CHECK_EQ(green_cancel(ref), FILAR_OK);
	crowd_join(ref);
	CHECK(!has_waiters(&mutex.queue));
	CHECK_EQ(mutex_unlock(&mutex), FILAR_OK);
}

static void unlock_unowned(void *unused)
{
	(void)unused;
	CHECK_EQ(mutex_unlock_unowned(&mutex), FILAR_OK);
}

TEST(mutex_without_an_owner_is_unlocked_by_whoever_comes)
{
	mutex_init(&mutex, "m");
	CHECK_EQ(mutex_unlock_unowned(&mutex), FILAR_WRONG_STATE);
	CHECK_EQ(mutex_lock_unowned_until(&mutex, DEADLINE_NEVER), FILAR_OK);
	CHECK(!mutex_trylock_unowned(&mutex));
	/* Locking it again is a wait like any other. */
	CHECK_EQ(mutex_lock_unowned_until(&mutex, soon()), FILAR_TIMED_OUT);
	crowd_on_green(1, unlock_unowned, NULL);
	CHECK(mutex_trylock_unowned(&mutex));
	unlock_unowned(NULL);
	mutex_lock_unowned_shielded(&mutex);
	unlock_unowned(NULL);
	CHECK_EQ(load_relaxed(&mutex.queue.word), 0);
}

TEST(mutex_wait_ends_when_the_green_thread_is_cancelled)
{
	mutex_init(&mutex, "m");
	crowd_on_green(1, cancel_a_waiter, NULL);
}

static void on_signal(int number)
{
	(void)number;
}

static void *be_interrupted(void *unused)
{
	(void)unused;
	CHECK_EQ(mutex_lock_until(&mutex, DEADLINE_NEVER), FILAR_INTERRUPTED);
	return NULL;
}

/* A thread that waits on a futex, by what the kernel says of it; so that the signal finds it there.
 */
static void *interrupt_until_it_ends(void *pthread)
{
	while (has_waiters(&mutex.queue)) {
		pthread_kill(*(pthread_t *)pthread, SIGUSR1);
		usleep(1000);
	}
	return NULL;
}

TEST(mutex_wait_of_a_kernel_thread_ends_by_a_signal)
{
	struct sigaction action = { .sa_handler = on_signal };
	pthread_t thread;

	sigaction(SIGUSR1, &action, NULL);
	mutex_init(&mutex, "m");
	CHECK_EQ(mutex_lock_until(&mutex, DEADLINE_NEVER), FILAR_OK);
	CHECK_EQ(pthread_create(&thread, NULL, be_interrupted, NULL), 0);
	WAIT_UNTIL(has_waiters(&mutex.queue));
	interrupt_until_it_ends(&thread);
	pthread_join(thread, NULL);
	CHECK_EQ(mutex_unlock(&mutex), FILAR_OK);
}

/* ---- what goes on around a wait ---- */

struct beholder {
	struct wait_around around;
	int left, came_back, looked;
	int looks_max; /* then the wait is to end */
};

static void behold_leave(struct wait_around *around)
{
	FILAR_CONTAINER_OF(around, struct beholder, around)->left++;
}

static void behold_come_back(struct wait_around *around)
{
	FILAR_CONTAINER_OF(around, struct beholder, around)->came_back++;
}

static bool behold_look(struct wait_around *around, bool signalled)
{
	struct beholder *beholder = FILAR_CONTAINER_OF(around, struct beholder, around);

	CHECK(!signalled);
	return ++beholder->looked >= beholder->looks_max;
}

TEST(wait_around_is_called_before_and_after_each_sleep_and_looks_between_slices)
{
	struct beholder beholder = {
		.around = { behold_leave, behold_come_back, behold_look, NS_PER_MS }, .looks_max = 3
	};
	struct wait_around *before, *ours;

	mutex_init(&mutex, "m");
	CHECK(wait_around_set(&beholder.around, &before));
	CHECK(before == NULL);
	/* Nothing to wait for: nobody is asked. */
	CHECK_EQ(mutex_lock_unowned_until(&mutex, DEADLINE_NEVER), FILAR_OK);
	CHECK_EQ(beholder.left, 0);
	CHECK_EQ(mutex_lock_unowned_until(&mutex, DEADLINE_NEVER), FILAR_INTERRUPTED);
	CHECK_EQ(beholder.left, 3);
	CHECK_EQ(beholder.came_back, 3);
	CHECK_EQ(beholder.looked, 3);
	/* A deadline within the first slice is one. */
	beholder.around.slice_ns = 1000 * NS_PER_S;
	CHECK_EQ(mutex_lock_unowned_until(&mutex, soon()), FILAR_TIMED_OUT);
	CHECK_EQ(beholder.left, 4);
	CHECK_EQ(beholder.looked, 3);
	CHECK(wait_around_set(NULL, &ours));
	CHECK(ours == &beholder.around);
	CHECK_EQ(mutex_lock_unowned_until(&mutex, soon()), FILAR_TIMED_OUT);
	CHECK_EQ(beholder.came_back, 4);
	CHECK_EQ(mutex_unlock_unowned(&mutex), FILAR_OK);
}

/* ---- condition ---- */

static bool ready;
static _Atomic int inside;

static void wait_until_ready(void *id)
{
	CHECK_EQ(mutex_lock_until(&mutex, DEADLINE_NEVER), FILAR_OK);
	while (!ready) {
		fetch_add_relaxed(&inside, 1);
		CHECK_EQ(cond_wait_until(&cond, &mutex, DEADLINE_NEVER), FILAR_OK);
		CHECK(mutex_is_mine(&mutex));
	}
	note((int)(intptr_t)id);
	CHECK_EQ(mutex_unlock(&mutex), FILAR_OK);
}

static void signal_one_then_all(void *unused)
{
	struct green_ref refs[3];

	(void)unused;
	for (intptr_t i = 0; i < 3; i++) {
		refs[i] = crowd_spawn(wait_until_ready, (void *)i);
		YIELD_UNTIL(crowd_is_parked(refs[i]));
	}
	ready = true;
	cond_signal(&cond);
	crowd_join(refs[0]);
	CHECK_EQ(order.count, 1);
	CHECK(crowd_is_parked(refs[1]) && crowd_is_parked(refs[2]));
	cond_broadcast(&cond);
	crowd_join(refs[1]);
	crowd_join(refs[2]);
	CHECK_EQ(order.count, 3);
	CHECK_EQ(order.ids[0], 0);
}

TEST(cond_signal_wakes_the_first_and_broadcast_all)
{
	mutex_init(&mutex, "m");
	cond_init(&cond);
	crowd_on_green(1, signal_one_then_all, NULL);
}

TEST(cond_wait_needs_the_mutex_and_names_its_holder)
{
	mutex_init(&mutex, "m");
	cond_init(&cond);
	CHECK_EQ(cond_wait_until(&cond, &mutex, soon()), FILAR_WRONG_STATE);
	CHECK_TEXT_HAS(filar_status_detail(), "it is held by nobody");
}

TEST(cond_wait_that_times_out_holds_the_mutex_again)
{
	mutex_init(&mutex, "m");
	cond_init(&cond);
	CHECK_EQ(mutex_lock_until(&mutex, DEADLINE_NEVER), FILAR_OK);
	CHECK_EQ(cond_wait_until(&cond, &mutex, soon()), FILAR_TIMED_OUT);
	CHECK(mutex_is_mine(&mutex));
	CHECK(!has_waiters(&cond.queue));
	CHECK_EQ(mutex_unlock(&mutex), FILAR_OK);
}

static void be_cancelled_at_cond(void *unused)
{
	(void)unused;
	CHECK_EQ(mutex_lock_until(&mutex, DEADLINE_NEVER), FILAR_OK);
	CHECK_EQ(cond_wait_until(&cond, &mutex, DEADLINE_NEVER), FILAR_CANCELLED);
	CHECK(mutex_is_mine(&mutex));
	CHECK_EQ(mutex_unlock(&mutex), FILAR_OK);
}

static void cancel_at_cond(void *unused)
{
	struct green_ref ref = crowd_spawn(be_cancelled_at_cond, unused);

	YIELD_UNTIL(crowd_is_parked(ref));
	/* Cancelled while the mutex is held: it must still come back with it. */
	CHECK_EQ(mutex_lock_until(&mutex, DEADLINE_NEVER), FILAR_OK);
	CHECK_EQ(green_cancel(ref), FILAR_OK);
	YIELD_UNTIL(has_waiters(&mutex.queue));
	CHECK_EQ(mutex_unlock(&mutex), FILAR_OK);
	crowd_join(ref);
}

TEST(cond_wait_that_is_cancelled_holds_the_mutex_again)
{
	mutex_init(&mutex, "m");
	cond_init(&cond);
	crowd_on_green(1, cancel_at_cond, NULL);
}

/* ---- semaphore ---- */

TEST(semaphore_counts_and_refuses_more_than_its_maximum)
{
	semaphore_init(&semaphore, 1, 2, "s");
	CHECK_EQ(semaphore_release(&semaphore, 2), FILAR_WRONG_STATE);
	CHECK_TEXT_HAS(filar_status_detail(), "semaphore \"s\", which has 1");
	CHECK_EQ(semaphore_release(&semaphore, UINT64_MAX), FILAR_WRONG_STATE);
	CHECK_EQ(semaphore_release(&semaphore, 1), FILAR_OK);
	CHECK_EQ(semaphore_acquire_until(&semaphore, 0), FILAR_OK);
	CHECK_EQ(semaphore_try_acquire(&semaphore), FILAR_OK);
	CHECK_EQ(semaphore_try_acquire(&semaphore), FILAR_BUSY);
	CHECK_EQ(semaphore_acquire_until(&semaphore, soon()), FILAR_TIMED_OUT);
	CHECK_EQ(semaphore_value(&semaphore), 0);
}

static void acquire_and_note(void *id)
{
	CHECK_EQ(semaphore_acquire_until(&semaphore, DEADLINE_NEVER), FILAR_OK);
	note((int)(intptr_t)id);
}

static void release_to_three(void *unused)
{
	struct green_ref refs[3];

	(void)unused;
	for (intptr_t i = 0; i < 3; i++) {
		refs[i] = crowd_spawn(acquire_and_note, (void *)i);
		YIELD_UNTIL(crowd_is_parked(refs[i]));
	}
	CHECK_EQ(semaphore_release(&semaphore, 9), FILAR_WRONG_STATE);
	CHECK_EQ(semaphore_release(&semaphore, 1), FILAR_OK);
	/* It is the waiter's already, though that has not run yet. */
	CHECK_EQ(semaphore_try_acquire(&semaphore), FILAR_BUSY);
	CHECK_EQ(semaphore_release(&semaphore, 4), FILAR_OK);
	CHECK_EQ(semaphore_value(&semaphore), 2);
	for (int i = 0; i < 3; i++)
		crowd_join(refs[i]);
}

TEST(semaphore_units_go_to_those_who_wait_in_their_order)
{
	semaphore_init(&semaphore, 0, 8, "s");
	crowd_on_green(1, release_to_three, NULL);
	CHECK_EQ(order.count, 3);
}

/* ---- event ---- */

static void wait_for_event(void *unused)
{
	(void)unused;
	CHECK_EQ(event_wait_until(&event, DEADLINE_NEVER), FILAR_OK);
}

static void *wait_for_event_outside(void *unused)
{
	wait_for_event(unused);
	return NULL;
}

TEST(event_set_and_reset_at_once_wakes_all_who_wait_green_and_kernel)
{
	struct green_ref refs[2];
	pthread_t thread;

	event_init(&event, false);
	CHECK_EQ(event_wait_until(&event, soon()), FILAR_TIMED_OUT);
	crowd_start(2);
	for (int i = 0; i < 2; i++) {
		refs[i] = crowd_spawn(wait_for_event, NULL);
		WAIT_UNTIL(crowd_is_parked(refs[i]));
	}
	CHECK_EQ(pthread_create(&thread, NULL, wait_for_event_outside, NULL), 0);
	WAIT_UNTIL(count_waiters(&event.queue) == 3);
	event_set(&event);
	event_reset(&event);
	for (int i = 0; i < 2; i++)
		crowd_join(refs[i]);
	pthread_join(thread, NULL);
	crowd_stop();
	CHECK(!event_is_set(&event));
	event_set(&event);
	CHECK_EQ(event_wait_until(&event, 0), FILAR_OK);
}

/* ---- claimed after the wait has ended, before the one that waits could look ---- */

static void acquire_although_cancelled(void *unused)
{
	(void)unused;
	CHECK_EQ(semaphore_acquire_until(&semaphore, DEADLINE_NEVER), FILAR_OK);
	CHECK_EQ(semaphore_acquire_until(&semaphore, DEADLINE_NEVER), FILAR_CANCELLED);
}

static void lock_although_cancelled(void *unused)
{
	(void)unused;
	CHECK_EQ(mutex_lock_until(&mutex, DEADLINE_NEVER), FILAR_OK);
	CHECK_EQ(mutex_unlock(&mutex), FILAR_OK);
}

static void be_signalled_although_cancelled(void *unused)
{
	(void)unused;
	CHECK_EQ(mutex_lock_until(&mutex, DEADLINE_NEVER), FILAR_OK);
	CHECK_EQ(cond_wait_until(&cond, &mutex, DEADLINE_NEVER), FILAR_OK);
	CHECK_EQ(mutex_unlock(&mutex), FILAR_OK);
}

/* On the only worker: between the cancel and the release the waiter cannot run. */
static void cancel_then_give(void *unused)
{
	struct green_ref ref = crowd_spawn(acquire_although_cancelled, unused);

	YIELD_UNTIL(crowd_is_parked(ref));
	CHECK_EQ(green_cancel(ref), FILAR_OK);
	CHECK_EQ(semaphore_release(&semaphore, 1), FILAR_OK);
	crowd_join(ref);
	CHECK_EQ(semaphore_value(&semaphore), 0);

	CHECK_EQ(mutex_lock_until(&mutex, DEADLINE_NEVER), FILAR_OK);
	ref = crowd_spawn(lock_although_cancelled, unused);
	YIELD_UNTIL(crowd_is_parked(ref));
	CHECK_EQ(green_cancel(ref), FILAR_OK);
	CHECK_EQ(mutex_unlock(&mutex), FILAR_OK);
	crowd_join(ref);
	CHECK_EQ(load_relaxed(&mutex.queue.word), 0);

	ref = crowd_spawn(be_signalled_although_cancelled, unused);
	YIELD_UNTIL(crowd_is_parked(ref));
	CHECK_EQ(green_cancel(ref), FILAR_OK);
	cond_signal(&cond);
	crowd_join(ref);
	CHECK_EQ(load_relaxed(&mutex.queue.word), 0);
}

TEST(what_was_given_is_kept_though_the_wait_was_cancelled_before)
{
	semaphore_init(&semaphore, 0, 8, "s");
	mutex_init(&mutex, "m");
	cond_init(&cond);
	crowd_on_green(1, cancel_then_give, NULL);
}

/* ---- failures ---- */

#if FILAR_FAIL
static int use_everything(void)
{
	mutex_init(&mutex, "m");
	semaphore_init(&semaphore, 0, 1, "s");
	CHECK_EQ(mutex_lock_until(&mutex, DEADLINE_NEVER), FILAR_OK);
	CHECK_EQ(mutex_trylock(&mutex), FILAR_BUSY);
	CHECK_EQ(mutex_unlock(&mutex), FILAR_OK);
	return semaphore_acquire_until(&semaphore, soon()) == FILAR_TIMED_OUT ? FILAR_OK
									      : FILAR_SYSTEM;
}

/* A futex that fails looks like a signal or a wake for no reason, and nothing else can fail. */
TEST(block_locks_survive_the_nth_failure)
{
	fail_each(use_everything);
}
#endif

TEST_MAIN()
