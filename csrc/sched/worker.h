/*
 * worker.h - a kernel thread with a run queue, and the order in which it looks for work.
 *
 * The layer above may switch from one piece of work to the next without coming back to the worker's
 * loop: worker_pick() gives the next piece that is at hand, worker_hand_over() leaves one to the
 * loop that cannot be run from where the caller stands.
 */
#ifndef FILAR_SCHED_WORKER_H
#define FILAR_SCHED_WORKER_H

#include "arch/context.h"
#include "base/random.h"
#include "base/self.h"
#include "sched/deque.h"
#include "sched/idle.h"
#include "sched/pinned.h"
#include "sched/runq.h"
#include "sync/parker.h"

struct kthread;
struct scheduler;
struct watch;

/* Picks between two looks at what is not in the own queue: inject queue, deadlines.  A prime, so
 * that programs with a rhythm of their own do not fall in step with it (as Go's 61). */
#define WORKER_TURNS 61u
/* While somebody waits for a deadline or an event, they should not take longer than this: those of
 * native green threads may be long. */
#define WORKER_LOOK_NS (4 * NS_PER_MS)
/* Picks from the next slot in a row while other work waits in the queue. */
#define WORKER_NEXT_MAX 16u

/* What a worker does, for dumps. */
enum worker_doing {
	WORKER_STARTING,
	WORKER_RUNNING,
	WORKER_SEARCHING,
	WORKER_SLEEPING,
	WORKER_RESTING, /* one of those too many: scheduler_set_working() */
	WORKER_RETIRED, /* a spare that nobody needs now */
	WORKER_ENDED
};

/* Values only grow; the worker writes, anyone reads. */
#define WORKER_COUNTERS(X)                                                                         \
	X(yields)      /* switches to another piece of work by one that stays runnable */          \
	X(parks)       /* by one that waits */                                                     \
	X(spawns)      /* green threads made runnable for the first time, by this worker */        \
	X(ends)        /* ended on this worker */                                                  \
	X(steals)      /* times it took from another worker's queue */                             \
	X(stolen)      /* pieces it took then */                                                   \
	X(spills)      /* pieces moved to the inject queue because the own one was full */         \
	X(injected)    /* pieces taken from the inject queue */                                    \
	X(searches)    /* times it began to search */                                              \
	X(sleeps)      /* times it slept */                                                        \
	X(preemptions) /* of green threads that ran here */                                        \
	X(sections)    /* calls of blocking_begin(), nested ones not counted */

struct counters {
#define X(name) _Atomic uint64_t name;
	WORKER_COUNTERS(X)
#undef X
};

struct worker {
	struct scheduler *scheduler;    /* I */
	_Atomic(struct work *) current; /* A  owner writes: what runs; NULL on its own stack */
	uint32_t turns;                 /* W  picks until the next look outside */
	uint32_t pace;                  /* W  `turns` after a look: fewer where they are long */
	int64_t looked_ns;              /* W  coarse clock at the last timed look; 0: unknown */
	uint32_t next_streak;           /* W  picks from the next slot in a row */
	uint32_t impatience;            /* W  searches that found nothing: worker.c */
	uint32_t spawner_streak;        /* W  picks of spawners since the last look at the queue */
	bool has_spawners;              /* W  there may be some */
	bool eager;    /* W  its last search was answered from outside, without a sleep */
	bool intrudes; /* W  it was woken on its waker's CPU, and has not let it go on yet */
	_Atomic uint32_t anchored; /* A  owner writes: work that can only run here (pinned.h) */
	void *local;               /* I  the upper layer's part of this worker */
	void *carrier;             /* W  the part of the layer above that one */

	/* For the layer that switches stacks: who was left, and what to do with it on the next
	 * stack. */
	struct work *leaving; /* W */
	uint32_t leaving_how; /* W */
	uint32_t index;       /* I  position in scheduler->workers */
	int32_t place;        /* I  serial of the scheduler << 16 | index, for traces */
	struct work *handed;  /* W  popped, but only the loop can run it */
	struct context loop;  /* W  the worker's own stack */
	struct random random; /* W  victims */
	struct pinned pinned; /*    see pinned.h */

	/* Blocking (blocking.h, README.md "Blocking"). */
	struct watch *watch;       /* I */
	uint32_t section_depth;    /* W  blocking_begin() without blocking_end() */
	struct work *section_work; /* W  whose section it is */

	FILAR_CACHELINE_BREAK _Atomic(struct work *)
		next;             /* A  next slot: owner puts, thieves take */
	_Atomic uint32_t ticks;   /* A  owner writes: grows with each pick */
	_Atomic uint32_t section; /* A  owner writes: odd between blocking_begin() and _end() */
	_Atomic uint32_t
		preemptible_ticks; /* A  owner writes: `ticks` when it could be preempted */
	_Atomic uint32_t relief;   /* A  enum worker_relief, written under blocking.lock */
	int64_t relieved_ns;       /* L  when it relieved itself; 0: long into its section */
	struct runq runq;
	struct deque spawners;                          /* A  whose children run first */
	FILAR_CACHELINE_BREAK struct counters counters; /* A  owner writes */
	_Atomic uint32_t doing;                         /* A  enum worker_doing */
	/* A  of whoever starts and joins it, by K10; NULL: it is not known there yet */
	_Atomic(struct kthread *) kthread;
	_Atomic int32_t tid;         /* A  the kernel's; 0 until it has begun */
	_Atomic bool moving;         /* A  somebody changes its CPUs for a moment: aside.c */
	_Atomic uint32_t up;         /* A  futex: 1 when it has begun or could not */
	_Atomic uint32_t signalled;  /* A  watcher sets, handler clears: one signal at a time */
	int32_t cpu;                 /* I  pinned to; -1: not */
	enum filar_status status;    /* S  the worker's until it is up */
	bool spare;                  /* I  stands in for blocked workers */
	bool retired;                /* L */
	struct worker *retired_next; /* L */
	struct work retirement;      /* I  the loop runs it on a spare's own stack */
	struct parker parker;        /* A  a retired spare sleeps here */
	/* The watcher's view of the piece of work that runs. */
	uint32_t seen_ticks;   /* the watcher's alone; so are the next two */
	uint32_t seen_section; /*   */
	int64_t seen_cpu_ns;   /*   */
	_Atomic int64_t
		seen_since_ns; /* A  watcher writes: since then it has been the same; 0: none */
};

/* Owner adds; readers may see it late, never half. */
#define COUNTER_ADD(worker, name, n)                                                               \
	store_relaxed(&(worker)->counters.name, load_relaxed(&(worker)->counters.name) + (n))

/* NULL on kernel threads that are no workers. */
static inline struct worker *worker_current(void)
{
	struct self *self = self_get();

	return self != NULL ? self->worker : NULL;
}

/* For callers that stand on a worker. */
static inline struct worker *worker_here(void)
{
	return self_get()->worker;
}

/* For traces: the caller's, 0 on a kernel thread that is no worker. */
static inline int32_t trace_place(void)
{
	struct worker *worker = worker_current();

	return worker != NULL ? worker->place : 0;
}

enum filar_status worker_init(struct worker *worker, struct scheduler *scheduler, uint32_t index);
void worker_deinit(struct worker *worker);
/* The body of a worker's kernel thread. */
void worker_main(void *worker);

/* Owner.  To the end of the queue; a full queue spills half of it to the inject queue. */
void worker_push_slow(struct worker *worker, struct work *work);
static FILAR_ALWAYS_INLINE void worker_push(struct worker *worker, struct work *work)
{
	if (FILAR_UNLIKELY(!runq_push(&worker->runq, work)))
		worker_push_slow(worker, work);
}

/* Owner.  Runs next, before what is in the queue: for what was just woken, whose data is warm.
 * True: there are others, and it may go on with idle_wake_one_announced(). */
void worker_push_next_slow(struct worker *worker, struct work *work);
static FILAR_ALWAYS_INLINE bool worker_push_next(struct worker *worker, struct work *work)
{
	if (!worker->runq.shared && FILAR_LIKELY(load_relaxed(&worker->next) == NULL))
		store_relaxed(&worker->next, work);
	else
		worker_push_next_slow(worker, work);
	return worker->runq.shared;
}

/* Owner.  Something waits behind the next slot. */
static FILAR_ALWAYS_INLINE bool worker_has_queued(struct worker *worker)
{
	return !runq_is_empty(&worker->runq) || worker->has_spawners;
}

struct work *worker_pick_next_slow(struct worker *worker);
/* There is something, unless a thief was faster. */
static FILAR_ALWAYS_INLINE struct work *worker_pick_next(struct worker *worker)
{
	struct work *work = load_relaxed(&worker->next);

	if (worker->runq.shared || FILAR_UNLIKELY(worker_has_queued(worker)))
		return worker_pick_next_slow(worker);
	store_relaxed(&worker->next, NULL);
	worker->next_streak = 0;
	return work;
}
/* Owner.  Moves all that is queued here to the inject queue, and says how much; wakes nobody. */
uint64_t worker_give_away(struct worker *worker);
/* Anybody, as a thief; the worker is stuck in what it runs.  The same, and wakes somebody. */
void worker_empty(struct worker *worker);

struct work *worker_pick_outside(struct worker *worker);
struct work *worker_pick_with_pinned(struct worker *worker);

/* Owner.  False: no room. */
static FILAR_ALWAYS_INLINE bool worker_push_spawner(struct worker *worker, struct work *work)
{
	worker->has_spawners = true;
	return deque_push(&worker->spawners, work);
}

/* Owner.  The youngest spawner, but not for ever while others wait in the queue. */
static FILAR_ALWAYS_INLINE struct work *worker_pick_spawner(struct worker *worker)
{
	struct work *work;

	if (FILAR_UNLIKELY(++worker->spawner_streak >= WORKER_TURNS)) {
		worker->spawner_streak = 0;
		if (!runq_is_empty(&worker->runq))
			return NULL;
	}
	work = deque_pop(&worker->spawners);
	worker->has_spawners = work != NULL;
	return work;
}

/* Owner.  Of what others may steal: the next slot, spawners, then the own queue. */
static FILAR_ALWAYS_INLINE struct work *worker_pick_shared(struct worker *worker)
{
	struct work *work = NULL;

	if (load_relaxed(&worker->next) != NULL)
		work = worker_pick_next(worker);
	if (work == NULL && FILAR_UNLIKELY(worker->has_spawners))
		work = worker_pick_spawner(worker);
	return work != NULL ? work : runq_pop(&worker->runq);
}

/* Owner.  The next piece of work that needs no search: next slot, own queues, inject queue; or
 * NULL. */
static FILAR_ALWAYS_INLINE struct work *worker_pick(struct worker *worker)
{
	struct work *work;

	store_relaxed(&worker->ticks, load_relaxed(&worker->ticks) + 1);
	if (FILAR_UNLIKELY(--worker->turns == 0)) {
		work = worker_pick_outside(worker);
		if (work != NULL)
			return work;
	}
	if (FILAR_UNLIKELY(load_relaxed(&worker->anchored) > 0))
		work = worker_pick_with_pinned(worker);
	else
		work = worker_pick_shared(worker);
	if (FILAR_LIKELY(work != NULL))
		return work;
	return worker_pick_outside(worker);
}

/* Owner: the next pick looks outside.  That look comes early, so its distance from the last one
 * says nothing of how long turns are. */
static inline void worker_look_soon(struct worker *worker)
{
	worker->turns = 1;
	worker->looked_ns = 0;
}

/* Owner, for the work that runs: from now on only this worker runs it; and no longer. */
static inline void worker_pin(struct worker *worker, struct work *work)
{
	work->home = worker;
	store_relaxed(&worker->anchored, load_relaxed(&worker->anchored) + 1);
}
static inline void worker_unpin(struct worker *worker, struct work *work)
{
	work->home = NULL;
	store_relaxed(&worker->anchored, load_relaxed(&worker->anchored) - 1);
}

/* Owner.  The loop will run it as soon as it is switched to. */
static inline void worker_hand_over(struct worker *worker, struct work *work)
{
	worker->handed = work;
}

#endif
