/*
 * raw_clone.h - clone(2) and system calls without libc: no errno, no thread-locals, no sanitizer.
 *
 * raw_clone_<cpu>.S holds both.  For code that runs on a kernel thread which libc knows nothing of
 * (kthread/raw.c).
 */
#ifndef FILAR_ARCH_RAW_CLONE_H
#define FILAR_ARCH_RAW_CLONE_H

#include "base/compiler.h"

/* On functions that run on such a thread: no instrumentation, no look at the stack protector's
 * canary, which is a thread-local. */
#if defined(__clang__)
#define RAW_CODE                                                                                   \
	__attribute__((noinline, no_stack_protector,                                               \
		no_sanitize("address", "thread", "undefined"), disable_sanitizer_instrumentation))
#else
#define RAW_CODE                                                                                   \
	__attribute__((noinline, no_stack_protector, no_sanitize("address", "thread", "undefined")))
#endif

typedef int raw_clone_body(void *argument);

/*
 * In the creator: the new thread's or process's id, or -errno.  The new one runs body(argument) on
 * the stack whose highest address is stack_top (rounded down to 16) and ends by exit(2) with what
 * body returned.  parent_tid and child_tid as in clone(2).
 */
long raw_clone(unsigned long flags, void *stack_top, void *parent_tid, void *child_tid,
	raw_clone_body *body, void *argument);
/* The result, or -errno. */
long raw_syscall(long number, long a, long b, long c, long d, long e);

#endif
