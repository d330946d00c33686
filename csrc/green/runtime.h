/*
 * runtime.h - a scheduler, its stacks and its green threads; any number may be alive at once.
 *
 * Life: create -> (spawn ...) -> shutdown -> destroy.  Shutdown lets all green threads run to their
 * end; README of sched, "Shutdown", has the steps.
 */
#ifndef FILAR_GREEN_RUNTIME_H
#define FILAR_GREEN_RUNTIME_H

#include "green/green.h"
#include "os/clock.h"
#include "sched/scheduler.h"

#define GREEN_STACK_BYTES_DEFAULT ((size_t)64 * 1024)

/*
 * What a layer above keeps beside its green threads on each worker (the Python border: a thread
 * state and perhaps the interpreter's lock).  leave() runs on the stack of a pinned green thread
 * that is about to be left for `next` (NULL: for the worker's loop), arrive() on it when it goes
 * on, on the same kernel thread.  None may wait for a thing that a green thread could hold.
 * begins() and ends() run on the worker's kernel thread, before and after everything else there.
 */
struct attendant {
	enum filar_status (*begins)(struct worker *worker);
	void (*ends)(struct worker *worker);
	void (*leave)(struct green *green, struct work *next);
	void (*arrive)(struct green *green);
	/* Before it parks in a wait that may end without a wake: FILAR_OK, or why it must not. */
	enum filar_status (*may_wait)(struct green *green);
	/* For green_spawn_late(): what runs on the stack that was found, and on the worker's own if
	 * none was, with the reason. */
	void (*late_body)(void *late);
	void (*late_failed)(struct green_late *late, enum filar_status status);
};

struct runtime_options {
	uint32_t workers; /* 0: as many as CPUs this process may use */
	enum worker_pin pin;
	const int32_t *cpus; /* for WORKER_PIN_LIST */
	size_t cpu_count;
	size_t stack_bytes;     /* default of its green threads; 0: GREEN_STACK_BYTES_DEFAULT */
	enum stack_guard guard; /* BEST unless tests or the lab want another */
	const char *name;       /* of the workers' kernel threads; NULL: "filar" */
	const struct attendant *attendant; /* NULL: none */
	void *attended;                    /* the attendant's, for this runtime */
	int32_t spares_max;                /* RUNTIME_SPARES_DEFAULT, or at most SPARES_MAX */
	int64_t watch_ns;       /* one piece of work for so long is stuck; 0: only what is marked */
	int64_t preempt_ns;     /* a preemptible one that runs for so long is preempted; 0: never */
	int32_t preempt_signal; /* 0: any that is free */
	/* Instead of the signal: called by the watcher, of whatever runs for so long. */
	void (*preempt)(struct worker *worker);
};

/* None with one worker: N:1, where one that blocks stops all.  Else RUNTIME_SPARES. */
#define RUNTIME_SPARES_DEFAULT   (-1)
#define RUNTIME_SPARES           64
#define RUNTIME_WATCH_NS_DEFAULT (10 * NS_PER_MS)
#define RUNTIME_PREEMPT_NS_MIN   100000 /* the watcher looks twice in that time */

/* What only one worker touches, or under outside_lock those who are none. */
struct green_local {
	FILAR_CACHELINE_BREAK struct stack_cache cache; /* W */
	uint64_t number;                                /* W  next number to give */
	uint64_t number_end;                            /* W  end of the block taken */
	struct signal_stack signal_stack;               /* W */
};

struct runtime {
	struct scheduler scheduler;
	struct stack_pool pool;
	uint32_t class_index;       /* I  of the default stack */
	bool preempts;              /* I */
	struct green_local *locals; /* I  one for each regular worker; spares make their own */
	void **local_pointers;      /* I */
	const struct attendant *attendant; /* I  NULL: none */
	void *attended;                    /* I */
	_Atomic uint64_t next_number;      /* A */
	struct spinlock outside_lock;
	struct green_local outside;      /* L */
	bool closed;                     /* L  no spawns from outside */
	_Atomic uint64_t outside_spawns; /* A  written under L */
	_Atomic bool drained;            /* A  R1 publishes what the last green thread did */
	struct eventcount drained_event;
};

struct runtime_stats {
	uint64_t live;     /* spawned and not ended */
	uint64_t unjoined; /* ended, and neither joined nor detached */
	uint64_t stacks;   /* slots carved so far */
	uint64_t outside_spawns;
	uint64_t deadlines_fired;
	uint64_t wakes; /* of sleeping workers */
	uint64_t relieved;
	uint64_t stuck;
	uint64_t spares_started;
	uint64_t spares_refused;
	uint32_t active;
	struct counters counters;
};

void runtime_options_init(struct runtime_options *options);
/* Starts the workers.  FILAR_INVALID, FILAR_NO_MEMORY, FILAR_LIMIT, FILAR_NO_CPU: nothing is left.
 */
enum filar_status runtime_create(struct runtime **runtime, const struct runtime_options *options);
/*
 * Refuses spawns from outside and waits until all green threads have ended; those that run may
 * still spawn.  FILAR_OK: all have; the detail names those that were never joined. FILAR_TIMED_OUT:
 * the detail names some that live; it may be called again.  FILAR_DEADLOCK: by one of its own green
 * threads.  Blocks the kernel thread.
 */
enum filar_status runtime_shutdown_until(struct runtime *runtime, int64_t deadline_ns);
/* After a shutdown that ended with FILAR_OK, or in the child of a fork; else FILAR_BUSY.  Handles
 * of its green threads must not be used any more. */
enum filar_status runtime_destroy(struct runtime *runtime);
bool runtime_is_forked(const struct runtime *runtime);
/* Cancels every green thread that lives. */
void runtime_cancel_all(struct runtime *runtime);

void runtime_read_stats(struct runtime *runtime, struct runtime_stats *stats);
/* Workers, queues and every green thread with its state and why it waits, as text. */
void runtime_dump(struct runtime *runtime, int fd);

/* The runtime whose worker the caller stands on, or NULL. */
struct runtime *runtime_of_worker(struct worker *worker);

#endif
