/*
 * valgrind.h - what valgrind must be told, without its header: requests that other runs of the
 * program execute as a few instructions that do nothing.
 *
 * A request is a sequence of instructions that no compiler writes (four rotations that add up to a
 * whole turn, then a move of a register to itself); valgrind's translator knows it.  After
 * <valgrind/valgrind.h>, whose interface is fixed.
 */
#ifndef FILAR_ARCH_VALGRIND_H
#define FILAR_ARCH_VALGRIND_H

#include <stdbool.h>

#include "base/compiler.h"

enum valgrind_request {
	VALGRIND_IS_RUNNING = 0x1001,
	VALGRIND_STACK_REGISTER = 0x1501,
	VALGRIND_STACK_DEREGISTER = 0x1502,
	VALGRIND_MAKE_UNDEFINED = 0x4d430001 /* memcheck's: may be written and read */
};

/* 0 without valgrind. */
static inline uintptr_t valgrind_ask(enum valgrind_request request, uintptr_t first, uintptr_t last)
{
	volatile uintptr_t question[6] = { request, first, last, 0, 0, 0 };

#if defined(__x86_64__)
	uintptr_t answer = 0;

	__asm__ volatile("rolq $3, %%rdi; rolq $13, %%rdi; rolq $61, %%rdi; rolq $51, %%rdi\n\t"
			 "xchgq %%rbx, %%rbx"
			 : "+d"(answer)
			 : "a"(&question[0])
			 : "cc", "memory");
	return answer;
#else
	register uintptr_t answer __asm__("x3") = 0;
	register volatile uintptr_t *asked __asm__("x4") = &question[0];

	__asm__ volatile(
		"ror x12, x12, #3; ror x12, x12, #13; ror x12, x12, #51; ror x12, x12, #61\n\t"
		"orr x10, x10, x10"
		: "+r"(answer)
		: "r"(asked)
		: "cc", "memory");
	return answer;
#endif
}

static inline bool valgrind_is_running(void)
{
	return valgrind_ask(VALGRIND_IS_RUNNING, 0, 0) != 0;
}

/* [low, high) is a stack of its own from now on: a move of the stack pointer to it is a switch. The
 * number is for valgrind_stack_deregister(). */
static inline uint32_t valgrind_stack_register(const void *low, const void *high)
{
	return (uint32_t)valgrind_ask(VALGRIND_STACK_REGISTER, (uintptr_t)low, (uintptr_t)high - 1);
}

static inline void valgrind_stack_deregister(uint32_t number)
{
	(void)valgrind_ask(VALGRIND_STACK_DEREGISTER, number, 0);
}

/* A new user's: what lay below the old one's stack pointer counts as gone. */
static inline void valgrind_make_usable(const void *low, size_t bytes)
{
	(void)valgrind_ask(VALGRIND_MAKE_UNDEFINED, (uintptr_t)low, bytes);
}

#endif
