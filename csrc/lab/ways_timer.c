/*
 * ways_timer.c - how late a sleeping thread comes back (sleep), and how late a program answers
 * while it calculates (interactive).
 *
 * Slack, policy and nice are set by the thread that they are for, inside itself, and end with it.
 */
#include <errno.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/tid.h"
#include "lab/crew.h"
#include "lab/registry.h"
#include "os/calls.h"
#include "os/clock.h"

static int64_t sleep_to(int64_t due_ns)
{
	struct timespec until = clock_timespec(due_ns);

	(void)clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
	return clock_now_ns();
}

/* ---- sleep ---- */

#define SLEEPS_MAX     4096
#define FIFO_PRIORITY  10
#define SLEEP_GRACE_NS (10 * NS_PER_S) /* busy threads end by themselves after this */

enum { SLEEP_NS, SLEEP_SLACK_NS, SLEEP_BUSY, SLEEP_FIFO, SLEEP_CPU };

struct sleep_state {
	struct crew crew;           /* W  driver */
	const struct way_run *run;  /* I */
	struct cpu_mask cpus;       /* I  of sleeper and busy threads */
	uint32_t busy;              /* I */
	struct tally spinning;      /* A  busy threads that run */
	_Atomic bool done;          /* A  relaxed: the sleeper has finished */
	enum filar_status status;   /* W  the sleeper's, until joined */
	double late_ns[SLEEPS_MAX]; /* W  likewise */
	double scratch[SLEEPS_MAX]; /* W  driver */
};

static enum filar_status become_precise(const struct way_run *run)
{
	struct sched_param fifo = { .sched_priority = FIFO_PRIORITY };

	if (run->params[SLEEP_SLACK_NS] > 0)
		(void)prctl(PR_SET_TIMERSLACK, (unsigned long)run->params[SLEEP_SLACK_NS]);
	if (run->params[SLEEP_FIFO] == 0 || call_sched_setscheduler(0, SCHED_FIFO, &fifo) == 0)
		return FILAR_OK;
	return errno == EPERM ? FILAR_NO_PERMISSION : FILAR_SYSTEM;
}

static void sleep_in_turn(struct sleep_state *state)
{
	const struct way_run *run = state->run;

	for (uint32_t i = 0; i < run->batch && !way_cancelled(run); i++) {
		int64_t due = clock_now_ns() + run->params[SLEEP_NS];

		state->late_ns[i] = (double)(sleep_to(due) - due);
	}
}

/* Member 0 sleeps; the others keep its CPU busy until it has finished. */
static void sleep_body(struct crew_member *member)
{
	struct sleep_state *state = member->crew->shared;
	int64_t end = member->crew->opened_ns + SLEEP_GRACE_NS;

	if (member->number > 0) {
		tally_add(&state->spinning);
		while (!load_relaxed(&state->done) && clock_now_ns() < end &&
			!way_cancelled(state->run))
			spin_steps(100);
		return;
	}
	if (state->busy > 0)
		tally_wait(&state->spinning);
	state->status = become_precise(state->run);
	if (state->status == FILAR_OK)
		sleep_in_turn(state);
	store_relaxed(&state->done, true);
}

static void teardown_timer(struct way_run *run)
{
	memory_release(run->state);
}

static enum filar_status check_sleep_params(const int64_t *params)
{
	enum filar_status status = param_check("sleep_ns", params[SLEEP_NS], 1, NS_PER_S);

	if (status == FILAR_OK)
		status = param_check("slack_ns", params[SLEEP_SLACK_NS], 0, NS_PER_S);
	return status == FILAR_OK ? param_check("busy", params[SLEEP_BUSY], 0, 1000) : status;
}

static enum filar_status setup_sleep(struct way_run *run)
{
	enum filar_status status = check_sleep_params(run->params);
	struct sleep_state *state;

	if (status != FILAR_OK)
		return status;
	state = way_acquire_state(run, sizeof *state);
	if (state == NULL)
		return FILAR_NO_MEMORY;
	state->run = run;
	state->busy = (uint32_t)run->params[SLEEP_BUSY];
	return crew_mask(&state->cpus, run->params[SLEEP_CPU]);
}

static enum filar_status sample_sleep(struct way_run *run)
{
	struct sleep_state *state = run->state;
	enum filar_status status;

	state->status = FILAR_OK;
	state->spinning = (struct tally){ .total = state->busy };
	store_relaxed(&state->done, false);
	status = crew_create(&state->crew, state->busy + 1, &state->cpus, sleep_body, state);
	if (status != FILAR_OK)
		return status;
	crew_open(&state->crew);
	crew_join(&state->crew);
	if (state->status != FILAR_OK)
		return status_detail(state->status,
			"the FIFO policy needs CAP_SYS_NICE or a higher RLIMIT_RTPRIO");
	if (way_cancelled(run))
		return FILAR_CANCELLED;
	for (uint32_t i = 0; i < run->batch; i++) {
		way_point(run, 0, 0, i, state->late_ns[i]);
		state->scratch[i] = state->late_ns[i];
	}
	run->values[0] = median_of(state->scratch, run->batch);
	run->values[1] = state->scratch[run->batch - 1]; /* sorted now */
	return FILAR_OK;
}

/* ---- interactive ---- */

#define TICKS_MAX 4096

enum {
	INTERACTIVE_CALCULATORS,
	INTERACTIVE_INLINE,
	INTERACTIVE_NICE,
	INTERACTIVE_LOOP_CPU,
	INTERACTIVE_CALCULATOR_CPU,
	INTERACTIVE_WINDOW_NS,
	INTERACTIVE_TICK_NS
};

struct interactive_state {
	struct crew crew;            /* W  driver */
	const struct way_run *run;   /* I */
	struct cpu_mask all;         /* I */
	struct cpu_mask loop;        /* I  where the loop may run */
	struct cpu_mask calculators; /* I  where the calculators may run */
	uint32_t ticks;              /* I  in the window */
	_Atomic uint64_t units;      /* A  relaxed: microseconds' worth of calculation done */
	_Atomic int32_t refused;     /* A  relaxed: a status, if a CPU or nice was refused */
	double late_ns[TICKS_MAX];   /* W  the loop's, until joined */
	double scratch[TICKS_MAX];   /* W  driver */
};

static void calculate_until(struct interactive_state *state, int64_t deadline_ns)
{
	uint64_t units = 0;

	while (clock_now_ns() < deadline_ns && !way_cancelled(state->run)) {
		spin_steps(1000);
		units++;
	}
	fetch_add_relaxed(&state->units, units);
}

static void calculator(struct interactive_state *state, int64_t deadline_ns)
{
	int64_t nice = state->run->params[INTERACTIVE_NICE];
	id_t self = (id_t)tid_self(); /* nice is a thread's on Linux */

	if (affinity_set(0, &state->calculators) != FILAR_OK)
		store_relaxed(&state->refused, FILAR_NO_CPU);
	if (nice != 0 && call_setpriority(PRIO_PROCESS, self, (int)nice) != 0)
		store_relaxed(&state->refused, FILAR_NO_PERMISSION);
	calculate_until(state, deadline_ns);
}

/* The program's loop: something is due each tick; the calculation, if inline, comes first. */
static void interactive_loop(struct interactive_state *state, int64_t start_ns)
{
	const int64_t *params = state->run->params;

	if (affinity_set(0, &state->loop) != FILAR_OK)
		store_relaxed(&state->refused, FILAR_NO_CPU);
	if (params[INTERACTIVE_INLINE] != 0)
		calculate_until(state, start_ns + params[INTERACTIVE_WINDOW_NS]);
	for (uint32_t i = 0; i < state->ticks && !way_cancelled(state->run); i++) {
		int64_t due = start_ns + (i + 1) * params[INTERACTIVE_TICK_NS];

		state->late_ns[i] = (double)(sleep_to(due) - due);
	}
}

static void interactive_body(struct crew_member *member)
{
	struct interactive_state *state = member->crew->shared;
	int64_t start = member->crew->opened_ns;

	if (member->number == 0)
		interactive_loop(state, start);
	else
		calculator(state, start + state->run->params[INTERACTIVE_WINDOW_NS]);
}

static enum filar_status check_interactive_params(const int64_t *params)
{
	enum filar_status status =
		param_check("calculators", params[INTERACTIVE_CALCULATORS], 0, 4096);

	if (status == FILAR_OK)
		status = param_check("nice", params[INTERACTIVE_NICE], -20, 19);
	if (status == FILAR_OK)
		status = param_check(
			"tick_ns", params[INTERACTIVE_TICK_NS], 10 * NS_PER_US, NS_PER_S);
	return status == FILAR_OK ? param_check("window_ns", params[INTERACTIVE_WINDOW_NS],
					    params[INTERACTIVE_TICK_NS],
					    TICKS_MAX * params[INTERACTIVE_TICK_NS])
				  : status;
}

static enum filar_status setup_interactive(struct way_run *run)
{
	enum filar_status status = check_interactive_params(run->params);
	struct interactive_state *state;

	if (status != FILAR_OK)
		return status;
	state = way_acquire_state(run, sizeof *state);
	if (state == NULL)
		return FILAR_NO_MEMORY;
	state->run = run;
	state->ticks =
		(uint32_t)(run->params[INTERACTIVE_WINDOW_NS] / run->params[INTERACTIVE_TICK_NS]);
	status = crew_mask(&state->all, -1);
	if (status == FILAR_OK)
		status = crew_mask(&state->loop, run->params[INTERACTIVE_LOOP_CPU]);
	return status == FILAR_OK
		       ? crew_mask(&state->calculators, run->params[INTERACTIVE_CALCULATOR_CPU])
		       : status;
}

static enum filar_status sample_interactive(struct way_run *run)
{
	struct interactive_state *state = run->state;
	uint32_t calculators = (uint32_t)run->params[INTERACTIVE_CALCULATORS];
	double within = (double)run->params[INTERACTIVE_TICK_NS];
	enum filar_status status;
	uint32_t missed = 0;

	store_relaxed(&state->units, 0);
	store_relaxed(&state->refused, FILAR_OK);
	status = crew_create(&state->crew, calculators + 1, &state->all, interactive_body, state);
	if (status != FILAR_OK)
		return status;
	crew_open(&state->crew);
	crew_join(&state->crew);
	status = (enum filar_status)load_relaxed(&state->refused);
	if (status != FILAR_OK)
		return status_detail(status, "the system refused nice %lld or one of the CPUs",
			(long long)run->params[INTERACTIVE_NICE]);
	if (way_cancelled(run))
		return FILAR_CANCELLED;
	for (uint32_t i = 0; i < state->ticks; i++) {
		way_point(run, 0, 0, i, state->late_ns[i]);
		state->scratch[i] = state->late_ns[i];
		missed += state->late_ns[i] > within;
	}
	run->values[0] = median_of(state->scratch, state->ticks);
	run->values[1] = state->scratch[state->ticks - 1]; /* sorted now */
	run->values[2] = 100.0 * missed / state->ticks;
	run->values[3] = (double)load_relaxed(&state->units) * (double)NS_PER_S /
			 (double)run->params[INTERACTIVE_WINDOW_NS];
	return FILAR_OK;
}

const struct way ways_timer[] = {
	{ .name = "sleep",
		.summary = "one sleep of a thread; a point is a sleep: y how late it ended, ns",
		.params = { { "sleep_ns", NS_PER_MS }, { "slack_ns", 0 }, { "busy", 0 },
			{ "fifo", 0 }, { "cpu", -1 } },
		.metrics = { { "late", "ns" }, { "worst late", "ns" } },
		.batch_max = SLEEPS_MAX,
		.setup = setup_sleep,
		.sample = sample_sleep,
		.teardown = teardown_timer },
	{ .name = "interactive",
		.summary = "a loop with something due each tick while a calculation runs; a point "
			   "is a tick: y how late it was served, ns",
		.params = { { "calculators", 1 }, { "inline", 0 }, { "nice", 0 },
			{ "loop_cpu", -1 }, { "calculator_cpu", -1 },
			{ "window_ns", 100 * NS_PER_MS }, { "tick_ns", NS_PER_MS } },
		.metrics = { { "tick late", "ns" }, { "worst tick late", "ns" },
			{ "late by a tick or more", "percent" }, { "calculation", "1/s" } },
		.batch_max = 1,
		.setup = setup_interactive,
		.sample = sample_interactive,
		.teardown = teardown_timer },
	{ .name = NULL },
};
