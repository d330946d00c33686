/*
 * cond.h - waiting for something that a mutex guards.
 *
 * First come, first served among those who wait; after the wake each competes for the mutex.  A
 * wait never ends for no reason, but what it waits for may be gone again: look in a loop.
 */
#ifndef FILAR_BLOCK_COND_H
#define FILAR_BLOCK_COND_H

#include "block/mutex.h"

struct cond {
	struct waitq queue; /* no value */
};

void cond_init(struct cond *cond);
/*
 * Lets the mutex go and waits for a signal, in one step; holds the mutex again when it returns,
 * whatever it returns.  A wait that ends without FILAR_OK has taken no signal.  FILAR_WRONG_STATE:
 * the mutex is not the caller's.
 */
enum filar_status cond_wait_until(struct cond *cond, struct mutex *mutex, int64_t deadline_ns);
/* Wakes the one that has waited longest, or all.  Change what they wait for under the mutex; the
 * signal may come after the unlock. */
void cond_signal(struct cond *cond);
void cond_broadcast(struct cond *cond);

#endif
