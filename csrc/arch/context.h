/*
 * context.h - saved registers, and the switch from one stack to another.
 *
 * A context is what one stack needs to go on: its stack pointer; everything else lies on the stack
 * in the frame that context_<cpu>.S draws.  What is kept over a switch: the registers that a
 * function must keep for its caller, and the control words of floating point (rounding, masked
 * exceptions, flush to zero).  What is not: the signal mask, the sticky exception flags of floating
 * point, errno and every other thread-local (they belong to the kernel thread).
 *
 * Commit after save.  Whoever leaves a stack may publish it (to a run queue, a wait queue) only
 * when its registers are saved, that is, from the next stack.  So each switch carries one pointer
 * to the next stack, `transfer`: it comes out of the context_switch() that the next stack once
 * called, or is the first argument of its body; whoever receives it does what the one who left
 * asked for there.
 *
 * Always: a context is either running (its sp is stale) or saved (nobody stands on its stack).
 */
#ifndef FILAR_ARCH_CONTEXT_H
#define FILAR_ARCH_CONTEXT_H

#include <stdbool.h>

#include "arch/sanitizer.h"
#include "base/compiler.h"

#if defined(__x86_64__)
#include "arch/context_layout_x86_64.h"
#elif defined(__aarch64__)
#include "arch/context_layout_aarch64.h"
#else
#error "filar switches on x86-64 and aarch64: add context_layout_<cpu>.h and context_<cpu>.S"
#endif

/* Runs on a fresh stack and never returns: it ends by a context_switch_last(). */
typedef void context_body(void *transfer, void *argument);

struct context {
	void *sp;                         /* S  saved: lowest byte of the frame; running: stale */
	struct sanitizer_stack sanitizer; /*    empty in ordinary builds */
#if FILAR_ASAN
	context_body *body; /* I */
	void *argument;     /* I */
#endif
};

/* Prepares a context that will call body(transfer, argument) on the stack [low, low + bytes).  The
 * floating point control words are those of the caller. */
void context_init(
	struct context *context, void *low, size_t bytes, context_body *body, void *argument);
/* For the stack that the caller stands on already, before its first switch away. */
void context_init_running(struct context *context);
/* Nobody may stand on it any more, or it is the caller's own. */
void context_deinit(struct context *context);

/* Leaves `from`, continues `to`.  Returns when somebody switches back to `from`, possibly on
 * another kernel thread: with that one's transfer. */
static FILAR_ALWAYS_INLINE void *context_switch(
	struct context *from, struct context *to, void *transfer)
{
	void *received;

	sanitizer_leave(&from->sanitizer, &to->sanitizer, false);
	received = context_switch_registers(&from->sp, to->sp, transfer);
	sanitizer_arrive(&from->sanitizer);
	return received;
}

/* The same for a stack that will never be continued. */
static FILAR_ALWAYS_INLINE FILAR_NORETURN void context_switch_last(
	struct context *from, struct context *to, void *transfer)
{
	sanitizer_leave(&from->sanitizer, &to->sanitizer, true);
	context_leave_registers(to->sp, transfer);
}

#endif
