/*
 * preempt.h - taking the CPU from native bodies that allow it: a signal whose handler yields.
 *
 * A green thread spawned as preemptible runs its own code with `preempt_off` 0; everywhere else
 * (before and after the body, in filar's code, between preempt_disable() and preempt_enable()) it
 * is greater.  When it has run for preempt_ns and others wait, the watcher (sched/watch.c) sends
 * its worker a signal; the handler, on the green thread's stack, yields if `preempt_off` is 0, and
 * leaves a note otherwise.  What has to be put right for one that goes on elsewhere: README of
 * sched, "Preemption".
 *
 * Functions of the public interface stand under PREEMPT_GUARD(); inner functions do not, so a
 * preemptible body calls the public ones.
 *
 * Always: preempt_off == 0 only while the green thread runs the code of its body.
 */
#ifndef FILAR_GREEN_PREEMPT_H
#define FILAR_GREEN_PREEMPT_H

#include <signal.h>

#include "base/atomic.h"
#include "green/green.h"

/* ThreadSanitizer holds signals back until the next call it knows, and its own state is not made
 * for a switch in a handler. */
#define PREEMPT_SUPPORTED (!FILAR_TSAN)

/* How many runtimes preempt: while there is none, a guard is one load. */
extern _Atomic uint32_t preempt_runtimes;

/* For a runtime's beginning and end.  *signal 0: any that is free.  FILAR_BUSY: somebody else
 * handles it; FILAR_INVALID: no real-time signal; FILAR_NOT_SUPPORTED. */
enum filar_status preempt_begin(int32_t *signal);
void preempt_end(void);

/* The caller is a preemptible green thread, standing on its own stack; NULL: it is none. */
struct green *preempt_disable_slow(void);
void preempt_enable_slow(struct green *green);

static FILAR_ALWAYS_INLINE struct green *preempt_disable(void)
{
	if (FILAR_LIKELY(load_relaxed(&preempt_runtimes) == 0))
		return NULL;
	return preempt_disable_slow();
}

static FILAR_ALWAYS_INLINE void preempt_enable(struct green *green)
{
	if (FILAR_UNLIKELY(green != NULL))
		preempt_enable_slow(green);
}

static inline void preempt_guard_end(struct green **guarded)
{
	preempt_enable(*guarded);
}

/* To the end of the block. */
#define PREEMPT_GUARD()                                                                            \
	struct green *preempt_guarded __attribute__((cleanup(preempt_guard_end), unused)) =        \
		preempt_disable()

/* For spawn: what a fresh descriptor says. */
static inline void preempt_init(struct green *green, bool preemptible)
{
	store_relaxed(&green->preempt_off, 1);
	store_relaxed(&green->preempt_wanted, 0);
	green->preemptible = preemptible;
}

/* For entry(), around the body of one that is preemptible. */
void preempt_body_begins(struct green *green);
void preempt_body_ends(struct green *green);

#endif
