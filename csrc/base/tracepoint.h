/*
 * tracepoint.h - records of what happened, in a ring per kernel thread: emit only.
 *
 * Low layers emit; a collector above them reads (tracepoint_for_each_ring).  While tracing is off
 * an emit is one relaxed load and a branch.  A ring keeps the newest TRACE_RING_RECORDS records;
 * older ones are overwritten and counted as lost.
 */
#ifndef FILAR_BASE_TRACEPOINT_H
#define FILAR_BASE_TRACEPOINT_H

#include <stdbool.h>

#include "base/atomic.h"
#include "base/compiler.h"

#define TRACE_RING_RECORDS 16384u

enum trace_event {
	TRACE_NONE,
	TRACE_KTHREAD_CREATE, /* subject: the new thread's number, argument: its CPU or -1 */
	TRACE_KTHREAD_START,  /* subject: own number, argument: CPU it runs on */
	TRACE_KTHREAD_EXIT,   /* subject: own number */
	TRACE_KTHREAD_JOIN,   /* subject: the joined thread's number */
	TRACE_PARK,           /* subject: address waited on */
	TRACE_UNPARK,         /* subject: address woken */
	TRACE_MARK,           /* subject, argument: whatever the caller means */
	TRACE_GREEN_SPAWN,    /* subject: the green thread's number */
	TRACE_GREEN_RUN,      /* subject: its number, argument: worker; it runs from now on */
	TRACE_GREEN_PARK,     /* subject: its number, argument: the wait reason */
	TRACE_GREEN_WAKE,     /* subject: its number; it is runnable from now on */
	TRACE_GREEN_END,      /* subject: its number, argument: worker */
	TRACE_STEAL,          /* subject: the victim's index, argument: how many */
	TRACE_WORKER_SLEEP,   /* subject: the worker's index */
	TRACE_WORKER_WAKE,    /* subject: the worker's index */
	TRACE_BLOCKING_BEGIN, /* subject: the worker's index */
	TRACE_BLOCKING_END,   /* subject: the worker's index */
	TRACE_RELIEVE,        /* subject: the worker that is, argument: why (sched/blocking.h) */
	TRACE_RESUME,         /* subject: the relieved worker, back again */
	TRACE_STAND_IN,       /* subject: the spare that becomes active */
	TRACE_RETIRE,         /* subject: the spare that nobody needs */
	TRACE_GREEN_PREEMPT,  /* subject: its number, argument: worker; it yields, unasked */
	TRACE_EVENT_COUNT
};

struct trace_record {
	int64_t time_ns; /* CLOCK_MONOTONIC */
	uint64_t subject;
	int32_t argument;
	uint32_t event;
	uint64_t sequence; /* number of this record in its ring, from 0 */
};

struct trace_ring;

extern _Atomic bool tracepoint_enabled;

void tracepoint_emit_slow(enum trace_event event, uint64_t subject, int32_t argument);

static inline void tracepoint_emit(enum trace_event event, uint64_t subject, int32_t argument)
{
	if (FILAR_UNLIKELY(atomic_load_explicit(&tracepoint_enabled, memory_order_relaxed)))
		tracepoint_emit_slow(event, subject, argument);
}

void tracepoint_enable(bool enabled);
const char *tracepoint_event_name(enum trace_event event);

/*
 * Copies the newest `max` records of all rings (oldest first within a ring) and says how many were
 * written to `records`; *lost counts records overwritten before this call.  Rings may be written
 * meanwhile: a record overwritten during the copy is dropped and counted as lost.
 */
size_t tracepoint_copy(struct trace_record *records, size_t max, uint64_t *lost);
/* Forgets all records and frees the rings of ended threads. */
void tracepoint_reset(void);

/* For self.c: the thread ends, its records stay readable.  NULL is allowed. */
void tracepoint_ring_retire(struct trace_ring *ring);

#endif
