/*
 * memory.h - stacks and the pages under them: reserved address space with a guard below.
 *
 * The pages of a stack cost memory only when touched.  The guard turns an overflow into a fault
 * instead of a write into a neighbour.  Two kinds: MADV_GUARD_INSTALL (Linux 6.13) marks pages
 * inside the mapping, so a stack is one map; mprotect splits it into two, and vm.max_map_count
 * (65,530 by default) then ends at some 32,700 stacks.
 */
#ifndef FILAR_OS_MEMORY_H
#define FILAR_OS_MEMORY_H

#include "base/status.h"

enum stack_guard {
	STACK_GUARD_NONE,
	STACK_GUARD_MADVISE,  /* one map a stack */
	STACK_GUARD_MPROTECT, /* two maps a stack */
	STACK_GUARD_BEST      /* only to ask with: madvise where the kernel has it, else mprotect */
};

struct stack {
	void *low;              /* I  lowest usable byte; the guard is below it */
	size_t bytes;           /* I  usable, whole pages */
	size_t guard_bytes;     /* I  whole pages, 0 without a guard */
	enum stack_guard guard; /* I  the kind it got, never BEST */
};

size_t page_bytes(void);

/*
 * Reserves at least `bytes` (not 0) above a guard of at least `guard_bytes`; 0 or STACK_GUARD_NONE:
 * no guard.  FILAR_NOT_SUPPORTED when STACK_GUARD_MADVISE is asked for and the kernel lacks it;
 * FILAR_LIMIT (with the limit's name) when the address space or the count of maps is used up.
 * The caller releases it.
 */
enum filar_status stack_reserve(
	struct stack *stack, size_t bytes, size_t guard_bytes, enum stack_guard guard);
/* Nobody may stand on it any more. */
void stack_release(struct stack *stack);

/* ---- pages: for whoever cuts one large reservation into many stacks ---- */

/* Address space that costs memory only where touched, in small pages. `bytes` is whole pages. */
enum filar_status pages_reserve(void **base, size_t bytes);
void pages_release(void *base, size_t bytes);
/* Guards [base, base + bytes) inside a reservation; *guard is the kind wanted (BEST: whichever
 * works here) and then the kind it got.  Refusals as in stack_reserve(). */
enum filar_status pages_guard(void *base, size_t bytes, enum stack_guard *guard);

struct page_range {
	void *base;
	size_t bytes;
};
#define PAGE_RANGES_MAX 64
/* Gives the memory of up to PAGE_RANGES_MAX ranges back; they read as zeroes then.  A kernel that
 * refuses keeps the memory: nothing is lost but that. */
void pages_discard(const struct page_range *ranges, size_t count);

/* "madvise", "mprotect", "none". */
const char *stack_guard_name(enum stack_guard guard);

#endif
