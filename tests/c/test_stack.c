/*
 * test_stack.c - stacks for green threads: guards, recycling, limits, what is given back.
 */
#include <sys/mman.h>
#include <sys/resource.h>

#include "base/failpoint.h"
#include "base/memory.h"
#include "check.h"
#include "fail.h"
#include "green/stack.h"
#include "os/textfile.h"

struct descriptor {
	struct stack_slot slot;
	uint64_t number;
};

static struct stack_pool pool;
static struct stack_cache cache;

static void describe(const struct stack_slot *slot, char *text, size_t bytes)
{
	snprintf(text, bytes, "test stack %" PRIu64, ((const struct descriptor *)slot)->number);
}

static struct descriptor *acquire(uint32_t class_index)
{
	struct stack_slot *slot;

	CHECK_EQ(stack_acquire(&slot, &pool, &cache, class_index), FILAR_OK);
	return (struct descriptor *)slot;
}

static void init(enum stack_guard guard)
{
	CHECK_EQ(stack_pool_init(&pool, sizeof(struct descriptor), guard, describe), FILAR_OK);
}

/* Whether a write to the address ends a child by SIGSEGV. */
static bool write_faults(volatile char *address)
{
	int status;
	pid_t child = fork();

	if (child == 0) {
		signal(SIGSEGV, SIG_DFL);
		*address = 1;
		_exit(0);
	}
	CHECK_EQ(waitpid(child, &status, 0), child);
	/* AddressSanitizer turns the fault into an exit. */
	return !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}

static size_t resident_pages(void *low, size_t bytes)
{
	static unsigned char present[4096];
	size_t pages = bytes / page_bytes(), count = 0;

	CHECK_LE(pages, sizeof present);
	CHECK_EQ(mincore(low, bytes, present), 0);
	for (size_t i = 0; i < pages; i++)
		count += present[i] & 1;
	return count;
}

TEST(classes_hold_what_is_asked_for)
{
	CHECK_EQ(stack_class_index(1), 0);
	CHECK_EQ(stack_class_index(STACK_BYTES_SMALLEST), 0);
	CHECK_EQ(stack_class_index(STACK_BYTES_SMALLEST + 1), 1);
	CHECK_EQ(stack_class_index(STACK_BYTES_LARGEST), STACK_CLASSES - 1);
	for (uint32_t c = 0; c < STACK_CLASSES; c++)
		CHECK_EQ(stack_class_index(stack_class_bytes(c)), c);
}

TEST(a_stack_is_usable_down_to_its_guard)
{
	enum stack_guard kinds[] = { STACK_GUARD_BEST, STACK_GUARD_MPROTECT };

	for (size_t k = 0; k < 2; k++) {
		init(kinds[k]);
		for (int i = 0; i < 40; i++) {
			struct descriptor *one = acquire(1);
			char *low = one->slot.low;

			memset(low, 0x55, (size_t)((char *)one - low));
			CHECK_GE((char *)one - low,
				stack_class_bytes(1) - sizeof *one - STACK_COLOURS * 64 - 64);
			if (i % 10 == 0)
				CHECK(write_faults(low - 1));
			if (i % 10 == 1)
				CHECK(write_faults(low - page_bytes()));
		}
		stack_pool_deinit(&pool);
		memset(&cache, 0, sizeof cache);
	}
}

TEST(a_released_stack_is_the_next_one_acquired)
{
	struct descriptor *one, *two;

	init(STACK_GUARD_BEST);
	one = acquire(0);
	two = acquire(0);
	CHECK(one != two);
	stack_release_slot(&pool, &cache, &one->slot);
	CHECK(acquire(0) == one);
	stack_pool_deinit(&pool);
}

static void mark_seen(struct stack_slot *slot, void *argument)
{
	((struct descriptor *)slot)->number += 1;
	*(uint64_t *)argument += 1;
}

TEST(a_hundred_thousand_stacks_each_with_a_guard)
{
	/* The sanitizers' own memory would be copied at each fork, too. */
	enum { COUNT = FILAR_ASAN || FILAR_TSAN ? 20000 : 100000 };
	static struct descriptor *all[COUNT];
	uint64_t seen = 0;

	init(STACK_GUARD_BEST);
	for (int i = 0; i < COUNT; i++) {
		struct stack_slot *slot;
		enum filar_status status = stack_acquire(&slot, &pool, &cache, 2);

		if (status == FILAR_LIMIT && pool.guard == STACK_GUARD_MPROTECT) {
			/* An older kernel: then it must say which limit, and go on with less. */
			CHECK_TEXT_HAS(filar_status_detail(), "max_map_count");
			CHECK_GE(i, 10000);
			return;
		}
		CHECK_EQ(status, FILAR_OK);
		all[i] = (struct descriptor *)slot;
		CHECK_EQ(all[i]->number, 0); /* nobody else's */
		all[i]->number = 1;
	}
	stack_pool_for_each(&pool, mark_seen, &seen);
	CHECK_GE(seen, COUNT);
	for (int i = 0; i < COUNT; i++)
		CHECK_EQ(all[i]->number, 2);
	for (int i = 0; i < COUNT; i += COUNT / 7)
		CHECK(write_faults((char *)all[i]->slot.low - 1));
	for (int i = 0; i < COUNT; i++)
		stack_release_slot(&pool, &cache, &all[i]->slot);
	stack_pool_deinit(&pool);
}

TEST(colours_move_the_descriptors_through_the_page)
{
	char seen[64] = { 0 };
	int offsets = 0;

	init(STACK_GUARD_BEST);
	for (int i = 0; i < 64; i++)
		seen[((uintptr_t)acquire(0) / 64) % 64] = 1;
	for (int i = 0; i < 64; i++)
		offsets += seen[i];
	CHECK_GE(offsets, STACK_COLOURS);
	stack_pool_deinit(&pool);
}

TEST(pages_beyond_the_kept_ones_are_given_back)
{
	enum { COUNT = 3 * (int)STACK_CACHE_MAX };
	static struct descriptor *all[COUNT];
	size_t bytes = stack_class_bytes(4), before = 0, after = 0;

	init(STACK_GUARD_BEST);
	for (int i = 0; i < COUNT; i++) {
		all[i] = acquire(4);
		memset(all[i]->slot.low, 1, (size_t)((char *)all[i] - (char *)all[i]->slot.low));
		before += resident_pages(all[i]->slot.low, bytes / 2);
	}
	for (int i = 0; i < COUNT; i++)
		stack_release_slot(&pool, &cache, &all[i]->slot);
	for (int i = 0; i < COUNT; i++)
		after += resident_pages(all[i]->slot.low, bytes / 2);
	CHECK_EQ(before, COUNT * (bytes / 2 / page_bytes()));
	CHECK_LE(after, STACK_CACHE_MAX * (bytes / 2 / page_bytes()));
	stack_pool_deinit(&pool);
}

TEST(without_address_space_the_status_names_the_limit)
{
	struct rlimit limit;
	struct stack_slot *slot;
	enum filar_status status = FILAR_OK;

	if (FILAR_ASAN || FILAR_TSAN)
		return; /* they reserve terabytes of their own */
	init(STACK_GUARD_BEST);
	CHECK_EQ(getrlimit(RLIMIT_AS, &limit), 0);
	limit.rlim_cur = (rlim_t)256 << 20;
	CHECK_EQ(setrlimit(RLIMIT_AS, &limit), 0);
	for (int i = 0; i < 100000 && status == FILAR_OK; i++)
		status = stack_acquire(&slot, &pool, &cache, 3);
	CHECK_EQ(status, FILAR_LIMIT);
	CHECK_TEXT_HAS(filar_status_detail(), "RLIMIT_AS");
	stack_pool_deinit(&pool);
}

/* Two maps for each stack: the kernel's default of 65,530 ends at some 32,700. */
TEST(guards_by_mprotect_end_at_max_map_count_with_its_name)
{
	struct stack_slot *slot, *last = NULL;
	enum filar_status status = FILAR_OK;
	int64_t maps_max = 0;
	int64_t count = 0;

	CHECK_EQ(textfile_read_number(&maps_max, "/proc/sys/vm/max_map_count"), FILAR_OK);
	if (maps_max > 200000 || FILAR_ASAN || FILAR_TSAN)
		return; /* would take too long to reach; sanitizers need maps themselves */
	init(STACK_GUARD_MPROTECT);
	while ((status = stack_acquire(&slot, &pool, &cache, 0)) == FILAR_OK) {
		last = slot;
		CHECK_LE(++count, maps_max);
	}
	CHECK_EQ(status, FILAR_LIMIT);
	CHECK_TEXT_HAS(filar_status_detail(), "max_map_count");
	CHECK_GE(count, maps_max / 2 - 2000);
	/* What was there still works, and a stack given back can be had again. */
	stack_release_slot(&pool, &cache, last);
	CHECK_EQ(stack_acquire(&slot, &pool, &cache, 0), FILAR_OK);
	CHECK(slot == last);
	stack_pool_deinit(&pool);
}

#if FILAR_FAIL
TEST(a_kernel_without_guard_install_gets_mprotect)
{
	struct descriptor *one;

	failpoint_arm(FAILPOINT_MADVISE, 1);
	init(STACK_GUARD_BEST);
	one = acquire(0);
	CHECK(failpoint_fired());
	CHECK_EQ(pool.guard, STACK_GUARD_MPROTECT);
	CHECK(write_faults((char *)one->slot.low - 1));
	stack_pool_deinit(&pool);
}

static int attempt_pool(void)
{
	enum { COUNT = 200 };
	static struct stack_slot *all[COUNT];
	enum filar_status status =
		stack_pool_init(&pool, sizeof(struct descriptor), STACK_GUARD_BEST, describe);
	int count = 0;

	memset(&cache, 0, sizeof cache);
	if (status != FILAR_OK)
		return status;
	while (count < COUNT && status == FILAR_OK) {
		status = stack_acquire(&all[count], &pool, &cache, 1);
		count += status == FILAR_OK;
	}
	for (int i = 0; i < count; i++)
		stack_release_slot(&pool, &cache, all[i]);
	stack_pool_deinit(&pool);
	return status;
}

TEST(each_call_may_fail_and_nothing_is_lost)
{
	CHECK_GE(fail_each(attempt_pool), 3);
}
#endif

TEST_MAIN()
