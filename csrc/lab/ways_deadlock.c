/*
 * ways_deadlock.c - two locks, two threads: how long until they stop for ever, and what prevents
 * it.
 *
 * Nothing here can hang: the rounds wait with timed locks and, when one times out, look at what the
 * other thread holds and wants; only a closed cycle counts as a deadlock, so a busy machine (a
 * holder without CPU) is never taken for one.  The real deadlock happens in a child process that
 * is killed.
 */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/memory.h"
#include "base/tid.h"
#include "lab/child.h"
#include "lab/crew.h"
#include "lab/registry.h"
#include "lab/team.h"
#include "os/clock.h"
#include "os/textfile.h"
#include "sync/backoff.h"

#define THREADS   2
#define STEPS_MAX INT64_C(10000000) /* a few milliseconds */

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
	struct team_member members[THREADS];
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
	team_work(state->section_steps);
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
		team_work(state->section_steps);
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

static void deadlock_member(struct team_member *member)
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
	enum filar_status status = param_check("time_max_ms", time_max_ms, 1, 10000);

	if (status == FILAR_OK)
		status = param_check(
			"section_steps", run->params[PARAM_DEADLOCK_SECTION_STEPS], 0, STEPS_MAX);
	if (status != FILAR_OK)
		return status;
	state = way_acquire_state(run, sizeof *state);
	if (state == NULL)
		return FILAR_NO_MEMORY;
	for (int i = 0; i < 2; i++)
		pthread_mutex_init(&state->locks[i], NULL);
	state->run = run;
	state->section_steps = run->params[PARAM_DEADLOCK_SECTION_STEPS];
	state->time_max_ns = time_max_ms * NS_PER_MS;
	return team_place(
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
	team_init(state->members, THREADS, deadlock_member, state, state->cpus);
	status = team_run(state->members, THREADS);
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

	store_relaxed(&victim->tid[me], tid_self());
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

/* In the child: its one thread takes the part of the first, a new one that of the second. */
FILAR_NORETURN static void child_main(struct victim *victim)
{
	struct victim_thread threads[THREADS] = { { victim, 0 }, { victim, 1 } };
	pthread_t second;

	for (int i = 0; i < 2; i++)
		pthread_mutex_init(&victim->locks[i], NULL);
	if (pthread_create(&second, NULL, victim_main, &threads[1]) != 0)
		child_exit(1);
	victim_main(&threads[0]);
	pthread_join(second, NULL);
	child_exit(0);
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
	char *text;
	const char *after_name;
	bool asleep;

	if (textfile_read(&text, "/proc/%d/task/%d/stat", (int)child, tid) != FILAR_OK)
		return false;
	after_name = strrchr(text, ')');
	asleep = after_name != NULL && strncmp(after_name, ") S", 3) == 0;
	memory_release(text);
	return asleep;
}

/* Kills and reaps.  1 if it had to be killed, 0 if it had ended by itself, NaN if somebody else has
 * reaped it. */
static double bury(pid_t child)
{
	int status = -1;

	if (!child_has_ended(child))
		(void)kill(child, SIGKILL);
	(void)child_reap(child, &status);
	if (status == -1)
		return NAN;
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
}

static int count_asleep(pid_t child, struct victim *victim)
{
	int asleep = 0;

	for (int i = 0; i < THREADS; i++)
		asleep += is_asleep(child, load_relaxed(&victim->tid[i]));
	return asleep;
}

static bool goes_on(const struct way_run *run, pid_t child, int64_t deadline_ns)
{
	return clock_now_ns() < deadline_ns && !way_cancelled(run) && !child_has_ended(child);
}

/* Until both threads wait for their second lock, the child has ended, or time is up. */
static bool await_deadlock(
	struct way_run *run, struct victim *victim, pid_t child, int64_t deadline_ns)
{
	while (!both_wait(victim) && goes_on(run, child, deadline_ns))
		sleep_ns(50 * NS_PER_US);
	return both_wait(victim);
}

/* They say that they wait before they do: until the kernel, too, sees them asleep. */
static bool await_sleep(
	struct way_run *run, struct victim *victim, pid_t child, int64_t deadline_ns)
{
	bool asleep;

	while (!(asleep = count_asleep(child, victim) == THREADS) &&
		goes_on(run, child, deadline_ns))
		sleep_ns(50 * NS_PER_US);
	return asleep;
}

/* The child is left to itself for the time of the watch: a deadlock does not go away. */
static void watch(struct way_run *run, pid_t child)
{
	int64_t end_ns = clock_now_ns() + run->params[PARAM_WATCH_MS] * NS_PER_MS;

	while (goes_on(run, child, end_ns))
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

/* The whole life of the child; called with nothing to undo. */
static enum filar_status lead_to_deadlock(struct way_run *run, struct victim *victim)
{
	int64_t start = clock_now_ns(), deadline_ms = run->params[PARAM_DEADLINE_MS];
	int64_t deadline_ns = start + deadline_ms * NS_PER_MS;
	bool stuck, ended;
	pid_t child;
	/* Three ends in time: our kill, our own death (child_fork), and the child's alarm. */
	enum filar_status status = child_fork(
		&child, (unsigned)((deadline_ms + run->params[PARAM_WATCH_MS]) / 1000 + 10));

	if (status != FILAR_OK)
		return status;
	if (child == 0)
		child_main(victim);
	stuck = await_deadlock(run, victim, child, deadline_ns);
	run->values[0] = (double)(clock_now_ns() - start);
	stuck = stuck && await_sleep(run, victim, child, deadline_ns);
	if (stuck) {
		watch(run, child);
		run->values[1] = count_asleep(child, victim);
		record_victim(run, victim);
	}
	run->values[2] = load_relaxed(&victim->got_through);
	ended = child_has_ended(child);
	run->values[3] = bury(child);
	if (way_cancelled(run))
		return FILAR_CANCELLED;
	if (ended && run->values[2] < THREADS)
		return status_detail(FILAR_SYSTEM, "the child ended before its time");
	if (stuck)
		return FILAR_OK;
	return status_detail(FILAR_TIMED_OUT,
		"the child did not bring both threads to their second lock in %lld ms",
		(long long)deadline_ms);
}

static enum filar_status sample_child(struct way_run *run)
{
	struct victim *victim;
	enum filar_status status;

	/* ThreadSanitizer ends a child of fork that starts threads. */
	if (FILAR_TSAN)
		return status_detail(FILAR_NOT_SUPPORTED,
			"a forked child cannot start threads under ThreadSanitizer");
	victim = shared_acquire(sizeof *victim);
	if (victim == NULL)
		return FILAR_NO_MEMORY;
	status = lead_to_deadlock(run, victim);
	shared_release(victim, sizeof *victim);
	return status;
}

static enum filar_status setup_child(struct way_run *run)
{
	enum filar_status status = param_check("watch_ms", run->params[PARAM_WATCH_MS], 1, 60000);

	if (status == FILAR_OK)
		status = param_check("deadline_ms", run->params[PARAM_DEADLINE_MS], 1, 60000);
	return status;
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

const struct way ways_deadlock[] = {
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
		.params = { { "watch_ms", 20 }, { "deadline_ms", 20000 } },
		.metrics = { { "until deadlock", "ns" }, { "threads asleep", "count" },
			{ "threads that got through", "count" }, { "had to be killed", "count" } },
		.batch_max = 1,
		.setup = setup_child,
		.sample = sample_child },
	{ .name = NULL },
};
