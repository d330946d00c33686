/*
 * crew.h - a few threads that start together, time themselves, and are joined: for ways that need
 * more than the driver thread.
 *
 * The gate opens when the last member has arrived, so all of them run from (nearly) one moment on;
 * members wait for it spinning and yielding, not asleep, because a wake-up would shift one start by
 * tens of microseconds.  Each member stamps its own start and end: a coordinator that is late would
 * measure nothing (0.0003 ns per operation has been seen).
 */
#ifndef FILAR_LAB_CREW_H
#define FILAR_LAB_CREW_H

#include <pthread.h>

#include "base/atomic.h"
#include "lab/way.h"
#include "os/affinity.h"

struct crew_gate;

struct crew_member {
	void (*body)(struct crew_member *member); /* I */
	void *shared;                             /* I  the way's */
	int32_t cpu;                              /* I  -1: any CPU of the process */
	uint32_t index;                           /* I  position in the crew */
	struct crew_gate *gate;                   /* I */
	pthread_t pthread;                        /* W  driver */
	int64_t start_ns;                         /* S  the member's until joined */
	int64_t end_ns;                           /* S */
};

/* Members that run body, member i on cpus[i]; without cpus, on any CPU of the process. */
void crew_init(struct crew_member *members, uint32_t count,
	void (*body)(struct crew_member *member), void *shared, const int32_t *cpus);
/* Starts all members, waits for their end.  All of them or none: when a thread cannot be created,
 * no body runs and the status says why.  Blocks. */
enum filar_status crew_run(struct crew_member *members, uint32_t count);
/* From the first start to the last end. */
int64_t crew_wall_ns(const struct crew_member *members, uint32_t count);

/*
 * The CPUs of a way with the parameters "first_cpu" and "second_cpu" at positions `first` and
 * `first + 1`: -1 takes the driver's CPU (else the lowest allowed) and the next other one.  With
 * cores == 1 both are the first.  FILAR_NO_CPU when two are asked for and the process has one.
 */
enum filar_status crew_place(const struct way_run *run, int first, int64_t cores, int32_t cpus[2]);

/* Work of a known length, about a cycle a step; the compiler keeps all of it. */
static FILAR_ALWAYS_INLINE void crew_work(int64_t steps)
{
	for (int64_t i = 0; i < steps; i++)
		FILAR_KEEP(i);
}

#endif
