/*
 * test_fail_io.c - waits for file descriptors, connections and the HTTP server while system calls
 * fail: the n-th of any, and each call with each errno it may give.
 *
 * Whatever fails, the call answers with a status and the errno, the rest goes on, and no fd, no
 * green thread and no memory is left.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fail.h"
#include "filar.h"
#include "green/runtime.h"
#include "io/fd.h"
#include "os/calls.h"
#include "os/clock.h"

#if FILAR_FAIL
static int count_fds(void)
{
	int count = 0;

	for (int fd = 0; fd < 1024; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

/* Signals end the waits of kernel threads, and a failed futex looks like one. */
#define PATIENTLY(call)                                                                            \
	({                                                                                         \
		enum filar_status patient;                                                         \
		do                                                                                 \
			patient = (enum filar_status)(call);                                       \
		while (patient == FILAR_INTERRUPTED);                                              \
		patient;                                                                           \
	})

static int open_listener(struct sockaddr_in *address)
{
	socklen_t bytes = sizeof *address;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	*address = (struct sockaddr_in){ .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	CHECK_EQ(bind(fd, (struct sockaddr *)address, sizeof *address), 0);
	CHECK_EQ(listen(fd, 8), 0);
	CHECK_EQ(getsockname(fd, (struct sockaddr *)address, &bytes), 0);
	return fd;
}

static void open_pair(int fds[2])
{
	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
}

/* ---- one call with one errno ---- */

enum call { READ, WRITE, RECV, SEND, ACCEPT, CONNECT, WAIT, CLOSE };

static const struct injection {
	enum failpoint point;
	int error;
	enum call call;
	int status;
} injections[] = {
	{ FAILPOINT_READ, EAGAIN, READ, FILAR_OK },
	{ FAILPOINT_READ, EINTR, READ, FILAR_OK },
	{ FAILPOINT_READ, EIO, READ, FILAR_SYSTEM },
	{ FAILPOINT_READ, EISDIR, READ, FILAR_SYSTEM },
	{ FAILPOINT_WRITE, EAGAIN, WRITE, FILAR_OK },
	{ FAILPOINT_WRITE, EINTR, WRITE, FILAR_OK },
	{ FAILPOINT_WRITE, ENOSPC, WRITE, FILAR_SYSTEM },
	{ FAILPOINT_WRITE, EPIPE, WRITE, FILAR_SYSTEM },
	{ FAILPOINT_RECEIVE, EAGAIN, RECV, FILAR_OK },
	{ FAILPOINT_RECEIVE, EINTR, RECV, FILAR_OK },
	{ FAILPOINT_RECEIVE, ECONNRESET, RECV, FILAR_SYSTEM },
	{ FAILPOINT_RECEIVE, ETIMEDOUT, RECV, FILAR_SYSTEM },
	{ FAILPOINT_RECEIVE, ENOTCONN, RECV, FILAR_SYSTEM },
	{ FAILPOINT_RECEIVE, ECONNREFUSED, RECV, FILAR_SYSTEM },
	{ FAILPOINT_RECEIVE, ENOMEM, RECV, FILAR_NO_MEMORY },
	{ FAILPOINT_RECEIVE, EBADF, RECV, FILAR_SYSTEM },
	{ FAILPOINT_RECEIVE, EFAULT, RECV, FILAR_SYSTEM },
	{ FAILPOINT_RECEIVE, EINVAL, RECV, FILAR_INVALID },
	{ FAILPOINT_RECEIVE, ENOTSOCK, RECV, FILAR_SYSTEM },
	{ FAILPOINT_RECEIVE, EHOSTUNREACH, RECV, FILAR_SYSTEM },
	{ FAILPOINT_RECEIVE, EOPNOTSUPP, RECV, FILAR_NOT_SUPPORTED },
	{ FAILPOINT_SEND, EAGAIN, SEND, FILAR_OK },
	{ FAILPOINT_SEND, EINTR, SEND, FILAR_OK },
	{ FAILPOINT_SEND, EPIPE, SEND, FILAR_SYSTEM },
	{ FAILPOINT_SEND, ECONNRESET, SEND, FILAR_SYSTEM },
	{ FAILPOINT_SEND, ENOBUFS, SEND, FILAR_SYSTEM },
	{ FAILPOINT_SEND, EMSGSIZE, SEND, FILAR_SYSTEM },
	{ FAILPOINT_SEND, EACCES, SEND, FILAR_NO_PERMISSION },
	{ FAILPOINT_SEND, EHOSTUNREACH, SEND, FILAR_SYSTEM },
	{ FAILPOINT_SEND, EALREADY, SEND, FILAR_SYSTEM },
	{ FAILPOINT_SEND, EBADF, SEND, FILAR_SYSTEM },
	{ FAILPOINT_SEND, ECONNREFUSED, SEND, FILAR_SYSTEM },
	{ FAILPOINT_SEND, EDESTADDRREQ, SEND, FILAR_SYSTEM },
	{ FAILPOINT_SEND, EFAULT, SEND, FILAR_SYSTEM },
	{ FAILPOINT_SEND, EINVAL, SEND, FILAR_INVALID },
	{ FAILPOINT_SEND, EISCONN, SEND, FILAR_SYSTEM },
	{ FAILPOINT_SEND, ENETDOWN, SEND, FILAR_SYSTEM },
	{ FAILPOINT_SEND, ENETUNREACH, SEND, FILAR_SYSTEM },
	{ FAILPOINT_SEND, ENOMEM, SEND, FILAR_NO_MEMORY },
	{ FAILPOINT_SEND, ENOTCONN, SEND, FILAR_SYSTEM },
	{ FAILPOINT_SEND, ENOTSOCK, SEND, FILAR_SYSTEM },
	{ FAILPOINT_SEND, EOPNOTSUPP, SEND, FILAR_NOT_SUPPORTED },
	{ FAILPOINT_SEND, EPERM, SEND, FILAR_NO_PERMISSION },
	{ FAILPOINT_SEND, ETIMEDOUT, SEND, FILAR_SYSTEM },
	{ FAILPOINT_ACCEPT, EAGAIN, ACCEPT, FILAR_OK },
	{ FAILPOINT_ACCEPT, EINTR, ACCEPT, FILAR_OK },
	{ FAILPOINT_ACCEPT, ECONNABORTED, ACCEPT, FILAR_OK },
	{ FAILPOINT_ACCEPT, EPROTO, ACCEPT, FILAR_OK },
	{ FAILPOINT_ACCEPT, ENETDOWN, ACCEPT, FILAR_OK },
	{ FAILPOINT_ACCEPT, EHOSTUNREACH, ACCEPT, FILAR_OK },
	{ FAILPOINT_ACCEPT, EHOSTDOWN, ACCEPT, FILAR_OK },
	{ FAILPOINT_ACCEPT, ENETUNREACH, ACCEPT, FILAR_OK },
	{ FAILPOINT_ACCEPT, ENONET, ACCEPT, FILAR_OK },
	{ FAILPOINT_ACCEPT, ENOPROTOOPT, ACCEPT, FILAR_OK },
	{ FAILPOINT_ACCEPT, EMFILE, ACCEPT, FILAR_LIMIT },
	{ FAILPOINT_ACCEPT, ENFILE, ACCEPT, FILAR_LIMIT },
	{ FAILPOINT_ACCEPT, ENOBUFS, ACCEPT, FILAR_SYSTEM },
	{ FAILPOINT_ACCEPT, ENOMEM, ACCEPT, FILAR_NO_MEMORY },
	{ FAILPOINT_ACCEPT, EPERM, ACCEPT, FILAR_NO_PERMISSION },
	{ FAILPOINT_ACCEPT, EINVAL, ACCEPT, FILAR_INVALID },
	{ FAILPOINT_ACCEPT, EBADF, ACCEPT, FILAR_SYSTEM },
	{ FAILPOINT_ACCEPT, EFAULT, ACCEPT, FILAR_SYSTEM },
	{ FAILPOINT_ACCEPT, ENOTSOCK, ACCEPT, FILAR_SYSTEM },
	{ FAILPOINT_ACCEPT, EOPNOTSUPP, ACCEPT, FILAR_NOT_SUPPORTED },
	{ FAILPOINT_ACCEPT, ETIMEDOUT, ACCEPT, FILAR_SYSTEM },
	{ FAILPOINT_CONNECT, EINTR, CONNECT, FILAR_OK },
	{ FAILPOINT_CONNECT, EINPROGRESS, CONNECT, FILAR_OK },
	{ FAILPOINT_CONNECT, EALREADY, CONNECT, FILAR_OK },
	{ FAILPOINT_CONNECT, EAGAIN, CONNECT, FILAR_OK },
	{ FAILPOINT_CONNECT, ECONNREFUSED, CONNECT, FILAR_SYSTEM },
	{ FAILPOINT_CONNECT, ETIMEDOUT, CONNECT, FILAR_SYSTEM },
	{ FAILPOINT_CONNECT, ENETUNREACH, CONNECT, FILAR_SYSTEM },
	{ FAILPOINT_CONNECT, EHOSTUNREACH, CONNECT, FILAR_SYSTEM },
	{ FAILPOINT_CONNECT, EADDRNOTAVAIL, CONNECT, FILAR_SYSTEM },
	{ FAILPOINT_CONNECT, EACCES, CONNECT, FILAR_NO_PERMISSION },
	{ FAILPOINT_CONNECT, EADDRINUSE, CONNECT, FILAR_SYSTEM },
	{ FAILPOINT_CONNECT, EAFNOSUPPORT, CONNECT, FILAR_SYSTEM },
	{ FAILPOINT_CONNECT, EBADF, CONNECT, FILAR_SYSTEM },
	{ FAILPOINT_CONNECT, ECONNRESET, CONNECT, FILAR_SYSTEM },
	{ FAILPOINT_CONNECT, EFAULT, CONNECT, FILAR_SYSTEM },
	{ FAILPOINT_CONNECT, EISCONN, CONNECT, FILAR_SYSTEM },
	{ FAILPOINT_CONNECT, ENOTSOCK, CONNECT, FILAR_SYSTEM },
	{ FAILPOINT_CONNECT, EPERM, CONNECT, FILAR_NO_PERMISSION },
	{ FAILPOINT_CONNECT, EPROTOTYPE, CONNECT, FILAR_SYSTEM },
	{ FAILPOINT_CLOSE, EIO, CLOSE, FILAR_SYSTEM },
	{ FAILPOINT_CLOSE, ENOSPC, CLOSE, FILAR_SYSTEM },
	{ FAILPOINT_CLOSE, EINTR, CLOSE, FILAR_OK },
	{ FAILPOINT_FCNTL, EBADF, READ, FILAR_SYSTEM },
};

/* Those that only the wait of a green thread, or of a kernel thread, makes. */
static const struct injection of_green_waits[] = {
	{ FAILPOINT_EPOLL_CTL, ENOSPC, WAIT, FILAR_SYSTEM },
	{ FAILPOINT_EPOLL_CTL, ENOMEM, WAIT, FILAR_NO_MEMORY },
	{ FAILPOINT_EPOLL_CTL, EBADF, WAIT, FILAR_SYSTEM },
	{ FAILPOINT_EPOLL_CTL, EPERM, WAIT, FILAR_OK },
	{ FAILPOINT_EPOLL_CTL, EEXIST, WAIT, FILAR_OK },
	{ FAILPOINT_EPOLL_CTL, EINVAL, WAIT, FILAR_INVALID },
	{ FAILPOINT_EPOLL_CTL, ELOOP, WAIT, FILAR_SYSTEM },
	{ FAILPOINT_EPOLL_WAIT, EINTR, WAIT, FILAR_OK },
	{ FAILPOINT_EPOLL_WAIT, ENOSYS, WAIT, FILAR_OK },
	{ FAILPOINT_EPOLL_WAIT, EPERM, WAIT, FILAR_OK },
};

static const struct injection of_kernel_waits[] = {
	{ FAILPOINT_POLL, EINTR, WAIT, FILAR_INTERRUPTED },
	{ FAILPOINT_POLL, ENOMEM, WAIT, FILAR_NO_MEMORY },
	{ FAILPOINT_POLL, EINVAL, WAIT, FILAR_INVALID },
};

static int make_call(enum call call)
{
	struct sockaddr_in address;
	int fds[2], listener = -1, client = -1, accepted = -1, status = FILAR_OK;
	size_t done;
	char byte = 'x';

	open_pair(fds);
	CHECK_EQ(write(fds[1], &byte, 1), 1);
	if (call == ACCEPT || call == CONNECT) {
		listener = open_listener(&address);
		client = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	}
	switch (call) {
	case READ:
		status = filar_read_until(fds[0], &byte, 1, FILAR_FOREVER, &done);
		break;
	case WRITE:
		status = filar_write_until(fds[0], &byte, 1, FILAR_FOREVER, &done);
		break;
	case RECV:
		status = filar_recv_until(fds[0], &byte, 1, 0, FILAR_FOREVER, &done);
		break;
	case SEND:
		status = filar_send_until(fds[0], &byte, 1, 0, FILAR_FOREVER, &done);
		break;
	case ACCEPT:
		(void)connect(client, (struct sockaddr *)&address, sizeof address);
		status = filar_accept_until(listener, NULL, NULL, FILAR_FOREVER, &accepted);
		break;
	case CONNECT:
		status = filar_connect_until(client, &address, sizeof address, FILAR_FOREVER);
		break;
	case WAIT:
		status = filar_wait_readable_until(fds[0], FILAR_FOREVER);
		break;
	case CLOSE:
		status = filar_close(fds[0]);
		CHECK_EQ(fcntl(fds[0], F_GETFD), -1);
		break;
	}
	if (status == FILAR_SYSTEM || status == FILAR_LIMIT)
		CHECK(filar_status_errno() != 0 && filar_status_detail()[0] != '\0');
	if (call != CLOSE)
		CHECK_EQ(filar_close(fds[0]), FILAR_OK);
	CHECK_EQ(filar_close(fds[1]), FILAR_OK);
	for (int i = 0; i < 3; i++) {
		int fd = i == 0 ? listener : i == 1 ? client : accepted;

		if (fd >= 0)
			CHECK_EQ(filar_close(fd), FILAR_OK);
	}
	return status;
}

static void inject_each(const struct injection *list, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct injection *one = &list[i];
		int status, error;

		failpoint_arm_errno(one->point, 1, one->error);
		status = make_call(one->call);
		/* What make_call() has closed since does not change it. */
		error = filar_status_errno();
		if (status != one->status || !failpoint_fired())
			fprintf(stderr, "%s with %s\n", failpoint_name(one->point),
				strerror(one->error));
		CHECK_EQ(status, one->status);
		CHECK(failpoint_fired());
		failpoint_arm(FAILPOINT_ANY, 0);
		if (status != FILAR_OK && status != FILAR_INTERRUPTED)
			CHECK_EQ(error, one->error);
	}
}

#define INJECT_EACH(list) inject_each(list, sizeof(list) / sizeof(list)[0])

static void inject_on_green_thread(void *unused)
{
	(void)unused;
	CHECK_EQ(make_call(WAIT), FILAR_OK); /* makes the poller */
	INJECT_EACH(injections);
	INJECT_EACH(of_green_waits);
}

TEST(each_call_answers_with_each_errno_and_goes_on)
{
	int before = count_fds();

	for (uint32_t workers = 1; workers <= 2; workers++) {
		struct runtime_options options;
		struct runtime *runtime;
		struct green_ref ref;

		runtime_options_init(&options);
		options.workers = workers;
		CHECK_EQ(runtime_create(&runtime, &options), FILAR_OK);
		CHECK_EQ(green_spawn(&ref, runtime, NULL, inject_on_green_thread, NULL), FILAR_OK);
		CHECK_EQ(PATIENTLY(green_join_until(ref, DEADLINE_NEVER)), FILAR_OK);
		CHECK_EQ(runtime_shutdown_until(runtime, DEADLINE_NEVER), FILAR_OK);
		CHECK_EQ(runtime_destroy(runtime), FILAR_OK);
	}
	CHECK_EQ(count_fds(), before);
	INJECT_EACH(injections);
	INJECT_EACH(of_kernel_waits);
	CHECK_LE(count_fds(), before + 1); /* an eventfd kept for kernel threads */
}

/* ---- the n-th call of any kind ---- */

static struct runtime *runtime;
static _Atomic int first_error;

/* Keeps the first status that says that something has failed. */
static bool worked(int status)
{
	int nothing = FILAR_OK;

	if (status != FILAR_OK)
		(void)cas_relaxed(&first_error, &nothing, status);
	return status == FILAR_OK;
}

static void close_worked(int fd)
{
	if (fd >= 0)
		(void)worked(filar_close(fd));
}

static void use_pair(void)
{
	char byte = 'x';
	size_t done;
	int fds[2];

	open_pair(fds);
	CHECK_EQ(write(fds[1], &byte, 1), 1);
	(void)worked(PATIENTLY(filar_wait_readable_until(fds[0], FILAR_FOREVER)));
	if (worked(PATIENTLY(filar_read_until(fds[0], &byte, 1, FILAR_FOREVER, &done)))) {
		int status = PATIENTLY(
			filar_read_until(fds[0], &byte, 1, clock_now_ns() + 20 * NS_PER_US, &done));

		if (status != FILAR_TIMED_OUT)
			(void)worked(status);
	}
	(void)worked(filar_forget(fds[0]));
	(void)worked(PATIENTLY(filar_wait_writable_until(fds[0], FILAR_FOREVER)));
	close_worked(fds[0]);
	close_worked(fds[1]);
}

static void use_connection(void)
{
	int client = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), server = -1;
	struct sockaddr_in address;
	int listener = open_listener(&address);
	char byte = 'x';
	size_t done;

	if (worked(PATIENTLY(
		    filar_connect_until(client, &address, sizeof address, FILAR_FOREVER))) &&
		worked(PATIENTLY(
			filar_accept_until(listener, NULL, NULL, FILAR_FOREVER, &server))) &&
		worked(PATIENTLY(filar_send_all_until(client, &byte, 1, 0, FILAR_FOREVER, &done))))
		(void)worked(
			PATIENTLY(filar_recv_until(server, &byte, 1, 0, FILAR_FOREVER, &done)));
	close_worked(server);
	close_worked(client);
	close_worked(listener);
}

static void use_everything(void *unused)
{
	(void)unused;
	use_pair();
	use_connection();
}

static int use_on_both_kinds(void)
{
	struct runtime_options options;
	struct green_ref refs[2];
	int count = 0;

	store_relaxed(&first_error, FILAR_OK);
	runtime_options_init(&options);
	options.workers = 2;
	options.spares_max = 0;
	if (!worked(runtime_create(&runtime, &options)))
		return load_relaxed(&first_error);
	for (int i = 0; i < 2; i++)
		count += worked(green_spawn(&refs[count], runtime, NULL, use_everything, NULL));
	use_everything(NULL);
	for (int i = 0; i < count; i++)
		CHECK_EQ(PATIENTLY(green_join_until(refs[i], DEADLINE_NEVER)), FILAR_OK);
	CHECK_EQ(PATIENTLY(runtime_shutdown_until(runtime, DEADLINE_NEVER)), FILAR_OK);
	CHECK_EQ(runtime_destroy(runtime), FILAR_OK);
	return load_relaxed(&first_error);
}

TEST(any_call_may_fail_and_nothing_is_left)
{
	int before = count_fds();
	uint64_t failures = fail_each(use_on_both_kinds);

	CHECK_GE(failures, 30);
	CHECK_LE(count_fds(), before + 1);
}

/* ---- the server ---- */

/* What it is answered; the client's own calls do not fail. */
static void request_once(filar_http *server)
{
	static const char request[] = "GET /?block_us=1 HTTP/1.1\r\nHost: x\r\n"
				      "Connection: close\r\n\r\n";
	struct sockaddr_in address = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
		.sin_port = htons((uint16_t)filar_http_port(server)) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char text[256];
	ssize_t got = 1, total = 0;

	CHECK_EQ(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
	CHECK_GE(send(fd, request, sizeof request - 1, MSG_NOSIGNAL), 1);
	while (got > 0) {
		got = recv(fd, text, sizeof text, 0);
		total += got > 0 ? got : 0;
	}
	close(fd);
	if (total == 0)
		(void)worked(FILAR_SYSTEM);
}

static int serve_once(void)
{
	filar_http_options options;
	filar_http *server;

	store_relaxed(&first_error, FILAR_OK);
	filar_http_options_init(&options);
	options.workers = 1;
	if (!worked(filar_http_start(&server, &options)))
		return load_relaxed(&first_error);
	request_once(server);
	CHECK_EQ(PATIENTLY(filar_http_stop_until(server, FILAR_FOREVER)), FILAR_OK);
	CHECK_EQ(filar_http_destroy(server), FILAR_OK);
	return load_relaxed(&first_error);
}

TEST(a_server_outlives_the_failure_of_any_call)
{
	int before = count_fds();

	CHECK_GE(fail_each(serve_once), 20);
	CHECK_EQ(count_fds(), before);
}
#endif

TEST(failures_are_made_in_fail_builds)
{
	CHECK(true);
}

TEST_MAIN()
