/*
 * clock.h - time: one monotonic clock in nanoseconds, read as cheaply as this machine allows.
 */
#ifndef FILAR_OS_CLOCK_H
#define FILAR_OS_CLOCK_H

#include <time.h>

#include "base/compiler.h"

#define NS_PER_US      INT64_C(1000)
#define NS_PER_MS      INT64_C(1000000)
#define NS_PER_S       INT64_C(1000000000)
#define DEADLINE_NEVER INT64_MAX

/* CLOCK_MONOTONIC, ns. */
int64_t clock_now_ns(void);
/* CPU time of the calling kernel thread, ns. */
int64_t clock_thread_cpu_ns(void);
/* A CLOCK_MONOTONIC deadline as the kernel wants it; negative deadlines become zero. */
struct timespec clock_timespec(int64_t ns);

#endif
