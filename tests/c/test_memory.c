/*
 * test_memory.c - stacks: usable to the last byte, a fault one byte below, and honest refusals.
 */
#include <sys/mman.h>
#include <sys/resource.h>

#include "base/compiler.h"
#include "base/memory.h"
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

/* Does one of the process's maps begin where the stack ends and the guard begins? */
static bool is_split(const struct stack *stack)
{
	unsigned long start, wanted = (unsigned long)(uintptr_t)stack->low;
	bool found = false;
	char *text;

	CHECK_EQ(textfile_read(&text, "/proc/self/maps"), FILAR_OK);
	for (char *line = text; line != NULL && *line != '\0'; line = strchr(line, '\n')) {
		line += *line == '\n';
		found = found || (sscanf(line, "%lx-", &start) == 1 && start == wanted);
	}
	memory_release(text);
	return found;
}

TEST(stack_guard_by_mprotect_splits_the_map_and_madvise_does_not)
{
	struct stack stack;

	CHECK(reserve(&stack, STACK_GUARD_MPROTECT));
	CHECK(is_split(&stack));
	stack_release(&stack);
	if (!reserve(&stack, STACK_GUARD_MADVISE))
		return;
	CHECK(!is_split(&stack));
	stack_release(&stack);
}

TEST(stack_larger_than_the_address_space_is_refused_with_a_sentence)
{
	struct stack stack;

	CHECK_EQ(stack_reserve(&stack, SIZE_MAX - 5, 1, STACK_GUARD_BEST), FILAR_LIMIT);
	CHECK_TEXT_HAS(filar_status_detail(), "larger than the address space");
	CHECK_EQ(stack_reserve(&stack, (size_t)1 << 60, 1, STACK_GUARD_BEST), FILAR_NO_MEMORY);
	CHECK_TEXT_HAS(filar_status_detail(), "refused a stack");
}

/* qemu's user mode forgets RLIMIT_AS, and its own maps stand between a program and the limits. */
static bool is_emulated(void)
{
	struct rlimit limit;

	CHECK_EQ(getrlimit(RLIMIT_AS, &limit), 0);
	limit.rlim_cur = (rlim_t)1 << 46;
	CHECK_EQ(setrlimit(RLIMIT_AS, &limit), 0);
	CHECK_EQ(getrlimit(RLIMIT_AS, &limit), 0);
	if (limit.rlim_cur != (rlim_t)1 << 46)
		puts("skipped: an emulator stands between this test and the limits");
	return limit.rlim_cur != (rlim_t)1 << 46;
}

TEST(stack_refusal_names_the_limit_on_address_space)
{
	struct rlimit limit = { (rlim_t)1 << 30, (rlim_t)1 << 30 };
	struct stack stack;

#if FILAR_ASAN || FILAR_TSAN
	puts("skipped: sanitizers need more address space than the test leaves");
	return;
#endif
	if (is_emulated())
		return;
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
	if (is_emulated())
		return;
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
