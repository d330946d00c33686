/*
 * parker.h - a kernel thread's sleep token: at most one permit, given by unpark, taken by park.
 *
 * unpark before park is not lost: park then returns at once.  One thread parks; any may unpark.
 *
 * States of the word: EMPTY (no permit, nobody sleeps), PARKED (the owner sleeps or is about to),
 * NOTIFIED (a permit is there).
 */
#ifndef FILAR_SYNC_PARKER_H
#define FILAR_SYNC_PARKER_H

#include "base/atomic.h"
#include "base/status.h"

struct parker {
	_Atomic uint32_t word; /* A */
};

void parker_init(struct parker *parker);
/* Takes the permit, sleeping until there is one: FILAR_OK, FILAR_TIMED_OUT, or FILAR_INTERRUPTED by
 * a signal.  Only FILAR_OK takes the permit. */
enum filar_status parker_park_until(struct parker *parker, int64_t deadline_ns);
/* Gives the permit and wakes the owner if it sleeps. */
void parker_unpark(struct parker *parker);

#endif
