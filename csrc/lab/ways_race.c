/*
 * ways_race.c - what goes wrong without locks: lost updates and torn pairs, and what cures them.
 *
 * Every way counts what it claims.  Lost updates and torn pairs are races by design; they are made
 * of relaxed atomics, which are the plain instructions of the machine without being undefined in C.
 */
#include <pthread.h>

#include "base/atomic.h"
#include "base/memory.h"
#include "lab/crew.h"
#include "lab/registry.h"
#include "lab/team.h"

#define THREADS 2

/* ---- race-*: counter = counter + 1 by two threads ---- */

enum { PARAM_INCREMENTS, PARAM_CORES, PARAM_SECTION_STEPS, PARAM_FIRST_CPU, PARAM_SECOND_CPU };

#define INCREMENTS_MAX INT64_C(100000000)
#define STEPS_MAX      INT64_C(10000000) /* a few milliseconds */
/* Between chunks the members look whether to stop: every millisecond or so, and at no cost to the
 * loop. */
#define CHUNK INT64_C(100000)

struct race_state {
	FILAR_CACHELINE_BREAK _Atomic uint64_t counter; /* A */
	FILAR_CACHELINE_BREAK pthread_mutex_t mutex;
	uint64_t guarded; /* L  mutex */
	struct {
		FILAR_CACHELINE_BREAK _Atomic uint64_t counter; /* A  one thread's own */
	} own[THREADS];
	FILAR_CACHELINE_BREAK struct team_member members[THREADS];
	void (*loop)(struct race_state *state, uint32_t index, int64_t count); /* I  each sample */
	const struct way_run *run;                                             /* I */
	int64_t increments;                                                    /* I */
	int64_t section_steps;                                                 /* I */
	int32_t cpus[2];                                                       /* I */
};

typedef void race_loop(struct race_state *state, uint32_t index, int64_t count);

/* Load, section, add, store: KEEP keeps the compiler from fusing them into one
 * instruction, which an interrupt could not split. */
static void loop_plain(struct race_state *state, uint32_t index, int64_t count)
{
	(void)index;
	for (int64_t i = 0; i < count; i++) {
		uint64_t value = load_relaxed(&state->counter);

		FILAR_KEEP_IN_REGISTER(value);
		team_work(state->section_steps);
		store_relaxed(&state->counter, value + 1);
	}
}

static void loop_atomic(struct race_state *state, uint32_t index, int64_t count)
{
	(void)index;
	for (int64_t i = 0; i < count; i++) {
		team_work(state->section_steps);
		fetch_add_relaxed(&state->counter, 1);
	}
}

static void loop_mutex(struct race_state *state, uint32_t index, int64_t count)
{
	(void)index;
	for (int64_t i = 0; i < count; i++) {
		pthread_mutex_lock(&state->mutex);
		team_work(state->section_steps);
		state->guarded = state->guarded + 1;
		pthread_mutex_unlock(&state->mutex);
	}
}

static void loop_own(struct race_state *state, uint32_t index, int64_t count)
{
	for (int64_t i = 0; i < count; i++) {
		uint64_t value = load_relaxed(&state->own[index].counter);

		FILAR_KEEP_IN_REGISTER(value);
		team_work(state->section_steps);
		store_relaxed(&state->own[index].counter, value + 1);
	}
}

static void race_member(struct team_member *member)
{
	struct race_state *state = member->shared;
	int64_t left = state->increments;
	int64_t chunk_max = CHUNK / (1 + state->section_steps / 16) + 1;

	while (left > 0 && !way_cancelled(state->run)) {
		int64_t chunk = left < chunk_max ? left : chunk_max;

		state->loop(state, member->index, chunk);
		left -= chunk;
	}
}

static enum filar_status setup_race(struct way_run *run)
{
	struct race_state *state;
	int64_t increments = run->params[PARAM_INCREMENTS];
	enum filar_status status = param_check("increments", increments, 1, INCREMENTS_MAX);

	if (status == FILAR_OK)
		status = param_check(
			"section_steps", run->params[PARAM_SECTION_STEPS], 0, STEPS_MAX);
	if (status != FILAR_OK)
		return status;
	state = way_acquire_state(run, sizeof *state);
	if (state == NULL)
		return FILAR_NO_MEMORY;
	pthread_mutex_init(&state->mutex, NULL);
	state->run = run;
	state->increments = increments;
	state->section_steps = run->params[PARAM_SECTION_STEPS];
	return team_place(run, PARAM_FIRST_CPU, run->params[PARAM_CORES], state->cpus);
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

static enum filar_status sample_race(struct way_run *run, race_loop *loop)
{
	struct race_state *state = run->state;
	double done = 2.0 * (double)state->increments, lost;
	enum filar_status status;

	state->loop = loop;
	team_init(state->members, THREADS, race_member, state, state->cpus);
	status = team_run(state->members, THREADS);
	lost = done - counted(state);
	if (status != FILAR_OK || way_cancelled(run))
		return status != FILAR_OK ? status : FILAR_CANCELLED;
	run->values[0] = 100 * lost / done;
	run->values[1] = lost;
	run->values[2] = (double)team_wall_ns(state->members, THREADS) / done;
	return FILAR_OK;
}

#define X(kind)                                                                                    \
	static enum filar_status sample_race_##kind(struct way_run *run)                           \
	{                                                                                          \
		return sample_race(run, loop_##kind);                                              \
	}
X(plain)
X(atomic)
X(mutex)
X(own)
#undef X

/* ---- race-torn: two words that belong together, written by one thread, read by the other ---- */

enum { PARAM_READS, PARAM_TORN_CORES, PARAM_GUARDED, PARAM_TORN_FIRST_CPU, PARAM_TORN_SECOND_CPU };

struct torn_state {
	FILAR_CACHELINE_BREAK _Atomic uint64_t
		pair[2]; /* A  always the same number twice, one hopes */
	FILAR_CACHELINE_BREAK pthread_mutex_t mutex;
	_Atomic bool over; /* A  relaxed: the reader has read enough */
	int64_t torn;      /* S  the reader's until joined */
	struct team_member members[THREADS];
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

static void torn_member(struct team_member *member)
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
	enum filar_status status = param_check("reads", reads, 1, INCREMENTS_MAX);

	if (status != FILAR_OK)
		return status;
	state = way_acquire_state(run, sizeof *state);
	if (state == NULL)
		return FILAR_NO_MEMORY;
	pthread_mutex_init(&state->mutex, NULL);
	state->run = run;
	state->reads = reads;
	state->guarded = run->params[PARAM_GUARDED] != 0;
	return team_place(run, PARAM_TORN_FIRST_CPU, run->params[PARAM_TORN_CORES], state->cpus);
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
	team_init(state->members, THREADS, torn_member, state, state->cpus);
	status = team_run(state->members, THREADS);
	if (status != FILAR_OK || way_cancelled(run))
		return status != FILAR_OK ? status : FILAR_CANCELLED;
	run->values[0] = 100 * (double)state->torn / (double)state->reads;
	run->values[1] = (double)state->torn;
	return FILAR_OK;
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
	{ .name = NULL },
};
