/*
 * test_ways_create.c - the ways about creation, hand-over, processes and memory: each runs once
 * with tiny parameters, so that the sanitizers and the failure points see it, and leaves nothing
 * behind.
 */
#include "fail.h"
#include "lab/registry.h"
#include "once.h"

#if FILAR_TSAN
/* Children of a process with several threads start threads of their own here; ThreadSanitizer must
 * be told to go on. */
__attribute__((visibility("default"))) const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
	return "die_after_fork=0";
}
#endif

#define KIB 1024
/* ThreadSanitizer keeps its own records on a thread's stack. */
#define SMALL_STACK (FILAR_TSAN ? 2048 * KIB : 64 * KIB)

static struct once run(
	const char *name, int64_t first, int64_t second, int64_t third, uint32_t batch)
{
	int64_t params[] = { first, second, third };
	size_t count = 0;

	while (count < FILAR_COUNT_OF(params) && way_find(name)->params[count].name != NULL)
		count++;
	return once_run(name, params, count, batch, first_cpu());
}

static void check_positive(const struct once *once, int metrics)
{
	CHECK_EQ(once->status, FILAR_OK);
	for (int i = 0; i < metrics; i++)
		CHECK(isfinite(once->values[i]) && once->values[i] > 0);
}

TEST(floors_are_positive)
{
	for (const struct way *way = ways_floor; way->name != NULL; way++) {
		struct once once = once_run(way->name, NULL, 0, 20, first_cpu());

		check_positive(&once, 1);
	}
}

TEST(threads_are_created_with_each_kind_of_stack_and_cpu)
{
	struct once plain = run("kthread-create", 0, 0, -1, 3),
		    small = run("kthread-create", SMALL_STACK, 0, -1, 3),
		    own = run("kthread-create", SMALL_STACK, 1, first_cpu(), 3);

	check_positive(&plain, 3);
	check_positive(&small, 3);
	check_positive(&own, 3);
	CHECK(plain.values[1] <= plain.values[0]);
}

TEST(a_cpu_or_a_stack_that_cannot_be_is_a_status)
{
	CHECK(run("kthread-create", 0, 0, CPUS_MAX - 1, 1).status != FILAR_OK);
	CHECK(run("kthread-create", KIB, 0, -1, 1).status != FILAR_OK);
	CHECK_EQ(run("thread-reuse", 0, CPUS_MAX - 1, 0, 1).status, FILAR_NO_CPU);
	CHECK_EQ(run("process-create", 9, 0, 0, 1).status, FILAR_INVALID);
	CHECK_EQ(run("kthread-alive", -1, SMALL_STACK, 0, 1).status, FILAR_INVALID);
}

TEST(a_thread_is_made_by_clone_alone)
{
	struct once once = run("clone-create", 64 * KIB, 0, 0, 5);

	check_positive(&once, 2);
}

TEST(a_herd_sleeps_while_one_more_is_created)
{
	struct once once = run("kthread-alive", 50, SMALL_STACK, 0, 2);

	check_positive(&once, 2);
}

TEST(a_parked_thread_takes_work_hot_and_after_idling)
{
	struct once hot = run("thread-reuse", 0, first_cpu(), 0, 10),
		    idle = run("thread-reuse", 20000, first_cpu(), 0, 2),
		    fresh = run("create-after-idle", 20000, 0, 0, 2);

	check_positive(&hot, 2);
	check_positive(&idle, 2);
	check_positive(&fresh, 2);
}

TEST(work_is_split_with_each_kind_of_helper)
{
	int cpu = second_cpu() >= 0 ? second_cpu() : first_cpu();

	for (int64_t kind = 0; kind <= 3; kind++) {
		int64_t params[] = { kind, 20000, 0, cpu };
		struct once once;

		if (kind == 3 && second_cpu() < 0)
			continue; /* two that spin on one CPU wait for a time slice each turn */
		once = once_run("split", params, 4, 2, first_cpu());
		check_positive(&once, 1);
	}
}

TEST(processes_are_created_by_each_call_and_reaped)
{
	int fds = fds_open();

	for (int64_t call = 0; call <= 5; call++) {
		struct once once = run("process-create", call, 64 * KIB, 0, 2);

		check_positive(&once, 1);
	}
	check_nothing_left(fds, 0);
}

TEST(a_crash_ends_all_threads_of_its_process_and_no_other_process)
{
	int fds = fds_open();
	struct once threads = run("isolation", 0, 0, 0, 1),
		    processes = run("isolation", 1, 0, 0, 1);

	CHECK_EQ(threads.status, FILAR_OK);
	CHECK(threads.values[0] == 0);
	CHECK_EQ(processes.status, FILAR_OK);
	CHECK(processes.values[0] == 7);
	check_nothing_left(fds, 0);
}

TEST(a_thread_writes_where_the_driver_looks_and_a_child_does_not)
{
	struct once once = run("address-map", 0, 0, 0, 1);

	CHECK_EQ(once.status, FILAR_OK);
	CHECK(once.values[0] == 1 && once.values[1] == 0);
	CHECK(no_child_left());
	CHECK_EQ(shared_mappings(), 0);
}

TEST(memory_of_sleepers_is_read)
{
	struct once threads = run("kthread-memory", 100, SMALL_STACK, 0, 1),
		    processes = run("process-memory", 5, 0, 0, 1);

	CHECK_EQ(threads.status, FILAR_OK);
	CHECK(threads.values[1] >= SMALL_STACK); /* address space: what was asked for, at least */
	CHECK_EQ(processes.status, FILAR_OK);
	CHECK(isnan(processes.values[0]));
	CHECK(no_child_left());
}

#if !FILAR_ASAN && !FILAR_TSAN
/* The sanitizers map far more than the limits leave. */
TEST(a_limit_stops_threads_in_the_child_only)
{
	int64_t space[] = { 0, 64 << 20, 8 << 20, 100 }, maps[] = { 2, 0, 64 * KIB, 2000 };
	struct once by_space = once_run("thread-limit", space, 4, 1, first_cpu()),
		    by_maps = once_run("thread-limit", maps, 4, 1, first_cpu());

	CHECK_EQ(by_space.status, FILAR_OK);
	CHECK(by_space.values[0] > 0 && by_space.values[0] < 9);
	CHECK(by_space.values[1] == EAGAIN);
	CHECK_EQ(by_maps.status, FILAR_OK);
	CHECK(by_maps.values[0] > 100 && by_maps.values[0] < 1000);
	CHECK(no_child_left());
}
#endif

#if FILAR_FAIL
static void fail_each_step(
	const char *name, int64_t first, int64_t second, int64_t third, int64_t fourth)
{
	const int64_t params[] = { first, second, third, fourth };
	size_t count = 0;

	while (count < FILAR_COUNT_OF(params) && way_find(name)->params[count].name != NULL)
		count++;
	CHECK_GE(fail_way_each(name, params, count, 2), 4);
}

TEST(each_failure_in_a_way_is_a_status_and_leaves_nothing)
{
	const int64_t cpu = first_cpu();

	fail_each_step("page-fault", 0, 0, 0, 0);
	fail_each_step("kthread-create", 64 * KIB, 1, cpu, 1);
	fail_each_step("clone-create", 64 * KIB, 0, 0, 0);
	fail_each_step("kthread-alive", 3, 64 * KIB, 0, 0);
	fail_each_step("thread-reuse", 1000, cpu, 0, 0);
	fail_each_step("create-after-idle", 1000, 0, 0, 0);
	fail_each_step("split", 1, 1000, 0, cpu);
	fail_each_step("split", 2, 1000, 0, cpu);
	for (int64_t call = 0; call <= 5; call++)
		fail_each_step("process-create", call, 4 * KIB, 0, 0);
	fail_each_step("isolation", 0, 0, 0, 0);
	fail_each_step("isolation", 1, 0, 0, 0);
	fail_each_step("address-map", 0, 0, 0, 0);
	fail_each_step("kthread-memory", 3, 64 * KIB, 0, 0);
	fail_each_step("process-memory", 2, 0, 0, 0);
}
#endif

TEST_MAIN()
