/*
 * ways_sched.c - what the kernel's scheduler does with kernel threads: slices, parallelism, order,
 * and that it knows each of them.
 *
 * Slices and parallelism look at the clock without pause from inside each thread: where two
 * readings are further apart than gap_ns, the thread was not running.  Nothing is asked of the
 * kernel, so what is seen is what the thread gets (a hypervisor's theft included).
 */
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/tid.h"
#include "lab/crew.h"
#include "lab/registry.h"
#include "lab/tasklist.h"
#include "os/calls.h"
#include "os/clock.h"

/* ---- stretches: when a thread ran without a gap, and where ---- */

#define STRETCHES_MAX 2048u
#define POINT_TURN    (-1) /* other kinds are CPU numbers */
#define UNIT_STEPS    64

struct stretch {
	int64_t start_ns, end_ns;
	int32_t cpu;
};

struct owned_stretch {
	struct stretch at;
	uint32_t thread;
};

struct scan {
	struct stretch *stretches; /* W  its thread, until joined */
	uint32_t count;            /* W */
	uint64_t units;            /* W  of UNIT_STEPS, done in the window */
	int64_t left_ns;           /* W  driver: end of the latest turn, -1 before the first */
};

struct scan_state {
	struct crew crew;               /* W  driver */
	struct scan *scans;             /* I  one a thread */
	struct stretch *stretches;      /* I  all of them, STRETCHES_MAX a thread */
	uint32_t threads;               /* I */
	int64_t gap_ns, window_ns;      /* I */
	struct cpu_mask cpus;           /* I */
	const struct way_run *run;      /* I */
	double *gaps, *lengths;         /* W  driver: scratch for medians */
	struct owned_stretch *lined_up; /* W  driver: all stretches by time */
	int64_t begin_ns, finish_ns;    /* W  driver: the window in which all threads took part */
};

enum { SCAN_THREADS, SCAN_CPU, SCAN_WINDOW_NS, SCAN_GAP_NS };

static void scan_body(struct crew_member *member)
{
	struct scan_state *state = member->crew->shared;
	struct scan *scan = &state->scans[member->number];
	int64_t deadline = member->crew->opened_ns + state->window_ns, now = clock_now_ns(), last;
	struct stretch at = { now, now, sched_getcpu() };

	do {
		int cpu;

		spin_steps(UNIT_STEPS);
		scan->units++;
		last = now;
		now = clock_now_ns();
		cpu = sched_getcpu();
		if (now - last > state->gap_ns || cpu != at.cpu) {
			at.end_ns = last;
			if (scan->count < STRETCHES_MAX - 1)
				scan->stretches[scan->count++] = at;
			at = (struct stretch){ now, now, cpu };
		}
	} while (now < deadline && !way_cancelled(state->run));
	/* The deadline is met by whoever runs; one that slept past it ends at its last reading. */
	at.end_ns = now;
	scan->stretches[scan->count++] = at;
}

static void teardown_scan(struct way_run *run)
{
	struct scan_state *state = run->state;

	if (state == NULL)
		return;
	memory_release(state->scans);
	memory_release(state->stretches);
	memory_release(state->lined_up);
	memory_release(state->gaps);
	memory_release(state->lengths);
	memory_release(state);
}

static enum filar_status check_scan_params(const int64_t *params)
{
	enum filar_status status = param_check("threads", params[SCAN_THREADS], 1, 256);

	if (status == FILAR_OK)
		status = param_check(
			"window_ns", params[SCAN_WINDOW_NS], 100 * NS_PER_US, 10 * NS_PER_S);
	return status == FILAR_OK ? param_check("gap_ns", params[SCAN_GAP_NS], 1, NS_PER_S)
				  : status;
}

static enum filar_status setup_scan(struct way_run *run)
{
	enum filar_status status = check_scan_params(run->params);
	struct scan_state *state;

	if (status != FILAR_OK)
		return status;
	state = way_acquire_state(run, sizeof *state);
	if (state == NULL)
		return FILAR_NO_MEMORY;
	state->threads = (uint32_t)run->params[SCAN_THREADS];
	state->gap_ns = run->params[SCAN_GAP_NS];
	state->window_ns = run->params[SCAN_WINDOW_NS];
	state->run = run;
	state->scans = memory_acquire(state->threads, sizeof *state->scans);
	state->stretches =
		memory_acquire((size_t)state->threads * STRETCHES_MAX, sizeof *state->stretches);
	state->gaps = memory_acquire((size_t)state->threads * STRETCHES_MAX, sizeof *state->gaps);
	state->lengths =
		memory_acquire((size_t)state->threads * STRETCHES_MAX, sizeof *state->lengths);
	state->lined_up =
		memory_acquire((size_t)state->threads * STRETCHES_MAX, sizeof *state->lined_up);
	if (state->lined_up == NULL || state->scans == NULL || state->stretches == NULL ||
		state->gaps == NULL || state->lengths == NULL)
		return status_detail(
			FILAR_NO_MEMORY, "no memory for what %u threads see", state->threads);
	return crew_mask(&state->cpus, run->params[SCAN_CPU]);
}

/* Runs the threads once; then the stretches are the driver's. */
static enum filar_status run_scan(struct way_run *run)
{
	struct scan_state *state = run->state;
	enum filar_status status;

	for (uint32_t i = 0; i < state->threads; i++)
		state->scans[i] =
			(struct scan){ .stretches = state->stretches + (size_t)i * STRETCHES_MAX };
	status = crew_create(&state->crew, state->threads, &state->cpus, scan_body, state);
	if (status != FILAR_OK)
		return status;
	crew_open(&state->crew);
	crew_join(&state->crew);
	if (way_cancelled(run))
		return FILAR_CANCELLED;
	state->begin_ns = state->crew.opened_ns;
	state->finish_ns = state->begin_ns + state->window_ns;
	return FILAR_OK;
}

/* kind: the CPU; subject: the thread; x, y: begin and end in ns since the gate opened. */
static void record_stretches(struct way_run *run)
{
	struct scan_state *state = run->state;

	for (uint32_t i = 0; i < state->threads; i++) {
		for (uint32_t j = 0; j < state->scans[i].count; j++) {
			const struct stretch *at = &state->scans[i].stretches[j];

			way_point(run, at->cpu, (int32_t)i,
				(double)(at->start_ns - state->begin_ns),
				(double)(at->end_ns - state->begin_ns));
		}
	}
}

/* ---- time-slice ---- */

struct sched_facts { /* the head of struct sched_attr, sched_getattr(2) */
	uint32_t size, policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime, deadline, period;
};

/* Since Linux 6.12 sched_getattr() says the slice of a time-sharing thread; NaN before. */
static double base_slice_ns(void)
{
	struct sched_facts facts = { .size = sizeof facts };

	if (syscall(SYS_sched_getattr, 0, &facts, sizeof facts, 0) != 0 || facts.runtime == 0)
		return NAN;
	return (double)facts.runtime;
}

/* The coarse clock advances once a tick, and says so. */
static double tick_ns(void)
{
	struct timespec tick;

	if (clock_getres(CLOCK_MONOTONIC_COARSE, &tick) != 0)
		return NAN;
	return (double)tick.tv_sec * (double)NS_PER_S + (double)tick.tv_nsec;
}

static int compare_starts(const void *left, const void *right)
{
	int64_t a = ((const struct owned_stretch *)left)->at.start_ns;
	int64_t b = ((const struct owned_stretch *)right)->at.start_ns;

	return (a > b) - (a < b);
}

/* All stretches that began in the window, in order of time; returns how many. */
static size_t line_up(struct scan_state *state)
{
	size_t count = 0;

	for (uint32_t i = 0; i < state->threads; i++) {
		for (uint32_t j = 0; j < state->scans[i].count; j++) {
			const struct stretch *at = &state->scans[i].stretches[j];

			if (at->start_ns < state->finish_ns)
				state->lined_up[count++] = (struct owned_stretch){ *at, i };
		}
	}
	qsort(state->lined_up, count, sizeof *state->lined_up, compare_starts);
	return count;
}

/*
 * A turn is what a thread ran until another one of ours did: stretches in between which only
 * somebody else (another program, an interrupt, the hypervisor) ran belong to one turn, whose
 * length is the time the thread really ran.  The first and the last turn are cut off by the window
 * and do not count.  Returns how many there were; lengths[] and gaps[] get each turn and the wait
 * before it.
 */
static size_t find_turns(struct way_run *run, size_t stretches, size_t *counted)
{
	struct scan_state *state = run->state;
	size_t turns = 0, next;

	*counted = 0;
	for (uint32_t i = 0; i < state->threads; i++)
		state->scans[i].left_ns = -1;
	for (size_t first = 0; first < stretches; first = next) {
		const struct owned_stretch *turn = &state->lined_up[first];
		struct scan *scan = &state->scans[turn->thread];
		double length = 0;

		for (next = first; next < stretches && state->lined_up[next].thread == turn->thread;
			next++)
			length += (double)(state->lined_up[next].at.end_ns -
					   state->lined_up[next].at.start_ns);
		if (scan->left_ns >= 0 && next < stretches) {
			state->lengths[*counted] = length;
			state->gaps[*counted] = (double)(turn->at.start_ns - scan->left_ns);
			way_point(run, POINT_TURN, (int32_t)turn->thread, length,
				state->gaps[*counted]);
			++*counted;
		}
		scan->left_ns = state->lined_up[next - 1].at.end_ns;
		turns++;
	}
	return turns;
}

static double sum_of(const double *values, size_t count)
{
	double sum = 0;

	for (size_t i = 0; i < count; i++)
		sum += values[i];
	return sum;
}

/*
 * Half of the whole lies in values of at least this; sorts `values`.  Where other programs cut some
 * turns to pieces, the pieces are many but short, and the plain median would be one of them.
 */
static double half_of_whole(double *values, size_t count)
{
	double left = sum_of(values, count) / 2;

	(void)median_of(values, count);
	while (count > 0 && (left -= values[count - 1]) > 0)
		count--;
	return count > 0 ? values[count - 1] : NAN;
}

static enum filar_status sample_time_slice(struct way_run *run)
{
	struct scan_state *state = run->state;
	enum filar_status status = run_scan(run);
	size_t turns, counted;

	if (status != FILAR_OK)
		return status;
	turns = find_turns(run, line_up(state), &counted);
	run->values[0] = half_of_whole(state->lengths, counted);
	run->values[1] = half_of_whole(state->gaps, counted);
	if (counted > 0)
		run->values[2] = state->gaps[counted - 1]; /* sorted now */
	run->values[3] = (double)turns / state->threads;
	run->values[4] = tick_ns();
	run->values[5] = base_slice_ns();
	record_stretches(run);
	return FILAR_OK;
}

/* ---- parallelism ---- */

static bool ran_at(const struct scan *scan, int64_t moment_ns)
{
	for (uint32_t j = 0; j < scan->count; j++) {
		if (scan->stretches[j].start_ns <= moment_ns &&
			moment_ns < scan->stretches[j].end_ns)
			return true;
	}
	return false;
}

/* Threads that ran at one instant, asked every 50 us. */
static void count_at_instants(struct way_run *run)
{
	struct scan_state *state = run->state;
	double sum = 0;
	int64_t instants = 0;

	for (int64_t moment = state->begin_ns; moment < state->finish_ns;
		moment += 50 * NS_PER_US) {
		for (uint32_t i = 0; i < state->threads; i++)
			sum += ran_at(&state->scans[i], moment);
		instants++;
	}
	run->values[0] = sum / (double)instants;
}

static int count_cores(const struct scan_state *state)
{
	struct cpu_mask seen;

	cpu_mask_clear(&seen);
	for (uint32_t i = 0; i < state->threads; i++) {
		for (uint32_t j = 0; j < state->scans[i].count; j++)
			cpu_mask_add(&seen, state->scans[i].stretches[j].cpu);
	}
	return cpu_mask_count(&seen);
}

static enum filar_status sample_parallelism(struct way_run *run)
{
	struct scan_state *state = run->state;
	enum filar_status status = run_scan(run);
	uint64_t units = 0, moves = 0;

	if (status != FILAR_OK)
		return status;
	count_at_instants(run);
	for (uint32_t i = 0; i < state->threads; i++) {
		units += state->scans[i].units;
		for (uint32_t j = 1; j < state->scans[i].count; j++)
			moves += state->scans[i].stretches[j].cpu !=
				 state->scans[i].stretches[j - 1].cpu;
	}
	run->values[1] = (double)units * (double)NS_PER_S / (double)state->window_ns;
	run->values[2] = count_cores(state);
	run->values[3] = (double)moves;
	record_stretches(run);
	return FILAR_OK;
}

/* ---- run-order ---- */

#define ORDER_THREADS_MAX 64

struct order_state {
	struct cpu_mask cpus;                /* I  of the children */
	pthread_attr_t attributes;           /* I */
	uint32_t threads;                    /* I */
	_Atomic uint32_t next_rank;          /* A  relaxed: only the order of additions counts */
	uint32_t rank[ORDER_THREADS_MAX];    /* W  each its own, until joined */
	pthread_t thread[ORDER_THREADS_MAX]; /* W  driver */
	struct order_place {
		struct order_state *state;
		uint32_t number;
	} place[ORDER_THREADS_MAX]; /* I */
};

enum { ORDER_THREADS, ORDER_CPU };

static void *order_body(void *pointer)
{
	struct order_place *place = pointer;

	place->state->rank[place->number] = fetch_add_relaxed(&place->state->next_rank, 1);
	return NULL;
}

static void teardown_order(struct way_run *run)
{
	struct order_state *state = run->state;

	if (state == NULL)
		return;
	pthread_attr_destroy(&state->attributes);
	memory_release(state);
}

static enum filar_status setup_order(struct way_run *run)
{
	enum filar_status status =
		param_check("threads", run->params[ORDER_THREADS], 2, ORDER_THREADS_MAX);
	struct order_state *state;

	if (status != FILAR_OK)
		return status;
	state = way_acquire_state(run, sizeof *state);
	if (state == NULL)
		return FILAR_NO_MEMORY;
	pthread_attr_init(&state->attributes);
	state->threads = (uint32_t)run->params[ORDER_THREADS];
	status = crew_mask(&state->cpus, run->params[ORDER_CPU]);
	if (status == FILAR_OK)
		(void)pthread_attr_setaffinity_np(
			&state->attributes, state->cpus.bytes, state->cpus.bits);
	return status;
}

/* Starts the threads one after the other, then joins them. */
static enum filar_status run_order_once(struct order_state *state)
{
	uint32_t started = 0;
	int error = 0;

	store_relaxed(&state->next_rank, 0);
	for (; started < state->threads && error == 0; started++) {
		state->place[started] = (struct order_place){ state, started };
		error = call_thread_create(&state->thread[started], &state->attributes, order_body,
			&state->place[started]);
		if (error != 0)
			break;
	}
	for (uint32_t i = 0; i < started; i++)
		pthread_join(state->thread[i], NULL);
	return error == 0 ? FILAR_OK : status_from_errno(error, "pthread_create");
}

static enum filar_status sample_order(struct way_run *run)
{
	struct order_state *state = run->state;
	uint32_t in_order = 0;
	enum filar_status status;

	/* The creator goes where its threads may go: "unpinned" means both. */
	(void)affinity_set(0, &state->cpus);
	for (uint32_t i = 0; i < run->batch; i++) {
		bool ordered = true;

		status = run_order_once(state);
		if (status != FILAR_OK)
			return status;
		for (uint32_t j = 0; j < state->threads; j++) {
			ordered = ordered && state->rank[j] == j;
			way_point(run, 0, (int32_t)j, i, state->rank[j]);
		}
		in_order += ordered;
	}
	run->values[0] = 100.0 * in_order / run->batch;
	return FILAR_OK;
}

/* ---- seen-by-kernel ---- */

struct seen_state {
	struct crew crew;      /* W  driver */
	struct tally reported; /* A */
	struct gate done;      /* A */
	struct seen_ids {
		int32_t tid, pid;
	} * ids;                      /* W  each its own, until reported */
	uint32_t threads;             /* I */
	struct tasklist before, with; /* W  driver */
};

static void seen_body(struct crew_member *member)
{
	struct seen_state *state = member->crew->shared;

	state->ids[member->number] = (struct seen_ids){ tid_self(), (int32_t)getpid() };
	tally_add(&state->reported);
	gate_wait(&state->done);
}

static void teardown_seen(struct way_run *run)
{
	struct seen_state *state = run->state;

	if (state == NULL)
		return;
	tasklist_free(&state->before);
	tasklist_free(&state->with);
	memory_release(state->ids);
	memory_release(state);
}

static enum filar_status setup_seen(struct way_run *run)
{
	enum filar_status status = param_check("threads", run->params[0], 1, CREW_MAX);
	struct seen_state *state;

	if (status != FILAR_OK)
		return status;
	state = way_acquire_state(run, sizeof *state);
	if (state == NULL)
		return FILAR_NO_MEMORY;
	state->threads = (uint32_t)run->params[0];
	state->ids = memory_acquire(state->threads, sizeof *state->ids);
	return state->ids != NULL ? FILAR_OK
				  : status_detail(FILAR_NO_MEMORY, "no memory for the ids");
}

static int compare_tids(const void *left, const void *right)
{
	int32_t a = ((const struct seen_ids *)left)->tid, b = ((const struct seen_ids *)right)->tid;

	return (a > b) - (a < b);
}

static enum filar_status look_at_crew(struct way_run *run, struct seen_state *state)
{
	uint32_t tids = 0, pids = 0, listed = 0;
	enum filar_status status = tasklist_read(&state->with);

	if (status != FILAR_OK)
		return status;
	qsort(state->ids, state->threads, sizeof *state->ids, compare_tids);
	for (uint32_t i = 0; i < state->threads; i++) {
		tids += i == 0 || state->ids[i].tid != state->ids[i - 1].tid;
		pids += state->ids[i].pid != (int32_t)getpid();
		listed += tasklist_has(&state->with, state->ids[i].tid);
		way_point(run, 0, (int32_t)i, state->ids[i].tid, state->ids[i].pid);
	}
	run->values[0] = (double)tasklist_kept(&state->before, &state->with);
	run->values[1] = (double)state->with.count;
	run->values[2] = tids;
	run->values[3] = pids + 1;
	run->values[4] = listed;
	return FILAR_OK;
}

static enum filar_status sample_seen(struct way_run *run)
{
	struct seen_state *state = run->state;
	enum filar_status status = tasklist_read(&state->before);

	if (status != FILAR_OK)
		return status;
	state->reported = (struct tally){ .total = state->threads };
	state->done = (struct gate){ 0 };
	status = crew_create(&state->crew, state->threads, NULL, seen_body, state);
	if (status != FILAR_OK)
		return status;
	crew_open(&state->crew);
	tally_wait(&state->reported);
	status = look_at_crew(run, state);
	gate_open(&state->done, 1);
	crew_join(&state->crew);
	return status;
}

const struct way ways_sched[] = {
	{ .name = "time-slice",
		.summary =
			"busy threads on one core for a window; a point is a run (kind the CPU, subject "
			"the thread, x and y its begin and end in ns) or, kind -1, a turn (x what "
			"it ran, y what it waited before)",
		.params = { { "threads", 2 }, { "cpu", -1 }, { "window_ns", 60 * NS_PER_MS },
			{ "gap_ns", 20 * NS_PER_US } },
		.metrics = { { "run", "ns" }, { "wait", "ns" }, { "longest wait", "ns" },
			{ "turns per thread", "count" }, { "tick", "ns" }, { "base slice", "ns" } },
		.batch_max = 1,
		.setup = setup_scan,
		.sample = sample_time_slice,
		.teardown = teardown_scan },
	{ .name = "parallelism",
		.summary = "busy threads for a window; a point is a run: kind the CPU, subject the "
			   "thread, x and y its begin and end in ns",
		.params = { { "threads", 2 }, { "cpu", -1 }, { "window_ns", 40 * NS_PER_MS },
			{ "gap_ns", 20 * NS_PER_US } },
		.metrics = { { "running at once", "count" }, { "throughput", "1/s" },
			{ "cores used", "count" }, { "moves", "count" } },
		.batch_max = 1,
		.setup = setup_scan,
		.sample = sample_parallelism,
		.teardown = teardown_scan },
	{ .name = "run-order",
		.summary = "start empty threads in order and join them; a point is a thread: "
			   "subject its place at the start, x the run, y its place at the end",
		.params = { { "threads", 8 }, { "cpu", -1 } },
		.metrics = { { "in order", "percent" } },
		.batch_max = 1000,
		.setup = setup_order,
		.sample = sample_order,
		.teardown = teardown_order },
	{ .name = "seen-by-kernel",
		.summary =
			"start threads and count them in /proc/self/task; a point is a thread: x "
			"its tid, y its pid",
		.params = { { "threads", 1000 } },
		.metrics = { { "tasks before", "count" }, { "tasks with them", "count" },
			{ "different tids", "count" }, { "different pids", "count" },
			{ "tids listed", "count" } },
		.batch_max = 1,
		.setup = setup_seen,
		.sample = sample_seen,
		.teardown = teardown_seen },
	{ .name = NULL },
};
