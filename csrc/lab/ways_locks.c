/*
 * ways_locks.c - what it costs to take a lock and let it go, alone and against another thread; what
 * sharing a cache line costs without any lock; how a lock is handed on when threads are many.
 *
 * With one thread the loop runs on the driver itself; with two each runs on a core of its own and
 * the value is wall time by the operations of both together, so perfect scaling halves it.
 *
 * "handed over" is the share of operations that found the other thread's last: a fair lock goes to
 * and fro, an unfair one stays where it is, which is cheap and starves the other.
 *
 * What is counted under the lock is compared with what was done: "lost" must be 0 for every way but
 * count-plain, and is measured each time, not assumed.
 *
 * glibc (2.34 and later) takes its own mutexes without a locked instruction while the process has
 * one thread.  Here it never has: driver and caller are two.
 */
#include <pthread.h>
#include <sched.h>

#include "base/atomic.h"
#include "base/memory.h"
#include "block/mutex.h"
#include "lab/crew.h"
#include "lab/grove.h"
#include "lab/registry.h"
#include "lab/team.h"
#include "os/clock.h"
#include "sync/mcslock.h"
#include "sync/spinlock.h"
#include "sync/ticketlock.h"

#define THREADS_MAX       2
#define CRAWL_THREADS_MAX 1024
#define CRAWL_LOCKS_MAX   64
#define LINE_BLOCK_BYTES  1024

/* One step of an unguarded counter: load, add, store, three instructions on every machine.  Relaxed
 * atomics are plain moves, and keep the race from being undefined; KEEP keeps the compiler
 * from fusing the three into one instruction, which one core could not interrupt. */
static FILAR_ALWAYS_INLINE void step_plain(_Atomic uint64_t *counter)
{
	uint64_t value = load_relaxed(counter);

	FILAR_KEEP_IN_REGISTER(value);
	store_relaxed(counter, value + 1);
}

/* ---- locks and counters ---- */

enum { PARAM_THREADS, PARAM_FIRST_CPU, PARAM_SECOND_CPU };

struct lock_state {
	FILAR_CACHELINE_BREAK pthread_mutex_t mutex;
	struct spinlock spin;
	struct ticketlock ticket;
	struct mcslock mcs;
	FILAR_CACHELINE_BREAK struct mutex own_mutex;
	FILAR_CACHELINE_BREAK uint64_t guarded;         /* L  whichever lock the way uses */
	FILAR_CACHELINE_BREAK _Atomic uint64_t counter; /* A  for the ways without a lock */
	struct {
		FILAR_CACHELINE_BREAK _Atomic uint64_t counter; /* A  one thread's own */
	} own[THREADS_MAX];
	FILAR_CACHELINE_BREAK struct team_member members[THREADS_MAX];
	void (*loop)(struct lock_state *state, uint32_t index, uint32_t count); /* I  each sample */
	uint64_t handed_over[THREADS_MAX]; /* S  each thread's until joined */
	uint32_t count;                    /* I  each sample: operations of one thread */
	uint32_t threads;                  /* I */
	int32_t cpus[2];                   /* I */
	struct grove grove;                /* I  lock-filar-green */
	_Atomic uint32_t arrived;          /* A  green threads that are about to begin */
	int64_t wall_ns;                   /* S  the errand's */
};

typedef void lock_loop(struct lock_state *state, uint32_t index, uint32_t count);

/* One step under a lock.  `left` is what this thread made of the counter the last time: another
 * value means that the other thread has had the lock since.  Returns that, without a further shared
 * word. */
static FILAR_ALWAYS_INLINE bool step_guarded(uint64_t *guarded, uint64_t *left)
{
	uint64_t found = *guarded;
	bool handed_over = found != *left;

	*guarded = *left = found + 1;
	return handed_over;
}

static void loop_pthread(struct lock_state *state, uint32_t index, uint32_t count)
{
	uint64_t left = 0, handed_over = 0;

	for (uint32_t i = 0; i < count; i++) {
		pthread_mutex_lock(&state->mutex);
		handed_over += step_guarded(&state->guarded, &left);
		pthread_mutex_unlock(&state->mutex);
	}
	state->handed_over[index] = handed_over;
}

/* filar's own, which blocks green and kernel threads alike. */
static void loop_filar(struct lock_state *state, uint32_t index, uint32_t count)
{
	uint64_t left = 0, handed_over = 0;

	for (uint32_t i = 0; i < count; i++) {
		(void)mutex_lock_until(&state->own_mutex, DEADLINE_NEVER);
		handed_over += step_guarded(&state->guarded, &left);
		(void)mutex_unlock(&state->own_mutex);
	}
	state->handed_over[index] = handed_over;
}

static void loop_spin(struct lock_state *state, uint32_t index, uint32_t count)
{
	uint64_t left = 0, handed_over = 0;

	for (uint32_t i = 0; i < count; i++) {
		spinlock_lock(&state->spin);
		handed_over += step_guarded(&state->guarded, &left);
		spinlock_unlock(&state->spin);
	}
	state->handed_over[index] = handed_over;
}

static void loop_ticket(struct lock_state *state, uint32_t index, uint32_t count)
{
	uint64_t left = 0, handed_over = 0;

	for (uint32_t i = 0; i < count; i++) {
		ticketlock_lock(&state->ticket);
		handed_over += step_guarded(&state->guarded, &left);
		ticketlock_unlock(&state->ticket);
	}
	state->handed_over[index] = handed_over;
}

static void loop_mcs(struct lock_state *state, uint32_t index, uint32_t count)
{
	uint64_t left = 0, handed_over = 0;
	struct mcsnode node;

	for (uint32_t i = 0; i < count; i++) {
		mcslock_lock(&state->mcs, &node);
		handed_over += step_guarded(&state->guarded, &left);
		mcslock_unlock(&state->mcs, &node);
	}
	state->handed_over[index] = handed_over;
}

static void loop_atomic(struct lock_state *state, uint32_t index, uint32_t count)
{
	uint64_t left = 0, handed_over = 0;

	for (uint32_t i = 0; i < count; i++) {
		uint64_t found = fetch_add_relaxed(&state->counter, 1);

		handed_over += found != left;
		left = found + 1;
	}
	state->handed_over[index] = handed_over;
}

static void loop_cas(struct lock_state *state, uint32_t index, uint32_t count)
{
	uint64_t left = 0, handed_over = 0;

	for (uint32_t i = 0; i < count; i++) {
		uint64_t found = load_relaxed(&state->counter);

		while (!cas_relaxed(&state->counter, &found, found + 1))
			;
		handed_over += found != left;
		left = found + 1;
	}
	state->handed_over[index] = handed_over;
}

static void loop_own(struct lock_state *state, uint32_t index, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		step_plain(&state->own[index].counter);
}

static void loop_plain(struct lock_state *state, uint32_t index, uint32_t count)
{
	(void)index;
	for (uint32_t i = 0; i < count; i++)
		step_plain(&state->counter);
}

static void lock_member(struct team_member *member)
{
	struct lock_state *state = member->shared;

	state->loop(state, member->index, state->count);
}

static enum filar_status setup_lock(struct way_run *run)
{
	struct lock_state *state;
	int64_t threads = run->params[PARAM_THREADS];
	enum filar_status status;

	status = param_check("threads", threads, 1, THREADS_MAX);
	if (status != FILAR_OK)
		return status;
	state = way_acquire_state(run, sizeof *state);
	if (state == NULL)
		return FILAR_NO_MEMORY;
	pthread_mutex_init(&state->mutex, NULL);
	spinlock_init(&state->spin);
	ticketlock_init(&state->ticket);
	mcslock_init(&state->mcs);
	mutex_init(&state->own_mutex, NULL);
	state->threads = (uint32_t)threads;
	return team_place(run, PARAM_FIRST_CPU, threads, state->cpus);
}

static void teardown_lock(struct way_run *run)
{
	struct lock_state *state = run->state;

	if (state == NULL)
		return;
	pthread_mutex_destroy(&state->mutex);
	memory_release(state);
}

static uint64_t counted(struct lock_state *state)
{
	uint64_t sum = state->guarded + exchange_acquire(&state->counter, 0);

	for (int i = 0; i < THREADS_MAX; i++)
		sum += exchange_acquire(&state->own[i].counter, 0);
	state->guarded = 0;
	return sum;
}

static enum filar_status run_alone(struct lock_state *state, int64_t *wall_ns)
{
	int64_t start = clock_now_ns();

	state->loop(state, 0, state->count);
	*wall_ns = clock_now_ns() - start;
	return FILAR_OK;
}

static enum filar_status run_team(struct lock_state *state, int64_t *wall_ns)
{
	enum filar_status status;

	team_init(state->members, state->threads, lock_member, state, state->cpus);
	status = team_run(state->members, state->threads);
	*wall_ns = team_wall_ns(state->members, state->threads);
	return status;
}

static void report_lock(struct way_run *run, int64_t wall_ns, bool hands_over)
{
	struct lock_state *state = run->state;
	double done = (double)run->batch * state->threads;

	run->values[0] = (double)wall_ns / done;
	run->values[1] = 100 * (1 - (double)counted(state) / done);
	if (hands_over)
		run->values[2] =
			100 * (double)(state->handed_over[0] + state->handed_over[1]) / done;
}

static enum filar_status sample_lock(struct way_run *run, lock_loop *loop)
{
	struct lock_state *state = run->state;
	enum filar_status status;
	int64_t wall_ns;

	state->loop = loop;
	state->count = run->batch;
	status = state->threads == 1 ? run_alone(state, &wall_ns) : run_team(state, &wall_ns);
	/* Without a guard nothing is handed over; alone there is nobody to hand it to. */
	if (status == FILAR_OK)
		report_lock(
			run, wall_ns, state->threads > 1 && loop != loop_own && loop != loop_plain);
	return status;
}

/* A way's sample is its loop's. */
#define X(kind)                                                                                    \
	static enum filar_status sample_##kind(struct way_run *run)                                \
	{                                                                                          \
		return sample_lock(run, loop_##kind);                                              \
	}
X(pthread)
X(spin)
X(ticket)
X(mcs)
X(atomic)
X(cas)
X(own)
X(plain)
X(filar)
#undef X

/* ---- lock-filar-green: the same mutex, by a green thread on each worker ---- */

static enum filar_status setup_green_lock(struct way_run *run)
{
	enum filar_status status = setup_lock(run);
	struct lock_state *state = run->state;

	if (status != FILAR_OK)
		return status;
	return grove_open(&state->grove, run, state->threads,
		state->threads > 1 ? state->cpus[1] : -1, state->threads, state);
}

static void teardown_green_lock(struct way_run *run)
{
	struct lock_state *state = run->state;

	if (state != NULL)
		grove_close(&state->grove);
	teardown_lock(run);
}

/* Begins when all have arrived.  None lets its worker go while it waits, so each has one. */
static void green_lock_member(struct grove_member *member)
{
	struct lock_state *state = member->grove->shared;
	struct team_member *stamps = &state->members[member->number];

	fetch_add_acq_rel(&state->arrived, 1);
	while (load_acquire(&state->arrived) < state->threads)
		cpu_pause();
	stamps->start_ns = clock_now_ns();
	loop_filar(state, member->number, state->count);
	stamps->end_ns = clock_now_ns();
}

static enum filar_status green_lock_errand(void *pointer)
{
	struct lock_state *state = pointer;
	enum filar_status status;

	store_relaxed(&state->arrived, 0);
	status = grove_spawn(&state->grove, state->threads, green_lock_member);
	/* Those that are there need not wait for those that are not. */
	if (status != FILAR_OK)
		store_release(&state->arrived, state->threads);
	grove_join(&state->grove);
	state->wall_ns = team_wall_ns(state->members, state->threads);
	return status;
}

static enum filar_status sample_green_lock(struct way_run *run)
{
	struct lock_state *state = run->state;
	enum filar_status status;

	state->count = run->batch;
	status = grove_run(&state->grove, green_lock_errand, state);
	if (status == FILAR_OK)
		report_lock(run, state->wall_ns, state->threads > 1);
	return status;
}

/* ---- line-sharing: two counters near or far from each other, each used by one thread ---- */

enum {
	PARAM_LINE_THREADS,
	PARAM_LINE_FIRST_CPU,
	PARAM_LINE_SECOND_CPU,
	PARAM_DISTANCE_BYTES,
	PARAM_ATOMIC
};

struct line_state {
	FILAR_CACHELINE_BREAK char block[LINE_BLOCK_BYTES]; /* A  both counters */
	struct team_member members[THREADS_MAX];
	size_t distance_bytes; /* I */
	bool atomic;           /* I */
	uint32_t threads;      /* I */
	uint32_t count;        /* I  each sample */
	int32_t cpus[2];       /* I */
};

static _Atomic uint64_t *line_counter(struct line_state *state, uint32_t index)
{
	return (_Atomic uint64_t *)(void *)(state->block + index * state->distance_bytes);
}

static void line_loop(struct line_state *state, uint32_t index)
{
	_Atomic uint64_t *counter = line_counter(state, index);

	if (state->atomic) {
		for (uint32_t i = 0; i < state->count; i++)
			fetch_add_relaxed(counter, 1);
	} else {
		for (uint32_t i = 0; i < state->count; i++)
			step_plain(counter);
	}
}

static void line_member(struct team_member *member)
{
	line_loop(member->shared, member->index);
}

static enum filar_status setup_line(struct way_run *run)
{
	struct line_state *state;
	int64_t threads = run->params[PARAM_LINE_THREADS];
	int64_t distance = run->params[PARAM_DISTANCE_BYTES];
	enum filar_status status;

	status = param_check("threads", threads, 1, THREADS_MAX);
	if (status != FILAR_OK)
		return status;
	if (distance < 8 || distance % 8 != 0 || distance > LINE_BLOCK_BYTES - 8)
		return status_detail(FILAR_INVALID,
			"counters stand 8 to %d bytes apart, a multiple of 8, not %lld",
			LINE_BLOCK_BYTES - 8, (long long)distance);
	state = way_acquire_state(run, sizeof *state);
	if (state == NULL)
		return FILAR_NO_MEMORY;
	state->threads = (uint32_t)threads;
	state->distance_bytes = (size_t)distance;
	state->atomic = run->params[PARAM_ATOMIC] != 0;
	return team_place(run, PARAM_LINE_FIRST_CPU, threads, state->cpus);
}

static void teardown_line(struct way_run *run)
{
	memory_release(run->state);
}

static enum filar_status sample_line(struct way_run *run)
{
	struct line_state *state = run->state;
	enum filar_status status = FILAR_OK;
	double done = (double)run->batch * state->threads, counted_sum = 0;
	int64_t start, wall_ns;

	state->count = run->batch;
	if (state->threads == 1) {
		start = clock_now_ns();
		line_loop(state, 0);
		wall_ns = clock_now_ns() - start;
	} else {
		team_init(state->members, state->threads, line_member, state, state->cpus);
		status = team_run(state->members, state->threads);
		wall_ns = team_wall_ns(state->members, state->threads);
	}
	for (uint32_t i = 0; i < state->threads; i++)
		counted_sum += (double)exchange_acquire(line_counter(state, i), 0);
	run->values[0] = (double)wall_ns / done;
	run->values[1] = 100 * (1 - counted_sum / done);
	return status;
}

/* ---- lock-crawl: hand-overs among many threads, after sysbench's "threads" ---- */

enum { PARAM_CRAWL_THREADS, PARAM_WINDOW_US, PARAM_LOCKS };

struct crawl_lock {
	FILAR_CACHELINE_BREAK pthread_mutex_t mutex;
	uint64_t taken;       /* L */
	uint64_t handed_over; /* L  taken by another thread than the time before */
	uint32_t last;        /* L  who had it, from 1; 0: nobody yet */
};

struct crawl_state {
	struct crawl_lock locks[CRAWL_LOCKS_MAX];
	uint32_t lock_count;         /* I */
	uint32_t threads;            /* I */
	int64_t window_ns;           /* I */
	const struct way_run *run;   /* I */
	struct team_member *members; /* I */
};

static void crawl_take(struct crawl_lock *lock, uint32_t me)
{
	pthread_mutex_lock(&lock->mutex);
	lock->taken++;
	if (lock->last != me) {
		lock->handed_over += lock->last != 0;
		lock->last = me;
	}
	sched_yield(); /* the holder gives its CPU away: others run into the lock */
	pthread_mutex_unlock(&lock->mutex);
}

static void crawl_member(struct team_member *member)
{
	struct crawl_state *state = member->shared;
	int64_t end_ns = member->start_ns + state->window_ns;
	uint32_t at = member->index;

	do
		crawl_take(&state->locks[at++ % state->lock_count], member->index + 1);
	while (clock_now_ns() < end_ns && !way_cancelled(state->run));
}

static enum filar_status check_crawl(const int64_t *params)
{
	enum filar_status status =
		param_check("threads", params[PARAM_CRAWL_THREADS], 1, CRAWL_THREADS_MAX);

	if (status == FILAR_OK)
		status = param_check("window_us", params[PARAM_WINDOW_US], 1, 10000000);
	if (status == FILAR_OK)
		status = param_check("locks", params[PARAM_LOCKS], 1, CRAWL_LOCKS_MAX);
	return status;
}

static enum filar_status setup_crawl(struct way_run *run)
{
	enum filar_status status = check_crawl(run->params);
	struct crawl_state *state;

	if (status != FILAR_OK)
		return status;
	state = way_acquire_state(run, sizeof *state);
	if (state == NULL)
		return FILAR_NO_MEMORY;
	state->run = run;
	state->threads = (uint32_t)run->params[PARAM_CRAWL_THREADS];
	state->lock_count = (uint32_t)run->params[PARAM_LOCKS];
	state->window_ns = run->params[PARAM_WINDOW_US] * NS_PER_US;
	for (uint32_t i = 0; i < state->lock_count; i++)
		pthread_mutex_init(&state->locks[i].mutex, NULL);
	state->members = memory_acquire(state->threads, sizeof *state->members);
	if (state->members == NULL)
		return status_detail(FILAR_NO_MEMORY, "no memory for the threads' records");
	return FILAR_OK;
}

static void teardown_crawl(struct way_run *run)
{
	struct crawl_state *state = run->state;

	if (state == NULL)
		return;
	for (uint32_t i = 0; i < state->lock_count; i++)
		pthread_mutex_destroy(&state->locks[i].mutex);
	memory_release(state->members);
	memory_release(state);
}

static enum filar_status sample_crawl(struct way_run *run)
{
	struct crawl_state *state = run->state;
	uint64_t taken = 0, handed_over = 0;
	enum filar_status status;
	double seconds;

	for (uint32_t i = 0; i < state->lock_count; i++) {
		state->locks[i].taken = state->locks[i].handed_over = 0;
		state->locks[i].last = 0;
	}
	team_init(state->members, state->threads, crawl_member, state, NULL);
	status = team_run(state->members, state->threads);
	if (status != FILAR_OK)
		return status;
	for (uint32_t i = 0; i < state->lock_count; i++) {
		taken += state->locks[i].taken;
		handed_over += state->locks[i].handed_over;
	}
	seconds = (double)team_wall_ns(state->members, state->threads) / 1e9;
	run->values[0] = (double)taken / seconds;
	run->values[1] = (double)handed_over / seconds;
	return way_cancelled(run) ? FILAR_CANCELLED : FILAR_OK;
}

/* With two threads a batch must be given: calibration would see the creation of the threads. */
#define LOCK_WAY(way_name, text, function)                                                         \
	{                                                                                          \
		.name = way_name, .summary = text,                                                 \
		.params = { { "threads", 1 }, { "first_cpu", -1 }, { "second_cpu", -1 } },         \
		.metrics = { { "per operation", "ns" }, { "lost", "percent" },                     \
			{ "handed over", "percent" } },                                            \
		.setup = setup_lock, .sample = function, .teardown = teardown_lock                 \
	}

const struct way ways_locks[] = {
	LOCK_WAY("lock-pthread", "pthread_mutex_lock, count, pthread_mutex_unlock; by both threads",
		sample_pthread),
	LOCK_WAY("lock-filar", "filar's mutex: lock, count, unlock; by kernel threads",
		sample_filar),
	{ .name = "lock-filar-green",
		.summary = "filar's mutex: lock, count, unlock; by a green thread on each worker",
		.params = { { "threads", 1 }, { "first_cpu", -1 }, { "second_cpu", -1 } },
		.metrics = { { "per operation", "ns" }, { "lost", "percent" },
			{ "handed over", "percent" } },
		.setup = setup_green_lock,
		.sample = sample_green_lock,
		.teardown = teardown_green_lock },
	LOCK_WAY("lock-spin", "test-and-test-and-set spin lock, count, unlock", sample_spin),
	LOCK_WAY("lock-ticket", "ticket lock, count, unlock", sample_ticket),
	LOCK_WAY("lock-mcs", "MCS queue lock, count, unlock", sample_mcs),
	LOCK_WAY("count-atomic", "one atomic addition to a shared counter", sample_atomic),
	LOCK_WAY("count-cas", "a load and compare-and-swap until it succeeds, shared counter",
		sample_cas),
	LOCK_WAY("count-own", "load, add, store on a counter of the thread's own, padded",
		sample_own),
	LOCK_WAY(
		"count-plain", "load, add, store on a shared counter: loses updates", sample_plain),
	{ .name = "line-sharing",
		.summary = "one step of the thread's own counter, distance_bytes from the other's",
		.params = { { "threads", 2 }, { "first_cpu", -1 }, { "second_cpu", -1 },
			{ "distance_bytes", 8 }, { "atomic", 1 } },
		.metrics = { { "per operation", "ns" }, { "lost", "percent" } },
		.setup = setup_line,
		.sample = sample_line,
		.teardown = teardown_line },
	{ .name = "lock-crawl",
		.summary =
			"lock, yield, unlock by many threads for a while; each takes the locks in turn",
		.params = { { "threads", 2 }, { "window_us", 30000 }, { "locks", 1 } },
		.metrics = { { "acquisitions", "1/s" }, { "hand-overs", "1/s" } },
		.batch_max = 1,
		.setup = setup_crawl,
		.sample = sample_crawl,
		.teardown = teardown_crawl },
	{ .name = NULL },
};
