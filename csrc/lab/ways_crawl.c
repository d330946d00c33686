/*
 * ways_crawl.c - does the system crawl with thousands of threads?  One piece of work split over N
 * threads (crawl), and N endless threads with somebody who only wants a turn (crawl-latency).
 *
 * Nobody depends on the driver to end: each thread looks at the clock or at its own share of the
 * work, and at the plan's cancel flag, so a driver that gets no turn delays nothing but itself.
 */
#include <errno.h>
#include <sched.h>
#include <sys/mman.h>
#include <time.h>

#include "base/memory.h"
#include "lab/crew.h"
#include "lab/registry.h"
#include "os/calls.h"
#include "os/clock.h"

#define CHUNK_STEPS       1000 /* about a microsecond */
#define LINE_BYTES        64
#define WORKING_BYTES_MAX ((int64_t)512 << 20) /* all threads together */

/* ---- crawl: a fixed piece of work ---- */

enum crawl_mode { CRAWL_PLAIN, CRAWL_YIELD, CRAWL_LOCK, CRAWL_WORKING_SET };

struct crawl_times {
	int64_t begin_ns, end_ns;
};

struct crawl_state {
	struct crew crew;          /* W  driver */
	struct crawl_times *times; /* W  each its own, until joined */
	char *memory;              /* I  working sets, one after the other; NULL without */
	size_t memory_bytes;       /* I */
	size_t working_bytes;      /* I  of one thread */
	uint32_t threads;          /* I */
	uint64_t chunks;           /* I  all threads together */
	enum crawl_mode mode;      /* I */
	struct cpu_mask cpus;      /* I */
	const struct way_run *run; /* I */
	pthread_mutex_t lock;      /*    the one that all share in CRAWL_LOCK */
};

enum { CRAWL_THREADS, CRAWL_MODE, CRAWL_STEPS, CRAWL_WORKING_BYTES };

static void touch_lines(char *memory, size_t bytes)
{
	for (size_t at = 0; at < bytes; at += LINE_BYTES)
		*(volatile char *)(memory + at) = (char)(*(volatile char *)(memory + at) + 1);
}

static void crawl_chunk(struct crawl_state *state, uint32_t number)
{
	switch (state->mode) {
	case CRAWL_PLAIN:
		spin_steps(CHUNK_STEPS);
		break;
	case CRAWL_YIELD:
		spin_steps(CHUNK_STEPS);
		sched_yield();
		break;
	case CRAWL_LOCK:
		pthread_mutex_lock(&state->lock);
		spin_steps(CHUNK_STEPS / 10);
		pthread_mutex_unlock(&state->lock);
		spin_steps(CHUNK_STEPS - CHUNK_STEPS / 10);
		break;
	case CRAWL_WORKING_SET:
		touch_lines(state->memory + number * state->working_bytes, state->working_bytes);
		spin_steps(CHUNK_STEPS);
		break;
	}
}

static void crawl_body(struct crew_member *member)
{
	struct crawl_state *state = member->crew->shared;
	uint64_t mine =
		state->chunks / state->threads + (member->number < state->chunks % state->threads);
	int64_t begin = clock_now_ns();

	while (mine-- > 0 && !way_cancelled(state->run))
		crawl_chunk(state, member->number);
	state->times[member->number] = (struct crawl_times){ begin, clock_now_ns() };
}

static void teardown_crawl(struct way_run *run)
{
	struct crawl_state *state = run->state;

	if (state == NULL)
		return;
	if (state->memory != NULL)
		(void)munmap(state->memory, state->memory_bytes);
	pthread_mutex_destroy(&state->lock);
	memory_release(state->times);
	memory_release(state);
}

/* Memory for all working sets, touched: page faults are not the point. */
static enum filar_status map_working_sets(struct crawl_state *state)
{
	void *memory = call_mmap(NULL, state->memory_bytes, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED)
		return status_from_errno(errno, "mmap of the working sets");
	state->memory = memory;
	touch_lines(state->memory, state->memory_bytes);
	return FILAR_OK;
}

static enum filar_status check_crawl_params(const int64_t *params)
{
	enum filar_status status = param_check("threads", params[CRAWL_THREADS], 1, CREW_MAX);

	if (status == FILAR_OK)
		status = param_check("mode", params[CRAWL_MODE], CRAWL_PLAIN, CRAWL_WORKING_SET);
	if (status == FILAR_OK)
		status = param_check("steps", params[CRAWL_STEPS], CHUNK_STEPS, 100 * NS_PER_S);
	if (status == FILAR_OK && params[CRAWL_MODE] == CRAWL_WORKING_SET)
		status = param_check("working_bytes", params[CRAWL_WORKING_BYTES], LINE_BYTES,
			WORKING_BYTES_MAX / params[CRAWL_THREADS]);
	return status;
}

static enum filar_status setup_crawl(struct way_run *run)
{
	enum filar_status status = check_crawl_params(run->params);
	struct crawl_state *state;

	if (status != FILAR_OK)
		return status;
	state = way_acquire_state(run, sizeof *state);
	if (state == NULL)
		return FILAR_NO_MEMORY;
	pthread_mutex_init(&state->lock, NULL);
	state->threads = (uint32_t)run->params[CRAWL_THREADS];
	state->mode = (enum crawl_mode)run->params[CRAWL_MODE];
	state->chunks = (uint64_t)run->params[CRAWL_STEPS] / CHUNK_STEPS;
	state->working_bytes = (size_t)run->params[CRAWL_WORKING_BYTES];
	state->memory_bytes = state->working_bytes * state->threads;
	state->run = run;
	state->times = memory_acquire(state->threads, sizeof *state->times);
	if (state->times == NULL)
		return status_detail(
			FILAR_NO_MEMORY, "no memory for the times of %u threads", state->threads);
	if (state->mode == CRAWL_WORKING_SET)
		status = map_working_sets(state);
	return status == FILAR_OK ? crew_mask(&state->cpus, -1) : status;
}

static enum filar_status sample_crawl(struct way_run *run)
{
	struct crawl_state *state = run->state;
	int64_t start = clock_now_ns(), ready, begin = INT64_MAX, end = 0, joining;
	enum filar_status status =
		crew_create(&state->crew, state->threads, &state->cpus, crawl_body, state);

	if (status != FILAR_OK)
		return status;
	ready = clock_now_ns();
	crew_open(&state->crew);
	joining = clock_now_ns();
	crew_join(&state->crew);
	if (way_cancelled(run))
		return FILAR_CANCELLED;
	for (uint32_t i = 0; i < state->threads; i++) {
		if (state->times[i].begin_ns < begin)
			begin = state->times[i].begin_ns;
		if (state->times[i].end_ns > end)
			end = state->times[i].end_ns;
	}
	run->values[0] = (double)(end - begin);
	run->values[1] = (double)(ready - start);
	run->values[2] = (double)(clock_now_ns() - joining);
	return FILAR_OK;
}

/* ---- crawl-latency: endless threads, and one that sleeps ---- */

enum { POINT_TICK, POINT_WAIT };
enum { LATENCY_HOGS, LATENCY_WINDOW_NS, LATENCY_TICK_NS };

struct latency_state {
	struct crew hogs_crew;    /* W  driver */
	struct crew sleeper_crew; /* W  driver: of one */
	struct tally sleeping;    /* A  the sleeper runs */
	_Atomic int64_t begin_ns; /* A  relaxed: when the hogs were let go, INT64_MAX before */
	struct latency_hog {
		double longest_ns;  /* longest time without a turn */
		uint64_t units;     /* chunks done in the window */
	} * hogs;                   /* W  each its own, until joined */
	double *late_ns;            /* W  the sleeper's, until joined */
	double *scratch;            /* W  driver */
	uint32_t ticks, ticks_room; /* W  the sleeper's, until joined */
	uint32_t hog_count;         /* I */
	int64_t window_ns, tick_ns; /* I */
	struct cpu_mask cpus;       /* I */
	const struct way_run *run;  /* I */
};

static void work_until_end(struct latency_state *state, struct latency_hog *mine, int64_t opened_ns)
{
	int64_t last = opened_ns, deadline = opened_ns + state->window_ns, now;

	/* The wait for the first turn counts, and so does the one in which the window ended. */
	for (;;) {
		now = clock_now_ns();
		if ((double)(now - last) > mine->longest_ns)
			mine->longest_ns = (double)(now - last);
		if (now >= deadline || way_cancelled(state->run))
			return;
		spin_steps(CHUNK_STEPS);
		mine->units++;
		last = now;
	}
}

/* Sleeps a tick at a time; once the hogs are let go, notes how late each ended: at least one, since
 * a tick that was due before they were let go and has not been served until then is late from then
 * on.  It runs before they do, like a program that was there first: its ticks are wake-ups, never a
 * first turn. */
static void sleeper_body(struct crew_member *member)
{
	struct latency_state *state = member->crew->shared;
	int64_t now = clock_now_ns(), begin, due;
	struct timespec until;

	tally_add(&state->sleeping);
	do {
		due = now + state->tick_ns;
		until = clock_timespec(due);
		(void)clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
		now = clock_now_ns();
		begin = load_relaxed(&state->begin_ns);
		if (now >= begin)
			state->late_ns[state->ticks++] =
				(double)(now - (due > begin ? due : begin));
	} while ((begin == INT64_MAX || now < begin + state->window_ns) &&
		 !way_cancelled(state->run) && state->ticks < state->ticks_room);
}

static void hog_body(struct crew_member *member)
{
	struct latency_state *state = member->crew->shared;

	work_until_end(state, &state->hogs[member->number], member->crew->opened_ns);
}

static void teardown_latency(struct way_run *run)
{
	struct latency_state *state = run->state;

	if (state == NULL)
		return;
	memory_release(state->hogs);
	memory_release(state->late_ns);
	memory_release(state->scratch);
	memory_release(state);
}

static enum filar_status check_latency_params(const int64_t *params)
{
	enum filar_status status = param_check("hogs", params[LATENCY_HOGS], 0, CREW_MAX - 1);

	if (status == FILAR_OK)
		status = param_check(
			"window_ns", params[LATENCY_WINDOW_NS], NS_PER_MS, 60 * NS_PER_S);
	return status == FILAR_OK ? param_check("tick_ns", params[LATENCY_TICK_NS], 10 * NS_PER_US,
					    10 * NS_PER_S)
				  : status;
}

static enum filar_status setup_latency(struct way_run *run)
{
	enum filar_status status = check_latency_params(run->params);
	struct latency_state *state;
	size_t room;

	if (status != FILAR_OK)
		return status;
	state = way_acquire_state(run, sizeof *state);
	if (state == NULL)
		return FILAR_NO_MEMORY;
	state->hog_count = (uint32_t)run->params[LATENCY_HOGS];
	state->window_ns = run->params[LATENCY_WINDOW_NS];
	state->tick_ns = run->params[LATENCY_TICK_NS];
	state->run = run;
	state->ticks_room = (uint32_t)(state->window_ns / state->tick_ns) + 2;
	room = state->ticks_room > state->hog_count ? state->ticks_room : state->hog_count;
	state->hogs = memory_acquire(state->hog_count + 1, sizeof *state->hogs);
	state->late_ns = memory_acquire(state->ticks_room, sizeof *state->late_ns);
	state->scratch = memory_acquire(room, sizeof *state->scratch);
	if (state->hogs == NULL || state->late_ns == NULL || state->scratch == NULL)
		return status_detail(
			FILAR_NO_MEMORY, "no memory for %u busy threads", state->hog_count);
	return crew_mask(&state->cpus, -1);
}

static void summarise_hogs(struct way_run *run)
{
	struct latency_state *state = run->state;
	uint64_t units = 0;

	if (state->hog_count == 0)
		return;
	for (uint32_t i = 0; i < state->hog_count; i++) {
		state->scratch[i] = state->hogs[i].longest_ns;
		units += state->hogs[i].units;
		way_point(run, POINT_WAIT, (int32_t)i, i, state->hogs[i].longest_ns);
	}
	run->values[0] = median_of(state->scratch, state->hog_count);
	run->values[1] = state->scratch[state->hog_count - 1]; /* sorted now */
	run->values[2] = (double)units * (double)NS_PER_S / (double)state->window_ns;
}

static void summarise_ticks(struct way_run *run)
{
	struct latency_state *state = run->state;

	for (uint32_t i = 0; i < state->ticks; i++) {
		way_point(run, POINT_TICK, 0, i, state->late_ns[i]);
		state->scratch[i] = state->late_ns[i];
	}
	run->values[3] = median_of(state->scratch, state->ticks);
	run->values[4] = state->ticks > 0 ? state->scratch[state->ticks - 1] : NAN;
}

/* Both crews at their gates, or none. */
static enum filar_status gather(struct latency_state *state)
{
	enum filar_status status =
		crew_create(&state->hogs_crew, state->hog_count, &state->cpus, hog_body, state);

	if (status != FILAR_OK)
		return status;
	status = crew_create(&state->sleeper_crew, 1, &state->cpus, sleeper_body, state);
	if (status != FILAR_OK)
		crew_join(&state->hogs_crew);
	return status;
}

static enum filar_status sample_latency(struct way_run *run)
{
	struct latency_state *state = run->state;
	enum filar_status status;
	int64_t end;

	for (uint32_t i = 0; i < state->hog_count; i++)
		state->hogs[i] = (struct latency_hog){ 0 };
	state->ticks = 0;
	state->sleeping = (struct tally){ .total = 1 };
	store_relaxed(&state->begin_ns, INT64_MAX);
	status = gather(state);
	if (status != FILAR_OK)
		return status;
	crew_open(&state->sleeper_crew);
	tally_wait(&state->sleeping);
	store_relaxed(&state->begin_ns, clock_now_ns());
	crew_open(&state->hogs_crew);
	/* The driver asks to sleep for the window, as a program that waits for a result would. */
	end = state->hogs_crew.opened_ns + state->window_ns;
	status = sleep_until(run, end);
	run->values[5] = (double)(clock_now_ns() - end);
	crew_join(&state->hogs_crew);
	crew_join(&state->sleeper_crew);
	if (status != FILAR_OK)
		return status;
	summarise_hogs(run);
	summarise_ticks(run);
	return FILAR_OK;
}

const struct way ways_crawl[] = {
	{ .name = "crawl",
		.summary =
			"a fixed number of steps split over threads that start together; mode 0 "
			"plain, 1 a yield, 2 a shared lock for a tenth, 3 a working set, each 1,000 steps",
		.params = { { "threads", 2 }, { "mode", CRAWL_PLAIN }, { "steps", 10000000 },
			{ "working_bytes", 16384 } },
		.metrics = { { "work", "ns" }, { "creation", "ns" }, { "join", "ns" } },
		.batch_max = 1,
		.setup = setup_crawl,
		.sample = sample_crawl,
		.teardown = teardown_crawl },
	{ .name = "crawl-latency",
		.summary = "endless threads for a window and one that sleeps a tick at a time; a "
			   "point of kind 0 is a tick (y: how late, ns), of kind 1 a busy thread "
			   "(y: its longest wait, ns)",
		.params = { { "hogs", 2 }, { "window_ns", 200 * NS_PER_MS },
			{ "tick_ns", NS_PER_MS } },
		.metrics = { { "longest wait", "ns" }, { "worst wait", "ns" },
			{ "throughput", "1/s" }, { "tick late", "ns" }, { "worst tick late", "ns" },
			{ "control back late", "ns" } },
		.batch_max = 1,
		.setup = setup_latency,
		.sample = sample_latency,
		.teardown = teardown_latency },
	{ .name = NULL },
};
