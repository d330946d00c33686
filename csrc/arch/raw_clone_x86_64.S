/*
 * raw_clone_x86_64.S - raw_clone() and raw_syscall(), see raw_clone.h.
 *
 * The new stack as clone(2) gives it to the new thread, which pops both words:
 *
 *   top      (16-aligned)
 *   top - 8  argument
 *   top - 16 body          <- rsp
 *
 * Nothing is saved: both are ordinary calls, and the new thread never returns.
 */
#if defined(__x86_64__)
	.text
	.globl raw_clone
	.hidden raw_clone
	.type raw_clone, @function
	.balign 16
/* rdi flags, rsi stack_top, rdx parent_tid, rcx child_tid, r8 body, r9 argument */
raw_clone:
	.cfi_startproc
	andq $-16, %rsi
	subq $16, %rsi
	movq %r8, (%rsi)
	movq %r9, 8(%rsi)
	movq %rcx, %r10
	xorl %r8d, %r8d
	movl $56, %eax /* clone(flags, stack, parent_tid, child_tid, tls) */
	syscall
	testq %rax, %rax
	jz 1f
	ret
1:
	.cfi_undefined rip
	xorl %ebp, %ebp
	popq %rax
	popq %rdi
	call *%rax
	movl %eax, %edi
	movl $60, %eax /* exit: this thread only */
	syscall
	hlt
	.cfi_endproc
	.size raw_clone, .-raw_clone

	.globl raw_syscall
	.hidden raw_syscall
	.type raw_syscall, @function
	.balign 16
raw_syscall:
	.cfi_startproc
	movq %rdi, %rax
	movq %rsi, %rdi
	movq %rdx, %rsi
	movq %rcx, %rdx
	movq %r8, %r10
	movq %r9, %r8
	xorl %r9d, %r9d
	syscall
	ret
	.cfi_endproc
	.size raw_syscall, .-raw_syscall
#endif
	.section .note.GNU-stack, "", %progbits
