/*
 * context_layout_x86_64.h - where context_x86_64.S keeps what; read by C and by the assembler.
 */
#ifndef FILAR_ARCH_CONTEXT_LAYOUT_X86_64_H
#define FILAR_ARCH_CONTEXT_LAYOUT_X86_64_H

#define CONTEXT_RBX      0
#define CONTEXT_RBP      8
#define CONTEXT_R12      16
#define CONTEXT_R13      24
#define CONTEXT_R14      32
#define CONTEXT_R15      40
#define CONTEXT_MXCSR    48
#define CONTEXT_X87      52
#define CONTEXT_RIP      56
#define CONTEXT_RED_ZONE 64
#define CONTEXT_BYTES    192

/* MXCSR bits 0..5 are sticky flags that any operation may set; the rest is control. */
#define CONTEXT_MXCSR_CONTROL 0xffffffc0

#ifndef __ASSEMBLER__

#include "base/compiler.h"

struct context_frame {
	uint64_t rbx, rbp, r12, r13, r14, r15;
	uint32_t mxcsr;
	uint16_t x87;
	uint16_t unused;
	void *rip;
	char red_zone[128];
};

_Static_assert(offsetof(struct context_frame, rbp) == CONTEXT_RBP, "as the assembler has it");
_Static_assert(offsetof(struct context_frame, r12) == CONTEXT_R12, "as the assembler has it");
_Static_assert(offsetof(struct context_frame, r13) == CONTEXT_R13, "as the assembler has it");
_Static_assert(offsetof(struct context_frame, r14) == CONTEXT_R14, "as the assembler has it");
_Static_assert(offsetof(struct context_frame, r15) == CONTEXT_R15, "as the assembler has it");
_Static_assert(offsetof(struct context_frame, mxcsr) == CONTEXT_MXCSR, "as the assembler has it");
_Static_assert(offsetof(struct context_frame, x87) == CONTEXT_X87, "as the assembler has it");
_Static_assert(offsetof(struct context_frame, rip) == CONTEXT_RIP, "as the assembler has it");
_Static_assert(
	offsetof(struct context_frame, red_zone) == CONTEXT_RED_ZONE, "as the assembler has it");
_Static_assert(sizeof(struct context_frame) == CONTEXT_BYTES, "as the assembler has it");

#ifdef __AVX512F__
#define CONTEXT_CLOBBERS_AVX512                                                                    \
	, "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm24",         \
		"xmm25", "xmm26", "xmm27", "xmm28", "xmm29", "xmm30", "xmm31", "k1", "k2", "k3",   \
		"k4", "k5", "k6", "k7"
#else
#define CONTEXT_CLOBBERS_AVX512
#endif

/*
 * Jumps to context_switch_asm and comes back at 1: on another stack.  A jump and no call: a call
 * would leave an entry in the CPU's return predictor that no return takes, and the next return
 * after each switch would be mispredicted (some 8 ns).  For the compiler this is a call: all that a
 * call may change is named.
 */
static FILAR_ALWAYS_INLINE void *context_switch_registers(
	void **save_sp, void *load_sp, void *transfer)
{
	void *received;

	__asm__ volatile("leaq 1f(%%rip), %%rax\n\t"
			 "jmp context_switch_asm\n"
			 "1:"
			 : "=a"(received), "+D"(save_sp), "+S"(load_sp), "+d"(transfer)
			 :
			 : "rcx", "r8", "r9", "r10", "r11", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4",
			 "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13",
			 "xmm14", "xmm15", "st", "st(1)", "st(2)", "st(3)", "st(4)", "st(5)",
			 "st(6)", "st(7)", "cc", "memory" CONTEXT_CLOBBERS_AVX512);
	return received;
}

/* The same for ever: nothing is saved. */
static FILAR_ALWAYS_INLINE FILAR_NORETURN void context_leave_registers(
	void *load_sp, void *transfer)
{
	__asm__ volatile("jmp context_leave_asm" : : "S"(load_sp), "d"(transfer) : "memory");
	__builtin_unreachable();
}

/* MXCSR as the CPU has it now: for tests and for fresh contexts. */
static FILAR_ALWAYS_INLINE uint32_t context_float_control(void)
{
	uint32_t mxcsr;

	__asm__ volatile("stmxcsr %0" : "=m"(mxcsr));
	return mxcsr;
}

static FILAR_ALWAYS_INLINE uint16_t context_x87_control(void)
{
	uint16_t x87;

	__asm__ volatile("fnstcw %0" : "=m"(x87));
	return x87;
}

#endif
#endif
