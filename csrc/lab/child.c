/*
 * child.c - forking from a process that is not ours, carefully.
 */
#include "lab/child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/calls.h"

static void become_harmless(pid_t parent, unsigned seconds_max)
{
	struct rlimit no_core = { 0, 0 };
	sigset_t none;
	int null;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent) /* the parent died before prctl */
		_exit(1);
	for (int number = 1; number < NSIG; number++)
		(void)signal(number, SIG_DFL);
	(void)setrlimit(RLIMIT_CORE, &no_core);
	null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	if (null >= 0)
		(void)dup2(null, STDERR_FILENO);
	alarm(seconds_max);
	sigemptyset(&none);
	(void)pthread_sigmask(SIG_SETMASK, &none, NULL);
}

enum filar_status child_fork(pid_t *pid, unsigned seconds_max)
{
	pid_t parent = getpid();
	sigset_t all, old;

	/* No handler of the parent's (Python's) may run in the child before they are reset. */
	sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	*pid = call_fork();
	if (*pid == 0) {
		become_harmless(parent, seconds_max);
		return FILAR_OK;
	}
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	return *pid > 0 ? FILAR_OK : status_from_errno(errno, "fork");
}

void child_exit(int code)
{
	_exit(code);
}

enum filar_status child_reap(pid_t pid, int *wait_status)
{
	pid_t reaped;

	do
		reaped = call_waitpid(pid, wait_status, 0);
	while (reaped < 0 && errno == EINTR);
	if (reaped == pid)
		return FILAR_OK;
	*wait_status = -1;
	return errno == ECHILD ? FILAR_OK : status_from_errno(errno, "waitpid");
}

bool child_see(pid_t pid, bool *ended)
{
	siginfo_t info = { .si_pid = 0 };

	if (waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0)
		return false;
	*ended = info.si_pid != 0;
	return true;
}

bool child_has_ended(pid_t pid)
{
	bool ended;

	return !child_see(pid, &ended) || ended;
}

void child_kill(pid_t pid)
{
	int ignored;
	bool ended;

	if (!child_see(pid, &ended))
		return;
	(void)kill(pid, SIGKILL);
	(void)child_reap(pid, &ignored);
}

void *shared_acquire(size_t bytes)
{
	void *memory =
		call_mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED) {
		(void)status_from_errno(errno, "mmap of shared memory");
		return NULL;
	}
	/* Only so that page counts mean pages; a kernel without huge pages refuses, rightly. */
	(void)madvise(memory, bytes, MADV_NOHUGEPAGE);
	return memory;
}

void shared_release(void *memory, size_t bytes)
{
	if (memory != NULL)
		(void)munmap(memory, bytes);
}
