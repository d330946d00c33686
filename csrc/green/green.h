/*
 * green.h - green threads: a body on a stack of its own, run by the workers of a runtime.
 *
 * Waiting is waiter.h's, the switch from one to the next is switch.h's, starting and ending the
 * whole is runtime.h's.  Protocols and proofs: sched/README.md, "Park and unpark", "The end of a
 * green thread".
 *
 * A green thread's descriptor lies at the top of its stack.  Descriptors are never unmapped before
 * the runtime ends, so a stale handle can be looked at: its number no longer matches.
 */
#ifndef FILAR_GREEN_GREEN_H
#define FILAR_GREEN_GREEN_H

#include "arch/context.h"
#include "green/stack.h"
#include "sched/deadline.h"
#include "sched/work.h"

struct runtime;
struct waiter;

enum green_state {
	GREEN_NONE,     /* the slot is free; a cache or the pool owns it */
	GREEN_RUNNABLE, /* on exactly one run queue, which owns it */
	GREEN_RUNNING,  /* on a worker's stack pointer; that worker owns it; on no queue */
	GREEN_PARKED,   /* registers saved; one wait (waiter.h) owns it */
	GREEN_DEAD      /* the body has returned, nobody stands on the stack; the joiner owns it */
};

/* Why it is parked: for people. */
#define WAIT_REASONS(X)                                                                            \
	X(NONE, "nothing")                                                                         \
	X(JOIN, "join")                                                                            \
	X(SLEEP, "sleep")                                                                          \
	X(EVENT, "event")                                                                          \
	X(MUTEX, "mutex")                                                                          \
	X(COND, "condition")                                                                       \
	X(SEMAPHORE, "semaphore")                                                                  \
	X(SEND, "send")                                                                            \
	X(RECEIVE, "receive")                                                                      \
	X(SELECT, "select")                                                                        \
	X(LATCH, "latch")                                                                          \
	X(BARRIER, "barrier")                                                                      \
	X(WAITGROUP, "waitgroup")                                                                  \
	X(ONCE, "once")                                                                            \
	X(READ_LOCK, "read lock")                                                                  \
	X(WRITE_LOCK, "write lock")                                                                \
	X(READABLE, "readable fd")                                                                 \
	X(WRITABLE, "writable fd")                                                                 \
	X(FD, "event of an fd")

enum wait_reason {
#define X(name, text) WAIT_##name,
	WAIT_REASONS(X)
#undef X
		WAIT_REASON_COUNT
};

#define GREEN_NAME_BYTES_MAX 23

typedef void green_body(void *argument);

struct green {
	/* What a spawn touches and a switch does not: one line. */
	struct stack_slot slot;          /* I  as stack.h says */
	green_body *body;                /* I */
	void *argument;                  /* I */
	_Atomic(struct waiter *) joiner; /* A  who joins, or one of JOINER_* */
	struct runtime *runtime;         /* I  of the slot: the same for all that come */
	void *attended;                  /* S  the attendant's, while it is pinned */
	_Atomic uint8_t has_name;        /* A  0: `name` is somebody else's */
	bool preemptible;                /* I  see preempt.h */
	_Atomic uint8_t preempt_wanted;  /* A  own, handler: was to be preempted, could not be */
	_Atomic uint16_t preempt_off;    /* A  own, handler: not to be preempted now */

	/* What each switch touches: one line. */
	_Alignas(FILAR_CACHELINE_BYTES) struct context context; /* S */
	struct work work;                                       /* S */
	_Atomic uint64_t park; /* A  the current wait: see waiter.h */
	_Atomic uint32_t
		state; /* A  enum green_state, written by the owner; for dumps and checks */
	_Atomic uint32_t reason; /* A  enum wait_reason, likewise */
	_Atomic uint64_t number; /* A  of this green thread in its runtime; 0: the slot is free */
	_Atomic uint64_t cancel_number; /* A  cancelled if it equals `number` */

	struct deadline deadline;       /* S  of the current wait */
	uint64_t deadline_ticket;       /* S  the wait it belongs to */
	_Atomic uint64_t name[3];       /* A  text, in words so that a dump may read it any time */
	_Atomic uint32_t cancel_posted; /* A  1: cancel_work is on its way to a worker */
	struct work cancel_work;        /* S  of whoever set cancel_posted, then the scheduler's */
};

#define JOINER_ENDED    ((struct waiter *)1)
#define JOINER_DETACHED ((struct waiter *)2)
#define JOINER_WOKEN    ((struct waiter *)3) /* the one that ends has claimed and woken its joiner */

/* A handle: valid until the green thread was joined or detached; after that calls say so. */
struct green_ref {
	struct green *green;
	uint64_t number;
};

struct green_options {
	const char *name;   /* cut to GREEN_NAME_BYTES_MAX; NULL: none */
	size_t stack_bytes; /* 0: the runtime's default */
	bool detached;      /* nobody will join; the handle is not valid */
	/* Spawned by a green thread: it runs now, and the spawner next, here or on a worker that
	 * has nothing to do.  For fork-join: few are alive at once, on warm stacks. */
	bool run_first;
	bool preemptible; /* where the runtime preempts: see preempt.h for what it may do */
};

/*
 * Makes a green thread that runs body(argument) on `runtime`; it may have begun, or ended, when
 * this returns.  options and ref may be NULL (no ref: detached).  FILAR_NO_MEMORY, FILAR_LIMIT: no
 * stack; FILAR_INVALID: stack too large; FILAR_WRONG_STATE: the runtime is shut down; FILAR_FORKED.
 * From any thread; never blocks.
 */
enum filar_status green_spawn(struct green_ref *ref, struct runtime *runtime,
	const struct green_options *options, green_body *body, void *argument);

/*
 * A green thread to be: queued and stolen as any other, but it has no stack before a worker begins
 * it.  So those that wait for their turn cost no more than this struct.  In memory of the caller's;
 * from green_spawn_late() on the queue's, then the attendant's (runtime.h): it is given to
 * late_body() on the new stack, or to late_failed() where there is none to be had.  Detached.
 */
struct green_late {
	struct work work;        /* S */
	struct runtime *runtime; /* I  has an attendant */
	size_t stack_bytes;      /* I  0: the runtime's default */
	uint64_t spawner;        /* I  for the trace, which has no number of it before it begins */
};
/* As green_spawn(); lack of memory shows when it begins. */
enum filar_status green_spawn_late(struct green_late *late);

/*
 * Waits for the end and gives the green thread back.  FILAR_TIMED_OUT, FILAR_CANCELLED (the caller
 * was cancelled), FILAR_INTERRUPTED (kernel threads: a signal): it may be tried again.
 * FILAR_DEADLOCK: itself.  FILAR_BUSY: somebody else is joining it.  FILAR_WRONG_STATE: it was
 * joined or detached before.  From any thread.
 */
enum filar_status green_join_until(struct green_ref ref, int64_t deadline_ns);
/* Gives it back at once or when it ends. */
enum filar_status green_detach(struct green_ref ref);
/*
 * Asks it to stop: from now on its cancellable waits end with FILAR_CANCELLED.  Nothing else
 * happens to it.  FILAR_WRONG_STATE: it was joined or detached before.
 */
enum filar_status green_cancel(struct green_ref ref);

/* On a green thread: lets others run, stays runnable.  On a kernel thread: sched_yield. */
void green_yield(void);
/*
 * For the calling green thread: from now on only this worker runs it, and the runtime's attendant
 * (runtime.h) is told whenever it is left and continued; green->attended is its attendant's.  It
 * ends unpinned.
 */
void green_pin(struct green *green, void *attended);
void green_unpin(struct green *green);
/* NULL on a kernel thread's own stack. */
struct green *green_self(void);
struct green_ref green_ref_of(struct green *green);
bool green_is_cancelled(const struct green *green);
/* Until the deadline: FILAR_OK; FILAR_CANCELLED (green threads), FILAR_INTERRUPTED (kernel
 * threads). */
enum filar_status green_sleep_until(int64_t deadline_ns);

/* Copies the name, at most GREEN_NAME_BYTES_MAX bytes and a zero. */
void green_read_name(const struct green *green, char *text);
/* "green thread 7 \"name\"". */
void green_describe(const struct green *green, char *text, size_t bytes);
const char *green_state_name(uint32_t state);
const char *wait_reason_name(uint32_t reason);

/* For the runtime: how workers run green threads. */
extern const struct work_class green_work_class;

#endif
