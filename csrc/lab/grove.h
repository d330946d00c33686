/*
 * grove.h - a runtime for a way, green threads on it in numbers, and errands that one of them runs.
 *
 * A way measures from inside: grove_run() sends one green thread (the errand), which spawns the
 * others, takes the time, and joins them, while the driver sleeps.  So the stamps hold nothing of
 * the way from the driver to the worker and back.
 */
#ifndef FILAR_LAB_GROVE_H
#define FILAR_LAB_GROVE_H

#include "green/runtime.h"
#include "lab/way.h"

struct grove;

struct grove_member {
	struct grove *grove;  /* I */
	uint32_t number;      /* I  0, 1, ... in order of spawning */
	struct green_ref ref; /* I  after its spawn */
};

typedef void grove_body(struct grove_member *member);
typedef enum filar_status grove_errand(void *argument);

struct grove {
	struct runtime *runtime;      /* I */
	void *shared;                 /* I  whatever the bodies need */
	grove_body *body;             /* I  before the first spawn of a batch */
	struct grove_member *members; /* I  room for as many as may be alive */
	uint32_t members_max;         /* I */
	bool preemptible;             /* I  members call inner functions under PREEMPT_GUARD() */
	uint32_t count;               /* W  the errand: spawned and not joined */
	_Atomic uint32_t asleep;      /* A  members that are in grove_sleep(), or about to be */
};

#define GROVE_MEMBERS_MAX 2000000

/* What most ways do without: by default nobody stands in for a blocked worker, nobody watches. */
struct grove_extras {
	int64_t spares;     /* workers that may stand in for blocked ones */
	int64_t watch_ns;   /* with spares: one that runs for so long is stuck; 0: never */
	int64_t preempt_ns; /* members are preemptible, and preempted after that; 0: no */
};

/*
 * A runtime of `workers` workers: the first on the driver's CPU, the others on other_cpu (below 0:
 * on the driver's, too), and room for members_max members, whose memory is touched already.  After
 * a failure grove_close() is allowed, as for a grove that is all zero.
 */
enum filar_status grove_open(struct grove *grove, const struct way_run *run, int64_t workers,
	int64_t other_cpu, int64_t members_max, void *shared);
enum filar_status grove_open_with(struct grove *grove, const struct way_run *run, int64_t workers,
	int64_t other_cpu, int64_t members_max, void *shared, const struct grove_extras *extras);
/* All members must have been joined. */
void grove_close(struct grove *grove);
/* Runs errand(argument) on a green thread and waits for its end; its status, and the detail. */
enum filar_status grove_run(struct grove *grove, grove_errand *errand, void *argument);

/* ---- on a green thread of the grove ---- */

/* Spawns `count` members.  When one is refused, those before it live and are to be joined. */
enum filar_status grove_spawn(struct grove *grove, uint32_t count, grove_body *body);
/* Waits until all members have come to grove_sleep(). */
void grove_await_sleepers(struct grove *grove);
void grove_cancel(struct grove *grove);
/* The driver may, too. */
void grove_join(struct grove *grove);

/* On a member: parked until grove_cancel(). */
void grove_sleep(struct grove_member *member);

#endif
