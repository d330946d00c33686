/*
 * memory.c - one mmap a stack, a guard at its low end, and why the kernel refused.
 *
 * The kernel's answer to every shortage is ENOMEM; refused() looks at the limits one by one and
 * names the one that is reached.
 */
#include "os/memory.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include "arch/valgrind.h"
#include "base/atomic.h"
#include "base/check.h"
#include "os/calls.h"
#include "os/textfile.h"

/* Newer than the C library's headers. */
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif
#ifndef PIDFD_SELF_PROCESS
#define PIDFD_SELF_PROCESS (-10001) /* Linux 6.14: this process, without a descriptor */
#endif

size_t page_bytes(void)
{
	return (size_t)getpagesize();
}

const char *stack_guard_name(enum stack_guard guard)
{
	return guard == STACK_GUARD_MADVISE    ? "madvise"
	       : guard == STACK_GUARD_MPROTECT ? "mprotect"
					       : "none";
}

/* Rounds up to whole pages; false when that is more than the address space. */
static bool round_up(size_t *bytes)
{
	size_t page = page_bytes();

	if (*bytes > SIZE_MAX / 4)
		return false;
	*bytes = (*bytes + page - 1) / page * page;
	return true;
}

/* Would `bytes` more exceed RLIMIT_AS?  Yes also when what is in use cannot be read. */
static bool is_beyond_address_limit(size_t bytes, uint64_t *limit)
{
	int64_t pages = 0;
	struct rlimit space;

	if (call_getrlimit(RLIMIT_AS, &space) != 0 || space.rlim_cur == RLIM_INFINITY)
		return false;
	*limit = space.rlim_cur;
	return textfile_read_number(&pages, "/proc/self/statm") != FILAR_OK ||
	       (uint64_t)pages * page_bytes() + bytes > *limit;
}

/* The status for ENOMEM (or another errno) after `what` was asked for `bytes`. */
static enum filar_status refused(int error, const char *what, size_t bytes)
{
	uint64_t limit;
	int64_t maps, maps_max;

	if (error != ENOMEM)
		return status_from_errno(error, what);
	if (is_beyond_address_limit(bytes, &limit))
		return status_detail(FILAR_LIMIT,
			"no address space for a stack of %zu bytes: RLIMIT_AS (ulimit -v) is %" PRIu64
			" bytes",
			bytes, limit);
	/* A split needs up to two maps more; other threads may free some in the meantime. */
	if (textfile_read_number(&maps_max, "/proc/sys/vm/max_map_count") == FILAR_OK &&
		textfile_count_lines(&maps, "/proc/self/maps") == FILAR_OK && maps + 2 >= maps_max)
		return status_detail(FILAR_LIMIT,
			"no stack: the process has %" PRId64
			" memory maps and vm.max_map_count is %" PRId64,
			maps, maps_max);
	return status_detail(
		FILAR_NO_MEMORY, "%s refused a stack of %zu bytes (ENOMEM)", what, bytes);
}

/* Some systems answer 0 to advice they do not know (qemu's user mode does).  So the first guard is
 * touched through the kernel, which answers EFAULT where a program would get a signal. */
static bool guard_holds(const void *base)
{
	static _Atomic int known; /* 0 not yet, 1 yes, -1 no; any thread may find out */
	int answer = load_relaxed(&known);

	if (answer == 0) {
		answer = access(base, F_OK) != 0 && errno == EFAULT ? 1 : -1;
		store_relaxed(&known, answer);
	}
	return answer > 0;
}

static enum filar_status guard_by_madvise(void *base, size_t bytes)
{
	int failed;

	/* It would read the guard as any memory, and crash; what mprotect does it knows. */
	if (valgrind_is_running())
		return status_detail(
			FILAR_NOT_SUPPORTED, "valgrind does not know MADV_GUARD_INSTALL");
	failed = call_madvise(base, bytes, MADV_GUARD_INSTALL);
	if (failed == 0 && guard_holds(base))
		return FILAR_OK;
	/* EINVAL: an older kernel, or memory locked by mlockall. */
	if (failed == 0 || errno == EINVAL)
		return status_detail(
			FILAR_NOT_SUPPORTED, "this system has no MADV_GUARD_INSTALL (Linux 6.13)");
	return refused(errno, "madvise", bytes);
}

static enum filar_status guard_by_mprotect(void *base, size_t bytes)
{
	if (call_mprotect(base, bytes, PROT_NONE) == 0)
		return FILAR_OK;
	return refused(errno, "mprotect", bytes);
}

enum filar_status pages_guard(void *base, size_t bytes, enum stack_guard *guard)
{
	enum stack_guard wanted = *guard;
	enum filar_status status = FILAR_OK;

	if (wanted == STACK_GUARD_BEST)
		*guard = STACK_GUARD_MADVISE;
	if (*guard == STACK_GUARD_MADVISE)
		status = guard_by_madvise(base, bytes);
	if (status == FILAR_NOT_SUPPORTED && wanted == STACK_GUARD_BEST) {
		*guard = STACK_GUARD_MPROTECT;
		status = FILAR_OK;
	}
	if (status == FILAR_OK && *guard == STACK_GUARD_MPROTECT)
		status = guard_by_mprotect(base, bytes);
	return status;
}

enum filar_status stack_reserve(
	struct stack *stack, size_t bytes, size_t guard_bytes, enum stack_guard guard)
{
	enum filar_status status;
	char *base;

	FILAR_ASSERT(bytes > 0);
	if (guard == STACK_GUARD_NONE)
		guard_bytes = 0;
	if (!round_up(&bytes) || !round_up(&guard_bytes))
		return status_detail(FILAR_LIMIT,
			"a stack of %zu bytes is larger than the address space", bytes);
	base = call_mmap(NULL, bytes + guard_bytes, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
	if (base == MAP_FAILED)
		return refused(errno, "mmap", bytes);
	*stack = (struct stack){
		.low = base + guard_bytes, .bytes = bytes, .guard_bytes = guard_bytes
	};
	if (guard_bytes == 0)
		return FILAR_OK;
	stack->guard = guard;
	status = pages_guard(base, guard_bytes, &stack->guard);
	if (status != FILAR_OK)
		(void)munmap(base, bytes + guard_bytes);
	return status;
}

void stack_release(struct stack *stack)
{
	char *base = (char *)stack->low - stack->guard_bytes;
	size_t bytes = stack->bytes + stack->guard_bytes;

	/* Neighbouring maps of one kind are merged by the kernel, so this may have to split one,
	 * which fails at vm.max_map_count.  Then the pages go back at least and only addresses
	 * stay reserved; another thread may have made room meanwhile, so it is tried once more. */
	if (call_munmap(base, bytes) != 0) {
		(void)madvise(base, bytes, MADV_DONTNEED);
		(void)munmap(base, bytes);
	}
	*stack = (struct stack){ 0 };
}

/* ---- pages ---- */

enum filar_status pages_reserve(void **base, size_t bytes)
{
	*base = call_mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (*base == MAP_FAILED)
		return refused(errno, "mmap", bytes);
	/* A huge page would make 2 MB resident for the top of one stack.  Where there are none to
	 * be had, the kernel refuses the advice, which changes nothing. */
	(void)madvise(*base, bytes, MADV_NOHUGEPAGE);
	return FILAR_OK;
}

void pages_release(void *base, size_t bytes)
{
	if (call_munmap(base, bytes) == 0)
		return;
	/* As in stack_release(). */
	(void)madvise(base, bytes, MADV_DONTNEED);
	(void)munmap(base, bytes);
}

void pages_discard(const struct page_range *ranges, size_t count)
{
	struct iovec vector[PAGE_RANGES_MAX] = { 0 };

	FILAR_ASSERT(count <= PAGE_RANGES_MAX);
	for (size_t i = 0; i < count; i++)
		vector[i] = (struct iovec){ ranges[i].base, ranges[i].bytes };
	/* One call for all: 100 ns a range where one call each takes 300. */
	if (call_process_madvise(PIDFD_SELF_PROCESS, vector, count, MADV_DONTNEED) >= 0)
		return;
	for (size_t i = 0; i < count; i++)
		(void)call_madvise(ranges[i].base, ranges[i].bytes, MADV_DONTNEED);
}
