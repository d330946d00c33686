/*
 * turns.c - the media, one pair of functions each.
 *
 * Hanging up races with a turn being handed over.  On the futex word the last store may be the
 * turn's; so both the flag and the word are stored and read in one total order (seq_cst): whoever
 * overwrites the word of a hang-up sees the flag before it sleeps.  The other media keep what
 * hang-up added: a byte, a count, an end of file, a change under the lock.
 */
#include "lab/turns.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "os/calls.h"
#include "os/clock.h"
#include "os/futex.h"

#define TURN_OF_NOBODY 2u

static enum filar_status hung_up(void)
{
	return status_detail(FILAR_CANCELLED, "the other party gave up");
}

/* ---- futex ---- */

static void wake_word(struct turns *turns, int count)
{
	if (turns->shared)
		(void)futex_wake_shared(&turns->word, count);
	else
		(void)futex_wake(&turns->word, count);
}

static enum filar_status give_word(struct turns *turns, enum side side)
{
	store_seq_cst(&turns->word, (uint32_t)side);
	wake_word(turns, 1);
	return FILAR_OK;
}

static enum filar_status take_word(struct turns *turns, enum side side)
{
	uint32_t now;

	while ((now = load_seq_cst(&turns->word)) != (uint32_t)side) {
		if (load_seq_cst(&turns->broken))
			return hung_up();
		if (turns->shared)
			(void)futex_wait_shared_until(&turns->word, now, DEADLINE_NEVER);
		else
			(void)futex_wait_until(&turns->word, now, DEADLINE_NEVER);
	}
	return FILAR_OK;
}

/* ---- pipe, eventfd and socket ---- */

static enum filar_status give_bytes(struct turns *turns, enum side side, size_t bytes)
{
	uint64_t one = 1;
	int32_t fd = turns->write_fds[side == SIDE_DRIVER ? SIDE_PEER : SIDE_DRIVER];

	while (call_write(fd, &one, bytes) < 0) {
		if (load_seq_cst(&turns->broken))
			return hung_up();
		if (errno != EINTR)
			return status_from_errno(errno, "writing to give the turn away");
	}
	return FILAR_OK;
}

static enum filar_status take_bytes(struct turns *turns, enum side side, size_t bytes)
{
	uint64_t token;
	ssize_t got;

	do
		got = call_read(turns->read_fds[side], &token, bytes);
	while (got < 0 && errno == EINTR);
	if (got < 0 && errno != EAGAIN)
		return status_from_errno(errno, "reading to take the turn");
	return got <= 0 || load_seq_cst(&turns->broken) ? hung_up() : FILAR_OK;
}

static enum filar_status open_pipes(struct turns *turns)
{
	for (int side = SIDE_DRIVER; side <= SIDE_PEER; side++) {
		int fds[2];

		if (call_pipe2(fds, O_CLOEXEC) < 0)
			return status_from_errno(errno, "pipe");
		turns->read_fds[side] = fds[0];
		turns->write_fds[1 - side] = fds[1];
	}
	return FILAR_OK;
}

static enum filar_status open_eventfds(struct turns *turns)
{
	for (int side = SIDE_DRIVER; side <= SIDE_PEER; side++) {
		int fd = call_eventfd(0, EFD_CLOEXEC);

		if (fd < 0)
			return status_from_errno(errno, "eventfd");
		turns->read_fds[side] = fd;
		turns->write_fds[1 - side] = fd;
	}
	return FILAR_OK;
}

static enum filar_status open_sockets(struct turns *turns)
{
	int fds[2];

	if (call_socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, fds) < 0)
		return status_from_errno(errno, "socketpair");
	for (int side = SIDE_DRIVER; side <= SIDE_PEER; side++)
		turns->read_fds[side] = turns->write_fds[side] = fds[side];
	return FILAR_OK;
}

static void close_fds(struct turns *turns)
{
	for (int side = SIDE_DRIVER; side <= SIDE_PEER; side++) {
		if (turns->medium == MEDIUM_PIPE && turns->write_fds[side] >= 0)
			(void)close(turns->write_fds[side]);
		if (turns->read_fds[side] >= 0)
			(void)close(turns->read_fds[side]);
	}
}

/* ---- semaphore ---- */

static enum filar_status take_semaphore(struct turns *turns, enum side side)
{
	while (sem_wait(&turns->semaphores[side]) < 0) {
		if (errno != EINTR)
			return status_from_errno(errno, "sem_wait");
	}
	return load_seq_cst(&turns->broken) ? hung_up() : FILAR_OK;
}

/* ---- mutex and condition variable ---- */

static enum filar_status give_condvar(struct turns *turns, enum side side)
{
	pthread_mutex_lock(&turns->lock);
	turns->turn = side;
	pthread_cond_signal(&turns->changed);
	pthread_mutex_unlock(&turns->lock);
	return FILAR_OK;
}

static enum filar_status take_condvar(struct turns *turns, enum side side)
{
	pthread_mutex_lock(&turns->lock);
	while (turns->turn != side && !load_seq_cst(&turns->broken))
		pthread_cond_wait(&turns->changed, &turns->lock);
	pthread_mutex_unlock(&turns->lock);
	return load_seq_cst(&turns->broken) ? hung_up() : FILAR_OK;
}

/* ---- all ---- */

enum filar_status turns_open(struct turns *turns, enum medium medium, bool shared)
{
	memset(turns->read_fds, -1, sizeof turns->read_fds);
	memset(turns->write_fds, -1, sizeof turns->write_fds);
	turns->medium = medium;
	turns->shared = shared;
	turns->is_open = true;
	sem_init(&turns->semaphores[SIDE_DRIVER], shared, 0);
	sem_init(&turns->semaphores[SIDE_PEER], shared, 0);
	pthread_mutex_init(&turns->lock, NULL);
	pthread_cond_init(&turns->changed, NULL);
	if (medium == MEDIUM_CONDVAR && shared)
		/* A process killed in the middle would take the mutex with it. */
		return status_detail(FILAR_NOT_SUPPORTED,
			"mutex and condition variable are for threads of one process here");
	if (medium == MEDIUM_PIPE)
		return open_pipes(turns);
	if (medium == MEDIUM_SOCKET)
		return open_sockets(turns);
	return medium == MEDIUM_EVENTFD ? open_eventfds(turns) : FILAR_OK;
}

void turns_close(struct turns *turns)
{
	if (!turns->is_open)
		return;
	close_fds(turns);
	sem_destroy(&turns->semaphores[SIDE_DRIVER]);
	sem_destroy(&turns->semaphores[SIDE_PEER]);
	pthread_mutex_destroy(&turns->lock);
	pthread_cond_destroy(&turns->changed);
	turns->is_open = false;
}

enum filar_status turns_give(struct turns *turns, enum side side)
{
	switch (turns->medium) {
	case MEDIUM_FUTEX:
		return give_word(turns, side);
	case MEDIUM_PIPE:
	case MEDIUM_SOCKET:
		return give_bytes(turns, side, 1);
	case MEDIUM_EVENTFD:
		return give_bytes(turns, side, sizeof(uint64_t));
	case MEDIUM_SEMAPHORE:
		sem_post(&turns->semaphores[side]);
		return FILAR_OK;
	case MEDIUM_CONDVAR:
		return give_condvar(turns, side);
	}
	return FILAR_INVALID;
}

enum filar_status turns_take(struct turns *turns, enum side side)
{
	switch (turns->medium) {
	case MEDIUM_FUTEX:
		return take_word(turns, side);
	case MEDIUM_PIPE:
	case MEDIUM_SOCKET:
		return take_bytes(turns, side, 1);
	case MEDIUM_EVENTFD:
		return take_bytes(turns, side, sizeof(uint64_t));
	case MEDIUM_SEMAPHORE:
		return take_semaphore(turns, side);
	case MEDIUM_CONDVAR:
		return take_condvar(turns, side);
	}
	return FILAR_INVALID;
}

/*
 * Straight to the system: hanging up must work while a test makes calls fail.
 *
 * A reader sleeps in an empty pipe and a writer of much in a full one.  Both look at O_NONBLOCK
 * again each time they are woken: the flag first, then room for the writer, then a byte for the
 * reader.  The flag is the open file's, so a forked peer has it too.
 */
static void hang_up_pipe(int32_t read_fd, int32_t write_fd)
{
	char page[4096];

	(void)fcntl(read_fd, F_SETFL, O_NONBLOCK);
	(void)fcntl(write_fd, F_SETFL, O_NONBLOCK);
	while (read(read_fd, page, sizeof page) > 0)
		;
	FILAR_KEEP(write(write_fd, page, 1));
}

static void hang_up_fds(struct turns *turns)
{
	uint64_t one = 1;

	for (int side = SIDE_DRIVER; side <= SIDE_PEER; side++) {
		if (turns->medium == MEDIUM_PIPE)
			hang_up_pipe(turns->read_fds[side], turns->write_fds[1 - side]);
		else if (turns->medium == MEDIUM_EVENTFD)
			FILAR_KEEP(write(turns->write_fds[side], &one, sizeof one));
		else if (turns->medium == MEDIUM_SOCKET)
			(void)shutdown(turns->read_fds[side], SHUT_RDWR);
	}
}

void turns_hang_up(struct turns *turns)
{
	/* Once is enough for each medium. */
	if (!turns->is_open || exchange_seq_cst(&turns->broken, true))
		return;
	store_seq_cst(&turns->word, TURN_OF_NOBODY);
	wake_word(turns, INT32_MAX);
	hang_up_fds(turns);
	sem_post(&turns->semaphores[SIDE_DRIVER]);
	sem_post(&turns->semaphores[SIDE_PEER]);
	if (turns->shared)
		return; /* no condition variable; and a process may have died in it */
	pthread_mutex_lock(&turns->lock);
	pthread_cond_broadcast(&turns->changed);
	pthread_mutex_unlock(&turns->lock);
}

/* ---- with the peer ---- */

enum filar_status partners_open(struct partners *partners, const struct way_run *run,
	enum medium medium, bool shared, const struct peer_options *options)
{
	struct peer_options filled = *options;
	enum filar_status status = turns_open(&partners->turns, medium, shared);

	if (status != FILAR_OK)
		return status;
	filled.fds[0] = partners->turns.read_fds[SIDE_PEER];
	filled.fds[1] = partners->turns.write_fds[SIDE_PEER];
	return peer_create(&partners->peer, run, &filled);
}

void partners_close(struct partners *partners)
{
	peer_destroy(partners->peer);
	turns_close(&partners->turns);
}

enum filar_status partners_end(struct partners *partners, enum filar_status status)
{
	return peer_end_after(partners->peer, status);
}
