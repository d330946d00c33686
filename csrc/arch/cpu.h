/*
 * cpu.h - single instructions that have no word in C.
 */
#ifndef FILAR_ARCH_CPU_H
#define FILAR_ARCH_CPU_H

#include "base/compiler.h"

/* Tells the CPU that this is a spinning loop: lets the SMT sibling run and saves power; some 5 to
 * 45 ns on x86.  Never gives the CPU to another thread. */
static FILAR_ALWAYS_INLINE void cpu_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("isb" : : : "memory");
#else
	FILAR_COMPILER_BARRIER();
#endif
}

#endif
