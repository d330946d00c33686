/*
 * outside.c - a list of those who wait, and a small stock of eventfds to end their waits with.
 */
#include "io/outside.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/list.h"
#include "green/waiter.h"
#include "os/calls.h"
#include "os/clock.h"
#include "sched/blocking.h"
#include "sync/spinlock.h"

#define ALARMS_KEPT 32
/* Where no eventfd is to be had. */
#define SLICE_NS (100 * NS_PER_MS)

struct outside_wait {
	struct wait_sleep sleep;
	struct list link; /* L */
	struct pollfd fds[2];
	_Atomic int outcome; /* A  enum filar_status; FILAR_OK: nobody has ended it */
	uint32_t ready;
	int error;
};

static struct spinlock lock;
static struct list waits = { &waits, &waits }; /* L */
static int alarms[ALARMS_KEPT];                /* L */
static uint32_t alarm_count;                   /* L */
static _Atomic uint32_t wait_count;            /* A */

/* ---- after fork ---- */

static void before_fork(void)
{
	spinlock_lock(&lock);
}

static void after_fork_in_parent(void)
{
	spinlock_unlock(&lock);
}

/* Nobody waits; the eventfds are shared with the parent. */
static void after_fork_in_child(void)
{
	while (list_pop_front(&waits) != NULL)
		;
	while (alarm_count > 0)
		(void)close(alarms[--alarm_count]);
	store_relaxed(&wait_count, 0);
	spinlock_unlock(&lock);
}

__attribute__((constructor)) static void register_fork_handlers(void)
{
	spinlock_init(&lock);
	(void)pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

/* ---- one wait ---- */

static int take_alarm(void)
{
	int alarm = -1;

	spinlock_lock(&lock);
	if (alarm_count > 0)
		alarm = alarms[--alarm_count];
	spinlock_unlock(&lock);
	return alarm >= 0 ? alarm : call_eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
}

static void give_back_alarm(int alarm, bool rung)
{
	uint64_t value;

	if (alarm < 0)
		return;
	if (!rung || call_read(alarm, &value, sizeof value) == sizeof value) {
		spinlock_lock(&lock);
		if (alarm_count < ALARMS_KEPT) {
			alarms[alarm_count++] = alarm;
			alarm = -1;
		}
		spinlock_unlock(&lock);
	}
	if (alarm >= 0)
		(void)close(alarm);
}

static struct outside_wait *wait_of(struct wait_sleep *sleep)
{
	return FILAR_CONTAINER_OF(sleep, struct outside_wait, sleep);
}

static bool is_over(struct wait_sleep *sleep)
{
	struct outside_wait *wait = wait_of(sleep);

	return wait->ready != 0 || wait->error != 0 || load_acquire(&wait->outcome) != FILAR_OK;
}

static void note_result(struct outside_wait *wait)
{
	uint32_t told = (uint32_t)(uint16_t)wait->fds[0].revents;

	if ((told & POLLNVAL) != 0)
		wait->error = EBADF;
	else
		wait->ready = told;
}

static enum filar_status sleep_in_poll(struct wait_sleep *sleep, int64_t until_ns)
{
	struct outside_wait *wait = wait_of(sleep);
	int64_t now_ns = 0, end_ns = until_ns;
	struct timespec left;
	int count;

	if (until_ns != DEADLINE_NEVER || wait->fds[1].fd < 0) {
		now_ns = clock_now_ns();
		if (wait->fds[1].fd < 0 && end_ns - now_ns > SLICE_NS)
			end_ns = now_ns + SLICE_NS;
	}
	left = clock_timespec(end_ns - now_ns);
	count = call_poll(wait->fds, 2, end_ns != DEADLINE_NEVER ? &left : NULL);
	if (count < 0 && errno != EINTR)
		wait->error = errno;
	else if (count < 0)
		return FILAR_INTERRUPTED;
	else if (count > 0)
		note_result(wait);
	else if (end_ns == until_ns)
		return FILAR_TIMED_OUT;
	return FILAR_OK;
}

static enum filar_status sleep_until_over(struct outside_wait *wait, int64_t deadline_ns)
{
	enum filar_status status = FILAR_OK;

	while (status == FILAR_OK && !is_over(&wait->sleep))
		status = wait_sleep_once(&wait->sleep, deadline_ns, WAIT_CANCELLABLE);
	if (wait->ready != 0)
		return FILAR_OK;
	if (load_acquire(&wait->outcome) != FILAR_OK)
		return (enum filar_status)load_relaxed(&wait->outcome);
	return wait->error != 0 ? FILAR_SYSTEM : status;
}

static void wait_init(struct outside_wait *wait, int fd, uint32_t events)
{
	*wait = (struct outside_wait){ .sleep = { sleep_in_poll, is_over },
		.fds = { { .fd = fd, .events = (short)(uint16_t)events },
			{ .fd = -1, .events = POLLIN } } };
}

enum filar_status outside_wait_until(
	int fd, uint32_t events, int64_t deadline_ns, uint32_t *ready, int *error)
{
	struct outside_wait wait;
	enum filar_status status;

	wait_init(&wait, fd, events);
	wait.fds[1].fd = take_alarm();
	/* F3: seq_cst read-modify-write, before ppoll looks the fd up.  Pairs with itself in
	 * outside_end_waits(). */
	fetch_add_seq_cst(&wait_count, 1);
	spinlock_lock(&lock);
	list_push_back(&waits, &wait.link);
	spinlock_unlock(&lock);
	blocking_begin();
	status = sleep_until_over(&wait, deadline_ns);
	blocking_end();
	spinlock_lock(&lock);
	list_remove(&wait.link);
	spinlock_unlock(&lock);
	fetch_sub_seq_cst(&wait_count, 1);
	give_back_alarm(wait.fds[1].fd, load_relaxed(&wait.outcome) != FILAR_OK);
	*ready = wait.ready;
	*error = wait.error;
	return status;
}

enum filar_status outside_look(int fd, uint32_t events, uint32_t *ready, int *error)
{
	const struct timespec now = { 0 };
	struct outside_wait wait;
	int count;

	wait_init(&wait, fd, events);
	do {
		count = call_poll(wait.fds, 1, &now);
	} while (count < 0 && errno == EINTR);
	if (count < 0)
		wait.error = errno;
	else if (count > 0)
		note_result(&wait);
	*ready = wait.ready;
	*error = wait.error;
	if (wait.error != 0)
		return FILAR_SYSTEM;
	return wait.ready != 0 ? FILAR_OK : FILAR_TIMED_OUT;
}

void outside_end_waits(int fd, enum filar_status outcome)
{
	uint64_t one = 1;
	struct list *link;

	/* F3, the other side: a read-modify-write after the fd was closed. */
	if (fetch_add_seq_cst(&wait_count, 0) == 0)
		return;
	spinlock_lock(&lock);
	LIST_FOR_EACH(link, &waits)
	{
		struct outside_wait *wait = FILAR_CONTAINER_OF(link, struct outside_wait, link);

		if (wait->fds[0].fd != fd || load_relaxed(&wait->outcome) != FILAR_OK)
			continue;
		store_release(&wait->outcome, outcome);
		while (wait->fds[1].fd >= 0 && call_write(wait->fds[1].fd, &one, sizeof one) < 0 &&
			errno != EAGAIN)
			;
	}
	spinlock_unlock(&lock);
}
