/*
 * forkcosts.h - what the parts of a fork cost on this machine: the figures that a simulation of the
 * scheduler is fed with.
 *
 * Two pools stand ready: one of a single worker, where nothing is ever stolen, and one of two, on
 * two CPUs.  A sample is some milliseconds at most, whatever else the machine does: who waits for
 * the other worker gives up after a while, and that figure is then NaN.
 */
#ifndef FILAR_LAB_FORKCOSTS_H
#define FILAR_LAB_FORKCOSTS_H

#include "filar.h"
#include "pool/pool.h"

struct fork_costs_bench {
	struct pool *alone; /* W */
	struct pool *pair;  /* W  NULL: there is one CPU */
};

/* driver_cpu: the caller's, or -1; its own worker comes last.  Workers are pinned: on one CPU a
 * wake-up would be a mere switch.  On failure nothing is left open. */
enum filar_status fork_costs_open(struct fork_costs_bench *bench, int32_t driver_cpu);
void fork_costs_close(struct fork_costs_bench *bench);
/* One sample of each. */
enum filar_status fork_costs_sample(struct fork_costs_bench *bench, filar_fork_costs *costs);
/* The better ends (filar.h) of as many samples as go into the time, at least 8 and at most 200. */
enum filar_status fork_costs_measure(int64_t time_ns, filar_fork_costs *costs);

#endif
