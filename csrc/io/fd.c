/*
 * fd.c - sends a wait to the poller or to ppoll, and closes for both.
 */
#include "io/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#include "io/outside.h"
#include "os/calls.h"
#include "os/clock.h"

/* Linux gives them the same numbers. */
_Static_assert(EPOLLIN == POLLIN && EPOLLOUT == POLLOUT && EPOLLPRI == POLLPRI, "same");
_Static_assert(EPOLLERR == POLLERR && EPOLLHUP == POLLHUP && EPOLLRDHUP == POLLRDHUP, "same");

enum filar_status fd_failed(int error, const char *call, int fd)
{
	char what[64];
	enum filar_status status;

	snprintf(what, sizeof what, "%s on fd %d", call, fd);
	status = status_from_errno(error, what);
	/* That of a connection is no deadline of ours. */
	return status == FILAR_TIMED_OUT || status == FILAR_INTERRUPTED ? FILAR_SYSTEM : status;
}

static enum filar_status was_closed(int fd)
{
	return status_detail(FILAR_CLOSED, "fd %d was closed while somebody waited for it", fd);
}

enum filar_status fd_begin(struct fd_user *user, int fd)
{
	enum filar_status status;

	user->fd = fd;
	user->self = green_self();
	if (fd < 0)
		return fd_failed(EBADF, "a call", fd);
	if (user->self == NULL)
		return FILAR_OK;
	status = poller_of(&user->poller, user->self);
	if (status != FILAR_OK)
		return status;
	if (user->poller == NULL) {
		user->self = NULL; /* the runtime is the parent's */
		return FILAR_OK;
	}
	return poller_record(&user->record, user->poller, fd);
}

/* What waits say beside a plain outcome; 0: it is one. */
static enum filar_status explain(enum filar_status status, int error, int fd)
{
	if (status == FILAR_CLOSED)
		return was_closed(fd);
	return error != 0 ? fd_failed(error, "a wait", fd) : status;
}

enum filar_status fd_wait_tried(struct fd_user *user, uint32_t events, int64_t deadline_ns)
{
	enum filar_status status;
	uint32_t ready;
	int error;

	if (deadline_ns <= 0)
		return FILAR_TIMED_OUT;
	if (user->self == NULL)
		status = outside_wait_until(user->fd, events, deadline_ns, &ready, &error);
	else
		status = poller_wait_until(user->poller, user->record, user->fd, events,
			&user->ticket, deadline_ns, &ready, &error);
	return explain(status, error, user->fd);
}

/* A deadline that has passed, or a thread that was asked to stop: takes what is there. */
static enum filar_status look(
	struct fd_user *user, uint32_t events, uint32_t *ready, enum filar_status otherwise)
{
	int error;
	enum filar_status status = outside_look(user->fd, events, ready, &error);

	return status == FILAR_TIMED_OUT ? otherwise : explain(status, error, user->fd);
}

static enum filar_status wait_level(
	struct fd_user *user, uint32_t events, int64_t deadline_ns, uint32_t *ready)
{
	enum filar_status status;
	int error;

	do {
		status = poller_wait_until(user->poller, user->record, user->fd, events, NULL,
			deadline_ns, ready, &error);
	} while (status == FD_LOOK_AGAIN);
	if (error == EPERM) {
		*ready = events & (EPOLLIN | EPOLLOUT);
		return FILAR_OK;
	}
	return explain(status, error, user->fd);
}

enum filar_status fd_wait_until(int fd, uint32_t events, int64_t deadline_ns, uint32_t *ready)
{
	struct fd_user user;
	enum filar_status status = fd_begin(&user, fd);
	int error;

	*ready = 0;
	if (status != FILAR_OK)
		return status;
	if (user.self != NULL && green_is_cancelled(user.self))
		return look(&user, events, ready, FILAR_CANCELLED);
	if (deadline_ns != DEADLINE_NEVER && deadline_ns <= clock_now_ns())
		return look(&user, events, ready, FILAR_TIMED_OUT);
	if (user.self != NULL)
		return wait_level(&user, events, deadline_ns, ready);
	do {
		status = outside_wait_until(fd, events, deadline_ns, ready, &error);
	} while (status == FD_LOOK_AGAIN);
	return explain(status, error, fd);
}

enum filar_status fd_is_blocking(struct fd_user *user, bool *blocking)
{
	uint32_t mode = user->self != NULL ? load_relaxed(&user->record->mode) : FD_MODE_UNKNOWN;
	int flags;

	if (FILAR_UNLIKELY(mode == FD_MODE_UNKNOWN)) {
		flags = call_get_file_flags(user->fd);
		if (flags < 0)
			return fd_failed(errno, "fcntl", user->fd);
		mode = (flags & O_NONBLOCK) != 0 ? FD_MODE_NONBLOCKING : FD_MODE_BLOCKING;
		if (user->self != NULL)
			store_relaxed(&user->record->mode, mode);
	}
	*blocking = mode == FD_MODE_BLOCKING;
	return FILAR_OK;
}

void fd_is_new(struct fd_user *user, int fd)
{
	struct fd_record *record;

	if (user->self != NULL && poller_record(&record, user->poller, fd) == FILAR_OK)
		poller_is_new(record);
}

void fd_is_another(int fd)
{
	pollers_begin_anew(fd);
}

static void end_waits(int fd)
{
	pollers_close(fd);
	outside_end_waits(fd, FILAR_CLOSED);
}

static void look_again(int fd)
{
	pollers_look_again(fd);
	outside_end_waits(fd, FD_LOOK_AGAIN);
}

void fd_forget(int fd)
{
	end_waits(fd);
	look_again(fd);
}

enum filar_status fd_close(int fd)
{
	int error = 0;

	end_waits(fd);
	if (call_close(fd) != 0)
		error = errno;
	look_again(fd);
	/* EINTR: it is closed nevertheless, on Linux. */
	return error == 0 || error == EINTR ? FILAR_OK : fd_failed(error, "close", fd);
}
