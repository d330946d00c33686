/*
 * ways_start.c - what it takes to have threads at all: a kernel thread, a runtime for green
 * threads, a pool of workers, each from nothing until one empty body has run and all is gone again.
 *
 * Memory is read while the body's thread, runtime or pool is there, outside what is timed.
 */
#include "lab/crew.h"
#include "lab/grove.h"
#include "lab/lab_pool.h"
#include "lab/procfile.h"
#include "lab/registry.h"
#include "os/clock.h"
#include "pool/task.h"

enum { START_KIND, START_WORKERS };
enum start_kind { START_KERNEL_THREAD, START_GREEN, START_POOL };
enum { VALUE_TIME, VALUE_VIRTUAL, VALUE_RESIDENT };

#define STARTS_MAX 64u /* a sample: a runtime of many workers takes a millisecond */

/* One of the three, made and not yet ended. */
struct started {
	const struct way_run *run; /* I */
	enum start_kind kind;      /* I */
	struct crew crew;
	struct grove grove;
	struct pool *pool;
};

static void nothing_of_crew(struct crew_member *member)
{
	(void)member;
}

static enum filar_status nothing_of_grove(void *argument)
{
	(void)argument;
	return FILAR_OK;
}

static void nothing_of_pool(void *argument)
{
	(void)argument;
}

static enum filar_status start(struct started *started)
{
	const struct way_run *run = started->run;

	switch (started->kind) {
	case START_KERNEL_THREAD:
		return crew_create(&started->crew, 1, NULL, nothing_of_crew, NULL);
	case START_GREEN:
		return grove_open(&started->grove, run, run->params[START_WORKERS], -1, 1, NULL);
	default:
		return lab_pool_open(run, run->params[START_WORKERS], false, &started->pool);
	}
}

static enum filar_status run_nothing(struct started *started)
{
	switch (started->kind) {
	case START_KERNEL_THREAD:
		crew_open(&started->crew);
		return FILAR_OK;
	case START_GREEN:
		return grove_run(&started->grove, nothing_of_grove, NULL);
	default:
		return pool_call(started->pool, nothing_of_pool, NULL);
	}
}

/* Also of one that was never, or only half, started. */
static void end(struct started *started)
{
	crew_join(&started->crew);
	grove_close(&started->grove);
	lab_pool_close(started->pool);
}

static void read_size(double values[2])
{
	static const char *const fields[] = { "VmSize", "VmRSS" };

	for (size_t i = 0; i < FILAR_COUNT_OF(fields); i++) {
		if (procfile_read_bytes("/proc/self/status", fields[i], &values[i]) != FILAR_OK)
			values[i] = NAN;
	}
}

/* One from beginning to end; with `growth` what it added to the process instead of its time. */
static enum filar_status start_once(const struct way_run *run, double growth[2])
{
	struct started started = { .run = run, .kind = (enum start_kind)run->params[START_KIND] };
	double before[2], with[2];
	enum filar_status status;

	if (growth != NULL)
		read_size(before);
	status = start(&started);
	if (status == FILAR_OK)
		status = run_nothing(&started);
	if (growth != NULL && status == FILAR_OK) {
		read_size(with);
		for (size_t i = 0; i < 2; i++)
			growth[i] = with[i] - before[i];
	}
	end(&started);
	return status;
}

static enum filar_status check_start(struct way_run *run)
{
	enum filar_status status =
		param_check("kind", run->params[START_KIND], START_KERNEL_THREAD, START_POOL);

	return status == FILAR_OK ? param_check("workers", run->params[START_WORKERS], 1, 64)
				  : status;
}

static enum filar_status sample_start(struct way_run *run)
{
	enum filar_status status = start_once(run, &run->values[VALUE_VIRTUAL]);
	int64_t start_ns = clock_now_ns();

	for (uint32_t i = 0; i < run->batch && status == FILAR_OK && !way_cancelled(run); i++)
		status = start_once(run, NULL);
	run->values[VALUE_TIME] = (double)(clock_now_ns() - start_ns) / run->batch;
	return status;
}

const struct way ways_start[] = {
	{ .name = "runtime-start",
		.summary = "from nothing until one empty body has run and all is gone; kind 0: a "
			   "kernel thread, 1: a runtime for green threads, 2: a pool",
		.params = { { "kind", START_GREEN }, { "workers", 1 } },
		.metrics = { { "start to end", "ns" }, { "virtual", "B" }, { "resident", "B" } },
		.batch_max = STARTS_MAX,
		.setup = check_start,
		.sample = sample_start },
	{ .name = NULL },
};
