/*
 * ways_race.c - what goes wrong without locks, and with them: lost updates, torn pairs, deadlock.
 *
 * Every way counts what it claims.  Lost updates and torn pairs are races by design; they are made
 * of relaxed atomics, which are the plain instructions of the machine without being undefined in C.
 *
 * Nothing here can hang: the deadlock ways wait with timed locks and, when one times out, look at
 * what the other thread holds and wants; only a closed cycle counts as a deadlock, so a busy
 * machine (a holder without CPU) is never taken for one.  The real deadlock happens in a child
 * process that is killed.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/memory.h"
#include "lab/crew.h"
#include "lab/registry.h"
#include "os/calls.h"
#include "os/clock.h"
#include "sync/backoff.h"

#define THREADS 2

/* About one cycle a step or a few; not optimised away. */
static FILAR_ALWAYS_INLINE void section(int64_t steps)
{
	for (int64_t i = 0; i < steps; i++)
		FILAR_KEEP(i);
}

/* ---- race-*: counter = counter + 1 by two threads ---- */

enum { PARAM_INCREMENTS, PARAM_CORES, PARAM_SECTION_STEPS, PARAM_FIRST_CPU, PARAM_SECOND_CPU };

#define INCREMENTS_MAX INT64_C(100000000)
/* Looked at between chunks, so that cancelling is quick and costs the loop nothing. */
#define CHUNK INT64_C(100000)

struct race_state {
	FILAR_CACHELINE_BREAK _Atomic uint64_t counter; /* A */
	FILAR_CACHELINE_BREAK pthread_mutex_t mutex;
	uint64_t guarded; /* L  mutex */
	struct {
		FILAR_CACHELINE_BREAK _Atomic uint64_t counter; /* A  one thread's own */
	} own[THREADS];
	FILAR_CACHELINE_BREAK struct crew_member members[THREADS];
	void (*loop)(struct race_state *state, uint32_t index, int64_t count); /* I  each sample */
	const struct way_run *run;                                             /* I */
	int64_t increments;                                                    /* I */
	int64_t section_steps;                                                 /* I */
	int32_t cpus[2];                                                       /* I */
};

typedef void race_loop(struct race_state *state, uint32_t index, int64_t count);

/* Load, section, add, store: the empty asm keeps the compiler from fusing them into one
 * instruction, which an interrupt could not split. */
static void loop_plain(struct race_state *state, uint32_t index, int64_t count)
{
	(void)index;
	for (int64_t i = 0; i < count; i++) {
		uint64_t value = load_relaxed(&state->counter);

		__asm__ volatile("" : "+r"(value));
		section(state->section_steps);
		store_relaxed(&state->counter, value + 1);
	}
}

static void loop_atomic(struct race_state *state, uint32_t index, int64_t count)
{
	(void)index;
	for (int64_t i = 0; i < count; i++) {
		section(state->section_steps);
		fetch_add_relaxed(&state->counter, 1);
	}
}

static void loop_mutex(struct race_state *state, uint32_t index, int64_t count)
{
	(void)index;
	for (int64_t i = 0; i < count; i++) {
		pthread_mutex_lock(&state->mutex);
		section(state->section_steps);
		state->guarded = state->guarded + 1;
		pthread_mutex_unlock(&state->mutex);
	}
}

static void loop_own(struct race_state *state, uint32_t index, int64_t count)
{
	for (int64_t i = 0; i < count; i++) {
		uint64_t value = load_relaxed(&state->own[index].counter);

		__asm__ volatile("" : "+r"(value));
		section(state->section_steps);
		store_relaxed(&state->own[index].counter, value + 1);
	}
}

static void race_member(struct crew_member *member)
{
	struct race_state *state = member->shared;
	int64_t left = state->increments;

	while (left > 0 && !way_cancelled(state->run)) {
		int64_t chunk = left < CHUNK ? left : CHUNK;

		state->loop(state, member->index, chunk);
		left -= chunk;
	}
}

static enum filar_status setup_race(struct way_run *run)
{
	struct race_state *state;
	int64_t increments = run->params[PARAM_INCREMENTS];

	if (increments < 1 || increments > INCREMENTS_MAX)
		return status_detail(FILAR_INVALID, "increments: 1 to %lld, not %lld",
			(long long)INCREMENTS_MAX, (long long)increments);
	state = memory_acquire_aligned(1, sizeof *state);
	if (state == NULL)
		return status_detail(FILAR_NO_MEMORY, "no memory");
	run->state = state;
	pthread_mutex_init(&state->mutex, NULL);
	state->run = run;
	state->increments = increments;
	state->section_steps = run->params[PARAM_SECTION_STEPS];
	return crew_place(run, PARAM_FIRST_CPU, run->params[PARAM_CORES], state->cpus);
}

static void teardown_race(struct way_run *run)
{
	struct race_state *state = run->state;

	if (state == NULL)
		return;
	pthread_mutex_destroy(&state->mutex);
	memory_release(state);
}

static double counted(struct race_state *state)
{
	uint64_t sum = state->guarded + exchange_acquire(&state->counter, 0);

	for (int i = 0; i < THREADS; i++)
		sum += exchange_acquire(&state->own[i].counter, 0);
	state->guarded = 0;
	return (double)sum;
}

static void man_crew(struct crew_member *members, void (*body)(struct crew_member *member),
	void *shared, const int32_t cpus[2])
{
	for (int i = 0; i < THREADS; i++)
		members[i] = (struct crew_member){ .body = body, .shared = shared, .cpu = cpus[i] };
}

static enum filar_status sample_race(struct way_run *run, race_loop *loop)
{
	struct race_state *state = run->state;
	double done = 2.0 * (double)state->increments, lost;
	enum filar_status status;

	state->loop = loop;
	man_crew(state->members, race_member, state, state->cpus);
	status = crew_run(state->members, THREADS);
	lost = done - counted(state);
	if (status != FILAR_OK || way_cancelled(run))
		return status != FILAR_OK ? status : FILAR_CANCELLED;
	run->values[0] = 100 * lost / done;
	run->values[1] = lost;
	run->values[2] = (double)crew_wall_ns(state->members, THREADS) / done;
	return FILAR_OK;
}

static enum filar_status sample_race_plain(struct way_run *run)
{
	return sample_race(run, loop_plain);
}

static enum filar_status sample_race_atomic(struct way_run *run)
{
	return sample_race(run, loop_atomic);
}

static enum filar_status sample_race_mutex(struct way_run *run)
{
	return sample_race(run, loop_mutex);
}

static enum filar_status sample_race_own(struct way_run *run)
{
	return sample_race(run, loop_own);
}

/* ---- race-torn: two words that belong together, written by one thread, read by the other ---- */

enum { PARAM_READS, PARAM_TORN_CORES, PARAM_GUARDED, PARAM_TORN_FIRST_CPU, PARAM_TORN_SECOND_CPU };

struct torn_state {
	FILAR_CACHELINE_BREAK _Atomic uint64_t
		pair[2]; /* A  always the same number twice, one hopes */
	FILAR_CACHELINE_BREAK pthread_mutex_t mutex;
	_Atomic bool over; /* A  relaxed: the reader has read enough */
	int64_t torn;      /* S  the reader's until joined */
	struct crew_member members[THREADS];
	const struct way_run *run; /* I */
	int64_t reads;             /* I */
	bool guarded;              /* I */
	int32_t cpus[2];           /* I */
};

static void write_pair(struct torn_state *state, uint64_t value)
{
	if (state->guarded)
		pthread_mutex_lock(&state->mutex);
	store_relaxed(&state->pair[0], value);
	store_relaxed(&state->pair[1], value);
	if (state->guarded)
		pthread_mutex_unlock(&state->mutex);
}

static bool pair_is_torn(struct torn_state *state)
{
	uint64_t first, second;

	if (state->guarded)
		pthread_mutex_lock(&state->mutex);
	first = load_relaxed(&state->pair[0]);
	second = load_relaxed(&state->pair[1]);
	if (state->guarded)
		pthread_mutex_unlock(&state->mutex);
	return first != second;
}

static void torn_member(struct crew_member *member)
{
	struct torn_state *state = member->shared;

	if (member->index == 0) {
		for (uint64_t value = 1; !load_relaxed(&state->over); value++)
			write_pair(state, value);
		return;
	}
	for (int64_t i = 0; i < state->reads; i++) {
		state->torn += pair_is_torn(state);
		if (i % CHUNK == CHUNK - 1 && way_cancelled(state->run))
			break;
	}
	store_relaxed(&state->over, true);
}

static enum filar_status setup_torn(struct way_run *run)
{
	struct torn_state *state;
	int64_t reads = run->params[PARAM_READS];

	if (reads < 1 || reads > INCREMENTS_MAX)
		return status_detail(FILAR_INVALID, "reads: 1 to %lld, not %lld",
			(long long)INCREMENTS_MAX, (long long)reads);
	state = memory_acquire_aligned(1, sizeof *state);
	if (state == NULL)
		return status_detail(FILAR_NO_MEMORY, "no memory");
	run->state = state;
	pthread_mutex_init(&state->mutex, NULL);
	state->run = run;
	state->reads = reads;
	state->guarded = run->params[PARAM_GUARDED] != 0;
	return crew_place(run, PARAM_TORN_FIRST_CPU, run->params[PARAM_TORN_CORES], state->cpus);
}

static void teardown_torn(struct way_run *run)
{
	struct torn_state *state = run->state;

	if (state == NULL)
		return;
	pthread_mutex_destroy(&state->mutex);
	memory_release(state);
}

static enum filar_status sample_torn(struct way_run *run)
{
	struct torn_state *state = run->state;
	enum filar_status status;

	state->torn = 0;
	store_relaxed(&state->over, false);
	man_crew(state->members, torn_member, state, state->cpus);
	status = crew_run(state->members, THREADS);
	if (status != FILAR_OK || way_cancelled(run))
		return status != FILAR_OK ? status : FILAR_CANCELLED;
	run->values[0] = 100 * (double)state->torn / (double)state->reads;
	run->values[1] = (double)state->torn;
	return FILAR_OK;
}

/* ---- deadlock-*: rounds with two locks until nobody can go on ---- */

enum {
	PARAM_DEADLOCK_CORES,
	PARAM_DEADLOCK_SECTION_STEPS,
	PARAM_TIME_MAX_MS,
	PARAM_DEADLOCK_FIRST_CPU,
	PARAM_DEADLOCK_SECOND_CPU
};

/* How long a thread sleeps in the timed lock before it looks for a cycle. */
#define DETECT_NS (2 * NS_PER_MS)

/* What one thread holds and wants, published for the other: NOTHING or lock number + 1 each. */
#define NOTHING            0u
#define POSTED(held, want) ((uint32_t)(held) << 8 | (uint32_t)(want))

struct deadlock_state {
	FILAR_CACHELINE_BREAK pthread_mutex_t locks[2];
	FILAR_CACHELINE_BREAK _Atomic uint32_t posted[THREADS]; /* A  POSTED() */
	_Atomic bool stopped;                                   /* A  relaxed: a cycle was found */
	_Atomic bool over;                                      /* A  relaxed: time is up */
	int64_t rounds[THREADS];                                /* S  each thread's until joined */
	int64_t retries[THREADS];                               /* S */
	struct crew_member members[THREADS];
	bool (*round)(struct deadlock_state *state, uint32_t me); /* I  each sample */
	const struct way_run *run;                                /* I */
	int64_t section_steps;                                    /* I */
	int64_t time_max_ns;                                      /* I */
	int32_t cpus[2];                                          /* I */
};

typedef bool deadlock_round(struct deadlock_state *state, uint32_t me);

/*
 * I hold `held` and wait for `want`.  The other posts (D1) after it took its first lock and before
 * it waits for the second; while I hold `held`, it can take back "holds want, wants held" only by
 * giving up, which it does only after finding the cycle itself.  So what is seen here is a deadlock
 * and not a delay.
 */
static bool cycle_closed(struct deadlock_state *state, uint32_t me, uint32_t held, uint32_t want)
{
	/* D2: acquire; pairs with D1. */
	return load_acquire(&state->posted[!me]) == POSTED(want + 1, held + 1);
}

/* The clock of timed locks is the wall clock (the monotonic one needs a newer libc); if somebody
 * sets it back, one wait is that much longer. */
static struct timespec detect_deadline(void)
{
	struct timespec now;
	int64_t ns;

	clock_gettime(CLOCK_REALTIME, &now);
	ns = (int64_t)now.tv_sec * NS_PER_S + now.tv_nsec + DETECT_NS;
	return clock_timespec(ns);
}

/* False when a deadlock was found, by us or by the other. */
static bool lock_second(struct deadlock_state *state, uint32_t me, uint32_t held, uint32_t want)
{
	struct timespec deadline;

	/* D1: release; pairs with D2. */
	store_release(&state->posted[me], POSTED(held + 1, want + 1));
	for (;;) {
		deadline = detect_deadline();
		if (pthread_mutex_timedlock(&state->locks[want], &deadline) == 0)
			return true;
		if (cycle_closed(state, me, held, want))
			store_relaxed(&state->stopped, true);
		if (load_relaxed(&state->stopped))
			return false;
	}
}

static bool round_in_order(struct deadlock_state *state, uint32_t me, uint32_t first)
{
	uint32_t second = !first;
	bool got;

	pthread_mutex_lock(&state->locks[first]);
	section(state->section_steps);
	got = lock_second(state, me, first, second);
	store_release(&state->posted[me], NOTHING);
	if (got)
		pthread_mutex_unlock(&state->locks[second]);
	pthread_mutex_unlock(&state->locks[first]);
	return got;
}

/* Thread 0 takes A then B, thread 1 takes B then A. */
static bool round_opposite(struct deadlock_state *state, uint32_t me)
{
	return round_in_order(state, me, me);
}

/* Both take A then B. */
static bool round_same(struct deadlock_state *state, uint32_t me)
{
	return round_in_order(state, me, 0);
}

/* Opposite orders, but nobody waits while holding: trylock, and let go of all if it fails. */
static bool round_backing_off(struct deadlock_state *state, uint32_t me)
{
	struct backoff backoff;

	backoff_init(&backoff);
	for (;;) {
		pthread_mutex_lock(&state->locks[me]);
		section(state->section_steps);
		if (pthread_mutex_trylock(&state->locks[!me]) == 0)
			break;
		pthread_mutex_unlock(&state->locks[me]);
		state->retries[me]++;
		if (load_relaxed(&state->over))
			return false;
		backoff_wait(&backoff);
	}
	pthread_mutex_unlock(&state->locks[!me]);
	pthread_mutex_unlock(&state->locks[me]);
	return true;
}

static void deadlock_member(struct crew_member *member)
{
	struct deadlock_state *state = member->shared;
	uint32_t me = member->index;
	int64_t end_ns = member->start_ns + state->time_max_ns;

	while (!load_relaxed(&state->stopped) && !load_relaxed(&state->over)) {
		if (!state->round(state, me))
			break;
		state->rounds[me]++;
		if (clock_now_ns() >= end_ns || way_cancelled(state->run))
			store_relaxed(&state->over, true);
	}
}

static enum filar_status setup_deadlock(struct way_run *run)
{
	struct deadlock_state *state;
	int64_t time_max_ms = run->params[PARAM_TIME_MAX_MS];

	if (time_max_ms < 1 || time_max_ms > 10000)
		return status_detail(FILAR_INVALID, "time_max_ms: 1 to 10,000, not %lld",
			(long long)time_max_ms);
	state = memory_acquire_aligned(1, sizeof *state);
	if (state == NULL)
		return status_detail(FILAR_NO_MEMORY, "no memory");
	run->state = state;
	for (int i = 0; i < 2; i++)
		pthread_mutex_init(&state->locks[i], NULL);
	state->run = run;
	state->section_steps = run->params[PARAM_DEADLOCK_SECTION_STEPS];
	state->time_max_ns = time_max_ms * NS_PER_MS;
	return crew_place(
		run, PARAM_DEADLOCK_FIRST_CPU, run->params[PARAM_DEADLOCK_CORES], state->cpus);
}

static void teardown_deadlock(struct way_run *run)
{
	struct deadlock_state *state = run->state;

	if (state == NULL)
		return;
	for (int i = 0; i < 2; i++)
		pthread_mutex_destroy(&state->locks[i]);
	memory_release(state);
}

static enum filar_status sample_deadlock(struct way_run *run, deadlock_round *round)
{
	struct deadlock_state *state = run->state;
	enum filar_status status;

	state->round = round;
	for (int i = 0; i < THREADS; i++) {
		state->rounds[i] = state->retries[i] = 0;
		store_relaxed(&state->posted[i], NOTHING);
	}
	store_relaxed(&state->stopped, false);
	store_relaxed(&state->over, false);
	man_crew(state->members, deadlock_member, state, state->cpus);
	status = crew_run(state->members, THREADS);
	if (status != FILAR_OK || way_cancelled(run))
		return status != FILAR_OK ? status : FILAR_CANCELLED;
	run->values[0] = (double)(state->rounds[0] + state->rounds[1]);
	run->values[1] = load_relaxed(&state->stopped) ? 1 : 0;
	run->values[2] = (double)(state->retries[0] + state->retries[1]);
	return FILAR_OK;
}

static enum filar_status sample_abba(struct way_run *run)
{
	return sample_deadlock(run, round_opposite);
}

static enum filar_status sample_ordered(struct way_run *run)
{
	return sample_deadlock(run, round_same);
}

static enum filar_status sample_trylock(struct way_run *run)
{
	return sample_deadlock(run, round_backing_off);
}

/* ---- deadlock-child: a real one, in a process that is killed ---- */

enum { PARAM_WATCH_MS, PARAM_DEADLINE_MS };

enum { POINT_LOCKS = 1, POINT_THREAD = 2 };

/* Shared with the child: written by its threads, read by us. */
struct victim {
	pthread_mutex_t locks[2];         /* the child's alone */
	_Atomic uint32_t holding;         /* A  threads that hold their first lock */
	_Atomic uint32_t posted[THREADS]; /* A  POSTED(), as above */
	_Atomic int32_t tid[THREADS];     /* A */
	_Atomic uint32_t got_through;     /* A  threads that had both locks: must stay 0 */
};

struct victim_thread {
	struct victim *victim;
	uint32_t me;
};

/* Holds one lock, waits until the other thread holds the other one, and asks for it: for ever. */
static void *victim_main(void *pointer)
{
	struct victim_thread *thread = pointer;
	struct victim *victim = thread->victim;
	uint32_t me = thread->me, other = !me;

	store_relaxed(&victim->tid[me], gettid());
	pthread_mutex_lock(&victim->locks[me]);
	fetch_add_acq_rel(&victim->holding, 1);
	while (load_acquire(&victim->holding) < THREADS)
		sched_yield();
	/* D1, again. */
	store_release(&victim->posted[me], POSTED(me + 1, other + 1));
	pthread_mutex_lock(&victim->locks[other]);
	fetch_add_relaxed(&victim->got_through, 1);
	pthread_mutex_unlock(&victim->locks[other]);
	pthread_mutex_unlock(&victim->locks[me]);
	return NULL;
}

/* The child of the fork: dies with the thread that made it, whatever happens to that. */
FILAR_NORETURN static void child_main(struct victim *victim, pid_t parent)
{
	struct victim_thread threads[THREADS] = { { victim, 0 }, { victim, 1 } };
	pthread_t second;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(2); /* the parent was gone before we could ask for that */
	for (int i = 0; i < 2; i++)
		pthread_mutex_init(&victim->locks[i], NULL);
	if (pthread_create(&second, NULL, victim_main, &threads[1]) != 0)
		_exit(1);
	victim_main(&threads[0]);
	pthread_join(second, NULL);
	_exit(0);
}

static void sleep_ns(int64_t ns)
{
	struct timespec time = clock_timespec(ns);

	(void)nanosleep(&time, NULL);
}

static bool both_wait(struct victim *victim)
{
	return load_acquire(&victim->posted[0]) != NOTHING &&
	       load_acquire(&victim->posted[1]) != NOTHING;
}

/* Whether the kernel says that this thread of the child sleeps ("S" after the name in its stat). */
static bool is_asleep(pid_t child, int32_t tid)
{
	char path[64], text[512];
	const char *after_name;
	ssize_t length;
	int fd;

	snprintf(path, sizeof path, "/proc/%d/task/%d/stat", (int)child, tid);
	fd = call_open(path, O_RDONLY);
	if (fd < 0)
		return false;
	length = call_read(fd, text, sizeof text - 1);
	close(fd);
	if (length <= 0)
		return false;
	text[length] = '\0';
	after_name = strrchr(text, ')');
	return after_name != NULL && strncmp(after_name, ") S", 3) == 0;
}

/* Kills and reaps; true if it had to be killed, that is, had not ended by itself. */
static bool bury(pid_t child)
{
	int status = 0;

	kill(child, SIGKILL);
	while (call_waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

/* Until both threads wait, the child has ended, or time is up. */
static bool await_deadlock(struct way_run *run, struct victim *victim, int64_t deadline_ns)
{
	while (!both_wait(victim) && clock_now_ns() < deadline_ns && !way_cancelled(run))
		sleep_ns(50 * NS_PER_US);
	return both_wait(victim);
}

/* The child is left to itself for the time of the watch: a deadlock does not go away. */
static void watch(struct way_run *run)
{
	int64_t end_ns = clock_now_ns() + run->params[PARAM_WATCH_MS] * NS_PER_MS;

	while (clock_now_ns() < end_ns && !way_cancelled(run))
		sleep_ns(NS_PER_MS);
}

static void record_victim(struct way_run *run, struct victim *victim)
{
	for (int i = 0; i < THREADS; i++) {
		uint32_t posted = load_acquire(&victim->posted[i]);

		way_point(run, POINT_LOCKS, i, posted >> 8, posted & 255);
		way_point(run, POINT_THREAD, i, load_relaxed(&victim->tid[i]), 0);
	}
}

static enum filar_status lead_to_deadlock(struct way_run *run, struct victim *victim)
{
	int64_t start = clock_now_ns();
	int64_t deadline_ns = start + run->params[PARAM_DEADLINE_MS] * NS_PER_MS;
	pid_t parent = getpid(), child = call_fork();
	bool stuck, killed;
	int asleep = 0;

	if (child < 0)
		return status_from_errno(errno, "fork");
	if (child == 0)
		child_main(victim, parent);
	stuck = await_deadlock(run, victim, deadline_ns);
	run->values[0] = (double)(clock_now_ns() - start);
	if (stuck) {
		watch(run);
		for (int i = 0; i < THREADS; i++)
			asleep += is_asleep(child, load_relaxed(&victim->tid[i]));
		record_victim(run, victim);
	}
	killed = bury(child);
	if (way_cancelled(run))
		return FILAR_CANCELLED;
	if (!stuck)
		return status_detail(FILAR_TIMED_OUT,
			"the child did not bring both threads to their second lock in %lld ms",
			(long long)run->params[PARAM_DEADLINE_MS]);
	run->values[1] = asleep;
	run->values[2] = load_relaxed(&victim->got_through);
	run->values[3] = killed;
	return FILAR_OK;
}

static enum filar_status sample_child(struct way_run *run)
{
	struct victim *victim;
	enum filar_status status;

	/* ThreadSanitizer ends a child of fork that starts threads. */
	if (FILAR_TSAN)
		return status_detail(FILAR_NOT_SUPPORTED,
			"a forked child cannot start threads under ThreadSanitizer");
	victim = call_mmap(
		NULL, sizeof *victim, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (victim == MAP_FAILED)
		return status_from_errno(errno, "mmap of a page shared with the child");
	status = lead_to_deadlock(run, victim);
	(void)munmap(victim, sizeof *victim);
	return status;
}

#define RACE_WAY(way_name, text, function)                                                         \
	{                                                                                          \
		.name = way_name, .summary = text,                                                 \
		.params = { { "increments", 100000 }, { "cores", 2 }, { "section_steps", 0 },      \
			{ "first_cpu", -1 }, { "second_cpu", -1 } },                               \
		.metrics = { { "lost", "percent" }, { "lost updates", "count" },                   \
			{ "per increment", "ns" } },                                               \
		.batch_max = 1, .setup = setup_race, .sample = function, .teardown = teardown_race \
	}

#define DEADLOCK_WAY(way_name, text, function)                                                     \
	{                                                                                          \
		.name = way_name, .summary = text,                                                 \
		.params = { { "cores", 2 }, { "section_steps", 0 }, { "time_max_ms", 50 },         \
			{ "first_cpu", -1 }, { "second_cpu", -1 } },                               \
		.metrics = { { "rounds", "count" }, { "deadlock", "ratio" },                       \
			{ "retries", "count" } },                                                  \
		.batch_max = 1, .setup = setup_deadlock, .sample = function,                       \
		.teardown = teardown_deadlock                                                      \
	}

const struct way ways_race[] = {
	RACE_WAY("race-plain", "two threads add 1 to one counter: load, section, add, store",
		sample_race_plain),
	RACE_WAY("race-atomic", "the same with one atomic addition", sample_race_atomic),
	RACE_WAY("race-mutex", "the same under a mutex", sample_race_mutex),
	RACE_WAY("race-own", "the same with a counter for each thread, added up at the end",
		sample_race_own),
	{ .name = "race-torn",
		.summary =
			"one thread writes a number twice, the other reads both: are they the same?",
		.params = { { "reads", 100000 }, { "cores", 2 }, { "guarded", 0 },
			{ "first_cpu", -1 }, { "second_cpu", -1 } },
		.metrics = { { "torn", "percent" }, { "torn pairs", "count" } },
		.batch_max = 1,
		.setup = setup_torn,
		.sample = sample_torn,
		.teardown = teardown_torn },
	DEADLOCK_WAY("deadlock-abba",
		"rounds of two locks in opposite orders until nobody can go on, or the time is over",
		sample_abba),
	DEADLOCK_WAY(
		"deadlock-ordered", "the same, both threads in the same order", sample_ordered),
	DEADLOCK_WAY("deadlock-trylock", "the same in opposite orders, with trylock and letting go",
		sample_trylock),
	{ .name = "deadlock-child",
		.summary =
			"a deadlock of two threads in a child that is killed; points of kind 1: thread, "
			"lock held, lock wanted (1 A, 2 B); of kind 2: thread, its tid",
		.params = { { "watch_ms", 20 }, { "deadline_ms", 1000 } },
		.metrics = { { "until deadlock", "ns" }, { "threads asleep", "count" },
			{ "threads that got through", "count" }, { "had to be killed", "count" } },
		.batch_max = 1,
		.sample = sample_child },
	{ .name = NULL },
};
