/*
 * filar.h - the whole public C interface of libfilar.
 *
 * Kernel threads, green threads, the machine they run on, and the lab that measures what they cost.
 *
 * Conventions
 *   - A function that can fail for reasons outside the program returns an `int` that is one of
 *     `enum filar_status`: 0 is success, failures are negative.  filar_status_sentence() says what
 * a status means, filar_status_detail() what exactly went wrong in the caller's last failed call.
 *   - Times are nanoseconds.  A `deadline_ns` is absolute on the clock of filar_now_ns()
 *     (CLOCK_MONOTONIC); FILAR_FOREVER never passes.  Sizes are bytes.
 *   - Functions are thread-safe unless their comment says otherwise.  None may be called from a
 *     signal handler.
 *   - Text returned as `const char *` belongs to filar and lives as long as the program, except
 * where a comment says otherwise.
 *
 * The part between the two marks is plain C without preprocessor lines: the Python package gives it
 * to cffi as it stands, so there is one set of declarations.
 */
#ifndef FILAR_H
#define FILAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* cffi: begin */

/* ---- status ------------------------------------------------------------------------------ */

enum filar_status {
	FILAR_OK = 0,
	FILAR_INVALID = -1,        /* an argument is outside what the function accepts */
	FILAR_NO_MEMORY = -2,      /* the system has no memory for this */
	FILAR_LIMIT = -3,          /* a limit of system, container or process (EAGAIN and kin) */
	FILAR_NO_PERMISSION = -4,  /* this process may not do that */
	FILAR_NO_CPU = -5,         /* no such CPU, or this process may not run on it */
	FILAR_TIMED_OUT = -6,      /* the deadline passed first */
	FILAR_INTERRUPTED = -7,    /* a signal arrived during the wait: look at it and wait again */
	FILAR_CANCELLED = -8,      /* the operation was cancelled */
	FILAR_WRONG_STATE = -9,    /* the object is not in a state that allows this */
	FILAR_DEADLOCK = -10,      /* waiting for this would never end, e.g. joining oneself */
	FILAR_BUSY = -11,          /* the object is in use */
	FILAR_NOT_SUPPORTED = -12, /* this kernel, CPU or build has no such feature */
	FILAR_NOT_FOUND = -13,     /* no such thing */
	FILAR_FORKED = -14,        /* the object belongs to the parent process of a fork */
	FILAR_SYSTEM = -15,        /* an unexpected error of the operating system; see the detail */
	FILAR_CLOSED = -16, /* the channel is closed (and, to receive, empty); or the fd was */
	FILAR_STATUS_LAST = -16
};

/* "FILAR_LIMIT" and the like; an unknown number is named FILAR_SYSTEM. */
const char *filar_status_name(int status);
/* One sentence in lower case without a full stop. */
const char *filar_status_sentence(int status);
/* What exactly went wrong in this kernel thread's last failed call: one clause, "" if nothing is
 * known. Valid until the next filar call of this kernel thread. */
const char *filar_status_detail(void);
void filar_status_detail_clear(void);
/* The errno of the system call that made this kernel thread's last failed call fail; 0 if none did.
 * Means nothing after FILAR_TIMED_OUT, FILAR_INTERRUPTED and FILAR_CANCELLED. */
int32_t filar_status_errno(void);

/* ---- this library ------------------------------------------------------------------------ */

typedef struct {
	const char *version;  /* of filar */
	const char *compiler; /* "gcc 12.2.0" */
	const char *flags;    /* those that change code: optimisation, machine, features */
	const char
		*commit; /* abbreviated, with "+" if files were changed; "" if not built from git */
} filar_build;

/* How this library was built; never NULL, unknown texts are "". */
const filar_build *filar_build_info(void);

/* ---- clock ------------------------------------------------------------------------------- */

/* Nanoseconds on CLOCK_MONOTONIC.  Never blocks; some 10 to 25 ns a call. */
int64_t filar_now_ns(void);

/* How time is read here.  Deadlines always live on CLOCK_MONOTONIC; the lab's short stamps may come
 * from the CPU's own counter, which is cheaper but is not steered by NTP. */
typedef struct {
	int32_t tsc_used;       /* 1: short stamps read the CPU's counter; 0: CLOCK_MONOTONIC */
	double tsc_ns_per_tick; /* 1 without a counter */
	double read_ns;         /* one filar_now_ns(), the least of several tries */
	double tick_read_ns;    /* one short stamp */
	double drift_ppm;       /* how far the counter has run from CLOCK_MONOTONIC since it was
				   calibrated, in millionths */
	double drift_error_ppm; /* how well that is known: falls as the process grows older */
	const char *source;     /* which clock, and if not the counter, why */
} filar_clock_info;

/* Calibrates on first use (busy for some 5 ms), then takes a few microseconds. */
int filar_clock_describe(filar_clock_info *info);

/* ---- the machine ------------------------------------------------------------------------- */

typedef struct {
	int32_t cpu;        /* the kernel's number */
	int32_t package;    /* physical package (socket); -1: not known */
	int32_t core;       /* 0, 1, ... in order of their lowest CPU; -1: offline */
	int32_t smt;        /* place among the online CPUs of its core */
	int32_t node;       /* NUMA node; -1: not known */
	int32_t last_cache; /* lowest online CPU that shares its last-level cache; -1: not known */
	int32_t capacity;   /* speed relative to the fastest CPU, which has 1024; 0: not known */
	int32_t max_khz;    /* highest clock; 0: not known */
	bool online;
	bool allowed; /* the process may run there */
} filar_cpu;

enum filar_cache_kind {
	FILAR_CACHE_OTHER = 0,
	FILAR_CACHE_DATA = 1,
	FILAR_CACHE_INSTRUCTION = 2,
	FILAR_CACHE_UNIFIED = 3
};

typedef struct {
	int32_t level;
	int32_t kind;       /* enum filar_cache_kind */
	int64_t bytes;      /* 0: not known */
	int32_t line_bytes; /* 0: not known */
	int32_t ways;       /* 0: not known */
	size_t cpu_first;   /* its CPUs: filar_topology.lists[cpu_first], cpu_count of them */
	size_t cpu_count;
} filar_cache;

typedef struct {
	int32_t node;
	int64_t bytes; /* 0: not known */
	int64_t free_bytes;
	size_t cpu_first; /* as above; a node may have memory and no CPU */
	size_t cpu_count;
} filar_node;

/* What a control group (container) or the process was given. */
typedef struct {
	int64_t max;      /* -1: no limit */
	int64_t used;     /* -1: not known */
	const char *file; /* where the limit is set; "" without one */
} filar_group_limit;

/* What could be read of the machine.  Constant after filar_topology_read(). */
typedef struct {
	const filar_cpu *cpus; /* those present, in order of their numbers */
	size_t cpu_count;
	const filar_cache *caches; /* by level, kind and lowest CPU */
	size_t cache_count;
	const filar_node *nodes;
	size_t node_count;
	const int32_t *lists;      /* CPU numbers; caches and nodes refer into it */
	int32_t cpus_possible;     /* how many CPUs the kernel could ever have */
	int32_t package_count;     /* of the CPUs that are online */
	int32_t core_count;        /* likewise */
	int32_t usable_cpus;       /* allowed and online, but no more than the quota; at least 1 */
	int32_t group_version;     /* of the control group of CPU time: 1, 2; 0: none seen */
	double quota_cpus;         /* CPU time per time from control groups; 0: no limit */
	const char *quota_file;    /* "" without one */
	const char *group_cpus;    /* CPUs of the control group, as a list; "" when none is set */
	filar_group_limit memory;  /* bytes */
	filar_group_limit threads; /* threads and processes (pids.max) */
	int64_t memory_bytes;      /* of the machine; 0: not known */
	int64_t memory_available_bytes;
	const char *source; /* where the CPUs were read from */
	const char *notes;  /* what was missing or strange, a sentence a line; "" if nothing */
} filar_topology;

/* Reads /sys, /proc and the process's affinity; some milliseconds on a large machine.  Parts that
 * cannot be read are reported in `notes`.  `root` is put in front of every path (NULL or "": the
 * real machine); with one, the affinity is read from its /proc as well. */
int filar_topology_read(const filar_topology **topology, const char *root);
void filar_topology_release(const filar_topology *topology);

/* In which order threads take CPUs. */
enum filar_placement {
	FILAR_PLACE_COMPACT = 0, /* neighbours first: siblings of a core, then of a cache */
	FILAR_PLACE_SCATTER = 1, /* as far apart as can be: package by package, siblings last */
	FILAR_PLACE_CORES = 2    /* one CPU of each core, the fastest cores first */
};

/* Writes the CPUs that are online and allowed in that order, up to `max`; *count is how many were
 * written. */
int filar_topology_place(const filar_topology *topology, int32_t placement, int32_t *cpus,
	size_t max, size_t *count);

/* ---- kernel threads ---------------------------------------------------------------------- */

typedef struct filar_kthread filar_kthread;
typedef void (*filar_kthread_body)(void *argument);

enum filar_policy {
	FILAR_POLICY_INHERIT = 0, /* the creator's */
	FILAR_POLICY_OTHER = 1,   /* the default time-sharing policy; nice counts */
	FILAR_POLICY_BATCH = 2,
	FILAR_POLICY_IDLE = 3, /* runs only when nothing else wants the CPU (almost) */
	FILAR_POLICY_FIFO = 4, /* real time; priority 1..99; needs permission */
	FILAR_POLICY_RR = 5
};

/* Who pins: the cost is the same, the moment differs. */
enum filar_pin_by {
	FILAR_PIN_BY_ATTRIBUTE = 0, /* before the first instruction (pthread attribute) */
	FILAR_PIN_BY_PARENT = 1,    /* the creator, right after creation */
	FILAR_PIN_BY_SELF = 2       /* the thread, before the body */
};

enum { FILAR_NICE_INHERIT = 1000, FILAR_NAME_BYTES_MAX = 15, FILAR_STACK_BYTES_MIN = 16384 };

/* All zero (with nice = FILAR_NICE_INHERIT) is a plain thread.  filar_kthread_options_init() does
 * that. */
typedef struct {
	const char *name;   /* up to 15 bytes, copied; NULL: "filar-<number>" */
	size_t stack_bytes; /* 0: the process's default (ulimit -s); else at least 16384 */
	void *stack; /* the caller's own stack of stack_bytes, in use until the join; or NULL */
	const int32_t *cpus; /* CPUs it may run on, copied; NULL: the creator's */
	size_t cpu_count;    /* length of cpus */
	int32_t pin_by;      /* enum filar_pin_by */
	int32_t policy;      /* enum filar_policy */
	int32_t priority;    /* 1..99 for FIFO and RR, else 0 */
	int32_t nice;        /* -20..19, or FILAR_NICE_INHERIT */
} filar_kthread_options;

void filar_kthread_options_init(filar_kthread_options *options);
/* The smallest stack_bytes on this machine: FILAR_STACK_BYTES_MIN, or more where the CPU has many
 * registers or the loaded libraries many thread-locals. */
size_t filar_kthread_stack_bytes_min(void);

/*
 * Creates a kernel thread that runs body(argument).  All signals are blocked in it but those that
 * an instruction of its own raises (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS), which
 * handlers such as faulthandler's need.  Either every option took effect and the body runs, or
 * there is no thread and the status says why; every CPU of `cpus` must exist and be allowed.
 * (The name alone is best effort.)  The caller owns the handle and gives it back with
 * filar_kthread_release().  Blocks while the new thread applies nice, policy, more than one CPU,
 * FILAR_PIN_BY_PARENT or FILAR_PIN_BY_SELF; else not.  The body may also end the thread by
 * pthread_exit().
 */
int filar_kthread_create(filar_kthread **thread, const filar_kthread_options *options,
	filar_kthread_body body, void *argument);
/*
 * Waits for the end of the thread.  FILAR_OK any number of times once it has ended, and then the
 * kernel is done with its stack; FILAR_TIMED_OUT; FILAR_INTERRUPTED when a signal arrived;
 * FILAR_DEADLOCK when called by the thread itself.  Any number of threads may join the same one.
 * A body that has returned leaves some microseconds of the thread behind: for these a deadline in
 * the past is stretched to 50 ms (thread-local destructors of others may outlast that).
 */
int filar_kthread_join_until(filar_kthread *thread, int64_t deadline_ns);
/* Gives the handle back; no other call may be using it.  A thread that still runs goes on,
 * detached; when it is done with a stack of the caller's, nobody will know. */
void filar_kthread_release(filar_kthread *thread);
/* 1 from creation until the body has returned. */
int filar_kthread_is_alive(filar_kthread *thread);
/* The kernel's thread id; constant.  Blocks until the thread has started, some microseconds after
 * its creation; 0 in the child of a fork if it had not. */
int32_t filar_kthread_tid(filar_kthread *thread);
/* Its pthread_t as a number; constant, but another thread may get the same after the join. */
uint64_t filar_kthread_ident(filar_kthread *thread);
/* CPU time used so far (or in all, once it has ended), ns; 0 where the thread is the parent's. */
int64_t filar_kthread_cpu_ns(filar_kthread *thread);
/* The settings of a running thread: all or nothing; FILAR_WRONG_STATE once it has ended. */
int filar_kthread_set_cpus(filar_kthread *thread, const int32_t *cpus, size_t cpu_count);
int filar_kthread_set_nice(filar_kthread *thread, int32_t nice);
int filar_kthread_set_policy(filar_kthread *thread, int32_t policy, int32_t priority);
/* NULL on a kernel thread that filar did not create. */
filar_kthread *filar_kthread_self(void);
/* In the child of a fork: forgets the parent's threads; their handles answer FILAR_FORKED, new
 * threads work.  fork(3) does it by itself; for children made by clone(2).  Harmless if repeated.
 */
void filar_after_fork_in_child(void);

/* ---- green threads ----------------------------------------------------------------------- */
/*
 * A green thread is a body on a stack of its own that the workers (kernel threads) of a runtime
 * take turns to run.  With one worker it is the N:1 model, with more the M:N model.  Switching
 * costs some nanoseconds and no system call.  Scheduling is cooperative: a body runs until it
 * yields, waits or returns; one that blocks its kernel thread blocks its worker, until a spare
 * worker stands in (filar_blocking_begin).
 */

typedef struct filar_runtime filar_runtime;
typedef void (*filar_green_body)(void *argument);

/* A handle, passed by value.  Valid until the green thread was joined or detached; later calls with
 * it are answered FILAR_WRONG_STATE, as long as its runtime is there. */
typedef struct {
	void *green;
	uint64_t number; /* 1, 2, ... in its runtime, not without gaps; 0: none */
} filar_green;

/* Where the workers run.  Those that are not pinned inherit the CPUs of the kernel thread that
 * starts them (of a pool: the first to submit).  If that one may use one CPU only, so may they, and
 * none of them ever spins for work: a wake-up then always costs a sleep. */
enum filar_worker_pin {
	FILAR_WORKERS_NOT_PINNED = 0,
	FILAR_WORKERS_COMPACT = 1, /* one CPU each, neighbours first */
	FILAR_WORKERS_SCATTER = 2, /* one CPU each, as far apart as can be */
	FILAR_WORKERS_LIST =
		3 /* worker i on cpus[i % cpu_count]; FILAR_NO_CPU: one is not online */
};

typedef struct {
	uint32_t workers;    /* 1..1024; 0: as many as CPUs this process may use */
	int32_t pin;         /* enum filar_worker_pin */
	const int32_t *cpus; /* for FILAR_WORKERS_LIST; read during the call */
	size_t cpu_count;
	size_t stack_bytes; /* of its green threads, rounded up to 16 KiB x 2^n; 0: 64 KiB */
	const char *name;   /* of the workers' kernel threads, cut to fit; NULL: "filar" */
	/* Workers that may stand in for those whose kernel thread is blocked, made when needed and
	 * kept; 0..1024.  FILAR_SPARES_DEFAULT: 64, but none with one worker (N:1: one that blocks
	 * stops all).  0: nobody stands in, and nobody watches. */
	int32_t spare_workers_max;
	/* One green thread that runs for so long without a wait or yield is stuck: if others wait
	 * behind it, somebody stands in as if it had called filar_blocking_begin().  0: never. */
	int64_t watch_ns;
	/* A preemptible green thread (filar_green_options) that runs for so long is made to yield,
	 * within half as much again; at least 100 us.  0: none is. */
	int64_t preempt_ns;
	/* The real-time signal used for that; 0: one near the top that nobody handles.  It
	 * interrupts no system call but those of preemptible bodies. */
	int32_t preempt_signal;
} filar_runtime_options;

enum { FILAR_SPARES_DEFAULT = -1 };

typedef struct {
	const char *name;   /* up to 23 bytes are kept; NULL: none */
	size_t stack_bytes; /* 0: the runtime's; at most 512 MiB */
	bool detached;      /* nobody will join it; its handle is not valid */
	bool preemptible;   /* see filar_preempt_disable() */
} filar_green_options;

typedef struct {
	uint32_t workers;
	uint64_t live;     /* green threads spawned and not ended */
	uint64_t unjoined; /* ended, and neither joined nor detached */
	uint64_t stacks;   /* stacks made so far */
	/* The rest only grows. */
	uint64_t spawned;
	uint64_t ended;
	uint64_t yields; /* that switched */
	uint64_t parks;
	uint64_t steals; /* times a worker took from another */
	uint64_t stolen; /* green threads taken then */
	uint64_t worker_sleeps;
	uint64_t worker_wakes;
	uint64_t deadlines_fired;
	uint64_t blocking_calls;   /* filar_blocking_begin(), nested ones not counted */
	uint64_t workers_relieved; /* times somebody stood in for a blocked or stuck worker */
	uint64_t workers_stuck;  /* of these, for one that had not called filar_blocking_begin() */
	uint64_t spares_started; /* kernel threads made to stand in */
	uint64_t spares_refused; /* times one was wanted and could not be had */
	uint64_t preemptions;
} filar_runtime_stats;

/* spare_workers_max = FILAR_SPARES_DEFAULT, watch_ns = 10 ms, all else zero. */
void filar_runtime_options_init(filar_runtime_options *options);
/* Starts the workers, all or none.  options NULL: the defaults.  Installs, once per process, a
 * handler for SIGSEGV that names the green thread whose stack has overflowed and hands on to the
 * one that was there before. */
int filar_runtime_create(filar_runtime **runtime, const filar_runtime_options *options);
/*
 * Refuses spawns from outside and waits until every green thread has ended (those that run may
 * still spawn).  FILAR_OK: all have; filar_status_detail() names those never joined, or is "".
 * FILAR_TIMED_OUT, FILAR_INTERRUPTED: the detail names some that live; call it again.
 * FILAR_DEADLOCK: called by one of its own.  Blocks the kernel thread.
 */
int filar_runtime_shutdown_until(filar_runtime *runtime, int64_t deadline_ns);
/* After a shutdown that ended with FILAR_OK, or in the child of a fork; else FILAR_BUSY, and
 * nothing has changed.  Its handles must not be used any more. */
int filar_runtime_destroy(filar_runtime *runtime);
/* As filar_green_cancel() on each that lives. */
int filar_runtime_cancel_all(filar_runtime *runtime);
/* Looks at every stack made so far: some ns for each. */
int filar_runtime_read_stats(filar_runtime *runtime, filar_runtime_stats *stats);
/* Writes workers, queues and every green thread, its state and why it waits, as text to a file
 * descriptor. */
int filar_runtime_dump(filar_runtime *runtime, int fd);

/*
 * Makes a green thread that runs body(argument); it may have begun, or ended, when this returns.
 * From any thread; never blocks.  options may be NULL; green NULL: detached.  FILAR_LIMIT,
 * FILAR_NO_MEMORY: no stack, the detail says which limit; FILAR_WRONG_STATE: the runtime is shut
 * down.
 */
int filar_green_spawn(filar_green *green, filar_runtime *runtime,
	const filar_green_options *options, filar_green_body body, void *argument);
/*
 * Waits for the end and gives the green thread back; from any thread, green or kernel.
 * FILAR_TIMED_OUT, FILAR_CANCELLED (the calling green thread was), FILAR_INTERRUPTED (a signal to
 * the calling kernel thread): it may be tried again.  FILAR_DEADLOCK: it is the caller. FILAR_BUSY:
 * somebody else is joining it.
 */
int filar_green_join_until(filar_green green, int64_t deadline_ns);
/* Gives it back as soon as it ends. */
int filar_green_detach(filar_green green);
/* Asks it to stop: its waits end with FILAR_CANCELLED from now on.  Nothing else happens to it. */
int filar_green_cancel(filar_green green);

/* For the calling thread.  On a kernel thread a yield is sched_yield(2). */
void filar_green_yield(void);
/* FILAR_OK, FILAR_CANCELLED (green threads), FILAR_INTERRUPTED (kernel threads). */
int filar_green_sleep_until(int64_t deadline_ns);
/* number 0 on a kernel thread. */
filar_green filar_green_self(void);
bool filar_green_is_cancelled(void);

/*
 * What stands between these may block the kernel thread for long: a file, a foreign library, a lock
 * that is not filar's.  On a worker of a runtime with spare workers, another worker soon takes its
 * place (some 100 us into the call); the caller stays on its kernel thread.  Some ns when the call
 * does not block.  They nest.  No wait or yield of filar's inside: that ends the section.  Anywhere
 * else they do nothing.
 */
void filar_blocking_begin(void);
void filar_blocking_end(void);

/*
 * A preemptible body may be stopped between any two instructions of its own and go on on another
 * kernel thread.  So it may compute, and call what this header has, but for the topology and plans;
 * nothing else: no allocation, no stdio, no lock that is not filar's, no thread-local of its own,
 * and errno only where it does not matter.  What a pool runs on its caller's stack is not stopped.
 * What stands between these two is not interrupted and may do all that; a preemption that was due
 * meanwhile comes with the last filar_preempt_enable().  They nest; in other bodies and on kernel
 * threads they do nothing.  A preemption takes 1 to 4 KiB of the green thread's stack.
 */
void filar_preempt_disable(void);
void filar_preempt_enable(void);

/* ---- things to wait on -------------------------------------------------------------------- */
/*
 * The same for green and kernel threads, mixed as you like: a green thread that waits leaves its
 * worker free, a kernel thread sleeps.  Where nobody waits, no call enters the kernel.
 *
 * Every wait takes a deadline (FILAR_FOREVER; one that has passed only takes what is there) and may
 * end with FILAR_TIMED_OUT, FILAR_CANCELLED (a green thread that was cancelled) or
 * FILAR_INTERRUPTED (a kernel thread, by a signal): then it has taken nothing.  Functions that
 * begin with "try" never wait: FILAR_BUSY.
 *
 * create: FILAR_NO_MEMORY.  Names are for messages, cut to FILAR_OBJECT_NAME_BYTES_MAX bytes and
 * copied; NULL: none.  destroy: FILAR_BUSY while somebody waits (or holds a mutex); all other calls
 * on the object have returned; NULL is allowed.
 */

enum { FILAR_OBJECT_NAME_BYTES_MAX = 31 };

typedef struct filar_mutex filar_mutex;
typedef struct filar_recursive filar_recursive;
typedef struct filar_cond filar_cond;
typedef struct filar_semaphore filar_semaphore;
typedef struct filar_event filar_event;
typedef struct filar_latch filar_latch;
typedef struct filar_waitgroup filar_waitgroup;
typedef struct filar_barrier filar_barrier;
typedef struct filar_rwlock filar_rwlock;
typedef struct filar_chan filar_chan;

/* One holder.  A waiter loses against a newcomer at most once, then it is given the mutex.
 * FILAR_DEADLOCK: the caller holds it, or closes a circle of threads that wait for each other's
 * mutexes for ever; the detail names them.  unlock: FILAR_WRONG_STATE if it is not the caller's. */
int filar_mutex_create(filar_mutex **mutex, const char *name);
int filar_mutex_destroy(filar_mutex *mutex);
int filar_mutex_lock_until(filar_mutex *mutex, int64_t deadline_ns);
int filar_mutex_trylock(filar_mutex *mutex);
int filar_mutex_unlock(filar_mutex *mutex);

/* A mutex that its holder may lock again. */
int filar_recursive_create(filar_recursive **recursive, const char *name);
int filar_recursive_destroy(filar_recursive *recursive);
int filar_recursive_lock_until(filar_recursive *recursive, int64_t deadline_ns);
int filar_recursive_trylock(filar_recursive *recursive);
int filar_recursive_unlock(filar_recursive *recursive);

/* Waiting for what a mutex guards: lets it go and waits in one step, and holds it again whatever
 * the outcome is.  No wake without a reason; look in a loop nevertheless. */
int filar_cond_create(filar_cond **cond);
int filar_cond_destroy(filar_cond *cond);
int filar_cond_wait_until(filar_cond *cond, filar_mutex *mutex, int64_t deadline_ns);
int filar_cond_wait_recursive_until(
	filar_cond *cond, filar_recursive *recursive, int64_t deadline_ns);
int filar_cond_signal(filar_cond *cond);
int filar_cond_broadcast(filar_cond *cond);

/* Units; first come, first served.  value <= max < 2^58.  release: FILAR_WRONG_STATE if there would
 * be more than max. */
int filar_semaphore_create(
	filar_semaphore **semaphore, uint64_t value, uint64_t max, const char *name);
int filar_semaphore_destroy(filar_semaphore *semaphore);
int filar_semaphore_acquire_until(filar_semaphore *semaphore, int64_t deadline_ns);
int filar_semaphore_try_acquire(filar_semaphore *semaphore);
int filar_semaphore_release(filar_semaphore *semaphore, uint64_t units);

/* A flag that stays set until it is reset; set wakes all who wait. */
int filar_event_create(filar_event **event, bool set);
int filar_event_destroy(filar_event *event);
int filar_event_wait_until(filar_event *event, int64_t deadline_ns);
int filar_event_set(filar_event *event);
int filar_event_reset(filar_event *event);
bool filar_event_is_set(filar_event *event);

/* Opens when `count` (< 2^58) have arrived, and stays open.  count_down: FILAR_WRONG_STATE if fewer
 * are missing. */
int filar_latch_create(filar_latch **latch, uint64_t count, const char *name);
int filar_latch_destroy(filar_latch *latch);
int filar_latch_count_down(filar_latch *latch, uint64_t arrivals);
int filar_latch_wait_until(filar_latch *latch, int64_t deadline_ns);

/* Waits until as many are done as were added; can be used again. */
int filar_waitgroup_create(filar_waitgroup **group, const char *name);
int filar_waitgroup_destroy(filar_waitgroup *group);
int filar_waitgroup_add(filar_waitgroup *group, uint64_t count);
int filar_waitgroup_done(filar_waitgroup *group);
int filar_waitgroup_wait_until(filar_waitgroup *group, int64_t deadline_ns);

/* `parties` (>= 1) wait for each other, again and again; one of them is told that it came last. One
 * that leaves early takes its arrival back.  last may be NULL. */
int filar_barrier_create(filar_barrier **barrier, uint32_t parties);
int filar_barrier_destroy(filar_barrier *barrier);
int filar_barrier_wait_until(filar_barrier *barrier, int64_t deadline_ns, bool *last);

/* Many readers or one writer; first come, first served, so do not read-lock again what you have
 * read-locked. */
int filar_rwlock_create(filar_rwlock **lock, const char *name);
int filar_rwlock_destroy(filar_rwlock *lock);
int filar_rwlock_read_lock_until(filar_rwlock *lock, int64_t deadline_ns);
int filar_rwlock_try_read_lock(filar_rwlock *lock);
int filar_rwlock_read_unlock(filar_rwlock *lock);
int filar_rwlock_write_lock_until(filar_rwlock *lock, int64_t deadline_ns);
int filar_rwlock_try_write_lock(filar_rwlock *lock);
int filar_rwlock_write_unlock(filar_rwlock *lock);

/*
 * Items of item_bytes (1..4096; send pointers to what is larger) in order, copied straight into the
 * memory of a receiver that waits.  Capacity 0: a send ends when its item is received.  A capacity
 * above 1024, or none, is allocated as it is filled: a send may end with FILAR_NO_MEMORY.
 * FILAR_CLOSED: it was closed, the detail says by whom; what is in it can still be received.
 */
enum { FILAR_CHAN_UNBOUNDED = -1, FILAR_SELECT_CASES_MAX = 256 };
int filar_chan_create(filar_chan **chan, size_t item_bytes, int64_t capacity, const char *name);
int filar_chan_destroy(filar_chan *chan);
int filar_chan_send_until(filar_chan *chan, const void *item, int64_t deadline_ns);
int filar_chan_receive_until(filar_chan *chan, void *item, int64_t deadline_ns);
int filar_chan_try_send(filar_chan *chan, const void *item);
int filar_chan_try_receive(filar_chan *chan, void *item);
int filar_chan_close(filar_chan *chan);
/* A moment's view. */
size_t filar_chan_count(filar_chan *chan);

enum filar_chan_operation { FILAR_CHAN_SEND = 0, FILAR_CHAN_RECEIVE = 1 };

typedef struct {
	filar_chan *chan;     /* NULL: never ready */
	int32_t operation;    /* enum filar_chan_operation */
	void *item;           /* sent from, or received into */
	uint64_t reserved[6]; /* filar's during the call */
} filar_select_case;

/* Does exactly one of the cases, the first that is possible; of several that are, one from a random
 * place on.  FILAR_OK, FILAR_CLOSED, FILAR_NO_MEMORY: *chosen is the case. */
int filar_select_until(
	filar_select_case *cases, uint32_t count, int64_t deadline_ns, uint32_t *chosen);

/* ---- waiting for file descriptors -------------------------------------------------------- */
/*
 * Sockets, pipes, terminals, eventfd, timerfd, pidfd, signalfd, inotify: whatever poll(2) takes.  A
 * green thread that waits leaves its worker free; its runtime has one epoll for all, made when it
 * is first needed.  A kernel thread sleeps in ppoll(2).  What nobody can wait for (a regular file)
 * is ready at once, as poll(2) has it.
 *
 * Waits take deadlines and end as all waits do (see "things to wait on"), or with FILAR_CLOSED:
 * somebody called filar_close() or filar_forget() meanwhile.  Any number of threads may wait for
 * one file descriptor.
 *
 * Close what filar has waited for, or read and written, by filar_close(), or call filar_forget()
 * before close(2), dup2(2), or before handing it to somebody who will close it.  Otherwise a later
 * file with the same number is taken for it, and the functions that read, write and accept may then
 * wait in vain (filar_wait_fd_until() would notice).
 *
 * Other failures are those of the system call: the status that its errno means (FILAR_SYSTEM for
 * most), and filar_status_errno() is that errno, e.g. EBADF, ECONNRESET, EPIPE.
 */

enum filar_fd_events {
	FILAR_READABLE = 1, /* a read (accept, ...) would not wait; also at the end of the data */
	FILAR_WRITABLE = 2, /* a write would not wait, or connecting has ended */
	FILAR_PRIORITY = 4, /* urgent data and the like (POLLPRI) */
	FILAR_HANGUP = 8,   /* asked for: the peer will send nothing more (POLLRDHUP).  Told, asked
			       for or not: that, or both directions are over (POLLHUP) */
	FILAR_ERROR = 16    /* never asked for, always told (POLLERR) */
};

/*
 * Until one of the events is there *now*, whatever the caller or others have read before: one
 * system call, none more for the wait.  The fd may be in any mode.  *ready (may be NULL): those of
 * `events` that are there, with FILAR_HANGUP and FILAR_ERROR; 0 without FILAR_OK.  A deadline that
 * has passed: only looks.  It may be over again when the caller comes to use it, if others read the
 * same file.
 */
int filar_wait_fd_until(int fd, int32_t events, int64_t deadline_ns, int32_t *ready);
int filar_wait_readable_until(int fd, int64_t deadline_ns);
int filar_wait_writable_until(int fd, int64_t deadline_ns);

/* All waits for the fd end with FILAR_CLOSED, in every runtime and on kernel threads; filar knows
 * nothing of it any more.  It stays open.  FILAR_INVALID: fd < 0. */
int filar_forget(int fd);
/* filar_forget(), and close(2), whose failure it reports (the fd is gone nevertheless). */
int filar_close(int fd);

/*
 * As the system calls of these names, but where those say EAGAIN these wait.  They try first, and
 * wait without a further system call.  *done is the number of bytes, also where the call ends
 * otherwise (0 with FILAR_OK: end of the data, or bytes is 0).
 *
 * On sockets recv and send never block the kernel thread (MSG_DONTWAIT) and send raises no SIGPIPE.
 * The others want O_NONBLOCK; without it (a terminal that is shared, a file) they wait until it is
 * ready, then make the call as between filar_blocking_begin() and _end(): `read` then keeps its
 * deadline as long as nobody else reads the same, `write` only if there is room.
 */
int filar_read_until(int fd, void *buffer, size_t bytes, int64_t deadline_ns, size_t *done);
int filar_write_until(int fd, const void *buffer, size_t bytes, int64_t deadline_ns, size_t *done);
int filar_recv_until(
	int fd, void *buffer, size_t bytes, int flags, int64_t deadline_ns, size_t *done);
int filar_send_until(
	int fd, const void *buffer, size_t bytes, int flags, int64_t deadline_ns, size_t *done);
/* Until all is sent: *done < bytes only without FILAR_OK. */
int filar_write_all_until(
	int fd, const void *buffer, size_t bytes, int64_t deadline_ns, size_t *done);
int filar_send_all_until(
	int fd, const void *buffer, size_t bytes, int flags, int64_t deadline_ns, size_t *done);
/* With the address of the other side: a struct sockaddr in `address`, *address_bytes its room
 * before and its length after the call.  Both NULL: it is not wanted. */
int filar_recvfrom_until(int fd, void *buffer, size_t bytes, int flags, void *address,
	uint32_t *address_bytes, int64_t deadline_ns, size_t *done);
int filar_sendto_until(int fd, const void *buffer, size_t bytes, int flags, const void *address,
	uint32_t address_bytes, int64_t deadline_ns, size_t *done);
/* message: struct msghdr. */
int filar_recvmsg_until(int fd, void *message, int flags, int64_t deadline_ns, size_t *done);
int filar_sendmsg_until(int fd, const void *message, int flags, int64_t deadline_ns, size_t *done);
/*
 * The new socket is O_NONBLOCK and closed on exec.  A connection that is gone before it was taken
 * is passed over.  FILAR_LIMIT (errno EMFILE, ENFILE): no fd to be had; the connection stays in
 * line, and the next call says the same, so close something or sleep a little first.
 */
int filar_accept_until(
	int fd, void *address, uint32_t *address_bytes, int64_t deadline_ns, int *accepted);
/* The socket must be O_NONBLOCK.  Without FILAR_OK it may still be connecting: close it. */
int filar_connect_until(int fd, const void *address, uint32_t address_bytes, int64_t deadline_ns);

/* ---- pools -------------------------------------------------------------------------------- */
/*
 * A pool runs calls (a body and its argument) on workers, kernel threads that share its queues.  A
 * call runs to its end on a worker's own stack; it may block, which blocks its worker.  Workers are
 * created with the first call that needs them, so a pool that is never used costs a few
 * microseconds and no thread.  Workers without work sleep.
 *
 * Who waits for a pool's work while standing on one of its workers helps with exactly what it waits
 * for and with nothing else, so nested use neither deadlocks nor runs strangers' calls under locks
 * that the caller holds.
 */

typedef struct filar_pool filar_pool;
typedef void (*filar_call_body)(void *argument);
/* Does [begin, end) of a loop; ctx is the caller's. */
typedef void (*filar_range_body)(int64_t begin, int64_t end, void *ctx);

enum filar_pool_queues {
	FILAR_POOL_STEALING = 0, /* a queue per worker; who has none takes from the others */
	FILAR_POOL_SHARED = 1,   /* one queue, in the order of submission */
	FILAR_POOL_PINNED = 2    /* a queue per worker, which nobody else touches */
};

/* What a submission does that finds the queue full. */
enum filar_pool_full {
	FILAR_FULL_BLOCK = 0,  /* waits for room (a call that runs on the pool runs it instead) */
	FILAR_FULL_REJECT = 1, /* FILAR_BUSY */
	FILAR_FULL_RUN = 2     /* the submitter runs the call itself, now */
};

enum filar_priority { FILAR_PRIORITY_LOW = -1, FILAR_PRIORITY_NORMAL = 0, FILAR_PRIORITY_HIGH = 1 };

typedef struct {
	uint32_t workers;     /* 1..1024; 0: as many as CPUs this process may use */
	uint32_t workers_max; /* how far it may be resized; 0: 64, or `workers` if that is more */
	int32_t pin;          /* enum filar_worker_pin */
	const int32_t *cpus;  /* for FILAR_WORKERS_LIST; copied */
	size_t cpu_count;
	const char *name;   /* of the workers' kernel threads, copied, cut to fit; NULL: "pool" */
	size_t stack_bytes; /* of each worker; 0: the process's default (ulimit -s) */
	int32_t queues;     /* enum filar_pool_queues */
	int32_t when_full;  /* enum filar_pool_full; only counts with queue_max */
	uint64_t queue_max; /* calls that may wait in the queue, of each priority; 0: no bound */
	/* Workers that may stand in for those between filar_blocking_begin() and _end(), made when
	 * needed and kept; 0..1024.  0: nobody stands in, and nobody watches. */
	uint32_t spare_workers_max;
	/* On each worker's kernel thread, before its first call and after its last; NULL: nothing.
	 * worker_begins returns FILAR_OK, or what filar_pool_start() or the submission that
	 * started the worker then fails with. */
	int (*worker_begins)(void *hook_argument, uint32_t worker);
	void (*worker_ends)(void *hook_argument, uint32_t worker);
	void *hook_argument;
} filar_pool_options;

void filar_pool_options_init(filar_pool_options *options);
/* FILAR_INVALID, FILAR_NO_MEMORY, FILAR_NO_CPU.  options NULL: the defaults.  No thread is created
 * yet. */
int filar_pool_create(filar_pool **pool, const filar_pool_options *options);
/* Creates the workers now, all or none: FILAR_LIMIT, FILAR_NO_MEMORY, ..., or what worker_begins
 * said.  FILAR_OK if they are there. */
int filar_pool_start(filar_pool *pool);
/* From now on `workers` work (1..workers_max).  More: FILAR_LIMIT and the like leave it as it was.
 * Fewer: those that are too many finish the call they are in and rest. Never waits for calls. */
int filar_pool_resize(filar_pool *pool, uint32_t workers);
/*
 * Refuses calls from outside and waits until all that were submitted have ended; those that run may
 * still submit.  cancel: what has not begun is dropped, and filar_call_cancelled() is true in what
 * runs.  FILAR_OK; FILAR_TIMED_OUT, FILAR_INTERRUPTED: the detail says which worker is in which
 * call; call it again.  FILAR_DEADLOCK: called by a call of this pool.
 */
int filar_pool_shutdown_until(filar_pool *pool, bool cancel, int64_t deadline_ns);
/* After a shutdown that ended with FILAR_OK, or of a pool never used, or in the child of a fork;
 * else FILAR_BUSY, and nothing has changed.  All other calls on the pool have returned. */
int filar_pool_destroy(filar_pool *pool);

/* ---- cancelling -- */

/* Asks calls and loops to stop, by a call of filar_token_cancel() or when a deadline has passed:
 * those that have not begun will not, those that run see filar_call_cancelled().  In the caller's
 * memory, for as long as anything submitted with it has not ended; the fields are filar's. */
typedef struct {
	uint64_t reserved[2];
} filar_token;

/* deadline_ns: FILAR_FOREVER for none. */
void filar_token_init(filar_token *token, int64_t deadline_ns);
void filar_token_cancel(filar_token *token);
bool filar_token_is_cancelled(const filar_token *token);
/* In a call of a pool: whether it should stop, because of its token or its pool's shutdown.  Else
 * false. */
bool filar_call_cancelled(void);

/* ---- submitting -- */

typedef struct {
	filar_call_body body;
	void *argument;
} filar_call;

/* All zero with worker -1 and deadline FILAR_FOREVER is a plain submission:
 * filar_submit_options_init().  A NULL pointer means the same. */
typedef struct {
	filar_waitgroup *group; /* one more until the call has ended or was dropped; or NULL */
	filar_token *token;     /* or NULL */
	int32_t priority;       /* enum filar_priority */
	int32_t worker;         /* FILAR_POOL_PINNED: whose queue; -1: in turn */
	int64_t deadline_ns;    /* how long to wait for room in a full queue */
} filar_submit_options;

void filar_submit_options_init(filar_submit_options *options);
/*
 * Queues body(argument); it may have begun, or ended, when this returns.  From any thread.  Blocks
 * only with FILAR_FULL_BLOCK.  FILAR_WRONG_STATE: shut down.  FILAR_BUSY: full.  FILAR_TIMED_OUT,
 * FILAR_CANCELLED, FILAR_INTERRUPTED: while waiting for room.  FILAR_NO_MEMORY, FILAR_LIMIT: the
 * queue could not grow, the workers not be created.  FILAR_FORKED.  After a failure the call will
 * not run.
 */
int filar_pool_submit(filar_pool *pool, const filar_submit_options *options, filar_call_body body,
	void *argument);
/* The same for `count` calls at once, which costs a fraction.  *submitted (may be NULL): how many
 * were queued or run; all of them with FILAR_OK. */
int filar_pool_submit_many(filar_pool *pool, const filar_submit_options *options,
	const filar_call *calls, size_t count, size_t *submitted);
/* Waits until the group is empty; a worker of the pool runs the group's calls meanwhile.  As
 * filar_waitgroup_wait_until() else. */
int filar_pool_wait_until(filar_pool *pool, filar_waitgroup *group, int64_t deadline_ns);

/* A call that can be waited for, asked and cancelled by itself.  In the caller's memory, from
 * filar_pool_submit_task() until it has ended and all waits have returned; the fields are filar's.
 */
typedef struct {
	uint64_t reserved[16];
} filar_task;

void filar_task_init(filar_task *task, filar_call_body body, void *argument);
/* FILAR_WRONG_STATE also when it was submitted before (filar_task_init() makes it new). */
int filar_pool_submit_task(filar_pool *pool, const filar_submit_options *options, filar_task *task);
/* FILAR_OK: it has ended or was dropped.  A worker of its pool runs it itself if it has not begun.
 */
int filar_task_wait_until(filar_task *task, int64_t deadline_ns);
/* FILAR_OK: it has run.  FILAR_CANCELLED, FILAR_TIMED_OUT (its token's deadline): it was dropped.
 * FILAR_BUSY: not ended yet.  FILAR_WRONG_STATE: never submitted. */
int filar_task_outcome(const filar_task *task);
/* FILAR_OK: it will not run.  FILAR_WRONG_STATE: it has begun, or was never submitted. */
int filar_task_cancel(filar_task *task);

/* Runs body(argument) on a worker and waits for its end; on a worker of the pool it is a plain
 * call. */
int filar_pool_call(filar_pool *pool, filar_call_body body, void *argument);
/*
 * Fork and join: runs both, the second on another worker if one is idle.  Only inside calls of a
 * pool is there anything parallel; elsewhere one runs after the other.  Allocates nothing, some
 * nanoseconds.  FILAR_LIMIT: the worker's stack is almost used up and nothing was run (see
 * filar_pool_options.stack_bytes); FILAR_NO_MEMORY.
 */
int filar_join(
	filar_call_body first, void *first_argument, filar_call_body second, void *second_argument);

/* ---- loops -- */

enum filar_schedule {
	FILAR_SCHEDULE_ADAPTIVE =
		0,                 /* measures the body; short loops stay on the caller's thread */
	FILAR_SCHEDULE_STATIC = 1, /* one equal part for each thread */
	FILAR_SCHEDULE_DYNAMIC = 2 /* pieces of `grain`, whoever comes next */
};

typedef struct {
	int64_t grain;    /* a piece has at most so many steps; 0: as it sees fit */
	int32_t schedule; /* enum filar_schedule */
	uint32_t threads; /* at most so many, the caller included; 0: as many as the pool's workers
			   */
	filar_token *token; /* or NULL */
	/* NULL; or asked by the calling thread between two pieces, and while it waits for the last
	 * ones, some 25 times a second: true ends the loop with FILAR_INTERRUPTED. */
	bool (*interrupted)(void *argument);
	void *interrupted_argument;
} filar_loop_options;

void filar_loop_options_init(filar_loop_options *options);
/*
 * Does body(b, e, ctx) for pieces [b, e) that make up [begin, end), on the calling thread and on
 * idle workers; returns when all is done.  end <= begin: nothing to do.  FILAR_CANCELLED,
 * FILAR_TIMED_OUT: the token; FILAR_INTERRUPTED; some pieces were not done.  From any thread, also
 * nested.  options NULL: the defaults.
 */
int filar_parallel_for(filar_pool *pool, const filar_loop_options *options, int64_t begin,
	int64_t end, filar_range_body body, void *ctx);

/* Adds [begin, end) to *partial, which begins as a copy of the identity. */
typedef void (*filar_partial_body)(int64_t begin, int64_t end, void *ctx, void *partial);
/* into = into + from; from covers the steps right after those of into. */
typedef void (*filar_combine_body)(void *into, const void *from, void *ctx);

typedef struct {
	filar_partial_body body;
	filar_combine_body combine;
	const void *identity; /* bytes_each bytes; NULL: zeroes */
	size_t bytes_each;    /* of a partial result; at most 65536 */
} filar_reduction;

/*
 * The loop is cut into blocks that depend on its length and the grain alone, and their partial
 * results are combined in order: the result is the same to the last bit whatever the number of
 * threads.  *result (bytes_each bytes) is written only with FILAR_OK.
 */
int filar_parallel_reduce(filar_pool *pool, const filar_loop_options *options, int64_t begin,
	int64_t end, const filar_reduction *reduction, void *ctx, void *result);

/* ---- looking -- */

/* The pool on whose worker the caller stands, or NULL; and the worker's index, or -1. */
filar_pool *filar_pool_current(void);
int32_t filar_pool_worker_index(void);

typedef struct {
	uint32_t workers; /* that work, or will once they are started */
	uint32_t workers_max;
	uint32_t started; /* kernel threads there are, resting ones included */
	uint32_t sleeping;
	uint64_t queued;  /* submitted and not begun */
	uint64_t running; /* begun and not ended; also those that wait for others */
	/* The rest only grows. */
	uint64_t submitted;
	uint64_t ended;    /* run or dropped */
	uint64_t dropped;  /* because cancelled or too late */
	uint64_t rejected; /* refused because the queue was full */
	uint64_t inlined;  /* run by their submitter because the queue was full */
	uint64_t steals;   /* times a worker took from another's queue */
	uint64_t stolen;   /* calls taken then */
	uint64_t forks;    /* second halves of filar_join() that another worker ran */
	uint64_t loops;    /* parallel loops that called for help */
	uint64_t helpers;  /* times a worker helped with one */
	uint64_t worker_sleeps;
	uint64_t worker_wakes;
} filar_pool_stats;

int filar_pool_read_stats(filar_pool *pool, filar_pool_stats *stats);

/* What one worker is at, a moment's view. */
typedef struct {
	int32_t tid;          /* the kernel's; 0: not started */
	int32_t cpu;          /* pinned to; -1: not */
	bool resting;         /* more workers than the pool's size: it waits for a resize */
	uint64_t calls;       /* begun so far */
	filar_call_body body; /* of the call it is in, or NULL */
	void *argument;
	uint64_t queued; /* in its own queue */
} filar_pool_worker;

/* FILAR_NOT_FOUND: no such worker. */
int filar_pool_describe_worker(filar_pool *pool, uint32_t index, filar_pool_worker *worker);
/* Queues, workers and what they run, as text to a file descriptor. */
int filar_pool_dump(filar_pool *pool, int fd);

/* ---- watching ----------------------------------------------------------------------------- */
/*
 * While a trace is taken, kernel threads, workers, green threads and pools leave records of what
 * happens: spawn, run, park and on what, wake and by whom, steal, block, preempt, end.  Each kernel
 * thread writes to a ring of its own, which keeps the newest; nobody waits for anybody.  A record
 * costs some 50 ns; without a trace, a place where one could be written costs a load and a branch.
 */

typedef struct {
	int64_t time_ns;  /* on filar_now_ns() */
	uint64_t subject; /* who or what; the same thing has the same number throughout a trace */
	uint64_t object;
	int32_t argument;
	int32_t thread;    /* the kernel thread that wrote it, by the kernel's id */
	uint16_t event;    /* filar_trace_event_name() */
	int16_t cpu;       /* where it was written; -1: not known */
	uint32_t sequence; /* number among that ring's records, modulo 2^32 */
} filar_trace_record;

/* All zero: the defaults. */
typedef struct {
	uint32_t records_per_thread; /* 16..2^24, rounded up to a power of two; 0: 16,384 */
	uint64_t bytes_max;          /* of all rings together, 48 bytes a record; 0: 64 MiB */
} filar_trace_options;

typedef struct {
	int64_t started_ns;   /* 0: there is no trace */
	int64_t stopped_ns;   /* 0: it is being taken */
	uint64_t written;     /* records, those lost included */
	uint64_t overwritten; /* lost: newer ones took their place */
	uint64_t left_out;    /* lost: their threads got no ring (bytes_max, or no memory) */
	uint32_t rings;       /* kernel threads that wrote at the same time, at most */
	uint64_t bytes;       /* of all rings there are */
} filar_trace_totals;

/* One at a time in a process: FILAR_BUSY.  Forgets the one before.  options may be NULL.  A fork's
 * child is not traced, and has no trace. */
int filar_trace_start(const filar_trace_options *options);
/* FILAR_WRONG_STATE: none is being taken. */
int filar_trace_stop(void);
/*
 * Copies the newest `max` records at most, thread by thread and in order of time within each; any
 * time, also while they are being written: what is overwritten meanwhile is counted, not copied.
 * How many is returned; written - overwritten - left_out is enough room.  totals may be NULL.
 */
size_t filar_trace_collect(filar_trace_record *records, size_t max, filar_trace_totals *totals);
/* Frees the memory of threads that have ended; that of others is kept for the next trace, or until
 * they end.  FILAR_BUSY: it is being taken. */
int filar_trace_clear(void);
/* A record of the caller's own, "mark". */
void filar_trace_mark(uint64_t subject, int32_t argument);
/* NULL beyond the last one. */
const char *filar_trace_event_name(uint32_t event);
/* What a park waits for: the argument of "park" and "green-park".  NULL beyond the last one. */
const char *filar_trace_wait_name(uint32_t reason);

/* ---- predicting --------------------------------------------------------------------------- */
/*
 * A recording takes down what the calling thread does between start and stop as a tree of strands
 * (code without a fork), forks and loops, each with its time on one thread.  On that thread, and on
 * no other, filar_join() outside of a pool, filar_pool_call(), filar_parallel_for() and
 * filar_parallel_reduce() meanwhile run everything right there, one part after the other; loops in
 * pieces such as helpers would take.  How long it would take on any number of workers can be
 * computed from the tree: filar.predict() in Python does.
 *
 * Times are those of the wall: what else runs on the CPU meanwhile counts as work.
 */

enum filar_recorded_kind {
	FILAR_RECORDED_STRAND = 0,
	FILAR_RECORDED_SEQUENCE = 1, /* its children one after the other */
	FILAR_RECORDED_FORK = 2,     /* two children: the halves of a filar_join() */
	FILAR_RECORDED_LOOP = 3      /* its children: pieces in order */
};

typedef struct {
	double work_ns;   /* of it with all that it contains, without what recording it cost */
	uint64_t forks;   /* of a strand: forks in it that were too short to stand for themselves */
	int64_t steps;    /* of a loop, or of a loop's piece; else 0 */
	int64_t grain;    /* of a loop: filar_loop_options; 0: as it sees fit */
	int32_t kind;     /* enum filar_recorded_kind */
	int32_t schedule; /* of a loop: enum filar_schedule */
	uint32_t threads; /* of a loop: at most so many; 0: all */
	uint32_t children;
} filar_recorded_part;

/* All zero: the defaults. */
typedef struct {
	uint32_t parts_max; /* 64 to 4,194,304; 0: 16,384, about 1 MB */
	int64_t grain_ns;   /* what takes less is not divided further; 0: 2,000 */
} filar_recording_options;

typedef struct {
	double wall_ns;       /* from start to stop */
	double work_ns;       /* of all strands */
	double probes_ns;     /* spent with recording between strands: not part of the work */
	double subtracted_ns; /* taken off the strands' times: what stamps and counting cost in them
			       */
	double stamp_ns;      /* for each strand, as measured at the start */
	double quiet_fork_ns; /* for each fork that was only counted */
	double grain_ns;      /* at the end: it doubles whenever the tree is full */
	uint64_t forks;       /* all, also those summed up in strands */
	uint64_t loops;
	uint64_t pieces;
	uint64_t calls; /* of filar_pool_call() */
	uint32_t parts;
} filar_recording_totals;

typedef struct filar_recording filar_recording;

/* Begins to record the calling thread, for as long as it takes until it stops.  Allocates all of
 * its memory now.  options NULL: the defaults.  FILAR_INVALID; FILAR_NO_MEMORY; FILAR_BUSY: this
 * thread is being recorded; FILAR_WRONG_STATE: on a worker of a pool or runtime. */
int filar_recording_start(filar_recording **recording, const filar_recording_options *options);
/* By the thread that started it, when its forks and loops have returned; else FILAR_WRONG_STATE.
 * totals may be NULL. */
int filar_recording_stop(filar_recording *recording, filar_recording_totals *totals);
/* The first `max` parts, each before its children and these in order; how many there are in all. 0
 * while it runs. */
size_t filar_recording_copy(
	const filar_recording *recording, filar_recorded_part *parts, size_t max);
/* Stops it if need be.  FILAR_BUSY: it runs on another thread, or inside of a fork; it is kept. */
int filar_recording_destroy(filar_recording *recording);

/* What a prediction needs to know of this machine, in ns; what nine tenths of the samples exceed
 * (or do not reach, of the speed), since what else runs on the machine only makes it worse. */
typedef struct {
	double fork_ns;    /* a fork and its join, stolen by nobody */
	double steal_ns;   /* from a fork to its first step on a worker that searches for work */
	double wake_ns;    /* the same on a worker that sleeps */
	double return_ns;  /* from the end of a stolen half to the forker, which sleeps, going on */
	double loop_ns;    /* from the call of a loop to the first step of a helper that slept */
	double call_ns;    /* filar_pool_call() of nothing, from outside, to workers that sleep */
	double pair_speed; /* how fast a thread computes while another one does, of its speed alone
			    */
} filar_fork_costs;

/* Measures for some `time_ns`, on two workers of its own; blocks.  With one CPU everything but
 * fork_ns and call_ns is NaN.  FILAR_INVALID, FILAR_NO_MEMORY, FILAR_LIMIT, ... */
int filar_measure_fork_costs(int64_t time_ns, filar_fork_costs *costs);

/* ---- kernels ------------------------------------------------------------------------------ */
/*
 * Bodies to run in parallel loops: filar_parallel_for(pool, options, 0, n, filar_kernel_axpy,
 * &ctx). Each is an ordinary serial function of a range: filar_kernel_axpy(0, n, &ctx) is its
 * serial twin. None allocates, and none checks: the arrays must be as long as the range says.
 */

/* y[i] += a * x[i] for i in the range. */
typedef struct {
	double a;
	const double *x;
	double *y;
} filar_axpy;
void filar_kernel_axpy(int64_t begin, int64_t end, void *axpy);

/* Rows [begin, end) of c (rows x columns) = a (rows x inner) * b (inner x columns), in blocks. */
typedef struct {
	const double *a;
	const double *b;
	double *c;
	int64_t inner;
	int64_t columns;
} filar_matmul;
void filar_kernel_matmul(int64_t begin, int64_t end, void *matmul);

/* Rows of a picture of how many steps each point takes to escape, at most steps_max: rows differ
 * widely in their work. */
typedef struct {
	uint16_t *picture; /* rows x columns */
	int64_t rows;
	int64_t columns;
	double left, top, width, height; /* of the plane */
	int32_t steps_max;               /* at most 65535 */
} filar_mandelbrot;
void filar_kernel_mandelbrot(int64_t begin, int64_t end, void *mandelbrot);

/* Rows of a picture of `channels` bytes per pixel, edges repeated; target is not source.  Box: the
 * mean over (2 radius + 1)^2 pixels.  Gauss: weights 1 4 6 4 1 in both directions. */
typedef struct {
	const uint8_t *source; /* rows x columns x channels */
	uint8_t *target;
	int64_t rows;
	int64_t columns;
	int64_t channels;
	int64_t radius; /* of the box; 0..127 */
} filar_blur;
void filar_kernel_box_blur(int64_t begin, int64_t end, void *blur);
void filar_kernel_gauss_blur(int64_t begin, int64_t end, void *blur);

/* How often each byte value occurs in data[begin, end).  racy: plain additions to shared counts,
 * which lose some when they run in parallel; atomic: none lost; private: counted apart, then added
 * (atomically, once per piece). */
typedef struct {
	const uint8_t *data;
	uint64_t *counts; /* 256 */
} filar_histogram;
void filar_kernel_histogram_racy(int64_t begin, int64_t end, void *histogram);
void filar_kernel_histogram_atomic(int64_t begin, int64_t end, void *histogram);
void filar_kernel_histogram_private(int64_t begin, int64_t end, void *histogram);

/* `steps` dependent multiplications for each index; the results are added up in *sink (relaxed). */
typedef struct {
	int64_t steps;
	uint64_t *sink; /* may be NULL */
} filar_spin;
void filar_kernel_spin(int64_t begin, int64_t end, void *spin);

/* Follows next[] from index i for `steps` steps, for each i of the range; where it ends goes to
 * ends[i].  One load waits for the other: memory latency and nothing else. */
typedef struct {
	const int64_t *next;
	int64_t *ends;
	int64_t steps;
} filar_chase;
void filar_kernel_chase(int64_t begin, int64_t end, void *chase);

/*
 * Whole computations.  pool NULL: serial.  options NULL: the defaults.  FILAR_INVALID: a size out
 * of range; FILAR_NO_MEMORY; FILAR_CANCELLED and others of filar_parallel_for() and filar_join().
 */
/* Sums in blocks that do not depend on the number of threads: the same to the last bit. */
int filar_sum(filar_pool *pool, const filar_loop_options *options, const double *x, int64_t count,
	double *result);
int filar_dot(filar_pool *pool, const filar_loop_options *options, const double *x, const double *y,
	int64_t count, double *result);
/* is_prime[i] is 1 if i is prime, else 0, for 0 <= i < count. */
int filar_sieve(
	filar_pool *pool, const filar_loop_options *options, uint8_t *is_prime, int64_t count);
/* In how many ways n queens (1..16) stand on a board of n x n. */
int filar_nqueens(filar_pool *pool, const filar_loop_options *options, int32_t n, int64_t *result);
/* By 2 calls for each number, each a fork: nothing but overhead.  0 <= n <= 50. */
int filar_fib(filar_pool *pool, int32_t n, int64_t *result);
/* Ascending; scratch has room for as many.  Equal values keep their order; no NaN. */
int filar_merge_sort(filar_pool *pool, double *values, double *scratch, int64_t count);

/* ---- a native HTTP server ---------------------------------------------------------------- */
/*
 * HTTP/1.1 with keep-alive, a green thread for each connection, on a runtime of its own: the native
 * side of the lab's server experiments.  It answers any path with 200 and, as the body, that of the
 * request, or "filar\n" if it has none.  Parameters in the query make it work first:
 *   steps=N     N dependent multiplications (see filar_kernel_spin()); at most 10^9
 *   sleep_us=N  waits, as for another service: only the green thread; at most 10^7
 *   block_us=N  blocks its kernel thread, as a foreign library would, between
 *               filar_blocking_begin() and _end(); at most 10^7
 * Bad requests get 400, 405, 408, 413, 414, 431, 501 (bodies in chunks) or 505 and are closed.
 */
typedef struct filar_http filar_http;

typedef struct {
	const char *address; /* in numbers, IPv4 or IPv6; NULL: 127.0.0.1 */
	uint32_t port;       /* 0: any that is free */
	uint32_t workers;    /* as filar_runtime_options.workers */
	/* As there; FILAR_SPARES_DEFAULT.  0: what blocks, blocks its worker. */
	int32_t spare_workers_max;
	uint32_t connections_max; /* at a time; beyond, the kernel keeps them waiting; 0: 65,536 */
	uint32_t backlog;         /* of listen(2); 0: 4,096 */
	uint32_t head_bytes_max;  /* of a request line and its headers; 0: 8,192; at most 65,536 */
	uint32_t body_bytes_max;  /* 0: 1 MiB */
	/* A whole request, from its first byte, and a whole answer, each within this; 0: 10 s.  So
	 * a client that dribbles is cut off. */
	int64_t request_ns;
	int64_t idle_ns; /* between two requests; 0: 60 s */
} filar_http_options;

typedef struct {
	uint64_t connections; /* open now */
	/* The rest only grows. */
	uint64_t accepted;
	uint64_t requests;        /* answered with 200 */
	uint64_t refused;         /* answered with an error */
	uint64_t broken;          /* connections that ended inside a request or an answer */
	uint64_t timed_out;       /* because of request_ns or idle_ns */
	uint64_t accept_failures; /* no fd or memory: it waited a little and went on */
} filar_http_stats;

void filar_http_options_init(filar_http_options *options);
/* Listens when it returns.  options NULL: the defaults.  FILAR_INVALID: the address; FILAR_BUSY:
 * the port is taken; FILAR_LIMIT and others of sockets and runtimes. */
int filar_http_start(filar_http **server, const filar_http_options *options);
uint32_t filar_http_port(filar_http *server);
int filar_http_read_stats(filar_http *server, filar_http_stats *stats);
/* As filar_runtime_read_stats(), _dump(). */
int filar_http_read_runtime_stats(filar_http *server, filar_runtime_stats *stats);
int filar_http_dump(filar_http *server, int fd);
/*
 * Stops listening, lets requests under way be answered, closes idle connections, and waits until
 * all are gone.  Once the deadline has passed the rest is cut off: FILAR_TIMED_OUT, and all the
 * same the server has ended.  FILAR_INTERRUPTED: a signal; call it again.  Blocks the kernel
 * thread.
 */
int filar_http_stop_until(filar_http *server, int64_t deadline_ns);
/* After a stop; in the child of a fork at any time.  Else FILAR_BUSY.  NULL is allowed. */
int filar_http_destroy(filar_http *server);

/* ---- the lab ----------------------------------------------------------------------------- */
/*
 * A *way* is one way of doing the thing that is measured, written in C and known by name; it takes
 * integer parameters and yields up to FILAR_METRICS_MAX values per sample.  A *plan* holds all ways
 * that are to be compared and runs them in rounds, each way once per round in shuffled order, on a
 * driver thread of its own, so that nothing of Python runs between two stamps.
 */

enum { FILAR_METRICS_MAX = 10, FILAR_PARAMS_MAX = 14 };

typedef struct {
	const char *name;
	const char *summary; /* one sentence: what one operation is */
	int32_t param_count;
	int32_t metric_count;
	const char *param_names[FILAR_PARAMS_MAX]; /* names end in their unit */
	int64_t param_defaults[FILAR_PARAMS_MAX];
	const char *metric_names[FILAR_METRICS_MAX];
	const char *metric_units[FILAR_METRICS_MAX]; /* "ns", "B", "count", "ratio", "1/s" */
} filar_way_info;

/* Number of ways known. */
int32_t filar_way_count(void);
int filar_way_describe(int32_t index, filar_way_info *info);
int filar_way_find(const char *name, filar_way_info *info);

typedef struct {
	uint64_t seed;            /* of the shuffles; 0: 1 */
	int32_t rounds_min;       /* run at least these, even past the time; at least 1 */
	int32_t rounds_max;       /* stop after these */
	int64_t time_max_ns;      /* stop after the round in which this passes; 0: no limit */
	int64_t sample_target_ns; /* batches are calibrated to last about this; 0: 200,000 */
	int32_t driver_cpu;       /* CPU of the driver thread; -1: not pinned */
	int32_t warmup_rounds;    /* run and dropped first */
} filar_plan_options;

/* One way, once, in one round. */
typedef struct {
	uint32_t way;                     /* index given by filar_plan_add() */
	uint32_t round;                   /* from 0 */
	uint32_t position;                /* place in the shuffled order of its round */
	uint32_t batch;                   /* operations in this sample */
	int64_t start_ns;                 /* on filar_now_ns() */
	int64_t wall_ns;                  /* of the whole sample, set-up inside it included */
	double values[FILAR_METRICS_MAX]; /* per operation, in the metric's unit; NaN: not measured
					   */
	double clock_before_ns; /* clock probe: ns for 1,000 dependent steps, before and after */
	double clock_after_ns;
	uint32_t switches_voluntary; /* of the whole process during the sample */
	uint32_t switches_involuntary;
	int32_t cpu_before; /* where the driver ran */
	int32_t cpu_after;
} filar_sample;

/* A point of a series that a way recorded beside its values (a gap, a wait, a time line). */
typedef struct {
	uint32_t way;
	uint32_t round;
	int32_t kind;    /* the way's own meaning, named in its summary */
	int32_t subject; /* thread or core number, where it applies */
	double x;
	double y;
} filar_point;

typedef struct {
	int32_t phase; /* 0 not started, 1 setting up, 2 warming up, 3 measuring, 4 ended */
	int32_t rounds_done;
	int32_t rounds_planned; /* estimate while a time limit counts */
	int32_t current_way;    /* index, or -1 */
	int64_t elapsed_ns;
} filar_plan_progress;

typedef struct filar_plan filar_plan;

void filar_plan_options_init(filar_plan_options *options);
int filar_plan_create(filar_plan **plan, const filar_plan_options *options);
/* Adds a way; missing parameters (param_count < those of the way) take their defaults.  batch 0:
 * calibrated.  The index of the way in this plan is written to *index. */
int filar_plan_add(filar_plan *plan, const char *way, const int64_t *params, size_t param_count,
	uint32_t batch, int32_t *index);
/* Starts the driver thread; returns at once. */
int filar_plan_start(filar_plan *plan);
/* Blocks until the plan has ended (FILAR_OK, or what stopped it), the deadline (FILAR_TIMED_OUT) or
 * a signal (FILAR_INTERRUPTED). */
int filar_plan_wait_until(filar_plan *plan, int64_t deadline_ns);
/* Asks the driver to stop; it does so within about 100 ms and cleans up.  Wait for it as ever. */
void filar_plan_cancel(filar_plan *plan);
void filar_plan_read_progress(filar_plan *plan, filar_plan_progress *progress);
/* FILAR_OK, or why this way could not run (the others went on); *detail lives as long as the plan.
 */
int filar_plan_way_status(filar_plan *plan, int32_t index, const char **detail);
/* After the end: how many samples and points there are, and copies of them. */
size_t filar_plan_sample_count(filar_plan *plan);
size_t filar_plan_copy_samples(filar_plan *plan, filar_sample *samples, size_t max);
size_t filar_plan_point_count(filar_plan *plan);
size_t filar_plan_copy_points(filar_plan *plan, filar_point *points, size_t max);
/* Points that did not fit in the memory allowed for them (2 million). */
uint64_t filar_plan_points_lost(filar_plan *plan);
/* Cancels and waits if it still runs. */
void filar_plan_destroy(filar_plan *plan);

/* cffi: end */

#define FILAR_FOREVER INT64_MAX

#ifdef __cplusplus
}
#endif

#endif
