/*
 * api_io.c - the public waits for file descriptors: check the arguments, call down.
 */
#include "filar.h"
#include "green/preempt.h"
#include "io/fd.h"
#include "io/stream.h"

enum {
	EVENTS_ASKED = FILAR_READABLE | FILAR_WRITABLE | FILAR_PRIORITY | FILAR_HANGUP,
};

static uint32_t inner_events(int32_t events)
{
	return ((events & FILAR_READABLE) != 0 ? EPOLLIN : 0) |
	       ((events & FILAR_WRITABLE) != 0 ? EPOLLOUT : 0) |
	       ((events & FILAR_PRIORITY) != 0 ? EPOLLPRI : 0) |
	       ((events & FILAR_HANGUP) != 0 ? EPOLLRDHUP : 0);
}

/* Where all is over or broken, no read or write would wait. */
static int32_t outer_events(uint32_t ready, int32_t asked)
{
	bool over = (ready & (EPOLLHUP | EPOLLERR)) != 0;
	int32_t events = 0;

	if ((ready & EPOLLIN) != 0 || over)
		events |= asked & FILAR_READABLE;
	if ((ready & EPOLLOUT) != 0 || over)
		events |= asked & FILAR_WRITABLE;
	if ((ready & EPOLLPRI) != 0)
		events |= asked & FILAR_PRIORITY;
	if ((ready & (EPOLLRDHUP | EPOLLHUP)) != 0)
		events |= FILAR_HANGUP;
	if ((ready & EPOLLERR) != 0)
		events |= FILAR_ERROR;
	return events;
}

int filar_wait_fd_until(int fd, int32_t events, int64_t deadline_ns, int32_t *ready)
{
	PREEMPT_GUARD();
	uint32_t inner = 0;
	enum filar_status status;

	if (ready != NULL)
		*ready = 0;
	if ((events & ~EVENTS_ASKED) != 0)
		return status_detail(FILAR_INVALID, "unknown events to wait for: %d", events);
	status = fd_wait_until(fd, inner_events(events), deadline_ns, &inner);
	if (status == FILAR_OK && ready != NULL)
		*ready = outer_events(inner, events);
	return status;
}

int filar_wait_readable_until(int fd, int64_t deadline_ns)
{
	PREEMPT_GUARD();
	uint32_t ready;

	return fd_wait_until(fd, EPOLLIN, deadline_ns, &ready);
}

int filar_wait_writable_until(int fd, int64_t deadline_ns)
{
	PREEMPT_GUARD();
	uint32_t ready;

	return fd_wait_until(fd, EPOLLOUT, deadline_ns, &ready);
}

static enum filar_status no_such_fd(int fd)
{
	return status_detail(FILAR_INVALID, "%d is no file descriptor", fd);
}

int filar_forget(int fd)
{
	PREEMPT_GUARD();

	if (fd < 0)
		return no_such_fd(fd);
	fd_forget(fd);
	return FILAR_OK;
}

int filar_close(int fd)
{
	PREEMPT_GUARD();

	return fd >= 0 ? fd_close(fd) : no_such_fd(fd);
}

static enum filar_status missing(const char *what)
{
	return status_detail(FILAR_INVALID, "no %s was given", what);
}

/* *done is optional outside, not inside. */
static size_t *place(size_t *done, size_t *own)
{
	return done != NULL ? done : own;
}

int filar_read_until(int fd, void *buffer, size_t bytes, int64_t deadline_ns, size_t *done)
{
	PREEMPT_GUARD();
	size_t own;

	if (buffer == NULL && bytes > 0)
		return missing("buffer");
	return stream_read(fd, buffer, bytes, deadline_ns, place(done, &own));
}

int filar_write_until(int fd, const void *buffer, size_t bytes, int64_t deadline_ns, size_t *done)
{
	PREEMPT_GUARD();
	size_t own;

	if (buffer == NULL && bytes > 0)
		return missing("buffer");
	return stream_write(fd, buffer, bytes, deadline_ns, place(done, &own));
}

int filar_recv_until(
	int fd, void *buffer, size_t bytes, int flags, int64_t deadline_ns, size_t *done)
{
	PREEMPT_GUARD();
	size_t own;

	if (buffer == NULL && bytes > 0)
		return missing("buffer");
	return stream_recv(fd, buffer, bytes, flags, deadline_ns, place(done, &own));
}

int filar_send_until(
	int fd, const void *buffer, size_t bytes, int flags, int64_t deadline_ns, size_t *done)
{
	PREEMPT_GUARD();
	size_t own;

	if (buffer == NULL && bytes > 0)
		return missing("buffer");
	return stream_send(fd, buffer, bytes, flags, deadline_ns, place(done, &own));
}

int filar_write_all_until(
	int fd, const void *buffer, size_t bytes, int64_t deadline_ns, size_t *done)
{
	PREEMPT_GUARD();
	size_t own;

	if (buffer == NULL && bytes > 0)
		return missing("buffer");
	return stream_write_all(fd, buffer, bytes, deadline_ns, place(done, &own));
}

int filar_send_all_until(
	int fd, const void *buffer, size_t bytes, int flags, int64_t deadline_ns, size_t *done)
{
	PREEMPT_GUARD();
	size_t own;

	if (buffer == NULL && bytes > 0)
		return missing("buffer");
	return stream_send_all(fd, buffer, bytes, flags, deadline_ns, place(done, &own));
}

int filar_recvfrom_until(int fd, void *buffer, size_t bytes, int flags, void *address,
	uint32_t *address_bytes, int64_t deadline_ns, size_t *done)
{
	PREEMPT_GUARD();
	size_t own;

	if (buffer == NULL && bytes > 0)
		return missing("buffer");
	if (address != NULL && address_bytes == NULL)
		return missing("room for the address");
	return stream_recvfrom(
		fd, buffer, bytes, flags, address, address_bytes, deadline_ns, place(done, &own));
}

int filar_sendto_until(int fd, const void *buffer, size_t bytes, int flags, const void *address,
	uint32_t address_bytes, int64_t deadline_ns, size_t *done)
{
	PREEMPT_GUARD();
	size_t own;

	if (buffer == NULL && bytes > 0)
		return missing("buffer");
	return stream_sendto(
		fd, buffer, bytes, flags, address, address_bytes, deadline_ns, place(done, &own));
}

int filar_recvmsg_until(int fd, void *message, int flags, int64_t deadline_ns, size_t *done)
{
	PREEMPT_GUARD();
	size_t own;

	if (message == NULL)
		return missing("message");
	return stream_recvmsg(fd, message, flags, deadline_ns, place(done, &own));
}

int filar_sendmsg_until(int fd, const void *message, int flags, int64_t deadline_ns, size_t *done)
{
	PREEMPT_GUARD();
	size_t own;

	if (message == NULL)
		return missing("message");
	return stream_sendmsg(fd, message, flags, deadline_ns, place(done, &own));
}

int filar_accept_until(
	int fd, void *address, uint32_t *address_bytes, int64_t deadline_ns, int *accepted)
{
	PREEMPT_GUARD();

	if (accepted == NULL)
		return missing("place for the socket");
	if (address != NULL && address_bytes == NULL)
		return missing("room for the address");
	return stream_accept(fd, address, address_bytes, deadline_ns, accepted);
}

int filar_connect_until(int fd, const void *address, uint32_t address_bytes, int64_t deadline_ns)
{
	PREEMPT_GUARD();

	if (address == NULL)
		return missing("address");
	return stream_connect(fd, address, address_bytes, deadline_ns);
}
