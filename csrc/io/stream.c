/*
 * stream.c - one loop around all calls: take a ticket, try, wait, try again.
 */
#include "io/stream.h"

#include <errno.h>

#include "io/fd.h"
#include "os/calls.h"
#include "os/clock.h"
#include "sched/blocking.h"

/* One call with its arguments, whichever it is. */
struct stream_call {
	ssize_t (*make)(const struct stream_call *call);
	const char *name;
	int fd;
	uint32_t events; /* what to wait for */
	/* Never blocks, whatever the fd's mode. */
	bool any_mode;
	bool passes_over; /* errors of a connection that is gone: accept(2) */
	int flags;
	void *in;        /* buffer or message */
	const void *out; /* likewise */
	size_t bytes;
	struct sockaddr *address;
	const struct sockaddr *to;
	socklen_t *address_bytes;
	socklen_t to_bytes;
};

static bool is_passed_over(const struct stream_call *call, int error)
{
	if (error == EINTR)
		return true;
	if (!call->passes_over)
		return false;
	return error == ECONNABORTED || error == EPROTO || error == ENETDOWN ||
	       error == ENOPROTOOPT || error == EHOSTDOWN || error == ENONET ||
	       error == EHOSTUNREACH || error == ENETUNREACH;
}

/* An fd without O_NONBLOCK: when it is ready, the call mostly does not block, and if it does, only
 * its kernel thread.  *error 0: it was made. */
static enum filar_status make_when_ready(
	const struct stream_call *call, int64_t deadline_ns, ssize_t *result, int *error)
{
	uint32_t ready;
	enum filar_status status = fd_wait_until(call->fd, call->events, deadline_ns, &ready);

	*error = 0;
	if (status != FILAR_OK)
		return status;
	blocking_begin();
	*result = call->make(call);
	if (*result < 0)
		*error = errno;
	blocking_end();
	return FILAR_OK;
}

static enum filar_status make_until_it_blocks_no_more(
	const struct stream_call *call, int64_t deadline_ns, ssize_t *result)
{
	enum filar_status status;
	int error;

	do {
		status = make_when_ready(call, deadline_ns, result, &error);
		/* EAGAIN: somebody has made it O_NONBLOCK. */
	} while (status == FILAR_OK && (error == EAGAIN || is_passed_over(call, error)));
	return error != 0 ? fd_failed(error, call->name, call->fd) : status;
}

static enum filar_status make(
	const struct stream_call *call, int64_t deadline_ns, struct fd_user *user, ssize_t *result)
{
	enum filar_status status = fd_begin(user, call->fd);
	bool blocking = false;
	int error;

	if (status == FILAR_OK && !call->any_mode)
		status = fd_is_blocking(user, &blocking);
	if (status == FILAR_OK && blocking)
		return make_until_it_blocks_no_more(call, deadline_ns, result);
	while (status == FILAR_OK || status == FD_LOOK_AGAIN) {
		fd_take_ticket(user);
		*result = call->make(call);
		if (FILAR_LIKELY(*result >= 0))
			return FILAR_OK;
		error = errno;
		if (error == EAGAIN)
			status = fd_wait_tried(user, call->events, deadline_ns);
		else if (!is_passed_over(call, error))
			status = fd_failed(error, call->name, call->fd);
	}
	return status;
}

static enum filar_status transfer(const struct stream_call *call, int64_t deadline_ns, size_t *done)
{
	struct fd_user user;
	ssize_t result;
	enum filar_status status = make(call, deadline_ns, &user, &result);

	*done = status == FILAR_OK ? (size_t)result : 0;
	return status;
}

/* ---- the calls ---- */

static ssize_t make_read(const struct stream_call *call)
{
	return call_read(call->fd, call->in, call->bytes);
}

static ssize_t make_write(const struct stream_call *call)
{
	return call_write(call->fd, call->out, call->bytes);
}

static ssize_t make_recv(const struct stream_call *call)
{
	return call_recv(call->fd, call->in, call->bytes, call->flags);
}

static ssize_t make_recvfrom(const struct stream_call *call)
{
	return call_recvfrom(
		call->fd, call->in, call->bytes, call->flags, call->address, call->address_bytes);
}

static ssize_t make_recvmsg(const struct stream_call *call)
{
	return call_recvmsg(call->fd, call->in, call->flags);
}

static ssize_t make_send(const struct stream_call *call)
{
	return call_send(call->fd, call->out, call->bytes, call->flags);
}

static ssize_t make_sendto(const struct stream_call *call)
{
	return call_sendto(call->fd, call->out, call->bytes, call->flags, call->to, call->to_bytes);
}

static ssize_t make_sendmsg(const struct stream_call *call)
{
	return call_sendmsg(call->fd, call->out, call->flags);
}

static ssize_t make_accept(const struct stream_call *call)
{
	return call_accept(
		call->fd, call->address, call->address_bytes, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

enum filar_status stream_read(int fd, void *buffer, size_t bytes, int64_t deadline_ns, size_t *done)
{
	struct stream_call call = { .make = make_read,
		.name = "read",
		.fd = fd,
		.events = EPOLLIN,
		.in = buffer,
		.bytes = bytes };

	return transfer(&call, deadline_ns, done);
}

enum filar_status stream_write(
	int fd, const void *buffer, size_t bytes, int64_t deadline_ns, size_t *done)
{
	struct stream_call call = { .make = make_write,
		.name = "write",
		.fd = fd,
		.events = EPOLLOUT,
		.out = buffer,
		.bytes = bytes };

	return transfer(&call, deadline_ns, done);
}

enum filar_status stream_recv(
	int fd, void *buffer, size_t bytes, int flags, int64_t deadline_ns, size_t *done)
{
	struct stream_call call = { .make = make_recv,
		.name = "recv",
		.fd = fd,
		.events = EPOLLIN,
		.any_mode = true,
		.flags = flags | MSG_DONTWAIT,
		.in = buffer,
		.bytes = bytes };

	return transfer(&call, deadline_ns, done);
}

enum filar_status stream_send(
	int fd, const void *buffer, size_t bytes, int flags, int64_t deadline_ns, size_t *done)
{
	struct stream_call call = { .make = make_send,
		.name = "send",
		.fd = fd,
		.events = EPOLLOUT,
		.any_mode = true,
		.flags = flags | MSG_DONTWAIT | MSG_NOSIGNAL,
		.out = buffer,
		.bytes = bytes };

	return transfer(&call, deadline_ns, done);
}

enum filar_status stream_recvfrom(int fd, void *buffer, size_t bytes, int flags,
	struct sockaddr *address, socklen_t *address_bytes, int64_t deadline_ns, size_t *done)
{
	struct stream_call call = { .make = make_recvfrom,
		.name = "recvfrom",
		.fd = fd,
		.events = EPOLLIN,
		.any_mode = true,
		.flags = flags | MSG_DONTWAIT,
		.in = buffer,
		.bytes = bytes,
		.address = address,
		.address_bytes = address_bytes };

	return transfer(&call, deadline_ns, done);
}

enum filar_status stream_sendto(int fd, const void *buffer, size_t bytes, int flags,
	const struct sockaddr *address, socklen_t address_bytes, int64_t deadline_ns, size_t *done)
{
	struct stream_call call = { .make = make_sendto,
		.name = "sendto",
		.fd = fd,
		.events = EPOLLOUT,
		.any_mode = true,
		.flags = flags | MSG_DONTWAIT | MSG_NOSIGNAL,
		.out = buffer,
		.bytes = bytes,
		.to = address,
		.to_bytes = address_bytes };

	return transfer(&call, deadline_ns, done);
}

enum filar_status stream_recvmsg(
	int fd, struct msghdr *message, int flags, int64_t deadline_ns, size_t *done)
{
	struct stream_call call = { .make = make_recvmsg,
		.name = "recvmsg",
		.fd = fd,
		.events = EPOLLIN,
		.any_mode = true,
		.flags = flags | MSG_DONTWAIT,
		.in = message };

	return transfer(&call, deadline_ns, done);
}

enum filar_status stream_sendmsg(
	int fd, const struct msghdr *message, int flags, int64_t deadline_ns, size_t *done)
{
	struct stream_call call = { .make = make_sendmsg,
		.name = "sendmsg",
		.fd = fd,
		.events = EPOLLOUT,
		.any_mode = true,
		.flags = flags | MSG_DONTWAIT | MSG_NOSIGNAL,
		.out = message };

	return transfer(&call, deadline_ns, done);
}

/* ---- all of it ---- */

enum filar_status stream_write_all(
	int fd, const void *buffer, size_t bytes, int64_t deadline_ns, size_t *done)
{
	enum filar_status status = FILAR_OK;
	size_t piece;

	for (*done = 0; status == FILAR_OK && *done < bytes; *done += piece)
		status = stream_write(
			fd, (const char *)buffer + *done, bytes - *done, deadline_ns, &piece);
	return status;
}

enum filar_status stream_send_all(
	int fd, const void *buffer, size_t bytes, int flags, int64_t deadline_ns, size_t *done)
{
	enum filar_status status = FILAR_OK;
	size_t piece;

	for (*done = 0; status == FILAR_OK && *done < bytes; *done += piece)
		status = stream_send(fd, (const char *)buffer + *done, bytes - *done, flags,
			deadline_ns, &piece);
	return status;
}

/* ---- connections ---- */

enum filar_status stream_accept(int fd, struct sockaddr *address, socklen_t *address_bytes,
	int64_t deadline_ns, int *accepted)
{
	struct stream_call call = { .make = make_accept,
		.name = "accept",
		.fd = fd,
		.events = EPOLLIN,
		.passes_over = true,
		.address = address,
		.address_bytes = address_bytes };
	struct fd_user user;
	ssize_t result;
	enum filar_status status = make(&call, deadline_ns, &user, &result);

	*accepted = -1;
	if (status != FILAR_OK)
		return status;
	*accepted = (int)result;
	fd_is_new(&user, *accepted);
	return FILAR_OK;
}

/* A full backlog of a Unix socket says EAGAIN, and nobody tells when there is room. */
static enum filar_status wait_for_backlog(int64_t deadline_ns, int64_t *pause_ns)
{
	int64_t now_ns = clock_now_ns(), until_ns = now_ns + *pause_ns;
	enum filar_status status;

	if (deadline_ns <= now_ns)
		return FILAR_TIMED_OUT;
	status = green_sleep_until(until_ns < deadline_ns ? until_ns : deadline_ns);
	if (*pause_ns < 16 * NS_PER_MS)
		*pause_ns *= 2;
	return status;
}

enum filar_status stream_connect(
	int fd, const struct sockaddr *address, socklen_t address_bytes, int64_t deadline_ns)
{
	struct fd_user user;
	enum filar_status status = fd_begin(&user, fd);
	int64_t pause_ns = NS_PER_MS;
	bool blocking = false, begun = false;
	uint32_t ready;

	if (status == FILAR_OK)
		status = fd_is_blocking(&user, &blocking);
	if (status == FILAR_OK && blocking)
		return status_detail(
			FILAR_INVALID, "fd %d would block: connecting wants O_NONBLOCK", fd);
	/* Asking again is how to hear of the outcome: 0 or an error once, then EISCONN. */
	while (status == FILAR_OK && call_connect(fd, address, address_bytes) != 0) {
		int error = errno;

		if (error == EISCONN && begun)
			return FILAR_OK;
		begun = true;
		if (error == EAGAIN)
			status = wait_for_backlog(deadline_ns, &pause_ns);
		else if (error == EINPROGRESS || error == EALREADY)
			status = fd_wait_until(fd, EPOLLOUT, deadline_ns, &ready);
		else if (error != EINTR)
			status = fd_failed(error, "connect", fd);
	}
	return status;
}
