/*
 * test_memory.c - stacks: usable to the last byte, a fault one byte below, and honest refusals.
 */
#include <sys/mman.h>
#include <sys/resource.h>

#include "base/compiler.h"
#include "check.h"
#include "os/memory.h"
#include "os/textfile.h"

enum { STACK_BYTES = 64 << 10 };

/* True when the kernel has this kind. */
static bool reserve(struct stack *stack, enum stack_guard guard)
{
	enum filar_status status = stack_reserve(stack, STACK_BYTES, 1, guard);

	if (status == FILAR_NOT_SUPPORTED) {
		printf("skipped: %s\n", filar_status_detail());
		return false;
	}
	CHECK_EQ(status, FILAR_OK);
	return true;
}

static void check_write_faults(char *address)
{
	int status;
	pid_t child = fork();

	CHECK_GE(child, 0);
	if (child == 0) {
		signal(SIGSEGV, SIG_DFL); /* sanitizers install a handler of their own */
		*(volatile char *)address = 1;
		_exit(0);
	}
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
}

static void check_guarded(enum stack_guard guard)
{
	struct stack stack;

	if (!reserve(&stack, guard))
		return;
	CHECK_GE(stack.bytes, STACK_BYTES);
	CHECK_EQ(stack.guard_bytes, page_bytes());
	CHECK(stack.guard == STACK_GUARD_MADVISE || stack.guard == STACK_GUARD_MPROTECT);
	memset(stack.low, 0x5a, stack.bytes);
	check_write_faults((char *)stack.low - 1);
	check_write_faults((char *)stack.low - stack.guard_bytes);
	stack_release(&stack);
	CHECK(stack.low == NULL);
}

TEST(stack_guard_by_madvise_faults)
{
	check_guarded(STACK_GUARD_MADVISE);
}

TEST(stack_guard_by_mprotect_faults)
{
	check_guarded(STACK_GUARD_MPROTECT);
}

TEST(stack_guard_best_faults)
{
	check_guarded(STACK_GUARD_BEST);
}

TEST(stack_without_guard_is_whole)
{
	struct stack stack;

	CHECK(reserve(&stack, STACK_GUARD_NONE));
	CHECK_EQ(stack.guard_bytes, 0);
	CHECK_EQ(stack.guard, STACK_GUARD_NONE);
	memset(stack.low, 1, stack.bytes);
	stack_release(&stack);
}

TEST(stack_size_is_rounded_up_to_pages)
{
	struct stack stack;

	CHECK_EQ(stack_reserve(&stack, 1, 1, STACK_GUARD_BEST), FILAR_OK);
	CHECK_EQ(stack.bytes, page_bytes());
	CHECK_EQ((uintptr_t)stack.low % page_bytes(), 0);
	stack_release(&stack);
}

static int64_t maps_now(void)
{
	int64_t maps;

	CHECK_EQ(textfile_count_lines(&maps, "/proc/self/maps"), FILAR_OK);
	return maps;
}

/* How many maps 50 stacks of a kind add. */
static int64_t maps_added(enum stack_guard guard)
{
	struct stack stacks[50];
	int64_t before = maps_now(), added;

	for (int i = 0; i < 50; i++) {
		if (!reserve(&stacks[i], guard))
			return -1;
	}
	added = maps_now() - before;
	for (int i = 0; i < 50; i++)
		stack_release(&stacks[i]);
	return added;
}

TEST(stack_guard_by_mprotect_splits_maps_and_madvise_does_not)
{
	int64_t by_madvise = maps_added(STACK_GUARD_MADVISE);

	CHECK_GE(maps_added(STACK_GUARD_MPROTECT), 90);
	CHECK_LE(by_madvise, 60);
}

TEST(stack_larger_than_the_address_space_is_refused_with_a_sentence)
{
	struct stack stack;

	CHECK_EQ(stack_reserve(&stack, SIZE_MAX - 5, 1, STACK_GUARD_BEST), FILAR_LIMIT);
	CHECK_TEXT_HAS(filar_status_detail(), "larger than the address space");
	CHECK_EQ(stack_reserve(&stack, (size_t)1 << 60, 1, STACK_GUARD_BEST), FILAR_NO_MEMORY);
	CHECK_TEXT_HAS(filar_status_detail(), "refused a stack");
}

TEST(stack_refusal_names_the_limit_on_address_space)
{
	struct rlimit limit = { (rlim_t)1 << 30, (rlim_t)1 << 30 };
	struct stack stack;

#if FILAR_ASAN || FILAR_TSAN
	puts("skipped: sanitizers need more address space than the test leaves");
	return;
#endif
	CHECK_EQ(setrlimit(RLIMIT_AS, &limit), 0);
	CHECK_EQ(stack_reserve(&stack, (size_t)2 << 30, 1, STACK_GUARD_BEST), FILAR_LIMIT);
	CHECK_TEXT_HAS(filar_status_detail(), "RLIMIT_AS");
}

TEST(stack_refusal_names_the_limit_on_maps)
{
	enum filar_status status = FILAR_OK;
	struct stack *stacks;
	int64_t maps_max;
	size_t count = 0;

	if (textfile_read_number(&maps_max, "/proc/sys/vm/max_map_count") != FILAR_OK ||
		maps_max > 300000) {
		puts("skipped: vm.max_map_count is not known or too far away");
		return;
	}
#if FILAR_ASAN || FILAR_TSAN
	puts("skipped: sanitizers need maps of their own to report anything");
	return;
#endif
	stacks = calloc((size_t)maps_max, sizeof *stacks);
	CHECK(stacks != NULL);
	while (count < (size_t)maps_max) {
		status = stack_reserve(&stacks[count], 1, 1, STACK_GUARD_MPROTECT);
		if (status != FILAR_OK)
			break;
		count++;
	}
	CHECK_EQ(status, FILAR_LIMIT);
	CHECK_TEXT_HAS(filar_status_detail(), "vm.max_map_count");
	CHECK_GE(count, maps_max / 2 - 1000);
	while (count > 0)
		stack_release(&stacks[--count]);
	CHECK_LE(maps_now(), 200);
	free(stacks);
}

TEST_MAIN()
