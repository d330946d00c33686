/*
 * test_api_green.c - runtimes and green threads through filar.h alone, as a C program uses them.
 */
#include <stdatomic.h>

#include "check.h"
#include "filar.h"
#include "runtimes.h"

static atomic_int count;

static void add_one(void *argument)
{
	(void)argument;
	filar_green_yield();
	atomic_fetch_add(&count, 1);
}

TEST(a_program_spawns_joins_and_reads_what_happened)
{
	filar_green greens[10];
	filar_runtime_stats stats;
	filar_runtime *runtime;

	CHECK_EQ(filar_runtime_create(&runtime, NULL), FILAR_OK);
	for (int i = 0; i < 10; i++)
		CHECK_EQ(filar_green_spawn(&greens[i], runtime, NULL, add_one, NULL), FILAR_OK);
	for (int i = 0; i < 10; i++)
		CHECK_EQ(filar_green_join_until(greens[i], FILAR_FOREVER), FILAR_OK);
	CHECK_EQ(filar_green_join_until(greens[3], FILAR_FOREVER), FILAR_WRONG_STATE);
	CHECK_EQ(atomic_load(&count), 10);
	CHECK_EQ(filar_runtime_shutdown_until(runtime, FILAR_FOREVER), FILAR_OK);
	CHECK_EQ(strcmp(filar_status_detail(), ""), 0);
	CHECK_EQ(filar_runtime_read_stats(runtime, &stats), FILAR_OK);
	CHECK_EQ(stats.spawned, 10);
	CHECK_EQ(stats.ended, 10);
	CHECK_EQ(stats.live, 0);
	CHECK_GE(stats.stacks, 1);
	CHECK_GE(stats.workers, 1);
	CHECK_EQ(filar_runtime_destroy(runtime), FILAR_OK);
}

static void see_itself(void *argument)
{
	filar_green self = filar_green_self();

	CHECK(self.number != 0);
	CHECK_EQ(filar_green_join_until(self, FILAR_FOREVER), FILAR_DEADLOCK);
	CHECK_EQ(filar_green_sleep_until(FILAR_FOREVER), FILAR_CANCELLED);
	CHECK(filar_green_is_cancelled());
	*(filar_green *)argument = self;
}

TEST(a_green_thread_knows_itself_and_can_be_cancelled)
{
	filar_green_options options = { .name = "introvert", .stack_bytes = 20000 };
	filar_runtime *runtime = start_runtime(2);
	filar_green green, seen = { 0 };

	CHECK_EQ(filar_green_spawn(&green, runtime, &options, see_itself, &seen), FILAR_OK);
	CHECK_EQ(filar_green_cancel(green), FILAR_OK);
	CHECK_EQ(filar_green_join_until(green, FILAR_FOREVER), FILAR_OK);
	CHECK(seen.green == green.green && seen.number == green.number);
	CHECK_EQ(filar_green_self().number, 0);
	CHECK(!filar_green_is_cancelled());
	stop_runtime(runtime);
}

TEST(bad_arguments_are_refused_with_a_sentence)
{
	filar_runtime_options options;
	filar_runtime *runtime = start_runtime(1);
	filar_green nobody = { 0 };

	filar_runtime_options_init(&options);
	options.pin = 17;
	CHECK_EQ(filar_runtime_create(&(filar_runtime *){ NULL }, &options), FILAR_INVALID);
	CHECK_TEXT_HAS(filar_status_detail(), "17");
	CHECK_EQ(filar_runtime_create(NULL, NULL), FILAR_INVALID);
	CHECK_EQ(filar_runtime_shutdown_until(NULL, 0), FILAR_INVALID);
	CHECK_EQ(filar_runtime_destroy(NULL), FILAR_INVALID);
	CHECK_EQ(filar_runtime_cancel_all(NULL), FILAR_INVALID);
	CHECK_EQ(filar_runtime_read_stats(runtime, NULL), FILAR_INVALID);
	CHECK_EQ(filar_runtime_dump(runtime, -1), FILAR_INVALID);
	CHECK_EQ(filar_green_spawn(NULL, NULL, NULL, add_one, NULL), FILAR_INVALID);
	CHECK_EQ(filar_green_spawn(NULL, runtime, NULL, NULL, NULL), FILAR_INVALID);
	CHECK_EQ(filar_green_join_until(nobody, 0), FILAR_WRONG_STATE);
	CHECK_EQ(filar_green_detach(nobody), FILAR_WRONG_STATE);
	CHECK_EQ(filar_green_cancel(nobody), FILAR_WRONG_STATE);
	stop_runtime(runtime);
}

TEST(cancelling_all_ends_what_sleeps)
{
	filar_runtime *runtime = start_runtime(2);
	filar_green ignored[5];

	for (int i = 0; i < 5; i++)
		CHECK_EQ(filar_green_spawn(NULL, runtime, NULL, see_itself, &ignored[i]), FILAR_OK);
	CHECK_EQ(filar_runtime_destroy(runtime), FILAR_BUSY);
	CHECK_EQ(filar_runtime_cancel_all(runtime), FILAR_OK);
	stop_runtime(runtime);
}

TEST_MAIN()
