/*
 * test_raw.c - bare clone threads and processes that end at once.
 */
#include <errno.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "base/atomic.h"
#include "check.h"
#include "filar.h"
#include "kthread/raw.h"
#include "os/clock.h"
#include "tasks.h"

#define STACK_BYTES 16384u

static void *map_memory(size_t bytes, int sharing)
{
	void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, sharing | MAP_ANONYMOUS, -1, 0);

	CHECK(memory != MAP_FAILED);
	return memory;
}

TEST(a_raw_thread_stamps_its_first_instruction_and_frees_its_stack)
{
	char *stack = map_memory(STACK_BYTES, MAP_PRIVATE);
	struct raw_thread thread;

	for (int i = 0; i < 1000; i++) {
		int64_t before = clock_now_ns();

		CHECK_EQ(raw_thread_start(&thread, stack, STACK_BYTES, RAW_STAMP), FILAR_OK);
		CHECK_EQ(raw_thread_wait_until(&thread, DEADLINE_NEVER), FILAR_OK);
		CHECK_GE(thread.first_ns, before);
		CHECK_LE(thread.first_ns, clock_now_ns());
		/* If the kernel were not done with it, this would break the thread. */
		memset(stack, 0x5a, STACK_BYTES);
	}
}

TEST(a_raw_thread_that_only_exits_writes_nothing)
{
	char *stack = map_memory(STACK_BYTES, MAP_PRIVATE);
	struct raw_thread thread;

	CHECK_EQ(raw_thread_start(&thread, stack, STACK_BYTES, RAW_EXIT), FILAR_OK);
	CHECK_EQ(raw_thread_wait_until(&thread, DEADLINE_NEVER), FILAR_OK);
	CHECK_EQ(thread.first_ns, 0);
}

TEST(a_raw_thread_waits_until_it_is_let_go_and_is_a_task_of_this_process)
{
	char *stack = map_memory(STACK_BYTES, MAP_PRIVATE);
	struct raw_thread thread;

	CHECK_EQ(raw_thread_start(&thread, stack, STACK_BYTES, RAW_WAIT), FILAR_OK);
	CHECK(task_is_there((int32_t)atomic_load(&thread.tid)));
	CHECK_EQ(raw_thread_wait_until(&thread, clock_now_ns() + NS_PER_MS), FILAR_TIMED_OUT);
	raw_thread_let_go(&thread);
	CHECK_EQ(raw_thread_wait_until(&thread, DEADLINE_NEVER), FILAR_OK);
}

TEST(many_raw_threads_at_once_leave_the_creators_thread_locals_alone)
{
	enum { THREADS = 100 };
	char *stacks = map_memory((size_t)THREADS * STACK_BYTES, MAP_PRIVATE);
	struct raw_thread threads[THREADS];

	errno = 12345;
	for (size_t i = 0; i < THREADS; i++)
		CHECK_EQ(raw_thread_start(
				 &threads[i], stacks + i * STACK_BYTES, STACK_BYTES, RAW_WAIT),
			FILAR_OK);
	CHECK_EQ(errno, 12345);
	for (size_t i = 0; i < THREADS; i++)
		raw_thread_let_go(&threads[i]);
	for (size_t i = 0; i < THREADS; i++)
		CHECK_EQ(raw_thread_wait_until(&threads[i], DEADLINE_NEVER), FILAR_OK);
}

TEST(a_raw_thread_needs_a_stack)
{
	struct raw_thread thread;
	char byte;

	CHECK_EQ(raw_thread_start(&thread, NULL, STACK_BYTES, RAW_EXIT), FILAR_INVALID);
	CHECK_EQ(raw_thread_start(&thread, &byte, 1, RAW_EXIT), FILAR_INVALID);
	CHECK_TEXT_HAS(filar_status_detail(), "a stack of at least 4096 bytes, not 1");
}

static void start_and_wait(struct process_options *options)
{
	pid_t child = 0;

	CHECK_EQ(process_start(&child, options), FILAR_OK);
	CHECK(child > 0 && child != getpid());
	CHECK_EQ(process_wait(child), FILAR_OK);
	CHECK_EQ(waitpid(-1, NULL, WNOHANG), -1);
}

TEST(fork_vfork_and_clone_children_stamp_and_end)
{
	int64_t *shared = map_memory(4096, MAP_SHARED);
	struct process_options options = { .stack = map_memory(STACK_BYTES, MAP_PRIVATE),
		.stack_bytes = STACK_BYTES,
		.first_ns = shared };

	for (int by = PROCESS_BY_FORK; by <= PROCESS_BY_CLONE; by++) {
		int64_t before = clock_now_ns();

		options.by = (enum process_by)by;
		*shared = 0;
		start_and_wait(&options);
		CHECK_GE(*shared, before);
		CHECK_LE(*shared, clock_now_ns());
	}
	options.first_ns = NULL;
	for (int by = PROCESS_BY_FORK; by <= PROCESS_BY_CLONE; by++) {
		options.by = (enum process_by)by;
		start_and_wait(&options);
	}
}

TEST(the_tiny_program_and_a_real_one_are_spawned)
{
	char path[TINY_PROGRAM_PATH_BYTES];
	struct process_options options = { .by = PROCESS_BY_SPAWN, .program = path };
	int fd;

	CHECK_EQ(tiny_program_create(&fd, path), FILAR_OK);
	for (int i = 0; i < 20; i++)
		start_and_wait(&options);
	close(fd);
	options.program = "/bin/true";
	start_and_wait(&options);
}

TEST(a_program_that_is_not_there_or_fails_is_reported)
{
	struct process_options options = { .by = PROCESS_BY_SPAWN, .program = "/no/such/program" };
	pid_t child;

	CHECK_EQ(process_start(&child, &options), FILAR_NOT_FOUND);
	CHECK_TEXT_HAS(filar_status_detail(), "posix_spawn: No such file");
	options.program = NULL;
	CHECK_EQ(process_start(&child, &options), FILAR_INVALID);
	options.program = "/bin/false";
	CHECK_EQ(process_start(&child, &options), FILAR_OK);
	CHECK_EQ(process_wait(child), FILAR_SYSTEM);
	CHECK_TEXT_HAS(filar_status_detail(), "wait status 0x100");
	CHECK_EQ(process_wait(child), FILAR_SYSTEM); /* ECHILD */
}

TEST_MAIN()
