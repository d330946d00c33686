/*
 * raw_clone_aarch64.S - raw_clone() and raw_syscall(), see raw_clone.h.
 *
 * The new stack as clone(2) gives it to the new thread, which pops both words:
 *
 *   top      (16-aligned)
 *   top - 8  argument
 *   top - 16 body          <- sp
 *
 * Nothing is saved: both are ordinary calls, and the new thread never returns.
 */
#if defined(__aarch64__)
	.text
	.globl raw_clone
	.hidden raw_clone
	.type raw_clone, %function
	.balign 16
/* x0 flags, x1 stack_top, x2 parent_tid, x3 child_tid, x4 body, x5 argument */
raw_clone:
	.cfi_startproc
	and x1, x1, #-16
	stp x4, x5, [x1, #-16]!
	mov x4, x3
	mov x3, xzr
	mov x8, #220 /* clone(flags, stack, parent_tid, tls, child_tid) */
	svc #0
	cbz x0, 1f
	ret
1:
	.cfi_undefined x30
	mov x29, xzr
	mov x30, xzr
	ldp x1, x0, [sp], #16
	blr x1
	mov x8, #93 /* exit: this thread only */
	svc #0
	brk #0
	.cfi_endproc
	.size raw_clone, .-raw_clone

	.globl raw_syscall
	.hidden raw_syscall
	.type raw_syscall, %function
	.balign 16
raw_syscall:
	.cfi_startproc
	mov x8, x0
	mov x0, x1
	mov x1, x2
	mov x2, x3
	mov x3, x4
	mov x4, x5
	svc #0
	ret
	.cfi_endproc
	.size raw_syscall, .-raw_syscall
#endif
	.section .note.GNU-stack, "", %progbits
