/*
 * test_fail_green.c - a runtime in full use while the n-th allocation or system call fails.
 *
 * Whatever fails (stacks of several classes, guards, pages given back, futexes, the watcher's and
 * spares' threads, signal stacks): each call answers with a status, the rest goes on, the runtime
 * ends, nothing stays allocated or mapped.
 */
#include "block/chan.h"
#include "block/mutex.h"
#include "block/semaphore.h"
#include "fail.h"
#include "green/runtime.h"
#include "os/clock.h"
#include "os/textfile.h"
#include "sched/blocking.h"

#if FILAR_FAIL
static struct runtime *runtime;
static struct mutex mutex;
static struct semaphore semaphore;
static struct chan chan;
static _Atomic int first_error;

/* Keeps the first status that says that something has failed. */
static bool worked(enum filar_status status)
{
	int nothing = FILAR_OK;

	if (status != FILAR_OK)
		(void)cas_relaxed(&first_error, &nothing, (int)status);
	return status == FILAR_OK;
}

/* Signals end the waits of kernel threads, and a failed futex looks like one. */
#define PATIENTLY(call)                                                                            \
	({                                                                                         \
		enum filar_status patient;                                                         \
		do                                                                                 \
			patient = (call);                                                          \
		while (patient == FILAR_INTERRUPTED);                                              \
		patient;                                                                           \
	})

static void go_deep(void *argument)
{
	size_t bytes = (size_t)(uintptr_t)argument;
	volatile char *meal = __builtin_alloca(bytes);

	for (size_t i = 0; i < bytes; i += 1024)
		meal[i] = (char)i;
	green_yield();
}

/* More than a cache holds, and deep: so that batches move and pages are given back. */
static void spawn_many(void)
{
	enum { COUNT = STACK_CACHE_MAX + 8 };
	struct green_ref refs[COUNT];
	int count = 0;

	for (int i = 0; i < COUNT; i++) {
		struct green_options options = { .stack_bytes = 32768 };

		if (worked(green_spawn(&refs[count], runtime, &options, go_deep, (void *)20000)))
			count++;
	}
	for (int i = 0; i < count; i++)
		CHECK_EQ(green_join_until(refs[i], DEADLINE_NEVER), FILAR_OK);
}

static void send_three(void *unused)
{
	(void)unused;
	for (int i = 0; i < 3; i++)
		CHECK_EQ(chan_send_until(&chan, &i, DEADLINE_NEVER), FILAR_OK);
}

static void receive_three(void)
{
	struct green_ref ref;
	int item;

	if (!worked(green_spawn(&ref, runtime, NULL, send_three, NULL)))
		return;
	for (int i = 0; i < 3; i++) {
		CHECK_EQ(chan_receive_until(&chan, &item, DEADLINE_NEVER), FILAR_OK);
		CHECK(item >= 0 && item < 3); /* another pair's, perhaps */
	}
	CHECK_EQ(green_join_until(ref, DEADLINE_NEVER), FILAR_OK);
}

static void use_everything(void *first)
{
	if (first)
		spawn_many();
	receive_three();
	CHECK_EQ(mutex_lock_until(&mutex, DEADLINE_NEVER), FILAR_OK);
	CHECK_EQ(green_sleep_until(clock_now_ns() + 20 * NS_PER_US), FILAR_OK);
	CHECK_EQ(mutex_unlock(&mutex), FILAR_OK);
	CHECK_EQ(semaphore_acquire_until(&semaphore, clock_now_ns() + 20 * NS_PER_US),
		FILAR_TIMED_OUT);
	blocking_begin();
	usleep(300); /* long enough for the watcher to relieve this worker, if there is one */
	blocking_end();
}

static void use_from_outside(void)
{
	struct green_ref refs[2];
	int count = 0;

	for (int i = 0; i < 2; i++)
		count += worked(green_spawn(
			&refs[count], runtime, NULL, use_everything, i == 0 ? runtime : NULL));
	for (int i = 0; i < count; i++)
		CHECK_EQ(PATIENTLY(green_join_until(refs[i], DEADLINE_NEVER)), FILAR_OK);
}

static int live_a_whole_life(void)
{
	struct runtime_options options;
	enum filar_status status;

	store_relaxed(&first_error, FILAR_OK);
	mutex_init(&mutex, "m");
	semaphore_init(&semaphore, 0, 1, "s");
	runtime_options_init(&options);
	options.workers = 2;
	options.pin = WORKER_PIN_COMPACT;
	options.spares_max = 2;
	if (!worked(chan_init(&chan, sizeof(int), 1, "c")))
		return load_relaxed(&first_error);
	status = runtime_create(&runtime, &options);
	if (worked(status)) {
		use_from_outside();
		CHECK_EQ(PATIENTLY(runtime_shutdown_until(runtime, DEADLINE_NEVER)), FILAR_OK);
		CHECK_EQ(runtime_destroy(runtime), FILAR_OK);
	}
	CHECK_EQ(chan_deinit(&chan), FILAR_OK);
	return load_relaxed(&first_error);
}

static int64_t count_maps(void)
{
	int64_t lines = 0;

	CHECK_EQ(textfile_count_lines(&lines, "/proc/self/maps"), FILAR_OK);
	return lines;
}

TEST(a_runtime_in_full_use_survives_the_nth_failure)
{
	int64_t maps;

	for (int i = 0; i < 3; i++)
		CHECK_EQ(live_a_whole_life(), FILAR_OK); /* what is made once, is there */
	maps = count_maps();
	CHECK_GE(fail_each(live_a_whole_life), 50);
	/* The sanitizer's own, and slabs whose munmap was what failed. */
	CHECK_LE(count_maps(), maps + 64);
}
#else
TEST(needs_the_fail_build)
{
}
#endif

TEST_MAIN()
