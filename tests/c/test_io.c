/*
 * test_io.c - waits for file descriptors: green and kernel threads, every kind of fd, closing under
 * those who wait, reuse of numbers, cancelling, deadlines, forks.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <pty.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "crowd.h"
#include "filar.h"
#include "io/fd.h"
#include "io/stream.h"

#if FILAR_TSAN
/* It takes a number that is closed while others wait for it for a race, which is allowed here. */
__attribute__((visibility("default"))) const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
	return "race:call_close\n";
}
#endif

static struct poller *poller_of_crowd(void)
{
	struct idle_source *source = load_acquire(&crowd_runtime->scheduler.idle.source);

	return source != NULL ? FILAR_CONTAINER_OF(source, struct poller, source) : NULL;
}

static void nonblocking_pair(int fds[2])
{
	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
}

static void close_pair(int fds[2])
{
	CHECK_EQ(filar_close(fds[0]), FILAR_OK);
	CHECK_EQ(filar_close(fds[1]), FILAR_OK);
}

/* How many fds are open: nothing may be left. */
static int count_fds(void)
{
	int count = 0;

	for (int fd = 0; fd < 1024; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

/* A thread that waits, green or kernel. */
struct wait {
	int fd;
	int32_t events;
	int64_t deadline_ns;
	int32_t ready;
	_Atomic int status;
	bool reads; /* by filar_read_until() */
	bool kernel;
	char buffer[16];
	size_t done;
	struct green_ref ref;
	pthread_t pthread;
	_Atomic int tid;
};

static void run_wait(void *argument)
{
	struct wait *wait = argument;
	int status;

	store_release(&wait->tid, (int)syscall(SYS_gettid));
	if (wait->reads)
		status = filar_read_until(wait->fd, wait->buffer, sizeof wait->buffer,
			wait->deadline_ns, &wait->done);
	else
		status = filar_wait_fd_until(
			wait->fd, wait->events, wait->deadline_ns, &wait->ready);
	store_release(&wait->status, status);
}

static void *run_wait_on_kernel_thread(void *argument)
{
	run_wait(argument);
	return NULL;
}

static void begin(struct wait *wait)
{
	atomic_init(&wait->status, 1);
	atomic_init(&wait->tid, 0);
	if (wait->kernel)
		CHECK_EQ(pthread_create(&wait->pthread, NULL, run_wait_on_kernel_thread, wait), 0);
	else
		wait->ref = crowd_spawn(run_wait, wait);
}

/* Asleep in the wait itself, as /proc has it: on the way there it may sleep elsewhere, for a page
 * or a lock of a sanitizer's. */
static bool is_asleep(struct wait *wait)
{
	char path[64], text[256];
	ssize_t bytes;
	int tid = load_acquire(&wait->tid), fd;

	if (tid == 0)
		return false;
	snprintf(path, sizeof path, "/proc/self/task/%d/syscall", tid);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		return false;
	bytes = read(fd, text, sizeof text - 1);
	close(fd);
	text[bytes > 0 ? bytes : 0] = '\0';
	/* "running", or the number of the call in which it sleeps. */
	return atoi(text) == SYS_ppoll;
}

static bool waits(struct wait *wait)
{
	return wait->kernel ? is_asleep(wait) : crowd_is_parked(wait->ref);
}

/* For fds[0] of a new pair to become readable; returns when it waits. */
static void begin_on_pair(struct wait *wait, int fds[2], int kernel)
{
	nonblocking_pair(fds);
	*wait = (struct wait){ .fd = fds[0],
		.events = FILAR_READABLE,
		.deadline_ns = FILAR_FOREVER,
		.kernel = kernel };
	begin(wait);
	WAIT_UNTIL(waits(wait));
}

static int end(struct wait *wait)
{
	if (wait->kernel)
		CHECK_EQ(pthread_join(wait->pthread, NULL), 0);
	else
		crowd_join(wait->ref);
	return load_acquire(&wait->status);
}

#define FOR_EACH_KIND(kernel)                                                                      \
	for (int kernel = (crowd_start(2), 0);                                                     \
		kernel < 3 && (kernel < 2 || (crowd_stop(), false)); kernel++)

TEST(a_runtime_that_waits_for_no_fd_has_no_epoll)
{
	int before = count_fds();

	crowd_start(2);
	CHECK_EQ(count_fds(), before);
	CHECK(poller_of_crowd() == NULL);
	crowd_stop();
	CHECK_EQ(count_fds(), before);
}

TEST(a_wait_ends_when_data_comes_and_tells_what_is_there)
{
	int before = count_fds();

	FOR_EACH_KIND(kernel)
	{
		struct wait wait;
		int fds[2];

		begin_on_pair(&wait, fds, kernel);
		CHECK_EQ(load_acquire(&wait.status), 1);
		CHECK_EQ(write(fds[1], "x", 1), 1);
		CHECK_EQ(end(&wait), FILAR_OK);
		CHECK_EQ(wait.ready, FILAR_READABLE);
		/* Nobody has read it: it is there for whoever asks again. */
		for (int i = 0; i < 3; i++) {
			begin(&wait);
			CHECK_EQ(end(&wait), FILAR_OK);
		}
		close_pair(fds);
	}
	CHECK_LE(count_fds(), before + 1); /* an eventfd kept for kernel threads */
}

TEST(a_read_that_finds_nothing_waits_and_then_has_the_data)
{
	FOR_EACH_KIND(kernel)
	{
		struct wait wait = {
			.reads = true, .deadline_ns = FILAR_FOREVER, .kernel = kernel
		};
		int fds[2];

		nonblocking_pair(fds);
		wait.fd = fds[0];
		for (int i = 0; i < 10; i++) {
			begin(&wait);
			if (i % 2 == 0)
				WAIT_UNTIL(waits(&wait));
			CHECK_EQ(write(fds[1], "hello", 5), 5);
			CHECK_EQ(end(&wait), FILAR_OK);
			CHECK_EQ(wait.done, 5);
		}
		CHECK_EQ(shutdown(fds[1], SHUT_WR), 0);
		begin(&wait);
		CHECK_EQ(end(&wait), FILAR_OK);
		CHECK_EQ(wait.done, 0);
		close_pair(fds);
	}
}

TEST(a_deadline_ends_a_wait_and_one_that_has_passed_only_looks)
{
	FOR_EACH_KIND(kernel)
	{
		struct wait wait = { .events = FILAR_READABLE, .kernel = kernel };
		int fds[2];

		nonblocking_pair(fds);
		wait.fd = fds[0];
		wait.deadline_ns = filar_now_ns() + NS_PER_MS;
		begin(&wait);
		CHECK_EQ(end(&wait), FILAR_TIMED_OUT);
		CHECK_EQ(wait.ready, 0);
		wait.deadline_ns = 0;
		begin(&wait);
		CHECK_EQ(end(&wait), FILAR_TIMED_OUT);
		wait.reads = true;
		begin(&wait);
		CHECK_EQ(end(&wait), FILAR_TIMED_OUT);
		wait.reads = false;
		CHECK_EQ(write(fds[1], "x", 1), 1);
		begin(&wait);
		CHECK_EQ(end(&wait), FILAR_OK);
		CHECK_EQ(wait.ready, FILAR_READABLE);
		close_pair(fds);
	}
}

TEST(whoever_waits_for_an_fd_that_is_closed_hears_of_it)
{
	FOR_EACH_KIND(kernel)
	{
		for (int reads = 0; reads < 2; reads++) {
			struct wait waits_for[3];
			int fds[2];

			nonblocking_pair(fds);
			for (int i = 0; i < 3; i++) {
				waits_for[i] = (struct wait){ .fd = fds[0],
					.events = i == 2 ? FILAR_PRIORITY : FILAR_READABLE,
					.deadline_ns = FILAR_FOREVER,
					.reads = reads && i < 2,
					.kernel = kernel };
				begin(&waits_for[i]);
			}
			for (int i = 0; i < 3; i++)
				WAIT_UNTIL(waits(&waits_for[i]));
			CHECK_EQ(filar_close(fds[0]), FILAR_OK);
			for (int i = 0; i < 3; i++)
				CHECK_EQ(end(&waits_for[i]), FILAR_CLOSED);
			CHECK_EQ(filar_close(fds[1]), FILAR_OK);
		}
	}
}

TEST(forgetting_ends_waits_and_leaves_the_fd_open)
{
	FOR_EACH_KIND(kernel)
	{
		struct wait wait;
		int fds[2];

		begin_on_pair(&wait, fds, kernel);
		CHECK_EQ(filar_forget(fds[0]), FILAR_OK);
		CHECK_EQ(end(&wait), FILAR_CLOSED);
		begin(&wait);
		CHECK_EQ(write(fds[1], "x", 1), 1);
		CHECK_EQ(end(&wait), FILAR_OK);
		close_pair(fds);
	}
}

static void read_closed_number(void *unused)
{
	size_t done;
	char byte;
	int fds[2];

	(void)unused;
	nonblocking_pair(fds);
	/* So that the poller is there, and takes none of the numbers. */
	CHECK_EQ(filar_wait_writable_until(fds[0], FILAR_FOREVER), FILAR_OK);
	close_pair(fds);
	CHECK_EQ(filar_read_until(fds[0], &byte, 1, FILAR_FOREVER, &done), FILAR_SYSTEM);
	CHECK_EQ(filar_status_errno(), EBADF);
	CHECK_EQ(filar_recv_until(fds[0], &byte, 1, 0, FILAR_FOREVER, &done), FILAR_SYSTEM);
	CHECK_EQ(filar_status_errno(), EBADF);
	CHECK_EQ(filar_wait_readable_until(fds[0], FILAR_FOREVER), FILAR_SYSTEM);
	CHECK_EQ(filar_status_errno(), EBADF);
	CHECK_EQ(filar_wait_readable_until(fds[0], 0), FILAR_SYSTEM);
	CHECK_EQ(filar_status_errno(), EBADF);
	CHECK_EQ(filar_wait_readable_until(-1, FILAR_FOREVER), FILAR_SYSTEM);
	CHECK_EQ(filar_status_errno(), EBADF);
	CHECK_EQ(filar_close(fds[0]), FILAR_SYSTEM);
	CHECK_EQ(filar_close(-1), FILAR_INVALID);
	CHECK_EQ(filar_forget(-1), FILAR_INVALID);
	CHECK_EQ(filar_wait_fd_until(fds[0], FILAR_ERROR, FILAR_FOREVER, NULL), FILAR_INVALID);
}

TEST(a_number_that_is_not_open_is_an_error_with_its_errno)
{
	crowd_on_green(1, read_closed_number, NULL);
	read_closed_number(NULL);
}

/* The number is the same, the file is another one: with and without a word to filar. */
static void reuse_numbers(void *unused)
{
	(void)unused;
	for (int round = 0; round < 50; round++) {
		int fds[2];
		char byte;
		size_t done;

		nonblocking_pair(fds);
		CHECK_EQ(filar_wait_readable_until(fds[0], filar_now_ns() + 1000), FILAR_TIMED_OUT);
		CHECK_EQ(filar_read_until(fds[0], &byte, 1, filar_now_ns() + 1000, &done),
			FILAR_TIMED_OUT);
		CHECK_EQ(write(fds[1], "x", 1), 1);
		CHECK_EQ(filar_wait_readable_until(fds[0], FILAR_FOREVER), FILAR_OK);
		CHECK_EQ(filar_read_until(fds[0], &byte, 1, FILAR_FOREVER, &done), FILAR_OK);
		if (round % 2 == 0) {
			close_pair(fds);
		} else {
			/* The level wait of the next round notices; no tried wait comes first. */
			close(fds[0]);
			close(fds[1]);
		}
	}
}

TEST(a_number_may_stand_for_one_file_after_the_other)
{
	crowd_on_green(1, reuse_numbers, NULL);
	crowd_on_green(2, reuse_numbers, NULL);
}

/* What was there has been read: an event that was handed out before that, and comes late, is no
 * answer. */
static void wait_for_what_was_read(void *unused)
{
	int fds[2];

	(void)unused;
	nonblocking_pair(fds);
	for (int round = 0; round < 100; round++) {
		char byte;

		CHECK_EQ(write(fds[1], "x", 1), 1);
		CHECK_EQ(filar_wait_readable_until(fds[0], FILAR_FOREVER), FILAR_OK);
		CHECK_EQ(read(fds[0], &byte, 1), 1);
		CHECK_EQ(
			filar_wait_readable_until(fds[0], filar_now_ns() + 20000), FILAR_TIMED_OUT);
	}
	close_pair(fds);
}

TEST(a_wait_is_for_what_is_there_now_however_late_an_event_comes)
{
	crowd_on_green(1, wait_for_what_was_read, NULL);
	crowd_on_green(2, wait_for_what_was_read, NULL);
	wait_for_what_was_read(NULL);
}

/* A duplicate keeps the old file in the epoll when it is closed without a word. */
TEST(events_of_a_file_that_was_closed_wake_nobody_for_the_next)
{
	int old[2], new[2], copy;
	struct wait wait = { .events = FILAR_READABLE, .deadline_ns = FILAR_FOREVER };

	crowd_start(1);
	nonblocking_pair(old);
	wait.fd = old[0];
	begin(&wait);
	WAIT_UNTIL(waits(&wait));
	copy = dup(old[0]);
	CHECK_EQ(filar_close(old[0]), FILAR_OK);
	CHECK_EQ(end(&wait), FILAR_CLOSED);
	nonblocking_pair(new);
	CHECK_EQ(new[0], old[0]);
	wait.fd = new[0];
	begin(&wait);
	WAIT_UNTIL(waits(&wait));
	CHECK_EQ(write(old[1], "x", 1), 1);
	/* Another wait, whose event comes after that one's would have. */
	crowd_join(crowd_spawn(reuse_numbers, NULL));
	CHECK_EQ(load_acquire(&wait.status), 1);
	CHECK_EQ(write(new[1], "x", 1), 1);
	CHECK_EQ(end(&wait), FILAR_OK);
	close(copy);
	close(old[1]);
	close_pair(new);
	crowd_stop();
}

TEST(a_cancelled_green_thread_stops_waiting)
{
	crowd_start(2);
	for (int reads = 0; reads < 2; reads++) {
		struct wait wait = {
			.events = FILAR_READABLE, .deadline_ns = FILAR_FOREVER, .reads = reads
		};
		int fds[2];

		nonblocking_pair(fds);
		wait.fd = fds[0];
		begin(&wait);
		WAIT_UNTIL(waits(&wait));
		CHECK_EQ(green_cancel(wait.ref), FILAR_OK);
		CHECK_EQ(end(&wait), FILAR_CANCELLED);
		close_pair(fds);
	}
	CHECK_EQ(load_relaxed(&poller_of_crowd()->source.wanted), 0);
	crowd_stop();
}

TEST(a_signal_ends_the_wait_of_a_kernel_thread)
{
	struct wait wait = {
		.events = FILAR_READABLE, .deadline_ns = FILAR_FOREVER, .kernel = true
	};
	struct sigaction action = { .sa_handler = SIG_IGN };
	int fds[2];

	action.sa_handler = (void (*)(int))(void (*)(void))sched_yield;
	CHECK_EQ(sigaction(SIGUSR1, &action, NULL), 0);
	nonblocking_pair(fds);
	wait.fd = fds[0];
	begin(&wait);
	WAIT_UNTIL(waits(&wait));
	CHECK_EQ(pthread_kill(wait.pthread, SIGUSR1), 0);
	CHECK_EQ(end(&wait), FILAR_INTERRUPTED);
	close_pair(fds);
}

/* ---- kinds of fds ---- */

static void wait_on(int fd, int32_t events, int32_t expected)
{
	int32_t ready = -1;

	CHECK_EQ(filar_wait_fd_until(fd, events, FILAR_FOREVER, &ready), FILAR_OK);
	CHECK_EQ(ready, expected);
}

static void wait_for_pidfd(void)
{
	pid_t child = fork();
	int pidfd;

	if (child == 0)
		_exit(0);
	pidfd = (int)syscall(SYS_pidfd_open, child, 0);
	if (pidfd >= 0) { /* Linux 5.3 */
		wait_on(pidfd, FILAR_READABLE, FILAR_READABLE);
		CHECK_EQ(filar_close(pidfd), FILAR_OK);
	}
	CHECK_EQ(waitpid(child, NULL, 0), child);
}

static void wait_for_timerfd(void)
{
	struct itimerspec soon = { .it_value = { .tv_nsec = 1000000 } };
	int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	uint64_t value;
	size_t done;

	CHECK_EQ(timerfd_settime(fd, 0, &soon, NULL), 0);
	wait_on(fd, FILAR_READABLE, FILAR_READABLE);
	CHECK_EQ(filar_read_until(fd, &value, sizeof value, FILAR_FOREVER, &done), FILAR_OK);
	CHECK_EQ(timerfd_settime(fd, 0, &soon, NULL), 0);
	CHECK_EQ(filar_read_until(fd, &value, sizeof value, FILAR_FOREVER, &done), FILAR_OK);
	CHECK_EQ(done, sizeof value);
	CHECK_EQ(filar_close(fd), FILAR_OK);
}

static void wait_for_eventfd(void)
{
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	uint64_t value = 3;
	size_t done;

	wait_on(fd, FILAR_READABLE | FILAR_WRITABLE, FILAR_WRITABLE);
	CHECK_EQ(filar_write_until(fd, &value, sizeof value, FILAR_FOREVER, &done), FILAR_OK);
	wait_on(fd, FILAR_READABLE | FILAR_WRITABLE, FILAR_READABLE | FILAR_WRITABLE);
	CHECK_EQ(filar_close(fd), FILAR_OK);
}

static void wait_for_signalfd(void)
{
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	CHECK_EQ(pthread_sigmask(SIG_BLOCK, &set, NULL), 0);
	fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	CHECK_EQ(pthread_kill(pthread_self(), SIGUSR2), 0);
	wait_on(fd, FILAR_READABLE, FILAR_READABLE);
	CHECK_EQ(filar_close(fd), FILAR_OK);
}

static void wait_for_terminal(void)
{
	int here, there;
	char text[8];
	size_t done;

	CHECK_EQ(openpty(&here, &there, NULL, NULL, NULL), 0);
	CHECK_EQ(write(here, "a\n", 2), 2);
	wait_on(there, FILAR_READABLE, FILAR_READABLE);
	/* It is without O_NONBLOCK. */
	CHECK_EQ(filar_read_until(there, text, sizeof text, FILAR_FOREVER, &done), FILAR_OK);
	CHECK_EQ(done, 2);
	CHECK_EQ(filar_read_until(there, text, sizeof text, filar_now_ns() + NS_PER_MS, &done),
		FILAR_TIMED_OUT);
	CHECK_EQ(filar_write_until(there, "b", 1, FILAR_FOREVER, &done), FILAR_OK);
	CHECK_EQ(filar_close(here), FILAR_OK);
	CHECK_EQ(filar_close(there), FILAR_OK);
}

static void wait_for_file(void)
{
	char path[] = "/tmp/filar-io-XXXXXX", text[8];
	int fd = mkstemp(path);
	size_t done;

	CHECK_GE(fd, 0);
	unlink(path);
	wait_on(fd, FILAR_READABLE | FILAR_WRITABLE, FILAR_READABLE | FILAR_WRITABLE);
	CHECK_EQ(filar_write_all_until(fd, "hello", 5, FILAR_FOREVER, &done), FILAR_OK);
	CHECK_EQ(done, 5);
	CHECK_EQ(lseek(fd, 0, SEEK_SET), 0);
	CHECK_EQ(filar_read_until(fd, text, sizeof text, FILAR_FOREVER, &done), FILAR_OK);
	CHECK_EQ(done, 5);
	CHECK_EQ(filar_close(fd), FILAR_OK);
}

static void wait_for_pipe(void)
{
	int fds[2];
	char byte;
	size_t done;

	CHECK_EQ(pipe2(fds, O_NONBLOCK | O_CLOEXEC), 0);
	wait_on(fds[1], FILAR_WRITABLE, FILAR_WRITABLE);
	CHECK_EQ(filar_write_until(fds[1], "x", 1, FILAR_FOREVER, &done), FILAR_OK);
	wait_on(fds[0], FILAR_READABLE, FILAR_READABLE);
	CHECK_EQ(filar_close(fds[1]), FILAR_OK);
	wait_on(fds[0], FILAR_READABLE, FILAR_READABLE | FILAR_HANGUP);
	CHECK_EQ(filar_read_until(fds[0], &byte, 1, FILAR_FOREVER, &done), FILAR_OK);
	CHECK_EQ(filar_read_until(fds[0], &byte, 1, FILAR_FOREVER, &done), FILAR_OK);
	CHECK_EQ(done, 0);
	CHECK_EQ(filar_close(fds[0]), FILAR_OK);
}

static void wait_for_every_kind(void *unused)
{
	(void)unused;
	wait_for_pidfd();
	wait_for_timerfd();
	wait_for_eventfd();
	wait_for_signalfd();
	wait_for_terminal();
	wait_for_file();
	wait_for_pipe();
}

TEST(every_kind_of_fd_can_be_waited_for)
{
	int before = count_fds();

	crowd_on_green(1, wait_for_every_kind, NULL);
	crowd_on_green(2, wait_for_every_kind, NULL);
	wait_for_every_kind(NULL);
	CHECK_LE(count_fds(), before + 1); /* an eventfd kept for kernel threads */
}

/* ---- half-closed, reset ---- */

static void half_close(void *unused)
{
	int fds[2];
	size_t done;

	(void)unused;
	nonblocking_pair(fds);
	CHECK_EQ(filar_wait_fd_until(fds[0], FILAR_HANGUP, filar_now_ns() + 1000, NULL),
		FILAR_TIMED_OUT);
	CHECK_EQ(shutdown(fds[1], SHUT_WR), 0);
	wait_on(fds[0], FILAR_HANGUP, FILAR_HANGUP);
	wait_on(fds[0], FILAR_READABLE | FILAR_WRITABLE | FILAR_HANGUP,
		FILAR_READABLE | FILAR_WRITABLE | FILAR_HANGUP);
	CHECK_EQ(filar_send_until(fds[0], "x", 1, 0, FILAR_FOREVER, &done), FILAR_OK);
	CHECK_EQ(filar_close(fds[1]), FILAR_OK);
	CHECK_EQ(filar_send_until(fds[0], "x", 1, 0, FILAR_FOREVER, &done), FILAR_SYSTEM);
	CHECK_EQ(filar_status_errno(), EPIPE);
	CHECK_EQ(done, 0);
	CHECK_EQ(filar_close(fds[0]), FILAR_OK);
}

TEST(the_end_of_the_peer_is_told)
{
	crowd_on_green(1, half_close, NULL);
	half_close(NULL);
}

/* ---- connections ---- */

static int bind_to_loopback(struct sockaddr_in *address)
{
	socklen_t bytes = sizeof *address;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	*address = (struct sockaddr_in){ .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	CHECK_EQ(bind(fd, (struct sockaddr *)address, sizeof *address), 0);
	CHECK_EQ(getsockname(fd, (struct sockaddr *)address, &bytes), 0);
	return fd;
}

static int listen_on_loopback(struct sockaddr_in *address)
{
	int fd = bind_to_loopback(address);

	CHECK_EQ(listen(fd, 128), 0);
	return fd;
}

enum { CLIENTS = 20, MESSAGES = 20, MESSAGE_BYTES = 20000 };

struct echo {
	struct sockaddr_in address;
	int listener;
	_Atomic int served;
};

static struct echo echo;

static void echo_one(void *argument)
{
	int fd = (int)(intptr_t)argument;
	char buffer[4096];
	size_t got, sent;

	for (;;) {
		CHECK_EQ(filar_recv_until(fd, buffer, sizeof buffer, 0, FILAR_FOREVER, &got),
			FILAR_OK);
		if (got == 0)
			break;
		CHECK_EQ(filar_send_all_until(fd, buffer, got, 0, FILAR_FOREVER, &sent), FILAR_OK);
	}
	CHECK_EQ(filar_close(fd), FILAR_OK);
	fetch_add_relaxed(&echo.served, 1);
}

static void accept_all(void *unused)
{
	struct green_options detached = { .detached = true };
	struct sockaddr_in peer;
	int fd, status;

	(void)unused;
	for (;;) {
		uint32_t bytes = sizeof peer;

		status = filar_accept_until(echo.listener, &peer, &bytes, FILAR_FOREVER, &fd);
		if (status != FILAR_OK)
			break;
		CHECK_EQ(peer.sin_addr.s_addr, htonl(INADDR_LOOPBACK));
		CHECK_EQ(
			green_spawn(NULL, crowd_runtime, &detached, echo_one, (void *)(intptr_t)fd),
			FILAR_OK);
	}
	CHECK_EQ(status, FILAR_CLOSED);
}

static void send_and_compare(void *unused)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	static const char message[MESSAGE_BYTES] = "hello";
	char answer[1000];
	size_t done;

	(void)unused;
	CHECK_EQ(filar_connect_until(fd, &echo.address, sizeof echo.address, FILAR_FOREVER),
		FILAR_OK);
	for (int i = 0; i < MESSAGES; i++) {
		CHECK_EQ(filar_send_all_until(fd, message, sizeof message, 0, FILAR_FOREVER, &done),
			FILAR_OK);
		for (size_t got = 0; got < sizeof message; got += done) {
			CHECK_EQ(filar_recv_until(
					 fd, answer, sizeof answer, 0, FILAR_FOREVER, &done),
				FILAR_OK);
			CHECK_GE(done, 1);
			CHECK(memcmp(answer, message + got, done) == 0);
		}
	}
	CHECK_EQ(filar_connect_until(fd, &echo.address, sizeof echo.address, FILAR_FOREVER),
		FILAR_SYSTEM);
	CHECK_EQ(filar_status_errno(), EISCONN);
	CHECK_EQ(filar_close(fd), FILAR_OK);
}

static void *send_on_kernel_thread(void *unused)
{
	send_and_compare(unused);
	return NULL;
}

TEST(echo_over_tcp_for_green_and_kernel_threads)
{
	int before = count_fds();

	for (uint32_t workers = 1; workers <= 2; workers++) {
		struct green_ref acceptors[2], clients[CLIENTS];
		pthread_t outside[2];

		crowd_start(workers);
		atomic_init(&echo.served, 0);
		echo.listener = listen_on_loopback(&echo.address);
		for (int i = 0; i < 2; i++)
			acceptors[i] = crowd_spawn(accept_all, NULL);
		for (int i = 0; i < 2; i++)
			CHECK_EQ(pthread_create(&outside[i], NULL, send_on_kernel_thread, NULL), 0);
		for (int i = 0; i < CLIENTS; i++)
			clients[i] = crowd_spawn(send_and_compare, NULL);
		for (int i = 0; i < CLIENTS; i++)
			crowd_join(clients[i]);
		for (int i = 0; i < 2; i++)
			CHECK_EQ(pthread_join(outside[i], NULL), 0);
		WAIT_UNTIL(load_relaxed(&echo.served) == CLIENTS + 2);
		CHECK_EQ(filar_close(echo.listener), FILAR_OK);
		for (int i = 0; i < 2; i++)
			crowd_join(acceptors[i]);
		crowd_stop();
	}
	CHECK_LE(count_fds(), before + 2);
}

static void refuse(void *unused)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	struct sockaddr_in address;
	/* Kept, so that the port is nobody else's meanwhile. */
	int bound = bind_to_loopback(&address);

	(void)unused;
	CHECK_EQ(filar_connect_until(fd, &address, sizeof address, FILAR_FOREVER), FILAR_SYSTEM);
	CHECK_EQ(filar_status_errno(), ECONNREFUSED);
	CHECK_EQ(filar_close(fd), FILAR_OK);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK_EQ(filar_connect_until(fd, &address, sizeof address, FILAR_FOREVER), FILAR_INVALID);
	CHECK_EQ(filar_close(fd), FILAR_OK);
	CHECK_EQ(close(bound), 0);
}

TEST(a_refused_connection_is_told_with_its_errno)
{
	crowd_on_green(1, refuse, NULL);
	refuse(NULL);
}

/* A Unix socket whose backlog is full. */
static void fill_backlog(void *unused)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	socklen_t bytes = sizeof address;
	int fds[8], count = 0, accepted, status;

	(void)unused;
	CHECK_EQ(bind(listener, (struct sockaddr *)&address, sizeof(sa_family_t)), 0);
	CHECK_EQ(getsockname(listener, (struct sockaddr *)&address, &bytes), 0);
	CHECK_EQ(listen(listener, 1), 0);
	do {
		fds[count] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		status = filar_connect_until(
			fds[count], &address, bytes, filar_now_ns() + 3 * NS_PER_MS);
		count++;
	} while (status == FILAR_OK && count < 8);
	CHECK_EQ(status, FILAR_TIMED_OUT);
	CHECK_EQ(filar_accept_until(listener, NULL, NULL, FILAR_FOREVER, &accepted), FILAR_OK);
	CHECK_EQ(filar_close(accepted), FILAR_OK);
	CHECK_EQ(filar_connect_until(fds[count - 1], &address, bytes, FILAR_FOREVER), FILAR_OK);
	while (count > 0)
		CHECK_EQ(filar_close(fds[--count]), FILAR_OK);
	CHECK_EQ(filar_close(listener), FILAR_OK);
}

TEST(a_full_backlog_of_a_unix_socket_is_waited_for)
{
	crowd_on_green(1, fill_backlog, NULL);
	fill_backlog(NULL);
}

static void datagrams(void *unused)
{
	struct sockaddr_in address, from;
	socklen_t bytes = sizeof address;
	uint32_t from_bytes = sizeof from;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct iovec piece;
	struct msghdr message = { .msg_iov = &piece, .msg_iovlen = 1 };
	char text[8] = "hello";
	size_t done;

	(void)unused;
	address = (struct sockaddr_in){ .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	CHECK_EQ(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
	CHECK_EQ(getsockname(fd, (struct sockaddr *)&address, &bytes), 0);
	CHECK_EQ(filar_recvfrom_until(fd, text, sizeof text, 0, &from, &from_bytes,
			 filar_now_ns() + NS_PER_MS, &done),
		FILAR_TIMED_OUT);
	CHECK_EQ(filar_sendto_until(fd, text, 5, 0, &address, bytes, FILAR_FOREVER, &done),
		FILAR_OK);
	from_bytes = sizeof from;
	CHECK_EQ(filar_recvfrom_until(
			 fd, text, sizeof text, 0, &from, &from_bytes, FILAR_FOREVER, &done),
		FILAR_OK);
	CHECK_EQ(done, 5);
	CHECK_EQ(from.sin_port, address.sin_port);
	piece = (struct iovec){ text, 3 };
	message.msg_name = &address;
	message.msg_namelen = bytes;
	CHECK_EQ(filar_sendmsg_until(fd, &message, 0, FILAR_FOREVER, &done), FILAR_OK);
	message.msg_namelen = 0;
	piece.iov_len = sizeof text;
	CHECK_EQ(filar_recvmsg_until(fd, &message, 0, FILAR_FOREVER, &done), FILAR_OK);
	CHECK_EQ(done, 3);
	CHECK_EQ(filar_close(fd), FILAR_OK);
}

TEST(datagrams_and_messages)
{
	crowd_on_green(1, datagrams, NULL);
	datagrams(NULL);
}

/* ---- one fd, many who wait ---- */

TEST(readers_and_a_writer_wait_for_the_same_fd)
{
	enum { READERS = 5 };
	static char much[1 << 20];
	struct wait readers[READERS];
	struct wait writer = { .events = FILAR_WRITABLE, .deadline_ns = FILAR_FOREVER };
	int fds[2];

	crowd_start(2);
	nonblocking_pair(fds);
	while (write(fds[0], much, sizeof much) > 0)
		;
	CHECK_EQ(errno, EAGAIN);
	writer.fd = fds[0];
	begin(&writer);
	for (int i = 0; i < READERS; i++) {
		readers[i] = (struct wait){
			.fd = fds[0], .reads = true, .deadline_ns = FILAR_FOREVER, .kernel = i == 4
		};
		begin(&readers[i]);
	}
	WAIT_UNTIL(waits(&writer));
	for (int i = 0; i < READERS; i++)
		WAIT_UNTIL(waits(&readers[i]));
	/* One byte each: all must get on, whoever is woken first. */
	for (int i = 0; i < READERS; i++) {
		int done = 0;

		CHECK_EQ(write(fds[1], "x", 1), 1);
		do {
			done = 0;
			for (int k = 0; k < READERS; k++)
				done += load_acquire(&readers[k].status) != 1;
			sched_yield();
		} while (done <= i);
	}
	for (int i = 0; i < READERS; i++) {
		CHECK_EQ(end(&readers[i]), FILAR_OK);
		CHECK_EQ(readers[i].done, 1);
	}
	CHECK_EQ(load_acquire(&writer.status), 1);
	while (read(fds[1], much, sizeof much) > 0)
		;
	CHECK_EQ(end(&writer), FILAR_OK);
	close_pair(fds);
	crowd_stop();
}

TEST(two_runtimes_wait_for_one_fd)
{
	struct wait first = { .events = FILAR_READABLE, .deadline_ns = FILAR_FOREVER };
	struct wait second = first;
	struct runtime *one;
	int fds[2];

	nonblocking_pair(fds);
	first.fd = second.fd = fds[0];
	crowd_start(1);
	one = crowd_runtime;
	begin(&first);
	WAIT_UNTIL(waits(&first));
	crowd_start(1);
	begin(&second);
	WAIT_UNTIL(waits(&second));
	CHECK_EQ(write(fds[1], "x", 1), 1);
	CHECK_EQ(end(&first), FILAR_OK);
	CHECK_EQ(end(&second), FILAR_OK);
	CHECK_EQ(read(fds[0], first.buffer, 1), 1);
	begin(&first);
	begin(&second);
	WAIT_UNTIL(waits(&first) && waits(&second));
	CHECK_EQ(filar_close(fds[0]), FILAR_OK);
	CHECK_EQ(end(&first), FILAR_CLOSED);
	CHECK_EQ(end(&second), FILAR_CLOSED);
	CHECK_EQ(filar_close(fds[1]), FILAR_OK);
	crowd_stop();
	crowd_runtime = one;
	crowd_stop();
}

/* ---- fork ---- */

static int child_waits(int fd, uint32_t forks_of_parent)
{
	int32_t ready;

	if (poller_forks() != forks_of_parent + 1)
		return 2;
	if (filar_wait_fd_until(fd, FILAR_READABLE, filar_now_ns() + 1000, &ready) !=
		FILAR_TIMED_OUT)
		return 3;
	return filar_close(fd) == FILAR_OK ? 0 : 4;
}

static void fork_and_wait(void *argument)
{
	uint32_t forks = poller_forks();
	int *fds = argument, status;
	pid_t child;

	CHECK_EQ(filar_wait_readable_until(fds[0], filar_now_ns() + 1000), FILAR_TIMED_OUT);
	child = fork();
	if (child == 0)
		_exit(child_waits(fds[0], forks));
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK_EQ(status, 0);
	/* What the child has forgotten is still in our epoll. */
	CHECK_EQ(write(fds[1], "x", 1), 1);
	CHECK_EQ(filar_wait_readable_until(fds[0], FILAR_FOREVER), FILAR_OK);
}

TEST(a_child_of_a_fork_leaves_the_epoll_alone)
{
	struct wait wait = { .reads = true, .deadline_ns = FILAR_FOREVER };
	int fds[2], others[2], status;
	pid_t child;

	crowd_start(1);
	nonblocking_pair(fds);
	nonblocking_pair(others);
	wait.fd = others[0];
	begin(&wait);
	WAIT_UNTIL(waits(&wait));
	crowd_join(crowd_spawn(fork_and_wait, fds));
	child = fork();
	if (child == 0) {
		if (filar_close(others[0]) != FILAR_OK)
			_exit(5);
		_exit(runtime_destroy(crowd_runtime) == FILAR_OK ? 0 : 6);
	}
	CHECK_EQ(waitpid(child, &status, 0), child);
	CHECK_EQ(status, 0);
	CHECK_EQ(write(others[1], "x", 1), 1);
	CHECK_EQ(end(&wait), FILAR_OK);
	close_pair(fds);
	close_pair(others);
	crowd_stop();
}

TEST(a_shutdown_names_those_who_wait_for_an_fd)
{
	struct wait wait = { .events = FILAR_READABLE, .deadline_ns = FILAR_FOREVER };
	int fds[2], text[2];
	char dump[4096];
	ssize_t bytes;

	crowd_start(1);
	nonblocking_pair(fds);
	wait.fd = fds[0];
	begin(&wait);
	WAIT_UNTIL(waits(&wait));
	CHECK_EQ(
		runtime_shutdown_until(crowd_runtime, filar_now_ns() + NS_PER_MS), FILAR_TIMED_OUT);
	CHECK_EQ(pipe(text), 0);
	runtime_dump(crowd_runtime, text[1]);
	bytes = read(text[0], dump, sizeof dump - 1);
	dump[bytes] = '\0';
	CHECK(strstr(dump, "readable fd") != NULL);
	close(text[0]);
	close(text[1]);
	runtime_cancel_all(crowd_runtime);
	CHECK_EQ(end(&wait), FILAR_CANCELLED);
	close_pair(fds);
	crowd_stop();
}

TEST_MAIN()
