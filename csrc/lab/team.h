/*
 * team.h - a few threads that start at the same moment, time themselves, and are joined: for ways
 * whose threads must run against each other from the first step on.
 *
 * The gate opens when the last member has arrived.  Members wait for it spinning and yielding, not
 * asleep as those of a crew (crew.h): a wake-up would shift one start by tens of microseconds, and
 * a sample lasts not many more.  Each member may have a CPU of its own and stamps its own start and
 * end: a coordinator that is late would measure nothing (0.0003 ns per operation has been seen).
 */
#ifndef FILAR_LAB_TEAM_H
#define FILAR_LAB_TEAM_H

#include <pthread.h>

#include "base/atomic.h"
#include "lab/way.h"
#include "os/affinity.h"

struct team_gate;

struct team_member {
	void (*body)(struct team_member *member); /* I */
	void *shared;                             /* I  the way's */
	int32_t cpu;                              /* I  -1: any CPU of the process */
	uint32_t index;                           /* I  position in the team */
	struct team_gate *gate;                   /* I */
	pthread_t pthread;                        /* W  driver */
	int64_t start_ns;                         /* S  the member's until joined */
	int64_t end_ns;                           /* S */
};

/* Members that run body, member i on cpus[i]; without cpus, on any CPU of the process. */
void team_init(struct team_member *members, uint32_t count,
	void (*body)(struct team_member *member), void *shared, const int32_t *cpus);
/* Starts all members, waits for their end.  All of them or none: when a thread cannot be created,
 * no body runs and the status says why.  Blocks. */
enum filar_status team_run(struct team_member *members, uint32_t count);
/* From the first start to the last end. */
int64_t team_wall_ns(const struct team_member *members, uint32_t count);

/*
 * The CPUs of a way with the parameters "first_cpu" and "second_cpu" at positions `first` and
 * `first + 1`: -1 takes the driver's CPU (else the lowest allowed) and the next other one.  With
 * cores == 1 both are the first.  FILAR_NO_CPU when two are asked for and the process has one.
 */
enum filar_status team_place(const struct way_run *run, int first, int64_t cores, int32_t cpus[2]);

/* Work of a known length, about a cycle a step; the compiler keeps all of it. */
static FILAR_ALWAYS_INLINE void team_work(int64_t steps)
{
	for (int64_t i = 0; i < steps; i++)
		FILAR_KEEP(i);
}

#endif
