/*
 * calls.h - every system call that a test can make fail, under one roof.
 *
 * Each wrapper has the contract of the call it wraps (-1 and errno, or an error number for the
 * pthread ones).  In FAIL builds it first asks its failure point (base/failpoint.h).  errno is read
 * right after the call, never across anything that may switch.
 */
#ifndef FILAR_OS_CALLS_H
#define FILAR_OS_CALLS_H

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>

#include "base/compiler.h"

void *call_mmap(void *address, size_t bytes, int protection, int flags, int fd, off_t offset);
int call_munmap(void *address, size_t bytes);
int call_mprotect(void *address, size_t bytes, int protection);
int call_madvise(void *address, size_t bytes, int advice);
ssize_t call_process_madvise(int pidfd, const struct iovec *ranges, size_t count, int advice);
long call_futex(const void *word, int operation, uint32_t value, const struct timespec *timeout,
	uint32_t mask);
/* Like pthread_create(3): the error is the return value. */
int call_thread_create(
	pthread_t *thread, const pthread_attr_t *attributes, void *(*body)(void *), void *argument);
pid_t call_fork(void);
/* The child runs child(argument), which must end it (_exit) and may not return: it uses its
 * parent's stack. */
pid_t call_vfork(void (*child)(void *), void *argument);
int call_posix_spawn(pid_t *child, const char *path, const posix_spawnattr_t *attributes,
	char *const arguments[], char *const environment[]);
pid_t call_waitpid(pid_t child, int *status, int options);
int call_sched_setaffinity(pid_t tid, size_t bytes, const cpu_set_t *set);
int call_sched_getaffinity(pid_t tid, size_t bytes, cpu_set_t *set);
int call_sched_setscheduler(pid_t tid, int policy, const struct sched_param *parameters);
int call_setpriority(int which, id_t who, int nice);
int call_prctl_set_name(const char *name);
int call_open(const char *path, int flags);
/* A file in memory that may be executed. */
int call_memfd(const char *name);
ssize_t call_read(int fd, void *buffer, size_t bytes);
ssize_t call_write(int fd, const void *buffer, size_t bytes);
int call_pipe2(int fds[2], int flags);
int call_eventfd(unsigned initial, int flags);
int call_socketpair(int domain, int type, int fds[2]);
/* The fd is gone also when it fails. */
int call_close(int fd);
/* O_NONBLOCK and its kin. */
int call_get_file_flags(int fd);
/* timeout NULL: for ever. */
int call_poll(struct pollfd *fds, nfds_t count, const struct timespec *timeout);
int call_epoll_create(int flags);
int call_epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event);
/* Does not wait. */
int call_epoll_look(int epoll, struct epoll_event *events, int count);
/* timeout NULL: for ever.  ENOSYS, EPERM: this kernel (or who guards it) has no epoll_pwait2. */
int call_epoll_wait(
	int epoll, struct epoll_event *events, int count, const struct timespec *timeout);
int call_socket(int domain, int type, int protocol);
int call_bind(int fd, const struct sockaddr *address, socklen_t bytes);
int call_listen(int fd, int backlog);
int call_accept(int fd, struct sockaddr *address, socklen_t *bytes, int flags);
int call_connect(int fd, const struct sockaddr *address, socklen_t bytes);
ssize_t call_recv(int fd, void *buffer, size_t bytes, int flags);
ssize_t call_recvfrom(int fd, void *buffer, size_t bytes, int flags, struct sockaddr *address,
	socklen_t *address_bytes);
ssize_t call_recvmsg(int fd, struct msghdr *message, int flags);
ssize_t call_send(int fd, const void *buffer, size_t bytes, int flags);
ssize_t call_sendto(int fd, const void *buffer, size_t bytes, int flags,
	const struct sockaddr *address, socklen_t address_bytes);
ssize_t call_sendmsg(int fd, const struct msghdr *message, int flags);
int call_getrlimit(int resource, struct rlimit *limit);
/* A signal to one kernel thread of this process. */
int call_tgkill(pid_t tid, int signal);
int call_sigmask(int how, const sigset_t *set, sigset_t *old);
int call_sigaltstack(const stack_t *stack, stack_t *old);

#endif
