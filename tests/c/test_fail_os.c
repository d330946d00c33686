/*
 * test_fail_os.c - each system call of os/calls.h fails in turn; then each operation of os/ with
 * its n-th call failing, for every n.  FAIL builds only.
 */
#include "check.h"

#if FILAR_FAIL

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "fail.h"
#include "faketree.h"
#include "os/affinity.h"
#include "os/calls.h"
#include "os/clock.h"
#include "os/futex.h"
#include "os/memory.h"
#include "os/textfile.h"

/* ---- each wrapper ---- */

static void *no_body(void *unused)
{
	return unused;
}

static void end_child(void *unused)
{
	(void)unused;
	_exit(0);
}

/* The same for sockets: a listener on this machine, and one that connects to it. */
static int call_socket_wrapper(enum failpoint point)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr *where = (struct sockaddr *)(void *)&address;
	socklen_t bytes = sizeof address;
	int listener = call_socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), peer = -1;
	struct pollfd look = { .fd = client, .events = POLLOUT };
	struct timespec at_once = { 0, 0 };
	bool good = listener >= 0 && call_bind(listener, where, bytes) == 0 &&
		    call_listen(listener, 1) == 0 && getsockname(listener, where, &bytes) == 0 &&
		    call_connect(client, where, bytes) == 0 &&
		    (peer = call_accept(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0 &&
		    call_poll(&look, 1, &at_once) >= 0 && call_get_file_flags(client) >= 0 &&
		    call_send(client, "x", 1, MSG_NOSIGNAL) == 1 &&
		    call_recv(peer, &(char){ 0 }, 1, 0) == 1;
	int error = good ? 0 : errno;

	(void)point; /* each of them is among these */
	if (call_close(client) != 0 && error == 0)
		error = errno;
	if (peer >= 0)
		(void)close(peer);
	if (listener >= 0)
		(void)close(listener);
	return error;
}

/* Calls the wrapper of a failure point with arguments that are fine.  0, or the error. */
static int call_wrapper(enum failpoint point)
{
	static cpu_set_t set;
	static uint32_t word;
	struct sched_param parameters = { 0 };
	struct epoll_event happened = { .events = EPOLLIN };
	struct rlimit limit;
	char *arguments[] = { "true", NULL };
	sigset_t signals;
	pthread_t thread;
	void *page;
	pid_t child;
	int fds[2], fd = -1, result = 0;

	errno = 0;
	switch (point) {
	case FAILPOINT_MEMORY:
		page = memory_acquire(1, 1);
		memory_release(page);
		return page == NULL ? ENOMEM : 0;
	case FAILPOINT_MMAP:
		page = call_mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (page == MAP_FAILED)
			return errno;
		return munmap(page, 4096);
	case FAILPOINT_MUNMAP:
	case FAILPOINT_MPROTECT:
	case FAILPOINT_MADVISE:
		page = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		CHECK(page != MAP_FAILED);
		result = point == FAILPOINT_MUNMAP     ? call_munmap(page, 4096)
			 : point == FAILPOINT_MPROTECT ? call_mprotect(page, 4096, PROT_NONE)
						       : call_madvise(page, 4096, MADV_DONTNEED);
		result = result < 0 ? errno : 0;
		(void)munmap(page, 4096);
		return result;
	case FAILPOINT_FUTEX:
		result = (int)call_futex(&word, FUTEX_WAKE, 1, NULL, 0);
		break;
	case FAILPOINT_THREAD_CREATE:
		result = call_thread_create(&thread, NULL, no_body, NULL);
		return result != 0 ? result : pthread_join(thread, NULL);
	case FAILPOINT_FORK:
		child = call_fork();
		if (child == 0)
			_exit(0);
		if (child > 0)
			(void)waitpid(child, NULL, 0);
		result = child < 0 ? -1 : 0;
		break;
	case FAILPOINT_VFORK:
		child = call_vfork(end_child, NULL);
		if (child > 0)
			(void)waitpid(child, NULL, 0);
		result = child < 0 ? -1 : 0;
		break;
	case FAILPOINT_SPAWN:
		result = call_posix_spawn(&child, "/bin/true", NULL, arguments, arguments + 1);
		if (result == 0)
			(void)waitpid(child, NULL, 0);
		return result;
	case FAILPOINT_WAIT:
		child = fork();
		if (child == 0)
			_exit(0);
		result = call_waitpid(child, NULL, 0);
		if (result < 0) {
			result = errno;
			(void)waitpid(child, NULL, 0);
			return result;
		}
		return 0;
	case FAILPOINT_SCHED_SETAFFINITY:
		CHECK_EQ(sched_getaffinity(0, sizeof set, &set), 0);
		result = call_sched_setaffinity(0, sizeof set, &set);
		break;
	case FAILPOINT_SCHED_GETAFFINITY:
		result = call_sched_getaffinity(0, sizeof set, &set);
		break;
	case FAILPOINT_SCHED_SETSCHEDULER:
		result = call_sched_setscheduler(0, SCHED_OTHER, &parameters);
		break;
	case FAILPOINT_SETPRIORITY:
		result = call_setpriority(PRIO_PROCESS, 0, getpriority(PRIO_PROCESS, 0));
		break;
	case FAILPOINT_PRCTL:
		result = call_prctl_set_name("test");
		break;
	case FAILPOINT_OPEN:
		result = fd = call_open("/dev/null", O_RDONLY);
		break;
	case FAILPOINT_READ:
	case FAILPOINT_WRITE:
		fd = open("/dev/null", O_RDWR);
		result = (int)(point == FAILPOINT_READ ? call_read(fd, &word, 1)
						       : call_write(fd, &word, 1));
		break;
	case FAILPOINT_PIPE:
	case FAILPOINT_SOCKETPAIR:
		result = point == FAILPOINT_PIPE ? call_pipe2(fds, O_CLOEXEC)
						 : call_socketpair(AF_UNIX, SOCK_STREAM, fds);
		if (result == 0) {
			(void)close(fds[0]);
			(void)close(fds[1]);
		}
		break;
	case FAILPOINT_EVENTFD:
		result = fd = call_eventfd(0, 0);
		break;
	case FAILPOINT_EPOLL_CREATE:
		result = fd = call_epoll_create(EPOLL_CLOEXEC);
		break;
	case FAILPOINT_EPOLL_CTL:
	case FAILPOINT_EPOLL_WAIT:
		fd = epoll_create1(EPOLL_CLOEXEC);
		fds[0] = eventfd(0, 0);
		result = point == FAILPOINT_EPOLL_CTL
				 ? call_epoll_ctl(fd, EPOLL_CTL_ADD, fds[0], &happened)
				 : call_epoll_look(fd, &happened, 1);
		(void)close(fds[0]);
		break;
	case FAILPOINT_POLL:
	case FAILPOINT_FCNTL:
	case FAILPOINT_SOCKET:
	case FAILPOINT_BIND:
	case FAILPOINT_LISTEN:
	case FAILPOINT_ACCEPT:
	case FAILPOINT_CONNECT:
	case FAILPOINT_RECEIVE:
	case FAILPOINT_SEND:
	case FAILPOINT_CLOSE:
		return call_socket_wrapper(point);
	case FAILPOINT_GETRLIMIT:
		result = call_getrlimit(RLIMIT_NOFILE, &limit);
		break;
	case FAILPOINT_SIGALTSTACK:
		result = call_sigaltstack(NULL, NULL);
		break;
	case FAILPOINT_TGKILL:
		result = call_tgkill(gettid(), 0);
		break;
	case FAILPOINT_SIGMASK:
		sigemptyset(&signals);
		return call_sigmask(SIG_BLOCK, &signals, NULL);
	default:
		return -1; /* no wrapper known here */
	}
	result = result < 0 ? errno : 0;
	if (fd >= 0)
		(void)close(fd);
	return result;
}

/* Points of the table that are not a plain wrapper; their own tests make them fail. */
static bool belongs_elsewhere(enum failpoint point)
{
	return point ==
	       FAILPOINT_CLONE; /* raw creation is assembly: kthread/raw.c asks the point */
}

TEST(calls_each_fails_when_its_point_is_armed_and_works_before_and_after)
{
	for (int i = 0; i < FAILPOINT_COUNT; i++) {
		enum failpoint point = (enum failpoint)i;

		if (belongs_elsewhere(point))
			continue;
		fprintf(stderr, "%s\n", failpoint_name(point));
		CHECK_EQ(call_wrapper(point), 0);
		failpoint_arm(point, 1);
		CHECK(call_wrapper(point) > 0); /* an errno, or ENOMEM */
		CHECK(failpoint_fired());
		CHECK(strcmp(failpoint_fired_name(), failpoint_name(point)) == 0);
		CHECK_EQ(call_wrapper(point), 0);
		failpoint_arm(point, 0);
	}
}

TEST(calls_memfd_fails_with_the_point_of_open)
{
	int fd;

	failpoint_arm(FAILPOINT_OPEN, 1);
	CHECK_EQ(call_memfd("test"), -1);
	CHECK_EQ(errno, ENOSYS);
	fd = call_memfd("test");
	CHECK_GE(fd, 0);
	CHECK_EQ(close(fd), 0);
}

/* ---- each operation ---- */

static int64_t open_files(void)
{
	DIR *folder = opendir("/proc/self/fd");
	int64_t count = 0;

	CHECK(folder != NULL);
	while (readdir(folder) != NULL)
		count++;
	CHECK_EQ(closedir(folder), 0);
	return count;
}

static int64_t maps(void)
{
	int64_t lines;

	CHECK_EQ(textfile_count_lines(&lines, "/proc/self/maps"), FILAR_OK);
	return lines;
}

/* fail_each, and no file stays open and no map behind (64: the sanitizer's own). */
static uint64_t fail_each_cleanly(int (*attempt)(void), uint64_t at_least)
{
	int64_t files = open_files(), maps_before = maps();
	uint64_t failures = fail_each(attempt);

	CHECK_EQ(open_files(), files);
	CHECK_LE(maps(), maps_before + 64);
	CHECK_GE(failures, at_least);
	return failures;
}

static int attempt_affinity(void)
{
	struct cpu_mask mask;
	enum filar_status status = affinity_get(0, &mask);

	return status == FILAR_OK ? affinity_set(0, &mask) : status;
}

TEST(affinity_survives_each_failure)
{
	CHECK_EQ(fail_each_cleanly(attempt_affinity, 2), 2);
}

static int attempt_read_into(void)
{
	char text[64];

	return textfile_read_into(text, sizeof text, "/proc/sys/kernel/ostype");
}

TEST(reading_into_a_buffer_survives_every_failure)
{
	fail_each_cleanly(attempt_read_into, 3);
}

static int attempt_futex(void)
{
	static _Atomic uint32_t word;
	enum filar_status status;

	(void)futex_wake(&word, 1);
	(void)futex_wake_shared(&word, 1);
	status = futex_wait_until(&word, 0, 0);
	if (status == FILAR_TIMED_OUT)
		status = futex_wait_shared_until(&word, 0, 0);
	return status == FILAR_TIMED_OUT ? FILAR_OK : status;
}

TEST(futex_survives_each_failure)
{
	fail_each_cleanly(attempt_futex, 4);
}

static int attempt_stack_by(enum stack_guard guard)
{
	struct stack stack;
	enum filar_status status = stack_reserve(&stack, 1 << 16, 4096, guard);

	if (status != FILAR_OK)
		return status;
	memset(stack.low, 1, stack.bytes);
	stack_release(&stack);
	return FILAR_OK;
}

static int attempt_stack_best(void)
{
	return attempt_stack_by(STACK_GUARD_BEST);
}

static int attempt_stack_mprotect(void)
{
	return attempt_stack_by(STACK_GUARD_MPROTECT);
}

TEST(stack_survives_each_failure)
{
	fail_each_cleanly(attempt_stack_best, 3);
	fail_each_cleanly(attempt_stack_mprotect, 3);
}

TEST(stack_falls_back_to_mprotect_without_guard_install)
{
	struct stack stack;

	failpoint_arm(FAILPOINT_MADVISE, 1);
	CHECK_EQ(stack_reserve(&stack, 1 << 16, 4096, STACK_GUARD_BEST), FILAR_OK);
	CHECK_EQ(stack.guard, STACK_GUARD_MPROTECT);
	CHECK(failpoint_fired());
	stack_release(&stack);
	failpoint_arm(FAILPOINT_MADVISE, 1);
	CHECK_EQ(stack_reserve(&stack, 1 << 16, 4096, STACK_GUARD_MADVISE), FILAR_NOT_SUPPORTED);
	CHECK_TEXT_HAS(filar_status_detail(), "MADV_GUARD_INSTALL");
}

static void make_small_machine(void)
{
	tree_make();
	tree_file("0-1\n", "sys/devices/system/cpu/online");
	tree_file("Cpus_allowed_list:\t0-1\n", "proc/self/status");
	tree_file("MemTotal: 5 kB\n", "proc/meminfo");
	for (int cpu = 0; cpu < 2; cpu++) {
		tree_cpu(cpu, 0, "0-1\n");
		tree_cache(cpu, 0, "2\n", "Unified\n", "2M\n", "0-1\n");
	}
	tree_file("0\n", "sys/devices/system/node/online");
	tree_file("0-1\n", "sys/devices/system/node/node0/cpulist");
	tree_file("MemTotal: 5 kB\n", "sys/devices/system/node/node0/meminfo");
	tree_file("0::/a\n", "proc/self/cgroup");
	tree_file("30 20 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "proc/self/mountinfo");
	tree_file("150000 100000\n", "sys/fs/cgroup/a/cpu.max");
	tree_file("100\n", "sys/fs/cgroup/a/pids.max");
}

/* A file that cannot be read costs a fact, memory that is missing the whole. */
static int attempt_topology(void)
{
	const filar_topology *topology;
	int32_t cpus[2];
	size_t count;
	int status = filar_topology_read(&topology, tree_root);

	if (status != FILAR_OK)
		return status;
	CHECK_GE(topology->cpu_count, 1);
	CHECK_GE(topology->usable_cpus, 1);
	status = filar_topology_place(topology, FILAR_PLACE_SCATTER, cpus, 2, &count);
	filar_topology_release(topology);
	return status;
}

TEST(topology_survives_each_failure)
{
	make_small_machine();
	fail_each_cleanly(attempt_topology, 50);
}

static int attempt_real_topology(void)
{
	const filar_topology *topology;
	int status = filar_topology_read(&topology, NULL);

	if (status == FILAR_OK)
		filar_topology_release(topology);
	return status;
}

TEST(topology_of_this_machine_survives_no_affinity)
{
	failpoint_arm(FAILPOINT_SCHED_GETAFFINITY, 1);
	CHECK_EQ(attempt_real_topology(), FILAR_INVALID);
	CHECK_TEXT_HAS(filar_status_detail(), "sched_getaffinity");
	failpoint_arm(FAILPOINT_ANY, 0);
	CHECK_EQ(attempt_real_topology(), FILAR_OK);
}

static int attempt_clock(void)
{
	filar_clock_info info;

	clock_recalibrate_as("/sys/devices/system/clocksource/clocksource0/current_clocksource");
	clock_describe(&info);
	CHECK(info.source[0] != '\0');
	return FILAR_OK;
}

TEST(clock_survives_each_failure)
{
	clock_calibrate();
	(void)fail_each_cleanly(attempt_clock, 0);
}

#else

TEST(needs_the_fail_build)
{
	puts("nothing fails here: system calls fail in the FAIL build only (make fail)");
}

#endif

TEST_MAIN()
