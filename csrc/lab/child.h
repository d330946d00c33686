/*
 * child.h - a forked child for a way: short-lived, silent, never outlives its parent or its
 * deadline.
 *
 * The parent is a process with other threads (a Python interpreter), so the child may only do what
 * is safe after such a fork: system calls, memory that was mapped before, and pthreads of its own.
 * It ends with child_exit(), never by returning into the parent's code.
 */
#ifndef FILAR_LAB_CHILD_H
#define FILAR_LAB_CHILD_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/status.h"

/*
 * Forks.  In the child *pid is 0: signal handlers are at their defaults, no core is dumped,
 * standard error goes to /dev/null, it is killed when the parent dies, and SIGALRM ends it after
 * seconds_max (0: never).
 */
enum filar_status child_fork(pid_t *pid, unsigned seconds_max);
FILAR_NORETURN void child_exit(int code);
/* Waits for the child's end; *wait_status as waitpid(2) gives it.  -1 there when somebody else (a
 * process that ignores SIGCHLD) has reaped it. */
enum filar_status child_reap(pid_t pid, int *wait_status);
/* Kills and reaps; nothing where somebody else has reaped it. */
void child_kill(pid_t pid);
/* Looks at the child without reaping it.  False when there is no such child any more: a process
 * that ignores SIGCHLD, or waits for any child, has reaped it, and its number may be another's. */
bool child_see(pid_t pid, bool *ended);
/* It has died, whoever reaps it. */
bool child_has_ended(pid_t pid);

/* Zeroed whole pages, none of them huge, that a child forked later shares; NULL with a detail when
 * the system has none. */
void *shared_acquire(size_t bytes);
/* NULL is allowed. */
void shared_release(void *memory, size_t bytes);

#endif
