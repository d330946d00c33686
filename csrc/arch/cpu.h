/*
 * cpu.h - what differs from CPU to CPU and is too small for a file: pause, the tick counter.
 *
 * The counter: rdtsc on x86-64, cntvct_el0 on aarch64; both count at a constant rate that has
 * nothing to do with the core's clock, the one only where cpu_ticks_are_invariant() says so.  Its
 * rate is not asked here: os/clock.c measures it.
 *
 * Two ways to read it.  cpu_ticks() may move past what stands around it, in either direction, by as
 * much as the CPU executes out of order (tens of ns).  cpu_ticks_ordered() waits until what stands
 * before it has executed, as the kernel's own clock does; what stands after it may still begin
 * early, and neither waits for stores to reach other cores.  7.3 against 12.3 ns on a Xeon of 2023,
 * where clock_gettime takes 17.0.
 */
#ifndef FILAR_ARCH_CPU_H
#define FILAR_ARCH_CPU_H

#include <stdbool.h>

#include "base/compiler.h"
#if FILAR_INTERLEAVE
#include "base/interleave.h"
#endif

#if defined(__x86_64__)

#include <cpuid.h>

#define CPU_NAME "x86-64"
/* The kernel's name for the clock source that reads this counter (sysfs, current_clocksource). */
#define CPU_TICKS_CLOCKSOURCE "tsc"

/* In a spin loop: saves power, gives the core's other thread way, softens the exit from the loop.
 */
static FILAR_ALWAYS_INLINE void cpu_pause(void)
{
#if FILAR_INTERLEAVE
	interleave_pause();
#else
	__builtin_ia32_pause();
#endif
}

static FILAR_ALWAYS_INLINE uint64_t cpu_ticks(void)
{
	return __builtin_ia32_rdtsc();
}

static FILAR_ALWAYS_INLINE uint64_t cpu_ticks_ordered(void)
{
	/* Intel SDM, "RDTSC": after an LFENCE all earlier instructions have executed. */
	__asm__ volatile("lfence" : : : "memory");
	return __builtin_ia32_rdtsc();
}

/* CPUID 0x80000007, EDX bit 8: one rate in all power states and at all core clocks. */
static inline bool cpu_ticks_are_invariant(void)
{
	unsigned a, b, c, d;

	return __get_cpuid(0x80000007, &a, &b, &c, &d) != 0 && (d >> 8 & 1) != 0;
}

#elif defined(__aarch64__)

#define CPU_NAME              "aarch64"
#define CPU_TICKS_CLOCKSOURCE "arch_sys_counter"

/* isb rather than yield: yield does nothing on most cores, isb is a pause of some 10 ns. */
static FILAR_ALWAYS_INLINE void cpu_pause(void)
{
#if FILAR_INTERLEAVE
	interleave_pause();
#else
	__asm__ volatile("isb" : : : "memory");
#endif
}

static FILAR_ALWAYS_INLINE uint64_t cpu_ticks(void)
{
	uint64_t ticks;

	__asm__ volatile("mrs %0, cntvct_el0" : "=r"(ticks));
	return ticks;
}

static FILAR_ALWAYS_INLINE uint64_t cpu_ticks_ordered(void)
{
	uint64_t ticks;

	__asm__ volatile("isb\n\tmrs %0, cntvct_el0" : "=r"(ticks) : : "memory");
	return ticks;
}

/* The architecture promises a constant rate. */
static inline bool cpu_ticks_are_invariant(void)
{
	return true;
}

#else
#error "filar runs on x86-64 and aarch64: add this CPU to arch/cpu.h"
#endif

#endif
