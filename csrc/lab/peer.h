/*
 * peer.h - the second party of a way: a kernel thread or a forked process that does what it is told
 * and sleeps in between.
 *
 * A way's setup creates the peer; each sample orders `turns` turns with peer_begin(), does its own
 * part, and collects the peer's status with peer_end(); teardown destroys it.  Between two samples
 * the peer is parked, so that peers of other ways in the plan cost nothing.
 *
 * What both parties touch lives in memory from shared_acquire(), which means the same to a thread
 * and to a process.  A body in a process runs in a copy of the whole (Python) process: it may use
 * that memory, its file descriptors and system calls, nothing else.
 *
 * Nobody waits forever: each order has a deadline, and on_stuck() is called, on a thread of the
 * peer's own, when it passes or the plan is cancelled; it must make both parties return.
 */
#ifndef FILAR_LAB_PEER_H
#define FILAR_LAB_PEER_H

#include "lab/child.h"
#include "lab/way.h"

struct peer;

/* A party that needs this long for an order is lost.  Each of a hundred turns may wait for a CPU:
 * with fifty others on two of them ten seconds were not enough. */
#define PEER_PATIENCE_NS (60 * NS_PER_S)

/* One order: `turns` turns.  Its status is what peer_end() returns. */
typedef enum filar_status peer_body(void *argument, uint32_t turns);

enum { PEER_FDS_MAX = 2 };

struct peer_options {
	bool process; /* a forked process instead of a kernel thread */
	int32_t cpu;  /* where it is pinned, or -1: where its creator may run */
	peer_body *body;
	void *argument; /* from shared_acquire() */
	void (*on_stuck)(void *argument);
	bool unwatched;            /* a thread whose waits end by themselves: no watch over it */
	int32_t fds[PEER_FDS_MAX]; /* a process keeps these file descriptors and no other; -1: none
				    */
};

/* Returns when the peer is ready for an order. */
enum filar_status peer_create(
	struct peer **peer, const struct way_run *run, const struct peer_options *options);
/* Gives an order; returns at once.  Precondition: the last one has ended. */
void peer_begin(struct peer *peer, uint32_t turns);
/* Waits for the end of the order: the body's status, or FILAR_TIMED_OUT. */
enum filar_status peer_end(struct peer *peer);
/* The same when the driver's own part has ended like that; it has hung up if that failed.  The
 * order's status, with its detail: of two failures, the one that is not just FILAR_CANCELLED, "the
 * other party gave up". */
enum filar_status peer_end_after(struct peer *peer, enum filar_status own);
/* Its process, or 0 for a thread. */
pid_t peer_process(const struct peer *peer);
/* Ends, reaps and frees the peer, also in the middle of an order.  NULL is allowed. */
void peer_destroy(struct peer *peer);

#endif
