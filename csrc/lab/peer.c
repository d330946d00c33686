/*
 * peer.c - the gate at which a peer waits for orders, and the watch over both parties.
 *
 * An order:  the driver writes `turns` and raises `order`; the peer, which slept on it, runs the
 * body, writes `status` and raises `done` to the same number.  The peer is parked while done ==
 * order.  Both words are futexes of the shared kind, so the same gate serves threads and processes.
 *
 * A process is killed, never asked: its parent's death (PR_SET_PDEATHSIG), peer_destroy() and a
 * watch that cannot wake it all end it.  It holds no lock and nothing that outlives it.
 *
 * Always: the child of the fork never returns from peer_main(), never allocates and runs no Python.
 */
#include "lab/peer.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/check.h"
#include "base/failpoint.h"
#include "base/memory.h"
#include "kthread/kthread.h"
#include "os/affinity.h"
#include "os/calls.h"
#include "os/clock.h"
#include "os/futex.h"

#define WATCH_EACH_NS (200 * NS_PER_MS)
#define FDS_MAX       65536u

#ifndef SYS_close_range
#define SYS_close_range 436 /* older headers */
#endif

/* Shared between the parties. */
struct gate {
	_Atomic uint32_t order;   /* A  futex: number of the last order given, from 1 */
	_Atomic uint32_t done;    /* A  futex: number of the last order that ended; 1 is "ready" */
	_Atomic bool stop;        /* A  with the next order: end instead */
	uint32_t turns;           /* S  the driver's while done == order, then the peer's */
	enum filar_status status; /* S  the other way round */
	char detail[240];         /* S  likewise */
};

struct peer {
	struct peer_options options; /* I */
	const struct way_run *run;   /* I  to ask whether the plan is cancelled */
	struct gate *gate;           /* I */
	struct kthread *thread;      /* I  NULL for a process */
	pid_t process;               /* I  0 for a thread */
	struct kthread *watch;       /* I */
	_Atomic int64_t due_ns;      /* A  relaxed: when the order is late; DEADLINE_NEVER: none */
	_Atomic uint32_t watch_stop; /* A  futex */
};

/* ---- the peer's side ---- */

static void report(struct gate *gate, uint32_t order, enum filar_status status)
{
	gate->status = status;
	if (status != FILAR_OK) {
		strncpy(gate->detail, filar_status_detail(), sizeof gate->detail - 1);
		filar_status_detail_clear();
	}
	/* D1: release; publishes the status.  Pairs with D2 in wait_done_until(). */
	store_release(&gate->done, order);
	(void)futex_wake_shared(&gate->done, 1);
}

/* The number of the next order after `last`. */
static uint32_t await_order(struct gate *gate, uint32_t last)
{
	uint32_t order;

	/* G2: acquire; pairs with G1 in give_order(): whoever sees the number sees its turns. */
	while ((order = load_acquire(&gate->order)) == last)
		(void)futex_wait_shared_until(&gate->order, last, DEADLINE_NEVER);
	return order;
}

static void peer_main(void *pointer)
{
	struct peer *peer = pointer;
	struct gate *gate = peer->gate;
	uint32_t order = 1;
	enum filar_status status =
		peer->options.cpu >= 0 ? affinity_pin_self(peer->options.cpu) : FILAR_OK;

	for (report(gate, order, status); status == FILAR_OK; report(gate, order, status)) {
		order = await_order(gate, order);
		if (load_relaxed(&gate->stop))
			return;
		status = peer->options.body(peer->options.argument, gate->turns);
	}
	/* A peer that failed takes part in nothing any more, but the gate still closes in order. */
	while (!load_relaxed(&gate->stop))
		order = await_order(gate, order);
}

/* From Linux 5.9 on one call; before, one for each number that may be in use. */
static void close_from_to(unsigned from, unsigned to)
{
	long max = sysconf(_SC_OPEN_MAX);

	if (syscall(SYS_close_range, from, to, 0) == 0)
		return;
	for (unsigned fd = from; fd <= to && fd < FDS_MAX && (long)fd < max; fd++)
		(void)close((int)fd);
}

/* Closes all but the descriptors kept, in ascending order: others' pipes must see their end when
 * their owner closes them, not when this child dies. */
static void close_others(const int32_t *fds)
{
	unsigned from = 0;

	for (;;) {
		unsigned next = UINT_MAX;

		for (int i = 0; i < PEER_FDS_MAX; i++) {
			if (fds[i] >= 0 && (unsigned)fds[i] >= from && (unsigned)fds[i] < next)
				next = (unsigned)fds[i];
		}
		if (next == UINT_MAX) {
			close_from_to(from, UINT_MAX);
			return;
		}
		if (next > from)
			close_from_to(from, next - 1);
		from = next + 1;
	}
}

FILAR_NORETURN static void process_main(struct peer *peer)
{
#if FILAR_FAIL
	/* The counters are copies here: a failure that fires in them is not the test's. */
	failpoint_arm(FAILPOINT_ANY, 0);
#endif
	close_others(peer->options.fds);
	peer_main(peer);
	child_exit(0);
}

/* ---- the driver's side ---- */

static void give_order(struct peer *peer)
{
	/* G1: release; pairs with G2 in await_order(). */
	store_release(&peer->gate->order, load_relaxed(&peer->gate->order) + 1);
	(void)futex_wake_shared(&peer->gate->order, 1);
}

static enum filar_status wait_done_until(struct gate *gate, int64_t deadline_ns)
{
	uint32_t order = load_relaxed(&gate->order), done;

	/* D2: acquire; pairs with D1 in report(). */
	while ((done = load_acquire(&gate->done)) != order) {
		if (futex_wait_shared_until(&gate->done, done, deadline_ns) == FILAR_TIMED_OUT &&
			load_acquire(&gate->done) != order)
			return FILAR_TIMED_OUT;
	}
	return gate->status == FILAR_OK ? FILAR_OK
					: status_detail(gate->status, "%s", gate->detail);
}

static bool process_has_died(const struct peer *peer)
{
	return peer->process != 0 && child_has_ended(peer->process);
}

void peer_begin(struct peer *peer, uint32_t turns)
{
	FILAR_ASSERT(load_acquire(&peer->gate->done) == load_relaxed(&peer->gate->order));
	peer->gate->turns = turns;
	store_relaxed(&peer->due_ns, clock_now_ns() + PEER_PATIENCE_NS);
	give_order(peer);
}

static enum filar_status wait_end(struct peer *peer)
{
	int64_t late_ns = clock_now_ns() + PEER_PATIENCE_NS;
	enum filar_status status;

	for (;;) {
		status = wait_done_until(peer->gate, clock_now_ns() + WATCH_EACH_NS);
		if (status != FILAR_TIMED_OUT)
			return status;
		if (process_has_died(peer))
			return status_detail(FILAR_SYSTEM, "the second process died");
		if (way_cancelled(peer->run))
			return FILAR_CANCELLED;
		if (clock_now_ns() > late_ns)
			return status_detail(
				status, "the second party did not end its turns in time");
	}
}

enum filar_status peer_end(struct peer *peer)
{
	enum filar_status status = wait_end(peer);

	store_relaxed(&peer->due_ns, DEADLINE_NEVER);
	return status;
}

enum filar_status peer_end_after(struct peer *peer, enum filar_status own)
{
	char detail[sizeof peer->gate->detail];
	enum filar_status theirs;

	snprintf(detail, sizeof detail, "%s", own != FILAR_OK ? filar_status_detail() : "");
	theirs = peer_end(peer);
	if (own == FILAR_OK || (own == FILAR_CANCELLED && theirs != FILAR_OK))
		return theirs;
	return status_detail(own, "%s", detail);
}

/* ---- the watch ---- */

static bool is_stuck(const struct peer *peer)
{
	int64_t due_ns = load_relaxed(&peer->due_ns);

	return due_ns != DEADLINE_NEVER &&
	       (clock_now_ns() > due_ns || way_cancelled(peer->run) || process_has_died(peer));
}

static void watch_main(void *pointer)
{
	struct peer *peer = pointer;

	while (load_relaxed(&peer->watch_stop) == 0) {
		if (is_stuck(peer))
			peer->options.on_stuck(peer->options.argument);
		(void)futex_wait_until(&peer->watch_stop, 0, clock_now_ns() + WATCH_EACH_NS);
	}
}

static void join(struct kthread *thread)
{
	if (thread == NULL)
		return;
	while (kthread_join_until(thread, DEADLINE_NEVER) == FILAR_INTERRUPTED)
		;
	kthread_release(thread);
}

/* ---- life ---- */

static enum filar_status start_thread(struct peer *peer)
{
	filar_kthread_options options;

	kthread_options_init(&options);
	options.name = "filar-peer";
	return kthread_create(&peer->thread, &options, peer_main, peer);
}

static enum filar_status start_process(struct peer *peer)
{
	/* No deadline of its own: the watch and peer_destroy() end it. */
	enum filar_status status = child_fork(&peer->process, 0);

	if (status == FILAR_OK && peer->process == 0)
		process_main(peer);
	if (status != FILAR_OK)
		peer->process = 0;
	return status;
}

static enum filar_status start_watch(struct peer *peer)
{
	filar_kthread_options options;

	kthread_options_init(&options);
	options.name = "filar-watch";
	return kthread_create(&peer->watch, &options, watch_main, peer);
}

enum filar_status peer_create(
	struct peer **result, const struct way_run *run, const struct peer_options *options)
{
	struct peer *peer = memory_acquire(1, sizeof *peer);
	enum filar_status status;

	if (peer == NULL)
		return status_detail(FILAR_NO_MEMORY, "no memory for a second party");
	peer->options = *options;
	peer->run = run;
	atomic_init(&peer->due_ns, DEADLINE_NEVER);
	peer->gate = shared_acquire(sizeof *peer->gate);
	if (peer->gate == NULL) {
		status = status_detail(FILAR_NO_MEMORY, "no shared memory for a second party");
		goto destroy;
	}
	atomic_init(&peer->gate->order, 1);
	status = options->process ? start_process(peer) : start_thread(peer);
	if (status == FILAR_OK && !options->unwatched)
		status = start_watch(peer);
	if (status == FILAR_OK)
		status = peer_end(peer);
	if (status != FILAR_OK)
		goto destroy;
	*result = peer;
	return FILAR_OK;

destroy:
	peer_destroy(peer);
	return status;
}

pid_t peer_process(const struct peer *peer)
{
	return peer->process;
}

void peer_destroy(struct peer *peer)
{
	if (peer == NULL)
		return;
	if (peer->watch != NULL) {
		store_relaxed(&peer->watch_stop, 1);
		(void)futex_wake(&peer->watch_stop, 1);
		join(peer->watch);
	}
	if (peer->process != 0)
		child_kill(peer->process);
	if (peer->thread != NULL) {
		store_relaxed(&peer->gate->stop, true);
		/* Out of the body, if an order is unfinished, and through the gate. */
		peer->options.on_stuck(peer->options.argument);
		give_order(peer);
		join(peer->thread);
	}
	shared_release(peer->gate, sizeof *peer->gate);
	memory_release(peer);
}
