/*
 * fd.h - waiting for a file descriptor on whichever kind of thread is calling, and closing it under
 * those who wait.  README.md says which waits there are and what they promise.
 *
 * A call that tries first:  fd_begin(); then fd_take_ticket(), the call, and if it said EAGAIN,
 * fd_wait_tried(), in a loop (stream.c).
 */
#ifndef FILAR_IO_FD_H
#define FILAR_IO_FD_H

#include "io/poller.h"

/* Who calls, and for what. */
struct fd_user {
	int fd;
	struct green *self; /* NULL: a kernel thread, and what follows means nothing */
	struct poller *poller;
	struct fd_record *record;
	struct fd_ticket ticket;
};

/* FILAR_SYSTEM (EBADF): no such number; FILAR_LIMIT, FILAR_NO_MEMORY: no poller, no record. */
enum filar_status fd_begin(struct fd_user *user, int fd);

static inline void fd_take_ticket(struct fd_user *user)
{
	if (user->self != NULL)
		user->ticket = poller_ticket(user->record);
}

/*
 * After the call has said EAGAIN: FILAR_OK, FD_LOOK_AGAIN: try again.  FILAR_CLOSED,
 * FILAR_TIMED_OUT, FILAR_CANCELLED, FILAR_INTERRUPTED; FILAR_SYSTEM and others.
 */
enum filar_status fd_wait_tried(struct fd_user *user, uint32_t events, int64_t deadline_ns);
/* Until one of `events` (EPOLL*) is there now. */
enum filar_status fd_wait_until(int fd, uint32_t events, int64_t deadline_ns, uint32_t *ready);
/* Whether it is without O_NONBLOCK; FILAR_SYSTEM (EBADF). */
enum filar_status fd_is_blocking(struct fd_user *user, bool *blocking);
/* It is new, and O_NONBLOCK. */
void fd_is_new(struct fd_user *user, int fd);
/* For all pollers: the number may be another file's than the one that they know. */
void fd_is_another(int fd);

void fd_forget(int fd);
enum filar_status fd_close(int fd);

/* What a failed call on an fd means, with a detail that names both. */
enum filar_status fd_failed(int error, const char *call, int fd);

#endif
