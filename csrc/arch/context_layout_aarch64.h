/*
 * context_layout_aarch64.h - where context_aarch64.S keeps what; read by C and by the assembler.
 */
#ifndef FILAR_ARCH_CONTEXT_LAYOUT_AARCH64_H
#define FILAR_ARCH_CONTEXT_LAYOUT_AARCH64_H

#define CONTEXT_X19   0
#define CONTEXT_X29   80
#define CONTEXT_PC    88
#define CONTEXT_D8    96
#define CONTEXT_FPCR  160
#define CONTEXT_BYTES 176

#ifndef __ASSEMBLER__

#include "base/compiler.h"

struct context_frame {
	uint64_t x19_to_x28[10];
	uint64_t x29;
	void *pc;
	uint64_t d8_to_d15[8];
	uint64_t fpcr;
	uint64_t unused;
};

_Static_assert(
	offsetof(struct context_frame, x19_to_x28) == CONTEXT_X19, "as the assembler has it");
_Static_assert(offsetof(struct context_frame, x29) == CONTEXT_X29, "as the assembler has it");
_Static_assert(offsetof(struct context_frame, pc) == CONTEXT_PC, "as the assembler has it");
_Static_assert(offsetof(struct context_frame, d8_to_d15) == CONTEXT_D8, "as the assembler has it");
_Static_assert(offsetof(struct context_frame, fpcr) == CONTEXT_FPCR, "as the assembler has it");
_Static_assert(sizeof(struct context_frame) == CONTEXT_BYTES, "as the assembler has it");

/* Branches to context_switch_asm and comes back at 1: on another stack; no call, so that the return
 * predictor stays in step (context_layout_x86_64.h says more).  For the compiler this is a call:
 * all that a call may change is named. */
static FILAR_ALWAYS_INLINE void *context_switch_registers(
	void **save_sp, void *load_sp, void *transfer)
{
	register void **x0 __asm__("x0") = save_sp;
	register void *x1 __asm__("x1") = load_sp;
	register void *x2 __asm__("x2") = transfer;

	__asm__ volatile("adr x3, 1f\n\t"
			 "b context_switch_asm\n"
			 "1:"
			 : "+r"(x0), "+r"(x1), "+r"(x2)
			 :
			 : "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13",
			 "x14", "x15", "x16", "x17", "x18", "x30", "v0", "v1", "v2", "v3", "v4",
			 "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13", "v14", "v15",
			 "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25",
			 "v26", "v27", "v28", "v29", "v30", "v31", "cc", "memory");
	return (void *)x0;
}

/* The same for ever: nothing is saved. */
static FILAR_ALWAYS_INLINE FILAR_NORETURN void context_leave_registers(
	void *load_sp, void *transfer)
{
	register void *x1 __asm__("x1") = load_sp;
	register void *x2 __asm__("x2") = transfer;

	__asm__ volatile("b context_leave_asm" : : "r"(x1), "r"(x2) : "memory");
	__builtin_unreachable();
}

/* FPCR as the CPU has it now: for tests and for fresh contexts. */
static FILAR_ALWAYS_INLINE uint64_t context_float_control(void)
{
	uint64_t fpcr;

	__asm__ volatile("mrs %0, fpcr" : "=r"(fpcr));
	return fpcr;
}

#endif
#endif
