/*
 * sanitizer.h - tells AddressSanitizer and ThreadSanitizer of every switch; nothing in other
 * builds.
 *
 * ASan must know which stack is current (it unpoisons stacks on no-return calls) and keeps a "fake
 * stack" for each.  TSan keeps a record (fiber) with clock and call stack for each; a switch with
 * flag 0 also orders what was done before it on this kernel thread with what follows, which is
 * true.
 */
#ifndef FILAR_ARCH_SANITIZER_H
#define FILAR_ARCH_SANITIZER_H

#include <stdbool.h>

#include "base/compiler.h"

#if FILAR_ASAN
#include <sanitizer/asan_interface.h>
#endif
#if FILAR_TSAN
/* From <sanitizer/tsan_interface.h>, which gcc 12 does not install. */
void *__tsan_create_fiber(unsigned flags);
void __tsan_destroy_fiber(void *fiber);
void *__tsan_get_current_fiber(void);
void __tsan_switch_to_fiber(void *fiber, unsigned flags);
#endif

/* What they know of one stack. */
struct sanitizer_stack {
#if FILAR_ASAN
	const void *low;  /* I */
	size_t bytes;     /* I */
	void *fake_stack; /* S  while saved */
#endif
#if FILAR_TSAN
	void *fiber;        /* I */
	bool fiber_is_ours; /* I  made by context_init() */
#endif
};

/* Memory that was somebody's stack, mapped anew: the red zones of frames that never returned are
 * still marked. */
static FILAR_ALWAYS_INLINE void sanitizer_forget(const void *low, size_t bytes)
{
#if FILAR_ASAN
	__asan_unpoison_memory_region(low, bytes);
#endif
	(void)low;
	(void)bytes;
}

/* Right before the registers are swapped. */
static FILAR_ALWAYS_INLINE void sanitizer_leave(
	struct sanitizer_stack *from, struct sanitizer_stack *to, bool for_ever)
{
#if FILAR_ASAN
	__sanitizer_start_switch_fiber(for_ever ? NULL : &from->fake_stack, to->low, to->bytes);
#endif
#if FILAR_TSAN
	__tsan_switch_to_fiber(to->fiber, 0);
#endif
	(void)from;
	(void)to;
	(void)for_ever;
}

/* Right after, on the stack of `now`. */
static FILAR_ALWAYS_INLINE void sanitizer_arrive(struct sanitizer_stack *now)
{
#if FILAR_ASAN
	__sanitizer_finish_switch_fiber(now->fake_stack, NULL, NULL);
#endif
	(void)now;
}

#endif
