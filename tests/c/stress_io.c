/*
 * stress_io.c - waits for file descriptors while everything changes under them.  What is lost shows
 * as a hang, which check.h reports.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "crowd.h"
#include "filar.h"
#include "io/fd.h"

/* ---- one pair, many readers and writers ---- */

struct shared_pair {
	int fds[2];
	_Atomic int64_t written, seen;
	_Atomic int writers;
};

static void write_bytes(struct crowd_thread *self)
{
	struct shared_pair *pair = self->shared;
	char bytes[64] = { 0 };
	size_t done;

	while (stress_goes_on()) {
		size_t count = 1 + random_below(&self->random, sizeof bytes);
		int status =
			filar_write_until(pair->fds[1], bytes, count, crowd_deadline(self), &done);

		CHECK(status == FILAR_OK || status == FILAR_TIMED_OUT);
		fetch_add_relaxed(&pair->written, (int64_t)done);
		crowd_jitter(self);
	}
	/* The last one says that nothing more will come. */
	if (fetch_sub_acq_rel(&pair->writers, 1) == 1)
		CHECK_EQ(shutdown(pair->fds[1], SHUT_WR), 0);
}

static void read_bytes(struct crowd_thread *self)
{
	struct shared_pair *pair = self->shared;
	char bytes[48];
	size_t done = 1;

	while (done > 0) {
		int64_t deadline_ns = crowd_deadline(self);
		int status;

		if (random_below(&self->random, 3) == 0) {
			status = filar_wait_readable_until(pair->fds[0], deadline_ns);
			CHECK(status == FILAR_OK || status == FILAR_TIMED_OUT);
		}
		status = filar_read_until(pair->fds[0], bytes, sizeof bytes, deadline_ns, &done);
		CHECK(status == FILAR_OK || status == FILAR_TIMED_OUT);
		fetch_add_relaxed(&pair->seen, (int64_t)done);
		done = status == FILAR_OK ? done : 1;
		crowd_jitter(self);
	}
}

/*
 * Hunts: an event between a call that said EAGAIN and the wait (the ticket); several who read what
 * one event told of; two who arm at once with different events; the wait of a kernel thread beside.
 */
TEST(no_byte_and_no_wake_is_lost_among_readers_and_writers)
{
	void (*const bodies[])(struct crowd_thread *) = { read_bytes, write_bytes };

	for (int kind = 0; kind < CROWD_KINDS; kind++) {
		struct shared_pair pair = { .writers = 4 };
		int small = 4096;

		CHECK_EQ(socketpair(
				 AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair.fds),
			0);
		/* Full now and then. */
		CHECK_EQ(setsockopt(pair.fds[1], SOL_SOCKET, SO_SNDBUF, &small, sizeof small), 0);
		crowd_run((enum crowd_kind)kind, bodies, 2, 8, &pair, 0.1);
		CHECK_EQ(load_relaxed(&pair.written), load_relaxed(&pair.seen));
		CHECK_EQ(filar_close(pair.fds[0]), FILAR_OK);
		CHECK_EQ(filar_close(pair.fds[1]), FILAR_OK);
	}
}

/* ---- numbers that are closed and come again ---- */

#if FILAR_TSAN
/* It takes a number that is closed while others use it for a race, which this is about. */
__attribute__((visibility("default"))) const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
	return "race:call_close\n"
	       "race:open_pair\n";
}
#endif

enum { PAIRS = 4 };

struct changing {
	_Atomic int fds[PAIRS]; /* this end is waited for; -1 while there is none */
	_Atomic int closers;
};

/* Numbers that nobody else in this process is given. */
static void open_pair(int fds[2], int mine)
{
	int low[2];

	CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, low), 0);
	for (int i = 0; i < 2; i++) {
		fds[i] = fcntl(low[i], F_DUPFD_CLOEXEC, 400 + 2 * mine + i);
		CHECK_EQ(fds[i], 400 + 2 * mine + i);
		close(low[i]);
	}
}

/* Closes the pair of its own and opens another with the same numbers. */
static void close_and_open(struct crowd_thread *self)
{
	struct changing *changing = self->shared;
	int mine = self->index / 4, fds[2];

	while (stress_goes_on()) {
		open_pair(fds, mine);
		store_release(&changing->fds[mine], fds[0]);
		crowd_jitter(self);
		if (random_below(&self->random, 2) == 0)
			CHECK_EQ(send(fds[1], "x", 1, MSG_NOSIGNAL), 1);
		crowd_jitter(self);
		if (random_below(&self->random, 4) == 0)
			CHECK_EQ(filar_forget(fds[0]), FILAR_OK);
		store_release(&changing->fds[mine], -1);
		CHECK_EQ(filar_close(fds[0]), FILAR_OK);
		CHECK_EQ(filar_close(fds[1]), FILAR_OK);
	}
	fetch_sub_acq_rel(&changing->closers, 1);
}

/* Whatever the number stands for by now, the wait ends: by data, by the close. */
static void wait_for_changing(struct crowd_thread *self)
{
	struct changing *changing = self->shared;
	char byte;

	while (load_acquire(&changing->closers) > 0) {
		int fd = load_acquire(&changing->fds[random_below(&self->random, PAIRS)]);
		size_t done;

		if (fd < 0)
			crowd_jitter(self);
		else if (random_below(&self->random, 2) == 0)
			(void)filar_recv_until(fd, &byte, 1, 0, FILAR_FOREVER, &done);
		else
			(void)filar_wait_readable_until(fd, FILAR_FOREVER);
	}
}

/*
 * Hunts: a wait that begins while the fd is closed and sleeps for ever (both halves of "Forgetting,
 * closing"); an arming that comes late and tells epoll an old generation; a new file that is taken
 * for the old one.
 */
TEST(closing_leaves_nobody_behind)
{
	void (*const bodies[])(struct crowd_thread *) = { close_and_open, wait_for_changing,
		wait_for_changing, wait_for_changing };

	for (int kind = 0; kind < CROWD_KINDS; kind++) {
		struct changing changing = { .closers = PAIRS };

		for (int i = 0; i < PAIRS; i++)
			atomic_init(&changing.fds[i], -1);
		crowd_run((enum crowd_kind)kind, bodies, 4, 4 * PAIRS, &changing, 0.15);
	}
}

/* ---- ping-pong ---- */

static void play(struct crowd_thread *self)
{
	struct shared_pair *pair = self->shared;
	int mine = self->index % 2;
	size_t done = 1;
	char ball = 0;

	pair += self->index / 2;
	/* A partner that comes when the time is over may leave before the first ball. */
	if (mine == 0)
		(void)filar_send_until(pair->fds[0], &ball, 1, 0, FILAR_FOREVER, &done);
	while (stress_goes_on()) {
		CHECK_EQ(filar_read_until(pair->fds[mine], &ball, 1, FILAR_FOREVER, &done),
			FILAR_OK);
		if (done == 0)
			break;
		if (random_below(&self->random, 16) == 0)
			crowd_jitter(self);
		if (filar_send_until(pair->fds[mine], &ball, 1, 0, FILAR_FOREVER, &done) !=
			FILAR_OK)
			break;
	}
	CHECK_EQ(shutdown(pair->fds[mine], SHUT_RDWR), 0);
}

/* Hunts: the idle worker goes into the epoll just when work or an event comes; several workers that
 * poll at once; an interrupt that another one swallows. */
TEST(pairs_play_ping_pong_while_workers_come_and_go)
{
	void (*const bodies[])(struct crowd_thread *) = { play };

	for (int kind = 0; kind < CROWD_KINDS; kind++) {
		for (int pairs = 1; pairs <= 4; pairs += 3) {
			struct shared_pair all[4];

			for (int i = 0; i < pairs; i++)
				CHECK_EQ(socketpair(AF_UNIX,
						 SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0,
						 all[i].fds),
					0);
			crowd_run((enum crowd_kind)kind, bodies, 1, 2 * pairs, all, 0.05);
			for (int i = 0; i < pairs; i++) {
				CHECK_EQ(filar_close(all[i].fds[0]), FILAR_OK);
				CHECK_EQ(filar_close(all[i].fds[1]), FILAR_OK);
			}
		}
	}
}

/* ---- cancelling ---- */

struct waiting {
	struct shared_pair *pair;
	_Atomic bool done;
};

static void wait_until_cancelled(void *argument)
{
	struct waiting *waiting = argument;
	char byte;
	size_t done;
	int status;

	do {
		status = filar_read_until(waiting->pair->fds[0], &byte, 1, FILAR_FOREVER, &done);
	} while (status == FILAR_OK);
	CHECK_EQ(status, FILAR_CANCELLED);
	store_release(&waiting->done, true);
}

static void cancel_and_write(struct crowd_thread *self)
{
	struct shared_pair *pair = self->shared;

	while (stress_goes_on()) {
		struct waiting waiting = { pair, false };
		struct green_ref ref;

		/* From a kernel thread too. */
		ref = crowd_spawn(wait_until_cancelled, &waiting);
		crowd_jitter(self);
		(void)!write(pair->fds[1], "x", 1);
		crowd_jitter(self);
		CHECK_EQ(green_cancel(ref), FILAR_OK);
		crowd_join(ref);
		CHECK(load_acquire(&waiting.done));
	}
}

/* Hunts: a cancel that meets the event. */
TEST(cancels_meet_events)
{
	void (*const bodies[])(struct crowd_thread *) = { cancel_and_write };
	struct shared_pair pair;
	const enum crowd_kind kinds[] = { CROWD_GREEN_ONE, CROWD_GREEN_TWO, CROWD_MIXED };

	for (int i = 0; i < 3; i++) {
		CHECK_EQ(socketpair(
				 AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair.fds),
			0);
		crowd_run(kinds[i], bodies, 1, 4, &pair, 0.1);
		CHECK_EQ(filar_close(pair.fds[0]), FILAR_OK);
		CHECK_EQ(filar_close(pair.fds[1]), FILAR_OK);
	}
}

TEST_MAIN()
