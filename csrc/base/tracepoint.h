/*
 * tracepoint.h - records of what happened, in a ring per kernel thread.
 *
 * Every layer emits; api_trace.c starts, stops and collects.  While no session runs an emission is
 * one relaxed load and one branch, and its arguments are not even computed.  A ring keeps its
 * newest records; what was overwritten is counted.  What a reader sees of a ring that is being
 * written: README.md, "Trace rings".
 *
 * Who is who in a record:
 *   kernel thread  the kernel's thread id: record.thread, and the subject of TRACE_THREAD_NAME
 *   green thread   serial of its scheduler << 48 | its number (green/switch.h, trace_green)
 *   worker         serial of its scheduler << 16 | its index (worker->place), so never 0
 *   call           the address of its argument; object: that of its body
 */
#ifndef FILAR_BASE_TRACEPOINT_H
#define FILAR_BASE_TRACEPOINT_H

#include <stdbool.h>

#include "base/atomic.h"
#include "base/compiler.h"

/* name, text.  What subject, object and argument mean stands behind each. */
#define TRACE_EVENTS(X)                                                                            \
	X(NONE, "none")                                                                            \
	/* Kernel threads. */                                                                      \
	X(KTHREAD_CREATE, "kthread-create") /* its number in filar; -; its CPU or -1 */            \
	X(KTHREAD_START, "kthread-start")   /* own number; -; CPU it runs on */                    \
	X(KTHREAD_EXIT, "kthread-exit")     /* own number */                                       \
	X(KTHREAD_JOIN, "kthread-join")     /* the joined thread's number */                       \
	X(PARK, "park")               /* address waited on; -; enum wait_reason.  Sleeps now */    \
	X(PARK_END, "park-end")       /* address waited on; -; enum filar_status */                \
	X(UNPARK, "unpark")           /* address woken: whoever sleeps there gets up */            \
	X(THREAD_NAME, "thread-name") /* thread id; 8 bytes of text; from which byte on */         \
	/* What the caller means. */                                                               \
	X(MARK, "mark")                                                                            \
	/* Green threads. */                                                                       \
	X(GREEN_SPAWN, "green-spawn") /* it; who spawned it or 0; worker or 0 */                   \
	X(GREEN_NAME, "green-name")   /* it; 8 bytes of text; from which byte on */                \
	X(GREEN_RUN, "green-run")     /* it; left in the own queue; worker: runs from now */       \
	X(GREEN_PARK, "green-park")   /* it; -; enum wait_reason */                                \
	X(GREEN_WAKE, "green-wake")   /* it; who woke it or 0; enum trace_wake */                  \
	X(GREEN_YIELD, "green-yield") /* it; -; worker: runnable again */                          \
	X(GREEN_PREEMPT,                                                                           \
		"green-preempt")  /* it; -; worker: the yield that follows is not its own */       \
	X(GREEN_END, "green-end") /* it; -; worker */                                              \
	/* Workers and their scheduler. */                                                         \
	X(STEAL, "steal")                   /* the victim's place; how many; the thief's place */  \
	X(WORKER_SLEEP, "worker-sleep")     /* -; -; its place */                                  \
	X(WORKER_WAKE, "worker-wake")       /* -; -; its place */                                  \
	X(WORKER_NOTIFY, "worker-notify")   /* address of the idle record: one gets up */          \
	X(BLOCKING_BEGIN, "blocking-begin") /* what runs, or 0; -; worker */                       \
	X(BLOCKING_END, "blocking-end")     /* what runs, or 0; -; worker */                       \
	X(RELIEVE, "relieve")               /* -; why (sched/blocking.h); the worker that is */    \
	X(RESUME, "resume")                 /* -; -; the relieved worker, back again */            \
	X(STAND_IN, "stand-in")             /* -; -; the spare that becomes active */              \
	X(RETIRE, "retire")                 /* -; -; the spare that nobody needs */                \
	/* Pools: calls, halves of a fork that another worker runs, shares of a loop. */           \
	X(CALL_SUBMIT, "call-submit") /* argument; body; worker or 0 */                            \
	X(CALL_RUN, "call-run")       /* argument; body; worker */                                 \
	X(CALL_END, "call-end")       /* argument; body; worker */                                 \
	X(FORK_RUN, "fork-run")       /* argument; body; worker */                                 \
	X(FORK_END, "fork-end")       /* argument; body; worker */                                 \
	X(LOOP_RUN, "loop-run")       /* loop; body; worker or 0: takes part in it from now on */  \
	X(LOOP_END, "loop-end")       /* loop; body; worker or 0 */                                \
	/* Calls of a Python executor. */                                                          \
	X(TASK_SUBMIT, "task-submit") /* the future, or the map: one item more */                  \
	X(TASK_NAME, "task-name")     /* it; 8 bytes of text; from which byte on */                \
	X(TASK_RUN, "task-run")       /* it; number of the item + 1, or 0 */                       \
	X(TASK_END, "task-end")       /* as TASK_RUN */                                            \
	/* The interpreter lock, as filar sees it taken and let go. */                             \
	X(GIL_WAIT, "gil-wait") /* the green thread, or 0 */                                       \
	X(GIL_HELD, "gil-held") /* the green thread, or 0 */

enum trace_event {
#define X(name, text) TRACE_##name,
	TRACE_EVENTS(X)
#undef X
		TRACE_EVENT_COUNT
};

/* How a green thread was woken. */
enum trace_wake {
	TRACE_WAKE_WOKEN,
	TRACE_WAKE_TIMED_OUT,
	TRACE_WAKE_CANCELLED,
	TRACE_WAKE_POSTED, /* from outside: a worker will be told; woken from now on */
	TRACE_WAKE_EARLY   /* it was woken, by the record before, when it was about to park */
};

struct trace_record {
	int64_t time_ns; /* CLOCK_MONOTONIC */
	uint64_t subject;
	uint64_t object;
	int32_t argument;
	int32_t thread;    /* that wrote it: the kernel's id */
	uint16_t event;    /* enum trace_event */
	int16_t cpu;       /* it ran on; -1: not known */
	uint32_t sequence; /* number of this record in its ring, modulo 2^32 */
};

struct trace_options {
	uint32_t records_per_thread; /* rounded up to a power of two; 0: 16,384 */
	uint64_t bytes_max;          /* of all rings together; 0: 64 MiB */
};

#define TRACE_RECORDS_DEFAULT 16384u
#define TRACE_RECORDS_MIN     16u
#define TRACE_RECORDS_MAX     (1u << 24)
#define TRACE_BYTES_DEFAULT   ((uint64_t)64 << 20)

struct trace_totals {
	int64_t started_ns; /* 0: there was no session */
	int64_t stopped_ns; /* 0: it runs */
	uint64_t written;   /* records, those lost included */
	uint64_t overwritten;
	uint64_t left_out; /* records of threads that got no ring: no memory, or bytes_max */
	uint32_t rings;
	uint64_t bytes; /* of all rings there are */
};

struct trace_ring;

/* Hidden: read by its distance, not through a table. */
extern _Atomic bool tracepoint_enabled __attribute__((visibility("hidden")));

void tracepoint_emit_slow(
	enum trace_event event, uint64_t subject, uint64_t object, int32_t argument);
void tracepoint_emit_text_slow(enum trace_event event, uint64_t subject, const char *text);

static FILAR_ALWAYS_INLINE bool tracepoint_is_on(void)
{
	return FILAR_UNLIKELY(atomic_load_explicit(&tracepoint_enabled, memory_order_relaxed));
}

/* Macros, so that the arguments are computed only when somebody looks. */
#define TRACE(event, subject, object, argument)                                                    \
	(tracepoint_is_on() ? tracepoint_emit_slow(event, (uint64_t)(subject), (uint64_t)(object), \
				      (int32_t)(argument))                                         \
			    : (void)0)
/* A name, in one record per 8 bytes, at most TRACE_TEXT_BYTES_MAX of them. */
#define TRACE_TEXT(event, subject, text)                                                           \
	(tracepoint_is_on() ? tracepoint_emit_text_slow(event, (uint64_t)(subject), text) : (void)0)
#define TRACE_TEXT_BYTES_MAX 64u
/* The address of an object or a function, as a subject. */
#define TRACE_ADDRESS(pointer) ((uint64_t)(uintptr_t)(pointer))

const char *tracepoint_event_name(uint32_t event);

/* FILAR_OK, FILAR_BUSY (a session runs), FILAR_INVALID; forgets the session before. */
enum filar_status tracepoint_start(const struct trace_options *options);
/* FILAR_WRONG_STATE: none runs.  Who is in the middle of an emission may still finish it. */
enum filar_status tracepoint_stop(void);
/*
 * Copies the newest `max` records of the session's rings, ring by ring, oldest first within each,
 * and says how many.  Rings may be written meanwhile: a record overwritten during the copy is
 * dropped and counted as overwritten.
 */
size_t tracepoint_collect(struct trace_record *records, size_t max, struct trace_totals *totals);
/* Forgets the last session and frees the rings of threads that have ended; those of threads that
 * live are kept for the next session.  FILAR_BUSY: it runs. */
enum filar_status tracepoint_clear(void);

/* For self.c: the thread ends, its records stay readable.  NULL is allowed. */
void tracepoint_ring_retire(struct trace_ring *ring);

#endif
