/*
 * raw.h - what a pthread is made of, and what it is compared with: a bare clone, and processes.
 *
 * For the lab.  A raw thread has no thread-locals of its own (it sees its creator's), so nothing
 * of libc may run in it: its bodies are the few below.  The processes end at once with exit code 0,
 * so that what is measured is their making and their end.
 *
 * Stamps are CLOCK_MONOTONIC in ns (clock_now_ns()); a raw thread reads the clock by a system call
 * and not through the vDSO, which costs it some 100 ns more.
 */
#ifndef FILAR_KTHREAD_RAW_H
#define FILAR_KTHREAD_RAW_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/status.h"

/* ---- a thread by clone(2) alone ---- */

enum raw_body {
	RAW_EXIT,  /* ends at once */
	RAW_STAMP, /* writes first_ns, ends */
	RAW_WAIT   /* writes first_ns, sleeps until raw_thread_let_go(), ends */
};

struct raw_thread {
	_Atomic uint32_t
		tid; /* A  written by the kernel: set at creation, 0 (and woken) at the end */
	_Atomic uint32_t go; /* A  RAW_WAIT: 1 lets it end, futex */
	int64_t first_ns;    /* S  the thread's until raw_thread_wait_until() was FILAR_OK */
	enum raw_body body;  /* I */
};

/* The smallest stack that raw_thread_start() and PROCESS_BY_CLONE accept. */
#define RAW_STACK_BYTES_MIN 4096u

/* `stack` (its lowest address) and *thread are in use until raw_thread_wait_until() was FILAR_OK.
 */
enum filar_status raw_thread_start(
	struct raw_thread *thread, void *stack, size_t stack_bytes, enum raw_body body);
void raw_thread_let_go(struct raw_thread *thread);
/* FILAR_OK once the kernel is done with the thread and its stack; FILAR_TIMED_OUT, _INTERRUPTED. */
enum filar_status raw_thread_wait_until(struct raw_thread *thread, int64_t deadline_ns);

/* ---- a process that ends at once ---- */

enum process_by {
	PROCESS_BY_FORK,
	PROCESS_BY_VFORK,
	PROCESS_BY_CLONE, /* clone(CLONE_VM | CLONE_VFORK) on a stack of its own */
	PROCESS_BY_SPAWN  /* posix_spawn of `program` */
};

struct process_options {
	enum process_by by;
	const char *program; /* PROCESS_BY_SPAWN: a path; it gets no arguments, no environment */
	void *stack;         /* PROCESS_BY_CLONE */
	size_t stack_bytes;  /* PROCESS_BY_CLONE */
	/* NULL, or a place in memory that parent and child share (MAP_SHARED for fork), where the
	 * child stamps its first instruction.  A spawned program cannot. */
	int64_t *first_ns;
};

/* Returns when the child exists (fork, spawn) or is already past its end (vfork, clone). */
enum filar_status process_start(pid_t *child, const struct process_options *options);
/* Waits for its end; anything but exit code 0 is FILAR_SYSTEM.  Signals do not end this wait. */
enum filar_status process_wait(pid_t child);

/*
 * A program of some 200 bytes that only calls exit(0), in memory and not on disk, so that
 * posix_spawn of it costs an exec and no dynamic linking.  The path (/proc/self/fd/N) is valid
 * until close(*fd).
 */
#define TINY_PROGRAM_PATH_BYTES 32
enum filar_status tiny_program_create(int *fd, char path[TINY_PROGRAM_PATH_BYTES]);

#endif
