/*
 * ways_trace.c - what watching costs: the ways of ways_green.c again, with a trace being taken or
 * not, and a record by itself.
 *
 * A traced sample begins and ends a trace of its own, so it fails with FILAR_BUSY while somebody
 * else takes one.
 */
#include "base/tracepoint.h"
#include "lab/registry.h"
#include "os/clock.h"

/* A way whose parameters are those of `inner`, and `traced` after them. */
struct traced_way {
	const char *name;
	const char *inner;
	int traced;  /* place of the parameter */
	int records; /* place of the metric */
};

static const struct traced_way traced_ways[] = {
	{ "trace-yield", "green-yield", 3, 5 },
	{ "trace-spawn", "green-create", 2, 1 },
	{ "trace-park", "ring", 2, 1 },
};

enum { TRACED_YIELD, TRACED_SPAWN, TRACED_PARK };

static enum filar_status setup(struct way_run *run, int which)
{
	return way_find(traced_ways[which].inner)->setup(run);
}

static void teardown(struct way_run *run, int which)
{
	way_find(traced_ways[which].inner)->teardown(run);
}

static enum filar_status sample(struct way_run *run, int which)
{
	const struct traced_way *way = &traced_ways[which];
	struct trace_totals totals = { 0 };
	enum filar_status status;

	if (run->params[way->traced] == 0)
		return way_find(way->inner)->sample(run);
	status = tracepoint_start(&(struct trace_options){ 0 });
	if (status != FILAR_OK)
		return status;
	status = way_find(way->inner)->sample(run);
	(void)tracepoint_stop();
	(void)tracepoint_collect(NULL, 0, &totals);
	(void)tracepoint_clear();
	run->values[way->records] = (double)totals.written / run->batch;
	return status;
}

static enum filar_status setup_yield(struct way_run *run)
{
	return setup(run, TRACED_YIELD);
}

static enum filar_status sample_yield(struct way_run *run)
{
	return sample(run, TRACED_YIELD);
}

static void teardown_yield(struct way_run *run)
{
	teardown(run, TRACED_YIELD);
}

static enum filar_status setup_spawn(struct way_run *run)
{
	return setup(run, TRACED_SPAWN);
}

static enum filar_status sample_spawn(struct way_run *run)
{
	return sample(run, TRACED_SPAWN);
}

static void teardown_spawn(struct way_run *run)
{
	teardown(run, TRACED_SPAWN);
}

static enum filar_status setup_park(struct way_run *run)
{
	return setup(run, TRACED_PARK);
}

static enum filar_status sample_park(struct way_run *run)
{
	return sample(run, TRACED_PARK);
}

static void teardown_park(struct way_run *run)
{
	teardown(run, TRACED_PARK);
}

/* ---- trace-record ---- */

static void emit(uint32_t times)
{
	for (uint32_t i = 0; i < times; i++) {
		TRACE(TRACE_MARK, i, 0, 0);
		FILAR_COMPILER_BARRIER(); /* the flag is read again each time, as it is elsewhere */
	}
}

static enum filar_status sample_record(struct way_run *run)
{
	bool traced = run->params[0] != 0;
	enum filar_status status =
		traced ? tracepoint_start(&(struct trace_options){ 0 }) : FILAR_OK;
	int64_t start;

	if (status != FILAR_OK)
		return status;
	if (traced)
		emit(1); /* takes the ring */
	start = clock_now_ns();
	emit(run->batch);
	run->values[0] = (double)(clock_now_ns() - start) / run->batch;
	if (traced) {
		(void)tracepoint_stop();
		(void)tracepoint_clear();
	}
	return FILAR_OK;
}

const struct way ways_trace[] = {
	{ .name = "trace-record",
		.summary = "one place where a record can be written; traced: it is",
		.params = { { "traced", 0 } },
		.metrics = { { "each", "ns" } },
		.sample = sample_record },
	{ .name = "trace-yield",
		.summary =
			"green-yield while a trace is being taken, or not; records: per operation",
		.params = { { "ready", 2 }, { "workers", 1 }, { "other_cpu", -1 },
			{ "traced", 0 } },
		.metrics = { { "one way", "ns" }, { "yields", "1/s" }, { "steals", "count" },
			{ "stolen", "count" }, { "sleeps", "count" }, { "records", "ratio" } },
		.setup = setup_yield,
		.sample = sample_yield,
		.teardown = teardown_yield },
	{ .name = "trace-spawn",
		.summary =
			"green-create while a trace is being taken, or not; records: per operation",
		.params = { { "at_once", 1 }, { "fresh", 0 }, { "traced", 0 } },
		.metrics = { { "create+join", "ns" }, { "records", "ratio" } },
		.setup = setup_spawn,
		.sample = sample_spawn,
		.teardown = teardown_spawn },
	{ .name = "trace-park",
		.summary = "ring while a trace is being taken, or not; records: per operation",
		.params = { { "members", 2 }, { "kernel", 0 }, { "traced", 0 } },
		.metrics = { { "one way", "ns" }, { "records", "ratio" } },
		.setup = setup_park,
		.sample = sample_park,
		.teardown = teardown_park },
	{ .name = NULL },
};
