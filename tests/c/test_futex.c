/*
 * test_futex.c - the wait on an address: every way out of it.
 */
#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>

#include "check.h"
#include "os/clock.h"
#include "os/futex.h"

static _Atomic uint32_t word;
static _Atomic int ended;
static _Atomic int interrupted;

TEST(futex_wait_returns_when_the_value_differs)
{
	CHECK_EQ(futex_wait_until(&word, 1, DEADLINE_NEVER), FILAR_OK);
}

TEST(futex_wait_does_not_end_before_its_deadline)
{
	for (int i = 0; i < 50; i++) {
		int64_t deadline_ns = clock_now_ns() + 100 * NS_PER_US;
		enum filar_status status;

		while ((status = futex_wait_until(&word, 0, deadline_ns)) == FILAR_OK)
			; /* woken for no reason: allowed, never seen */
		CHECK_EQ(status, FILAR_TIMED_OUT);
		CHECK_LE(deadline_ns, clock_now_ns());
	}
}

TEST(futex_wait_with_a_deadline_in_the_past_times_out)
{
	CHECK_EQ(futex_wait_until(&word, 0, 0), FILAR_TIMED_OUT);
	CHECK_EQ(futex_wait_until(&word, 0, -5), FILAR_TIMED_OUT);
}

TEST(futex_wake_without_sleepers_wakes_none)
{
	CHECK_EQ(futex_wake(&word, INT32_MAX), 0);
}

static void *sleeper(void *unused)
{
	(void)unused;
	while (load_acquire(&word) == 0)
		(void)futex_wait_until(&word, 0, DEADLINE_NEVER);
	fetch_add_acq_rel(&ended, 1);
	return NULL;
}

/* Wakes one sleeper, once there is one. */
static void wake_one(void)
{
	WAIT_UNTIL(futex_wake(&word, 1) == 1);
}

TEST(futex_wake_counts_and_wakes_no_more_than_asked)
{
	pthread_t threads[3];
	int woken = 0;

	for (int i = 0; i < 3; i++)
		CHECK_EQ(pthread_create(&threads[i], NULL, sleeper, NULL), 0);
	/* The word is still 0, so whoever is woken sleeps again. */
	for (int i = 0; i < 5; i++)
		wake_one();
	CHECK_EQ(load_acquire(&ended), 0);
	store_release(&word, 1);
	while (load_acquire(&ended) < 3) {
		int count = futex_wake(&word, 2);

		CHECK_LE(count, 2);
		woken += count;
	}
	CHECK_LE(woken, 3);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(pthread_join(threads[i], NULL), 0);
}

static void on_signal(int number)
{
	(void)number;
}

static void *interruptible(void *unused)
{
	(void)unused;
	while (futex_wait_until(&word, 0, DEADLINE_NEVER) != FILAR_INTERRUPTED)
		;
	store_release(&interrupted, 1);
	return NULL;
}

TEST(futex_wait_is_interrupted_by_a_signal_handler)
{
	struct sigaction action = { .sa_handler = on_signal };
	pthread_t thread;

	CHECK_EQ(sigaction(SIGUSR1, &action, NULL), 0);
	CHECK_EQ(pthread_create(&thread, NULL, interruptible, NULL), 0);
	/* A signal that comes before the wait is lost on it: send until one hits. */
	while (load_acquire(&interrupted) == 0) {
		CHECK_EQ(pthread_kill(thread, SIGUSR1), 0);
		usleep(100);
	}
	CHECK_EQ(pthread_join(thread, NULL), 0);
}

TEST(futex_shared_wakes_another_process)
{
	_Atomic uint32_t *shared =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t child;
	int status;

	CHECK(shared != MAP_FAILED);
	child = fork();
	CHECK_GE(child, 0);
	if (child == 0) {
		while (load_acquire(shared) == 0)
			(void)futex_wait_shared_until(shared, 0, DEADLINE_NEVER);
		_exit(7);
	}
	WAIT_UNTIL(futex_wake_shared(shared, 1) == 1);
	store_release(shared, 1);
	(void)futex_wake_shared(shared, 1);
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
}

TEST(futex_on_a_bad_address_is_a_system_error)
{
	CHECK_EQ(futex_wait_until((_Atomic uint32_t *)16, 0, DEADLINE_NEVER), FILAR_SYSTEM);
	CHECK_TEXT_HAS(filar_status_detail(), "futex wait");
}

TEST_MAIN()
