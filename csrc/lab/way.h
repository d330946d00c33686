/*
 * way.h - one way of doing the thing that is measured.
 *
 * A way is a row of constants and three functions.  The plan (plan.h) calls setup once, then sample
 * in each round, then teardown, all on its driver thread, which is pinned to the plan's CPU again
 * before each sample (a way may change its affinity).  Rules for a way:
 *
 *   - sample() does run->batch operations, times them itself with clock_now_ns() and writes values
 *     *per operation* in the metric's unit; NaN (the default) means "not measured in this sample".
 *   - It reads results through FILAR_KEEP or volatile, so that nothing measured is optimised away.
 *   - It leaves the machine as it found it: threads joined, files closed, memory unmapped,
 *     priorities restored.  What setup acquired, teardown gives back, also after a failed sample.
 *   - One sample should last 50 to 500 us; what takes longer than 100 ms asks way_cancelled() in
 *     between and returns FILAR_CANCELLED.
 *   - Failure from outside is a status with a detail; the plan stops running this way and goes on.
 */
#ifndef FILAR_LAB_WAY_H
#define FILAR_LAB_WAY_H

#include <math.h>
#include <stdbool.h>

#include "base/random.h"
#include "base/status.h"

struct plan;

struct way_run {
	const int64_t *params; /* I  by position, defaults filled in */
	uint32_t batch;        /* I  operations to do in this sample */
	uint32_t way_index;    /* I  in its plan, for way_point() */
	uint32_t round;        /* I  of this sample; UINT32_MAX while calibrating or warming up */
	int32_t driver_cpu;    /* I  where the driver is pinned, or -1 */
	void *state;           /* W  the way's own, made by setup, freed by teardown */
	struct random *random; /* W  the plan's */
	struct plan *plan;     /* I */
	double values[FILAR_METRICS_MAX]; /* W  result of sample() */
};

struct way_param {
	const char *name; /* unit last: stack_bytes, idle_ns */
	int64_t fallback; /* default */
};

struct way_metric {
	const char *name;
	const char *unit; /* "ns", "B", "count", "ratio", "1/s", "percent" */
};

struct way {
	const char *name;
	const char *summary; /* one sentence: what one operation is; what its points mean, if any */
	struct way_param params[FILAR_PARAMS_MAX];    /* a NULL name ends the list */
	struct way_metric metrics[FILAR_METRICS_MAX]; /* likewise */
	uint32_t batch_max;    /* 1: a sample is one operation; 0: no bound (2^31) */
	bool setup_each_round; /* set up and tear down around every sample instead of once */
	enum filar_status (*setup)(struct way_run *run); /* NULL: nothing to do */
	enum filar_status (*sample)(struct way_run *run);
	void (*teardown)(struct way_run *run); /* NULL: nothing to do; run->state may be NULL */
};

/* For setup: zeroed, aligned memory for the way's record, which is now run->state; NULL and the
 * detail of FILAR_NO_MEMORY when there is none.  teardown gives it back by memory_release(). */
void *way_acquire_state(struct way_run *run, size_t bytes);

/* True when the plan is to stop: return FILAR_CANCELLED soon. */
bool way_cancelled(const struct way_run *run);
/* Records a point of a series beside the values; dropped while warming up, counted when memory for
 * points is used up.  Only on the driver thread. */
void way_point(struct way_run *run, int32_t kind, int32_t subject, double x, double y);

/* The registry (registry.c): each ways_*.c gives one table, ended by a way without a name. */
const struct way *way_find(const char *name);
const struct way *way_at(int32_t index);
int32_t way_count(void);

#endif
