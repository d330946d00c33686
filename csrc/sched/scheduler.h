/*
 * scheduler.h - a set of workers that find, steal and run work.
 *
 * Knows nothing of green threads: the layer above gives it work (work.h) and four hooks.  With one
 * worker it is the N:1 model, with more the M:N model.
 */
#ifndef FILAR_SCHED_SCHEDULER_H
#define FILAR_SCHED_SCHEDULER_H

#include "base/check.h"
#include "sched/blocking.h"
#include "sched/deadline.h"
#include "sched/inject.h"
#include "sched/mailbox.h"
#include "sched/worker.h"

#define WORKERS_MAX 1024
#define SPARES_MAX  1024

enum worker_pin {
	WORKER_PIN_NONE,
	WORKER_PIN_COMPACT, /* neighbours first */
	WORKER_PIN_SCATTER, /* as far apart as can be */
	WORKER_PIN_LIST     /* worker i on cpus[i % cpu_count] */
};

struct scheduler_options {
	uint32_t workers; /* 1..WORKERS_MAX */
	enum worker_pin pin;
	const int32_t *cpus; /* for WORKER_PIN_LIST */
	size_t cpu_count;
	const char *name;    /* of the workers' kernel threads: "<name>-<index>", cut to fit */
	uint32_t spares_max; /* workers that may stand in for blocked ones; 0: none, no watcher */
	/* What says by worker->preemptible_ticks that it may be, and runs for so long while others
	 * wait, is sent the signal.  0: nothing is. */
	int64_t preempt_ns;
	int32_t preempt_signal;
	/* Instead: the watcher calls this for whatever runs for so long; it must not wait. */
	void (*preempt)(struct worker *worker);
	int64_t watch_ns; /* one piece of work for so long is stuck; 0: only what is marked */
	/* On each worker's kernel thread, at its beginning and end; NULL: nothing to do. */
	enum filar_status (*worker_begins)(struct worker *worker);
	void (*worker_ends)(struct worker *worker);
	/* On some worker, each time it runs out of work while the scheduler is closing. */
	void (*quiet)(struct scheduler *scheduler);
	/* For a layer with queues of its own (README.md, "Queues of the layer above"); NULL: none.
	 * find: the next piece of work from them; has_more: whether they hold any for this worker;
	 * peek: a guess at it, cheap enough to be asked again and again; rests: before and after a
	 * worker rests because it is one too many; it must not keep what only it would find. */
	struct work *(*find)(struct worker *worker);
	bool (*has_more)(struct worker *worker);
	bool (*peek)(struct worker *worker);
	void (*rests)(struct worker *worker, bool begins);
	uint32_t working;   /* of the workers, how many are started and work; 0: all */
	size_t stack_bytes; /* of the workers' kernel threads; 0: the process's default */
};

struct scheduler {
	uint32_t worker_count;  /* I  regular ones, those that rest included */
	uint32_t serial;        /* I  1, 2, ... in this process, for traces; 15 bits */
	size_t stack_bytes;     /* I  0: the process's default */
	uint32_t worker_limit;  /* I  with spares */
	_Atomic uint32_t made;  /* A  workers[0..made) are initialised; grows */
	bool spin;              /* I  searching for a while can pay: several CPUs */
	struct worker *workers; /* I */
	enum filar_status (*worker_begins)(struct worker *worker); /* I */
	void (*worker_ends)(struct worker *worker);                /* I */
	void (*quiet)(struct scheduler *scheduler);                /* I */
	struct work *(*find)(struct worker *worker);               /* I */
	bool (*has_more)(struct worker *worker);                   /* I */
	bool (*peek)(struct worker *worker);                       /* I */
	void (*rests)(struct worker *worker, bool begins);         /* I */
	void (*preempt)(struct worker *worker);                    /* I  NULL: the signal */
	struct mailbox mailbox;
	struct inject inject;
	struct deadlines deadlines;
	struct idle idle;
	_Atomic uint64_t asides; /* A  for dumps: workers woken aside */
	struct blocking blocking;
	char name[11];            /* I  of the kernel threads, cut */
	int32_t preempt_signal;   /* I  0: none */
	int32_t *home;            /* I  the creator's CPUs if the workers are pinned, else NULL */
	size_t home_count;        /* I */
	_Atomic bool closing;     /* A  workers that run out of work call quiet() */
	_Atomic bool stopping;    /* A  workers end as soon as they run out of what is at hand */
	_Atomic uint32_t started; /* A  workers 0.. that have a kernel thread */
	_Atomic uint32_t working; /* A  futex: workers from this index on rest, but spares */
};

/* Starts the workers, all or none: FILAR_LIMIT, FILAR_NO_MEMORY, FILAR_NO_CPU, ... */
enum filar_status scheduler_init(
	struct scheduler *scheduler, const struct scheduler_options *options, void *const *locals);
/* From now on the first `working` work, those after them rest; starts what is missing.  FILAR_LIMIT
 * and the like: as before.  One caller at a time. */
enum filar_status scheduler_set_working(struct scheduler *scheduler, uint32_t working);
/* Asks sleeping and running workers to call quiet() whenever they run out of work. */
void scheduler_close(struct scheduler *scheduler);
/* Ends the workers and frees everything.  No work may be left.  In the child of a fork: only frees.
 */
void scheduler_deinit(struct scheduler *scheduler);
bool scheduler_is_forked(const struct scheduler *scheduler);

/* From any kernel thread.  After this the scheduler may be gone, if the work could end it. */
void scheduler_submit(struct scheduler *scheduler, struct work *work);
/* Pinned work: to its worker's queue or inbox.  `worker` is the caller's, or NULL outside. */
void scheduler_ready_pinned(struct worker *worker, struct work *work);
void scheduler_ready_slow(struct worker *worker, struct work *work);
/* On a worker of this scheduler: makes work runnable, in the next slot, at the end of the queue, or
 * as a spawner whose child runs first. */
static inline void scheduler_ready_next(struct worker *worker, struct work *work)
{
	if (FILAR_UNLIKELY(work->home != NULL))
		scheduler_ready_pinned(worker, work);
	else if (worker_push_next(worker, work))
		idle_wake_one_announced(&worker->scheduler->idle);
}
static inline void scheduler_ready(struct worker *worker, struct work *work)
{
	FILAR_ASSERT(work->home == NULL);
	if (!worker->runq.shared)
		worker_push(worker, work);
	else if (FILAR_LIKELY(runq_push_announced(&worker->runq, work)))
		idle_wake_one_announced(&worker->scheduler->idle);
	else
		scheduler_ready_slow(worker, work);
}
static inline void scheduler_ready_spawner(struct worker *worker, struct work *work)
{
	if (FILAR_UNLIKELY(work->home != NULL))
		scheduler_ready_pinned(worker, work);
	else if (FILAR_UNLIKELY(!worker_push_spawner(worker, work)))
		scheduler_ready(worker, work);
	else if (worker->runq.shared)
		idle_wake_one_announced(&worker->scheduler->idle);
}

/* Adds a deadline and sees to it that somebody wakes up for it. */
void scheduler_add_deadline(struct scheduler *scheduler, struct deadline *deadline);
void scheduler_fire_deadlines_slow(struct scheduler *scheduler);
static inline void scheduler_fire_deadlines(struct scheduler *scheduler)
{
	if (FILAR_UNLIKELY(deadlines_earliest(&scheduler->deadlines) != INT64_MAX))
		scheduler_fire_deadlines_slow(scheduler);
}

/* Workers that exist, with the spares made so far: those whose queues must be looked at. */
static inline uint32_t scheduler_made(struct scheduler *scheduler)
{
	/* K2: acquire; pairs with K1: their queues are initialised.  seq_cst, as the looks into
	 * those queues are: one about to sleep sees whoever announced work there. */
	return load_seq_cst(&scheduler->made);
}

/* From any thread, at any time: idle_source.h.  False: it has one already. */
FILAR_MUST_USE static inline bool scheduler_attach_source(
	struct scheduler *scheduler, struct idle_source *source)
{
	return idle_attach_source(&scheduler->idle, source);
}

static inline bool scheduler_has_spares(const struct scheduler *scheduler)
{
	return scheduler->worker_limit > scheduler->worker_count;
}

static inline bool scheduler_preempts(const struct scheduler *scheduler)
{
	return scheduler->preempt_signal != 0 || scheduler->preempt != NULL;
}

static inline bool watch_exists(struct scheduler *scheduler)
{
	uint32_t mood = load_relaxed(&scheduler->blocking.watch.mood);

	return mood != WATCH_NONE && mood != WATCH_OFF;
}

/* For worker.c. */
void scheduler_worker_is_up(struct worker *worker);
/* For blocking.c and watch.c.  One worker more, without kernel thread. */
enum filar_status scheduler_make_worker(struct scheduler *scheduler);
/* Starts its kernel thread and waits until it is up, or has failed and is gone. */
enum filar_status scheduler_start_spare(struct worker *worker);
/* Name (at least FILAR_NAME_BYTES_MAX + 1 bytes) and CPUs of a kernel thread that serves the
 * scheduler. */
void scheduler_thread_options(const struct scheduler *scheduler, filar_kthread_options *options,
	char *name, const char *role);
/* Waits for its end and gives it back; NULL is allowed.  The second: of a worker that is joined. */
void scheduler_join_kthread(struct kthread *kthread);
void scheduler_join_worker(struct worker *worker);

const char *worker_doing_name(uint32_t doing);
/* Sum over the workers. */
void scheduler_read_counters(struct scheduler *scheduler, struct counters *sum);
/* ", in a blocking call for 12 ms, relieved" and the like, or nothing; its length. */
int scheduler_describe_piece(struct worker *worker, char *text, size_t bytes);
/* One line for the scheduler, one for each worker, to a file descriptor. */
void scheduler_dump(struct scheduler *scheduler, int fd);

#endif
