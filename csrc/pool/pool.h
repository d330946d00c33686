/*
 * pool.h - a scheduler whose work is calls; any number of pools may be alive at once.
 *
 * pool.c starts, resizes and ends it; submit.c puts calls into lanes; serve.c is what workers do:
 * where they look for calls, forks and loops, and how a call is run; loop.c and task.c are on top
 * of these.  Protocols and proofs: README.md.
 *
 * Life: NEW -> RUNNING (with the first call) -> CLOSED (shutdown) -> destroyed.
 */
#ifndef FILAR_POOL_POOL_H
#define FILAR_POOL_POOL_H

#include <pthread.h>

#include "base/list.h"
#include "kthread/kthread.h"
#include "pool/forks.h"
#include "pool/lane.h"
#include "sync/eventcount.h"

enum pool_queues { POOL_STEALING, POOL_SHARED, POOL_PINNED };
enum pool_full { POOL_FULL_BLOCK, POOL_FULL_REJECT, POOL_FULL_RUN };
/* In the order in which workers look. */
enum pool_priority { POOL_HIGH, POOL_NORMAL, POOL_LOW, POOL_PRIORITIES };

#define POOL_WORKERS_MAX_DEFAULT 64u
/* Calls from outside stand in several lanes, those of one thread in the same one: so that threads
 * that submit at the same time do not take each other's lines. */
#if FILAR_HARD
#define POOL_STRIPES 2u
#else
#define POOL_STRIPES 4u
#endif
/* One for each priority, the normal one being the first stripe; then the other stripes. */
#define POOL_LANES (POOL_PRIORITIES + POOL_STRIPES - 1)
/* Loops whose length is remembered. */
#define POOL_SHORT_LOOPS 64u
/* A worker looks first into what it would look into last, so often. */
#define POOL_TURNS 61u

struct pool_options {
	uint32_t workers;     /* 0: as many as CPUs this process may use */
	uint32_t workers_max; /* 0: default */
	enum worker_pin pin;
	const int32_t *cpus;
	size_t cpu_count;
	const char *name; /* NULL: "pool" */
	size_t stack_bytes;
	enum pool_queues queues;
	enum pool_full when_full;
	uint64_t queue_max;  /* 0: no bound */
	uint32_t spares_max; /* workers that may stand in for blocked ones */
	int (*worker_begins)(void *argument, uint32_t worker);
	void (*worker_ends)(void *argument, uint32_t worker);
	void *hook_argument;
};

/* What a worker has found and will run next. */
enum found_kind { FOUND_CALL, FOUND_FORK, FOUND_LOOP };

struct loop;
struct pool;

#define POOL_COUNTERS(X)                                                                           \
	X(begun)   /* calls taken out of a lane, to be run or dropped */                           \
	X(ended)   /* run or dropped, and counted down in their group */                           \
	X(dropped) /* because their token or the pool was cancelled */                             \
	X(steals)  /* times it took from another worker's lane */                                  \
	X(stolen)  /* calls it took then */                                                        \
	X(helpers) /* times it helped with a loop */

struct pool_counters {
#define X(name) _Atomic uint64_t name;
	POOL_COUNTERS(X)
#undef X
};

/* What belongs to one worker. */
struct pool_worker {
	struct work work;        /* I  what find returns: "run what you have found" */
	struct pool *pool;       /* I */
	struct worker *worker;   /* I */
	enum found_kind found;   /* W */
	struct call call;        /* W  FOUND_CALL */
	struct fork *fork;       /* W  FOUND_FORK */
	struct loop *loop;       /* W  FOUND_LOOP */
	uint32_t loop_place;     /* W */
	uint32_t turns;          /* W */
	uint32_t stripe;         /* W  where it looks first */
	uint32_t last_stripe;    /* W  where it last found something */
	uint32_t dry;            /* W  times it ran dry since it last tried to linger */
	int32_t linger_ns;       /* W  how long it waits then; 0: not */
	struct waitgroup *group; /* W  of calls that have ended and are not yet counted down */
	uint64_t group_ended;    /* W  how many */
	struct forks forks;
	struct lane lane;
	FILAR_CACHELINE_BREAK struct pool_counters counters; /* A  owner writes */
	_Atomic(call_body *) body; /* A  of the call it is in; for dumps */
	_Atomic(void *) argument;  /* A  likewise */
};

#define POOL_COUNT(self, name, n)                                                                  \
	store_relaxed(&(self)->counters.name, load_relaxed(&(self)->counters.name) + (n))

enum pool_state { POOL_NEW, POOL_RUNNING, POOL_CLOSED };

struct pool {
	/* Constant. */
	struct pool_options options; /* I  cpus and name are the pool's copies */
	uint32_t fork_generation;    /* I */
	bool one_by_one;             /* I  calls pass through the pool's lanes singly */
	uint32_t lane_count;         /* I  of the pool's lanes, those that are in use */
	struct pool_worker *locals;  /* I  after start */
	void **local_pointers;       /* I  after start */
	_Atomic uint32_t state;      /* A  enum pool_state; S1 publishes the scheduler */
	_Atomic uint32_t workers;    /* A  how many work; written under `life` */
	_Atomic bool cancelled;      /* A  shutdown drops what has not begun */
	_Atomic bool drained;        /* A  S3 publishes what the last call did */
	_Atomic uint32_t helpers;    /* A  workers that are about to sleep, or do, for a group */
	pthread_mutex_t life;        /* held over start, resize and close */
	struct scheduler scheduler;  /* after start */
	struct lane lanes[POOL_LANES];
	struct spinlock loops_lock;
	struct list loops;                  /* L  loops_lock: those with places for helpers */
	_Atomic uint32_t loops_open;        /* A  their number; written under L */
	struct waitq room[POOL_PRIORITIES]; /* who waits for room in a bounded lane */
	struct eventcount drained_event;
	FILAR_CACHELINE_BREAK _Atomic uint64_t rejected; /* A */
	_Atomic uint64_t inlined;                        /* A */
	_Atomic uint64_t moves;                          /* A  see lane.h */
	_Atomic uint64_t loops_run;                      /* A */
	_Atomic uint64_t ended_outside; /* A  calls taken back by those who are no workers */
	_Atomic uint32_t next_pinned;   /* A  whose turn it is */
	_Atomic uint32_t patience;      /* A  ticks that waits spin: wait.c */
	_Atomic uint64_t short_loops[POOL_SHORT_LOOPS]; /* A  tag << 32 | time of a step: loop.c */
};

static inline struct lane *pool_stripe(struct pool *pool, uint32_t stripe)
{
	return &pool->lanes[stripe == 0 ? POOL_NORMAL : POOL_PRIORITIES + stripe - 1];
}

/* ---- life: pool.c ---- */

void pool_options_init(struct pool_options *options);
enum filar_status pool_create(struct pool **pool, const struct pool_options *options);
enum filar_status pool_start_slow(struct pool *pool);
/* Sees to it that there are workers.  FILAR_WRONG_STATE: shut down; FILAR_FORKED; or why not. */
static inline enum filar_status pool_start(struct pool *pool)
{
	/* S2: acquire; pairs with S1. */
	if (FILAR_LIKELY(load_acquire(&pool->state) == POOL_RUNNING &&
			 pool->fork_generation == kthread_fork_generation()))
		return FILAR_OK;
	return pool_start_slow(pool);
}
enum filar_status pool_resize(struct pool *pool, uint32_t workers);
enum filar_status pool_shutdown_until(struct pool *pool, bool cancel, int64_t deadline_ns);
enum filar_status pool_destroy(struct pool *pool);
bool pool_is_forked(const struct pool *pool);
/* For the worker that runs out of work while the pool is closing. */
void pool_check_drained(struct scheduler *scheduler);
uint64_t pool_live(struct pool *pool);
void pool_read_stats(struct pool *pool, filar_pool_stats *stats);
enum filar_status pool_describe_worker(
	struct pool *pool, uint32_t index, filar_pool_worker *description);
void pool_dump(struct pool *pool, int fd);

/* ---- workers: serve.c ---- */

/* Workers that have, or had, a kernel thread: those whose queues must be looked at. */
static inline uint32_t pool_worker_count(struct pool *pool)
{
	struct scheduler *scheduler = &pool->scheduler;

	return load_acquire(&scheduler->started) + scheduler_made(scheduler) -
	       scheduler->worker_count;
}
/* The i-th of them: the regular ones, then the spares. */
static inline struct pool_worker *pool_worker_at(struct pool *pool, uint32_t i)
{
	uint32_t started = load_acquire(&pool->scheduler.started);

	return &pool->locals[i < started ? i : pool->scheduler.worker_count + i - started];
}

/* The caller's part of its pool, or NULL when it does not stand on a worker of a pool. */
struct pool_worker *pool_worker_current(void);
/* The same if it is this pool's. */
static inline struct pool_worker *pool_worker_of(struct pool *pool)
{
	struct pool_worker *self = pool_worker_current();

	return self != NULL && self->pool == pool ? self : NULL;
}
struct work *pool_find(struct worker *worker);
bool pool_has_more(struct worker *worker);
bool pool_peek(struct worker *worker);
void pool_rests(struct worker *worker, bool begins);
extern const struct work_class pool_work_class;
/* Whether the call that the caller is in should stop. */
bool pool_call_cancelled(void);
/* Runs or drops it. */
void pool_run_call(struct pool_worker *self, const struct call *call);
/* What has ended is counted down now. */
void pool_flush_group(struct pool_worker *self);
/* A call that fits the wish, out of any lane, is run.  False: there is none. */
bool pool_help(struct pool_worker *self, const struct lane_wish *wish);
/* The same without running it; self is NULL for those who are no workers. */
bool pool_take_wish(struct pool *pool, struct pool_worker *self, const struct lane_wish *wish,
	struct call *call);
/* One who is no worker has taken a call out of its lane, and it has ended. */
void pool_ended_outside(struct pool *pool);
/* For those who wait for room: after a call has left a bounded lane. */
void pool_made_room(struct pool *pool, enum pool_priority priority);

/* ---- submitting: submit.c ---- */

struct submission {
	struct waitgroup *group;
	struct token *token;
	enum pool_priority priority;
	int32_t worker; /* -1: in turn */
	int64_t deadline_ns;
};

void submission_init(struct submission *how);
enum filar_status pool_submit(
	struct pool *pool, const struct submission *how, call_body *body, void *argument);
enum filar_status pool_submit_many(struct pool *pool, const struct submission *how,
	const filar_call *calls, size_t count, size_t *submitted);

/* ---- waiting: wait.c ---- */

/* As waitgroup_wait_until(); helps if the caller is one of the pool's workers. */
enum filar_status pool_wait_until(struct pool *pool, struct waitgroup *group, int64_t deadline_ns);
/* Spins a moment, if that has paid lately; whether none is missing. */
bool pool_spin_for(struct pool *pool, struct latch *latch);

#endif
