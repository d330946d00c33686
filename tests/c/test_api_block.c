/*
 * test_api_block.c - the public things to wait on: handles, names, arguments, failures.
 */
#include <pthread.h>

#include "base/self.h"
#include "check.h"
#include "fail.h"
#include "filar.h"

#define GONE(call) CHECK_EQ(call, FILAR_OK)
#define NO_SUCH(call)                                                                              \
	do {                                                                                       \
		CHECK_EQ(call, FILAR_INVALID);                                                     \
		CHECK(filar_status_detail()[0] != '\0');                                           \
	} while (0)

TEST(locks_by_handle_carry_their_name)
{
	char name[] = "accounts";
	filar_recursive *recursive;
	filar_mutex *mutex;
	filar_rwlock *lock;
	filar_cond *cond;

	CHECK_EQ(filar_mutex_create(&mutex, name), FILAR_OK);
	name[0] = 'x'; /* it was copied */
	CHECK_EQ(filar_mutex_lock_until(mutex, FILAR_FOREVER), FILAR_OK);
	CHECK_EQ(filar_mutex_lock_until(mutex, FILAR_FOREVER), FILAR_DEADLOCK);
	CHECK_TEXT_HAS(filar_status_detail(), "mutex \"accounts\" is held by kernel thread");
	CHECK_EQ(filar_mutex_destroy(mutex), FILAR_BUSY);
	CHECK_EQ(filar_cond_create(&cond), FILAR_OK);
	CHECK_EQ(filar_cond_wait_until(cond, mutex, filar_now_ns()), FILAR_TIMED_OUT);
	CHECK_EQ(filar_cond_signal(cond), FILAR_OK);
	CHECK_EQ(filar_cond_broadcast(cond), FILAR_OK);
	CHECK_EQ(filar_mutex_unlock(mutex), FILAR_OK);
	CHECK_EQ(filar_mutex_trylock(mutex), FILAR_OK);
	CHECK_EQ(filar_mutex_unlock(mutex), FILAR_OK);
	CHECK_EQ(filar_mutex_unlock(mutex), FILAR_WRONG_STATE);
	GONE(filar_mutex_destroy(mutex));
	CHECK_EQ(filar_recursive_create(&recursive, NULL), FILAR_OK);
	CHECK_EQ(filar_recursive_lock_until(recursive, 0), FILAR_OK);
	CHECK_EQ(filar_recursive_trylock(recursive), FILAR_OK);
	CHECK_EQ(filar_cond_wait_recursive_until(cond, recursive, 0), FILAR_TIMED_OUT);
	CHECK_EQ(filar_recursive_unlock(recursive), FILAR_OK);
	CHECK_EQ(filar_recursive_destroy(recursive), FILAR_BUSY);
	CHECK_EQ(filar_recursive_unlock(recursive), FILAR_OK);
	GONE(filar_recursive_destroy(recursive));
	GONE(filar_cond_destroy(cond));
	CHECK_EQ(filar_rwlock_create(&lock, "table"), FILAR_OK);
	CHECK_EQ(filar_rwlock_read_lock_until(lock, 0), FILAR_OK);
	CHECK_EQ(filar_rwlock_try_read_lock(lock), FILAR_OK);
	CHECK_EQ(filar_rwlock_try_write_lock(lock), FILAR_BUSY);
	CHECK_EQ(filar_rwlock_destroy(lock), FILAR_BUSY);
	CHECK_EQ(filar_rwlock_read_unlock(lock), FILAR_OK);
	CHECK_EQ(filar_rwlock_read_unlock(lock), FILAR_OK);
	CHECK_EQ(filar_rwlock_write_lock_until(lock, 0), FILAR_OK);
	CHECK_EQ(filar_rwlock_write_unlock(lock), FILAR_OK);
	CHECK_EQ(filar_rwlock_write_unlock(lock), FILAR_WRONG_STATE);
	CHECK_TEXT_HAS(filar_status_detail(), "\"table\"");
	GONE(filar_rwlock_destroy(lock));
}

TEST(counters_by_handle_check_their_numbers)
{
	filar_semaphore *semaphore;
	filar_waitgroup *group;
	filar_barrier *barrier;
	filar_event *event;
	filar_latch *latch;
	bool last = false;

	NO_SUCH(filar_semaphore_create(&semaphore, 2, 1, NULL));
	NO_SUCH(filar_semaphore_create(&semaphore, 0, UINT64_MAX, NULL));
	CHECK_EQ(filar_semaphore_create(&semaphore, 1, 1, "slots"), FILAR_OK);
	CHECK_EQ(filar_semaphore_acquire_until(semaphore, 0), FILAR_OK);
	CHECK_EQ(filar_semaphore_try_acquire(semaphore), FILAR_BUSY);
	CHECK_EQ(filar_semaphore_release(semaphore, 1), FILAR_OK);
	CHECK_EQ(filar_semaphore_release(semaphore, 1), FILAR_WRONG_STATE);
	CHECK_TEXT_HAS(filar_status_detail(), "\"slots\"");
	GONE(filar_semaphore_destroy(semaphore));
	CHECK_EQ(filar_event_create(&event, false), FILAR_OK);
	CHECK_EQ(filar_event_wait_until(event, 0), FILAR_TIMED_OUT);
	CHECK_EQ(filar_event_set(event), FILAR_OK);
	CHECK(filar_event_is_set(event));
	CHECK_EQ(filar_event_wait_until(event, 0), FILAR_OK);
	CHECK_EQ(filar_event_reset(event), FILAR_OK);
	CHECK(!filar_event_is_set(event) && !filar_event_is_set(NULL));
	GONE(filar_event_destroy(event));
	NO_SUCH(filar_latch_create(&latch, UINT64_MAX, NULL));
	CHECK_EQ(filar_latch_create(&latch, 1, NULL), FILAR_OK);
	CHECK_EQ(filar_latch_wait_until(latch, 0), FILAR_TIMED_OUT);
	CHECK_EQ(filar_latch_count_down(latch, 1), FILAR_OK);
	CHECK_EQ(filar_latch_wait_until(latch, 0), FILAR_OK);
	GONE(filar_latch_destroy(latch));
	CHECK_EQ(filar_waitgroup_create(&group, NULL), FILAR_OK);
	CHECK_EQ(filar_waitgroup_add(group, 1), FILAR_OK);
	CHECK_EQ(filar_waitgroup_wait_until(group, 0), FILAR_TIMED_OUT);
	CHECK_EQ(filar_waitgroup_done(group), FILAR_OK);
	CHECK_EQ(filar_waitgroup_wait_until(group, 0), FILAR_OK);
	GONE(filar_waitgroup_destroy(group));
	NO_SUCH(filar_barrier_create(&barrier, 0));
	CHECK_EQ(filar_barrier_create(&barrier, 1), FILAR_OK);
	CHECK_EQ(filar_barrier_wait_until(barrier, 0, &last), FILAR_OK);
	CHECK(last);
	GONE(filar_barrier_destroy(barrier));
}

static void *send_five(void *chan)
{
	int five = 5;

	CHECK_EQ(filar_chan_send_until(chan, &five, FILAR_FOREVER), FILAR_OK);
	return NULL;
}

TEST(channels_by_handle_send_receive_select_and_close)
{
	filar_chan *chan, *other;
	filar_select_case cases[2];
	int item = 4;
	uint32_t chosen;
	pthread_t thread;

	NO_SUCH(filar_chan_create(&chan, 4, -2, NULL));
	NO_SUCH(filar_chan_create(&chan, 0, 0, NULL));
	CHECK_EQ(filar_chan_create(&chan, sizeof item, 0, "orders"), FILAR_OK);
	CHECK_EQ(filar_chan_create(&other, sizeof item, FILAR_CHAN_UNBOUNDED, NULL), FILAR_OK);
	for (item = 0; item < 100; item++)
		CHECK_EQ(filar_chan_try_send(other, &item), FILAR_OK);
	CHECK_EQ(filar_chan_count(other), 100);
	CHECK_EQ(filar_chan_try_receive(other, &item), FILAR_OK);
	CHECK_EQ(item, 0);
	CHECK_EQ(filar_chan_try_send(chan, &item), FILAR_BUSY);
	CHECK_EQ(filar_chan_receive_until(chan, &item, filar_now_ns()), FILAR_TIMED_OUT);
	CHECK_EQ(pthread_create(&thread, NULL, send_five, chan), 0);
	cases[0] = (filar_select_case){ .chan = NULL, .operation = 9 };
	cases[1] = (filar_select_case){ chan, FILAR_CHAN_RECEIVE, &item, { 0 } };
	CHECK_EQ(filar_select_until(cases, 2, FILAR_FOREVER, &chosen), FILAR_OK);
	CHECK_EQ(chosen, 1);
	CHECK_EQ(item, 5);
	pthread_join(thread, NULL);
	CHECK_EQ(filar_chan_close(chan), FILAR_OK);
	CHECK_EQ(filar_select_until(cases, 2, FILAR_FOREVER, &chosen), FILAR_CLOSED);
	CHECK_TEXT_HAS(filar_status_detail(), "channel \"orders\" was closed by kernel thread");
	cases[1].operation = 2;
	NO_SUCH(filar_select_until(cases, 2, 0, &chosen));
	cases[1] = (filar_select_case){ chan, FILAR_CHAN_SEND, NULL, { 0 } };
	NO_SUCH(filar_select_until(cases, 2, 0, &chosen));
	NO_SUCH(filar_select_until(cases, 2, 0, NULL));
	NO_SUCH(filar_select_until(NULL, 2, 0, &chosen));
	NO_SUCH(filar_select_until(cases, FILAR_SELECT_CASES_MAX + 1, 0, &chosen));
	NO_SUCH(filar_chan_send_until(chan, NULL, 0));
	GONE(filar_chan_destroy(chan));
	GONE(filar_chan_destroy(other));
}

TEST(handles_that_are_missing_are_refused_and_none_is_destroyed)
{
	NO_SUCH(filar_mutex_create(NULL, NULL));
	NO_SUCH(filar_mutex_lock_until(NULL, 0));
	NO_SUCH(filar_recursive_unlock(NULL));
	NO_SUCH(filar_cond_wait_until(NULL, NULL, 0));
	NO_SUCH(filar_cond_signal(NULL));
	NO_SUCH(filar_semaphore_release(NULL, 1));
	NO_SUCH(filar_event_set(NULL));
	NO_SUCH(filar_latch_count_down(NULL, 1));
	NO_SUCH(filar_waitgroup_done(NULL));
	NO_SUCH(filar_barrier_wait_until(NULL, 0, NULL));
	NO_SUCH(filar_rwlock_read_unlock(NULL));
	NO_SUCH(filar_chan_close(NULL));
	GONE(filar_mutex_destroy(NULL));
	GONE(filar_chan_destroy(NULL));
}

#if FILAR_FAIL
static int make_two(void)
{
	filar_mutex *mutex;
	filar_chan *chan;
	int status = filar_mutex_create(&mutex, "m");

	if (status != FILAR_OK)
		return status;
	status = filar_chan_create(&chan, 8, 5, "c");
	GONE(filar_mutex_destroy(mutex));
	if (status == FILAR_OK)
		GONE(filar_chan_destroy(chan));
	return status;
}

TEST(handles_survive_the_nth_failure)
{
	CHECK_EQ(fail_each(make_two), 3);
}
#endif

TEST_MAIN()
