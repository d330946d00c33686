/*
 * ways_pool_tasks.c - what a call costs, and how soon it begins, by who serves it (staff.h).
 *
 * Way "calls": the driver submits a batch of calls that do so many steps of work each, and waits
 * for all.  Way "call-latency": one call at a time, after so long an idleness.
 */
#include <time.h>

#include "base/memory.h"
#include "lab/crew.h"
#include "lab/registry.h"
#include "lab/staff.h"
#include "os/clock.h"

#define CALLS_MAX   4096u
#define LATENCY_MAX 64u
#define STEPS_MAX   (INT64_C(1) << 32)

enum { PARAM_KIND, PARAM_WORKERS, PARAM_STEPS, PARAM_IDLE_NS = PARAM_STEPS };

struct tasks_state {
	struct staff *staff;          /* W  driver */
	uint64_t steps;               /* I  of each call */
	_Atomic int64_t began_ns;     /* A  relaxed: the call's stamp; the wait publishes it */
	double to_start[LATENCY_MAX]; /* W  driver */
	double round_trip[LATENCY_MAX];
};

/* ---- set up and tear down ---- */

static enum filar_status open_tasks(struct way_run *run, uint32_t calls_max)
{
	const int64_t *params = run->params;
	enum filar_status status = param_check("kind", params[PARAM_KIND], 0, STAFF_KINDS - 1);
	struct tasks_state *state;

	if (status == FILAR_OK)
		status = param_check("workers", params[PARAM_WORKERS], 1, STAFF_WORKERS_MAX);
	if (status != FILAR_OK)
		return status;
	run->state = state = memory_acquire(1, sizeof *state);
	if (state == NULL)
		return status_detail(FILAR_NO_MEMORY, "no memory");
	return staff_open(
		&state->staff, &(struct staff_options){ .kind = (enum staff_kind)params[PARAM_KIND],
				       .workers = (uint32_t)params[PARAM_WORKERS],
				       .calls_max = calls_max });
}

static void close_tasks(struct way_run *run)
{
	struct tasks_state *state = run->state;

	if (state == NULL)
		return;
	staff_close(state->staff);
	memory_release(state);
}

/* ---- calls ---- */

static enum filar_status setup_calls(struct way_run *run)
{
	enum filar_status status = param_check("steps", run->params[PARAM_STEPS], 0, STEPS_MAX);

	if (status == FILAR_OK)
		status = open_tasks(run, CALLS_MAX);
	if (status == FILAR_OK)
		((struct tasks_state *)run->state)->steps = (uint64_t)run->params[PARAM_STEPS];
	return status;
}

static void work(void *pointer)
{
	const struct tasks_state *state = pointer;

	spin_steps(state->steps);
}

static enum filar_status sample_calls(struct way_run *run)
{
	struct tasks_state *state = run->state;
	int64_t start = clock_now_ns(), submitted;
	enum filar_status status = FILAR_OK, waited;
	double calls = run->batch;

	for (uint32_t i = 0; status == FILAR_OK && i < run->batch; i++) {
		status = staff_submit(state->staff, work, state);
		if ((i & 63) == 63 && way_cancelled(run))
			status = FILAR_CANCELLED;
	}
	submitted = clock_now_ns();
	waited = staff_wait(state->staff);
	run->values[0] = (double)(clock_now_ns() - start) / calls;
	run->values[1] = (double)(submitted - start) / calls;
	return status == FILAR_OK ? waited : status;
}

/* ---- latency ---- */

static enum filar_status setup_latency(struct way_run *run)
{
	enum filar_status status = param_check("idle_ns", run->params[PARAM_IDLE_NS], 0, NS_PER_S);

	return status == FILAR_OK ? open_tasks(run, LATENCY_MAX) : status;
}

static void stamp(void *pointer)
{
	struct tasks_state *state = pointer;

	store_relaxed(&state->began_ns, clock_now_ns());
}

static void rest(int64_t idle_ns)
{
	struct timespec length = clock_timespec(idle_ns);

	if (idle_ns > 0)
		(void)clock_nanosleep(CLOCK_MONOTONIC, 0, &length, NULL);
}

static enum filar_status sample_latency(struct way_run *run)
{
	struct tasks_state *state = run->state;
	enum filar_status status = FILAR_OK;
	uint32_t done;

	for (done = 0; status == FILAR_OK && done < run->batch; done++) {
		int64_t start;

		if (way_cancelled(run))
			return FILAR_CANCELLED;
		rest(run->params[PARAM_IDLE_NS]);
		start = clock_now_ns();
		status = staff_submit(state->staff, stamp, state);
		if (status == FILAR_OK)
			status = staff_wait(state->staff);
		state->round_trip[done] = (double)(clock_now_ns() - start);
		state->to_start[done] = (double)(load_relaxed(&state->began_ns) - start);
	}
	if (status != FILAR_OK)
		return status;
	for (uint32_t i = 0; i < done; i++)
		way_point(run, 0, 0, i, state->to_start[i]);
	run->values[0] = median_of(state->to_start, done);
	run->values[1] = median_of(state->round_trip, done);
	return FILAR_OK;
}

const struct way ways_pool_tasks[] = {
	{ .name = "calls",
		.summary =
			"one call of so many steps: 0 alone, 1 thread each, 2 green thread each, 3 "
			"textbook pool, 4 dispatcher, 5 shared queue, 6 stealing, 7 pinned queues",
		.params = { { "kind", STAFF_STEALING }, { "workers", 2 }, { "steps", 0 } },
		.metrics = { { "per call", "ns" }, { "submit", "ns" } },
		.batch_max = CALLS_MAX,
		.setup = setup_calls,
		.sample = sample_calls,
		.teardown = close_tasks },
	{ .name = "call-latency",
		.summary = "one call after so long an idleness, kinds as in calls; a point is a "
			   "call: y from its submission to its first instruction, ns",
		.params = { { "kind", STAFF_STEALING }, { "workers", 2 }, { "idle_ns", 0 } },
		.metrics = { { "to start", "ns" }, { "round trip", "ns" } },
		.batch_max = LATENCY_MAX,
		.setup = setup_latency,
		.sample = sample_latency,
		.teardown = close_tasks },
	{ .name = NULL },
};
