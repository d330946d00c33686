/*
 * context_aarch64.S - the switch and the first activation on aarch64 (AAPCS64).
 *
 * The frame of a saved stack, in bytes from the saved stack pointer:
 *
 *     0  x19, x20, ... x28     in a fresh frame: x19 body, x20 argument
 *    80  x29 (frame pointer)
 *    88  where to go on
 *    96  d8, d9, ... d15       (the upper halves of v8-v15 are the caller's to save)
 *   160  fpcr
 *   168  unused
 *   176  <- sp of the function that switches (always 16-aligned); there is no red zone
 *
 * Not saved: x0-x18, x30, v0-v7, v16-v31, fpsr (sticky flags), SVE and SME state (the ABI lets calls
 * change them; x18 is the platform's elsewhere, on Linux compilers use it), the signal mask,
 * tpidr_el0.
 *
 * Ends in `br`, not `ret`: see context_x86_64.S.  FPCR is written only if it differs: the write waits
 * for the pipeline.  The sticky flags live in FPSR, so FPCR compares as a whole.
 *
 * A signal may arrive at any instruction: sp always points below everything that is still needed.
 */
#if defined(__aarch64__)
#include "arch/context_layout_aarch64.h"

	.text
	.globl context_switch_asm
	.hidden context_switch_asm
	.type context_switch_asm, %function
	.balign 64
/* x0 where to save sp, x1 stack pointer to load, x2 transfer, x3 where to go on later.
 * Goes on at the other stack's address with its transfer in x0. */
context_switch_asm:
	.cfi_startproc
	.cfi_def_cfa sp, 0
	.cfi_register x30, x3
	sub sp, sp, #CONTEXT_BYTES
	.cfi_def_cfa_offset CONTEXT_BYTES
	stp x19, x20, [sp, #CONTEXT_X19]
	stp x21, x22, [sp, #CONTEXT_X19 + 16]
	stp x23, x24, [sp, #CONTEXT_X19 + 32]
	stp x25, x26, [sp, #CONTEXT_X19 + 48]
	stp x27, x28, [sp, #CONTEXT_X19 + 64]
	stp x29, x3, [sp, #CONTEXT_X29]
	stp d8, d9, [sp, #CONTEXT_D8]
	stp d10, d11, [sp, #CONTEXT_D8 + 16]
	stp d12, d13, [sp, #CONTEXT_D8 + 32]
	stp d14, d15, [sp, #CONTEXT_D8 + 48]
	mrs x4, fpcr
	str x4, [sp, #CONTEXT_FPCR]
	mov x5, sp
	str x5, [x0]

	/* From here on the other stack; its frame has the same shape. */
	mov sp, x1
	.cfi_offset x30, CONTEXT_PC - CONTEXT_BYTES
	.cfi_offset x29, CONTEXT_X29 - CONTEXT_BYTES
	ldr x5, [sp, #CONTEXT_FPCR]
	cmp x4, x5
	b.ne 2f
1:	ldp x19, x20, [sp, #CONTEXT_X19]
	ldp x21, x22, [sp, #CONTEXT_X19 + 16]
	ldp x23, x24, [sp, #CONTEXT_X19 + 32]
	ldp x25, x26, [sp, #CONTEXT_X19 + 48]
	ldp x27, x28, [sp, #CONTEXT_X19 + 64]
	ldp x29, x3, [sp, #CONTEXT_X29]
	ldp d8, d9, [sp, #CONTEXT_D8]
	ldp d10, d11, [sp, #CONTEXT_D8 + 16]
	ldp d12, d13, [sp, #CONTEXT_D8 + 32]
	ldp d14, d15, [sp, #CONTEXT_D8 + 48]
	mov x0, x2
	add sp, sp, #CONTEXT_BYTES
	.cfi_def_cfa sp, 0
	.cfi_register x30, x3
	.cfi_restore x29
	br x3
	.cfi_def_cfa sp, CONTEXT_BYTES
	.cfi_offset x30, CONTEXT_PC - CONTEXT_BYTES
2:	msr fpcr, x5
	b 1b
	.cfi_endproc
	.size context_switch_asm, .-context_switch_asm

	.globl context_leave_asm
	.hidden context_leave_asm
	.type context_leave_asm, %function
	.balign 64
/* x1 stack pointer to load, x2 transfer.  As above, without saving anything. */
context_leave_asm:
	.cfi_startproc
	.cfi_undefined x30
	mrs x4, fpcr
	mov sp, x1
	ldr x5, [sp, #CONTEXT_FPCR]
	cmp x4, x5
	b.ne 2b
	b 1b
	.cfi_endproc
	.size context_leave_asm, .-context_leave_asm

	.globl context_entry
	.hidden context_entry
	.type context_entry, %function
	.balign 16
/* The first activation: x0 transfer, x19 body, x20 argument, sp 16-aligned.  Nobody called us:
 * debuggers stop here. */
context_entry:
	.cfi_startproc
	.cfi_undefined x30
	mov x1, x20
	mov x29, xzr
	/* A call by hand: see context_x86_64.S. */
	adr x30, 5f
	br x19
5:	bl context_body_returned
	brk #1
	.cfi_endproc
	.size context_entry, .-context_entry
#endif
	.section .note.GNU-stack, "", %progbits
