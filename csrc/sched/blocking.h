/*
 * blocking.h - calls that block a worker's kernel thread, and the workers that stand in meanwhile.
 *
 * A body says "what follows may block" by blocking_begin() and blocking_end(); a worker that stays
 * in one piece of work for long is noticed without that.  The watcher (watch.c) then *relieves* the
 * worker: one worker more becomes active, a spare that was retired or is started now, and takes
 * what is queued at the relieved one by stealing, as any worker does.  Where sections have been
 * long lately, a worker that begins one relieves itself and wakes a retired spare, at once.  When
 * the relieved worker comes back there is one too many; the next spare that looks for work retires.
 * The piece of work that blocks stays on its kernel thread all the time.  Reasons and proofs:
 * README.md, "Blocking".
 *
 * Always: active = workers started - relieved - retired; only spares retire; retired spares have
 * empty queues.
 */
#ifndef FILAR_SCHED_BLOCKING_H
#define FILAR_SCHED_BLOCKING_H

#include "base/tracepoint.h"
#include "sched/worker.h"
#include "sync/spinlock.h"

/* What the watcher does; begin and the idle workers look at it.  The order counts. */
enum watch_mood {
	WATCH_NONE,   /* there is none: neither spares nor preemption were asked for */
	WATCH_KICKED, /* somebody wants it to look closely; it has not seen that yet */
	WATCH_ALERT,  /* looks every 50 us to 1 ms */
	WATCH_SLOW,   /* looks every 2 ms and more */
	WATCH_DEEP,   /* sleeps until somebody runs */
	WATCH_OFF,    /* not started yet, or could not be */
	WATCH_STOP
};

/* A section so long is a blocking one. */
#if FILAR_HARD
#define BLOCKING_LONG_NS 0
#else
#define BLOCKING_LONG_NS (50 * NS_PER_US)
#endif

/* What blocking_begin() may do beside its mark. */
enum watch_hint {
	WATCH_SURPLUS = 1,   /* more are active than are wanted */
	WATCH_EXPECTANT = 2, /* the last section during which another stood in was a long one */
};

struct watch {
	FILAR_CACHELINE_BREAK _Atomic uint32_t mood; /* A  futex; enum watch_mood */
	_Atomic uint32_t hints; /* A  written under blocking.lock: of enum watch_hint */
	FILAR_CACHELINE_BREAK struct kthread
		*kthread;            /* S  who turned OFF into SLOW, then deinit's */
	_Atomic int64_t retry_at_ns; /* A  after it could not be started */
	int64_t preempt_ns;          /* I  0: nobody is preempted */
	int64_t stuck_ns;            /* I  one piece of work for so long is stuck; 0: never */
};

enum worker_relief {
	RELIEF_NONE,
	RELIEF_SECTION,   /* between blocking_begin() and blocking_end() */
	RELIEF_STUCK,     /* long in one piece of work, asleep in the kernel */
	RELIEF_COMPUTING, /* long in one piece of work, computing */
};

struct blocking {
	struct spinlock lock;
	struct worker *retired;     /* L  through worker->retired_next */
	_Atomic uint32_t active;    /* A  written under L */
	_Atomic uint32_t computing; /* A  written under L: workers relieved as COMPUTING */
	uint32_t spares_started;    /* the watcher's alone */
	bool wants_thread;          /* the watcher's alone: the last spare could not be started */
	bool is_short;              /* the watcher's alone: too few are active */
	struct watch watch;
	/* Values only grow; written under L or by the watcher. */
	_Atomic uint64_t relieved; /* A  workers relieved, for whatever reason */
	_Atomic uint64_t resumed;  /* A  of these, came back */
	_Atomic uint64_t stuck;    /* A  noticed in one piece of work without blocking_begin() */
	_Atomic uint64_t started;  /* A  spares: kernel threads made */
	_Atomic uint64_t retired_count; /* A  spares retired */
	_Atomic uint64_t refused;       /* A  times a spare was wanted and none could be had */
	_Atomic int32_t refusal; /* A  enum filar_status of the last; FILAR_LIMIT also at our own */
};

struct scheduler;
struct scheduler_options;

void blocking_init(struct scheduler *scheduler, const struct scheduler_options *options);
/* How many are to be active from now on. */
void blocking_set_working(struct scheduler *scheduler, uint32_t working);
/* The regular workers have ended: ends the watcher and the spares.  Not in the child of a fork. */
void blocking_stop(struct scheduler *scheduler);

/* ---- sections ---- */

void watch_kick_slow(struct worker *worker, uint32_t mood);
void blocking_resume(struct worker *worker);
/* By the hints.  False: the worker is not relieved. */
bool blocking_relieve_self(struct worker *worker);

/* Something waits in this worker's own queue. */
static inline bool blocking_holds_up(struct worker *worker)
{
	return load_relaxed(&worker->next) != NULL || runq_length(&worker->runq) > 0 ||
	       deque_length(&worker->spawners) > 0;
}

/* On a worker.  Sections nest.  They belong to the piece of work that runs, and end at the latest
 * when it waits or yields: what a section marks is that this kernel thread may sleep.  No
 * read-modify-write: the watcher's look is a guess, and a wrong one costs a switch. */
static inline void blocking_begin_on(struct worker *worker)
{
	struct work *current = load_relaxed(&worker->current);
	uint32_t mood;

	if (worker->section_depth > 0 && worker->section_work == current) {
		worker->section_depth++;
		return;
	}
	worker->section_depth = 1;
	worker->section_work = current;
	COUNTER_ADD(worker, sections, 1);
	TRACE(TRACE_BLOCKING_BEGIN, TRACE_ADDRESS(current), 0, worker->place);
	/* Odd, and different from the last. */
	store_relaxed(&worker->section, (load_relaxed(&worker->section) + 1) | 1);
	mood = load_relaxed(&worker->watch->mood);
	if (FILAR_UNLIKELY(load_relaxed(&worker->watch->hints) != 0) &&
		blocking_relieve_self(worker))
		return;
	if (FILAR_UNLIKELY(mood >= WATCH_SLOW))
		watch_kick_slow(worker, mood);
}

static inline void blocking_end_on(struct worker *worker)
{
	if (worker->section_depth == 0 || worker->section_work != load_relaxed(&worker->current) ||
		--worker->section_depth > 0)
		return;
	store_relaxed(&worker->section, load_relaxed(&worker->section) + 1);
	TRACE(TRACE_BLOCKING_END, TRACE_ADDRESS(load_relaxed(&worker->current)), 0, worker->place);
	if (FILAR_UNLIKELY(load_relaxed(&worker->relief) != RELIEF_NONE))
		blocking_resume(worker);
}

/* From any thread; nothing happens on one that is no worker. */
static inline void blocking_begin(void)
{
	struct worker *worker = worker_current();

	if (worker != NULL)
		blocking_begin_on(worker);
}

static inline void blocking_end(void)
{
	struct worker *worker = worker_current();

	if (worker != NULL)
		blocking_end_on(worker);
}

/* ---- for worker.c ---- */

/* Owner, when it looks outside.  Not relieved any more, in no section: it looks for work. */
void blocking_look_slow(struct worker *worker);
/* The pseudo work a spare must do now, or NULL. */
struct work *blocking_retirement(struct worker *worker);
/* On the loop's stack: hands its queue over and sleeps until it is wanted again. */
void blocking_retire(struct worker *worker);

static FILAR_ALWAYS_INLINE void blocking_look(struct worker *worker)
{
	if (FILAR_UNLIKELY(
		    ((load_relaxed(&worker->section) & 1) | load_relaxed(&worker->relief)) != 0))
		blocking_look_slow(worker);
}

/* ---- for watch.c ---- */

/* The worker does not count as active from now on; others stand in.  False: it has retired. */
bool blocking_relieve(struct worker *worker, enum worker_relief relief);
/* Makes spares active until nobody is missing; false: there are too few. */
bool blocking_fill_up(struct scheduler *scheduler);
/* A closer look, please. */
void watch_kick(struct worker *worker);
/* Whoever waited in the source found work, and has not looked there since: another sleeper does. */
void watch_see_to_source(struct scheduler *scheduler);
/* On a worker that begins to run: sees to it that somebody watches. */
void watch_wake_slow(struct worker *worker, uint32_t mood);
static inline void watch_wake(struct worker *worker)
{
	/* K4: seq_cst, after this worker's read-modify-write of idle.word or of `active`.  Pairs
	 * with K3. */
	uint32_t mood = load_seq_cst(&worker->watch->mood);

	if (FILAR_UNLIKELY(mood >= WATCH_DEEP))
		watch_wake_slow(worker, mood);
}
void watch_main(void *scheduler);

#endif
