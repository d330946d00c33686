/*
 * clock.h - time: one monotonic clock for deadlines, and a cheaper counter for short stamps.
 *
 * clock_now_ns() is CLOCK_MONOTONIC and nothing else: futex deadlines are on that clock, the kernel
 * steers it (NTP, by up to 500 ppm), and a counter calibrated once would leave it by milliseconds
 * within hours, so deadlines would fire early or late.
 *
 * clock_ticks() is for differences below a second or so, where that drift is below the noise.  It
 * reads the CPU's counter where the counter is invariant and the kernel trusts it enough to use it
 * as its own clock source (so it is also in step on all CPUs); elsewhere it is CLOCK_MONOTONIC.
 */
#ifndef FILAR_OS_CLOCK_H
#define FILAR_OS_CLOCK_H

#include <time.h>

#include "arch/cpu.h"
#include "base/atomic.h"
#include "base/status.h"

#define NS_PER_US      INT64_C(1000)
#define NS_PER_MS      INT64_C(1000000)
#define NS_PER_S       INT64_C(1000000000)
#define DEADLINE_NEVER INT64_MAX

/* CLOCK_MONOTONIC, ns. */
int64_t clock_now_ns(void);
/* The same as of the kernel's last tick, 1 to 10 ms ago; costs a fraction. */
int64_t clock_coarse_ns(void);
/* CPU time of the calling kernel thread, ns. */
int64_t clock_thread_cpu_ns(void);
/* A CLOCK_MONOTONIC deadline as the kernel wants it; negative deadlines become zero. */
struct timespec clock_timespec(int64_t ns);

enum clock_tick_source {
	CLOCK_TICKS_UNKNOWN,   /* not calibrated: clock_ticks() would have no scale */
	CLOCK_TICKS_COUNTER,   /* the CPU's counter */
	CLOCK_TICKS_MONOTONIC, /* CLOCK_MONOTONIC, one tick a nanosecond */
};

struct clock_state {
	_Atomic int source; /* A  enum clock_tick_source; C1 publishes the rest */
	double ns_per_tick; /* I  after C1 */
	char text[160];     /* I  after C1: which source, and why */
};
extern struct clock_state clock_state;

/* Decides and calibrates, once; busy for about 5 ms the first time.  Call it before the first
 * clock_ticks(). */
void clock_calibrate(void);

/* A stamp; only differences mean something.  Not ordered with what stands around it (arch/cpu.h):
 * right around system calls and batches, wrong around a single load. */
static FILAR_ALWAYS_INLINE int64_t clock_ticks(void)
{
	if (FILAR_LIKELY(load_relaxed(&clock_state.source) == CLOCK_TICKS_COUNTER))
		return (int64_t)cpu_ticks();
	return clock_now_ns();
}

/* A stamp that waits for what stands before it. */
static FILAR_ALWAYS_INLINE int64_t clock_ticks_ordered(void)
{
	if (FILAR_LIKELY(load_relaxed(&clock_state.source) == CLOCK_TICKS_COUNTER))
		return (int64_t)cpu_ticks_ordered();
	return clock_now_ns();
}

/* A difference of stamps, in ns. */
static FILAR_ALWAYS_INLINE double clock_ticks_to_ns(int64_t ticks)
{
	return (double)ticks * clock_state.ns_per_tick;
}

/* The public facts; calibrates if needed. */
void clock_describe(filar_clock_info *info);

/* For tests: decides again as if the kernel's clock source were in this file ("" is no file). */
void clock_recalibrate_as(const char *clocksource_path);

#endif
