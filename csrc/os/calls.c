/*
 * calls.c - the table of system calls: a failure point, then the call.
 */
#include "os/calls.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/failpoint.h"

/* The same numbers on every CPU; headers may be older. */
#define PROCESS_MADVISE 440
#define EPOLL_PWAIT2    441

/* True when the failure point fired; errno is then what the test wants, or what the call would most
 * likely say. */
static FILAR_ALWAYS_INLINE bool fails(enum failpoint point, int error)
{
	if (!failpoint_hit(point))
		return false;
	errno = failpoint_errno(error);
	return true;
}

void *call_mmap(void *address, size_t bytes, int protection, int flags, int fd, off_t offset)
{
	if (fails(FAILPOINT_MMAP, ENOMEM))
		return MAP_FAILED;
	return mmap(address, bytes, protection, flags, fd, offset);
}

int call_munmap(void *address, size_t bytes)
{
	if (fails(FAILPOINT_MUNMAP, ENOMEM))
		return -1;
	return munmap(address, bytes);
}

int call_mprotect(void *address, size_t bytes, int protection)
{
	if (fails(FAILPOINT_MPROTECT, ENOMEM))
		return -1;
	return mprotect(address, bytes, protection);
}

int call_madvise(void *address, size_t bytes, int advice)
{
	if (fails(FAILPOINT_MADVISE, EINVAL))
		return -1;
	return madvise(address, bytes, advice);
}

ssize_t call_process_madvise(int pidfd, const struct iovec *ranges, size_t count, int advice)
{
	if (fails(FAILPOINT_MADVISE, ENOSYS))
		return -1;
	return syscall(PROCESS_MADVISE, pidfd, ranges, count, advice, 0);
}

long call_futex(const void *word, int operation, uint32_t value, const struct timespec *timeout,
	uint32_t mask)
{
	if (fails(FAILPOINT_FUTEX, EINTR))
		return -1;
	return syscall(SYS_futex, word, operation, value, timeout, NULL, mask);
}

int call_thread_create(
	pthread_t *thread, const pthread_attr_t *attributes, void *(*body)(void *), void *argument)
{
	if (fails(FAILPOINT_THREAD_CREATE, EAGAIN))
		return EAGAIN;
	return pthread_create(thread, attributes, body, argument);
}

pid_t call_fork(void)
{
	if (fails(FAILPOINT_FORK, EAGAIN))
		return -1;
	return fork();
}

pid_t call_vfork(void (*child)(void *), void *argument)
{
	pid_t pid;

	if (fails(FAILPOINT_VFORK, EAGAIN))
		return -1;
	pid = vfork();
	if (pid == 0) {
		child(argument);
		_exit(127);
	}
	return pid;
}

int call_posix_spawn(pid_t *child, const char *path, const posix_spawnattr_t *attributes,
	char *const arguments[], char *const environment[])
{
	if (fails(FAILPOINT_SPAWN, EAGAIN))
		return EAGAIN;
	return posix_spawn(child, path, NULL, attributes, arguments, environment);
}

pid_t call_waitpid(pid_t child, int *status, int options)
{
	if (fails(FAILPOINT_WAIT, EINTR))
		return -1;
	return waitpid(child, status, options);
}

int call_sched_setaffinity(pid_t tid, size_t bytes, const cpu_set_t *set)
{
	if (fails(FAILPOINT_SCHED_SETAFFINITY, EINVAL))
		return -1;
	return sched_setaffinity(tid, bytes, set);
}

int call_sched_getaffinity(pid_t tid, size_t bytes, cpu_set_t *set)
{
	if (fails(FAILPOINT_SCHED_GETAFFINITY, EINVAL))
		return -1;
	return sched_getaffinity(tid, bytes, set);
}

int call_sched_setscheduler(pid_t tid, int policy, const struct sched_param *parameters)
{
	if (fails(FAILPOINT_SCHED_SETSCHEDULER, EPERM))
		return -1;
	return sched_setscheduler(tid, policy, parameters);
}

int call_setpriority(int which, id_t who, int nice)
{
	if (fails(FAILPOINT_SETPRIORITY, EACCES))
		return -1;
	return setpriority(which, who, nice);
}

int call_prctl_set_name(const char *name)
{
	if (fails(FAILPOINT_PRCTL, EINVAL))
		return -1;
	return prctl(PR_SET_NAME, name);
}

int call_open(const char *path, int flags)
{
	if (fails(FAILPOINT_OPEN, ENOENT))
		return -1;
	return open(path, flags | O_CLOEXEC);
}

int call_memfd(const char *name)
{
	unsigned flags = MFD_CLOEXEC;
	int fd;

	if (fails(FAILPOINT_OPEN, ENOSYS))
		return -1;
#ifdef MFD_EXEC
	flags |= MFD_EXEC;
#endif
	fd = memfd_create(name, flags);
	/* MFD_EXEC (Linux 6.3) says what older kernels do unasked. */
	return fd < 0 && errno == EINVAL ? memfd_create(name, MFD_CLOEXEC) : fd;
}

ssize_t call_read(int fd, void *buffer, size_t bytes)
{
	if (fails(FAILPOINT_READ, EIO))
		return -1;
	return read(fd, buffer, bytes);
}

ssize_t call_write(int fd, const void *buffer, size_t bytes)
{
	if (fails(FAILPOINT_WRITE, EIO))
		return -1;
	return write(fd, buffer, bytes);
}

int call_pipe2(int fds[2], int flags)
{
	if (fails(FAILPOINT_PIPE, EMFILE))
		return -1;
	return pipe2(fds, flags);
}

int call_eventfd(unsigned initial, int flags)
{
	if (fails(FAILPOINT_EVENTFD, EMFILE))
		return -1;
	return eventfd(initial, flags);
}

int call_socketpair(int domain, int type, int fds[2])
{
	if (fails(FAILPOINT_SOCKETPAIR, EMFILE))
		return -1;
	return socketpair(domain, type, 0, fds);
}

int call_close(int fd)
{
	int result = close(fd);

	return fails(FAILPOINT_CLOSE, EIO) ? -1 : result;
}

int call_get_file_flags(int fd)
{
	return fails(FAILPOINT_FCNTL, EBADF) ? -1 : fcntl(fd, F_GETFL);
}

int call_poll(struct pollfd *fds, nfds_t count, const struct timespec *timeout)
{
	return fails(FAILPOINT_POLL, EINTR) ? -1 : ppoll(fds, count, timeout, NULL);
}

int call_epoll_create(int flags)
{
	return fails(FAILPOINT_EPOLL_CREATE, EMFILE) ? -1 : epoll_create1(flags);
}

int call_epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event)
{
	return fails(FAILPOINT_EPOLL_CTL, ENOSPC) ? -1 : epoll_ctl(epoll, operation, fd, event);
}

int call_epoll_look(int epoll, struct epoll_event *events, int count)
{
	return fails(FAILPOINT_EPOLL_WAIT, EINTR) ? -1 : epoll_wait(epoll, events, count, 0);
}

int call_epoll_wait(
	int epoll, struct epoll_event *events, int count, const struct timespec *timeout)
{
	if (fails(FAILPOINT_EPOLL_WAIT, EINTR))
		return -1;
	/* Not by name: glibc has it from 2.35 on. */
	return (int)syscall(EPOLL_PWAIT2, epoll, events, count, timeout, NULL, 0);
}

int call_socket(int domain, int type, int protocol)
{
	return fails(FAILPOINT_SOCKET, EMFILE) ? -1 : socket(domain, type, protocol);
}

int call_bind(int fd, const struct sockaddr *address, socklen_t bytes)
{
	return fails(FAILPOINT_BIND, EADDRINUSE) ? -1 : bind(fd, address, bytes);
}

int call_listen(int fd, int backlog)
{
	return fails(FAILPOINT_LISTEN, EADDRINUSE) ? -1 : listen(fd, backlog);
}

int call_accept(int fd, struct sockaddr *address, socklen_t *bytes, int flags)
{
	return fails(FAILPOINT_ACCEPT, EMFILE) ? -1 : accept4(fd, address, bytes, flags);
}

int call_connect(int fd, const struct sockaddr *address, socklen_t bytes)
{
	return fails(FAILPOINT_CONNECT, ECONNREFUSED) ? -1 : connect(fd, address, bytes);
}

ssize_t call_recv(int fd, void *buffer, size_t bytes, int flags)
{
	return fails(FAILPOINT_RECEIVE, ECONNRESET) ? -1 : recv(fd, buffer, bytes, flags);
}

ssize_t call_recvfrom(int fd, void *buffer, size_t bytes, int flags, struct sockaddr *address,
	socklen_t *address_bytes)
{
	if (fails(FAILPOINT_RECEIVE, ECONNRESET))
		return -1;
	return recvfrom(fd, buffer, bytes, flags, address, address_bytes);
}

ssize_t call_recvmsg(int fd, struct msghdr *message, int flags)
{
	return fails(FAILPOINT_RECEIVE, ECONNRESET) ? -1 : recvmsg(fd, message, flags);
}

ssize_t call_send(int fd, const void *buffer, size_t bytes, int flags)
{
	return fails(FAILPOINT_SEND, EPIPE) ? -1 : send(fd, buffer, bytes, flags);
}

ssize_t call_sendto(int fd, const void *buffer, size_t bytes, int flags,
	const struct sockaddr *address, socklen_t address_bytes)
{
	if (fails(FAILPOINT_SEND, EPIPE))
		return -1;
	return sendto(fd, buffer, bytes, flags, address, address_bytes);
}

ssize_t call_sendmsg(int fd, const struct msghdr *message, int flags)
{
	return fails(FAILPOINT_SEND, EPIPE) ? -1 : sendmsg(fd, message, flags);
}

int call_getrlimit(int resource, struct rlimit *limit)
{
	if (fails(FAILPOINT_GETRLIMIT, EINVAL))
		return -1;
	return getrlimit(resource, limit);
}

int call_tgkill(pid_t tid, int signal)
{
	if (fails(FAILPOINT_TGKILL, EAGAIN))
		return -1;
	return (int)syscall(SYS_tgkill, getpid(), tid, signal);
}

int call_sigmask(int how, const sigset_t *set, sigset_t *old)
{
	if (fails(FAILPOINT_SIGMASK, EINVAL))
		return EINVAL;
	return pthread_sigmask(how, set, old);
}

int call_sigaltstack(const stack_t *stack, stack_t *old)
{
	return fails(FAILPOINT_SIGALTSTACK, ENOMEM) ? -1 : sigaltstack(stack, old);
}
