/*
 * failpoint.h - places where a test can make the outside world fail.
 *
 * In FAIL builds each allocation and each system call of os/calls.c asks failpoint_hit() first.  A
 * test arms it with "the n-th hit fails" and raises n until the operation succeeds
 * (tests/c/fail.h), so every error path runs once.  In other builds the question is the constant
 * false.
 */
#ifndef FILAR_BASE_FAILPOINT_H
#define FILAR_BASE_FAILPOINT_H

#include <stdbool.h>

#include "base/compiler.h"

/* One name for each kind of outside help; os/calls.h maps its calls to these. */
#define FAILPOINT_NAMES(X)                                                                         \
	X(MEMORY, "memory")                                                                        \
	X(MMAP, "mmap")                                                                            \
	X(MUNMAP, "munmap")                                                                        \
	X(MPROTECT, "mprotect")                                                                    \
	X(MADVISE, "madvise")                                                                      \
	X(FUTEX, "futex")                                                                          \
	X(THREAD_CREATE, "pthread_create")                                                         \
	X(CLONE, "clone")                                                                          \
	X(FORK, "fork")                                                                            \
	X(VFORK, "vfork")                                                                          \
	X(SPAWN, "posix_spawn")                                                                    \
	X(WAIT, "waitpid")                                                                         \
	X(SCHED_SETAFFINITY, "sched_setaffinity")                                                  \
	X(SCHED_GETAFFINITY, "sched_getaffinity")                                                  \
	X(SCHED_SETSCHEDULER, "sched_setscheduler")                                                \
	X(SETPRIORITY, "setpriority")                                                              \
	X(PRCTL, "prctl")                                                                          \
	X(OPEN, "open")                                                                            \
	X(READ, "read")                                                                            \
	X(WRITE, "write")                                                                          \
	X(PIPE, "pipe2")                                                                           \
	X(EVENTFD, "eventfd")                                                                      \
	X(SOCKETPAIR, "socketpair")                                                                \
	X(GETRLIMIT, "getrlimit")                                                                  \
	X(SIGMASK, "pthread_sigmask")                                                              \
	X(EPOLL_CREATE, "epoll_create1")                                                           \
	X(EPOLL_CTL, "epoll_ctl")                                                                  \
	X(EPOLL_WAIT, "epoll_wait")                                                                \
	X(POLL, "ppoll")                                                                           \
	X(FCNTL, "fcntl")                                                                          \
	X(SOCKET, "socket")                                                                        \
	X(BIND, "bind")                                                                            \
	X(LISTEN, "listen")                                                                        \
	X(ACCEPT, "accept4")                                                                       \
	X(CONNECT, "connect")                                                                      \
	X(RECEIVE, "recvmsg")                                                                      \
	X(SEND, "sendmsg")                                                                         \
	X(CLOSE, "close")                                                                          \
	X(TGKILL, "tgkill")                                                                        \
	X(SIGALTSTACK, "sigaltstack")

enum failpoint {
#define X(name, text) FAILPOINT_##name,
	FAILPOINT_NAMES(X)
#undef X
		FAILPOINT_COUNT
};

#define FAILPOINT_ANY FAILPOINT_COUNT

#if FILAR_FAIL
/* True: pretend the call failed.  Thread-safe. */
bool failpoint_hit(enum failpoint point);
/* The nth (1, 2, ...) hit of `point` (or of any, with FAILPOINT_ANY) fails, once.  0 disarms. */
void failpoint_arm(enum failpoint point, uint64_t nth);
/* The same, with this errno instead of the one that the call most likely gives. */
void failpoint_arm_errno(enum failpoint point, uint64_t nth, int error);
/* That errno, or `usual`. */
int failpoint_errno(int usual);
/* Whether the armed failure has happened. */
bool failpoint_fired(void);
const char *failpoint_fired_name(void);
#else
static FILAR_ALWAYS_INLINE bool failpoint_hit(enum failpoint point)
{
	(void)point;
	return false;
}
static FILAR_ALWAYS_INLINE int failpoint_errno(int usual)
{
	return usual;
}
#endif

const char *failpoint_name(enum failpoint point);

#endif
