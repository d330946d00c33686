/*
 * staff.h - threads that serve calls: one interface over the ways a program can have them, so that
 * a way of the lab is written once and compares them all.
 *
 *   ALONE       the submitter runs each call itself: the floor
 *   THREADS     a new thread for each call
 *   GREEN       a new green thread for each call
 *   TEXTBOOK    workers around one queue with one mutex and one condition variable
 *   DISPATCHER  one thread takes calls from the queue and hands each to a worker that is free
 *   SHARED, STEALING, PINNED   filar's pool with that kind of queues
 *
 * TEXTBOOK and DISPATCHER are plain pthreads (staff_textbook.c): what a reader of a book would
 * write.
 */
#ifndef FILAR_LAB_STAFF_H
#define FILAR_LAB_STAFF_H

#include "base/status.h"

enum staff_kind {
	STAFF_ALONE,
	STAFF_THREADS,
	STAFF_GREEN,
	STAFF_TEXTBOOK,
	STAFF_DISPATCHER,
	STAFF_SHARED,
	STAFF_STEALING,
	STAFF_PINNED,
	STAFF_KINDS
};

#define STAFF_WORKERS_MAX 256

struct staff;

typedef void staff_body(void *argument);

struct staff_options {
	enum staff_kind kind;
	uint32_t workers;    /* not of ALONE and THREADS */
	uint32_t calls_max;  /* submitted and not ended, at any time */
	const int32_t *cpus; /* worker i is pinned to cpus[i % cpu_count]; NULL: where the process
				may run */
	uint32_t cpu_count;
	uint32_t spares; /* filar's pools: workers that stand in for blocked ones */
};

/* 'kind' as a way's parameter, for messages. */
const char *staff_kind_name(enum staff_kind kind);

/* All workers have been created; they may still be on their way to their first sleep. */
enum filar_status staff_open(struct staff **staff, const struct staff_options *options);
/* Has body(argument) called, from any thread.  After a failure it will not be. */
enum filar_status staff_submit(struct staff *staff, staff_body *body, void *argument);
/* Waits until all calls have ended; by the thread that opened it, while nobody else submits. */
enum filar_status staff_wait(struct staff *staff);
/* All calls have ended.  NULL is allowed. */
void staff_close(struct staff *staff);

#endif
