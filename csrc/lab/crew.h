/*
 * crew.h - a group of plain pthreads that begin their work together, and small tools for such ways.
 *
 * crew_create() returns when all members stand at the gate; crew_open() lets them run their body;
 * crew_join() waits for them and gives everything back.  A crew that is joined without having been
 * opened goes home without running its body.  Plain pthreads, not kthread.c: the claims are about
 * the system's threads.
 */
#ifndef FILAR_LAB_CREW_H
#define FILAR_LAB_CREW_H

#include <pthread.h>

#include "base/atomic.h"
#include "base/status.h"
#include "os/affinity.h"

struct way_run;

/* ---- gate: shut until somebody opens it; any number wait ---- */

struct gate {
	_Atomic uint32_t word; /* A  0 while shut, then the value given to gate_open() */
};

void gate_open(struct gate *gate, uint32_t value);
/* Blocks until open; returns the value. */
uint32_t gate_wait(struct gate *gate);
bool gate_is_open(const struct gate *gate);

/* ---- tally: counts up; one thread waits for the total ---- */

struct tally {
	_Atomic uint32_t count; /* A */
	uint32_t total;         /* I */
};

void tally_add(struct tally *tally);
void tally_wait(struct tally *tally);

/* ---- the crew ---- */

struct crew_member {
	struct crew *crew; /* I */
	uint32_t number;   /* I  0, 1, ... in order of creation */
	pthread_t thread;  /* I  after creation */
};

typedef void crew_body(struct crew_member *member);

struct crew {
	crew_body *body;             /* I */
	void *shared;                /* I  whatever the bodies need */
	struct crew_member *members; /* I  after creation */
	uint32_t count;              /* I  after creation */
	int64_t opened_ns;           /* I  once the gate is open: when it opened */
	struct tally arrived;        /* A  members at the gate */
	struct gate gate;            /* A */
};

#define CREW_MAX         100000u
#define CREW_STACK_BYTES ((size_t)64 * 1024)

/* Members run on `cpus` (NULL: the creator's).  On failure none is left. */
enum filar_status crew_create(struct crew *crew, uint32_t count, const struct cpu_mask *cpus,
	crew_body *body, void *shared);
void crew_open(struct crew *crew);
/* A crew that was never created (all zero) is allowed. */
void crew_join(struct crew *crew);

/* A mask of one CPU; of every CPU the process (its main thread) may use with cpu < 0. */
enum filar_status crew_mask(struct cpu_mask *mask, int64_t cpu);

/* ---- work and numbers ---- */

/* `steps` multiplications, each of which needs the one before: three cycles, about a nanosecond
 * each. */
void spin_steps(uint64_t steps);
/* Sleeps until the deadline in pieces short enough to notice a cancelled plan. */
enum filar_status sleep_until(const struct way_run *run, int64_t deadline_ns);
/* The middle value; sorts `values`.  NaN of nothing. */
double median_of(double *values, size_t count);
/* FILAR_INVALID, naming the parameter, unless low <= value <= high. */
enum filar_status param_check(const char *name, int64_t value, int64_t low, int64_t high);

#endif
