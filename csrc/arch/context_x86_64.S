/*
 * context_x86_64.S - the switch and the first activation on x86-64 (SysV ABI).
 *
 * The frame of a saved stack, in bytes from the saved stack pointer:
 *
 *     0  rbx
 *     8  rbp
 *    16  r12            in a fresh frame: body
 *    24  r13            in a fresh frame: argument
 *    32  r14
 *    40  r15
 *    48  mxcsr (4 bytes), x87 control word (2), unused (2)
 *    56  where to go on
 *    64  red zone: 128 bytes below its stack pointer belong to the function that switches
 *   192  <- rsp of the function that switches (in a fresh frame: 16-aligned)
 *
 * Not saved: rax rcx rdx rsi rdi r8-r11, xmm/ymm/zmm, k, x87 registers (the ABI lets every call change
 * them, and the inline part names them as changed), the direction flag (the ABI keeps it clear), the
 * signal mask, segment bases.
 *
 * Ends in `jmp` on a loaded address, not in `ret`: the return predictor holds the call chain of the
 * stack that was left, so `ret` misses each time: 11 to 13.5 ns against 2.8 to 3.6 on a Xeon of 2019
 * at 2.5 GHz.  The predictor of indirect jumps learns.
 *
 * ldmxcsr waits for the pipeline when a sticky flag differs (57 against 3.6 ns in a library that
 * writes it each time), so it is written only if a control bit differs; likewise fldcw.
 *
 * A signal may arrive at any instruction: rsp always points below everything that is still needed.
 * There is no endbr64 and no shadow stack here: the object does not claim CET, so the linker leaves
 * it off for the whole program.
 */
#if defined(__x86_64__)
#include "arch/context_layout_x86_64.h"

	.text
	.globl context_switch_asm
	.hidden context_switch_asm
	.type context_switch_asm, @function
	.balign 64
/* rdi where to save rsp, rsi stack pointer to load, rdx transfer, rax where to go on later.
 * Goes on at the other stack's address with its transfer in rax. */
context_switch_asm:
	.cfi_startproc
	.cfi_def_cfa rsp, 0
	.cfi_register rip, rax
	leaq -CONTEXT_BYTES(%rsp), %rsp
	.cfi_def_cfa_offset CONTEXT_BYTES
	movq %rax, CONTEXT_RIP(%rsp)
	movq %rbx, CONTEXT_RBX(%rsp)
	movq %rbp, CONTEXT_RBP(%rsp)
	movq %r12, CONTEXT_R12(%rsp)
	movq %r13, CONTEXT_R13(%rsp)
	movq %r14, CONTEXT_R14(%rsp)
	movq %r15, CONTEXT_R15(%rsp)
	stmxcsr CONTEXT_MXCSR(%rsp)
	fnstcw CONTEXT_X87(%rsp)
	movl CONTEXT_MXCSR(%rsp), %ecx
	movzwl CONTEXT_X87(%rsp), %r8d
	movq %rsp, (%rdi)

	/* From here on the other stack; its frame has the same shape. */
	movq %rsi, %rsp
	.cfi_offset rip, CONTEXT_RIP - CONTEXT_BYTES
	.cfi_offset rbx, CONTEXT_RBX - CONTEXT_BYTES
	.cfi_offset rbp, CONTEXT_RBP - CONTEXT_BYTES
	.cfi_offset r12, CONTEXT_R12 - CONTEXT_BYTES
	.cfi_offset r13, CONTEXT_R13 - CONTEXT_BYTES
	.cfi_offset r14, CONTEXT_R14 - CONTEXT_BYTES
	.cfi_offset r15, CONTEXT_R15 - CONTEXT_BYTES
	movq CONTEXT_RIP(%rsp), %r9
	xorl CONTEXT_MXCSR(%rsp), %ecx
	testl $CONTEXT_MXCSR_CONTROL, %ecx
	jnz 2f
1:	cmpw %r8w, CONTEXT_X87(%rsp)
	jne 3f
4:	movq CONTEXT_RBX(%rsp), %rbx
	movq CONTEXT_RBP(%rsp), %rbp
	movq CONTEXT_R12(%rsp), %r12
	movq CONTEXT_R13(%rsp), %r13
	movq CONTEXT_R14(%rsp), %r14
	movq CONTEXT_R15(%rsp), %r15
	movq %rdx, %rax
	leaq CONTEXT_BYTES(%rsp), %rsp
	.cfi_def_cfa rsp, 0
	.cfi_register rip, r9
	.cfi_restore rbx
	.cfi_restore rbp
	.cfi_restore r12
	.cfi_restore r13
	.cfi_restore r14
	.cfi_restore r15
	jmp *%r9
	.cfi_def_cfa rsp, CONTEXT_BYTES
	.cfi_offset rip, CONTEXT_RIP - CONTEXT_BYTES
2:	ldmxcsr CONTEXT_MXCSR(%rsp)
	jmp 1b
3:	fldcw CONTEXT_X87(%rsp)
	jmp 4b
	.cfi_endproc
	.size context_switch_asm, .-context_switch_asm

	.globl context_leave_asm
	.hidden context_leave_asm
	.type context_leave_asm, @function
	.balign 64
/* rsi stack pointer to load, rdx transfer.  As above, without saving anything. */
context_leave_asm:
	.cfi_startproc
	.cfi_undefined rip
	stmxcsr -8(%rsp)
	fnstcw -4(%rsp)
	movl -8(%rsp), %ecx
	movzwl -4(%rsp), %r8d
	movq %rsi, %rsp
	movq CONTEXT_RIP(%rsp), %r9
	xorl CONTEXT_MXCSR(%rsp), %ecx
	testl $CONTEXT_MXCSR_CONTROL, %ecx
	jnz 2b
	jmp 1b
	.cfi_endproc
	.size context_leave_asm, .-context_leave_asm

	.globl context_entry
	.hidden context_entry
	.type context_entry, @function
	.balign 16
/* The first activation: rax transfer, r12 body, r13 argument, rsp 16-aligned.  Nobody called us:
 * debuggers stop here. */
context_entry:
	.cfi_startproc
	.cfi_undefined rip
	movq %rax, %rdi
	movq %r13, %rsi
	xorl %ebp, %ebp
	/* A call by hand: the body never returns, and an entry of the return predictor that no return
	 * takes would make those of whoever runs next miss. */
	leaq 5f(%rip), %rax
	pushq %rax
	jmp *%r12
5:	call context_body_returned
	ud2
	.cfi_endproc
	.size context_entry, .-context_entry
#endif
	.section .note.GNU-stack, "", %progbits
