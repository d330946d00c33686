/*
 * raw.c - bare clone threads and short-lived processes, with nothing of libc in the children.
 *
 * A raw thread shares its creator's thread-locals (no CLONE_SETTLS), errno and stack canary among
 * them: what runs in it is RAW_CODE and makes its system calls by raw_syscall().  Signals are
 * blocked in it, since a handler would run on those same thread-locals.
 *
 * Always: *thread and its stack belong to the new thread until the kernel has cleared `tid`
 * (CLONE_CHILD_CLEARTID does that after the last use of the stack).
 */
#include "kthread/raw.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arch/raw_clone.h"
#include "arch/tiny_program.h"
#include "base/atomic.h"
#include "base/failpoint.h"
#include "os/calls.h"
#include "os/clock.h"
#include "os/futex.h"

#define RAW_THREAD_FLAGS                                                                           \
	(CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM |        \
		CLONE_PARENT_SETTID | CLONE_CHILD_CLEARTID)

/* -1 and errno, like the calls of os/calls.h; it cannot stand there, since arch/ is not below os/.
 */
static long call_raw_clone(
	unsigned long flags, void *stack_top, void *tid, raw_clone_body *body, void *argument)
{
	long result = failpoint_hit(FAILPOINT_CLONE)
			      ? -EAGAIN
			      : raw_clone(flags, stack_top, tid, tid, body, argument);

	if (result >= 0)
		return result;
	errno = (int)-result;
	return -1;
}

RAW_CODE static int64_t raw_now_ns(void)
{
	struct timespec now;

	(void)raw_syscall(SYS_clock_gettime, CLOCK_MONOTONIC, (long)&now, 0, 0, 0);
	return (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec;
}

/* ---- a thread by clone(2) alone ---- */

RAW_CODE static int raw_thread_main(void *pointer)
{
	struct raw_thread *thread = pointer;
	/* Plain and volatile: an atomic of base/atomic.h may be instrumented.  No order is needed:
	 * nothing is read after it. */
	volatile uint32_t *go = (volatile uint32_t *)(void *)&thread->go;

	if (thread->body == RAW_EXIT)
		return 0;
	thread->first_ns = raw_now_ns();
	while (thread->body == RAW_WAIT && *go == 0)
		(void)raw_syscall(SYS_futex, (long)go, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 0, 0, 0);
	return 0;
}

static enum filar_status check_stack(const void *stack, size_t stack_bytes)
{
	if (stack != NULL && stack_bytes >= RAW_STACK_BYTES_MIN)
		return FILAR_OK;
	return status_detail(FILAR_INVALID,
		"a raw thread needs a stack of at least %u bytes, not %zu", RAW_STACK_BYTES_MIN,
		stack != NULL ? stack_bytes : 0);
}

/* The new thread inherits the mask; see the head of this file. */
static enum filar_status clone_with_signals_blocked(struct raw_thread *thread, void *stack_top)
{
	enum filar_status status = FILAR_OK;
	sigset_t all, old;
	int error;

	sigfillset(&all);
	error = call_sigmask(SIG_SETMASK, &all, &old);
	if (error != 0)
		return status_from_errno(error, "pthread_sigmask");
	if (call_raw_clone(RAW_THREAD_FLAGS, stack_top, &thread->tid, raw_thread_main, thread) < 0)
		status = status_from_errno(errno, "clone of a thread");
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	return status;
}

enum filar_status raw_thread_start(
	struct raw_thread *thread, void *stack, size_t stack_bytes, enum raw_body body)
{
	enum filar_status status = check_stack(stack, stack_bytes);

	if (status != FILAR_OK)
		return status;
	atomic_init(&thread->tid, 0);
	atomic_init(&thread->go, 0);
	thread->first_ns = 0;
	thread->body = body;
	return clone_with_signals_blocked(thread, (char *)stack + stack_bytes);
}

void raw_thread_let_go(struct raw_thread *thread)
{
	store_release(&thread->go, 1);
	futex_wake(&thread->go, 1);
}

enum filar_status raw_thread_wait_until(struct raw_thread *thread, int64_t deadline_ns)
{
	enum filar_status status;
	uint32_t tid;

	/* Shared, not private: so does the kernel wake at a thread's end. */
	while ((tid = load_acquire(&thread->tid)) != 0) {
		status = futex_wait_shared_until(&thread->tid, tid, deadline_ns);
		if (status != FILAR_OK && load_acquire(&thread->tid) != 0)
			return status;
	}
	return FILAR_OK;
}

/* ---- a process that ends at once ---- */

RAW_CODE static int child_main(void *pointer)
{
	int64_t *first_ns = pointer;

	if (first_ns != NULL)
		*first_ns = raw_now_ns();
	return 0;
}

RAW_CODE static void child_main_and_exit(void *pointer)
{
	(void)child_main(pointer);
	(void)raw_syscall(SYS_exit_group, 0, 0, 0, 0, 0);
}

static pid_t start_by_fork(int64_t *first_ns)
{
	pid_t child = call_fork();

	if (child == 0)
		child_main_and_exit(first_ns);
	return child;
}

static enum filar_status start_by_spawn(pid_t *child, const char *program)
{
	char *const arguments[] = { (char *)(uintptr_t)program, NULL };
	char *const environment[] = { NULL };
	int error;

	if (program == NULL)
		return status_detail(FILAR_INVALID, "posix_spawn needs a program");
	error = call_posix_spawn(child, program, NULL, arguments, environment);
	return error == 0 ? FILAR_OK : status_from_errno(error, "posix_spawn");
}

static enum filar_status start_by_clone(pid_t *child, const struct process_options *options)
{
	enum filar_status status = check_stack(options->stack, options->stack_bytes);

	if (status != FILAR_OK)
		return status;
	*child = (pid_t)call_raw_clone(CLONE_VM | CLONE_VFORK | SIGCHLD,
		(char *)options->stack + options->stack_bytes, NULL, child_main, options->first_ns);
	return *child > 0 ? FILAR_OK : status_from_errno(errno, "clone of a process");
}

enum filar_status process_start(pid_t *child, const struct process_options *options)
{
	switch (options->by) {
	case PROCESS_BY_FORK:
		*child = start_by_fork(options->first_ns);
		return *child > 0 ? FILAR_OK : status_from_errno(errno, "fork");
	case PROCESS_BY_VFORK:
		*child = call_vfork(child_main_and_exit, options->first_ns);
		return *child > 0 ? FILAR_OK : status_from_errno(errno, "vfork");
	case PROCESS_BY_CLONE:
		return start_by_clone(child, options);
	case PROCESS_BY_SPAWN:
		return start_by_spawn(child, options->program);
	}
	return status_detail(FILAR_INVALID, "unknown way to start a process: %d", options->by);
}

enum filar_status process_wait(pid_t child)
{
	pid_t waited;
	int end;

	do
		waited = call_waitpid(child, &end, 0);
	while (waited < 0 && errno == EINTR);
	if (waited < 0)
		return status_from_errno(errno, "waitpid");
	if (!WIFEXITED(end) || WEXITSTATUS(end) != 0)
		return status_detail(FILAR_SYSTEM, "the child process ended with wait status %#x",
			(unsigned)end);
	return FILAR_OK;
}

/* ---- the tiny program ---- */

struct tiny_program {
	Elf64_Ehdr header;
	Elf64_Phdr segment;
	unsigned char code[16];
};

/* Where it is mapped: any free page that is not the zero page. */
#define TINY_PROGRAM_BASE 0x10000u

static const struct tiny_program tiny_program = {
	.header = { .e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB,
			    EV_CURRENT },
		.e_type = ET_EXEC,
		.e_machine = TINY_PROGRAM_MACHINE,
		.e_version = EV_CURRENT,
		.e_entry = TINY_PROGRAM_BASE + offsetof(struct tiny_program, code),
		.e_phoff = offsetof(struct tiny_program, segment),
		.e_ehsize = sizeof(Elf64_Ehdr),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = 1 },
	.segment = { .p_type = PT_LOAD,
		.p_flags = PF_R | PF_X,
		.p_vaddr = TINY_PROGRAM_BASE,
		.p_filesz = sizeof(struct tiny_program),
		.p_memsz = sizeof(struct tiny_program),
		.p_align = 0x10000 },
	.code = { TINY_PROGRAM_CODE },
};

enum filar_status tiny_program_create(int *fd, char path[TINY_PROGRAM_PATH_BYTES])
{
	ssize_t written;

	*fd = call_memfd("filar-tiny");
	if (*fd < 0)
		return status_from_errno(errno, "memfd_create");
	do
		written = call_write(*fd, &tiny_program, sizeof tiny_program);
	while (written < 0 && errno == EINTR);
	if (written != (ssize_t)sizeof tiny_program) {
		enum filar_status status = status_from_errno(errno, "writing a program");

		close(*fd);
		return status;
	}
	snprintf(path, TINY_PROGRAM_PATH_BYTES, "/proc/self/fd/%d", *fd);
	return FILAR_OK;
}
